"""SIP: first lines, calls, and streams cut anywhere."""

import pytest

from middlebox.detect.sip import Sip
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence, stream
from tests.detect.samples_ordinary_udp import SIP_REQUEST, SIP_RESPONSE


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("another version", SIP_REQUEST.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n")),
        ("a method that none has", b"GET" + SIP_REQUEST[8:]),
        ("no address", SIP_REQUEST.replace(b"sip:example.org", b"*")),
        ("rtsp", b"OPTIONS rtsp://192.0.2.1/ RTSP/1.0\r\n\r\n"),
        ("a status that none has", SIP_RESPONSE.replace(b"401", b"741")),
        ("ssdp", b"NOTIFY * HTTP/1.1\r\n\r\n"),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Sip(), [CLIENT(first)])) == [Opinion.NO], why


def test_keepalives_are_passed_over() -> None:
    messages = [CLIENT(SIP_REQUEST), *[CLIENT(b"\r\n\r\n")] * 9, SERVER(SIP_RESPONSE)]
    evidence = last_evidence(datagrams(Sip(), messages))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


def test_the_short_form_of_the_field_counts() -> None:
    short = [message.replace(b"Call-ID", b"i") for message in (SIP_REQUEST, SIP_RESPONSE)]
    evidence = last_evidence(stream(Sip(), [CLIENT(short[0]), SERVER(short[1])], segment=1))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


def test_another_call_over_tcp_links_nothing() -> None:
    other = SIP_RESPONSE.replace(b"a84b", b"b84b")
    for segment in (1, 1460):
        answers = list(stream(Sip(), [CLIENT(SIP_REQUEST), SERVER(other)], segment=segment))
        evidence = last_evidence(answers)
        assert evidence
        assert evidence.confidence is Confidence.PROBABLE
        assert answers[-1] is Opinion.NO
