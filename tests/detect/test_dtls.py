"""DTLS: hellos however they are fragmented, what shares the flow, and records that do not fill their datagram."""

import pytest

from middlebox.detect.dtls import Dtls
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.hellos import numbers, server_name
from tests.detect.sample import noise
from tests.detect.samples_classic_vpn import (
    DTLS_ANSWER,
    DTLS_HELLO,
    dtls_client_hello,
    dtls_message,
    dtls_record,
    dtls_server_hello,
)

STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + noise(12)
COOKIE_REQUEST = dtls_record(dtls_message(3, b"\xfe\xfd\x04abcd"))
ALERT = dtls_record(b"\x02\x28", content_type=21)


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(Dtls(), messages))


def finding(*messages: Message) -> Evidence:
    evidence = last_evidence(answers(*messages))
    assert evidence
    return evidence


def data(sequence: int, **header: int) -> bytes:
    return dtls_record(noise(60, sequence), content_type=23, epoch=1, sequence=sequence, **header)


def test_hellos_tell_name_and_version_from_either_side() -> None:
    for one, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
        evidence = finding(one(DTLS_HELLO), other(DTLS_ANSWER))
        assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
        assert evidence.facts == {"dtls.sni": "example.org", "dtls.version": "DTLS 1.2"}


def test_a_cookie_request_confirms_and_the_version_comes_later() -> None:
    verified = finding(CLIENT(DTLS_HELLO), SERVER(COOKIE_REQUEST))
    assert (verified.confidence, verified.more) == (Confidence.CONFIRMED, True)
    done = finding(CLIENT(DTLS_HELLO), SERVER(COOKIE_REQUEST), CLIENT(DTLS_HELLO), SERVER(DTLS_ANSWER))
    assert done.facts["dtls.version"] == "DTLS 1.2"


def test_an_alert_confirms_and_an_unfitting_cipher_does_not() -> None:
    assert finding(CLIENT(DTLS_HELLO), SERVER(ALERT)).confidence is Confidence.CONFIRMED
    unfitting = answers(CLIENT(DTLS_HELLO), SERVER(dtls_record(dtls_server_hello(0x002F))))
    assert unfitting[-1] is Opinion.NO


def test_dtls13_says_its_version_in_an_extension() -> None:
    hello = dtls_server_hello(0xC02F)
    extension = numbers(6, 43, 2, 0xFEFC)
    body = hello[12:] + extension
    answer = dtls_record(dtls_message(2, body))
    assert finding(CLIENT(DTLS_HELLO), SERVER(answer)).facts["dtls.version"] == "DTLS 1.3"


def test_the_first_fragment_of_a_hello_is_read() -> None:
    whole = dtls_client_hello(server_name(b"example.org"), (0, bytes(300)))
    total, rest = whole[1:4], whole[12:]
    first = b"\x01" + total + bytes(2) + bytes(3) + (120).to_bytes(3) + rest[:120]
    assert finding(CLIENT(dtls_record(first))).reason == "a well-formed ClientHello"
    second = b"\x01" + total + bytes(2) + (120).to_bytes(3) + (len(rest) - 120).to_bytes(3) + rest[120:]
    assert finding(CLIENT(dtls_record(second))).reason == "records that fill their datagram"


def test_data_both_ways_confirms_a_flow_joined_in_the_middle() -> None:
    assert finding(CLIENT(data(7)), CLIENT(data(8))).confidence is Confidence.PROBABLE
    assert finding(CLIENT(data(7)), SERVER(data(3))).confidence is Confidence.CONFIRMED


def test_connectivity_checks_may_come_first_but_not_for_ever() -> None:
    checks = [CLIENT(STUN), SERVER(STUN)]
    assert finding(*checks * 3, CLIENT(DTLS_HELLO), SERVER(DTLS_ANSWER)).confidence is Confidence.CONFIRMED
    assert answers(*checks * 9)[-1] is Opinion.NO
    assert len(answers(*checks * 9)) == 7


@pytest.mark.parametrize(
    "first",
    [
        DTLS_HELLO + b"\0",
        DTLS_HELLO[:-1],
        b"\x18" + DTLS_HELLO[1:],
        b"\x16\xfe\xfb" + DTLS_HELLO[3:],
        b"\x16\x03\x03" + DTLS_HELLO[3:],
        data(1)[:3] + b"\xff\xff" + data(1)[5:],
        b"\x16",
        b"\x80\x60" + noise(40),
    ],
)
def test_other_first_datagrams_are_rejected_at_once(first: bytes) -> None:
    assert answers(CLIENT(first)) == [Opinion.NO]


def test_a_datagram_full_of_empty_records_is_cheap() -> None:
    many = dtls_record(b"", content_type=23, epoch=1) * 5000
    assert finding(CLIENT(many)).confidence is Confidence.PROBABLE
