"""Ethereum's discovery over UDP."""

import pytest

from middlebox.detect.ethereum_discovery import EthereumDiscovery
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_ordinary_udp import DISCOVERY_ENDPOINT, DISCOVERY_PING, DISCOVERY_PONG, discovery


def level(*messages: Message) -> Confidence | None:
    found = last_evidence(datagrams(EthereumDiscovery(), messages))
    return found.confidence if found else None


def test_a_pong_to_another_ping_confirms_nothing() -> None:
    other = discovery(2, DISCOVERY_ENDPOINT + b"\xa0" + noise(32, 99) + b"\x84\x65\x00\x00\x00", 7)
    assert level(CLIENT(DISCOVERY_PING), SERVER(other)) is Confidence.PROBABLE


def test_a_ping_from_either_side_is_confirmed_by_its_pong() -> None:
    assert level(SERVER(DISCOVERY_PING), CLIENT(DISCOVERY_PONG)) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "data",
    [
        DISCOVERY_PING[:-1],
        DISCOVERY_PING + b"x",
        DISCOVERY_PING[:96] + b"\x02" + DISCOVERY_PING[97:],
        discovery(7, DISCOVERY_ENDPOINT, 1),
        noise(160, 3),
        DISCOVERY_PING[:98],
    ],
    ids=["cut", "longer", "recovery", "type", "noise", "no-data"],
)
def test_what_does_not_fit_is_nothing(data: bytes) -> None:
    assert level(CLIENT(data)) is None
