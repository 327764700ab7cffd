"""HTTP proxies in clear: CONNECT tunnels, and requests that name a whole URL.

The one rule: a CONNECT that was answered with success is `confirmed`; a whole URL is only when the exchange also says
that it means a proxy, since every server must accept that form of request.

Sources: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 sections 3.2.2 (absolute-form) and 3.2.3 (authority-form); for
Proxy-Connection, RFC 9112 appendix C.2.2.
"""

import re
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.detect.http_heads import Head, is_response_begun, read_head
from middlebox.detect.inner import name_of
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.%]{2,64}\]|[0-9A-Za-z._-]{1,255}):\d{1,5}")
_URL = re.compile(rb"(?:https?|ftp|wss?)://[^\s/]{1,260}", re.IGNORECASE)
_METHOD = re.compile(rb"[A-Za-z]{3,16}")
_VERSION = re.compile(rb"HTTP/1\.\d\r?")
_LONGEST_LINE = 8192
"Ours, and what servers commonly take (RFC 9112 section 3 asks for 8000 at least)."
_PROXY_REQUEST_HEADERS = frozenset({b"proxy-connection", b"proxy-authorization"})
_PROXY_RESPONSE_HEADERS = frozenset({b"via", b"proxy-connection", b"proxy-agent", b"proxy-authenticate"})
"Headers that only proxies are sent, and that proxies add (RFC 9110 sections 7.6.3 and 11.7)."
_AUTHENTICATION_REQUIRED = b"407"
"Only proxies answer this (RFC 9110 section 15.5.8)."
_INNER_BYTES = 8
"Of what one side of a tunnel begins with, to name it: as many as the longest mark needs."


class HttpProxy(Detector):
    """Finds requests that are meant for a proxy, and its answers."""

    name: ClassVar[str] = "http_proxy"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("http-connect", "http-proxy")
    facts: ClassVar[tuple[str, ...]] = ("http_proxy.inner",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Proxies inside TLS, transparent ones, and requests for a proxy after the first of a connection."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("http",)

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge the first request, then its answer, then what comes out of a tunnel."""
        request = talk.client.lstrip(b"\r\n")
        line_end = request.find(b"\n", 0, _LONGEST_LINE)
        if line_end < 0:
            return Opinion.NO if len(request) >= _LONGEST_LINE or talk.server else Opinion.MORE
        method, _, rest = request[:line_end].partition(b" ")
        target, version = rest.lstrip(b" ").partition(b" ")[0], rest.rpartition(b" ")[2]
        if not _METHOD.fullmatch(method) or not _VERSION.fullmatch(version):
            return Opinion.NO
        if method.upper() == b"CONNECT" and _AUTHORITY.fullmatch(target):
            answer = _judge_connect(talk.client, talk.server)
        elif _URL.match(target):
            answer = _judge_url(talk.client, talk.server)
        else:
            return Opinion.NO
        answer = only_news(answer, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer


def _judge_connect(client: bytes, server: bytes) -> Answer:
    response = _read_response(server)
    if response is None:
        reason = "the client asks with CONNECT for a tunnel to a host and port"
        return Evidence("http-connect", Confidence.PROBABLE, reason, more=is_response_begun(server))
    status = response.words[1]
    if status == _AUTHENTICATION_REQUIRED:
        reason = "CONNECT to a host and port is answered with 407, proxy authentication required"
        return Evidence("http-connect", Confidence.CONFIRMED, reason)
    if not status.startswith(b"2"):
        return Opinion.NO
    request = read_head(client)
    beginnings = [server[response.end :]] + ([client[request.end :]] if request else [])
    inner = next((name for beginning in beginnings if (name := name_of(beginning))), None)
    facts: dict[str, object] = {"http_proxy.inner": inner} if inner else {}
    more = not inner and all(len(beginning) < _INNER_BYTES for beginning in beginnings)
    reason = "CONNECT to a host and port is answered with success"
    return Evidence("http-connect", Confidence.CONFIRMED, reason, facts, more)


def _read_response(server: bytes) -> Head | None:
    return read_head(server) if is_response_begun(server) else None


def _judge_url(client: bytes, server: bytes) -> Answer:
    reason = "the request names a whole URL, as requests to a proxy do"
    request, response = read_head(client), _read_response(server)
    if request is None or response is None:
        more = is_response_begun(server) and len(client) < STREAM_LIMIT and len(server) < STREAM_LIMIT
        return Evidence("http-proxy", Confidence.PROBABLE, reason, more=more)
    says_proxy = not _PROXY_REQUEST_HEADERS.isdisjoint(request.headers) or not _PROXY_RESPONSE_HEADERS.isdisjoint(
        response.headers
    )
    if says_proxy or response.words[1] == _AUTHENTICATION_REQUIRED:
        reason = "the request names a whole URL, its headers or the answer's mean a proxy, and it was answered"
        return Evidence("http-proxy", Confidence.CONFIRMED, reason)
    return Evidence("http-proxy", Confidence.PROBABLE, f"{reason}, and was answered")
