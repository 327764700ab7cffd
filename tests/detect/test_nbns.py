"""NetBIOS names: letters, scopes and answers, and DNS that is none of it."""

import pytest

from middlebox.detect.nbns import Nbns
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import NBNS_QUERY, NBNS_REPLY, NETBIOS_NAME, dns


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("a letter that no name has", NBNS_QUERY.replace(b"EGEJ", b"EGEZ")),
        ("a short name", NBNS_QUERY.replace(b"\x20EGEJ", b"\x1c")),
        ("cut short", NBNS_QUERY[:-1]),
        ("a type of DNS", dns(7, 0x0110, NETBIOS_NAME, rrtype=1)),
        ("DNS about another name", dns(7, 0x0100, b"\x03www\x00", rrtype=32)),
        ("two questions", NBNS_QUERY[:4] + b"\x00\x02" + NBNS_QUERY[6:]),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Nbns(), [CLIENT(first)])) == [Opinion.NO], why


def test_a_scope_may_follow_the_name() -> None:
    scoped = NBNS_QUERY[:45] + b"\x03lan" + NBNS_QUERY[45:]
    reply = NBNS_REPLY[:45] + b"\x03lan" + NBNS_REPLY[45:]
    evidence = last_evidence(datagrams(Nbns(), [CLIENT(scoped), SERVER(reply)]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert evidence.reason.endswith("repeats its id and name")
