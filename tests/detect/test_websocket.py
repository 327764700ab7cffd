"""WebSocket: the handshake's proof, and which frames make it a tunnel."""

import struct

import pytest

from middlebox.detect.websocket import WebSocket
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_clear_proxies import ACCEPTED, CHROME_HELLO, TLS_ANSWER, WEBSOCKET, frame


def tcp(
    *messages: Message, asked: bytes = WEBSOCKET, accepted: bytes = ACCEPTED, segment: int = 1460
) -> Evidence | None:
    return last_evidence(stream(WebSocket(), (CLIENT(asked), SERVER(accepted), *messages), segment=segment))


def said(evidence: Evidence | None) -> tuple[str, Confidence]:
    assert evidence
    return evidence.protocol, evidence.confidence


WEB, NOISY = ("websocket", Confidence.CONFIRMED), ("websocket-tunnel", Confidence.PROBABLE)


def test_a_wrong_accept_value_is_no_websocket() -> None:
    assert tcp(accepted=ACCEPTED.replace(b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: A")) is None
    assert tcp(accepted=b"HTTP/1.1 400 Bad Request\r\n\r\n") is None
    assert tcp(asked=WEBSOCKET.replace(b"Upgrade: websocket", b"Upgrade: h2c")) is None


def test_chat_and_ordinary_binary_messages_are_no_tunnel() -> None:
    msgpack = b"\x82\xa4type\xa4push\xa4data\x93\x01\x02\x03" * 8
    counters = struct.pack("<32I", *range(32))
    for content, opcode in ((b'{"say": "hello"}' * 4, 1), (msgpack, 2), (counters, 2)):
        messages = [
            message
            for _ in range(5)
            for message in (CLIENT(frame(content, opcode=opcode, masked=True)), SERVER(frame(content, opcode=opcode)))
        ]
        assert said(tcp(*messages)) == WEB


def test_noise_is_explained_by_a_subprotocol_compression_or_text() -> None:
    noisy = (CLIENT(frame(noise(300), masked=True)), SERVER(frame(noise(301))))
    assert said(tcp(*noisy)) == NOISY
    subprotocol = ACCEPTED.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
    evidence = tcp(*noisy, accepted=subprotocol)
    assert said(evidence) == WEB
    assert evidence
    assert evidence.facts == {"websocket.protocol": "mqtt"}
    assert said(tcp(CLIENT(frame(noise(300), masked=True, compressed=True)), noisy[1])) == WEB
    assert said(tcp(CLIENT(frame(b"hello", opcode=1, masked=True)), *noisy)) == WEB


@pytest.mark.parametrize(
    ("headers", "level"),
    [
        (b"User-Agent: Go-http-client/1.1", Confidence.PROBABLE),
        (b"User-Agent: Mozilla/5.0", Confidence.PROBABLE),
        (b"User-Agent: Mozilla/5.0\r\nOrigin: http://example.org", Confidence.POSSIBLE),
        (b"User-Agent: Python/3.11 websockets/10.4", Confidence.POSSIBLE),
    ],
)
def test_noise_of_a_browser_or_a_named_library_stays_possible(headers: bytes, level: Confidence) -> None:
    asked = WEBSOCKET.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n\r\n")
    noisy = (CLIENT(frame(noise(300), masked=True)), SERVER(frame(noise(301))))
    assert said(tcp(*noisy, asked=asked)) == ("websocket-tunnel", level)


def test_short_or_one_sided_noise_is_not_enough() -> None:
    assert said(tcp(CLIENT(frame(noise(20), masked=True)), SERVER(frame(noise(20))))) == WEB
    assert said(tcp(*[CLIENT(frame(noise(300, seed), masked=True)) for seed in range(5)])) == WEB
    assert said(tcp(*[CLIENT(frame(noise(300, seed), masked=True)) for seed in range(8)])) == NOISY


def test_an_unmasked_client_is_no_subprotocols() -> None:
    subprotocol = ACCEPTED.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: v1\r\n\r\n")
    assert said(tcp(CLIENT(frame(noise(300))), SERVER(frame(noise(301))), accepted=subprotocol)) == NOISY


@pytest.mark.parametrize("segment", [1, 1460])
@pytest.mark.parametrize(
    ("asked", "answered", "inner"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", "http"),
        (b"\x05\x01\x00", b"\x05\x00", "socks5"),
        (b"SSH-2.0-x\r\n", b"SSH-2.0-y\r\n", "ssh"),
    ],
)
def test_a_protocol_that_needs_no_frames_makes_a_tunnel(
    asked: bytes, answered: bytes, inner: str, segment: int
) -> None:
    evidence = tcp(CLIENT(frame(asked, masked=True)), SERVER(frame(answered)), segment=segment)
    assert said(evidence) == ("websocket-tunnel", Confidence.CONFIRMED)
    assert evidence
    assert evidence.facts["websocket.inner"] == inner


def test_an_answer_of_another_protocol_confirms_no_tunnel() -> None:
    evidence = tcp(CLIENT(frame(b"GET / HTTP/1.1\r\n\r\n", masked=True)), SERVER(frame(b"hello", opcode=1)))
    assert said(evidence) == WEB


def test_what_is_no_frame_ends_the_reading() -> None:
    assert said(tcp(CLIENT(b"\xf7" + noise(300)), SERVER(b"\x05" + noise(300)))) == WEB


def test_a_connection_behind_a_header_makes_a_tunnel_probable() -> None:
    asked, answered = (
        noise(60) + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
        noise(38) + b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n" * 3,
    )
    for client, server, inner in ((asked, answered, "http"), (noise(60) + CHROME_HELLO, noise(38) + TLS_ANSWER, "tls")):
        evidence = tcp(CLIENT(frame(client, masked=True)), SERVER(frame(server)))
        assert said(evidence) == NOISY
        assert evidence
        assert evidence.facts["websocket.inner"] == inner
    assert said(tcp(CLIENT(frame(asked, masked=True)), SERVER(frame(b"\x82\x01text\x00\x00" * 10)))) == WEB
