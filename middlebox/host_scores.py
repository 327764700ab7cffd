"""What was seen of servers over many flows: the memory behind `host_score` conditions.

Statistical detectors are wrong about single flows; about a server they are judged by many (Wails et al., NDSS 2024,
section VI). The one rule: hosts are bounded here, and so are the flows remembered of each.
"""

from typing import Protocol

from middlebox.evidence import Confidence
from middlebox.policy.rule import HostScore

MAX_HOSTS = 65_536
"Ours: servers remembered for each condition. The one without a flow for longest goes first."


class Named(Protocol):
    """A flow whose evidence is complete."""

    server: bytes
    server_port: int
    transport: int

    def was_named(self, protocols: frozenset[str], confidence: Confidence) -> bool:
        """Whether any evidence gave the flow one of these names with this confidence or more."""
        ...


class HostScores:
    """For each condition and server: which of its last flows fitted, as the bits of a number."""

    def __init__(self, scores: frozenset[HostScore] = frozenset(), at_most: int = MAX_HOSTS) -> None:
        self._at_most = at_most
        self._histories: dict[HostScore, dict[bytes, int]] = {score: {} for score in scores}
        "By server in the order of its last flow; the newest flow is the lowest bit."

    def __len__(self) -> int:
        """Servers remembered, over all conditions."""
        return sum(map(len, self._histories.values()))

    def note(self, flow: Named) -> None:
        """Take in a flow of which everything is known."""
        for score, histories in self._histories.items():
            host = _host(flow)
            history = histories.pop(host, None)
            if history is None:
                history = 0
                if len(histories) >= self._at_most:
                    del histories[next(iter(histories))]
            fits = flow.was_named(score.protocols, score.confidence)
            histories[host] = (history << 1 | fits) & ((1 << score.of) - 1)

    def holds(self, score: HostScore, flow: Named) -> bool:
        """Whether enough of the last flows to this flow's server fitted."""
        return self._histories[score].get(_host(flow), 0).bit_count() >= score.flows

    def renewed(self, scores: frozenset[HostScore]) -> "HostScores":
        """For another policy: what is remembered for conditions that it shares stays."""
        renewed = HostScores(scores, self._at_most)
        for score in scores & self._histories.keys():
            renewed._histories[score] = self._histories[score]
        return renewed


def _host(flow: Named) -> bytes:
    return bytes((flow.transport,)) + flow.server_port.to_bytes(2) + flow.server
