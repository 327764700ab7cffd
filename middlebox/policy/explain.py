"""Why a policy decided about a flow as it did, and what would have changed it: plain data for whoever shows it.

Rule of this file: nothing is decided here. What it says is read off the flow, the decision that stands, and the same
conditions the matcher uses, as they are true at one moment.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import cast

from middlebox.events import ORDER_KEY, Event, flow_event
from middlebox.evidence import Confidence
from middlebox.flow import Flow
from middlebox.policy.approval import Approvals
from middlebox.policy.fields import SERVER_NAME_FACTS
from middlebox.policy.geoip import GeoDatabases
from middlebox.policy.match import FALSE, TRUE, Matcher, Tree, evaluate, found_value, in_networks
from middlebox.policy.rule import All, Any, Mode, Not, Operator, Policy, Rule, Schedule, Test
from middlebox.policy.schedule import is_open, next_edge
from middlebox.protocols import CATEGORY_OF
from middlebox.verdict import Action, Verdict

MANY_RULES = 12
"Ours: a policy with more rules than this shows only those that are near: all of them fit on one screen up to here."
NEAR_SHOWN = 5
"Ours: rules that failed in a single part, shown of such a policy."
CHANGES_SHOWN = 3
"Ours: rules named among what would have changed the verdict."
VALUES_SHOWN = 6
"Ours: values of a condition that are spelled out."
_APPROVABLE = ("vpn", "proxy", "anonymity", "tunnel")
"Categories for which a person would write an approval."
_QUALIFIERS = ("confidence", "approved", "src_port", "dest_port", "proto", "src_ip")
"Fields that say when a rule applies rather than what it is about: failing in one of them is nearer than in the name."
_TRUTHS = {0: "no", 1: "unknown", 2: "yes"}


class Outcome(StrEnum):
    """What came of one rule."""

    DECIDED = "decided"
    RECORDED = "recorded"
    "A log rule that matched."
    MONITORED = "monitored"
    "It matched, and its `mode: monitor` let the next rules be tried."
    NOT_CHOSEN = "not_chosen"
    "It matched, and sampling left this flow out."
    FAILED = "failed"
    UNDECIDED = "undecided"
    "A detector may still report what it asks for."
    CLOSED = "closed"
    "Outside its schedule."
    LATE = "late"
    "It fits by what is known now, which was not known when the verdict fell."
    UNREACHED = "unreached"
    "A rule above it decided, or holds back everything below."


@dataclass(slots=True, frozen=True)
class Part:
    """One part of a rule's condition."""

    kind: str
    "test, all, any or not."
    truth: str
    "yes, no or unknown."
    field: str | None = None
    found: str | None = None
    asked: str | None = None
    parts: tuple["Part", ...] = ()


@dataclass(slots=True, frozen=True)
class RuleExplained:
    """One rule and what came of it."""

    number: int
    "Its place in the policy, from 1."
    rule: str
    action: str
    location: str
    why: str
    outcome: Outcome
    note: str
    "The outcome as a sentence."
    would_match: str
    "yes, no or unknown: the whole condition by what is known now."
    parts: tuple[Part, ...]
    "All of them must hold."

    @property
    def failing(self) -> tuple[Part, ...]:
        """Parts that do not hold, or not yet."""
        return tuple(part for part in self.parts if part.truth != "yes")


@dataclass(slots=True, frozen=True)
class Change:
    """Something that would have changed the verdict."""

    text: str
    snippet: str = ""
    "Lines for the policy file."


@dataclass(slots=True, frozen=True)
class Explanation:
    """All there is to say about one flow."""

    flow: Event
    "The flow event of contracts section 3."
    at: str
    "Policy time, as ISO 8601: schedules and approvals are read at this moment."
    unfinished: tuple[str, ...]
    "Detectors that could still have reported something."
    decision: str
    rules: tuple[RuleExplained, ...]
    "In their order; of many only those that matched, wait, or are near."
    rules_left_out: dict[str, int]
    "Rules that are not shown: how many `failed` and how many were `unreached`; `near`: those that are as near."
    approvals: tuple[str, ...]
    changes: tuple[Change, ...]

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return cast(dict[str, object], _plain(asdict(self)))


def explain_flow(flow: Flow, policy: Policy, matcher: Matcher, at: float, *, epoch: int = 1) -> Explanation:
    """Explain what stands about a flow.

    Args:
        flow: The flow, open or ended.
        policy: The policy it was judged by.
        matcher: The same policy, compiled.
        at: Policy time in seconds since the epoch, by which schedules and approvals are read.
        epoch: The epoch the event shall carry.
    """
    event = flow_event(flow, policy, matcher, epoch=epoch, now=at)
    event.pop(ORDER_KEY, None)
    is_judged = _is_looked_at(flow, policy) and not _is_residual(flow)
    rules = _rules(flow, policy, matcher, at) if is_judged else []
    shown = _shown(rules)
    shown_numbers = {rule.number for rule in shown}
    left_out = [rule for rule in rules if rule.number not in shown_numbers]
    approvals = _approvals(flow, policy, matcher.approvals, at)
    return Explanation(
        flow=event,
        at=_moment(at),
        unfinished=tuple(dict.fromkeys(detector.name for detector in flow.pending)),
        decision=_decision(flow, policy),
        rules=tuple(shown),
        rules_left_out={
            "failed": sum(rule.outcome is Outcome.FAILED for rule in left_out),
            "unreached": sum(rule.outcome is Outcome.UNREACHED for rule in left_out),
            "near": sum(rule.outcome is Outcome.FAILED and _is_near(rule) for rule in left_out),
        },
        approvals=tuple(approvals),
        changes=tuple(_changes(flow, policy, matcher, rules)),
    )


# --- rules ------------------------------------------------------------------------------------------


def _rules(flow: Flow, policy: Policy, matcher: Matcher, at: float) -> list[RuleExplained]:
    """Every rule with its outcome."""
    decided = flow.decided_at is not None
    decider = flow.decision.rule if decided else None
    blocker = ""
    explained = []
    for number, rule in enumerate(policy.rules, start=1):
        # As `Matcher` compiles it: only a rule that passes waits for the name of what is carried.
        tree = evaluate(
            rule.when,
            flow,
            matcher.approvals.protocols,
            final_names=rule.action is Action.PASS,
            geoip=policy.geoip,
        )
        if rule.name == decider:
            blocker = f"{rule.name} decided"
            matches = tree.truth == TRUE
            outcome = Outcome.DECIDED
            note = "matched, and decided" if matches else "matched and decided; by what is known now it would not match"
        elif blocker:
            outcome, note = Outcome.UNREACHED, f"never reached: {blocker}"
        elif rule.during is not None and not is_open(rule.during, at):
            outcome, note = Outcome.CLOSED, _closed(rule.during, at)
        elif tree.truth == FALSE:
            outcome, note = Outcome.FAILED, "did not match"
        elif tree.truth != TRUE:
            outcome, note = Outcome.UNDECIDED, "could not be decided yet"
            if not decided and not (rule.action is Action.LOG or rule.monitor):
                blocker = f"{rule.name} could not be decided yet"
        elif rule.action is Action.LOG:
            outcome, note = Outcome.RECORDED, "matched; it only records, and the next rule was tried"
        elif rule.monitor:
            outcome = Outcome.MONITORED
            note = f"matched; it only monitors: without that, the verdict would be {_action(rule)}"
        elif rule.action is Action.SAMPLE:
            outcome = Outcome.NOT_CHOSEN
            note = f"matched, but sampling (probability {rule.probability:g}) did not choose this flow"
        elif decided:
            outcome, note = (
                Outcome.LATE,
                f"fits by what is known now, but the verdict fell before, at packet {flow.decided_at}",
            )
        else:
            outcome, note = Outcome.LATE, "fits by what is known now; no verdict had fallen yet"
        explained.append(
            RuleExplained(
                number=number,
                rule=rule.name,
                action=_action(rule),
                location=rule.location,
                why=rule.why,
                outcome=outcome,
                note=note,
                would_match=_TRUTHS[tree.truth],
                parts=tuple(_part(part, flow, policy.geoip) for part in _conjuncts(tree)),
            )
        )
    return explained


def _conjuncts(tree: Tree) -> Iterator[Tree]:
    """The parts all of which must hold; an `all` within an `all` is no level of its own."""
    if isinstance(tree.condition, All):
        for part in tree.parts:
            yield from _conjuncts(part)
    else:
        yield tree


def _part(tree: Tree, flow: Flow, geoip: GeoDatabases) -> Part:
    truth = _TRUTHS[tree.truth]
    match tree.condition:
        case Test() as test:
            return Part("test", truth, test.field, _found(test, flow, geoip), _asked(test))
        case All():
            kind = "all"
        case Any():
            kind = "any"
        case Not():
            kind = "not"
    return Part(kind, truth, parts=tuple(_part(part, flow, geoip) for part in tree.parts))


def _found(test: Test, flow: Flow, geoip: GeoDatabases) -> str:
    found = found_value(test, flow, geoip)
    if test.field == "approved":
        return "no" if flow.approved is None else f"yes, by {flow.approved}"
    if isinstance(found, list | tuple):
        return ", ".join(map(str, found)) or "empty"
    return str(found)


def _asked(test: Test) -> str:
    """What a test asks for, without the field."""
    values = _values(test)
    match test.operator:
        case Operator.DOMAIN:
            return f"{values} or a name below"
        case Operator.ENDSWITH:
            return f"ends with {values}"
        case Operator.STARTSWITH:
            return f"starts with {values}"
        case Operator.CONTAINS:
            return f"contains {values}"
        case Operator.CIDR:
            return f"in {values}"
        case Operator.AT_LEAST:
            return values if values == Confidence.CONFIRMED.word else f"{values} or more"
        case Operator.BELOW:
            return f"below {values}"
        case _:
            return values


def _values(test: Test) -> str:
    """The values as the policy has them; the first of many."""
    _, colon, written = test.source.partition(": ")
    written = written if colon else test.source
    if written.startswith("{list: ") and written.endswith("}"):
        return f"the list {written[len('{list: ') : -1]}"
    if test.source and len(test.values) <= VALUES_SHOWN:
        return written.removeprefix("[").removesuffix("]")
    shown = [_value(value) for value in test.values[:VALUES_SHOWN]]
    more = len(test.values) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.word if isinstance(value, Confidence) else str(value)


def _action(rule: Rule) -> str:
    """The action with what belongs to it."""
    match rule.action:
        case Action.SAMPLE:
            return f"{rule.then.value} a share of {rule.probability:g}"
        case Action.THROTTLE:
            return f"throttle to {rule.rate} bit/s"
        case Action.DNS if rule.dns is not None:
            return f"dns {rule.dns.value}"
        case _:
            return str(rule.action.value)


def _closed(schedule: Schedule, at: float) -> str:
    edge = next_edge(schedule, at)
    until = "which does not open again" if edge == float("inf") else f"which opens {_moment(edge)}"
    return f"outside its schedule {schedule.name}, {until}"


def _is_near(rule: RuleExplained) -> bool:
    """A single part failed of several."""
    return len(rule.failing) == 1 and len(rule.parts) > 1


def _distance(rule: RuleExplained) -> tuple[int, bool, int]:
    """How far a rule is from matching: fewest failing parts, then those of which only a circumstance failed."""
    return len(rule.failing), not all(part.field in _QUALIFIERS for part in rule.failing), rule.number


def _shown(rules: Sequence[RuleExplained]) -> list[RuleExplained]:
    """All of a short policy; of a long one those that say something about this flow."""
    if len(rules) <= MANY_RULES:
        return list(rules)
    near = sorted((rule for rule in rules if rule.outcome is Outcome.FAILED and _is_near(rule)), key=_distance)
    numbers = {rule.number for rule in near[:NEAR_SHOWN]}
    far = (Outcome.FAILED, Outcome.UNREACHED)
    telling = [rule for rule in rules if rule.outcome not in far]
    # A policy of a thousand rules may have as many outside their schedule: those with nothing in common are left out.
    unreached = [rule for rule in rules if rule.outcome is Outcome.UNREACHED and rule.would_match == "yes"]
    numbers |= {rule.number for rule in telling} | {rule.number for rule in unreached[:NEAR_SHOWN]}
    return [rule for rule in rules if rule.number in numbers]


# --- the decision -----------------------------------------------------------------------------------


def _is_looked_at(flow: Flow, policy: Policy) -> bool:
    """Whether the policy is for this flow at all."""
    if not policy.home:
        return True
    is_home = in_networks(policy.home)
    return is_home(flow.client) or is_home(flow.server)


def _is_residual(flow: Flow) -> bool:
    """Whether the flow is refused only because it resembles one that was."""
    return bool(getattr(flow, "residual", False))


def _refuses(verdict: Verdict) -> bool:
    return verdict in (Verdict.DROP, Verdict.RESET, Verdict.REJECT, Verdict.DNS)


def _decision(flow: Flow, policy: Policy) -> str:
    """What was decided, by what and when."""
    if not _is_looked_at(flow, policy):
        return "pass: neither end is in the policy's home networks, so no rule was tried"
    if flow.decided_at is None:
        return "pass: no verdict had fallen; a flow passes while a rule could not be decided yet"
    verdict = flow.decision.verdict
    rule = flow.decision.rule
    by = f"the rule {rule}" if rule is not None else "the policy's default, as no rule matched"
    text = f"{verdict.name.lower()} at packet {flow.decided_at}, by {by}"
    if _is_residual(flow):
        text = f"{verdict.name.lower()}: it resembles a flow that the rule {rule} refused shortly before (residual)"
    if _refuses(verdict):
        packets, octets = flow.passed_packets, flow.passed_bytes
        text += (
            f"; {_many(packets, 'packet')} ({octets:,} bytes) had passed before" if packets else "; nothing had passed"
        )
    if policy.mode is Mode.MONITOR and verdict is not Verdict.PASS:
        text += ". The policy only monitors, so everything passed all the same"
    return text


# --- approvals --------------------------------------------------------------------------------------


def _approvals(flow: Flow, policy: Policy, approvals: Approvals, at: float) -> Iterator[str]:
    """One sentence for each approval of the flow's protocol."""
    if flow.approved is not None:
        yield f"{flow.approved} covers it"
        return
    yield from (miss.sentence for miss in approvals.explain(flow, at))
    others = sum(approval.protocol != flow.protocol for approval in policy.approvals)
    if others and CATEGORY_OF[flow.protocol] in _APPROVABLE:
        are = "is for another protocol" if others == 1 else "are for other protocols"
        yield f"{_many(others, 'approval')} {are} than {flow.protocol}"


# --- what would have changed it ---------------------------------------------------------------------


def _changes(flow: Flow, policy: Policy, matcher: Matcher, rules: Sequence[RuleExplained]) -> Iterator[Change]:
    if not _is_looked_at(flow, policy):
        yield Change("an end in the policy's home networks: add its network to home")
    elif _refuses(flow.decision.verdict) and flow.decided_at is not None:
        yield from _ways_to_pass(flow, policy, matcher, rules)
    else:
        yield from _ways_to_refuse(flow, policy, rules)


def _ways_to_pass(flow: Flow, policy: Policy, matcher: Matcher, rules: Sequence[RuleExplained]) -> Iterator[Change]:
    decider = flow.decision.rule
    above = f"above the rule {decider}" if decider is not None else "among the rules"
    passing = {rule.name for rule in policy.rules if rule.action is Action.PASS}
    near = [rule for rule in rules if rule.rule in passing and rule.outcome in (Outcome.FAILED, Outcome.CLOSED)]
    for rule in sorted(near, key=_distance)[:1]:
        if len(rule.failing) <= 1 and any(part.field != "approved" for part in rule.failing):
            yield Change(f"the rule {rule.rule} ({rule.action}) stands above and failed only here: {_said(rule)}")
    if CATEGORY_OF[flow.protocol] in _APPROVABLE:
        # Without a rule that looks at approvals they change nothing.
        would_pass = _passes_if_approved(flow, matcher)
        hint = "" if would_pass else f", together with the rule {{when: {{approved: true}}, action: pass}} {above}"
        missing = [approval for approval in policy.approvals if approval.protocol == flow.protocol]
        if missing:
            names = " or ".join(approval.name for approval in missing[:CHANGES_SHOWN])
            yield Change(f"the approval {names}, if it covered this flow (see APPROVALS){hint}")
        elif flow.protocol == "wireguard":
            yield Change(
                f"an approval by the server's public key, in the list approved{hint}",
                _approval_snippet(flow, by_key=True),
            )
        else:
            yield Change(
                f"an approval of this server, in the list approved{hint}", _approval_snippet(flow, by_key=False)
            )
    yield Change(f"a rule that lets it pass, {above}", _pass_rule(flow))


def _passes_if_approved(flow: Flow, matcher: Matcher) -> bool:
    """Whether an approval, of whatever name, would have let the flow pass."""
    before = flow.approved
    flow.approved = before or "an approval"
    try:
        return matcher.judge(flow).action is Action.PASS
    finally:
        flow.approved = before


def _approval_snippet(flow: Flow, *, by_key: bool) -> str:
    how = 'public_key: "..."' if by_key else f'server: "{ip_address(flow.server)}"'
    return f"- {{name: my-tunnel, protocol: {flow.protocol}, {how}}}"


def _pass_rule(flow: Flow) -> str:
    """The narrowest rule that can be written from what is seen of the flow from outside."""
    name = next((flow.facts[fact] for fact in SERVER_NAME_FACTS if isinstance(flow.facts.get(fact), str)), None)
    parts = [f"server_name: {json.dumps(name)}"] if name else [f'dest_ip: "{ip_address(flow.server)}"']
    if len(flow.key) in (13, 37):  # protocol, two addresses, two ports
        parts.append(f"dest_port: {flow.server_port}")
    parts.append(f"proto: {flow.transport_name}")
    return f"- {{rule: let-this-pass, when: {{{', '.join(parts)}}}, action: pass}}"


def _ways_to_refuse(flow: Flow, policy: Policy, rules: Sequence[RuleExplained]) -> Iterator[Change]:
    """The nearest rules that would not have let the flow pass."""
    acting = {rule.name for rule in policy.rules if rule.action not in (Action.PASS, Action.LOG)}
    candidates = [rule for rule in rules if rule.rule in acting and rule.outcome is not Outcome.DECIDED]
    if not acting and policy.default is Action.PASS:
        yield Change("nothing: no rule of this policy refuses anything")
    if policy.default is not Action.PASS and flow.decision.rule is not None:
        yield Change(f"the policy's default ({policy.default.value}), had the rule {flow.decision.rule} not decided")
    if not candidates:
        return
    candidates.sort(key=_distance)
    least = len(candidates[0].failing)
    nearest = [rule for rule in candidates if len(rule.failing) == least]
    for rule in nearest[:CHANGES_SHOWN]:
        yield Change(_nearest_refusal(rule))
    if len(nearest) > CHANGES_SHOWN:
        more = len(nearest) - CHANGES_SHOWN
        yield Change(f"{_many(more, 'rule')} more of this kind {'is' if more == 1 else 'are'} as near")


def _nearest_refusal(rule: RuleExplained) -> str:
    """In what a rule that refuses did not come to act."""
    name = f"the rule {rule.rule} ({rule.action})"
    if not rule.failing:
        match rule.outcome:
            case Outcome.UNREACHED:
                return f"{name} would have matched; it was {rule.note}"
            case Outcome.CLOSED:
                return f"{name} would have matched, but it is {rule.note}"
            case _:
                return f"{name} {rule.note}"
    if rule.outcome is Outcome.UNDECIDED:
        return f"{name} may still act; not decided yet: {_said(rule)}"
    also = f"; besides, it was {rule.note}" if rule.outcome is Outcome.UNREACHED else ""
    also = f"; besides, it is {rule.note}" if rule.outcome is Outcome.CLOSED else also
    count = len(rule.failing)
    failed = "failed only here" if count == 1 else f"failed in {count} parts"
    return f"{name} {failed}: {_said(rule)}{also}"


def _said(rule: RuleExplained) -> str:
    return "; ".join(sentence(part) for part in rule.failing)


def sentence(part: Part) -> str:
    """One part of a condition in words, with what was found and what is asked."""
    if part.kind == "test":
        return f"{part.field} is {part.found}, asked: {part.asked}"
    inner = "; ".join(sentence(one) for one in part.parts)
    if part.kind == "not":
        return f"must not be: {inner}"
    return f"{'none' if part.kind == 'any' else 'not all'} of ({inner})"


# --- words ------------------------------------------------------------------------------------------


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _moment(seconds: float) -> str:
    """A time as a person reads it, in UTC; clamped to the years that a date can express."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), 253_402_300_799.0), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(value: object) -> object:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value
