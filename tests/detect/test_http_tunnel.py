"""HTTP tunnels: upgrades that are no WebSocket, httptunnel's pieces, and other programs' marks."""

import pytest

from middlebox.detect.http_tunnel import HttpTunnel
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_clear_proxies import (
    ACCEPTED,
    HTTPTUNNEL_BODY,
    HTTPTUNNEL_GET,
    OK,
    SWITCHING,
    UPGRADE,
    WEBSOCKET,
    frame,
)

ASKED, GRANTED = CLIENT(UPGRADE + b"\r\n"), SERVER(SWITCHING + b"\r\n")


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(HttpTunnel(), messages, segment=segment))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def test_an_upgrade_without_a_key_is_probable_until_content_comes() -> None:
    assert level(tcp(ASKED)) is None
    assert level(tcp(ASKED, GRANTED)) is Confidence.PROBABLE
    assert level(tcp(ASKED, GRANTED, SERVER(b"\x37" + noise(20)))) is Confidence.CONFIRMED


def test_noise_that_begins_like_a_frame_is_told_by_the_other_side() -> None:
    framed = CLIENT(b"\x82\xff" + noise(100))
    assert level(tcp(ASKED, GRANTED, framed)) is Confidence.PROBABLE
    assert level(tcp(ASKED, GRANTED, framed, SERVER(b"\x37" + noise(20)))) is Confidence.CONFIRMED


def test_frames_after_all_confirm_nothing() -> None:
    messages = (CLIENT(frame(noise(40), masked=True)), SERVER(frame(noise(40))))
    assert level(tcp(ASKED, GRANTED, *messages)) is Confidence.PROBABLE
    assert level(tcp(ASKED, GRANTED, CLIENT(b"\x00hello old websocket\xff"))) is Confidence.PROBABLE


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (WEBSOCKET, ACCEPTED),
        (UPGRADE + b"Sec-WebSocket-Key1: 12998 5 Y3 1\r\n\r\n", SWITCHING + b"\r\n"),
        (UPGRADE + b"WebSocket-Protocol: sample\r\n\r\n", SWITCHING + b"\r\n"),
        (UPGRADE.replace(b"websocket", b"h2c") + b"\r\n", SWITCHING + b"\r\n"),
        (UPGRADE + b"\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (UPGRADE + b"\r\n", ACCEPTED),
    ],
)
def test_other_upgrades_are_none_of_ours(asked: bytes, granted: bytes) -> None:
    assert tcp(CLIENT(asked), SERVER(granted), CLIENT(b"\x37" + noise(40))) is None


def test_httptunnels_other_direction_is_probable_since_nothing_answers_it() -> None:
    post = HTTPTUNNEL_GET.replace(b"GET", b"POST")
    assert level(tcp(CLIENT(post + b"\x02\x00\x05hello"))) is Confidence.PROBABLE


@pytest.mark.parametrize("segment", [1, 1460])
def test_httptunnels_answer_must_be_made_of_pieces(segment: int) -> None:
    assert level(tcp(CLIENT(HTTPTUNNEL_GET), SERVER(HTTPTUNNEL_BODY), segment=segment)) is Confidence.CONFIRMED
    padded = HTTPTUNNEL_BODY.replace(b"\x02\x00\x05", b"\x45\x45\x03\x00\x05")
    assert level(tcp(CLIENT(HTTPTUNNEL_GET), SERVER(padded), segment=segment)) is Confidence.CONFIRMED
    page = HTTPTUNNEL_BODY.replace(b"\x02\x00\x05", b"<html>")
    assert level(tcp(CLIENT(HTTPTUNNEL_GET), SERVER(page), segment=segment)) is Confidence.PROBABLE


def test_xhttp_and_meek_are_told_by_their_marks() -> None:
    xhttp = b"GET /x/?x_padding=" + b"X" * 100 + b" HTTP/1.1\r\nHost: example.org\r\n\r\n"
    assert level(tcp(CLIENT(xhttp), SERVER(OK))) is Confidence.PROBABLE
    answer = OK.replace(b"\r\n\r\n", b"\r\nX-Padding: XXXX\r\n\r\n")
    assert level(tcp(CLIENT(xhttp), SERVER(answer))) is Confidence.CONFIRMED
    meek = b"POST / HTTP/1.1\r\nHost: example.org\r\nX-Session-Id: bCq0jC4PnbY\r\nContent-Length: 0\r\n\r\n"
    assert level(tcp(CLIENT(meek), SERVER(OK))) is Confidence.PROBABLE


def test_an_ordinary_request_is_given_up_at_once() -> None:
    answers = list(stream(HttpTunnel(), [CLIENT(b"GET /index.html?crap=1 HTTP/1.1\r\nHost: a\r\n\r\n"), SERVER(OK)]))
    assert len(answers) == 1
