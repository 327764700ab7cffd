"""Which rules can still match a flow, without asking each of them.

A rule whose condition needs `dest_ip`, a port or a host name to be one of some values is found through these values.
The rule of this file: it may offer rules that do not match, and never leaves out one that is TRUE or UNKNOWN.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from middlebox.policy.fields import SERVER_NAME_FACTS
from middlebox.policy.rule import All, Condition, Operator, Rule, Test

LEAST_RULES = 8
"Ours: fewer rules on a field are asked one by one, which is as fast."

MOST_VALUES = 4_096
"Ours: values of one rule that the index takes in; a longer list has a set of its own, which is asked at once."

_STATIC = ("dest_ip", "src_ip", "dest_port", "src_port")
"Known from the first packet; the first of them that a rule tests is what it is found by."


class Reporter(Protocol):
    """A detector that may still report something."""

    @property
    def facts(self) -> tuple[str, ...]:
        """Facts it may report."""
        ...


class Subject(Protocol):
    """What an index looks at. A `Flow` is one."""

    client: bytes
    server: bytes
    client_port: int
    server_port: int
    facts: dict[str, object]

    @property
    def pending(self) -> Sequence[Reporter]:
        """Detectors that may still report something."""
        ...


Lookup = Callable[[Subject], Iterable[int]]
"Gives positions of rules, in ascending order."


class RuleIndex:
    """An index over rules in their order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        groups: dict[tuple[str, Operator], list[tuple[int, Test]]] = {}
        for position, rule in enumerate(rules):
            anchor = _anchor(rule.when)
            if anchor is not None and len(anchor.values) <= MOST_VALUES:
                groups.setdefault((anchor.field, anchor.operator), []).append((position, anchor))
        self._lookups: list[Lookup] = []
        found_by_value: set[int] = set()
        for (field, operator), members in groups.items():
            if len(members) >= LEAST_RULES:
                self._lookups.append(_lookup(field, operator, members))
                found_by_value.update(position for position, _ in members)
        self._others = tuple(position for position in range(len(rules)) if position not in found_by_value)

    def candidates(self, flow: Subject) -> Iterable[int]:
        """Positions of all rules that may match, in ascending order; a position may come twice."""
        if not self._lookups:
            return self._others
        return merge(self._others, *(lookup(flow) for lookup in self._lookups))


def _anchor(condition: Condition) -> Test | None:
    """The test that a rule is found by: it must hold whenever the rule does."""
    tests = list(_needed(condition))
    for field in _STATIC:
        for test in tests:
            if test.field == field:
                return test
    texts = (test for test in tests if test.operator is Operator.DOMAIN)
    return next(texts, None)


def _needed(condition: Condition) -> Iterator[Test]:
    if isinstance(condition, Test):
        yield condition
    elif isinstance(condition, All):
        for part in condition.parts:
            yield from _needed(part)


def _lookup(field: str, operator: Operator, members: Sequence[tuple[int, Test]]) -> Lookup:
    match field:
        case "dest_ip":
            by_destination = _network_index(members)
            return lambda flow: by_destination(flow.server)
        case "src_ip":
            by_source = _network_index(members)
            return lambda flow: by_source(flow.client)
        case "dest_port":
            server_ports = _value_index(members)
            return lambda flow: server_ports.get(flow.server_port, ())
        case "src_port":
            client_ports = _value_index(members)
            return lambda flow: client_ports.get(flow.client_port, ())
        case "server_name":
            return _domain_lookup(SERVER_NAME_FACTS, members)
        case fact:
            assert operator is Operator.DOMAIN
            return _domain_lookup((fact,), members)


def _value_index(members: Sequence[tuple[int, Test]]) -> dict[object, list[int]]:
    index: dict[object, list[int]] = {}
    for position, test in members:
        for value in dict.fromkeys(test.values):
            index.setdefault(value, []).append(position)
    return index


def _network_index(members: Sequence[tuple[int, Test]]) -> Callable[[bytes], list[int]]:
    """Positions by the networks an address lies in: one lookup for each version and prefix length there is."""
    index: dict[tuple[int, int], dict[int, list[int]]] = {}
    for position, test in members:
        for network in test.values:
            assert isinstance(network, IPv4Network | IPv6Network)
            host_bits = network.max_prefixlen - network.prefixlen
            prefixes = index.setdefault((network.max_prefixlen // 8, host_bits), {})
            prefixes.setdefault(int(network.network_address) >> host_bits, []).append(position)

    def find(address: bytes) -> list[int]:
        number = int.from_bytes(address, "big")
        found: list[int] = []
        for (length, host_bits), prefixes in index.items():
            if length == len(address):
                found += prefixes.get(number >> host_bits, ())
        return sorted(found)

    return find


def _domain_lookup(facts: Sequence[str], members: Sequence[tuple[int, Test]]) -> Lookup:
    index = _value_index(members)
    everyone = [position for position, _ in members]

    def find(flow: Subject) -> list[int]:
        known = flow.facts
        missing = [fact for fact in facts if fact not in known]
        if missing and any(fact in detector.facts for detector in flow.pending for fact in missing):
            return everyone  # the name may still come: all of them may be UNKNOWN
        found: list[int] = []
        for fact in facts:
            value = known.get(fact)
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str):
                    for suffix in _suffixes(text):
                        found += index.get(suffix, ())
        return sorted(found)

    return find


def _suffixes(name: str) -> Iterator[str]:
    name = name.lower().strip(".")
    while name:
        yield name
        _, _, name = name.partition(".")
