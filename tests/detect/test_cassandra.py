"""Cassandra: streams and opcodes."""

import pytest

from middlebox.detect.cassandra import Cassandra
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome

ASK = b"\x04\x00\x00\x01\x05" + bytes(4)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(ASK), SERVER(b"\x84\x00\x00\x02\x06" + bytes(4))], "probable", id="another stream"),
        pytest.param(
            [CLIENT(ASK), SERVER(b"\x84\x00\x00\x01\x02" + bytes(4))], "probable", id="the answer to another request"
        ),
        pytest.param([CLIENT(b"\x04\x00\x00\x01\x07" + bytes(4))], "no", id="a query before the start"),
        pytest.param([CLIENT(b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00")], "no", id="SOCKS 4"),
        pytest.param([CLIENT(ASK[:6])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Cassandra, messages) == expected
