"""IRC: one command is not enough."""

import pytest

from middlebox.detect.irc import Irc
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"USER a b c :d\r\n")], "more", id="USER alone may be FTP"),
        pytest.param([CLIENT(b"NICK a\r\n")], "more", id="NICK alone"),
        pytest.param([CLIENT(b"USER a\r\nNICK b\r\n")], "probable", id="both, without the server"),
        pytest.param([CLIENT(b"USER a\r\n"), SERVER(b"331 password\r\n")], "no", id="FTP"),
        pytest.param([CLIENT(b"PASS a\r\n"), SERVER(b"+OK\r\n")], "no", id="POP3"),
        pytest.param(
            [CLIENT(b"NICK a\r\n"), SERVER(b"PING :123\r\n")], "confirmed", id="a server that first tests its client"
        ),
        pytest.param(
            [CLIENT(b"NICK a\r\n"), SERVER(b":irc.example.org 001 a :Welcome\r\n")], "confirmed", id="welcome"
        ),
        pytest.param([CLIENT(b"NICK a\r\n"), SERVER(b":-)\r\n")], "no", id="no message"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Irc, messages) == expected
