"""IPsec over UDP and TCP: what answers confirm, ESP when IKE was not seen, and what is neither."""

import struct

import pytest

from middlebox.detect.ipsec import Ipsec
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_classic_vpn import (
    AUTH_REQUEST,
    AUTH_RESPONSE,
    CLIENT_SPI,
    IKE1_REQUEST,
    IKE1_RESPONSE,
    IKE2_REQUEST,
    IKE2_RESPONSE,
    MARKER,
    NOBODY,
    RESPONDER,
    SERVER_SPI,
    esp,
    ike,
    iketcp,
)


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(Ipsec(), messages))


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(answers(*messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


@pytest.mark.parametrize(
    ("asked", "answer", "version"), [(IKE2_REQUEST, IKE2_RESPONSE, "IKEv2"), (IKE1_REQUEST, IKE1_RESPONSE, "IKEv1")]
)
@pytest.mark.parametrize("marker", [b"", MARKER])
def test_a_response_under_the_initiators_spi_confirms_from_either_side(
    asked: bytes, answer: bytes, version: str, marker: bytes
) -> None:
    for one, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
        evidence = udp(one(marker + asked), other(marker + answer))
        assert evidence
        assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
        assert evidence.facts == {"ipsec.version": version}


def test_messages_that_came_in_the_wrong_order_confirm_too() -> None:
    assert level(udp(SERVER(IKE2_RESPONSE), CLIENT(IKE2_REQUEST))) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "answer",
    [
        ike(RESPONDER, 34, 0x20, initiator=b"another!"),
        ike(RESPONDER, 34, 0x20, message_id=1),
        ike(RESPONDER, 35, 0x08, message_id=1),
        ike(RESPONDER, 2, 0, version=0x10, payload=1),
        IKE2_REQUEST,
    ],
)
def test_what_does_not_answer_confirms_nothing(answer: bytes) -> None:
    assert level(udp(CLIENT(IKE2_REQUEST), SERVER(answer))) is Confidence.PROBABLE


def test_an_answer_from_the_same_side_links_nothing() -> None:
    assert level(udp(CLIENT(IKE2_REQUEST), CLIENT(IKE2_RESPONSE))) is Confidence.PROBABLE


def test_an_ikev1_message_that_is_only_echoed_confirms_nothing() -> None:
    message = ike(RESPONDER, 32, 1, version=0x10, payload=8, message_id=7)
    assert level(udp(CLIENT(message), SERVER(message))) is Confidence.PROBABLE


def test_repeated_requests_are_told_once() -> None:
    assert answers(*[CLIENT(IKE2_REQUEST)] * 6)[1:] == [Opinion.MORE] * 5


@pytest.mark.parametrize(
    "first",
    [
        IKE2_REQUEST[:27],
        IKE2_REQUEST + b"\0",
        IKE2_REQUEST[:-1],
        ike(NOBODY, 34, 0x08, initiator=NOBODY),
        ike(NOBODY, 35, 0x08),
        ike(NOBODY, 34, 0x08, message_id=1),
        ike(NOBODY, 34, 0x08, version=0x30),
        ike(NOBODY, 34, 0x08, payload=5),
        ike(NOBODY, 32, 0x00, version=0x10, payload=1),
        MARKER + IKE2_REQUEST[:-1],
        MARKER,
        bytes(28),
        b"\xfe",
    ],
)
def test_other_first_datagrams_are_rejected_at_once(first: bytes) -> None:
    assert answers(CLIENT(first)) == [Opinion.NO]


def test_keepalives_are_possible_and_hide_no_exchange() -> None:
    keepalive = CLIENT(b"\xff")
    assert level(udp(keepalive)) is Confidence.POSSIBLE
    assert level(udp(keepalive, CLIENT(AUTH_REQUEST), keepalive, SERVER(AUTH_RESPONSE))) is Confidence.CONFIRMED
    assert answers(*[keepalive] * 9)[-1] is Opinion.NO


def both_ways(first: int, second: int, count: int) -> list[Message]:
    return [side(esp(spi, n)) for n in range(1, count + 1) for side, spi in ((CLIENT, first), (SERVER, second))]


def test_esp_both_ways_confirms_after_three_packets_each() -> None:
    exchange = both_ways(SERVER_SPI, CLIENT_SPI, 3)
    assert udp(*exchange[:5]) is None
    assert level(udp(*exchange)) is Confidence.CONFIRMED


def test_esp_one_way_is_probable_at_most() -> None:
    assert level(udp(*[CLIENT(esp(SERVER_SPI, n)) for n in range(1, 30)])) is Confidence.PROBABLE


@pytest.mark.parametrize(
    ("why", "second"),
    [
        ("another number", esp(CLIENT_SPI + 1, 2)),
        ("the same sequence number", esp(SERVER_SPI, 1)),
        ("a sequence number that leaps", esp(SERVER_SPI, 2000)),
        ("a length that is not aligned", esp(SERVER_SPI, 2, 121)),
        ("text", struct.pack("!II", SERVER_SPI, 2) + b"aaaabbbb" * 10),
    ],
)
def test_esp_that_does_not_continue_is_not_esp(why: str, second: bytes) -> None:
    assert udp(CLIENT(esp(SERVER_SPI, 1)), *[CLIENT(second)] * 9) is None, why


@pytest.mark.parametrize("number", [0, 255, 0x48000001, 0x80000000])
def test_numbers_that_ike_does_not_draw_are_none(number: int) -> None:
    assert udp(*both_ways(number, number + 1, 9)) is None


def test_random_datagrams_are_left_after_a_few() -> None:
    for seed in range(40):
        given = answers(*[(n % 2 == 0, noise(120, 50 * seed + n)) for n in range(12)])
        assert given[-1] is Opinion.NO
        assert len(given) <= 3


def test_iketcp_needs_its_prefix_and_an_answer() -> None:
    asked, answer = CLIENT(b"IKETCP" + iketcp(IKE2_REQUEST)), SERVER(iketcp(IKE2_RESPONSE))
    assert level(last_evidence(stream(Ipsec(), [asked, answer]))) is Confidence.CONFIRMED
    assert level(last_evidence(stream(Ipsec(), [asked]))) is Confidence.PROBABLE
    assert list(stream(Ipsec(), [CLIENT(iketcp(IKE2_REQUEST))])) == [Opinion.NO]
    assert list(stream(Ipsec(), [asked, SERVER(b"HTTP/1.1 400 Bad Request")]))[-1] is Opinion.NO
