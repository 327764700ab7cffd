"""SMTP: the same reply codes as FTP, and orders of packets that captures have."""

import pytest

from middlebox.detect.smtp import Smtp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"220 ready\r\n")], "more", id="a greeting without a word is nobody's yet"),
        pytest.param([SERVER(b"220 ready\r\n"), CLIENT(b"USER anonymous\r\n")], "no", id="FTP"),
        pytest.param(
            [SERVER(b"220 ready\r\n"), CLIENT(b"AUTH TLS\r\n")], "no", id="AUTH without a word in the greeting is FTP"
        ),
        pytest.param(
            [SERVER(b"220-mail ESMTP\r\n220 go\r\n"), CLIENT(b"STARTTLS\r\n")],
            "confirmed",
            id="a greeting of two lines",
        ),
        pytest.param([SERVER(b"554 no service\r\n"), CLIENT(b"EHLO a\r\n")], "confirmed", id="refused"),
        pytest.param(
            [CLIENT(b"EHLO a\r\n"), SERVER(b"220 ready\r\n")], "confirmed", id="the capture has the command first"
        ),
        pytest.param([SERVER(b"220 ready\n"), CLIENT(b"helo\n")], "confirmed", id="small letters, no CR, no name"),
        pytest.param(
            [SERVER(b"220 ready\r\n"), CLIENT(b"EHLOX\r\n")], "no", id="a word that only begins like a command"
        ),
        pytest.param([SERVER(b"2200 ready\r\n"), CLIENT(b"EHLO a\r\n")], "no", id="four digits"),
        pytest.param([SERVER(b"HTTP/1.1 200 OK\r\n"), CLIENT(b"EHLO a\r\n")], "no", id="an HTTP server answers"),
        pytest.param([CLIENT(b"HELO\n`\xc3\xec\x4d")], "more", id="a word and then noise"),
        pytest.param([SERVER(b"220 ESMTP"), CLIENT(b"EHL")], "more", id="both cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Smtp, messages) == expected
