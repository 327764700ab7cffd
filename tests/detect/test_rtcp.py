"""RTCP: reports that fill the datagram, and sources that are named."""

import pytest

from middlebox.detect.rtcp import Rtcp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import rtcp, rtp


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("one byte longer", rtcp(7) + b"\x00"),
        ("cut short", rtcp(7)[:-4]),
        ("a description first", rtcp(7)[28:]),
        ("more blocks than there are", b"\x9f" + rtcp(7)[1:]),
        ("rtp", rtp(7)),
        ("another version", b"\x40" + rtcp(7)[1:]),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Rtcp(), [CLIENT(first)])) == [Opinion.NO], why


def test_the_source_must_be_the_other_sides() -> None:
    evidence = last_evidence(datagrams(Rtcp(), [CLIENT(rtcp(7)), SERVER(rtcp(8, 9))]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
