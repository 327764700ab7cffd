"""SOCKS 5: what must fit what, for every method."""

import pytest

from middlebox.detect.socks5 import Socks5
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples_clear_proxies import SOCKS5_PASSWORD, SOCKS5_REQUEST


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Socks5(), messages, segment=segment))


def opinion(*messages: Message) -> object:
    return list(stream(Socks5(), messages))[-1]


GREETING = CLIENT(b"\x05\x02\x00\x02")


def test_levels_rise_message_by_message() -> None:
    for messages, level in (
        ((GREETING,), Confidence.POSSIBLE),
        ((GREETING, SERVER(b"\x05\x00")), Confidence.PROBABLE),
        ((GREETING, SERVER(b"\x05\x00"), CLIENT(SOCKS5_REQUEST)), Confidence.CONFIRMED),
    ):
        evidence = tcp(*messages)
        assert evidence
        assert evidence.confidence is level


@pytest.mark.parametrize(
    ("chosen", "following", "method"),
    [
        (0, SOCKS5_REQUEST, "none"),
        (0, b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", "none"),
        (0, b"\x05\xf0\x00\x03\x0fwww.example.org\x00\x00", "none"),
        (0, b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", "none"),
        (1, b"\x01\x01\x00\x20" + bytes(32), "gssapi"),
        (2, SOCKS5_PASSWORD, "password"),
    ],
)
def test_the_next_message_must_fit_the_method(chosen: int, following: bytes, method: str) -> None:
    greeting = CLIENT(b"\x05\x03\x00\x01\x02")
    answer = SERVER(bytes((5, chosen)))
    evidence = tcp(greeting, answer, CLIENT(following))
    assert evidence
    assert (evidence.confidence, evidence.facts["socks5.method"]) == (Confidence.CONFIRMED, method)
    assert opinion(greeting, answer, CLIENT(b"\x07" + following[1:])) is Opinion.NO


def test_a_client_that_does_not_wait_is_understood() -> None:
    evidence = tcp(CLIENT(b"\x05\x01\x00" + SOCKS5_REQUEST), SERVER(b"\x05\x00"))
    assert evidence
    assert (evidence.confidence, evidence.facts["socks5.command"]) == (Confidence.CONFIRMED, "connect")


def test_no_acceptable_method_stays_probable() -> None:
    evidence = tcp(GREETING, SERVER(b"\x05\xff"))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, False)


def test_a_private_method_stays_probable() -> None:
    evidence = tcp(CLIENT(b"\x05\x01\x80"), SERVER(b"\x05\x80"), CLIENT(b"anything"))
    assert evidence
    assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, {"socks5.method": "0x80"})


@pytest.mark.parametrize(
    ("why", "greeting"),
    [
        ("no methods", b"\x05\x00"),
        ("the same method twice", b"\x05\x02\x00\x00"),
        ("the method that means none", b"\x05\x01\xff"),
        ("too many", b"\x05\x20" + bytes(range(32))),
        ("dce/rpc", b"\x05\x00\x0b\x03\x10\x00\x00\x00"),
    ],
)
def test_what_is_no_greeting_is_another_protocol(why: str, greeting: bytes) -> None:
    assert opinion(CLIENT(greeting)) is Opinion.NO, why


@pytest.mark.parametrize("answer", [b"\x05\x01", b"\x04\x00", b"\x00\x5a" + bytes(6)])
def test_an_answer_that_chooses_nothing_offered_ends_it(answer: bytes) -> None:
    assert opinion(GREETING, SERVER(answer)) is Opinion.NO


@pytest.mark.parametrize(
    "request_", [b"\x05\x04\x00\x01", b"\x05\x01\x01\x01", b"\x05\x01\x00\x02\x01", b"GET / HTTP/1.1\r\n"]
)
def test_a_request_that_breaks_the_format_ends_it(request_: bytes) -> None:
    assert opinion(CLIENT(b"\x05\x01\x00"), SERVER(b"\x05\x00"), CLIENT(request_)) is Opinion.NO
