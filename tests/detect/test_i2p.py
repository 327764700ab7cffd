"""I2P's NTCP: three lengths, and noise in each."""

import pytest

from middlebox.detect.i2p import I2p
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise


def messages(request: bytes, created: bytes, confirmed: bytes) -> tuple[Message, ...]:
    return CLIENT(request), SERVER(created), CLIENT(confirmed)


@pytest.mark.parametrize("confirmed", [448, 464, 592])
def test_the_third_message_may_be_longer_by_blocks(confirmed: int) -> None:
    evidence = last_evidence(stream(I2p(), messages(noise(288), noise(304), noise(confirmed))))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize(
    "exchange",
    [
        (noise(287), noise(304), noise(448)),
        (noise(289), noise(304), noise(448)),
        (noise(288), noise(303), noise(448)),
        (noise(288), noise(305), noise(448)),
        (noise(288), noise(304), noise(449)),
        (noise(288), noise(304), noise(2048)),
        (bytes(288), noise(304), noise(448)),
        (noise(288), b"text" * 76, noise(448)),
    ],
)
def test_other_lengths_and_regular_bytes_are_another_protocol(exchange: tuple[bytes, bytes, bytes]) -> None:
    answers = list(stream(I2p(), messages(*exchange)))
    assert answers[-1] is Opinion.NO
