"""Redis: arrays are telling, lines are not."""

import pytest

from middlebox.detect.redis import Redis
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(b"*1\r\n$4\r\nPING\r\n"), SERVER(b"-NOAUTH Authentication required.\r\n")],
            "confirmed",
            id="an error is a typed reply",
        ),
        pytest.param([CLIENT(b"GET / HTTP/1.1\r\n"), SERVER(b"+OK\r\n")], "no", id="HTTP"),
        pytest.param([CLIENT(b"QUIT\r\n"), SERVER(b"+OK\r\n")], "no", id="POP3"),
        pytest.param([CLIENT(b"USER a\r\n"), SERVER(b"+OK\r\n")], "no", id="POP3's login"),
        pytest.param([CLIENT(b"INFO\r\n"), SERVER(b"-ERR\r\n")], "possible", id="a line and a typed reply"),
        pytest.param([CLIENT(b"*1\r\n:4\r\n")], "no", id="an array of numbers is no command"),
        pytest.param([CLIENT(b"* OK ready\r\n")], "no", id="IMAP"),
        pytest.param([CLIENT(b"*1\r\n$4\r\nPING\r\n"), SERVER(b"PONG\r\n")], "probable", id="a reply without type"),
        pytest.param([CLIENT(b"*1\r\n$4\r\nPI")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Redis, messages) == expected
