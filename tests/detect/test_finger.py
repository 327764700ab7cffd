"""Finger: the answer must be the table."""

import pytest

from middlebox.detect.finger import Finger
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"root\r\n"), SERVER(b"No such user.\r\n")], "no", id="words"),
        pytest.param(
            [CLIENT(b"\r\n"), SERVER(b"Login     Name       Tty      Idle  Login Time\r\n")],
            "confirmed",
            id="the list of all",
        ),
        pytest.param([CLIENT(b"root\r\nmore\r\n"), SERVER(b"Login: root \tName: a\r\n")], "no", id="two lines"),
        pytest.param([CLIENT(b"root\r\n"), SERVER(b"\r\nLog")], "more", id="cut short"),
        pytest.param([CLIENT(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")], "no", id="HTTP"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Finger, messages) == expected
