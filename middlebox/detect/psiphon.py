"""Psiphon's meek in clear: POSTs whose only sense is in a cookie with a name of one letter.

The one rule: the cookie's form is one program's habit, not a protocol, so it is `probable` at most.

Source: psiphon-tunnel-core, psiphon/meekConn.go (the cookie's form, the content type). Its other protocols are made to
look like noise, TLS or QUIC, and leave nothing to read.
"""

import re
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, Conversation, Detector
from middlebox.detect.http_heads import is_response_begun, read_head
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_COOKIE = re.compile(rb"[A-Za-z]=[0-9A-Za-z+/]{80,}={0,2}")
"A sealed box of at least 60 bytes in base64."
_CONTENT_TYPE = b"application/octet-stream"
_FOREIGN_HEADERS = frozenset({b"referer", b"origin", b"authorization"})
"What programs send that mean a page or a service."


class Psiphon(Detector):
    """Looks at the first request of a connection and whether it was taken."""

    name: ClassVar[str] = "psiphon"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("psiphon",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Its protocols that look like noise, TLS or QUIC, which are most."
    builds_on: ClassVar[tuple[str, ...]] = ("http",)

    __slots__ = ()

    def feed(self, talk: Conversation) -> Answer:
        """Judge the request once it is whole and answered."""
        request = read_head(talk.client)
        if request is None:
            return Opinion.MORE if len(talk.client) < STREAM_LIMIT and is_response_begun(talk.server) else Opinion.NO
        headers = request.headers
        has_cookie = _COOKIE.fullmatch(headers.get(b"cookie", b""))
        if request.words[0] != b"POST" or not has_cookie or headers.get(b"content-type") != _CONTENT_TYPE:
            return Opinion.NO
        if not _FOREIGN_HEADERS.isdisjoint(headers) or not is_response_begun(talk.server):
            return Opinion.NO
        response = read_head(talk.server)
        if response is None:
            return Opinion.MORE if len(talk.server) < STREAM_LIMIT else Opinion.NO
        if response.words[1] != b"200":
            return Opinion.NO
        return Evidence("psiphon", Confidence.PROBABLE, "a POST under a sealed cookie with a one-letter name is taken")
