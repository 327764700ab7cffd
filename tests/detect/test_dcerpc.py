"""DCE/RPC: kinds and call IDs."""

import pytest

from middlebox.detect.dcerpc import Dcerpc
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import dcerpc


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(dcerpc(11, 1)), SERVER(dcerpc(12, 2))], "probable", id="another call"),
        pytest.param([CLIENT(dcerpc(11)), SERVER(dcerpc(2))], "probable", id="a response, but a bind was asked for"),
        pytest.param([CLIENT(dcerpc(0)), SERVER(dcerpc(3))], "confirmed", id="a fault"),
        pytest.param([CLIENT(dcerpc(12)), SERVER(dcerpc(12))], "no", id="two answers"),
        pytest.param(
            [CLIENT(dcerpc(11).replace(b"\x10\x00\x00\x00", b"\x11\x00\x00\x00", 1))],
            "no",
            id="a representation that does not exist",
        ),
        pytest.param([CLIENT(b"\x05\x02\x00\x01")], "no", id="SOCKS 5"),
        pytest.param([CLIENT(b"\x05\x64\x08\xc4")], "no", id="DNP3"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Dcerpc, messages) == expected
