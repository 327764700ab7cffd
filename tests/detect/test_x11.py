"""X: byte order and version."""

import pytest

from middlebox.detect.x11 import X11
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import X11_SETUP


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(X11_SETUP), SERVER(b"\x01\x00\x00\x0b\x00\x00\x00\x40")],
            "probable",
            id="the reply in the other byte order",
        ),
        pytest.param([CLIENT(X11_SETUP), SERVER(b"\x00\x10\x0b\x00\x00\x00\x04\x00")], "confirmed", id="refused"),
        pytest.param(
            [CLIENT(b"B\x00\x00\x0b\x00\x00" + bytes(6)), SERVER(b"\x01\x00\x00\x0b\x00\x00\x00\x40")],
            "confirmed",
            id="big-endian",
        ),
        pytest.param([CLIENT(b"l\x00\x0a\x00\x00\x00" + bytes(6))], "no", id="version 10"),
        pytest.param(
            [CLIENT(b"l\x00\x0b\x00\x00\x00\x07\x00" + bytes(4))], "no", id="an authorisation that nobody has"
        ),
        pytest.param([SERVER(b"\x01\x00\x0b\x00\x00\x00\x40\x00")], "no", id="a reply without a request"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(X11, messages) == expected
