"""POP3: Redis answers +OK, too."""

import pytest

from middlebox.detect.pop3 import Pop3
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"AUTH secret\r\n"), SERVER(b"+OK\r\n")], "no", id="a password of Redis"),
        pytest.param([CLIENT(b"AUTH\r\n"), SERVER(b"+OK\r\n")], "confirmed", id="AUTH alone asks for the mechanisms"),
        pytest.param(
            [CLIENT(b"AUTH cram-md5\r\n"), SERVER(b"+OK hi\r\n")], "confirmed", id="a mechanism in small letters"
        ),
        pytest.param(
            [CLIENT(b"AUTH secret\r\n"), SERVER(b"+OK POP3 ready\r\n")],
            "confirmed",
            id="an unknown mechanism after a greeting that says POP",
        ),
        pytest.param([CLIENT(b"QUIT\r\n"), SERVER(b"+OK\r\n")], "no", id="QUIT is Redis', too"),
        pytest.param([SERVER(b"-ERR too many connections\r\n"), CLIENT(b"CAPA\r\n")], "confirmed", id="refused"),
        pytest.param([SERVER(b"+OKAY\r\n"), CLIENT(b"USER a\r\n")], "no", id="another word"),
        pytest.param([SERVER(b"+PONG\r\n"), CLIENT(b"USER a\r\n")], "no", id="another status"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Pop3, messages) == expected
