"""PostgreSQL: one letter must answer eight fixed bytes."""

import pytest

from middlebox.detect.postgresql import Postgresql
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), SERVER(b"X")], "probable", id="another letter"),
        pytest.param([CLIENT(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), SERVER(b"N")], "confirmed", id="no TLS"),
        pytest.param([CLIENT(b"\x00\x00\x00\x08\x04\xd2\x16\x2a"), SERVER(b"S")], "no", id="another request"),
        pytest.param(
            [CLIENT(b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02")],
            "probable",
            id="a request to cancel gets no answer",
        ),
        pytest.param(
            [CLIENT(b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"), SERVER(b"E\x00\x00\x00\x40SFATAL\x00")],
            "confirmed",
            id="refused",
        ),
        pytest.param(
            [CLIENT(b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"), SERVER(b"Z\x00\x00\x00\x01")],
            "probable",
            id="what is no first message",
        ),
        pytest.param([CLIENT(b"\x00\x00\x00\x10\x00\x02\x00\x00user\x00a\x00\x00")], "no", id="protocol 2"),
        pytest.param([CLIENT(b"\x00\x00\x00\x10\x00\x03\x00\x00name\x00a\x00\x00")], "no", id="no user"),
        pytest.param([SERVER(b"GET / HTTP/1.1\r\n")], "no", id="a letter alone"),
        pytest.param([CLIENT(b"\x00\x00\x00\x54\xfeSMB")], "no", id="SMB"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Postgresql, messages) == expected
