"""Puts IP fragments together again, within fixed bounds.

A Linux gateway with connection tracking never sees fragments on its queue (nf_defrag reassembles before),
so this is what makes a replayed capture read like the live gateway.
"""

from middlebox.packet import Fragment

TIMEOUT_SECONDS = 30.0
"Linux net.ipv4.ipfrag_time; RFC 8200 section 4.5 says 60."
MAX_PACKETS = 256
"Ours: packets under reassembly at once. The oldest goes first."
MAX_FRAGMENTS = 45
"Fragments per packet. 1,500-byte links need 45 for the largest IP packet; TSPU drops at the same number."
MAX_BYTES = 65_535
"The largest IP packet (RFC 791 section 3.1)."


class _Partial:
    __slots__ = ("deadline", "end", "header", "parts")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.parts: dict[int, bytes] = {}
        self.end: int | None = None
        self.header: bytes | None = None


class Reassembler:
    """Collects fragments until a packet is whole."""

    def __init__(self) -> None:
        self._partials: dict[tuple[object, ...], _Partial] = {}
        self.discarded = 0
        "Packets given up: overlap, too many fragments, too large, too late, cut in the capture."

    def add(self, fragment: Fragment, now: float) -> bytes | None:
        """Take one fragment; return the whole packet's bytes when this was the last one missing.

        Overlapping fragments spoil the packet, as in Linux (RFC 5722 section 4): there is no honest reason
        for them, and any choice of winner could be the wrong one. An exact repetition is ignored.
        """
        self._expire(now)
        partial = self._partials.get(fragment.identity)
        if partial is None:
            if len(self._partials) >= MAX_PACKETS:
                self._discard(next(iter(self._partials)))
            partial = self._partials[fragment.identity] = _Partial(now + TIMEOUT_SECONDS)
        end = fragment.offset + len(fragment.payload)
        if partial.parts.get(fragment.offset) == fragment.payload and fragment.payload:
            return None
        if not self._fits(partial, fragment, end):
            self._discard(fragment.identity)
            return None
        partial.parts[fragment.offset] = fragment.payload
        if not fragment.more:
            partial.end = end
        if fragment.offset == 0:
            partial.header = fragment.header
        if partial.end is None or partial.header is None:
            return None
        if sum(map(len, partial.parts.values())) != partial.end:
            return None
        del self._partials[fragment.identity]
        body = b"".join(payload for _, payload in sorted(partial.parts.items()))
        return _rebuild(partial.header, body)

    def _fits(self, partial: _Partial, fragment: Fragment, end: int) -> bool:
        if not fragment.whole or not fragment.payload or end > MAX_BYTES or len(partial.parts) >= MAX_FRAGMENTS:
            return False
        if fragment.more and len(fragment.payload) % 8:
            return False  # only the last fragment may have an odd length (RFC 791 section 3.2)
        if partial.end is not None and (end > partial.end or not fragment.more):
            return False
        if not fragment.more and any(start + len(payload) > end for start, payload in partial.parts.items()):
            return False  # bytes beyond the end would stand in for a gap before it
        return all(end <= start or fragment.offset >= start + len(payload) for start, payload in partial.parts.items())

    def _expire(self, now: float) -> None:
        while self._partials:
            identity, oldest = next(iter(self._partials.items()))
            if oldest.deadline > now:
                return
            self._discard(identity)

    def _discard(self, identity: tuple[object, ...]) -> None:
        del self._partials[identity]
        self.discarded += 1


def _rebuild(header: bytes, body: bytes) -> bytes:
    """One packet from the first fragment's header and all payload. The IPv4 checksum is left as it was."""
    total = len(header) + len(body)
    if header[0] >> 4 == 4:
        return header[:2] + min(total, MAX_BYTES).to_bytes(2, "big") + header[4:6] + b"\0\0" + header[8:] + body
    return header[:4] + min(total - 40, MAX_BYTES).to_bytes(2, "big") + header[6:] + body
