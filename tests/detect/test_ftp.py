"""FTP: the same reply codes as SMTP and NNTP, the same login as POP3."""

import pytest

from middlebox.detect.ftp import Ftp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"220 ready\r\n"), CLIENT(b"EHLO a\r\n")], "no", id="SMTP"),
        pytest.param([SERVER(b"200 news\r\n"), CLIENT(b"MODE READER\r\n")], "no", id="NNTP"),
        pytest.param([SERVER(b"+OK ready\r\n"), CLIENT(b"USER a\r\n")], "no", id="POP3"),
        pytest.param([SERVER(b":irc NOTICE * :x\r\n"), CLIENT(b"USER a b c :d\r\n")], "no", id="IRC"),
        pytest.param([CLIENT(b"USER a\r\nPASS b\r\nSTAT\r\n")], "more", id="a login that POP3 has, too"),
        pytest.param(
            [SERVER(b"220 ready\r\n"), CLIENT(b"AUTH TLS\r\n"), SERVER(b"234 go\r\n"), CLIENT(b"\x16\x03\x01")],
            "confirmed",
            id="TLS after AUTH TLS keeps the name",
        ),
        pytest.param([SERVER(b"220 ESMTP and FTP\r\n"), CLIENT(b"QUIT\r\n")], "no", id="a greeting that names both"),
        pytest.param([CLIENT(b"USER a\r\n"), SERVER(b"331 password\r\n")], "confirmed", id="joined after the greeting"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Ftp, messages) == expected
