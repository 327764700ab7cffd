"""WhatsApp: a frame must follow the prologue."""

import pytest

from middlebox.detect.whatsapp import Whatsapp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import WHATSAPP_HELLO


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"WA\x06\x03")], "more", id="the prologue alone"),
        pytest.param([CLIENT(b"WARNING: this is text\r\n")], "no", id="text"),
        pytest.param([CLIENT(b"WA\x06\x03\x00\x00\x24\x55")], "no", id="no client hello"),
        pytest.param([CLIENT(b"ED\x00\x01\x7f\x00\x04\x08")], "no", id="routing without end"),
        pytest.param(
            [CLIENT(WHATSAPP_HELLO), SERVER(b"\x00\x00\x26\x12")], "probable", id="a client hello from the server"
        ),
        pytest.param([SERVER(b"\x00\x00\x26\x1a\x24\x0a")], "no", id="the answer alone"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Whatsapp, messages) == expected
