"""SIP (RFC 3261) over UDP and TCP.

The one rule: a request line or status line with the version, and for `confirmed` a status from the other side with the
Call-ID of the request.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation
from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_METHODS = (
    *(b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"REGISTER ", b"OPTIONS ", b"PRACK ", b"SUBSCRIBE ", b"NOTIFY "),
    *(b"PUBLISH ", b"INFO ", b"REFER ", b"MESSAGE ", b"UPDATE "),
)
"RFC 3261 section 7.1 and its extensions."
_STATUS = b"SIP/2.0 "
_REQUEST_LINE = re.compile(rb"[A-Z]{3,9} (?:sips?|tel|urn):[^\s]{1,1024} SIP/2\.0\r?\n", re.IGNORECASE)
_STATUS_LINE = re.compile(rb"SIP/2\.0 [1-6][0-9]{2} ")
_CALL_ID = re.compile(rb"\n(?:Call-ID|i)[ \t]{0,8}:[ \t]{0,8}([^\s]{1,256})", re.IGNORECASE)
_MAX_HEAD_BYTES = 4096
_HEAD_END = b"\r\n\r\n"
_KEEPALIVE = frozenset(b"\r\n\x00j")
"What phones send between messages to keep a NAT open."


class Sip(DatagramExchange):
    """Recognises requests and the responses to the same call."""

    name: ClassVar[str] = "sip"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("sip",)
    misses: ClassVar[str] = "SIP inside TLS, and connections joined within a message."
    client_begins: ClassVar[bytes] = b"IABCROPSNMU"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "Call-ID"

    def feed(self, talk: Conversation) -> Answer:
        """UDP: one message. TCP: the first message of each side."""
        if not (talk.client or talk.server):
            if self._waiting is not None and talk.data[0] in _KEEPALIVE:
                return Opinion.MORE
            return super().feed(talk)
        if any(stream and stream[0] not in self.client_begins for stream in (talk.client, talk.server)):
            return Opinion.NO
        client, server = talk.client[:_MAX_HEAD_BYTES], talk.server[:_MAX_HEAD_BYTES]
        if not _may_begin(client) or not _may_begin(server):
            return Opinion.NO
        firsts = [self.read(stream) for stream in (client, server)]
        asked = {first.asks for first in firsts if first and first.asks}
        if any(first and first.answers in asked for first in firsts):
            reason = "a response of the other side repeats the request's Call-ID"
            return Evidence("sip", Confidence.CONFIRMED, reason)
        seen = next((first for first in firsts if first), None)
        if self._given is None and seen is not None:
            self._given = Confidence.PROBABLE
            return Evidence("sip", Confidence.PROBABLE, f"{seen.what}, well-formed", more=True)
        are_read = [len(stream) == _MAX_HEAD_BYTES or _HEAD_END in stream for stream in (client, server)]
        return Opinion.NO if all(are_read) else Opinion.MORE

    def read(self, message: bytes) -> Seen | None:
        """First line and Call-ID. Over TCP None as long as these are not complete."""
        head = message[:_MAX_HEAD_BYTES]
        is_request = head.startswith(_METHODS) and _REQUEST_LINE.match(head) is not None
        if not is_request and _STATUS_LINE.match(head) is None:
            return None
        call = _CALL_ID.search(head)
        # The field must be complete, which its line's end shows.
        call_id = call[1] if call and call.end() < len(head) else None
        if is_request:
            return Seen("a SIP request", asks=call_id)
        return Seen("a SIP response", answers=call_id)


def _may_begin(stream: bytes) -> bool:
    """Whether a stream begins with a method or the version, as far as it goes."""
    if not stream:
        return True
    return any(stream.startswith(start[: len(stream)]) for start in (_STATUS, *_METHODS))
