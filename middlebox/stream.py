"""TCP bytes in order, one direction, the first kilobytes only.

On overlap the bytes that were delivered first win: later ones cannot rewrite what a detector has already seen. Among
segments that still wait for a gap the earlier wins, and against one that fills the gap that one, as in Linux.
Whatever cannot be put in order within the bounds breaks the side, which then delivers nothing more.
"""

MAX_HELD_SEGMENTS = 64
"Ours: segments held back until the gap before them is filled, per direction. Together never more than the limit."

_HALF = 1 << 31
_WHOLE = 1 << 32


class StreamSide:
    """Puts one direction's segments in order."""

    __slots__ = ("_held", "_next", "_room", "broken")

    def __init__(self, limit: int) -> None:
        self._next: int | None = None
        self._room = limit
        self._held: dict[int, bytes] = {}
        self.broken = False
        "A gap that could not be bridged: nothing more will come."

    def open(self, sequence: int) -> None:
        """Note the sequence number of a SYN. The first byte of data follows it (RFC 9293 section 3.4)."""
        if self._next is None:
            self._next = (sequence + 1) % _WHOLE

    def push(self, sequence: int, payload: bytes, size: int) -> bytes:
        """Take a segment; return the bytes that are now in order and were not before.

        `size` is the payload's length on the wire; where less was captured the side breaks after it.
        A side that was never opened starts at the first segment seen.
        """
        if self.broken or not self._room:
            return b""
        if self._next is None:
            self._next = sequence
        ahead = (sequence - self._next + _HALF) % _WHOLE - _HALF
        if ahead > 0:
            self._hold(ahead, sequence, payload, complete=len(payload) >= size)
            return b""
        fresh = self._take(payload[-ahead:] if ahead else payload)
        if (sequence + size - self._next + _HALF) % _WHOLE > _HALF:  # sent beyond what was captured
            self.broken = True
            self._forget()
            return fresh
        if self._held:
            fresh += self._drain()
        if not self._room:
            self._forget()
        return fresh

    def _take(self, data: bytes) -> bytes:
        assert self._next is not None
        self._next = (self._next + len(data)) % _WHOLE
        data = data[: self._room]
        self._room -= len(data)
        return data

    def _hold(self, ahead: int, sequence: int, payload: bytes, *, complete: bool) -> None:
        if not complete or ahead >= self._room:
            # A segment cut in the capture could be followed by nothing; what begins beyond the limit is never
            # delivered. Neither can become part of the in-order bytes, so it is left out.
            return
        for start, piece in self._without_held(sequence, payload[: self._room - ahead]):
            if len(self._held) >= MAX_HELD_SEGMENTS:
                self.broken = True
                self._forget()
                return
            self._held[start] = piece

    def _without_held(self, sequence: int, payload: bytes) -> list[tuple[int, bytes]]:
        """The parts of a segment that are not held yet."""
        pieces = [(sequence, payload)]
        for held_start, held in self._held.items():
            remaining = []
            for start, piece in pieces:
                offset = (held_start - start + _HALF) % _WHOLE - _HALF  # where the held part begins in this piece
                if offset >= len(piece) or offset + len(held) <= 0:
                    remaining.append((start, piece))
                    continue
                if offset > 0:
                    remaining.append((start, piece[:offset]))
                if offset + len(held) < len(piece):
                    remaining.append(((start + offset + len(held)) % _WHOLE, piece[offset + len(held) :]))
            pieces = remaining
        return [(start, piece) for start, piece in pieces if piece]

    def _drain(self) -> bytes:
        """Deliver held segments that are now in order."""
        assert self._next is not None
        fresh = b""
        progress = True
        while progress:
            progress = False
            for start, piece in list(self._held.items()):
                ahead = (start - self._next + _HALF) % _WHOLE - _HALF
                if ahead <= 0:
                    del self._held[start]
                    fresh += self._take(piece[-ahead:] if ahead else piece)
                    progress = True
        return fresh

    def _forget(self) -> None:
        self._held = {}
