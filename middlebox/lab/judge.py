"""Compares what clients noticed and what the gateway logged with what the scenario expects.

Rule of this file: pure. A refusal counts only if the same step worked without a policy and a rule is on record for it;
a pass counts only if the gateway saw the flow and no rule touched it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from middlebox.lab import topology
from middlebox.lab.clients import Attempt, Noticed
from middlebox.lab.result import Check, ControlResult, InterfaceCounters, RuleCount, Score, StepResult
from middlebox.lab.scenario import LogCheck, Scenario, Step, endpoints
from middlebox.policy.rule import Policy
from middlebox.verdict import Action

Event = Mapping[str, object]

_CLIENT_ADDRESSES = {topology.CLIENT_ADDRESSES.ipv4, topology.CLIENT_ADDRESSES.ipv6}
_MISSING = object()
_DID = {
    Noticed.PASSED: "passed",
    Noticed.REFUSED: "was refused",
    Noticed.RESET: "was reset",
    Noticed.BROKEN: "broke",
}


def value_at(event: Event, dotted: str) -> object:
    """The value at a dotted path such as `middlebox.rule`; something equal to nothing where there is none."""
    value: object = event
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def matches(event: Event, wanted: Mapping[str, object]) -> bool:
    """Whether an event has all these values."""
    return all(value_at(event, path) == value for path, value in wanted.items())


def belongs_to(event: Event, scenario: Scenario, step: Step, attempt: Attempt) -> bool:
    """Whether an event is about a flow of this step.

    Where the client could not be told which source port to use, all flows to the service count.
    """
    if event.get("src_ip") not in _CLIENT_ADDRESSES:
        return False
    if attempt.ports and event.get("src_port") not in attempt.ports:
        return False
    return any(
        event.get("dest_ip") == topology.SERVER_ADDRESSES.of(topology.Family(family))
        and event.get("dest_port") == port
        and event.get("proto") == transport.upper()
        for family, transport, port in endpoints(scenario.service_of(step))
    )


def judge_step(
    scenario: Scenario, step: Step, attempt: Attempt, control: Attempt | None, events: Iterable[Event]
) -> StepResult:
    """One step's result."""
    own = [event for event in events if belongs_to(event, scenario, step, attempt)]
    flows = [event for event in own if event.get("event_type") == "flow"]
    # Log rules decide nothing; the decision that counts is the flow's own verdict.
    decided = next((flow for flow in flows if value_at(flow, "middlebox.rule") is not None), None)
    described = decided or (flows[0] if flows else None)
    refused = decided is not None and value_at(decided, "middlebox.verdict") != "pass"
    rule = _text(decided, "middlebox.rule")
    expected = step.expect
    problems = []
    if control is not None and control.noticed is not Noticed.PASSED:
        problems.append(f"already without a policy it {_DID[control.noticed]}: {control.detail}")
    allowed = {"passed": {Noticed.PASSED}, "reset": {Noticed.RESET}, "refused": {Noticed.REFUSED, Noticed.RESET}}
    if attempt.noticed not in allowed[expected.outcome]:
        problems.append(f"it {_DID[attempt.noticed]}, expected {expected.outcome}: {attempt.detail}")
    if not flows:
        problems.append("the gateway saw no flow of it")
    elif expected.rule is not None and rule != expected.rule:
        problems.append(f"decided by {rule or 'no rule'}, expected {expected.rule}")
    if expected.outcome == "passed":
        refusals = [event for event in own if value_at(event, "middlebox.verdict") not in ("pass", _MISSING)]
        hit_by = sorted({_text(event, "middlebox.rule") or "the default" for event in refusals})
        problems += [f"{name} touched it" for name in hit_by]
    return StepResult(
        step=step.step,
        what=step.what,
        truth=step.truth,
        expected=expected.outcome,
        expected_rule=expected.rule,
        noticed=attempt.noticed.value,
        detail=attempt.detail,
        seconds=attempt.seconds,
        control=None
        if control is None
        else ControlResult(noticed=control.noticed.value, detail=control.detail, seconds=control.seconds),
        seen_as=_seen_as(described),
        rule=rule,
        by_packet=_number(decided, "middlebox.by_packet"),
        passed_packets=_number(decided, "middlebox.passed_packets") if refused else None,
        passed_bytes=_number(decided, "middlebox.passed_bytes") if refused else None,
        problems=problems,
    )


def _seen_as(flow: Event | None) -> str | None:
    protocol, confidence = _text(flow, "middlebox.protocol"), _text(flow, "middlebox.confidence")
    return " ".join(filter(None, (protocol, confidence))) or None


def _text(event: Event | None, path: str) -> str | None:
    value = None if event is None else value_at(event, path)
    return value if isinstance(value, str) else None


def _number(event: Event | None, path: str) -> int | None:
    value = None if event is None else value_at(event, path)
    return value if isinstance(value, int) else None


def judge_log(log: Iterable[LogCheck], events: Sequence[Event]) -> list[Check]:
    """The scenario's expectations about events."""
    checks = []
    for each in log:
        found = sum(matches(event, each.match) for event in events)
        wanted = ", ".join(f"{path} {_shown(value)}" for path, value in each.match.items())
        if each.count is not None:
            met, expected = found == each.count, f"exactly {each.count}"
        else:
            assert each.at_least is not None
            met, expected = found >= each.at_least, f"at least {each.at_least}"
        checks.append(Check(what=f"events with {wanted}", expected=expected, found=str(found), met=met))
    return checks


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def judge_crossing(counters: Sequence[InterfaceCounters]) -> list[Check]:
    """That traffic went through the gateway, both ways, on both of its interfaces."""
    return [
        Check(
            what=f"packets on the gateway's {each.side} side",
            expected="more than 0 in and out",
            found=f"{each.packets_in} in, {each.packets_out} out",
            met=each.packets_in > 0 and each.packets_out > 0,
        )
        for each in counters
    ]


def count_rules(policy: Policy, events: Sequence[Event]) -> list[RuleCount]:
    """How often each rule acted, in the policy's order."""
    decisions = [event for event in events if event.get("event_type") == "decision"]
    return [
        RuleCount(
            rule=rule.name,
            action=rule.action.value,
            decisions=sum(value_at(event, "middlebox.rule") == rule.name for event in decisions),
        )
        for rule in policy.rules
    ]


def score_rules(policy: Policy, steps: Sequence[StepResult]) -> list[Score]:
    """For each rule that refuses: did it hit the steps it should hit, and no others?"""
    return [
        _score(rule.name, [(step.expected_rule == rule.name, step.rule == rule.name) for step in steps])
        for rule in policy.rules
        if rule.action not in (Action.PASS, Action.LOG)
    ]


def score_protocols(steps: Sequence[StepResult]) -> list[Score]:
    """For each protocol that occurs: was it seen where it truly was, and nowhere else?"""
    seen = [(step.truth, (step.seen_as or "").split(" ")[0]) for step in steps]
    return [
        _score(protocol, [(truth == protocol, named == protocol) for truth, named in seen])
        for protocol in sorted({truth for truth, _ in seen})
    ]


def _score(name: str, pairs: Sequence[tuple[bool, bool]]) -> Score:
    """`pairs` are (should be yes, was yes)."""
    return Score(
        name=name,
        true_positives=pairs.count((True, True)),
        false_positives=pairs.count((False, True)),
        false_negatives=pairs.count((True, False)),
        true_negatives=pairs.count((False, False)),
    )
