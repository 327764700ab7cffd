"""Rules against a flow: three-valued, so that a rule which cannot be decided yet holds back those below it.

A test on something that a detector may still report is UNKNOWN. `all` is the least of its parts, `any` the
greatest, `not` the mirror image (Kleene's strong logic). The first rule that is TRUE wins unless a rule above
it is still UNKNOWN; then nothing is decided and the packet passes.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from operator import attrgetter
from typing import Protocol

from middlebox.evidence import Confidence, Proof
from middlebox.policy.approval import Approvals
from middlebox.policy.fields import COUNT_FIELDS, SERVER_NAME_FACTS
from middlebox.policy.geoip import FIELDS as GEOIP_FIELDS
from middlebox.policy.geoip import GeoDatabases
from middlebox.policy.rule import All, Any, Condition, HostScore, Network, Not, Operator, Policy, Rule, Test
from middlebox.policy.rule_index import RuleIndex
from middlebox.policy.schedule import is_open, next_edge
from middlebox.protocols import CARRIERS, CATEGORY_OF
from middlebox.verdict import Action

FALSE, UNKNOWN, TRUE = 0, 1, 2

NO_DATABASES = GeoDatabases()

NEAR_MISS_RULES = 24
"Ours: rules, the first in force, that an event's near misses are looked for among. `explain` looks at all."


class Pending(Protocol):
    """What a test needs to know of a detector that has not finished: what its class declares."""

    @property
    def name(self) -> str:
        """The detector's name."""
        ...

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names it may report."""
        ...

    @property
    def facts(self) -> tuple[str, ...]:
        """Facts it may report."""
        ...

    @property
    def reaches(self) -> Confidence:
        """The highest confidence it can give."""
        ...


class Sighting(Protocol):
    """One piece of evidence."""

    @property
    def detector(self) -> str:
        """Who gave it."""
        ...


class Subject(Protocol):
    """What rules look at. A `Flow` is one."""

    key: bytes
    client: bytes
    server: bytes
    client_port: int
    server_port: int
    protocol: str
    confidence: Confidence | None
    facts: dict[str, object]
    approved: str | None
    proofs: list[Proof]

    @property
    def sightings(self) -> Sequence[Sighting]:
        """The evidence given so far."""
        ...

    def host_score(self, score: HostScore) -> bool:
        """Whether enough of the last flows to the same server and port fitted."""
        ...

    @property
    def transport_name(self) -> str:
        """The transport as events spell it."""
        ...

    @property
    def pending(self) -> Sequence[Pending]:
        """Detectors that may still report something."""
        ...


Check = Callable[[Subject], int]
"Gives FALSE, UNKNOWN or TRUE."


@dataclass(slots=True, frozen=True)
class Ruling:
    """What a policy says about a flow as it is known now."""

    action: Action | None
    "None: nothing is decided yet."
    rule: Rule | None
    "The rule that decided; None for the default."
    logged: tuple[Rule, ...]
    "Log rules that are TRUE and stand above the one that decided."
    log_pending: bool
    "A log rule above is still UNKNOWN."


class Matcher:
    """One policy, compiled."""

    def __init__(self, policy: Policy) -> None:
        self.approvals = Approvals(policy.approvals)
        self.policy = policy
        self.host_scores = frozenset(
            value
            for rule in policy.rules
            for test in tests_of(rule.when)
            for value in test.values
            if isinstance(value, HostScore)
        )
        self._all_rules = [(rule, self._check(rule)) for rule in policy.rules]
        self._parts = {rule.name: self._compile_parts(rule) for rule in policy.rules}
        self._default = policy.default
        self.per_query = any(
            rule.action is Action.DNS or any(test.field.startswith("dns.") for test in tests_of(rule.when))
            for rule in policy.rules
        )
        "Whether each DNS query is judged for itself: several names may be asked for in one flow."
        self.count_thresholds = frozenset(
            (test.field, value)
            for rule in policy.rules
            for test in tests_of(rule.when)
            if test.field in COUNT_FIELDS
            for value in test.values
            if isinstance(value, int)
        )
        "Counts at which a flow must be judged again: field and number."
        self.activate(float("-inf"))

    def activate(self, at: float) -> None:
        """Put those rules into force whose schedule is open at this policy time."""
        self._rules = [
            (rule, check) for rule, check in self._all_rules if rule.during is None or is_open(rule.during, at)
        ]
        self._index = RuleIndex([rule for rule, _ in self._rules])

    @property
    def rules_in_force(self) -> tuple[Rule, ...]:
        """The rules that are tried now, in their order."""
        return tuple(rule for rule, _ in self._rules)

    def next_edge(self, after: float) -> float:
        """The first policy time after `after` at which a schedule opens or closes or an approval begins or ends."""
        schedules = (rule.during for rule in self.policy.rules if rule.during is not None)
        edges = [next_edge(schedule, after) for schedule in set(schedules)]
        for approval in self.policy.approvals:
            edges += [
                edge
                for edge in (approval.begins, None if approval.until is None else approval.until + 1)
                if edge is not None and edge > after
            ]
        return min(edges, default=float("inf"))

    def judge(self, flow: Subject) -> Ruling:
        """Apply the rules in order."""
        logged: list[Rule] = []
        log_pending = False
        rules = self._rules
        for position in self._index.candidates(flow):
            rule, check = rules[position]
            truth = check(flow)
            if truth == FALSE:
                continue
            if rule.action is Action.LOG or rule.monitor:
                if truth == TRUE:
                    logged.append(rule)
                else:
                    log_pending = True
                continue
            action = rule.action if truth == TRUE else None
            return Ruling(action, rule if truth == TRUE else None, tuple(logged), log_pending)
        return Ruling(self._default, None, tuple(logged), log_pending)

    def approval_may_come(self, flow: Subject) -> bool:
        """Whether a detector is still at work that could bring the proof for an approval."""
        approvable = self.approvals.protocols
        return any(not approvable.isdisjoint(detector.protocols) for detector in flow.pending)

    def near_misses(self, flow: Subject) -> list[dict[str, str]]:
        """Rules that would have matched but for a single test, with what that test found."""
        misses = []
        for rule, check in self._rules[:NEAR_MISS_RULES]:
            if check(flow) == TRUE:
                if rule.action is not Action.LOG and not rule.monitor:
                    break
                continue
            failed: Condition | None = None
            for part, part_check in self._parts[rule.name]:
                if part_check(flow) != TRUE:
                    if failed is not None:
                        break  # two parts: no near miss
                    failed = part
            else:
                if isinstance(failed, Test):
                    misses.append({"rule": rule.name, "because": _because(failed, flow, self.policy.geoip)})
        return misses

    def _check(self, rule: Rule) -> Check:
        """The rule's condition; for `sample`, on the flows that are chosen."""
        check = self._compile(rule.when, rule)
        if rule.action is not Action.SAMPLE:
            return check
        seed = self.policy.seed
        return lambda flow: check(flow) if is_chosen(flow, rule, seed) else FALSE

    def _compile_parts(self, rule: Rule) -> list[tuple[Condition, Check]]:
        """The parts of an `all` one by one; nothing for other conditions, whose misses have no single cause."""
        if not isinstance(rule.when, All) or len(rule.when.parts) < 2:
            return []
        return [(part, self._compile(part, rule)) for part in rule.when.parts]

    def _compile(self, condition: Condition, rule: Rule) -> Check:
        # A refused flow never shows what it carries, so a rule that refuses need not wait for that; one that
        # passes must, or it would pass `tls` before it is known to be `openconnect`.
        return compile_condition(
            condition, self.approvals.protocols, final_names=rule.action is Action.PASS, geoip=self.policy.geoip
        )


def is_chosen(flow: Subject, rule: Rule, seed: int) -> bool:
    """Whether a `sample` rule acts on this flow: the same flow, rule and seed always give the same answer."""
    assert rule.probability is not None
    identity = f"{seed}\0{rule.name}\0".encode() + flow.key
    number = int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")
    return number < rule.probability * (1 << 64)


def tests_of(condition: Condition) -> Iterator[Test]:
    """Every test in a condition."""
    match condition:
        case Test():
            yield condition
        case All(parts) | Any(parts):
            for part in parts:
                yield from tests_of(part)
        case Not(part):
            yield from tests_of(part)


def compile_condition(
    condition: Condition,
    approvable: frozenset[str],
    *,
    final_names: bool = False,
    least: Confidence = Confidence.POSSIBLE,
    geoip: GeoDatabases = NO_DATABASES,
) -> Check:
    """Turn a condition into a function.

    Args:
        condition: What to check.
        approvable: Protocols for which approvals exist.
        final_names: Take the name of a carrier as UNKNOWN while a detector could still show what it carries.
        least: The confidence that must hold together with the condition. A detector that never gets so far cannot make
            it true, so nothing waits for it.
        geoip: Where countries and autonomous systems are looked up.
    """
    match condition:
        case Test():
            return _compile_test(condition, approvable, final_names=final_names, least=least, geoip=geoip)
        case All(parts):
            floor = max((_floor(part) for part in parts), default=least)
            together = max(least, floor)
            checks = [
                compile_condition(part, approvable, final_names=final_names, least=together, geoip=geoip)
                for part in parts
            ]
            return lambda flow: min((check(flow) for check in checks), default=TRUE)
        case Any(parts):
            checks = [
                compile_condition(part, approvable, final_names=final_names, least=least, geoip=geoip) for part in parts
            ]
            return lambda flow: max((check(flow) for check in checks), default=FALSE)
        case Not(part):
            inner = compile_condition(part, approvable, final_names=final_names, geoip=geoip)
            return lambda flow: TRUE - inner(flow)


@dataclass(slots=True, frozen=True)
class Tree:
    """What a condition amounts to for one flow, part by part."""

    condition: Condition
    truth: int
    "FALSE, UNKNOWN or TRUE."
    parts: tuple["Tree", ...] = ()


def evaluate(
    condition: Condition,
    flow: Subject,
    approvable: frozenset[str],
    *,
    final_names: bool = False,
    least: Confidence = Confidence.POSSIBLE,
    geoip: GeoDatabases = NO_DATABASES,
) -> Tree:
    """The same answer as that of `compile_condition`, with those of all its parts; for explanations, which may be slow.

    See `compile_condition` for the arguments.
    """
    match condition:
        case Test():
            check = compile_condition(condition, approvable, final_names=final_names, least=least, geoip=geoip)
            return Tree(condition, check(flow))
        case All(parts):
            together = max([least, *map(_floor, parts)])
            trees = [
                evaluate(part, flow, approvable, final_names=final_names, least=together, geoip=geoip) for part in parts
            ]
            return Tree(condition, min((tree.truth for tree in trees), default=TRUE), tuple(trees))
        case Any(parts):
            trees = [
                evaluate(part, flow, approvable, final_names=final_names, least=least, geoip=geoip) for part in parts
            ]
            return Tree(condition, max((tree.truth for tree in trees), default=FALSE), tuple(trees))
        case Not(part):
            tree = evaluate(part, flow, approvable, final_names=final_names, geoip=geoip)
            return Tree(condition, TRUE - tree.truth, (tree,))


def _floor(condition: Condition) -> Confidence:
    """The confidence that a part of a conjunction asks for by itself."""
    if isinstance(condition, Test) and condition.field == "confidence":
        return min(value for value in condition.values if isinstance(value, Confidence))
    return Confidence.POSSIBLE


def _compile_test(
    test: Test, approvable: frozenset[str], *, final_names: bool, least: Confidence, geoip: GeoDatabases
) -> Check:
    match test.field:
        case "src_ip":
            holds_source = in_networks(test.values)
            return lambda flow: TRUE if holds_source(flow.client) else FALSE
        case "dest_ip":
            holds_destination = in_networks(test.values)
            return lambda flow: TRUE if holds_destination(flow.server) else FALSE
        case "src_port":
            ports = frozenset(test.values)
            return lambda flow: TRUE if flow.client_port in ports else FALSE
        case "dest_port":
            ports = frozenset(test.values)
            return lambda flow: TRUE if flow.server_port in ports else FALSE
        case "src_country" | "src_asn" as field:
            wanted = frozenset(test.values)
            return lambda flow: TRUE if geoip.find(field, flow.client) in wanted else FALSE
        case "dest_country" | "dest_asn" as field:
            wanted = frozenset(test.values)
            return lambda flow: TRUE if geoip.find(field, flow.server) in wanted else FALSE
        case "proto":
            transports = frozenset(test.values)
            return lambda flow: TRUE if flow.transport_name in transports else FALSE
        case "protocol" | "app_proto":
            return _protocol_check(frozenset(str(value) for value in test.values), least, final=final_names)
        case "category":
            categories = frozenset(test.values)
            names = frozenset(name for name, category in CATEGORY_OF.items() if category in categories)
            return _protocol_check(names, least, final=final_names)
        case "confidence":
            return _confidence_check(min(value for value in test.values if isinstance(value, Confidence)))
        case "approved":
            return _approved_check(frozenset(test.values), approvable)
        case "detector":
            detectors = frozenset(map(str, test.values))
            return lambda flow: _evidence_check(flow, detectors)
        case "host_score":
            scores = [value for value in test.values if isinstance(value, HostScore)]
            return lambda flow: TRUE if any(flow.host_score(score) for score in scores) else FALSE
        case count if count in COUNT_FIELDS:
            count_of = attrgetter(COUNT_FIELDS[count])
            number = min(value for value in test.values if isinstance(value, int))
            if test.operator is Operator.BELOW:
                return lambda flow: TRUE if count_of(flow) < number else FALSE
            return lambda flow: TRUE if count_of(flow) >= number else FALSE
        case "server_name":
            return _fact_check(SERVER_NAME_FACTS, _text_predicate(test))
        case fact:
            return _fact_check((fact,), _text_predicate(test))


def _evidence_check(flow: Subject, wanted: frozenset[str]) -> int:
    """Whether one of these detectors has given evidence."""
    if any(sighting.detector in wanted for sighting in flow.sightings):
        return TRUE
    return UNKNOWN if any(detector.name in wanted for detector in flow.pending) else FALSE


def _protocol_check(names: frozenset[str], least: Confidence, *, final: bool) -> Check:
    no_better_name = names | CARRIERS

    def check(flow: Subject) -> int:
        if flow.protocol not in names:
            may_come = any(
                detector.reaches >= least and not names.isdisjoint(detector.protocols) for detector in flow.pending
            )
            return UNKNOWN if may_come else FALSE
        if flow.protocol == "unknown":
            return UNKNOWN if flow.pending else TRUE
        if final and flow.protocol in CARRIERS:
            renames = any(not no_better_name.issuperset(detector.protocols) for detector in flow.pending)
            return UNKNOWN if renames else TRUE
        return TRUE

    return check


def _confidence_check(least: Confidence) -> Check:
    def check(flow: Subject) -> int:
        if flow.confidence is not None and flow.confidence >= least:
            return TRUE
        return UNKNOWN if any(detector.reaches >= least for detector in flow.pending) else FALSE

    return check


def _approved_check(wanted: frozenset[object], approvable: frozenset[str]) -> Check:
    """`true` and names look for an approval; `false` is the opposite of `true`."""
    any_approval = bool(wanted - {False})

    def check(flow: Subject) -> int:
        if flow.approved is not None:
            return TRUE if True in wanted or flow.approved in wanted else FALSE
        if flow.confidence is Confidence.CONFIRMED and flow.protocol in approvable:
            covered = FALSE  # known for what it is and not shown to be approved; a later proof is judged anew
        else:
            may_come = any(not approvable.isdisjoint(detector.protocols) for detector in flow.pending)
            covered = UNKNOWN if may_come else FALSE
        return max(covered if any_approval else FALSE, TRUE - covered if False in wanted else FALSE)

    return check


def _fact_check(names: Sequence[str], holds: Callable[[object], bool]) -> Check:
    def check(flow: Subject) -> int:
        found = [flow.facts[name] for name in names if name in flow.facts]
        if any(holds(value) for value in found):
            return TRUE
        if any(name in detector.facts for detector in flow.pending for name in names if name not in flow.facts):
            return UNKNOWN
        return FALSE

    return check


def _text_predicate(test: Test) -> Callable[[object], bool]:
    values = test.values
    texts = tuple(str(value) for value in values)
    match test.operator:
        case Operator.DOMAIN:
            domains = frozenset(text.lower().strip(".") for text in texts)
            holds: Callable[[object], bool] = lambda value: _is_below(str(value), domains)  # noqa: E731
        case Operator.ENDSWITH:
            holds = lambda value: str(value).endswith(texts)  # noqa: E731
        case Operator.STARTSWITH:
            holds = lambda value: str(value).startswith(texts)  # noqa: E731
        case Operator.CONTAINS:
            holds = lambda value: any(text in str(value) for text in texts)  # noqa: E731
        case _:
            wanted = frozenset(values)
            holds = lambda value: value in wanted  # noqa: E731
    return lambda value: any(map(holds, value)) if isinstance(value, list | tuple) else holds(value)


def _is_below(name: str, domains: frozenset[str]) -> bool:
    """Whether `name` is one of `domains` or ends in one at a label boundary."""
    name = name.lower().strip(".")
    while name:
        if name in domains:
            return True
        _, _, name = name.partition(".")
    return False


def in_networks(networks: Iterable[object]) -> Callable[[bytes], bool]:
    """A function that tells whether a raw address lies in any of `networks`.

    Networks are grouped by version and prefix length: one set lookup per group, however many networks.
    """
    groups: dict[tuple[int, int], set[int]] = {}
    for network in networks:
        assert isinstance(network, Network)
        host_bits = network.max_prefixlen - network.prefixlen
        groups.setdefault((network.max_prefixlen // 8, host_bits), set()).add(int(network.network_address) >> host_bits)

    def holds(address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        return any(
            length == len(address) and number >> host_bits in prefixes
            for (length, host_bits), prefixes in groups.items()
        )

    return holds


def _because(test: Test, flow: Subject, geoip: GeoDatabases) -> str:
    """One sentence: what was found, what the rule asks for."""
    return f"{test.field} is {found_value(test, flow, geoip)}, the rule asks for {test.source or test.values}"


def found_value(test: Test, flow: Subject, geoip: GeoDatabases = NO_DATABASES) -> object:
    """What a flow has in the field that a test looks at, as a person would say it."""
    found: object
    match test.field:
        case "confidence":
            found = flow.confidence.word if flow.confidence is not None else "none"
        case "protocol" | "app_proto":
            found = flow.protocol
        case "category":
            found = CATEGORY_OF[flow.protocol]
        case "approved":
            found = flow.approved if flow.approved is not None else "no approval covers it"
        case "src_ip":
            found = ip_address(flow.client)
        case "dest_ip":
            found = ip_address(flow.server)
        case field if field in GEOIP_FIELDS:
            address = flow.client if field.startswith("src_") else flow.server
            value = geoip.find(field, address)
            found = f"unknown for {ip_address(address)}" if value is None else f"{value} for {ip_address(address)}"
        case "src_port":
            found = flow.client_port
        case "dest_port":
            found = flow.server_port
        case "proto":
            found = flow.transport_name
        case "server_name":
            found = next((flow.facts[name] for name in SERVER_NAME_FACTS if name in flow.facts), "not seen")
        case "detector":
            found = ", ".join(dict.fromkeys(sighting.detector for sighting in flow.sightings)) or "none"
        case "host_score":
            found = "not reached"
        case count if count in COUNT_FIELDS:
            found = getattr(flow, COUNT_FIELDS[count])
        case fact:
            found = flow.facts.get(fact, "not seen")
    return found
