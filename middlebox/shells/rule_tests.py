"""Runs rule tests: each case's flow, made up or from a capture, through the policy as the gateway would judge it.

Rule of this file: a case that proves nothing (no flow selected, no packet readable) is a failure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from middlebox.engine import Engine
from middlebox.events import Event
from middlebox.evidence import Confidence
from middlebox.flow import Flow
from middlebox.packet import TCP, TRANSPORT_NAMES, Packet, decode
from middlebox.policy.fields import SERVER_NAME_FACTS
from middlebox.policy.match import Matcher
from middlebox.policy.problem import PolicyError, Problem, Severity, suggestion
from middlebox.policy.rule import Policy
from middlebox.policy.rule_test import DEFAULT, SUFFIX, UNDECIDED, Case, RuleTests, load_rule_tests
from middlebox.shells.capture import Capture, CaptureError
from middlebox.verdict import Action

_CLIENT_4, _CLIENT_6 = ip_address("198.51.100.10"), ip_address("2001:db8:1::10")
_SERVER_4, _SERVER_6 = ip_address("203.0.113.20"), ip_address("2001:db8:2::20")
"Ends of a made-up flow that does not say: documentation addresses (RFC 5737, RFC 3849)."
_CLIENT_PORT, _SERVER_PORT = 40_000, 443
"Ports of a made-up flow that does not say."

_NUMBERS = {name: number for number, name in TRANSPORT_NAMES.items()}
_SHOWN_FLOWS = 3
"Flows that a message describes."


OUTSIDE = "outside home"
"Neither end of the flow is in the policy's home: no rule was asked."


class Result(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    KNOWN_MISS = "known miss"
    "Not met, as the case says itself."
    FAILED = "failed"


@dataclass(slots=True, frozen=True)
class Outcome:
    """One case that was run."""

    case: Case
    result: Result
    found: str = ""
    "Of a failed case: what happened instead."


@dataclass(slots=True)
class Observed:
    """A flow after it was judged."""

    action: Action
    "What was done with it."
    rule: str | None
    "The rule that did; None: the default, or nothing was ever decided."
    decider: str
    "Its name, or why there is none: `default`, `undecided` or OUTSIDE."
    acted: Mapping[str, int | None]
    "Every rule that acted on it, log rules included, with the packet on which it did."
    title: str
    "In words, for messages."
    near_misses: list[str] = field(default_factory=list)
    fields: Mapping[str, object] = field(default_factory=dict)
    "As in conditions."


# --- finding and running -------------------------------------------------------------------------


def find_rule_tests(paths: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """The test files that are named, or lie in the folders that are named; and what is wrong with the names."""
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob(f"*{SUFFIX}"))
            found.update(dict.fromkeys(inside))
            if not inside:
                problems.append(_about(path, f"this folder has no rule tests (*{SUFFIX})"))
        elif not path.is_file():
            near = suggestion(path.name, (other.name for other in path.parent.glob("*")))
            problems.append(_about(path, f"there is no such file or folder{near}"))
        elif not path.name.endswith(SUFFIX):
            beside = path.with_name(path.stem + SUFFIX)
            hint = f'; did you mean "{beside}"?' if beside.is_file() else ""
            problems.append(_about(path, f"rule tests are in files whose names end in {SUFFIX}{hint}"))
        else:
            found[path] = None
    return list(found), problems


def _about(path: Path, message: str) -> Problem:
    return Problem(str(path), 1, 1, Severity.ERROR, message)


def load_all(paths: Iterable[Path]) -> tuple[list[RuleTests], list[Problem]]:
    """Every test file that can be read, and what is wrong with the others."""
    files, problems = find_rule_tests(paths)
    loaded = []
    for path in files:
        try:
            loaded.append(load_rule_tests(path))
        except PolicyError as error:
            problems += error.problems
    return loaded, list(dict.fromkeys(problems))


class Runner:
    """Runs cases; replays a capture once for all cases that look at it in the same way."""

    def __init__(self) -> None:
        self._packets: dict[str, list[tuple[float, bytes]]] = {}
        self._replayed: dict[tuple[str, int, float | None], list[Observed]] = {}
        self._policies: list[Policy] = []
        "Kept alive, since the cache above knows them by identity."

    def run(self, case: Case) -> Outcome:
        """Run one case."""
        policy = case.policy
        assert policy is not None
        if case.given is not None:
            flows = [given_flow(case.given, policy, case.at)]
        else:
            assert case.capture is not None
            try:
                flows = self._replay(case.capture, policy, case.at)
            except CaptureError as error:
                return Outcome(case, Result.FAILED, str(error))
            if not flows:
                return Outcome(case, Result.FAILED, f"{case.capture} has no flow")
            chosen = [flow for flow in flows if _fits(flow.fields, case.flow or {})]
            if not chosen:
                there = "; there is " + _several([flow.title for flow in flows])
                return Outcome(case, Result.FAILED, "no flow of the capture is what `flow` asks for" + there)
            flows = chosen
        complaint = _complaint(case, policy, flows)
        if not case.known_miss:
            return Outcome(case, Result.FAILED if complaint else Result.PASSED, complaint)
        if complaint:
            return Outcome(case, Result.KNOWN_MISS)
        return Outcome(case, Result.FAILED, "it is no longer missed: remove known_miss")

    def _replay(self, path: str, policy: Policy, at: float | None) -> list[Observed]:
        key = (path, id(policy), at)
        if key not in self._replayed:
            if path not in self._packets:
                self._packets[path] = list(Capture(path))
            self._policies.append(policy)
            self._replayed[key] = _judged(self._packets[path], policy, at)
        return self._replayed[key]


# --- judging -------------------------------------------------------------------------------------


def _judged(packets: list[tuple[float, bytes]], policy: Policy, at: float | None) -> list[Observed]:
    """The flows of a capture, in the order of their first packets."""
    clock = max(packets[0][0], 0.0) if packets else 0.0
    shift = 0.0 if at is None else at - clock
    engine = Engine(policy, policy_time=lambda now: now + shift)
    for now, raw in packets:
        clock = max(clock, now)
        engine.pass_edge(clock)
        engine.handle(raw, clock)
    engine.finish(clock)
    acted: dict[object, dict[str, int | None]] = {}
    ended = []
    for event in engine.take_events():
        about = event.get("middlebox")
        assert isinstance(about, dict)
        if event["event_type"] == "decision" and about["rule"] is not None:
            counts = event["flow"]
            assert isinstance(counts, dict)
            packet = counts["pkts_toserver"] + counts["pkts_toclient"]
            acted.setdefault(event["flow_id"], {}).setdefault(about["rule"], packet)
        elif event["event_type"] == "flow":
            ended.append(event)
    ended.sort(key=lambda event: event["_order"])  # type: ignore[arg-type,return-value]
    return [_observed(event, policy, acted.get(event["flow_id"], {})) for event in ended]


def _observed(event: Event, policy: Policy, acted: Mapping[str, int | None]) -> Observed:
    about = event["middlebox"]
    assert isinstance(about, dict)
    rule = about["rule"]
    name = {rule.name: rule for rule in policy.rules}
    action = name[rule].action if rule is not None else Action(about["verdict"])
    passing = {rule.name for rule in policy.rules if rule.action is not Action.LOG and not rule.monitor}
    only_noted = {noted: packet for noted, packet in acted.items() if noted not in passing}
    confidence = about["confidence"]
    fields = {
        **_flat(event),
        "src_ip": ip_address(str(event["src_ip"])),
        "dest_ip": ip_address(str(event["dest_ip"])),
        "protocol": about["protocol"],
        "confidence": Confidence[confidence.upper()] if confidence else None,
        "approved": about["approved"],
    }
    return Observed(
        action=action,
        rule=rule,
        decider=rule or _without_rule(policy, fields, undecided=about["by_packet"] is None),
        acted=only_noted if rule is None else {**only_noted, rule: about["by_packet"]},
        title=_title(fields),
        near_misses=[f"{miss['rule']}: {miss['because']}" for miss in about["near_misses"]],
        fields=fields,
    )


def _without_rule(policy: Policy, fields: Mapping[str, object], *, undecided: bool) -> str:
    """Why no rule decided a flow."""
    ends = fields["src_ip"], fields["dest_ip"]
    if policy.home and not any(end in network for end in ends for network in policy.home):
        return OUTSIDE
    return UNDECIDED if undecided else DEFAULT


def _flat(event: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """{"tls": {"sni": x}} as {"tls.sni": x}: names as conditions have them."""
    flat = {}
    for key, value in event.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def given_flow(given: Mapping[str, object], policy: Policy, at: float | None) -> Observed:
    """Judge a made-up flow. Of `sample` rules it is always among the chosen: a test asks for the rule, not the dice."""
    rules = tuple(replace(rule, probability=1.0) if rule.action is Action.SAMPLE else rule for rule in policy.rules)
    policy = replace(policy, rules=rules)
    flow = _made_up(given, policy)
    matcher = Matcher(policy)
    matcher.activate(at if at is not None else 0.0)
    fields = {
        **given,
        "src_ip": ip_address(flow.client),
        "dest_ip": ip_address(flow.server),
        "dest_port": flow.server_port,
        "proto": flow.transport_name,
    }
    decider = _without_rule(policy, fields, undecided=False)
    if decider == OUTSIDE:
        return Observed(Action.PASS, None, decider, {}, _title(fields))
    ruling = matcher.judge(flow)
    acted: dict[str, int | None] = {rule.name: None for rule in ruling.logged}
    if ruling.rule is not None:
        acted[ruling.rule.name] = None
    return Observed(
        action=ruling.rule.action if ruling.rule is not None else ruling.action or Action.PASS,
        rule=ruling.rule.name if ruling.rule is not None else None,
        decider=ruling.rule.name if ruling.rule is not None else decider,
        acted=acted,
        title=_title(fields),
        near_misses=[f"{miss['rule']}: {miss['because']}" for miss in matcher.near_misses(flow)],
    )


def _made_up(given: Mapping[str, object], policy: Policy) -> Flow:
    """A flow as it is after its detectors have finished."""
    ends = [end for end in (given.get("src_ip"), given.get("dest_ip")) if end is not None]
    six = any(isinstance(end, IPv6Address) for end in ends)
    client = given.get("src_ip", _CLIENT_6 if six else _CLIENT_4)
    server = given.get("dest_ip", _SERVER_6 if six else _SERVER_4)
    assert isinstance(client, IPv4Address | IPv6Address)
    assert isinstance(server, IPv4Address | IPv6Address)
    source, destination = given.get("src_port", _CLIENT_PORT), given.get("dest_port", _SERVER_PORT)
    assert isinstance(source, int)
    assert isinstance(destination, int)
    packet = _packet(_NUMBERS[str(given.get("proto", "TCP"))], client, server, source, destination)
    flow = Flow(packet, now=0.0, order=1)
    flow.protocol = str(given.get("protocol", "unknown"))
    confidence = given.get("confidence", Confidence.CONFIRMED if "protocol" in given else None)
    assert confidence is None or isinstance(confidence, Confidence)
    flow.confidence = confidence
    approved = given.get("approved", False)
    flow.approved = policy.approvals[0].name if approved is True else str(approved) if approved else None
    facts = {name: value for name, value in given.items() if "." in name}
    if "server_name" in given:
        facts[SERVER_NAME_FACTS[0]] = given["server_name"]
    flow.facts = facts
    return flow


def _packet(
    protocol: int, client: IPv4Address | IPv6Address, server: IPv4Address | IPv6Address, source: int, destination: int
) -> Packet:
    """A first packet between these ends: headers only."""
    ports = source.to_bytes(2, "big") + destination.to_bytes(2, "big")
    body = ports + (bytes(8) + b"\x50\x02" + bytes(6) if protocol == TCP else b"\0\x08\0\0")
    if isinstance(client, IPv6Address):
        head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes([protocol, 64])
    else:
        head = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + bytes(4) + bytes([64, protocol, 0, 0])
    packet = decode(head + client.packed + server.packed + body)
    assert isinstance(packet, Packet), packet
    return packet


# --- comparing -----------------------------------------------------------------------------------


def _fits(fields: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether a flow is one of those that are meant."""
    return all(_same(fields, name, value) for name, value in wanted.items())


def _same(fields: Mapping[str, object], name: str, wanted: object) -> bool:
    if name == "server_name":
        return any(fields.get(fact) == wanted for fact in SERVER_NAME_FACTS)
    found = fields.get(name)
    if name == "approved" and isinstance(wanted, bool):
        return (found is not None) is wanted
    return found == wanted or (isinstance(found, list) and wanted in found)


def _complaint(case: Case, policy: Policy, flows: list[Observed]) -> str:
    """What is wrong with what happened; nothing if the expectation is met."""
    if case.is_match:
        fitting = [flow for flow in flows if _matched(case, flow)]
        enough = len(fitting) == case.expect.flows if case.expect.flows else bool(fitting)
        wrong = [flow for flow in flows if flow not in fitting]
    else:
        fitting = [flow for flow in flows if _missed(case, flow, policy)]
        enough = len(fitting) == len(flows) and case.expect.flows in (None, len(flows))
        wrong = [flow for flow in flows if flow not in fitting]
    if enough:
        return ""
    number = f" for {case.expect.flows} of {len(flows)} flows, found {len(fitting)}" if case.expect.flows else ""
    shown = f"; {_several([_happened(flow) for flow in wrong])}" if wrong else ""
    return f"expected {_wish(case)}{number}{shown}"


def _matched(case: Case, flow: Observed) -> bool:
    """Whether the rule under test acted on this flow, in time."""
    if case.rule.name not in flow.acted:
        return False
    packet = flow.acted[case.rule.name]
    return case.expect.by_packet is None or (packet is not None and packet <= case.expect.by_packet)


def _missed(case: Case, flow: Observed, policy: Policy) -> bool:
    """Whether the rule under test left this flow alone, and what was expected instead happened."""
    wanted = case.expect.rule
    if wanted in (DEFAULT, UNDECIDED) and all(rule.name != wanted for rule in policy.rules):
        right_rule = wanted == flow.decider
    else:
        right_rule = wanted is None or wanted in flow.acted
    packet = flow.acted.get(flow.rule) if flow.rule is not None else None
    in_time = case.expect.by_packet is None or (packet is not None and packet <= case.expect.by_packet)
    return case.rule.name not in flow.acted and flow.action is case.expect.action and right_rule and in_time


def _wish(case: Case) -> str:
    by = case.rule.name if case.is_match else case.expect.rule
    words = case.expect.action.value
    words += f" by {by}" if by is not None else f", not by {case.rule.name}"
    return words + (f" on packet {case.expect.by_packet} or before" if case.expect.by_packet is not None else "")


def _happened(flow: Observed) -> str:
    """What was done with a flow, and why."""
    by = _DECIDERS.get(flow.decider, f"by {flow.decider}") if flow.rule is None else f"by {flow.rule}"
    words = f"{flow.title} got {flow.action.value} {by}"
    packet = flow.acted.get(flow.rule) if flow.rule is not None else None
    words += f" on packet {packet}" if packet is not None else ""
    noted = [name for name in flow.acted if name != flow.rule]
    words += f", noted by {', '.join(noted)}" if noted else ""
    return words + (f" (near miss: {'; '.join(flow.near_misses)})" if flow.near_misses else "")


_DECIDERS = {UNDECIDED: "while it was still undecided", OUTSIDE: "because it is outside the policy's home"}


def _title(fields: Mapping[str, object]) -> str:
    """A flow in a few words."""
    confidence = fields.get("confidence")
    sure = f" {confidence.word}" if isinstance(confidence, Confidence) else ""
    port = fields.get("dest_port")
    end = str(fields["dest_ip"]) + (f" port {port}" if port is not None else "")
    return f"{fields.get('protocol', 'unknown')}{sure} ({fields['proto']}) to {end}"


def _several(texts: list[str]) -> str:
    """Some of them, each once, and how many more there are."""
    different = list(dict.fromkeys(texts))
    more = len(different) - _SHOWN_FLOWS
    return "; ".join(different[:_SHOWN_FLOWS]) + (f"; and {more} more" if more > 0 else "")
