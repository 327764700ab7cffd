"""EtherNet/IP: command and context come back."""

import pytest

from middlebox.detect.enip import Enip
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import enip


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(enip(0x65, 0)), SERVER(enip(0x65, 1, b"another!"))], "probable", id="another context"),
        pytest.param([CLIENT(enip(0x65, 0)), SERVER(enip(0x63, 1))], "probable", id="another command"),
        pytest.param([CLIENT(enip(0x65, 0)[:20] + b"\x01\x00\x00\x00")], "no", id="options, which must be 0"),
        pytest.param([CLIENT(b"e\x00\x05" + enip(0x65, 0)[3:])], "no", id="a session is registered with four bytes"),
        pytest.param([CLIENT(b"echo hello world, how are you?\r\n")], "no", id="text"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Enip, messages) == expected
