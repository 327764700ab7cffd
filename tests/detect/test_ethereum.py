"""RLPx: the point must lie on the curve."""

import pytest

from middlebox.detect.ethereum import Ethereum
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.sample import noise
from tests.detect.samples_ordinary_tcp import GENERATOR, rlpx


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(rlpx(GENERATOR[:63] + b"\x00"))], "no", id="one byte beside the curve"),
        pytest.param([CLIENT(rlpx(noise(64)))], "no", id="noise"),
        pytest.param([CLIENT(rlpx(b"\xff" * 64))], "no", id="coordinates outside the field"),
        pytest.param([CLIENT(rlpx()), SERVER(rlpx(noise(64)))], "probable", id="only the client"),
        pytest.param([CLIENT(rlpx()[:40])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Ethereum, messages) == expected
