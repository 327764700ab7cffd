"""BGP: marker, length, type."""

import pytest

from middlebox.detect.bgp import Bgp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import bgp


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(bgp(6, bytes(10)))], "no", id="a type that does not exist"),
        pytest.param([CLIENT(bgp(1, b""))], "no", id="too short for an OPEN"),
        pytest.param([CLIENT(b"\xff" * 15 + b"\x00" + bytes(10))], "no", id="fifteen ones"),
        pytest.param([CLIENT(b"\xff" * 12)], "more", id="cut short"),
        pytest.param([CLIENT(bgp(2, bytes(4))), SERVER(bgp(4, b""))], "confirmed", id="joined mid-way"),
        pytest.param([CLIENT(bgp(1, bytes(10))), SERVER(b"\xff\xfd\x18")], "probable", id="Telnet answers"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Bgp, messages) == expected
