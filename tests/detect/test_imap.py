"""IMAP: tags may be anything, commands may not."""

import pytest

from middlebox.detect.imap import Imap
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"* OK ready\r\n"), CLIENT(b". CAPABILITY\r\n")], "confirmed", id="a dot as the tag"),
        pytest.param([SERVER(b"* PREAUTH hello\r\n"), CLIENT(b"A1 select x\r\n")], "confirmed", id="small letters"),
        pytest.param([SERVER(b"* OK ready\r\n"), CLIENT(b"GET / HTTP/1.1\r\n")], "no", id="HTTP"),
        pytest.param([SERVER(b"* OK ready\r\n"), CLIENT(b"a1 FROBNICATE\r\n")], "no", id="no command of IMAP"),
        pytest.param([SERVER(b"*3\r\n:1\r\n"), CLIENT(b"a1 NOOP\r\n")], "no", id="an array of Redis"),
        pytest.param([SERVER(b"* OK ready\r\n")], "more", id="a greeting without a word"),
        pytest.param([CLIENT(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")], "no", id="SSH"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Imap, messages) == expected
