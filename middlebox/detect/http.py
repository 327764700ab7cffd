"""HTTP/1.x over TCP (RFC 9112), and the clear-text preface of HTTP/2 (RFC 9113 section 3.4).

The one rule: only the method, the host and the status leave this file; never a URL or another header.
"""

import re
import string
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_METHOD = re.compile(rb"[A-Za-z][A-Za-z_-]{0,31}")
"An open set (RFC 9110 section 16.1), so WebDAV and the like need no list."
_TARGET = re.compile(rb"[^\x00-\x1f\x7f]+")
"Like servers do, this forgives raw spaces and UTF-8."
_VERSION = re.compile(rb"HTTP/1\.\d")
_REQUEST_LINE_BEGUN = re.compile(rb"(?:[A-Za-z][A-Za-z_-]{0,31}(?: [^\x00-\x1f\x7f]*\r?)?)?")
"Every beginning of a request line before its line end."
_BLANK_LINES = b"\r\n"
"Empty lines before a request are ignored (RFC 9112 section 2.2)."
_HEADERS_END = re.compile(rb"\n\r?\n")
_HOST = re.compile(rb"\nhost:([^\r\n]*)\r?\n", re.IGNORECASE)
_ABSOLUTE_TARGET = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
"A request to a proxy names the host in its target, which wins over Host (RFC 9112 section 3.2.2)."
_AUTHORITY = re.compile(rb"(?:[^@]*@)?(\[[0-9A-Fa-f:.%]{2,64}\]|[!-9;-?A-Z^-~]{1,255})(?::\d*)?")
"Host and port (RFC 3986 section 3.2); an IPv6 address stands in brackets."

_STATUS_LINE = re.compile(rb"HTTP/1\.\d ([1-9]\d\d)[ \r\n]")
_STATUS_LINE_BEGUN = re.compile(rb"(?:H|HT|HTT|HTTP|HTTP/|HTTP/1|HTTP/1\.|HTTP/1\.\d|HTTP/1\.\d (?:[1-9]\d{0,2})?)?")

_REQUEST_PATIENCE = 2_048
"Ours: bytes of a response after which its request is not waited for: captures of one direction have none."

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER_SIZE = 9
"Length (3), type (1), flags (1), stream (4): RFC 9113 section 4.1."
_SETTINGS_FRAME = 4
_SETTING_SIZE = 6
_MAX_FRAME_SIZE = 1 << 14
"The largest frame before both sides agreed otherwise (RFC 9113 section 4.2)."


def _host_name(authority: bytes) -> str | None:
    """The host of `host:port`, lower-case and without a closing dot; None when it is not one."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    return match[1].decode("ascii").strip("[]").lower().rstrip(".") or None


def _find_host(method: bytes, target: bytes, headers: bytes) -> str | None:
    """The host a request is for. `headers` begins with the request line's own line end."""
    if method == b"CONNECT":
        return _host_name(target)
    if match := _ABSOLUTE_TARGET.match(target):
        return _host_name(match[1])
    match = _HOST.search(headers)
    return _host_name(match[1].strip()) if match else None


def _read_request_line(request: bytes) -> tuple[bytes, bytes, int] | None:
    """Method, target (RFC 9112 section 3) and the offset of the line's end; None when it is not complete HTTP/1."""
    end = request.find(b"\n")
    method, _, rest = request[: max(end, 0)].rstrip(b"\r ").partition(b" ")
    target, _, version = rest.strip(b" ").rpartition(b" ")
    if _METHOD.fullmatch(method) and _TARGET.fullmatch(target) and _VERSION.fullmatch(version):
        return method, target.strip(b" "), end
    return None


def _feed_http1(client: bytes, server: bytes) -> Answer:
    if _STATUS_LINE.match(client):
        client, server = server, client  # joined mid-way: who seemed to open the connection is the server
    facts: dict[str, object]
    request = client.lstrip(_BLANK_LINES)
    line = _read_request_line(request)
    if line is None:
        if not client and (status := _STATUS_LINE.match(server)):
            facts = {"http.status": int(status[1])}
            waits = len(server) < _REQUEST_PATIENCE
            return Evidence("http", Confidence.PROBABLE, "a status line; its request is not seen", facts, more=waits)
        begun = _REQUEST_LINE_BEGUN.fullmatch(request) and len(client) < STREAM_LIMIT
        answer = _STATUS_LINE.match(server) or _STATUS_LINE_BEGUN.fullmatch(server)
        return Opinion.MORE if begun and answer else Opinion.NO
    method, target, line_end = line
    headers_end = _HEADERS_END.search(request, line_end)
    facts = {"http.http_method": method.decode("ascii")}
    if host := _find_host(method, target, request[line_end : headers_end.end() if headers_end else None]):
        facts["http.hostname"] = host
    if status := _STATUS_LINE.match(server):
        facts["http.status"] = int(status[1])
        # Some servers answer before they have read the whole request.
        more = host is None and headers_end is None and len(client) < STREAM_LIMIT
        return Evidence("http", Confidence.CONFIRMED, "a status line answers the request line", facts, more)
    if not _STATUS_LINE_BEGUN.fullmatch(server):
        return Opinion.NO
    return Evidence("http", Confidence.PROBABLE, "the client begins with a request line", facts, more=True)


def _is_settings_frame(frame: bytes) -> bool:
    length, stream = int.from_bytes(frame[:3]), int.from_bytes(frame[5:9])
    return frame[3] == _SETTINGS_FRAME and stream == 0 and length % _SETTING_SIZE == 0 and length <= _MAX_FRAME_SIZE


def _feed_http2(client: bytes, server: bytes) -> Answer:
    if len(client) < len(_PREFACE):
        return Opinion.NO if server else Opinion.MORE
    if len(server) < _FRAME_HEADER_SIZE:
        return Evidence("http", Confidence.PROBABLE, "the client begins with the HTTP/2 preface", more=True)
    if not _is_settings_frame(server[:_FRAME_HEADER_SIZE]):
        return Opinion.NO
    return Evidence("http", Confidence.CONFIRMED, "a SETTINGS frame answers the HTTP/2 preface")


class Http(Detector):
    """Finds a request line and its host, then the status line that answers it."""

    name: ClassVar[str] = "http"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("http",)
    client_begins: ClassVar[bytes] = string.ascii_letters.encode() + _BLANK_LINES
    server_begins: ClassVar[bytes] = b"H\x00"
    facts: ClassVar[tuple[str, ...]] = ("http.hostname", "http.http_method", "http.status")
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "HTTP/0.9, requests after the first of a connection, host names inside HTTP/2, and anything inside TLS."
    )

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far, however it was cut into segments."""
        is_http2 = talk.client and _PREFACE[: len(talk.client)] == talk.client[: len(_PREFACE)]
        judge = _feed_http2 if is_http2 else _feed_http1
        answer = only_news(judge(talk.client, talk.server), self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer
