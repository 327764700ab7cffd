"""Telnet: an answer must be about the same option."""

import pytest

from middlebox.detect.telnet import Telnet
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"\xff\xfd\x18"), CLIENT(b"\xff\xfb\x1f")], "more", id="another option"),
        pytest.param([SERVER(b"\xff\xfd\x18"), CLIENT(b"\xff\xfd\x18")], "more", id="both ask"),
        pytest.param([CLIENT(b"\xff\xfb\x1f"), SERVER(b"\xff\xfe\x1f")], "confirmed", id="refused"),
        pytest.param(
            [CLIENT(b"\xff\xfd\x03\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0\xff\xfb\x21"), SERVER(b"\xff\xfd\x21")],
            "confirmed",
            id="a subnegotiation between",
        ),
        pytest.param([CLIENT(b"\xff\xff\xff\xff\xff\xff")], "no", id="ones"),
        pytest.param([CLIENT(b"\xff\xd8\xff\xe0\x00\x10JFIF")], "no", id="a JPEG"),
        pytest.param([CLIENT(b"\xff\xfd\x77")], "no", id="an option that nobody assigned"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Telnet, messages) == expected
