"""The UDP encapsulation of Cisco's older VPN client.

The one rule: a magic number alone is `probable` at most; what it begins is proprietary.

Source: nDPI's dissector for Cisco VPN, which saw it between ports 10000.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MAGIC = b"\xfe\x57\x7e\x2b"


class CiscoUdp(Detector):
    """Recognises a magic number."""

    name: ClassVar[str] = "cisco_udp"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("openconnect",)
    client_begins: ClassVar[bytes] = _MAGIC[:1]
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Everything but flows that begin with the one message known."

    __slots__ = ()

    def feed(self, talk: Conversation) -> Answer:
        """Look at the first datagram."""
        if not talk.data.startswith(_MAGIC):
            return Opinion.NO
        return Evidence("openconnect", Confidence.PROBABLE, "the magic number of Cisco's UDP encapsulation")
