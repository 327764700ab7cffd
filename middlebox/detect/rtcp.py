"""RTCP (RFC 3550 section 6): reports about media.

The one rule: a compound packet begins with a report and its lengths must fill the datagram; `confirmed` when both sides
report, or one names the source of the other.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.detect.rtp import VERSIONS

_SENDER_REPORT, _RECEIVER_REPORT = 200, 201
_TYPES = range(192, 214)
"Section 12.1 and IANA's registry: FIR to TOKEN."
_HEADER_BYTES, _INFO_BYTES, _BLOCK_BYTES = 8, 20, 24
"Header with source; sender's information; report block (section 6.4)."
_COUNT = 0x1F
_MAX_PACKETS = 64
"Ours: in one datagram."


class Rtcp(DatagramExchange):
    """Recognises reports of senders and receivers."""

    name: ClassVar[str] = "rtcp"
    protocols: ClassVar[tuple[str, ...]] = ("rtcp",)
    misses: ClassVar[str] = "SRTCP, whose trailer hides the end; reports in RTP's own flow, which is called rtp."
    client_begins: ClassVar[bytes] = bytes(VERSIONS)
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "source"

    def read(self, message: bytes) -> Seen | None:
        """Packets one after the other, to the last byte; the sources in the first one."""
        if len(message) < _HEADER_BYTES or message[1] not in (_SENDER_REPORT, _RECEIVER_REPORT):
            return None
        at = 0
        for _ in range(_MAX_PACKETS):
            if at + 4 > len(message):
                break
            if message[at] not in VERSIONS or message[at + 1] not in _TYPES:
                return None
            at += 4 + 4 * int.from_bytes(message[at + 2 : at + 4])
        blocks = _HEADER_BYTES + (_INFO_BYTES if message[1] == _SENDER_REPORT else 0)
        if at != len(message) or blocks + _BLOCK_BYTES * (message[0] & _COUNT) > len(message):
            return None
        kind = "sender" if message[1] == _SENDER_REPORT else "receiver"
        reported = message[blocks : blocks + 4] if message[0] & _COUNT else None
        return Seen(f"an RTCP {kind} report", asks=message[4:8], answers=reported)
