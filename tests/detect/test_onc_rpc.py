"""ONC RPC: transactions, versions, and what looks alike."""

import pytest

from middlebox.detect.base import UDP
from middlebox.detect.onc_rpc import OncRpc
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import record, rpc_call, rpc_reply


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(rpc_call(1)), SERVER(rpc_reply(2))], "probable", id="another transaction"),
        pytest.param([CLIENT(rpc_call(1, version=99))], "no", id="a program version out of reach"),
        pytest.param(
            [CLIENT(b"\xe3\x00\x06\xe8\x00\x00\x00\x00\x00\x00\x00\x02INIT" + bytes(32))],
            "no",
            id="NTP of a clock that is not set",
        ),
        pytest.param(
            [CLIENT(rpc_call(1).replace(b"\x00\x00\x00\x02", b"\x00\x00\x00\x03", 1))], "no", id="RPC version 3"
        ),
        pytest.param([SERVER(rpc_reply(1))], "more", id="a reply alone"),
        pytest.param([SERVER(rpc_reply(1)), CLIENT(rpc_call(1))], "confirmed", id="packets in the wrong order"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(OncRpc, messages, transport=UDP) == expected


def test_over_tcp_a_record_mark_comes_first() -> None:
    assert outcome(OncRpc, [CLIENT(rpc_call(1)), SERVER(rpc_reply(1))]) == "no"
    assert outcome(OncRpc, [CLIENT(record(rpc_call(1))), SERVER(record(rpc_reply(1)))]) == "confirmed"
