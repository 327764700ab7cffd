"""What detectors remember across flows: one memory for each detector and client, service or pair of hosts.

Only detectors that declare `remembers` get one. The one rule: the number of memories is bounded here, the size of each
by its own class, so the whole is bounded.
"""

from collections.abc import Callable

from middlebox.detect.base import Detector, Scope
from middlebox.flow import Flow

MAX_MEMORIES = 16_384
"Ours: memories kept over all detectors. The one that was longest without a new flow goes first."


class Memories:
    """Finds the memory that a detector of a flow shares with others."""

    def __init__(self, at_most: int = MAX_MEMORIES) -> None:
        self._memories: dict[tuple[str, bytes], object] = {}
        "In the order of their last use."
        self._at_most = at_most

    def __len__(self) -> int:
        return len(self._memories)

    def make(self, flow: Flow, kind: type[Detector]) -> Detector:
        """A detector for this flow, with its memory if it has one."""
        match kind.remembers:
            case None:
                return kind()
            case Scope.CLIENT:
                subject = flow.client
            case Scope.SERVICE:
                subject = bytes((flow.transport,)) + flow.server_port.to_bytes(2) + flow.server
            case Scope.PAIR:
                subject = min(flow.client, flow.server) + max(flow.client, flow.server)
        with_memory: Callable[[object], Detector] = kind
        return with_memory(self._find(kind, subject))

    def _find(self, kind: type[Detector], subject: bytes) -> object:
        key = (kind.name, subject)
        memory = self._memories.pop(key, None)
        if memory is None:
            memory = kind.memory()
            if len(self._memories) >= self._at_most:
                del self._memories[next(iter(self._memories))]
        self._memories[key] = memory
        return memory
