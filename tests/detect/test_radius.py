"""RADIUS: lengths and attributes, and codes that answer each other."""

import pytest

from middlebox.detect.radius import Radius
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import radius


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("another length", radius(1, 5, b"\x01\x05bob") + b"\x00"),
        ("an attribute that is too long", radius(1, 5, b"\x01\x06bob")),
        ("an attribute without a length", radius(1, 5, b"\x01\x00bob")),
        ("a request without attributes", radius(1, 5, b"")),
        ("a code that none has", radius(6, 5, b"\x01\x05bob")),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Radius(), [CLIENT(first)])) == [Opinion.NO], why


def test_the_code_must_fit() -> None:
    asked = CLIENT(radius(4, 5, b"\x01\x05bob"))
    fits, other = SERVER(radius(5, 5, b"")), SERVER(radius(2, 5, b""))
    levels = [last_evidence(datagrams(Radius(), [asked, answer])) for answer in (fits, other)]
    assert [evidence.confidence for evidence in levels if evidence] == [Confidence.CONFIRMED, Confidence.PROBABLE]
