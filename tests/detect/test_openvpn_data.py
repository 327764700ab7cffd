"""OpenVPN joined after its handshake: packet ids that rise, headers that stay, and what only looks like them."""

import pytest

from middlebox.detect.openvpn_data import OpenVpnData
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.samples_openvpn_wireguard import in_frame, noise, openvpn_data


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(OpenVpnData(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


BOTH = [side(openvpn_data(number, seed=side is CLIENT)) for number in (7, 8, 9) for side in (CLIENT, SERVER)]


def test_both_ways_under_one_header_confirms() -> None:
    evidence = udp(*BOTH)
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.reason == "data both ways under one key id and peer id, each with rising packet ids"


def test_another_peer_id_each_way_is_probable_only() -> None:
    messages = [side(openvpn_data(n, peer_id=2 + (side is CLIENT))) for n in range(9) for side in (CLIENT, SERVER)]
    assert level(udp(*messages)) is Confidence.PROBABLE


def test_one_way_is_probable() -> None:
    assert level(udp(*[SERVER(openvpn_data(n, 40)) for n in range(30)])) is Confidence.PROBABLE
    assert udp(*[SERVER(openvpn_data(n, 40)) for n in range(2)]) is None


def test_epoch_ids_of_eight_bytes_count_too() -> None:
    messages = [
        side(b"\x48\x00\x00\x01\x00\x01" + number.to_bytes(6) + noise(60, number))
        for number in (1, 2, 3)
        for side in (CLIENT, SERVER)
    ]
    assert level(udp(*messages)) is Confidence.CONFIRMED


def test_copies_and_overtaken_packets_are_passed_over() -> None:
    order = (7, 7, 9, 8, 10, 11)
    assert level(udp(*[side(openvpn_data(n)) for n in order for side in (CLIENT, SERVER)])) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    ("why", "make"),
    [
        ("packet ids that stay", lambda n: openvpn_data(5, seed=n)),
        ("packet ids that leap", lambda n: openvpn_data(1000 * n)),
        ("packet ids that fall", lambda n: openvpn_data(5000 - 100 * n)),
        ("another header each time", lambda n: openvpn_data(n, peer_id=n)),
        ("text", lambda n: openvpn_data(n)[:8] + b"position 1.5 2.5 3.5 " * 3),
        ("too short for a tag", lambda n: openvpn_data(n)[:24]),
        ("a peer id that is text", lambda n: b"HELO" + openvpn_data(n)[4:]),
        ("version 1, without a peer id", lambda n: b"\x30" + openvpn_data(n)[4:]),
        ("a control packet's opcode", lambda n: b"\x20" + openvpn_data(n)[1:]),
    ],
)
def test_what_does_not_rise_under_one_header_is_nothing(why: str, make: type[bytes]) -> None:
    messages = [side(make(n)) for n in range(20) for side in (CLIENT, SERVER)]
    assert udp(*messages) is None, why
    assert list(datagrams(OpenVpnData(), messages))[-1] is Opinion.NO, why


@pytest.mark.parametrize("segment", [1, 7, 1460])
def test_tcp_is_read_by_its_lengths_when_joined_later(segment: int) -> None:
    frames = [in_frame(message) for message in BOTH]
    joined = last_evidence(stream(OpenVpnData(), frames, segment=segment, midstream=True))
    assert level(joined) is Confidence.CONFIRMED
    assert list(stream(OpenVpnData(), frames, segment=segment)) == [Opinion.NO]


def test_tcp_joined_within_a_packet_is_not_read() -> None:
    frames = [in_frame(message) for message in BOTH]
    frames[0] = (True, frames[0][1][5:])
    assert level(last_evidence(stream(OpenVpnData(), frames, midstream=True))) is not Confidence.CONFIRMED
