"""MySQL: lengths, sequence numbers, filler."""

import pytest

from middlebox.detect.mysql import Mysql
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.sample import noise
from tests.detect.samples_ordinary_tcp import MYSQL_GREETING, MYSQL_RESPONSE, mysql


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [SERVER(mysql(0, MYSQL_GREETING)), CLIENT(mysql(2, MYSQL_RESPONSE))],
            "probable",
            id="another sequence number",
        ),
        pytest.param([SERVER(mysql(1, MYSQL_GREETING))], "no", id="a greeting must be the first"),
        pytest.param([SERVER(mysql(0, b"\x09" + MYSQL_GREETING[1:]))], "no", id="protocol 9"),
        pytest.param(
            [SERVER(mysql(0, MYSQL_GREETING)), CLIENT(mysql(1, MYSQL_RESPONSE[:9] + noise(23) + b"user\x00"))],
            "probable",
            id="no filler",
        ),
        pytest.param(
            [SERVER(mysql(0, MYSQL_GREETING)), CLIENT(mysql(1, MYSQL_RESPONSE[:32]))],
            "confirmed",
            id="a request for TLS",
        ),
        pytest.param(
            [SERVER(mysql(0, MYSQL_GREETING)), CLIENT(mysql(1, b"\x85\x24\x00\x00\x00danny\x00salt"))],
            "confirmed",
            id="a client of 2003",
        ),
        pytest.param([CLIENT(b"ED\x00\x01" + noise(300))], "no", id="a client that only has the sequence number"),
        pytest.param([CLIENT(b"\x05\x02\x00\x01"), SERVER(b"\x05\x00")], "more", id="the first bytes of SOCKS 5 fit"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Mysql, messages) == expected
