"""S7comm: data units both ways."""

import pytest

from middlebox.detect.s7comm import S7comm
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import x224, x224_data


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(x224(0xE0, b"\xc1\x02\x01\x00")), SERVER(x224(0xD0, b"\xc1\x02\x01\x00"))],
            "more",
            id="a connection may be for another protocol",
        ),
        pytest.param([CLIENT(x224(0xE0, b"\x01\x00\x08\x00\x03\x00\x00\x00"))], "no", id="RDP"),
        pytest.param([CLIENT(x224_data(b"\x7f\x65\x82\x01"))], "no", id="a conference, as RDP has it"),
        pytest.param([CLIENT(x224_data(b"\x32\x01")), SERVER(x224_data(b"\x0e\x20"))], "probable", id="only one side"),
        pytest.param([CLIENT(x224_data(b"\x32\x55"))], "no", id="no kind of message"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(S7comm, messages) == expected
