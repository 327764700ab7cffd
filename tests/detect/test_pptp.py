"""The control connection of PPTP: replies that fit, and the cookie."""

import pytest

from middlebox.detect.pptp import Pptp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples_classic_vpn import PPTP_REPLY, PPTP_REQUEST, pptp


def finding(*messages: Message) -> Evidence | None:
    return last_evidence(stream(Pptp(), messages))


def test_echoes_confirm_when_their_identifier_is_the_same() -> None:
    asked = CLIENT(pptp(5, 16, b"\0\0\0\7"))
    for identifier, expected in ((b"\0\0\0\7", Confidence.CONFIRMED), (b"\0\0\0\x08", Confidence.PROBABLE)):
        evidence = finding(asked, SERVER(pptp(6, 20, identifier)))
        assert evidence
        assert evidence.confidence is expected


def test_the_side_that_accepted_may_ask() -> None:
    evidence = finding(SERVER(PPTP_REQUEST), CLIENT(PPTP_REPLY))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "first",
    [
        PPTP_REQUEST.replace(b"\x1a\x2b", b"\x1a\x2c"),
        b"\x00\x9d" + PPTP_REQUEST[2:],
        b"\x00\x9c\x00\x02" + PPTP_REQUEST[4:],
        pptp(16, 156),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x9c\x00\x00",
    ],
)
def test_other_first_bytes_are_rejected_at_once(first: bytes) -> None:
    assert list(stream(Pptp(), [CLIENT(first)]))[-1] is Opinion.NO
    assert list(stream(Pptp(), [SERVER(first)]))[-1] is Opinion.NO


def test_an_answer_of_another_protocol_ends_it() -> None:
    assert list(stream(Pptp(), [CLIENT(PPTP_REQUEST), SERVER(b"HTTP/1.0 400")]))[-1] is Opinion.NO
