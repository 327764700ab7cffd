"""What detectors of simple request and reply protocols share: how each side begins, and whether the two fit.

The one rule: one side's beginning is `possible` or `probable`, as the protocol's own detector says; `confirmed` needs
beginnings of both sides that fit each other.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_PATIENCE_PACKETS, _PATIENCE_BYTES = 6, 1024
"Packets, and bytes of streams, after which a beginning without an answer is left at what it is."


class Paired(Detector):
    """Judges the first bytes of each stream, or each side's first datagram; subclasses write `begins` and `belong`."""

    __slots__ = ("_first", "_given", "_packets")

    transports: ClassVar[tuple[int, ...]] = (TCP,)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Flows joined in the middle of a message."
    what: ClassVar[str]
    "What both sides begin with, as it stands in a sentence."

    def __init__(self) -> None:
        self._first = [b"", b""]
        "Datagrams: the first of server and client."
        self._given = False
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """Judge how each side begins."""
        self._packets += 1
        client, server = talk.client, talk.server
        if not client and not server:
            if not self._first[talk.from_client]:
                self._first[talk.from_client] = talk.data
            server, client = self._first
        from_client = self.begins(client) if client else None
        from_server = self.begins(server) if server else None
        if from_client is False or from_server is False:
            return Opinion.NO
        if from_client and from_server:
            if self.belong(client, server):
                return Evidence(self.protocols[0], Confidence.CONFIRMED, f"both sides begin with {self.what}")
            return Opinion.NO
        if (from_client or from_server) and not self._given:
            level = self.alone(client if from_client else server)
            if level is not None:
                self._given = True
                return Evidence(self.protocols[0], level, f"one side begins with {self.what}", more=True)
        is_early = self._packets < _PATIENCE_PACKETS or 0 < len(talk.client) + len(talk.server) < _PATIENCE_BYTES
        return Opinion.MORE if is_early else Opinion.NO

    def begins(self, data: bytes) -> bool | None:
        """Whether a side's bytes begin as they must; None while that is open."""
        raise NotImplementedError

    def alone(self, data: bytes) -> Confidence | None:
        """What one side's beginning is worth."""
        return Confidence.PROBABLE if data else None

    def belong(self, client: bytes, server: bytes) -> bool:
        """Whether two beginnings fit each other."""
        return bool(client and server)
