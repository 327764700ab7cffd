"""SOCKS 4: where a request must end, and what may answer it."""

import pytest

from middlebox.detect.socks4 import Socks4
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples_clear_proxies import SOCKS4_REPLY, SOCKS4_REQUEST, SOCKS4A_REQUEST


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Socks4(), messages, segment=segment))


def test_a_request_alone_is_probable_and_tells_what_it_asks() -> None:
    evidence = tcp(CLIENT(SOCKS4A_REQUEST))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert evidence.facts == {"socks4.version": "4a", "socks4.command": "connect"}


@pytest.mark.parametrize("code", [0x5A, 0x5B, 0x5C, 0x5D])
def test_every_reply_code_confirms(code: int) -> None:
    evidence = tcp(CLIENT(SOCKS4_REQUEST), SERVER(bytes((0, code)) + bytes(6)))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


def test_the_side_that_did_not_open_the_connection_may_ask() -> None:
    evidence = tcp(SERVER(SOCKS4_REQUEST), CLIENT(SOCKS4_REPLY))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize(
    ("why", "request_"),
    [
        ("version 5", b"\x05" + SOCKS4_REQUEST[1:]),
        ("command 3", b"\x04\x03" + SOCKS4_REQUEST[2:]),
        ("port 0", b"\x04\x01\x00\x00" + SOCKS4_REQUEST[4:]),
        ("address 0.0.0.0", SOCKS4_REQUEST[:4] + bytes(4) + b"fred\x00"),
        ("address of a group", SOCKS4_REQUEST[:4] + b"\xe0\x00\x00\x01fred\x00"),
        ("a user id that is no text", SOCKS4_REQUEST[:8] + b"\x01\x02\x00"),
        ("more after the request", SOCKS4_REQUEST + b"x"),
        ("4a without a name", SOCKS4A_REQUEST[:9] + b"\x00"),
    ],
)
def test_what_breaks_the_format_is_another_protocol(why: str, request_: bytes) -> None:
    assert list(stream(Socks4(), [CLIENT(request_)]))[-1] is Opinion.NO, why


@pytest.mark.parametrize("reply", [b"\x04" + SOCKS4_REPLY[1:], b"\x00\x59" + bytes(6), b"\x00\x5e" + bytes(6)])
def test_an_answer_that_is_no_reply_ends_it(reply: bytes) -> None:
    assert list(stream(Socks4(), [CLIENT(SOCKS4_REQUEST), SERVER(reply)]))[-1] is Opinion.NO


def test_an_endless_user_id_is_given_up() -> None:
    assert list(stream(Socks4(), [CLIENT(SOCKS4_REQUEST[:8] + b"a" * 300)]))[-1] is Opinion.NO
