"""Conditions of a policy file (`when:`) to the tree of `middlebox.policy.rule`.

Rule of this file: a condition either means what it says or is refused; a misspelled field, a value of the wrong
type or an empty list would otherwise be a rule that never matches, and nobody would know.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from middlebox.detect import DETECTORS
from middlebox.evidence import Confidence
from middlebox.policy.fields import OPERATORS, SERVER_NAME_FACTS, Kind
from middlebox.policy.geoip import FIELDS as GEOIP_FIELDS
from middlebox.policy.problem import Problem, described, listed, quoted, suggestion
from middlebox.policy.rule import All, Any, Condition, HostScore, Network, Not, Operator, Test
from middlebox.policy.schema import with_quoting_hint
from middlebox.policy.values import (
    parse_asn,
    parse_category,
    parse_count,
    parse_country,
    parse_host,
    parse_network,
    parse_port,
    parse_protocol,
    parse_text,
    parse_transport,
    parse_word,
)
from middlebox.policy.yaml_positions import Document, Path, Place

BRANCHES = ("any", "all", "not")
"Keys of a condition that hold further conditions."

HOST_FIELDS = frozenset({"server_name", *SERVER_NAME_FACTS})
"Fields whose values are host names, which have no upper case."

MAX_SCORED_FLOWS = 256
"Ours: flows to a server that a `host_score` looks back at. Wails et al. (NDSS 2024, section VI) needed 38."

MAX_LIST_PROBLEMS = 20
"Wrong entries shown of one list: a list of the wrong kind would otherwise bury every other message."

Parse = Callable[[object], object]
"From what the file says to what a `Test` compares with; raises ValueError with what is wrong."


@dataclass(slots=True, frozen=True)
class Entry:
    """One entry of a named list, with where it stands."""

    value: object
    place: Place


_COMMENT = re.compile(r"(^|\s)#.*")
_PLAIN_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9][a-z0-9_-]{0,62}(?:\.[a-z0-9][a-z0-9_-]{0,62})*")
"Host names that `parse_host` gives back as they are; nearly every line of a long list is one."


_NUMBERS = (parse_port, parse_asn)
"What reads a line of digits as a number."


class TextLines:
    """A list in a text file, one entry a line; # begins a comment, at the start of a line or after a space.

    Lists of a million names are common, so what is not wrong costs no object but its text.
    """

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        lines = text.split("\n")
        if "#" in text:
            lines = [_COMMENT.sub("", line, count=1) if "#" in line else line for line in lines]
        self._lines = [line.strip() for line in lines]
        self.values = [line for line in self._lines if line]

    def parsed(self, parse: "Parse", wrong: Callable[[Place, object, ValueError], None]) -> Iterator[object]:
        """Every entry as `parse` takes it; `wrong` is told of those that it refuses."""
        is_host = parse is parse_host
        plain = _PLAIN_HOST.fullmatch
        for number, value in enumerate(self._lines):
            if is_host and plain(value):
                yield value
            elif value:
                whole: object = int(value) if parse in _NUMBERS and value.isascii() and value.isdigit() else value
                try:
                    yield parse(whole)
                except ValueError as error:
                    line = self._text.split("\n")[number]
                    wrong(Place(self._file, number + 1, line.index(value) + 1), whole, error)


Lists = Mapping[str, Sequence[Entry] | TextLines | None]
"Named lists; None for one that could not be read, which has been reported already."


class ConditionReader:
    """Reads the conditions of one policy file; adds what is wrong to `problems`."""

    def __init__(
        self,
        document: Document,
        *,
        fields: Mapping[str, Kind],
        approvals: Collection[str],
        lists: Lists,
        clients: Mapping[str, tuple[Network, ...]],
        problems: list[Problem],
        geoip: Collection[str] = (),
    ) -> None:
        self._document = document
        self._fields = fields
        self._approvals = tuple(dict.fromkeys(approvals))
        self._lists = lists
        self._clients = clients
        self._problems = problems
        self._geoip = geoip

    def read(self, value: object, path: Path) -> Condition:
        """The condition `value`, which stands at `path`. Worth something only while there are no problems."""
        if isinstance(value, dict):
            return self._mapping(value, path)
        hint = "; to match every flow write when: {}" if value is None else ""
        self._refuse(path, f"when: found {described(value)}, expected a mapping (field: value){hint}")
        return All(())

    def _mapping(self, entries: dict[str, object], path: Path) -> Condition:
        """All entries must hold."""
        parts = tuple(self._part(key, value, (*path, key)) for key, value in entries.items())
        return parts[0] if len(parts) == 1 else All(parts)

    def _part(self, key: str, value: object, path: Path) -> Condition:
        match key:
            case "any":
                return Any(self._several(value, path))
            case "all":
                return All(self._several(value, path))
            case "not" if isinstance(value, dict):
                return Not(self._inner(value, path))
            case "not":
                parts = self._several(value, path)
                return Not(parts[0] if len(parts) == 1 else Any(parts))
            case _:
                return self._test(key, value, path)

    def _several(self, value: object, path: Path) -> tuple[Condition, ...]:
        """A list of conditions."""
        if not isinstance(value, list):
            expected = "a mapping or a list of mappings" if path[-1] == "not" else "a list of mappings"
            self._refuse(path, f"{path[-1]}: found {described(value)}, expected {expected}")
            return ()
        if not value:
            self._refuse(path, f"{path[-1]}: found an empty list, expected at least one condition")
        return tuple(self._inner(item, (*path, index)) for index, item in enumerate(value))

    def _inner(self, value: object, path: Path) -> Condition:
        """A condition inside another, where an empty one would only be a riddle."""
        if not isinstance(value, dict) or not value:
            found = "an empty mapping" if value == {} else described(value)
            self._refuse(path, f"{_branch(path)}: found {found}, expected a mapping (field: value)")
            return All(())
        return self._mapping(value, path)

    def _test(self, key: str, value: object, path: Path) -> Condition:
        nothing = All(())
        name, bar, word = key.partition("|")
        kind = self._fields.get(name)
        if kind is None:
            self._problems.append(self._document.key_place(path).error(self._unknown_field(name)))
            return nothing
        database = GEOIP_FIELDS.get(name)
        if database is not None and database not in self._geoip:
            message = f"{name}: this policy has no database for it; expected geoip: {{{database}: path.mmdb}}"
            self._problems.append(self._document.key_place(path).error(message))
        allowed = OPERATORS[kind]
        operator = next((operator for operator in allowed if operator.value == word), None) if bar else allowed[0]
        if operator is None:
            words = [operator.value for operator in allowed]
            message = f"{name}: found the operator {quoted(word)}, expected {listed(words)}{suggestion(word, words)}"
            self._problems.append(self._document.key_place(path).error(message))
            return nothing
        if kind is Kind.HOST_SCORE:
            return self._host_score(value, path)
        values = self._values(name, operator, kind, value, path)
        if kind is Kind.CLIENT:
            networks = tuple(network for group in values for network in self._clients.get(str(group), ()))
            return Test("src_ip", Operator.CIDR, networks, f"{key}: {_written(value)}")
        name = name.removeprefix("middlebox.")
        return Test(name, operator, values, f"{key}: {_written(value)}")

    def _host_score(self, value: object, path: Path) -> Condition:
        """`host_score: {protocol: [obfs4], confidence: probable, flows: 14, of: 38}`."""
        keys = ("protocol", "confidence", "flows", "of")
        if not isinstance(value, dict) or set(value) != set(keys):
            found = described(value) if not isinstance(value, dict) else f"a mapping of {', '.join(map(str, value))}"
            self._refuse(path, f"host_score: found {found}, expected {Kind.HOST_SCORE.value.partition(': ')[2]}")
            return All(())
        protocols = self._values("protocol", Operator.IN, Kind.PROTOCOL, value["protocol"], (*path, "protocol"))
        levels = self._values("confidence", Operator.IN, Kind.CONFIDENCE, value["confidence"], (*path, "confidence"))
        numbers = {}
        for key in ("flows", "of"):
            number = value[key]
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_SCORED_FLOWS:
                message = f"{key}: found {described(number)}, expected a whole number from 1 to {MAX_SCORED_FLOWS}"
                self._refuse((*path, key), message)
            else:
                numbers[key] = number
        if len(numbers) == 2 and numbers["flows"] > numbers["of"]:
            self._refuse(
                (*path, "flows"), f"flows: found {numbers['flows']}, expected at most the {numbers['of']} of them"
            )
        if not protocols or not levels or len(numbers) != 2:
            return All(())
        level = levels[0]
        assert isinstance(level, Confidence)
        score = HostScore(frozenset(map(str, protocols)), level, numbers["flows"], numbers["of"])
        return Test("host_score", Operator.IN, (score,), f"host_score: {_written(value)}")

    def _unknown_field(self, name: str) -> str:
        nested = [field for field in self._fields if field.startswith(f"{name}.")]
        hint = f'; did you mean "{nested[0]}"?' if nested else suggestion(name, (*self._fields, *BRANCHES))
        return f"{quoted(name)} is not a field of a condition" + (hint or f"; fields: {', '.join(self._fields)}")

    def _values(self, name: str, operator: Operator, kind: Kind, value: object, path: Path) -> tuple[object, ...]:
        parse = self._parser(name, operator, kind)
        if isinstance(value, list) and kind is not Kind.CONFIDENCE:
            if not value:
                self._refuse(path, f"{name}: found an empty list, expected at least one value")
            items = [(item, (*path, index)) for index, item in enumerate(value)]
        else:
            items = [(value, path)]
        return tuple(found for item, place in items for found in self._item(name, kind, parse, item, place))

    def _item(self, name: str, kind: Kind, parse: Parse, value: object, path: Path) -> Iterator[object]:
        """One value, or those of the list it names."""
        if isinstance(value, dict) and kind not in (
            Kind.CONFIDENCE,
            Kind.APPROVED,
            Kind.CLIENT,
            Kind.COUNT,
            Kind.DETECTOR,
        ):
            yield from self._from_list(name, kind, parse, value, path)
            return
        place = self._document.value_place(path)
        try:
            yield parse(value)
        except ValueError as error:
            self._problems.append(place.error(f"{name}: {with_quoting_hint(str(error), value, place.written)}"))

    def _from_list(
        self, name: str, kind: Kind, parse: Parse, reference: dict[str, object], path: Path
    ) -> Iterator[object]:
        """The values of `{list: name}`, each checked for this use at its own place."""
        list_name = reference.get("list")
        if len(reference) != 1 or not isinstance(list_name, str):
            self._refuse(path, f"{name}: found a mapping, expected a value or {{list: name}}")
            return
        if list_name not in self._lists:
            known = suggestion(list_name, self._lists) or (
                f"; lists: {', '.join(self._lists)}" if self._lists else '; this policy has no "lists"'
            )
            self._refuse((*path, "list"), f"{name}: {quoted(list_name)} is not a list of this policy{known}")
            return
        wrong = 0

        def refuse(place: Place, found: object, error: ValueError) -> None:
            nonlocal wrong
            wrong += 1
            if wrong <= MAX_LIST_PROBLEMS:
                message = with_quoting_hint(str(error), found, place.written)
                self._problems.append(place.error(f"list {list_name}, used for {name}: {message}"))

        entries = self._lists[list_name]
        if isinstance(entries, TextLines):
            yield from entries.parsed(parse, refuse)
        for entry in entries if entries is not None and not isinstance(entries, TextLines) else ():
            try:
                yield parse(entry.value)
            except ValueError as error:
                refuse(entry.place, entry.value, error)
        if wrong > MAX_LIST_PROBLEMS:
            more = wrong - MAX_LIST_PROBLEMS
            self._refuse(
                (*path, "list"), f"{name}: {more} more entries of the list {list_name} are wrong in such a way"
            )

    def _parser(self, name: str, operator: Operator, kind: Kind) -> Parse:
        match kind:
            case Kind.ADDRESS:
                return parse_network
            case Kind.PORT:
                return parse_port
            case Kind.COUNTRY:
                return parse_country
            case Kind.ASN:
                return parse_asn
            case Kind.TRANSPORT:
                return parse_transport
            case Kind.PROTOCOL:
                return parse_protocol
            case Kind.CATEGORY:
                return parse_category
            case Kind.CONFIDENCE:
                return _parse_confidence
            case Kind.APPROVED:
                return self._parse_approval
            case Kind.CLIENT:
                return self._parse_client
            case Kind.COUNT:
                return parse_count
            case Kind.DETECTOR:
                return _parse_detector
            case Kind.HOST_SCORE:
                raise AssertionError("read as a whole")
            case Kind.TEXT | Kind.FACT:
                return _text_parser(name, operator, kind)

    def _parse_approval(self, value: object) -> bool | str:
        if isinstance(value, bool):
            return value
        expected = f"true, false or the name of an approval ({', '.join(self._approvals) or 'this policy has none'})"
        return parse_word(value, self._approvals, expected)

    def _parse_client(self, value: object) -> str:
        known = ", ".join(self._clients) or 'this policy has no "clients"'
        return parse_word(value, self._clients, f"the name of a client group ({known})")

    def _refuse(self, path: Path, message: str) -> None:
        self._problems.append(self._document.value_place(path).error(message))


def _text_parser(name: str, operator: Operator, kind: Kind) -> Parse:
    """What a text field or a fact takes under this operator."""
    is_host = name in HOST_FIELDS
    if operator is Operator.DOMAIN or (is_host and operator is Operator.IN):
        return parse_host
    if is_host:
        return lambda value: parse_text(value).lower()
    if kind is Kind.FACT and operator is Operator.IN:
        return _parse_fact
    return parse_text


def _parse_detector(value: object) -> str:
    return parse_word(value, sorted(kind.name for kind in DETECTORS), "the name of a detector")


def _parse_fact(value: object) -> object:
    """A fact may be a text, a whole number, true or false."""
    if isinstance(value, bool | int):
        return value
    return parse_text(value, "a text or a whole number")


def _parse_confidence(value: object) -> Confidence:
    """The least level that a rule acts on; one level, because a higher one always fits as well."""
    words = [level.word for level in Confidence]
    return Confidence[parse_word(value, words, f"one level: {listed(words)}").upper()]


def _branch(path: Path) -> str:
    """The `any`, `all` or `not` around `path`."""
    return str(next(part for part in reversed(path) if isinstance(part, str)))


def _written(value: object) -> str:
    """A value as a policy writes it, on one line."""
    match value:
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_written(item)}' for key, item in value.items())}}}"
        case bool():
            return str(value).lower()
        case _:
            return str(value)
