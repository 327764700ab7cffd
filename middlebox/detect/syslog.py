"""Syslog over UDP (RFC 5424, RFC 3164).

The one rule: a priority in angle brackets is not enough; a version or a date must follow it.
"""

import re
from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.evidence import Confidence

_START = re.compile(
    rb"<(?:0|[1-9][0-9]{0,2})>"
    rb"(?:1 (?:-|[0-9]{4}-[0-9]{2}-[0-9]{2}T)"
    rb"|(?:[0-9]{1,10}: )?[*.]?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-3][0-9] )"
)
"Priority up to 191; version 1 and a timestamp (RFC 5424 section 6) or a date (RFC 3164 section 4.1.2)."
_BARE = re.compile(rb"<(?:0|[1-9][0-9]{0,2})>[\x20-\x7e]{8}")
"Devices leave the date out, or write it in other ways."
_MAX_PRIORITY = 191


class Syslog(DatagramExchange):
    """Recognises log messages. Nobody answers them."""

    name: ClassVar[str] = "syslog"
    protocols: ClassVar[tuple[str, ...]] = ("syslog",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Syslog over TCP or TLS; messages without a date are possible at most."
    client_begins: ClassVar[bytes] = b"<"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = ""

    def read(self, message: bytes) -> Seen | None:
        """The beginning of one message."""
        is_dated = _START.match(message) is not None
        if not is_dated and _BARE.match(message) is None:
            return None
        if int(message[1 : message.index(b">")]) > _MAX_PRIORITY:
            return None
        if is_dated:
            return Seen("a log message with priority and date")
        return Seen("a log message with a priority", confidence=Confidence.POSSIBLE)
