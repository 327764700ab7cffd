"""Cassandra: streams and opcodes."""

import pytest

from middlebox.detect.cassandra import Cassandra
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import CQL_STARTUP

ASK = b"\x04\x00\x00\x01\x05" + bytes(4)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(ASK), SERVER(b"\x84\x00\x00\x02\x06" + bytes(4))], "possible", id="another stream"),
        pytest.param(
            [CLIENT(ASK), SERVER(b"\x84\x00\x00\x01\x02" + bytes(4))], "possible", id="the answer to another request"
        ),
        pytest.param([CLIENT(b"\x04\x00\x00\x01\x07" + bytes(4))], "no", id="a query before the start"),
        pytest.param([CLIENT(b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00")], "no", id="SOCKS 4"),
        pytest.param(
            [CLIENT(b"\x05\x00\x00\x00\x01\x00\x00\x00\xc8\xb4\x38\x95\xd6"), SERVER(ASK)], "no", id="no option"
        ),
        pytest.param([CLIENT(CQL_STARTUP), SERVER(b"\x84\x00\x00\x00\x02" + bytes(4))], "confirmed", id="ready"),
        pytest.param([CLIENT(ASK[:6])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Cassandra, messages) == expected
