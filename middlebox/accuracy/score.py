"""Counts: how often we are right, for each protocol and level, for each pair of programs, and on ordinary traffic.

The one rule: a flow whose label says too little is left out of precision and recall, and counted as left out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from middlebox.accuracy import ndpi
from middlebox.accuracy.arguments import Arguments, Ruling
from middlebox.accuracy.measure import LEVELS, REFUSED_KINDS, Outcome
from middlebox.lab.result import Interval, wilson_interval
from middlebox.protocols import CARRIERS, CATEGORY_OF

REFUSED_CATEGORIES = frozenset({"vpn", "proxy", "anonymity"})
"What the bar on collateral damage is about."
LONG_FLOW_PACKETS = 25
"The window of the TLS-in-TLS paper (USENIX Security 2024): what judges statistically needs as many."


@dataclass(slots=True)
class LevelScore:
    """One protocol at one level: of the flows that were called so."""

    right: int = 0
    wrong: int = 0
    unjudged: int = 0
    "The label says too little, or this is the name of a carrier and the label that of what it carries."

    @property
    def precision(self) -> Interval | None:
        """Right among right and wrong."""
        return wilson_interval(self.right, self.right + self.wrong)


@dataclass(slots=True)
class ProtocolScore:
    """One protocol."""

    name: str
    levels: dict[str, LevelScore] = field(default_factory=lambda: {level: LevelScore() for level in LEVELS})
    labelled: int = 0
    "Flows that are said to be this protocol, where the label stands up to inspection."
    recognised: int = 0
    "Of these, called by a right name at any level."
    ndpi_recognised: int = 0
    "Of these, called by a right name by ndpiReader."
    ndpi_asked: int = 0
    others: int = 0
    "Scored flows of which the label says that they are something else."
    payload_packets: list[int] = field(default_factory=list)
    "Payload packets to `confirmed`, of flows rightly called so."

    @property
    def recall(self) -> Interval | None:
        """Recognised among labelled."""
        return wilson_interval(self.recognised, self.labelled)

    @property
    def ndpi_recall(self) -> Interval | None:
        """The same for ndpiReader."""
        return wilson_interval(self.ndpi_recognised, self.ndpi_asked)

    @property
    def missed(self) -> int:
        """False negatives."""
        return self.labelled - self.recognised

    @property
    def true_negatives(self) -> int:
        """Flows of other protocols that were not called by this name at any level."""
        return self.others - sum(level.wrong for level in self.levels.values())

    @property
    def packets_median(self) -> float | None:
        """Median payload packets to `confirmed`."""
        return median(self.payload_packets) if self.payload_packets else None

    @property
    def packets_worst(self) -> int | None:
        """Most payload packets to `confirmed`."""
        return max(self.payload_packets, default=None)


@dataclass(slots=True)
class PairScore:
    """One capture of one pair of real programs, or of one public test."""

    name: str
    family: str
    accept: str
    flows: int = 0
    recognised: int = 0
    confirmed: int = 0
    probable: int = 0
    long_flows: int = 0
    "Flows with at least LONG_FLOW_PACKETS packets with payload."
    long_recognised: int = 0
    "Of these, at least probable under a right name."
    said: str = ""
    ndpi: str = ""


@dataclass(slots=True)
class Collateral:
    """Ordinary flows, and what they were called."""

    flows: int = 0
    named: int = 0
    "Called by any name at all."
    confirmed: list[Outcome] = field(default_factory=list)
    "Called a confirmed VPN, proxy or anonymity network."
    probable: list[Outcome] = field(default_factory=list)
    possible: list[Outcome] = field(default_factory=list)
    settled_early: int = 0
    five_rules: int = 0
    "TCP flows that the five rules for fully encrypted traffic would block."
    tcp: int = 0

    def upper_bound(self, hits: int) -> float:
        """The 95 % upper bound of a share; the rule of three where there were no hits."""
        if not self.flows:
            return 1.0
        if not hits:
            return min(1.0, 3 / self.flows)
        interval = wilson_interval(hits, self.flows)
        assert interval is not None
        return interval.high


def effective(outcome: Outcome, arguments: Arguments) -> frozenset[str] | None:
    """The names that count as right for a flow, after the argued corrections of its label."""
    if outcome.flow is None:
        return None
    argument = arguments.of(outcome)
    if argument is not None and argument.ruling is Ruling.LABEL:
        return frozenset(argument.truth) if argument.truth else None
    return outcome.flow.accept


def score_protocols(outcomes: Sequence[Outcome], arguments: Arguments) -> list[ProtocolScore]:
    """One score for every name that stands in a label or was given by us."""
    scores: dict[str, ProtocolScore] = {}
    judged = [(outcome, accept) for outcome in outcomes if (accept := effective(outcome, arguments)) is not None]
    for outcome, accept in judged:
        primary = _primary(outcome, accept)
        of_label = scores.setdefault(primary, ProtocolScore(primary))
        of_label.labelled += 1
        is_right = outcome.name in accept
        of_label.recognised += is_right
        if outcome.ndpi is not None:
            of_label.ndpi_asked += 1
            of_label.ndpi_recognised += ndpi.is_right(outcome.ndpi, accept)
        if outcome.level is not None:
            of_name = scores.setdefault(outcome.name, ProtocolScore(outcome.name))
            level = of_name.levels[outcome.level]
            if is_right:
                level.right += 1
                if outcome.level == LEVELS[-1]:
                    of_name.payload_packets.append(outcome.payload_packets)
            elif outcome.name in CARRIERS and accept.isdisjoint(CARRIERS):
                level.unjudged += 1  # `tls` where the label says `openconnect`: missed, but not untrue
            else:
                level.wrong += 1
    for outcome in outcomes:
        if outcome.level is not None and effective(outcome, arguments) is None:
            scores.setdefault(outcome.name, ProtocolScore(outcome.name)).levels[outcome.level].unjudged += 1
    for score in scores.values():
        score.others = sum(score.name not in accept for _, accept in judged)
    return sorted(scores.values(), key=lambda score: (_order(score.name), score.name))


def _primary(outcome: Outcome, accept: frozenset[str]) -> str:
    """The protocol whose recall a flow counts for: what we say if that is right, else the first right name."""
    if outcome.name in accept:
        return outcome.name
    assert outcome.flow is not None
    stated = outcome.flow.label.lower()
    return stated if stated in accept else min(accept, key=lambda name: (_order(name), name))


def _order(name: str) -> int:
    return list(dict.fromkeys(CATEGORY_OF.values())).index(CATEGORY_OF[name])


def score_pairs(outcomes: Iterable[Outcome]) -> list[PairScore]:
    """One line for every capture that is not ordinary, of collections with ground truth."""
    by_capture: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.flow is not None and outcome.flow.kind in REFUSED_KINDS and outcome.flow.accept:
            by_capture[outcome.capture.name].append(outcome)
    return [_pair(of_capture) for of_capture in by_capture.values()]


def _pair(outcomes: list[Outcome]) -> PairScore:
    first = outcomes[0]
    assert first.flow is not None
    assert first.flow.accept is not None
    pair = PairScore(first.capture.name, first.capture.family, " ".join(sorted(first.flow.accept)))
    for outcome in outcomes:
        strong = outcome.is_right and outcome.level in LEVELS[1:]
        pair.flows += 1
        pair.recognised += outcome.is_right
        pair.confirmed += outcome.is_right and outcome.level == LEVELS[2]
        pair.probable += outcome.is_right and outcome.level == LEVELS[1]
        if outcome.data_packets >= LONG_FLOW_PACKETS:
            pair.long_flows += 1
            pair.long_recognised += strong
    pair.said = _tally(f"{outcome.name}/{outcome.level or '-'}" for outcome in outcomes)
    pair.ndpi = _tally(outcome.ndpi or "-" for outcome in outcomes)
    return pair


def _tally(words: Iterable[str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for word in words:
        counts[word] += 1
    return ", ".join(f"{word} {count}" for word, count in sorted(counts.items(), key=lambda item: -item[1])[:3])


def score_collateral(outcomes: Iterable[Outcome], arguments: Arguments) -> Collateral:
    """Ordinary flows, where the label stands up to inspection."""
    collateral = Collateral()
    for outcome in outcomes:
        if not outcome.is_ordinary:
            continue
        argument = arguments.of(outcome)
        if argument is not None and argument.ruling is Ruling.LABEL and CATEGORY_OF[outcome.name] in REFUSED_CATEGORIES:
            continue  # not ordinary after all
        collateral.flows += 1
        collateral.named += outcome.level is not None
        collateral.settled_early += outcome.is_settled_early
        is_tcp = outcome.ends.endswith("TCP")
        collateral.tcp += is_tcp
        collateral.five_rules += is_tcp and outcome.name == "fully-encrypted"
        if outcome.category in REFUSED_CATEGORIES:
            at_level = {"confirmed": collateral.confirmed, "probable": collateral.probable}
            at_level.get(outcome.level or "", collateral.possible).append(outcome)
    return collateral


def disagreements(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Flows on which we and the label differ: another name, or none where the label says tunnel, VPN or proxy."""
    return [outcome for outcome in outcomes if _differs(outcome)]


def _differs(outcome: Outcome) -> bool:
    if outcome.flow is None or outcome.is_right:
        return False
    if outcome.is_scored:
        return outcome.level is not None or outcome.flow.kind in REFUSED_KINDS
    return outcome.is_ordinary and outcome.category in REFUSED_CATEGORIES and outcome.level in LEVELS[1:]


def share_of(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> Interval | None:
    """How many of the outcomes have a property."""
    return wilson_interval(sum(map(holds, outcomes)), len(outcomes))
