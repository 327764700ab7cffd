"""AmneziaWG: indices that link behind any padding, and what has only the right sizes."""

import pytest

from middlebox.detect.amneziawg import AmneziaWg
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import (
    AMNEZIA,
    HERE,
    JUNK,
    THERE,
    data_both_ways,
    noise,
    wireguard_data,
    wireguard_initiation,
    wireguard_response,
)


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(AmneziaWg(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def test_junk_and_padding_are_counted() -> None:
    evidence = udp(*AMNEZIA)
    assert evidence
    assert evidence.reason == (
        "the response names the initiation's index, behind 24 and 51 bytes that WireGuard does not have"
    )
    assert evidence.facts == {"amneziawg.junk_packets": 3}


def test_types_alone_are_enough() -> None:
    evidence = udp(CLIENT(wireguard_initiation(0x3A5C71E9)), SERVER(wireguard_response(0x11D2A0B7)))
    assert evidence
    assert evidence.reason == "the response names the initiation's index, under types that WireGuard does not have"


def test_a_signature_packet_may_imitate_quic() -> None:
    assert udp(CLIENT(b"\xc3\x00\x00\x00\x01\x08" + noise(1194, 3)), *AMNEZIA)


def test_an_initiation_may_be_repeated() -> None:
    again = CLIENT(wireguard_initiation(0x3A5C71E9, noise(24, 45)))
    assert udp(*AMNEZIA[:4], *JUNK, again, AMNEZIA[4])


def test_plain_wireguard_is_wireguards() -> None:
    assert list(datagrams(AmneziaWg(), [CLIENT(wireguard_initiation())])) == [Opinion.NO]
    assert udp(*JUNK, CLIENT(wireguard_initiation()), SERVER(wireguard_response())) is None
    assert udp(*data_both_ways(4, rounds=9)) is None


@pytest.mark.parametrize(
    ("why", "answer"),
    [
        ("another index", SERVER(wireguard_response(0x11D2A0B7, noise(51, 42), THERE))),
        ("from the same side", CLIENT(AMNEZIA[4][1])),
        ("a mac2 that is used", SERVER(AMNEZIA[4][1][:-16] + noise(16, 1))),
        ("one byte longer", SERVER(AMNEZIA[4][1] + b"\x00")),
        ("too short", SERVER(AMNEZIA[4][1][-91:])),
    ],
)
def test_an_answer_that_does_not_link_is_nothing(why: str, answer: Message) -> None:
    assert udp(*AMNEZIA[:4], answer) is None, why


def test_small_numbers_are_no_index() -> None:
    def with_index(message: bytes, at: int) -> bytes:
        return message[:at] + b"\x07\x00\x00\x00" + message[at + 4 :]

    initiation = CLIENT(with_index(wireguard_initiation(0x3A5C71E9), 4))
    assert udp(initiation, SERVER(with_index(wireguard_response(0x11D2A0B7), 8))) is None


def test_two_answers_that_do_not_link_end_it() -> None:
    answers = list(datagrams(AmneziaWg(), [*AMNEZIA[:4], *[SERVER(noise(200, n)) for n in range(3)]]))
    assert answers[-1] is Opinion.NO


def test_junk_without_end_is_something_else() -> None:
    answers = list(datagrams(AmneziaWg(), [CLIENT(noise(100, n)) for n in range(60)]))
    assert len(answers) <= 26
    assert answers[-1] is Opinion.NO


def test_text_and_structure_are_rejected_at_once() -> None:
    for first in (b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n", bytes(48), b"\x16\xfe\xfd" + bytes(60)):
        assert list(datagrams(AmneziaWg(), [CLIENT(first)])) == [Opinion.NO]


def test_data_needs_one_type_and_an_index_each_way() -> None:
    assert level(udp(*data_both_ways(0x7A11C0DE, rounds=3))) is Confidence.PROBABLE
    assert udp(*data_both_ways(0x7A11C0DE, 0x7A11C0DF, rounds=9)) is None
    assert udp(*[(n % 2 == 0, wireguard_data(HERE, n, 0x7A11C0DE)) for n in range(12)]) is None
