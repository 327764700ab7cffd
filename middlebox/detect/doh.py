"""DNS over HTTPS: in TLS and QUIC by the resolver's name, in clear by the media type of its messages.

The one rule: a name is `probable` at most, since a resolver's operator may serve a page under it; `confirmed` needs
both sides to say application/dns-message in clear, as behind a proxy that ends TLS.

Sources: RFC 8484 sections 4.1 and 6 (requests, media type), RFC 9113 (HTTP/2), RFC 7541 section 5.2 (Huffman code).
"""

from collections.abc import Mapping
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation, Detector
from middlebox.detect.http_heads import is_response_begun, read_head
from middlebox.detect.news import only_news
from middlebox.detect.resolvers import is_resolver
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MEDIA_TYPE = b"application/dns-message"
_MEDIA_TYPE_HUFFMAN = bytes.fromhex("1d75d0620d263d4c495216a4a840e62f")
"The same as HPACK codes it (RFC 7541 appendix B), to its last bit but the padding."
_HTTP_PROTOCOLS = frozenset({"h2", "h3", "http/1.1"})
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LOOKED_AT = 4 * 1024
"Bytes of each side of HTTP/2 in which the first headers stand."


class Doh(Detector):
    """Looks at names and offered protocols, and in clear at media types."""

    name: ClassVar[str] = "doh"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("doh",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Resolvers whose names are not known, and those that share a name with other services."
    builds_on: ClassVar[tuple[str, ...]] = ("tls", "quic", "http")

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the carrier's facts, or the messages when the carrier is HTTP in clear."""
        carrier = next(
            (name for name in ("tls", "quic") if f"{name}.ja4" in talk.facts or f"{name}.sni" in talk.facts), "http"
        )
        if carrier == "http":
            is_http2 = talk.client.startswith(_HTTP2_PREFACE)
            answer = _judge_http2(talk.client, talk.server) if is_http2 else _judge_http1(talk.client, talk.server)
            answer = only_news(answer, self._given)
            if isinstance(answer, Evidence):
                self._given = answer
            return answer
        return _judge_name(talk.facts, carrier)


def _judge_name(facts: Mapping[str, object], carrier: str) -> Answer:
    offered = facts.get(f"{carrier}.client_alpns")
    speaks_http = isinstance(offered, list) and not _HTTP_PROTOCOLS.isdisjoint(offered)
    # Before RFC 9001 QUIC carried HTTP without saying so.
    if is_resolver(facts.get(f"{carrier}.sni")) and (speaks_http or (carrier == "quic" and offered is None)):
        return Evidence("doh", Confidence.PROBABLE, "the client speaks HTTP to a public resolver, by its name")
    return Opinion.NO


def _judge_http1(client: bytes, server: bytes) -> Answer:
    request = read_head(client)
    if request is None:
        return Opinion.MORE if is_response_begun(server) and len(client) < STREAM_LIMIT else Opinion.NO
    types = (request.headers.get(b"accept", b""), request.headers.get(b"content-type", b""))
    if not any(_MEDIA_TYPE in one for one in types):
        return Opinion.NO
    response = read_head(server) if is_response_begun(server) else None
    return _judge_types(
        has_answer=response is not None,
        is_dns=response is not None and response.headers.get(b"content-type", b"").startswith(_MEDIA_TYPE),
        may_come=is_response_begun(server) and len(server) < STREAM_LIMIT,
    )


def _judge_http2(client: bytes, server: bytes) -> Answer:
    if not _has_media_type(client):
        return Opinion.MORE if len(client) < _LOOKED_AT and len(server) < _LOOKED_AT else Opinion.NO
    is_dns = _has_media_type(server)
    return _judge_types(has_answer=is_dns, is_dns=is_dns, may_come=len(server) < _LOOKED_AT)


def _judge_types(*, has_answer: bool, is_dns: bool, may_come: bool) -> Answer:
    if is_dns:
        reason = "request and response are of the media type application/dns-message"
        return Evidence("doh", Confidence.CONFIRMED, reason)
    reason = "the request is of the media type application/dns-message"
    return Evidence("doh", Confidence.PROBABLE, reason, more=not has_answer and may_come)


def _has_media_type(stream: bytes) -> bool:
    beginning = stream[:_LOOKED_AT]
    return _MEDIA_TYPE in beginning or _MEDIA_TYPE_HUFFMAN in beginning
