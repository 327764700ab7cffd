"""Snowflake, recognised by its client's DTLS library, Pion, whose old versions sent one extension too many.

Their ServerHello carried `supported_groups`, which only a client may send (RFC 8422 section 4); no other known stack
does that, and networks have blocked Snowflake by it. Pion also serves video calls, in which media packets (RTP) soon
share the flow with DTLS; Snowflake has a data channel only, all of it in DTLS records.

The one rule: the extension alone is `possible`; `probable` needs data both ways in DTLS and not a single media packet.

Sources: Bocovich and others, "Snowflake, a censorship circumvention system using temporary WebRTC proxies", USENIX
Security 2024, section 6; RFC 7983 section 7 (what may share the flow).
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.dtls_packet import APPLICATION_DATA, SERVER_HELLO, message_body, message_type, parse_records
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_SUPPORTED_GROUPS = 10
"RFC 8422 section 5.1.1."
_BEFORE_SESSION_ID, _AFTER_SESSION_ID = 34, 3
"Version and random; cipher suite and compression (RFC 5246 section 7.4.1.3)."
_MEDIA = range(128, 192)
"First byte of RTP and RTCP, RFC 7983 section 7."
_DATA_NEEDED = 4
"Ours: datagrams with data from each side. A call has sent media by then."
_PATIENCE = 12
"Ours: datagrams until the ServerHello has come."
_MOST_DATAGRAMS = 32


class Snowflake(Detector):
    """Recognises Snowflake by Pion's ServerHello and a data channel without media."""

    name: ClassVar[str] = "snowflake"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("snowflake",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 10
    misses: ClassVar[str] = "Clients with a newer Pion, whose handshake is like any other's, and flows joined later."
    builds_on: ClassVar[tuple[str, ...]] = ("dtls",)

    __slots__ = ("_data", "_datagrams", "_is_pion")

    def __init__(self) -> None:
        self._datagrams = 0
        self._is_pion = False
        self._data = [0, 0]
        "Datagrams with application data, from the server of the flow and from its client."

    def feed(self, talk: Conversation) -> Answer:
        """Look for the ServerHello, then at what flows after it."""
        self._datagrams += 1
        records = parse_records(talk.data, talk.size)
        if self._is_pion:
            return self._follow(talk, any(record.content_type == APPLICATION_DATA for record in records))
        for record in records:
            if message_type(record) == SERVER_HELLO:
                if _SUPPORTED_GROUPS not in _extensions(message_body(record)):
                    return Opinion.NO
                self._is_pion = True
                reason = "the ServerHello carries supported_groups, as only old versions of the library Pion send it"
                return Evidence("snowflake", Confidence.POSSIBLE, reason, more=True)
        return Opinion.MORE if self._datagrams < _PATIENCE else Opinion.NO

    def _follow(self, talk: Conversation, is_data: bool) -> Answer:
        if talk.data[0] in _MEDIA or self._datagrams >= _MOST_DATAGRAMS:
            return Opinion.NO
        self._data[talk.from_client] += is_data
        if min(self._data) < _DATA_NEEDED:
            return Opinion.MORE
        reason = "after Pion's ServerHello data flows both ways in DTLS, and no media"
        return Evidence("snowflake", Confidence.PROBABLE, reason)


def _extensions(body: bytes) -> set[int]:
    """Types of the extensions in a ServerHello."""
    session_id = body[_BEFORE_SESSION_ID] if len(body) > _BEFORE_SESSION_ID else 0
    position = _BEFORE_SESSION_ID + 1 + session_id + _AFTER_SESSION_ID + 2
    found = set()
    while position + 4 <= len(body):
        found.add(int.from_bytes(body[position : position + 2]))
        position += 4 + int.from_bytes(body[position + 2 : position + 4])
    return found
