"""IEC 104: each activation has its own confirmation."""

import pytest

from middlebox.detect.iec104 import Iec104
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome

START = b"\x68\x04\x07\x00\x00\x00"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(START), SERVER(b"\x68\x04\x83\x00\x00\x00")], "probable", id="the confirmation of another"
        ),
        pytest.param([CLIENT(b"\x68\x04\x07\x00\x00\x01")], "no", id="bits that must be 0"),
        pytest.param([CLIENT(b"hello\r\n")], "no", id="text"),
        pytest.param([CLIENT(START[:3])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Iec104, messages) == expected
