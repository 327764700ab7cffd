"""DNS over HTTPS: names that need HTTP beside them, and media types of both sides."""

import pytest

from middlebox.detect.doh import Doh
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.hellos import alpn, client_hello, records, server_name, supported_versions
from tests.detect.initials import crypto, initial
from tests.detect.samples_clear_proxies import DOH_ANSWER, DOH_GET, OK, TLS_ANSWER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
HUFFMAN = bytes.fromhex("1d75d0620d263d4c495216a4a840e62f")


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Doh(), messages, segment=segment))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


@pytest.mark.parametrize(
    ("name", "offered", "expected"),
    [
        (b"dns.google", (b"h2", b"http/1.1"), Confidence.PROBABLE),
        (b"dns.google", (b"dot",), None),
        (b"www.example.org", (b"h2",), None),
    ],
)
def test_a_resolvers_name_counts_with_http(
    name: bytes, offered: tuple[bytes, ...], expected: Confidence | None
) -> None:
    hello = client_hello(server_name(name), alpn(*offered), supported_versions(0x0304))
    assert level(tcp(CLIENT(records(hello)), SERVER(TLS_ANSWER))) is expected
    offered = tuple(one.replace(b"h2", b"h3") for one in offered)
    hello = client_hello(server_name(name), alpn(*offered), supported_versions(0x0304))
    packet = initial(crypto(0, hello).ljust(1162, b"\0"))
    assert level(last_evidence(datagrams(Doh(), [CLIENT(packet)]))) is expected


def test_both_sides_must_name_the_media_type() -> None:
    assert level(tcp(CLIENT(DOH_GET))) is Confidence.PROBABLE
    assert level(tcp(CLIENT(DOH_GET), SERVER(DOH_ANSWER))) is Confidence.CONFIRMED
    assert level(tcp(CLIENT(DOH_GET), SERVER(OK))) is Confidence.PROBABLE
    assert tcp(CLIENT(DOH_GET.replace(b"dns-message", b"json")), SERVER(DOH_ANSWER)) is None


@pytest.mark.parametrize("segment", [1, 1460])
@pytest.mark.parametrize("media_type", [b"application/dns-message", HUFFMAN])
def test_in_clear_http2_the_type_may_be_compressed(media_type: bytes, segment: int) -> None:
    asked, answered = CLIENT(PREFACE + b"\x5f\x90" + media_type), SERVER(PREFACE[24:] + b"\x5f\x90" + media_type)
    assert level(tcp(asked, SERVER(PREFACE[24:]), segment=segment)) is Confidence.PROBABLE
    assert level(tcp(asked, answered, segment=segment)) is Confidence.CONFIRMED
    assert tcp(CLIENT(PREFACE + bytes(5000)), answered, segment=segment) is None
