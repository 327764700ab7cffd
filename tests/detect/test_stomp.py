"""STOMP: both frames."""

import pytest

from middlebox.detect.stomp import Stomp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"CONNECT example.org:443 HTTP/1.1\r\n")], "no", id="HTTP"),
        pytest.param([CLIENT(b'CONNECT {"verbose":false}\r\n')], "no", id="NATS"),
        pytest.param([CLIENT(b"CONNECT\n\n\x00"), SERVER(b"ERROR\nmessage:no\n\n\x00")], "confirmed", id="refused"),
        pytest.param([CLIENT(b"CONNECT\n\n\x00"), SERVER(b"CONNECTION\n")], "probable", id="another word"),
        pytest.param([CLIENT(b"CONN")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Stomp, messages) == expected
