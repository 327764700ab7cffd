"""DNS: what counts as a message, what links, and what must not be taken for DNS."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import Conversation
from middlebox.detect.dns import Dns, parse_message
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.samples import DNS_QUERY, DNS_REPLY, QUERY_NAME, with_length
from tests.detect.samples_ordinary_udp import NETBIOS_NAME

IN = b"\x00\x01"
EDNS_COOKIE = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x0c\x00\x0a\x00\x08cookie!!"
ANSWER = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x07"


def message(
    message_id: int = 1,
    flags: int = 0x0100,
    name: bytes = QUERY_NAME,
    rrtype: int = 1,
    rrclass: int = 1,
    rest: bytes = b"",
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
) -> bytes:
    question = name + struct.pack("!2H", rrtype, rrclass) if counts[0] else b""
    return struct.pack("!6H", message_id, flags, *counts) + question + rest


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Dns(), messages))


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Dns(), messages, segment=segment))


def first_answer(data: bytes) -> object:
    return next(datagrams(Dns(), [CLIENT(data)]))


def test_query_alone_is_probable_with_its_name_at_once() -> None:
    evidence = first_answer(DNS_QUERY)
    assert isinstance(evidence, Evidence)
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert evidence.facts == {"dns.rrname": "www.example.org", "dns.rrtype": "A"}
    assert evidence.reason == "a well-formed DNS query"


def test_reply_with_the_same_id_and_question_confirms() -> None:
    evidence = udp(CLIENT(DNS_QUERY), SERVER(DNS_REPLY))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.facts == {"dns.rrname": "www.example.org", "dns.rrtype": "A", "dns.rcode": "NOERROR"}
    assert evidence.reason == "the reply repeats the query's id and question"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(SERVER(message(2, 0x8180)), id="other id"),
        pytest.param(SERVER(message(1, 0x8180, name=b"\x03www\x07example\x03net\x00")), id="other name"),
        pytest.param(SERVER(message(1, 0x8180, rrtype=28)), id="other type"),
        pytest.param(SERVER(message(1, 0xA180)), id="other opcode"),
        pytest.param(CLIENT(message(1, 0x8180)), id="from the side that asked"),
    ],
)
def test_reply_that_does_not_match_stays_probable(reply: Message) -> None:
    evidence = udp(CLIENT(message()), reply)
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


def test_letter_case_of_the_name_does_not_matter() -> None:
    evidence = udp(CLIENT(message(name=b"\x03wWw\x00")), SERVER(message(flags=0x8180, name=b"\x03WwW\x00")))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert evidence.facts["dns.rrname"] == "www"


def test_the_second_of_two_queries_may_be_answered_first() -> None:
    aaaa = message(2, rrtype=28)
    evidence = udp(CLIENT(message()), CLIENT(aaaa), SERVER(message(2, 0x8183, rrtype=28)))
    assert evidence
    assert evidence.facts == {"dns.rrname": "www.example.org", "dns.rrtype": "AAAA", "dns.rcode": "NXDOMAIN"}


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        pytest.param(0x8001, Confidence.CONFIRMED, id="format error"),
        pytest.param(0x8000, Confidence.PROBABLE, id="no error, so the question is missing"),
    ],
)
def test_reply_without_question_links_only_as_an_error(flags: int, level: Confidence) -> None:
    evidence = udp(CLIENT(DNS_QUERY), SERVER(message(0x2B67, flags, counts=(0, 0, 0, 0))))
    assert evidence
    assert evidence.confidence is level


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(message(rest=EDNS_COOKIE, counts=(1, 0, 0, 1)), id="EDNS with a cookie"),
        pytest.param(message(rest=EDNS_COOKIE, counts=(0, 0, 0, 1)), id="cookie without a question"),
        pytest.param(
            message(0, 0, name=b"\x04_ssh\x04_tcp\x05local\x00", rrclass=0x8001), id="multicast, unicast wanted"
        ),
        pytest.param(message(flags=0x2400, rrtype=6), id="NOTIFY"),
        pytest.param(message(flags=0x2800, rrtype=6, rest=ANSWER, counts=(1, 0, 1, 0)), id="UPDATE"),
        pytest.param(message(name=b"\x00", rrtype=2), id="root"),
        pytest.param(message(rrclass=3, rrtype=16), id="CHAOS"),
        pytest.param(message(rrtype=65399), id="private type"),
        pytest.param(message(name=b"\x3f" + bytes(range(0x80, 0xBF)) + b"\x00", rrtype=10), id="eight-bit label"),
    ],
)
def test_unusual_queries_are_dns(data: bytes) -> None:
    evidence = first_answer(data)
    assert isinstance(evidence, Evidence)
    assert evidence.protocol == "dns"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(DNS_QUERY + b"\x00", id="a byte too many"),
        pytest.param(DNS_QUERY[:-1], id="a byte missing"),
        pytest.param(message(flags=0x1900), id="opcode 3"),
        pytest.param(message(flags=0x0103), id="query with a return code"),
        pytest.param(message(rrclass=2), id="class 2"),
        pytest.param(message(rrtype=0), id="type 0"),
        pytest.param(message(name=b"\xc0\x0c"), id="name that points at itself"),
        pytest.param(message(name=b"\x41" + b"a" * 65 + b"\x00"), id="label of 65"),
        pytest.param(message(name=(b"\x3f" + b"a" * 63) * 4 + b"\x00"), id="name of 257"),
        pytest.param(message(counts=(0, 0, 0, 0)), id="empty query"),
        pytest.param(message(counts=(1, 9, 9, 9)), id="more records than bytes"),
        pytest.param(message(name=NETBIOS_NAME, rrtype=32), id="NetBIOS name query"),
        pytest.param(b"\x38" + bytes(range(8)) + b"\x00\x00\x00\x00\x00", id="OpenVPN reset"),
        pytest.param(bytes(12), id="zeros"),
    ],
)
def test_what_breaks_a_rule_is_not_dns(data: bytes) -> None:
    assert first_answer(data) is Opinion.NO


def test_answer_name_may_only_point_backward() -> None:
    forward = ANSWER.replace(b"\xc0\x0c", b"\xc0\x60")
    assert parse_message(message(flags=0x8180, rest=ANSWER, counts=(1, 1, 0, 0)))
    assert parse_message(message(flags=0x8180, rest=forward, counts=(1, 1, 0, 0))) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"\x00", "."),
        (b"\x03a.b\x00", "a\\046b"),
        (b"\x03\xff \\\x01c\x00", "\\255\\032\\092.c"),
    ],
)
def test_names_are_written_unambiguously(name: bytes, text: str) -> None:
    evidence = first_answer(message(name=name))
    assert isinstance(evidence, Evidence)
    assert evidence.facts["dns.rrname"] == text


@pytest.mark.parametrize(("rrtype", "text"), [(65, "HTTPS"), (28, "AAAA"), (10, "NULL"), (65399, "TYPE65399")])
def test_types_have_names(rrtype: int, text: str) -> None:
    evidence = first_answer(message(rrtype=rrtype))
    assert isinstance(evidence, Evidence)
    assert evidence.facts["dns.rrtype"] == text


def test_datagram_captured_in_part_is_judged_by_its_questions() -> None:
    talk, detector = Conversation(), Dns()
    for from_client, data in (CLIENT(DNS_QUERY), SERVER(DNS_REPLY[:-8])):
        talk.data, talk.from_client, talk.size = data, from_client, len(DNS_REPLY)
        answer = detector.feed(talk)
    assert isinstance(answer, Evidence)
    assert answer.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize("segment", [1, 2, 13, 1460])
def test_tcp_exchange_confirms_however_it_is_cut(segment: int) -> None:
    evidence = tcp(CLIENT(with_length(DNS_QUERY)), SERVER(with_length(DNS_REPLY)), segment=segment)
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert evidence.facts["dns.rcode"] == "NOERROR"


def test_zone_transfer_longer_than_what_is_kept_confirms() -> None:
    query, rest = message(rrtype=252), ANSWER * 2000
    reply = message(flags=0x8400, rrtype=252, rest=rest, counts=(1, 2000, 0, 0))
    evidence = tcp(CLIENT(with_length(query)), SERVER(with_length(reply)))
    assert evidence
    assert (evidence.confidence, evidence.facts["dns.rrtype"]) == (Confidence.CONFIRMED, "AXFR")


def test_pipelined_tcp_queries_may_be_answered_in_any_order() -> None:
    queries = with_length(message(1)) + with_length(message(2, rrtype=28))
    evidence = tcp(CLIENT(queries), SERVER(with_length(message(2, 0x8180, rrtype=28))))
    assert evidence
    assert (evidence.confidence, evidence.facts["dns.rrtype"]) == (Confidence.CONFIRMED, "AAAA")


@pytest.mark.parametrize("segment", [1, 1460])
def test_what_follows_the_queries_does_not_undo_them(segment: int) -> None:
    asked = with_length(DNS_QUERY) + with_length(b"\xff" * 40)
    evidence = tcp(CLIENT(asked), SERVER(with_length(DNS_REPLY)), segment=segment)
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([SERVER(with_length(DNS_REPLY))], id="server speaks first"),
        pytest.param([CLIENT(with_length(DNS_REPLY))], id="client replies"),
        pytest.param([CLIENT(DNS_QUERY)], id="no length"),
        pytest.param([CLIENT(b"\x00\x05\x00")], id="length too small"),
        pytest.param([CLIENT(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(9))], id="TLS"),
        pytest.param([CLIENT(b"GET / HTTP/1.1\r\n\r\n")], id="HTTP"),
    ],
)
def test_other_streams_are_refused_at_once(messages: list[Message]) -> None:
    assert list(stream(Dns(), messages)) == [Opinion.NO]


@pytest.mark.parametrize("reply", [message(9, 0x8180), message(flags=0x0100), message(flags=0x8180, rrtype=28)])
def test_tcp_reply_that_does_not_match_does_not_confirm(reply: bytes) -> None:
    answers = list(stream(Dns(), [CLIENT(with_length(message())), SERVER(with_length(reply))]))
    assert answers[-1] is Opinion.NO


@given(st.binary(max_size=600))
def test_random_bytes_are_not_dns(data: bytes) -> None:
    # Hypothesis likes small values, so the opcode is forced to one that DNS does not have.
    assert parse_message(data[:2] + b"\x78" + data[3:]) is None


@given(st.binary(max_size=600), st.booleans())
def test_parser_never_raises(data: bytes, cut: bool) -> None:
    parse_message(DNS_QUERY[:4] + data, cut=cut)
    parse_message(data, cut=cut)


def test_every_cut_of_a_reply_is_refused_whole_and_never_raises() -> None:
    for end in range(len(DNS_REPLY)):
        assert parse_message(DNS_REPLY[:end]) is None
        parse_message(DNS_REPLY[:end], cut=True)
