"""SNMP: every element in its place."""

import pytest

from middlebox.detect.snmp import Snmp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import SNMP_3, element, snmp


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("one byte longer", snmp(0xA0, 513) + b"\x00"),
        ("cut short", snmp(0xA0, 513)[:-1]),
        ("a version that none has", snmp(0xA0, 513, version=7)),
        ("a PDU that none has", snmp(0xAF, 513)),
        ("no community", element(0x30, element(2, b"\x01"), element(2, b"\x01"))),
        ("a version of two bytes", element(0x30, element(2, b"\x00\x01"), element(4, b"public"))),
        ("a length without end", b"\x30\x80" + bytes(20)),
        ("version 3 without its data", SNMP_3[:5].replace(b"\x30\x1f", b"\x30\x03")),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Snmp(), [CLIENT(first)])) == [Opinion.NO], why


def test_traps_are_not_answered() -> None:
    evidence = last_evidence(datagrams(Snmp(), [CLIENT(snmp(0xA4, 0, version=0))]))
    assert evidence
    assert evidence.reason == "an SNMP version 1 trap, well-formed"


def test_an_answer_comes_from_the_other_side() -> None:
    evidence = last_evidence(datagrams(Snmp(), [CLIENT(snmp(0xA0, 513)), CLIENT(snmp(0xA2, 513))]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
