"""Two policies over the same captures: which flows the second one would treat in another way.

Rule of this file: verdicts are compared as the policies say them, whether they enforce or only monitor, so that a
change can be looked at while both monitor.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from middlebox.events import Event
from middlebox.policy.rule import Policy
from middlebox.shells.replay import Advance, Replayed, replay, replay_in_processes

EXAMPLES = 3
"Flows of a group that are named."
REFUSALS = ("drop", "reset", "reject", "dns")
"Verdicts after which the flow, or the answer it asked for, does not come through."


class Kind(StrEnum):
    """What a change means for the flows it touches, in the order in which a person wants to know."""

    REFUSED = "newly refused"
    OTHERWISE = "treated otherwise"
    "Throttled or no longer so, or refused in another way."
    FREED = "freed"
    SAME = "same verdict, other rule"


@dataclass(slots=True, frozen=True)
class Side:
    """What one policy said."""

    verdict: str
    rule: str | None
    "None: the policy's default, or no verdict fell."


@dataclass(slots=True, frozen=True)
class Example:
    """One flow of a group."""

    capture: str
    number: int
    "As `explain` counts."
    event: Event
    "By the policy under which more of the flow was looked at: what is refused early is known less well."


@dataclass(slots=True)
class Group:
    """Flows for which the policies differ in the same way."""

    old: Side
    new: Side
    flows: int = 0
    ordinary: int = 0
    protocols: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    "The first ones, ordinary ones before others."

    @property
    def kind(self) -> Kind:
        """What the change means."""
        if self.old.verdict == self.new.verdict:
            return Kind.SAME
        was, now = self.old.verdict in REFUSALS, self.new.verdict in REFUSALS
        if was == now:
            return Kind.OTHERWISE
        return Kind.REFUSED if now else Kind.FREED

    def add(self, example: Example) -> None:
        """Count one flow."""
        about = example.event["middlebox"]
        assert isinstance(about, dict)
        is_ordinary = about["category"] == "ordinary"
        if is_ordinary:
            self.examples.insert(min(self.ordinary, EXAMPLES), example)
        else:
            self.examples.append(example)
        del self.examples[EXAMPLES:]
        self.flows += 1
        self.ordinary += is_ordinary
        self.protocols[str(about["protocol"])] += 1


@dataclass(slots=True)
class Difference:
    """What came of all captures."""

    flows: int = 0
    "All flows, changed or not."
    captures: int = 0
    problems: list[str] = field(default_factory=list)
    all_readable: bool = True
    by_change: dict[tuple[Side, Side], Group] = field(default_factory=dict)

    @property
    def groups(self) -> list[Group]:
        """What is refused that was not comes first, groups with ordinary flows before others; then the larger ones."""
        kinds = list(Kind)
        return sorted(
            self.by_change.values(),
            key=lambda group: (kinds.index(group.kind), -group.ordinary, -group.flows, str(group.old), str(group.new)),
        )

    def count(self, *kinds: Kind) -> int:
        """Flows that changed in these ways."""
        return sum(group.flows for group in self.by_change.values() if group.kind in kinds)

    @property
    def changed(self) -> int:
        """Flows whose verdict differs."""
        return self.count(Kind.REFUSED, Kind.OTHERWISE, Kind.FREED)

    @property
    def ordinary_refused(self) -> int:
        """Ordinary flows that are newly refused."""
        return sum(group.ordinary for group in self.by_change.values() if group.kind is Kind.REFUSED)

    def add(self, old: Replayed, new: Replayed) -> None:
        """Compare what the policies said about one capture."""
        self.captures += not old.unreadable
        self.problems += dict.fromkeys(old.problems + new.problems)
        self.all_readable = self.all_readable and not (old.unreadable or new.unreadable)
        if old.unreadable is not new.unreadable:
            return  # a process died, which `problems` tells
        # Which packets make up a flow does not depend on the policy, so both have the same flows in the same order.
        for number, (before, after) in enumerate(zip(old.flows, new.flows, strict=True), start=1):
            self.flows += 1
            change = _side(before), _side(after)
            if change[0] != change[1]:
                group = self.by_change.setdefault(change, Group(*change))
                group.add(Example(old.capture, number, max(after, before, key=_inspected)))


def compare(
    old: Policy, new: Policy, captures: Sequence[str], *, jobs: int = 1, advance: Advance | None = None
) -> Difference:
    """Replay captures by both policies. `advance` hears of every byte twice."""
    difference = Difference()
    sides = zip(_replayed(captures, old, jobs, advance), _replayed(captures, new, jobs, advance), strict=True)
    for before, after in sides:
        difference.add(before, after)
    return difference


def _replayed(captures: Sequence[str], policy: Policy, jobs: int, advance: Advance | None) -> Iterator[Replayed]:
    if jobs == 1:
        yield from replay(captures, policy, advance=advance)
        return
    for result in replay_in_processes(captures, policy, jobs=jobs // 2):  # the other half is for the other policy
        if advance is not None:
            advance(result.bytes_read)
        yield result


def _side(event: Event) -> Side:
    about = event["middlebox"]
    assert isinstance(about, dict)
    return Side(str(about["verdict"]), about["rule"])


def _inspected(event: Event) -> int:
    about = event["middlebox"]
    assert isinstance(about, dict)
    return int(about["inspected_packets"])
