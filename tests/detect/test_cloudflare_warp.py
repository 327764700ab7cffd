"""WARP: reserved bytes that are not zero, types of its own, and the WireGuard and QUIC that it is not."""

import pytest

from middlebox.detect.cloudflare_warp import CloudflareWarp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import (
    HERE,
    THERE,
    WARP,
    data_both_ways,
    noise,
    wireguard_data,
    wireguard_initiation,
    wireguard_response,
)


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(CloudflareWarp(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


INITIATION = CLIENT(wireguard_initiation(WARP | 1))


def test_a_server_may_answer_with_zero_reserved_bytes() -> None:
    assert level(udp(INITIATION, SERVER(wireguard_response()))) is Confidence.CONFIRMED
    assert level(udp(INITIATION, SERVER(wireguard_data(HERE, 0)))) is Confidence.CONFIRMED


def test_an_initiation_alone_is_possible() -> None:
    assert level(udp(INITIATION)) is Confidence.POSSIBLE
    assert udp(CLIENT(wireguard_initiation(WARP | 1)[:-16] + noise(16, 9))) is None


def test_its_own_types_are_longer() -> None:
    longer = wireguard_initiation(0xC1)[:-16] + noise(62, 9)
    answer = wireguard_response(WARP | 0xC2) + noise(600, 8)
    assert udp(CLIENT(longer), SERVER(answer), CLIENT(wireguard_data(THERE, 1, WARP | 0xC4)))
    assert level(udp(CLIENT(longer), SERVER(answer))) is Confidence.CONFIRMED


def test_plain_wireguard_is_wireguards() -> None:
    plain = (CLIENT(wireguard_initiation()), SERVER(wireguard_response()))
    assert list(datagrams(CloudflareWarp(), plain)) == [Opinion.NO]
    assert list(datagrams(CloudflareWarp(), data_both_ways(4))) == [Opinion.NO]


@pytest.mark.parametrize(
    ("why", "messages"),
    [
        ("another index", (INITIATION, SERVER(wireguard_response(WARP | 2, receiver=THERE)))),
        ("an answer from the same side", (INITIATION, CLIENT(wireguard_response(WARP | 2)))),
        ("one byte long", (INITIATION, SERVER(wireguard_response(WARP | 2) + b"\x00"))),
        ("reserved bytes that change", tuple(CLIENT(wireguard_data(THERE, n, n << 8 | 4)) for n in range(1, 20))),
        ("a counter that stays", data_both_ways(WARP | 4, rounds=1) * 5),
        ("one index both ways", tuple((n % 2 == 0, wireguard_data(HERE, n, WARP | 4)) for n in range(12))),
    ],
)
def test_what_does_not_link_is_not_confirmed(why: str, messages: tuple[Message, ...]) -> None:
    assert level(udp(*messages)) is not Confidence.CONFIRMED, why


@pytest.mark.parametrize(
    "first",
    [
        b"\xc1\x00\x00\x00\x01\x08" + noise(1194, 1),
        b"\xc4\x6b\x33\x43\xcf\x08" + noise(1194, 1),
        b"\x01\x00" + noise(18, 1),
        b"\x16\xfe\xfd" + noise(80, 1),
        bytes(64),
    ],
)
def test_other_protocols_are_rejected_at_once(first: bytes) -> None:
    assert list(datagrams(CloudflareWarp(), [CLIENT(first)])) == [Opinion.NO]
