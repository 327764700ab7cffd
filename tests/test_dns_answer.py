"""Answers in the server's stead, read by two other implementations: Scapy for the packet, dnspython for the message."""

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from middlebox.dns_answer import TTL_SECONDS, UDP_PAYLOAD_BYTES, answer
from middlebox.policy.rule import All, DnsAnswer, Rule
from middlebox.verdict import Action

HEADERS = {
    "IPv4": IP(src="192.0.2.2", dst="198.51.100.2") / UDP(sport=40001, dport=53),
    "IPv6": IPv6(src="2001:db8:1::2", dst="2001:db8:2::2") / UDP(sport=40001, dport=53),
}
ADDRESSES = tuple(map(ip_address, ("203.0.113.7", "203.0.113.8", "2001:db8::7")))


def rule(kind: DnsAnswer, addresses=()) -> Rule:
    return Rule("answered", All(()), Action.DNS, dns=kind, addresses=addresses)


RULES = [rule(DnsAnswer.NXDOMAIN), rule(DnsAnswer.REFUSED), rule(DnsAnswer.ADDRESS, ADDRESSES)]


def query(kind: str, **options) -> dns.message.Message:
    return dns.message.make_query("WWW.blocked.example.", kind, **options)


def ask(asked: dns.message.Message, by: Rule, family: str = "IPv4") -> dns.message.Message:
    """What a client of dnspython's reads; the packet around it is checked on the way."""
    sent = HEADERS[family] / Raw(asked.to_wire())
    raw = answer(bytes(sent), by)
    assert raw is not None
    back = type(HEADERS[family])(raw)
    assert (back.src, back.dst, back[UDP].sport, back[UDP].dport) == (sent.dst, sent.src, 53, 40001)
    again = back.copy()
    del again[UDP].chksum
    if family == "IPv4":
        del again.chksum
    assert bytes(again) == raw, "a checksum is wrong"
    message = dns.message.from_wire(bytes(back[UDP].payload), raise_on_truncation=True)
    assert asked.is_response(message)
    assert message.question[0].name.labels == asked.question[0].name.labels, "upper and lower case must come back"
    return message


@pytest.mark.parametrize("family", HEADERS)
@pytest.mark.parametrize(("by", "code"), [(RULES[0], dns.rcode.NXDOMAIN), (RULES[1], dns.rcode.REFUSED)])
def test_names_are_denied_for_every_type(family, by, code):
    for kind in ("A", "AAAA", "HTTPS", "TXT", "ANY"):
        message = ask(query(kind), by, family)
        assert (message.rcode(), message.answer) == (code, [])


def texts(message: dns.message.Message) -> list[str]:
    assert all(records.ttl == TTL_SECONDS for records in message.answer)
    return [record.to_text() for records in message.answer for record in records]


@pytest.mark.parametrize("family", HEADERS)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("A", ["203.0.113.7", "203.0.113.8"]),
        ("AAAA", ["2001:db8::7"]),
        ("HTTPS", ['1 . ipv4hint="203.0.113.7,203.0.113.8" ipv6hint="2001:db8::7"']),
        ("ANY", ["203.0.113.7", "203.0.113.8", "2001:db8::7"]),
        ("MX", []),
    ],
)
def test_addresses_are_given_to_those_who_ask_for_them(family, kind, expected):
    message = ask(query(kind), RULES[2], family)
    assert message.rcode() == dns.rcode.NOERROR
    assert texts(message) == expected


def test_a_rule_without_addresses_of_the_asked_family_answers_no_data():
    only4 = rule(DnsAnswer.ADDRESS, ADDRESSES[:1])
    assert ask(query("AAAA"), only4).answer == []
    assert texts(ask(query("HTTPS"), only4)) == ['1 . ipv4hint="203.0.113.7"']


@pytest.mark.parametrize("by", [RULES[0], RULES[2]])
def test_a_no_says_how_long_it_may_be_kept(by):
    (authority,) = ask(query("MX"), by).authority
    assert (authority.ttl, authority[0].minimum) == (TTL_SECONDS, TTL_SECONDS)


def test_flags_come_back_as_a_resolver_would_give_them():
    asked = query("A")
    assert dns.flags.to_text(ask(asked, RULES[2]).flags) == "QR RD RA"
    asked.flags = dns.flags.CD
    assert dns.flags.to_text(ask(asked, RULES[2]).flags) == "QR RA CD"


def test_edns_is_answered_with_edns_and_only_then():
    assert ask(query("A"), RULES[2]).edns == -1
    message = ask(query("A", use_edns=0, want_dnssec=True, payload=4096), RULES[2])
    assert (message.edns, message.payload, message.ednsflags) == (0, UDP_PAYLOAD_BYTES, dns.flags.DO)
    with_cookie = query("A", use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")])
    assert ask(with_cookie, RULES[2]).options == ()


def test_an_answer_never_exceeds_what_the_client_takes():
    many = rule(DnsAnswer.ADDRESS, tuple(ip_address(f"203.0.113.{n}") for n in range(1, 101)))
    for family in HEADERS:
        message = ask(query("A"), many, family)
        assert 20 < len(texts(message)) < 40
        assert len(message.to_wire()) <= 512
        assert len(texts(ask(query("A", use_edns=0, payload=4096), many, family))) == 100


@pytest.mark.parametrize(
    "change",
    [
        lambda wire: wire[:2] + b"\x81" + wire[3:],  # a response
        lambda wire: wire[:2] + b"\x29" + wire[3:],  # UPDATE
        lambda wire: wire[:5] + b"\2" + wire[6:] + wire[12:],  # two questions
        lambda wire: wire[:7] + b"\1" + wire[8:],  # an answer
        lambda wire: wire[:11] + b"\1" + wire[12:],  # an additional record that is not there
        lambda wire: wire[:11] + b"\1" + wire[12:] + b"\0\0\xfa" + bytes(8),  # a signature
        lambda wire: wire[:12] + b"\xc0\x0c" + wire[-4:],  # a name that points at itself
        lambda wire: wire[:12] + (b"\x3f" + b"a" * 63) * 5 + b"\0" + wire[-4:],  # a name of 320 bytes
        lambda wire: wire[:-1],
    ],
)
def test_what_is_no_plain_query_is_not_answered(change):
    wire = query("A").to_wire()
    assert answer(bytes(HEADERS["IPv4"] / Raw(wire)), RULES[0]) is not None
    assert answer(bytes(HEADERS["IPv4"] / Raw(change(wire))), RULES[0]) is None


def test_a_rule_that_answers_nothing_and_a_packet_that_is_no_datagram_give_nothing():
    wire = query("A").to_wire()
    assert answer(bytes(HEADERS["IPv4"] / Raw(wire)), Rule("drops", All(()), Action.DROP)) is None
    assert answer(bytes(IP(proto=47) / Raw(wire)), RULES[0]) is None


@given(st.binary(max_size=120), st.sampled_from(RULES), st.sampled_from(sorted(HEADERS)), st.booleans())
def test_any_bytes_are_answered_or_not_without_an_exception(data, by, family, bare):
    answer(data if bare else bytes(HEADERS[family] / Raw(data)), by)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4), st.sampled_from(RULES))
def test_a_damaged_query_gets_an_answer_that_parses_or_none(changes, by):
    wire = bytearray(query("A", use_edns=0).to_wire())
    for at, value in changes:
        wire[at % len(wire)] = value
    raw = answer(bytes(HEADERS["IPv4"] / Raw(bytes(wire))), by)
    if raw is not None:
        assert dns.message.from_wire(bytes(IP(raw)[UDP].payload)).id == int.from_bytes(wire[:2])
