"""Syslog: priorities, dates and versions."""

import pytest

from middlebox.detect.syslog import Syslog
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import noise


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("a priority that none has", b"<192>Oct 11 22:14:15 host x"),
        ("a leading zero", b"<034>Oct 11 22:14:15 host x"),
        ("no bracket", b"<34 Oct 11 22:14:15 host x"),
        ("markup", b"<html><body>"),
        ("binary", b"<34>" + bytes(20)),
        ("random", b"<" + noise(30, 3)),
        ("the first byte alone", b"<"),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Syslog(), [CLIENT(first)])) == [Opinion.NO], why


DATES = (b"Oct 11 22:14:15 ", b"Oct  1 22:14:15 ", b"*Mar  1 18:46:11.0: ", b"000012: Mar  1 18:46 ", b"1 - ")


@pytest.mark.parametrize("date", DATES)
def test_dates_are_written_in_many_ways(date: bytes) -> None:
    evidence = last_evidence(datagrams(Syslog(), [CLIENT(b"<34>" + date + b"host x")]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
