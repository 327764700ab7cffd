"""CoAP: options that fit, tokens that come back."""

import pytest

from middlebox.detect.coap import Coap
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import COAP_REQUEST, COAP_RESPONSE, noise


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("a token of nine bytes", b"\x49" + COAP_REQUEST[1:]),
        ("a code that none has", COAP_REQUEST[:1] + b"\x0f" + COAP_REQUEST[2:]),
        ("an option that is cut", COAP_REQUEST[:-1]),
        ("a mark without a payload", COAP_REQUEST + b"\xff"),
        ("a request that is an acknowledgement", b"\x64" + COAP_REQUEST[1:]),
        ("quic", b"\x44" + noise(1199, 3)),
        ("a reserved nibble", COAP_REQUEST[:8] + b"\xf4time"),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Coap(), [CLIENT(first)])) == [Opinion.NO], why


def test_a_response_alone_says_nothing() -> None:
    assert list(datagrams(Coap(), [CLIENT(COAP_RESPONSE)])) == [Opinion.MORE]


def test_long_options_and_payloads_count() -> None:
    asked = COAP_REQUEST[:8] + b"\xbd\x07" + b"a" * 20 + b"\x05query" + b"\xff" + noise(9, 1)
    evidence = last_evidence(datagrams(Coap(), [CLIENT(asked), SERVER(COAP_RESPONSE)]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
