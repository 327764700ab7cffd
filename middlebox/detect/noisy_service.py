"""What is remembered of flows of noise to one address and port, so that several can show what one cannot.

The one rule: one flow that was not noise, or first bytes that are alike, and the flows say nothing.

After Wails and others, "On Precisely Detecting Censorship Circumvention in Real-World Networks", NDSS 2024, section VI,
who needed at most 38 flows to a bridge.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum
from math import exp

from middlebox.detect.randomness import heads_vary

FLOWS_REMEMBERED = 8
"Ours: the latest flows to one service."
_FULL_BYTES = 1_448
"The longest packet that obfs4 writes (framing.MaximumSegmentLength); the lengths of its table stay below."
_LEAST_LENGTH = 64
"Ours: shorter packets are left out, for example the last ones of both sides when a proxy closes TLS."
_MAX_LENGTHS = 128
"Ours: different lengths remembered of each side. An obfs4 table has at most 100."
_RANGES = 8
"Ours: chance is reckoned within so many ranges of lengths, because other protocols prefer some."
_COMMON_NEEDED = 3
_CHANCE = 1e-4
"Ours: that independent lengths would have so many in common must be less likely than this."


class Kind(Enum):
    """What one flow to a service looked like."""

    UNKNOWN = "unknown"
    "Too short to tell, or not finished."
    ORDINARY = "ordinary"
    NOISE = "noise"


class Flow:
    """What is remembered of one flow."""

    __slots__ = ("client_head", "kind", "scores", "server_head")

    def __init__(self) -> None:
        self.kind = Kind.UNKNOWN
        self.client_head = b""
        "Its first bytes, which must differ from flow to flow: what has a header does not carry noise only."
        self.server_head = b""
        self.scores: dict[str, float] = {}
        "What each model said last."


class Lengths:
    """The lengths of packets that were not full, over all flows to the service.

    An obfs4 server draws a table of lengths once and for all, sends its seed to each client, and both pad every burst
    or packet to a length of the table. So lengths are few, and those of the client turn up at the server.
    """

    __slots__ = ("_of_side",)

    def __init__(self) -> None:
        self._of_side: tuple[set[int], set[int]] = (set(), set())
        "Of the server and of the client, indexed by `from_client`."

    def add(self, length: int, *, from_client: bool) -> None:
        """Note a length."""
        mine = self._of_side[from_client]
        if _LEAST_LENGTH <= length < _FULL_BYTES and len(mine) < _MAX_LENGTHS:
            mine.add(length)

    def common(self) -> int:
        """How many lengths both sides used, 0 when that may be chance."""
        server, client = self._of_side
        common = len(server & client)
        if common < _COMMON_NEEDED:
            return 0
        width = (_FULL_BYTES - _LEAST_LENGTH) / _RANGES
        counts = [[0] * _RANGES, [0] * _RANGES]
        for side, lengths in zip(counts, (server, client), strict=True):
            for length in lengths:
                side[int((length - _LEAST_LENGTH) / width)] += 1
        # Poisson: the chance of fewer than `common` when the lengths of both sides were drawn independently.
        expected = sum(one * other for one, other in zip(*counts, strict=True)) / width
        term, fewer = exp(-expected), 0.0
        for number in range(common):
            fewer += term
            term *= expected / (number + 1)
        return common if 1 - fewer < _CHANCE else 0


class Service:
    """The latest flows to one address and port."""

    __slots__ = ("flows", "lengths")

    def __init__(self) -> None:
        self.flows: deque[Flow] = deque(maxlen=FLOWS_REMEMBERED)
        self.lengths = Lengths()

    def begin(self) -> Flow:
        """Note a new flow."""
        flow = Flow()
        self.flows.append(flow)
        return flow

    def noisy_flows(self) -> list[Flow]:
        """Those that were noise; none when any was ordinary, or when their first bytes are alike."""
        if any(flow.kind is Kind.ORDINARY for flow in self.flows):
            return []
        noisy = [flow for flow in self.flows if flow.kind is Kind.NOISE]
        vary = heads_vary([one.client_head for one in noisy]) and heads_vary([one.server_head for one in noisy])
        return noisy if vary else []


def sum_of_scores(flows: Iterable[Flow], model: str, at_most: float) -> float:
    """What a model said of several flows, added up with each cut to `at_most`."""
    return sum(max(-at_most, min(at_most, flow.scores.get(model, 0.0))) for flow in flows)
