"""What came of a run, as data: the one source of the terminal table, the HTML report and `result.json`.

Rule of this file: everything here survives a round trip through JSON, so a report can be made again later.
"""

from math import sqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ControlResult(_Record):
    """The same step without a policy."""

    noticed: str
    detail: str
    seconds: float


class StepResult(_Record):
    """One step: what was tried, what it truly was, what should have happened and what did."""

    step: str
    what: str
    truth: str
    expected: Literal["passed", "refused", "reset"]
    expected_rule: str | None
    noticed: str
    detail: str
    seconds: float
    control: ControlResult | None
    "None where the step need not be tried without a policy."
    seen_as: str | None
    "The protocol that the gateway named, with its confidence."
    rule: str | None
    "The rule that decided the step's flows."
    by_packet: int | None
    "The packet of the flow on which it was decided."
    passed_packets: int | None
    "Of a refused flow, what had passed before."
    passed_bytes: int | None
    problems: list[str]

    @property
    def as_expected(self) -> bool:
        """Whether nothing about the step is wrong."""
        return not self.problems


class Interval(_Record):
    """A share with its 95 % interval (Wilson score)."""

    value: float
    low: float
    high: float


class Score(_Record):
    """How often something said yes to the steps, rightly and wrongly."""

    name: str
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> Interval | None:
        """Of what it said yes to, how much was right; None if it never said yes."""
        return wilson_interval(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Interval | None:
        """Of what it should say yes to, how much it did; None if there was none."""
        return wilson_interval(self.true_positives, self.true_positives + self.false_negatives)


_Z = 1.959963984540054
"The 97.5th percentile of the normal distribution: a two-sided 95 % interval."


def wilson_interval(hits: int, of: int) -> Interval | None:
    """The share `hits / of` with its 95 % Wilson score interval; None for nothing of nothing."""
    if of == 0:
        return None
    share = hits / of
    scale = 1 + _Z**2 / of
    centre = (share + _Z**2 / (2 * of)) / scale
    half = _Z * sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2)) / scale
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


class RuleCount(_Record):
    """How often a rule acted."""

    rule: str
    action: str
    decisions: int


class Check(_Record):
    """One expectation about the whole run."""

    what: str
    expected: str
    found: str
    met: bool


class InterfaceCounters(_Record):
    """What an interface of the gateway carried while the policy was in force."""

    interface: str
    side: str
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


class Result(_Record):
    """A whole run."""

    scenario: str
    title: str
    driver: str
    started: str
    "ISO 8601, UTC."
    seconds: float
    repeat: str
    "The command that runs it again."
    policy: str
    "Name of the policy."
    policy_text: str
    "As enforced, with this run's keys filled in."
    steps: list[StepResult]
    checks: list[Check]
    rules: list[RuleCount]
    rule_scores: list[Score]
    protocol_scores: list[Score]
    counters: list[InterfaceCounters]
    gateway_summary: str
    versions: dict[str, str]
    files: list[str]
    "What was kept beside the report."

    @property
    def met(self) -> bool:
        """Whether every expectation was met."""
        return all(step.as_expected for step in self.steps) and all(check.met for check in self.checks)

    @property
    def unmet(self) -> int:
        """How many steps and checks were not as expected."""
        return sum(not step.as_expected for step in self.steps) + sum(not check.met for check in self.checks)
