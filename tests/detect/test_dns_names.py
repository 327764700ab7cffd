"""Names and answers of DNS messages."""

import struct

import pytest

from middlebox.detect.dns_names import read_answers, read_question, split_name
from tests.detect.samples_clear_proxies import CNAME, NULL, TXT, dns_query, dns_reply

QUERY = dns_query(b"a", b"Example", b"org", rrtype=TXT)


def test_a_query_is_read() -> None:
    question = read_question(QUERY)
    assert question
    assert (question.labels, question.rrtype, question.is_reply) == ((b"a", b"Example", b"org"), TXT, False)
    assert question.end == len(QUERY)


@pytest.mark.parametrize(
    ("rrtype", "data", "content"),
    [
        (TXT, b"x" * 300, b"x" * 300),
        (NULL, b"\x00raw", b"\x00raw"),
        (CNAME, b"\x03abc\x02de\xc0\x0c", b"abcde"),
        (15, b"\x00\x0a\x03abc\xc0\x0c", b"abc"),
        (33, b"\x00\x0a\x00\x0a\x00\x50\x03abc\x00", b"abc"),
    ],
)
def test_answers_are_freed_of_their_form(rrtype: int, data: bytes, content: bytes) -> None:
    reply = dns_reply(QUERY, data, rrtype)
    question = read_question(reply)
    assert question
    assert question.is_reply
    assert list(read_answers(reply, question)) == [content]


def test_a_cut_reply_is_no_error() -> None:
    reply = dns_reply(QUERY, b"x" * 300)
    for end in range(len(reply)):
        question = read_question(reply[:end])
        if question is not None:
            assert len(list(read_answers(reply[:end], question))) <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        QUERY[:16],
        QUERY[:2] + b"\x28" + QUERY[3:],
        struct.pack("!6H", 1, 0x0100, 2, 0, 0, 0) + QUERY[12:],
        QUERY[:12] + b"\x40" + QUERY[13:],
    ],
)
def test_what_has_no_single_question_is_none(data: bytes) -> None:
    assert read_question(data) is None


def test_the_registered_domain_is_split_off() -> None:
    assert split_name((b"A", b"b", b"Example", b"org")) == ((b"a", b"b"), (b"example", b"org"))
    assert split_name((b"a", b"example", b"co", b"uk")) == ((b"a",), (b"example", b"co", b"uk"))
    assert split_name((b"org",)) == ((), (b"org",))
