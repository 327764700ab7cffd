"""TDS: the table of options."""

import pytest

from middlebox.detect.mssql import Mssql
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import TDS_OPTIONS, tds


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(tds(0x12, TDS_OPTIONS)), SERVER(tds(4, b"\xe3\x0b\x00\x01"))],
            "probable",
            id="a login's answer to a pre-login",
        ),
        pytest.param([CLIENT(tds(0x12, b"\x00\x00\x0b\xff\xff\xff"))], "no", id="an option beyond the packet"),
        pytest.param([CLIENT(tds(0x12, b"\xff"))], "no", id="no options"),
        pytest.param([CLIENT(tds(0x10, bytes(24)))], "no", id="a login without a version"),
        pytest.param(
            [CLIENT(tds(1, b"\x16\x00\x00\x00\x12\x00\x00\x00\x02\x00")), SERVER(tds(4, b"\xfd\x00\x00"))],
            "confirmed",
            id="a query, joined mid-way",
        ),
        pytest.param([CLIENT(tds(1, b"S\x00E\x00L\x00"))], "no", id="a query of before TDS 7.2 has no mark"),
        pytest.param(
            [CLIENT(tds(0x12, TDS_OPTIONS)[:7] + b"\x01" + TDS_OPTIONS)], "no", id="the window, which must be 0"
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Mssql, messages) == expected
