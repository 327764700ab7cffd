"""NNTP: commands that others have, too, and its own."""

import pytest

from middlebox.detect.nntp import Nntp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"220 ready\r\n"), CLIENT(b"LIST\r\n")], "no", id="LIST after a greeting of FTP"),
        pytest.param([SERVER(b"200 ready\r\n"), CLIENT(b"LIST\r\n")], "confirmed", id="LIST after a greeting of news"),
        pytest.param([SERVER(b"480 log in\r\n"), CLIENT(b"GROUP a.b\r\n")], "confirmed", id="joined mid-way"),
        pytest.param([SERVER(b"200 ready\r\n"), CLIENT(b"USER a\r\n")], "no", id="FTP"),
        pytest.param([SERVER(b"200 ready\r\n")], "more", id="200 alone"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Nntp, messages) == expected
