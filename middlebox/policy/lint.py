"""`middlebox check` as a linter: what is allowed in a policy and still no good idea.

Rule of this file: no false alarms. A warning says what is certain, where it stands and by which id it can be waived.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from zoneinfo import ZoneInfo

from middlebox.detect.base import Detector
from middlebox.evidence import Confidence
from middlebox.policy.lint_logic import (
    PROTOCOL_FIELDS,
    Conjunction,
    Inventory,
    NetworkSet,
    all_covered,
    never,
    unfolded,
)
from middlebox.policy.outline import Outline
from middlebox.policy.problem import Problem, Severity, quoted
from middlebox.policy.rule import Condition, Mode, Network, Not, Operator, Policy, Rule, Test, Waiver
from middlebox.policy.values import parse_host, parse_network
from middlebox.policy.yaml_positions import Place
from middlebox.verdict import Action

SOON_SECONDS = 30 * 86_400
"An approval that ends within this time is worth a warning: long enough to renew it."
MAX_SHOWN = 20
"Entries of one list that are warned of one by one."

_DECIDING = frozenset({Action.PASS, Action.DROP, Action.RESET, Action.REJECT, Action.THROTTLE})
"Actions after which no later rule is tried, whatever the flow."


class Feature(Enum):
    """What an action needs of the kernel."""

    HASHLIMIT = "throttle needs the hashlimit match of iptables"
    SETS = "residual needs nftables sets with timeouts"
    RAW_SOCKET = "reset and dns need raw sockets"


Probe = Callable[[Feature], str | None]
"What is missing for a feature on this machine, as one phrase; None: nothing."


@dataclass(slots=True, frozen=True)
class Finding:
    """One warning or note, with the things of the policy it is about, by which a waiver may name it."""

    place: Place
    id: str
    text: str
    about: frozenset[tuple[str, str]] = frozenset()
    "(rule, list, approval or schedule; its name)."
    note: bool = False

    @property
    def problem(self) -> Problem:
        """As it is printed."""
        severity = Severity.NOTE if self.note else Severity.WARNING
        place = self.place
        return Problem(place.file, place.line, place.column, severity, f"{self.text} [{self.id}]")


@dataclass(slots=True)
class Report:
    """Everything the linter has to say of one policy."""

    findings: list[Finding] = field(default_factory=list)
    waived: list[tuple[Finding, Waiver]] = field(default_factory=list)


def lint(
    policy: Policy,
    outline: Outline,
    *,
    now: float,
    detectors: Iterable[type[Detector]],
    is_public_suffix: Callable[[str], bool],
    probe: Probe | None = None,
) -> Report:
    """Every warning about `policy`.

    Args:
        policy: A policy without errors.
        outline: Where its things stand.
        now: Policy time in seconds since the epoch, by which schedules and approvals are over.
        detectors: Those that will run.
        is_public_suffix: Tells whether a domain is one under which everybody registers.
        probe: Asks this machine for kernel features; None: not to be asked.
    """
    linter = _Linter(policy, outline, Inventory.of(detectors, (approval.name for approval in policy.approvals)))
    findings = [
        *linter.rules(),
        *linter.unreachable(),
        *linter.times(now),
        *linter.unused(),
        *linter.lists(is_public_suffix),
        *linter.kernel(probe),
    ]
    return _waived(policy.waivers, findings, outline)


def _waived(waivers: tuple[Waiver, ...], findings: list[Finding], outline: Outline) -> Report:
    report = Report()
    used: set[int] = set()
    for finding in findings:
        number = next((index for index, waiver in enumerate(waivers) if _covers(waiver, finding)), None)
        if number is None or finding.note:
            report.findings.append(finding)
        else:
            used.add(number)
            report.waived.append((finding, waivers[number]))
    for number, waiver in enumerate(waivers):
        if number not in used:
            text = f"this waiver of {waiver.id} waives nothing; remove it"
            report.findings.append(Finding(outline.place("waive", str(number)), "waiver-unused", text))
    report.findings.sort(key=lambda finding: finding.problem)
    return report


def _covers(waiver: Waiver, finding: Finding) -> bool:
    return waiver.id == finding.id and all(named in finding.about for named in waiver.narrowed)


class _Linter:
    """The checks, over one policy."""

    def __init__(self, policy: Policy, outline: Outline, inventory: Inventory) -> None:
        self._policy = policy
        self._outline = outline
        self._inventory = inventory
        self._dead: set[str] = set()
        "Rules that never match, of which nothing more is worth saying."

    def _of_rule(self, rule: Rule, warning: str, text: str, *, note: bool = False) -> Finding:
        place = self._outline.place("rules", rule.name)
        return Finding(place, warning, f"rule {quoted(rule.name)}: {text}", frozenset({("rule", rule.name)}), note)

    def rules(self) -> Iterator[Finding]:
        """What each rule is by itself."""
        for rule in self._policy.rules:
            reason = never(rule.when, self._inventory)
            tests = list(_tests(rule.when))
            if reason is not None:
                self._dead.add(rule.name)
                warning = "confidence-unreachable" if reason.confidence else "impossible-condition"
                yield self._of_rule(rule, warning, f"it never matches: {reason.because}")
            for name in _named_protocols(tests):
                if name not in self._inventory.reaches and name != "unknown":
                    yield self._of_rule(rule, "protocol-without-detector", f"nothing recognises {name}")
            if any(test.operator in (Operator.AT_LEAST, Operator.BELOW) and _is_count(test) for test in tests):
                text = "it counts, so flows it may hit stay in user space until it is decided"
                yield self._of_rule(rule, "count-cost", text, note=True)
            if rule.action is Action.DNS and any(_needs_the_answer(test) for test in tests):
                text = "it can only be decided after the real answer; ask for probable, and not for dns.rcode"
                yield self._of_rule(rule, "dns-action-late", text)
            if rule.residual is not None and (rule.monitor or self._policy.mode is Mode.MONITOR):
                yield self._of_rule(rule, "residual-never", "it only records, so its residual never begins")
        refusing = [rule for rule in self._policy.rules if rule.action not in (Action.PASS, Action.LOG)]
        acts = self._policy.mode is Mode.ENFORCE
        if acts and not self._policy.home and (self._policy.default is not Action.PASS or refusing):
            text = 'the policy refuses, and no "home" says for whose clients: a mistake would hit every flow'
            yield Finding(Place(self._outline.file, 1, 1), "no-home", text)

    def unreachable(self) -> Iterator[Finding]:
        """Rules that a rule above shadows."""
        above: list[tuple[Rule, list[Conjunction]]] = []
        for rule in self._policy.rules:
            cases = unfolded(rule.when)
            if rule.name not in self._dead and cases is not None:
                for earlier, gaps in above:
                    if _may_shadow(earlier, rule) and all_covered(cases, gaps, self._inventory):
                        there = self._outline.place("rules", earlier.name)
                        where = there.seen_from(self._outline.place("rules", rule.name))
                        text = f"never reached: {quoted(earlier.name)} in {where} decides all that it would match"
                        yield self._of_rule(rule, "unreachable-rule", text)
                        break
            opposite = unfolded(rule.when, holds=False)
            if opposite is not None and (rule.action in _DECIDING or rule.action is Action.DNS) and not rule.monitor:
                above.append((rule, opposite))

    def times(self, now: float) -> Iterator[Finding]:
        """Schedules and approvals that are over, or nearly."""
        for name, schedule in self._policy.schedules.items():
            about = frozenset({("schedule", name)})
            if schedule.ends is not None and schedule.ends <= now:
                since = _day(schedule.ends, schedule.timezone)
                text = f"schedule {quoted(name)} is over since {since}: its rules are never in force"
                yield Finding(self._outline.place("schedules", name), "schedule-past", text, about)
            if name not in self._outline.during:
                text = f'schedule {quoted(name)}: no rule names it in "during"'
                yield Finding(self._outline.place("schedules", name), "schedule-unused", text, about)
        for approval in self._policy.approvals:
            if approval.until is None or approval.until > now + SOON_SECONDS:
                continue
            over = approval.until < now
            text = f"approval {quoted(approval.name)} {'ended' if over else 'ends'} on {_day(approval.until)}"
            yield Finding(
                self._outline.place("approved", approval.name),
                "approval-expired" if over else "approval-expires-soon",
                text + (": its tunnel counts as any other" if over else ": within 30 days"),
                frozenset({("approval", approval.name)}),
            )

    def unused(self) -> Iterator[Finding]:
        """Lists and client groups that no condition uses."""
        for name in self._outline.lists:
            if name not in self._outline.list_uses:
                text = f"list {quoted(name)}: no condition uses it"
                yield Finding(self._outline.place("lists", name), "list-unused", text, frozenset({("list", name)}))
        for name in self._policy.clients:
            if name not in self._outline.words:
                text = f"client group {quoted(name)}: no condition uses it"
                yield Finding(self._outline.place("clients", name), "client-group-unused", text)

    def lists(self, is_public_suffix: Callable[[str], bool]) -> Iterator[Finding]:
        """Entries that others cover, and domains that are too wide."""
        for rule, value, place in self._outline.domains:
            if (host := _host(value)) is not None and is_public_suffix(host):
                text = f"rule {quoted(rule)}: everybody registers below {host}, which is a public suffix"
                yield Finding(place, "public-suffix", text, frozenset({("rule", rule)}))
        for name, entries in self._outline.lists.items():
            uses = self._outline.list_uses.get(name, set())
            about = frozenset({("list", name)})
            label = f"list {quoted(name)}"
            if uses and all(use.endswith("|domain") for use in uses):
                hosts = [(host, place) for value, place in entries if (host := _host(value)) is not None]
                yield from _counted(label, about, "list-overlap", _covered_domains(hosts))
                wide = [
                    (place, f"everybody registers below {host}, which is a public suffix")
                    for host, place in hosts
                    if is_public_suffix(host)
                ]
                yield from _counted(label, about, "public-suffix", wide)
            elif uses and all(use.partition("|")[0] in ("src_ip", "dest_ip") for use in uses):
                networks = [(parse_network(value), place) for value, place in entries]
                yield from _counted(label, about, "list-overlap", _covered_networks(networks))

    def kernel(self, probe: Probe | None) -> Iterator[Finding]:
        """Actions that this machine cannot carry out."""
        needs: dict[Feature, Rule] = {}
        for rule in self._policy.rules:
            actions = {rule.action, rule.then} if rule.action is Action.SAMPLE else {rule.action}
            if Action.THROTTLE in actions:
                needs.setdefault(Feature.HASHLIMIT, rule)
            if not actions.isdisjoint({Action.RESET, Action.DNS}):
                needs.setdefault(Feature.RAW_SOCKET, rule)
            if rule.residual is not None:
                needs.setdefault(Feature.SETS, rule)
        for feature, rule in needs.items():
            if probe is None:
                yield self._of_rule(
                    rule, "not-checked", f"{feature.value}: not checked, needs root on Linux", note=True
                )
            elif (missing := probe(feature)) is not None:
                yield self._of_rule(rule, "kernel-feature", f"{feature.value}: {missing}")


def _may_shadow(earlier: Rule, later: Rule) -> bool:
    """Whether `earlier` decides at any moment at which `later` could, if its condition covers that."""
    if earlier.action is Action.DNS and later.action is not Action.DNS:
        return False  # it answers queries; what else it matches is not sure to be decided by it
    return earlier.during is None or earlier.during == later.during


def _tests(condition: Condition) -> Iterator[Test]:
    match condition:
        case Test():
            yield condition
        case Not(part):
            yield from _tests(part)
        case _:
            for part in condition.parts:
                yield from _tests(part)


def _named_protocols(tests: Iterable[Test]) -> list[str]:
    named = (str(value) for test in tests if test.field in PROTOCOL_FIELDS[:2] for value in test.values)
    return list(dict.fromkeys(named))


def _is_count(test: Test) -> bool:
    return test.field != "confidence" and all(isinstance(value, int) for value in test.values)


def _needs_the_answer(test: Test) -> bool:
    """A query alone is `probable`, and has no return code."""
    return test.field == "dns.rcode" or (test.field == "confidence" and Confidence.CONFIRMED in test.values)


def _day(seconds: float, timezone: str = "UTC") -> str:
    return datetime.fromtimestamp(seconds, ZoneInfo(timezone)).strftime("%Y-%m-%d")


def _host(value: str) -> str | None:
    try:
        return parse_host(value)
    except ValueError:
        return None


def _covered_domains(hosts: list[tuple[str, Place]]) -> list[tuple[Place, str]]:
    first: dict[str, Place] = {}
    found = []
    for host, place in hosts:
        if host in first:
            found.append((place, f"{host} stands here again; it is already in line {first[host].line}"))
        first.setdefault(host, place)
    for host, place in first.items():
        _, _, above = host.partition(".")
        while above:
            if above in first:
                found.append((place, f"{host} is covered by {above} in line {first[above].line}"))
                break
            _, _, above = above.partition(".")
    return found


def _covered_networks(networks: list[tuple[Network, Place]]) -> list[tuple[Place, str]]:
    first: dict[Network, Place] = {}
    found = []
    for network, place in networks:
        if network in first:
            found.append((place, f"{network} stands here again; it is already in line {first[network].line}"))
        first.setdefault(network, place)
    whole = NetworkSet(first)
    for network, place in first.items():
        if (holder := whole.holder(network, strict=True)) is not None:
            found.append((place, f"{network} is covered by {holder} in line {first[holder].line}"))
    return found


def _counted(
    label: str, about: frozenset[tuple[str, str]], warning: str, found: list[tuple[Place, str]]
) -> Iterator[Finding]:
    """At most MAX_SHOWN of them, and how many more there are."""
    found.sort(key=lambda entry: (entry[0].line, entry[0].column))
    for place, text in found[:MAX_SHOWN]:
        yield Finding(place, warning, f"{label}: {text}", about)
    if len(found) > MAX_SHOWN:
        place = found[MAX_SHOWN][0]
        yield Finding(place, warning, f"{label}: {len(found) - MAX_SHOWN} more entries like this", about)
