"""DNP3: the checksum."""

import pytest

from middlebox.detect.dnp3 import Dnp3
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import DNP3_REQUEST, DNP3_RESPONSE


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(DNP3_REQUEST[:8] + b"\x00\x00" + DNP3_REQUEST[10:])], "no", id="a wrong checksum"),
        pytest.param([CLIENT(DNP3_REQUEST[:4] + b"\x05" + DNP3_REQUEST[5:])], "no", id="another address"),
        pytest.param([CLIENT(DNP3_REQUEST[:9])], "more", id="cut short"),
        pytest.param([CLIENT(b"\x05\x65\x08\xc4")], "no", id="another start"),
        pytest.param([SERVER(DNP3_RESPONSE), CLIENT(DNP3_REQUEST)], "confirmed", id="the outstation begins"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Dnp3, messages) == expected
