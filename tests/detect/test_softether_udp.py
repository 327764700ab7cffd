"""SoftEther over UDP: vectors announced by the packet before, in both versions, and addresses that were asked for."""

import pytest

from middlebox.detect.softether_udp import SoftetherUdp
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_classic_vpn import SOFTETHER_UDP, softether_packets


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(SoftetherUdp(), messages))


def level(*messages: Message) -> Confidence | None:
    evidence = last_evidence(answers(*messages))
    return evidence.confidence if evidence else None


def version_1(seed: int, count: int) -> list[bytes]:
    packets = [noise(90, seed)]
    while len(packets) < count:
        packets.append(packets[-1][-20:] + noise(70, seed + len(packets)))
    return packets


def test_both_versions_are_linked() -> None:
    mine, theirs = version_1(10, 2), version_1(20, 2)
    exchange = (CLIENT(mine[0]), SERVER(theirs[0]), CLIENT(mine[1]), SERVER(theirs[1]))
    assert level(*exchange) is Confidence.CONFIRMED
    assert level(*exchange[:3]) is Confidence.PROBABLE
    assert level(*SOFTETHER_UDP[:4]) is Confidence.CONFIRMED


def test_a_lost_packet_breaks_one_link_only() -> None:
    mine, theirs = softether_packets(1, 4), softether_packets(2, 2)
    exchange = (CLIENT(mine[0]), SERVER(theirs[0]), CLIENT(mine[2]), CLIENT(mine[3]), SERVER(theirs[1]))
    assert level(*exchange) is Confidence.CONFIRMED


def test_vectors_of_the_other_side_link_nothing() -> None:
    packets = softether_packets(1, 4)
    assert level(*[(number % 2 == 0, packet) for number, packet in enumerate(packets)]) is None


def test_random_datagrams_are_left_after_a_few() -> None:
    given = answers(*[(n % 2 == 0, noise(80, n)) for n in range(20)])
    assert (given[-1], len(given)) == (Opinion.NO, 5)


@pytest.mark.parametrize("first", [noise(50), bytes(80), b"text " * 20, b"C", b"IP=192.0.2.7", b"IP=x,PORT=1", b""])
def test_other_first_datagrams_are_rejected_at_once(first: bytes) -> None:
    assert answers(CLIENT(first)) == [Opinion.NO]


def test_an_address_confirms_only_when_it_was_asked_for() -> None:
    told = b"IP=192.0.2.7,PORT=40112"
    assert level(SERVER(told)) is Confidence.PROBABLE
    assert level(CLIENT(b"B"), CLIENT(told)) is Confidence.PROBABLE
    assert level(CLIENT(b"A"), SERVER(told)) is Confidence.CONFIRMED


def test_a_registration_is_probable() -> None:
    pack = b"\0\0\0\5" + b"\0\0\0\x0ahost_name" + bytes(90)
    evidence = last_evidence(answers(CLIENT(pack)))
    assert isinstance(evidence, Evidence)
    assert evidence.reason == "a registration at a NAT traversal server"
