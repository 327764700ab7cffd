"""DNS tunnels: each program's reply, and replies that fit none."""

import pytest

from middlebox.detect.dns_tunnel import DnsTunnel
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise, with_length
from tests.detect.samples_clear_proxies import (
    CNAME,
    DNS2TCP_QUERY,
    DNSCAT2_QUERY,
    IODINE_QUERY,
    NULL,
    TXT,
    dns_query,
    dns_reply,
    dnstt_query,
)


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(DnsTunnel(), messages))


def program(evidence: Evidence | None) -> tuple[object, Confidence] | None:
    return (evidence.facts["dns_tunnel.program"], evidence.confidence) if evidence else None


@pytest.mark.parametrize("verdict", [b"VACK", b"VNAK", b"VFUL"])
def test_iodines_verdict_may_be_raw_or_in_base32(verdict: bytes) -> None:
    base32 = {b"VACK": b"kzaugs", b"VNAK": b"kzhecs", b"VFUL": b"kzdfkt"}[verdict]
    name = b"\x10h" + base32 + b"abcdefghi\x01t\x00"
    for rrtype, data in ((NULL, verdict + noise(5)), (TXT, b"t" + base32 + b"abc"), (CNAME, name)):
        query = dns_query(b"vaaaakav01i", b"t", b"example", b"org", rrtype=rrtype)
        assert program(udp(CLIENT(query), SERVER(dns_reply(query, data, rrtype)))) == ("iodine", Confidence.CONFIRMED)


def test_iodines_query_alone_is_probable() -> None:
    assert program(udp(CLIENT(IODINE_QUERY))) == ("iodine", Confidence.PROBABLE)
    assert program(udp(CLIENT(IODINE_QUERY), SERVER(dns_reply(IODINE_QUERY, b"hello", NULL)))) == (
        "iodine",
        Confidence.PROBABLE,
    )
    assert udp(CLIENT(dns_query(b"vaaaakav01", b"example", b"org"))) is None


def test_dns2tcps_session_and_sequence_must_come_back() -> None:
    for text, confirms in (
        (b"ARC4AAAABGEhUVFAv", True),
        (b"BRC4AAAABAA", True),
        (b"ARC4AAAACGEhUVFAv", False),
        (b"ARC8AAAABGEhUVFAv", False),
        (b"RC4AAAABBA", False),
    ):
        evidence = udp(CLIENT(DNS2TCP_QUERY), SERVER(dns_reply(DNS2TCP_QUERY, text)))
        assert (evidence is not None) == confirms, text


def test_dns2tcps_first_message_has_no_session_yet() -> None:
    query = dns_query(b"AAAAAOGsQA", b"=auth", b"d", b"example", b"org")
    assert program(udp(CLIENT(query))) == ("dns2tcp", Confidence.PROBABLE)
    reply = dns_reply(query, b"AdSkAAOGsAFJSUVBWQ0g2Nkd")
    assert program(udp(CLIENT(query), SERVER(reply))) == ("dns2tcp", Confidence.CONFIRMED)
    unnamed = dns_query(b"AAAAAOGsQA", b"d", b"example", b"org")
    assert udp(CLIENT(unnamed), SERVER(dns_reply(unnamed, b"AdSkAAOGsAFJSUVBWQ0g2Nkd"))) is None


@pytest.mark.parametrize(
    ("why", "hexadecimal", "confirms"),
    [
        ("same session", b"263400a621010a0000", True),
        ("another session", b"263400a622010a0000", False),
        ("another type", b"263401a621010a0000", False),
        ("the query's own packet", b"05e100a621c3620001", False),
        ("too short", b"263400a621", False),
        ("no hex", b"hello, this is text", False),
    ],
)
def test_dnscat2s_session_must_come_back(why: str, hexadecimal: bytes, confirms: bool) -> None:
    evidence = udp(CLIENT(DNSCAT2_QUERY), SERVER(dns_reply(DNSCAT2_QUERY, hexadecimal)))
    assert (evidence is not None) == confirms, why
    name = bytes([len(hexadecimal)]) + hexadecimal + b"\xc0\x0c"
    evidence = udp(CLIENT(DNSCAT2_QUERY), SERVER(dns_reply(DNSCAT2_QUERY, name, CNAME)))
    assert (evidence is not None) == confirms, why


def test_dnstts_frames_must_fill_query_and_answer() -> None:
    query = dnstt_query(noise(50))
    full, short = with_length(noise(40)) + with_length(noise(9)), with_length(noise(40))[:-1]
    assert program(udp(CLIENT(query), SERVER(dns_reply(query, full)))) == ("dnstt", Confidence.CONFIRMED)
    assert udp(CLIENT(query), SERVER(dns_reply(query, short))) is None
    assert udp(CLIENT(query), SERVER(dns_reply(query, b""))) is None
    poll = dnstt_query(padding=8)
    assert program(udp(CLIENT(poll), SERVER(dns_reply(poll, full)))) == ("dnstt", Confidence.CONFIRMED)


def test_replies_may_come_late_and_in_any_order() -> None:
    queries = [dns_query(b"vaaaakav01i", b"t", b"example", b"org", rrtype=NULL, number=number) for number in range(3)]
    messages = [*(CLIENT(query) for query in queries), SERVER(dns_reply(queries[1], b"VACK" + noise(5), NULL))]
    assert program(udp(*messages)) == ("iodine", Confidence.CONFIRMED)


@pytest.mark.parametrize(
    "labels",
    [
        (b"www", b"example", b"org"),
        (b"2", b"dnscrypt-cert", b"example", b"org"),
        (b"selector1", b"_domainkey", b"example", b"org"),
        (b"d41d8cd98f00b204e9800998ecf8427e", b"hash", b"example", b"org"),
        (b"_acme-challenge", b"example", b"org"),
    ],
)
def test_ordinary_text_lookups_are_none_of_ours(labels: tuple[bytes, ...]) -> None:
    query = dns_query(*labels)
    for text in (b"v=spf1 -all", labels[0], b"d41d8cd98f00b204e9800998ecf8427e", noise(40).hex().encode()):
        assert udp(CLIENT(query), SERVER(dns_reply(query, text))) is None


def test_ordinary_queries_are_given_up_soon() -> None:
    messages = [CLIENT(dns_query(b"www", b"example", b"org", rrtype=1, number=number)) for number in range(9)]
    answers = list(datagrams(DnsTunnel(), messages))
    assert answers[-1] is Opinion.NO
    assert len(answers) <= 4
