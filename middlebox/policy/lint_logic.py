"""Can a condition ever hold? The proof behind the linter's `impossible-condition` and `unreachable-rule`.

Rule of this file: it says "never" only when that is certain. Whatever it does not understand may hold.

A condition becomes a disjunction of conjunctions of tests and their opposites, which is as true as the condition also
in three-valued logic. A conjunction is impossible if one of its tests excludes another at the same moment. A rule B
is shadowed by A if "B and not A" is impossible: then A is never FALSE when B is TRUE.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import collapse_addresses, ip_network

from middlebox.detect.base import Detector
from middlebox.evidence import Confidence
from middlebox.policy.fields import SERVER_NAME_FACTS
from middlebox.policy.rule import All, Any, Condition, Network, Not, Operator, Test
from middlebox.protocols import CATEGORY_OF

MAX_CONJUNCTIONS = 256
"A condition that unfolds into more is not judged."
MAX_COMPARISONS = 100_000
"Pairs of values of two tests that are compared one by one; what sets can answer has no limit."

TRANSPORT_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 51: "AH", 58: "IPV6-ICMP"}
"IP protocol numbers (IANA) of the transports that a condition can name."
WITH_PORTS = frozenset({"TCP", "UDP"})

PROTOCOL_FIELDS = ("protocol", "app_proto", "category")
ADDRESS_FIELDS = ("src_ip", "dest_ip")
PORT_FIELDS = ("src_port", "dest_port")

Literal = tuple[Test, bool]
"A test, and whether it must hold (True) or must not."
Conjunction = tuple[Literal, ...]


@dataclass(frozen=True)
class Inventory:
    """What detectors there are can recognise, and which approvals a policy has."""

    reaches: Mapping[str, Confidence]
    "The highest level of any detector that may report the protocol."
    transports: Mapping[str, frozenset[str]]
    "On which transports the protocol is looked for."
    approvals: frozenset[str]

    @classmethod
    def of(cls, detectors: Iterable[type[Detector]], approvals: Iterable[str]) -> "Inventory":
        """The inventory of these detectors and approvals."""
        reaches: dict[str, Confidence] = {}
        transports: dict[str, frozenset[str]] = {}
        for detector in detectors:
            names = frozenset(TRANSPORT_NAMES.get(number, str(number)) for number in detector.transports)
            for protocol in detector.protocols:
                reaches[protocol] = max(detector.reaches, reaches.get(protocol, detector.reaches))
                transports[protocol] = transports.get(protocol, frozenset()) | names
        return cls(reaches, transports, frozenset(approvals))


@dataclass(slots=True, frozen=True)
class Contradiction:
    """Why a condition never holds."""

    because: str
    confidence: bool = False
    "Only the level that is asked for is too high."


_Check = Callable[[Conjunction, Inventory], Contradiction | None]


def never(condition: Condition, inventory: Inventory) -> Contradiction | None:
    """Why `condition` can never hold; None if it can, or if that is not certain."""
    cases = unfolded(condition)
    return None if cases is None else _all_contradict(cases, inventory)


def covers(earlier: Condition, later: Condition, inventory: Inventory) -> bool:
    """Whether `earlier` certainly holds, or is not decided yet, whenever `later` holds."""
    cases, gaps = unfolded(later), unfolded(earlier, holds=False)
    return cases is not None and gaps is not None and all_covered(cases, gaps, inventory)


def all_covered(cases: list[Conjunction], gaps: list[Conjunction], inventory: Inventory) -> bool:
    """`covers`, for conditions that were unfolded before: no case of one fits into a gap of the other.

    Cases are possible by themselves, so only what a gap asks for can contradict. A thousand rules are half a million
    pairs, so nothing else is checked.
    """
    for gap in gaps:
        checks = dict.fromkeys(check for test, _ in gap for check in _checks_of(test.field))
        for case in cases:
            if all(check(case + gap, inventory) is None for check in checks):
                return False
    return True


def _checks_of(field: str) -> tuple["_Check", ...]:
    """The checks that a test on this field can fail."""
    if field in ADDRESS_FIELDS:
        return (_addresses,)
    if field in (*PORT_FIELDS, *PROTOCOL_FIELDS, "proto", "confidence"):
        return (_ports, _protocols)
    return (_approvals,) if field == "approved" else (_opposites, _counts)


def _all_contradict(cases: list[Conjunction], inventory: Inventory) -> Contradiction | None:
    found = [contradiction(case, inventory) for case in cases]
    reasons = [reason for reason in found if reason is not None]
    if len(reasons) < len(found):
        return None
    if not reasons:
        return Contradiction("it has no part that could hold")
    return next((reason for reason in reasons if not reason.confidence), reasons[0])


def unfolded(condition: Condition, *, holds: bool = True) -> list[Conjunction] | None:
    """The conjunctions of which one must hold for `condition` (or its opposite) to hold; None: too many."""
    match condition:
        case Test():
            return [((condition, holds),)]
        case Not(part):
            return unfolded(part, holds=not holds)
        case All(parts) | Any(parts):
            inner = [unfolded(part, holds=holds) for part in parts]
            if isinstance(condition, All) is not holds:
                whole: list[Conjunction] = []
                for cases in inner:
                    if cases is None:
                        return None
                    whole += cases
            else:
                whole = [()]
                for cases in inner:
                    if cases is None or len(whole) * len(cases) > MAX_CONJUNCTIONS:
                        return None
                    whole = [left + right for left in whole for right in cases]
            return whole if len(whole) <= MAX_CONJUNCTIONS else None


def contradiction(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    """Why these cannot all hold at the same moment."""
    for check in (_opposites, _addresses, _ports, _protocols, _approvals, _counts):
        if (reason := check(literals, inventory)) is not None:
            return reason
    return None


def _on(literals: Conjunction, fields: Iterable[str]) -> Iterator[tuple[frozenset[object], bool]]:
    for test, holds in literals:
        if test.field in fields and test.operator is Operator.IN:
            yield frozenset(test.values), holds


def _narrowed(literals: Conjunction, field: str) -> tuple[frozenset[object] | None, frozenset[object]]:
    """The values that a field of one value may still have (None: any), and those that are excluded."""
    allowed: frozenset[object] | None = None
    excluded: frozenset[object] = frozenset()
    for values, holds in _on(literals, (field,)):
        if holds:
            allowed = values if allowed is None else allowed & values
        else:
            excluded |= values
    return (None if allowed is None else allowed - excluded), excluded


def _opposites(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    """One test must hold, and one must not that then holds, too."""
    refused = [test for test, holds in literals if not holds]
    if not refused:
        return None
    for test, holds in literals:
        for other in refused if holds else ():
            if _implies(test, other):
                return Contradiction(f'"{_shown(test)}" and not "{_shown(other)}" exclude each other')
    return None


def _implies(test: Test, other: Test) -> bool:
    """Whether `other` holds of every value of which `test` does."""
    if test.field != other.field and not (other.field == "server_name" and test.field in SERVER_NAME_FACTS):
        return False
    if test.operator is other.operator and test.values == other.values:
        return True
    if test.field in (*ADDRESS_FIELDS, *PROTOCOL_FIELDS, "approved", "confidence"):
        return False  # judged by their own checks
    wanted = frozenset(other.values)
    match test.operator, other.operator:
        case Operator.IN, Operator.IN:
            return wanted.issuperset(test.values)
        case Operator.DOMAIN, Operator.DOMAIN:
            return all(_is_below(str(value), wanted) for value in test.values)
        case Operator.IN, Operator.DOMAIN:
            return all(isinstance(value, str) and _is_below(value, wanted) for value in test.values)
        case Operator.IN | Operator.ENDSWITH, Operator.ENDSWITH:
            return _each_fits(test, other, str.endswith)
        case Operator.IN | Operator.STARTSWITH, Operator.STARTSWITH:
            return _each_fits(test, other, str.startswith)
        case Operator.IN | Operator.ENDSWITH | Operator.STARTSWITH | Operator.CONTAINS, Operator.CONTAINS:
            return _each_fits(test, other, str.__contains__)
    return False


def _each_fits(test: Test, other: Test, fits: Callable[[str, str], bool]) -> bool:
    """Every value of `test` is a text that fits one of `other`."""
    if len(test.values) * len(other.values) > MAX_COMPARISONS:
        return False
    return all(
        isinstance(value, str) and any(isinstance(part, str) and fits(value, part) for part in other.values)
        for value in test.values
    )


def _is_below(name: str, domains: frozenset[object]) -> bool:
    while name:
        if name in domains:
            return True
        _, _, name = name.partition(".")
    return False


class NetworkSet:
    """Networks, by which others can be asked whether one of these holds them whole."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self.networks = tuple(networks)

    @cached_property
    def _groups(self) -> dict[tuple[int, int], set[int]]:
        groups: dict[tuple[int, int], set[int]] = {}
        for network in self.networks:
            host_bits = network.max_prefixlen - network.prefixlen
            groups.setdefault((network.version, host_bits), set()).add(int(network.network_address) >> host_bits)
        return groups

    def holder(self, network: Network, *, strict: bool = False) -> Network | None:
        """One of these networks that holds `network`; with `strict` a larger one."""
        bits, number = network.max_prefixlen - network.prefixlen, int(network.network_address)
        for (version, host_bits), prefixes in self._groups.items():
            fits = host_bits > bits if strict else host_bits >= bits
            if fits and version == network.version and number >> host_bits in prefixes:
                return ip_network((number >> host_bits << host_bits, network.max_prefixlen - host_bits))
        return None


EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def _networks(test: Test) -> list[Network]:
    return [value for value in test.values if isinstance(value, Network)]


def _merged(networks: Iterable[Network]) -> list[Network]:
    """The same addresses in as few networks as can be."""
    four = [network for network in networks if network.version == 4]
    six = [network for network in networks if network.version == 6]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _addresses(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    for field in ADDRESS_FIELDS:
        tests = [(test, holds) for test, holds in literals if test.field == field and test.operator is Operator.CIDR]
        wanted = [test for test, holds in tests if holds]
        excluded = [network for test, holds in tests if not holds for network in _networks(test)]
        if len(wanted) + bool(excluded) < 2 and not excluded:
            continue
        if len(wanted) == 1 and _share_nothing(_networks(wanted[0]), excluded):
            continue
        left = list(EVERYWHERE)
        for test in wanted:
            left = _common(left, _networks(test))
        holes = NetworkSet(_merged(excluded))
        if all(holes.holder(network) is not None for network in _merged(left)):
            return Contradiction(f"no address fits what it asks of {field}")
    return None


def _share_nothing(some: list[Network], others: list[Network]) -> bool:
    """Whether few networks have no address in common; the cheap answer to the most frequent question."""
    return len(some) * len(others) <= 16 and not any(one.overlaps(other) for one in some for other in others)


def _common(some: list[Network], others: list[Network]) -> list[Network]:
    """The networks that lie in both: of two networks one holds the other or they share nothing."""
    ones, twos = NetworkSet(some), NetworkSet(others)
    inside = [network for network in others if ones.holder(network) is not None]
    return inside + [network for network in some if twos.holder(network, strict=True) is not None]


def _ports(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    transports, _ = _narrowed(literals, "proto")
    if transports is not None and not transports:
        return Contradiction("no transport fits what it asks of proto")
    has_none = transports is not None and transports.isdisjoint(WITH_PORTS)
    for field in PORT_FIELDS:
        ports, _ = _narrowed(literals, field)
        if ports is None:
            continue
        if not ports:
            return Contradiction(f"no port fits what it asks of {field}")
        if has_none and 0 not in ports:
            assert transports is not None
            return Contradiction(f"{', '.join(sorted(map(str, transports)))} has no ports, and it asks for {field}")
    return None


def _protocols(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    names = frozenset(CATEGORY_OF)
    asked = False
    for test, holds in literals:
        if test.field not in PROTOCOL_FIELDS:
            continue
        asked = True
        values = frozenset(map(str, test.values))
        if test.field == "category":
            values = frozenset(name for name, category in CATEGORY_OF.items() if category in values)
        names = names & values if holds else names - values
    if asked and not names:
        return Contradiction("no protocol fits what it asks of protocol and category")
    transports, _ = _narrowed(literals, "proto")
    if transports is not None and asked:
        # What no detector reports is another matter, with a warning of its own.
        on_it = frozenset(
            name for name in names if not transports.isdisjoint(inventory.transports.get(name, transports))
        )
        if not on_it:
            shown = ", ".join(sorted(map(str, transports)))
            return Contradiction(f"none of the protocols it asks for is looked for on {shown}")
        names = on_it
    return _confidence(literals, names, inventory)


def _confidence(literals: Conjunction, names: frozenset[str], inventory: Inventory) -> Contradiction | None:
    """The level, by itself and for these protocols."""
    least, below = 0, int(Confidence.CONFIRMED) + 1
    for test, holds in literals:
        if test.field == "confidence":
            level = min(value for value in test.values if isinstance(value, Confidence))
            if holds:
                least = max(least, level)
            else:
                below = min(below, level)
    if least >= below:
        return Contradiction(f"it asks for a confidence of {Confidence(least).word} and for one below that")
    if least and names == {"unknown"}:
        return Contradiction("a flow of an unknown protocol has no confidence", confidence=True)
    reached = [inventory.reaches[name] for name in names if name in inventory.reaches]
    if least and reached and max(reached) < least:
        word = max(reached).word
        return Contradiction(f"these protocols are recognised as {word} at most", confidence=True)
    return None


def _approvals(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    states: frozenset[object] = inventory.approvals | {None}
    tests = [(test, holds) for test, holds in literals if test.field == "approved"]
    for test, holds in tests:
        fitting: frozenset[object] = frozenset(test.values) & inventory.approvals
        if True in test.values:
            fitting |= inventory.approvals
        if False in test.values:
            fitting |= {None}
        states = states & fitting if holds else states - fitting
    if states or not tests:
        return None
    if not inventory.approvals:
        return Contradiction("the policy approves nothing, so no flow is approved")
    return Contradiction("no flow fits what it asks of approved")


def _counts(literals: Conjunction, inventory: Inventory) -> Contradiction | None:
    least: dict[str, int] = {}
    below: dict[str, int] = {}
    for test, holds in literals:
        numbers = [value for value in test.values if isinstance(value, int) and not isinstance(value, Confidence)]
        if test.field == "confidence" or len(numbers) < len(test.values) or not numbers:
            continue
        if (test.operator, holds) in ((Operator.AT_LEAST, True), (Operator.BELOW, False)):
            bound = min(numbers) if holds else max(numbers)
            least[test.field] = max(bound, least.get(test.field, bound))
        elif (test.operator, holds) in ((Operator.BELOW, True), (Operator.AT_LEAST, False)):
            bound = max(numbers) if holds else min(numbers)
            below[test.field] = min(bound, below.get(test.field, bound))
    for field, bound in least.items():
        if field in below and bound >= below[field]:
            return Contradiction(f"{field} cannot be at least {bound} and below {below[field]}")
    return None


def _shown(test: Test) -> str:
    source = test.source or test.field
    return source if len(source) <= 50 else f"{source[:47]}..."
