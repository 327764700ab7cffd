"""LLMNR: single labels without flags, and DNS that is close to it."""

import pytest

from middlebox.detect.llmnr import Llmnr
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import ADDRESS, HOST, dns

QUERY = CLIENT(dns(9, 0, HOST))


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("recursion wanted", dns(9, 0x0100, HOST)),
        ("two labels", dns(9, 0, b"\x03www\x03org\x00")),
        ("the root", dns(9, 0, b"\x00")),
        ("a name server's type", dns(9, 0, HOST, rrtype=2)),
        ("no id", dns(0, 0, HOST)),
    ],
)
def test_other_queries_are_dns(why: str, first: bytes) -> None:
    assert last_evidence(datagrams(Llmnr(), [CLIENT(first)])) is None, why


@pytest.mark.parametrize(
    ("why", "answer"),
    [
        ("a recursive server", dns(9, 0x8080, HOST, answers=ADDRESS)),
        ("an authoritative server", dns(9, 0x8400, HOST, answers=ADDRESS)),
        ("nothing answered", dns(9, 0x8000, HOST)),
        ("another id", dns(10, 0x8000, HOST, answers=ADDRESS)),
        ("another name", dns(9, 0x8000, b"\x05other\x00", answers=ADDRESS)),
    ],
)
def test_other_answers_confirm_nothing(why: str, answer: bytes) -> None:
    evidence = last_evidence(datagrams(Llmnr(), [QUERY, SERVER(answer)]))
    assert evidence, why
    assert evidence.confidence is Confidence.PROBABLE, why
