"""Rule tests (`*.test.yaml`) as plain data: what a case shows to a policy and what must come of it.

Rule of this file: a test that cannot be read is a failure, never an empty test. Unknown keys, rules, captures and
fields are errors with file, line and column, all of them at once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from middlebox.detect import DETECTORS
from middlebox.evidence import Confidence
from middlebox.policy.fields import Kind, known_fields
from middlebox.policy.load import load_policy
from middlebox.policy.problem import PolicyError, Problem, described, listed, quoted, suggestion
from middlebox.policy.rule import Policy, Rule
from middlebox.policy.schema import OTHER_WORDS, Networks, with_quoting_hint
from middlebox.policy.values import (
    parse_begins,
    parse_host,
    parse_port,
    parse_protocol,
    parse_text,
    parse_transport,
    parse_word,
)
from middlebox.policy.yaml_positions import Document, Path, read_yaml
from middlebox.verdict import Action

SUFFIX = ".test.yaml"
"Files of rule tests end so; what stands before it is the name of the policy file beside it."

DEFAULT = "default"
"`expect: {rule: default}` means that no rule decided. A rule of that name takes the word for itself; so below."

UNDECIDED = "undecided"
"`expect: {rule: undecided}` means that the flow has ended while it was still looked at: it passed."

MAX_FILE_BYTES = 1_000_000
"Size of a test file; a case takes some 200 bytes."

GIVEN_KINDS = (Kind.ADDRESS, Kind.PORT, Kind.TRANSPORT, Kind.PROTOCOL, Kind.CONFIDENCE, Kind.APPROVED, Kind.TEXT)
"Fields of the flow itself that a made-up flow may have; facts of detectors come on top."

FOLLOWS = {"category": "protocol"}
"Fields that follow from another one, which must be given instead."


@dataclass(slots=True, frozen=True)
class Expectation:
    """What must come of a case."""

    action: Action
    rule: str | None = None
    "The rule that must decide; `default` for none, `undecided` for none before the flow ended."
    by_packet: int | None = None
    "The decision falls on this packet of the flow or an earlier one."
    flows: int | None = None
    "So many flows must fit; left out: one or more."


@dataclass(slots=True, frozen=True)
class Case:
    """One case: a flow, or the flows of a capture, and what the policy must make of them."""

    name: str
    rule: Rule
    "The rule under test."
    expect: Expectation
    capture: str | None = None
    "Path of the capture; None: the flow is made up."
    given: Mapping[str, object] | None = None
    "The made-up flow: fields as in conditions."
    flow: Mapping[str, object] | None = None
    "Which flows of the capture are meant; None: all."
    at: float | None = None
    "Policy time of the first packet, in seconds since the epoch; None: the capture's own time."
    known_miss: bool = False
    "The expectation is not met today; the case fails on the day when it is."
    because: str = ""
    location: str = ""
    "file:line:column of the case."
    policy: Policy | None = None
    "The policy as this case sees it: with another `home` where it asks for one."

    @property
    def is_match(self) -> bool:
        """Whether the rule under test must act; otherwise the case is a near miss, on which it must not."""
        return self.expect.action is self.rule.action and self.expect.rule in (None, self.rule.name)


@dataclass(slots=True, frozen=True)
class RuleTests:
    """One file of rule tests."""

    source: str
    policy: Policy
    cases: tuple[Case, ...]

    def uncovered(self) -> Iterator[tuple[Rule, str]]:
        """Rules without a case that they match, or without a near miss, with what is missing."""
        for rule in self.policy.rules:
            kinds = {case.is_match for case in self.cases if case.rule.name == rule.name and not case.known_miss}
            if True not in kinds:
                yield rule, "match"
            if False not in kinds:
                yield rule, "near miss"


# --- the shape of a file -------------------------------------------------------------------------


def _home(value: object) -> object:
    return [] if value == "all" else value if isinstance(value, list) else [value]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_NETWORKS_OR_ALL = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
    "description": "Clients' networks in place of the policy's own; all: every flow is judged.",
}
Home = Annotated[list[object] | None, BeforeValidator(_home), WithJsonSchema(_NETWORKS_OR_ALL)]
Moment = Annotated[float | None, PlainValidator(parse_begins), WithJsonSchema({"type": "string"})]
Text = Annotated[str, Field(min_length=1)]
Fields = Annotated[dict[str, object] | None, Field(min_length=1)]


class ExpectFile(_Strict):
    """What must come of the case."""

    action: Literal["pass", "drop", "reset", "reject", "throttle", "sample", "dns", "log"] = Field(
        description="The action of the rule under test: it must act. Any other: it must not, and this happens instead."
    )
    rule: str | None = Field(
        default=None, description="The rule that must decide; default: none of them; undecided: none yet."
    )
    by_packet: int | None = Field(default=None, ge=1, description="The decision falls on this packet or before.")
    flows: int | None = Field(default=None, ge=1, description="So many flows, not more and not fewer.")


class CaseFile(_Strict):
    """One case."""

    name: Text = Field(description="What is shown, in words.")
    rule: str = Field(description="The rule under test.")
    capture: str | None = Field(default=None, description="Path of a capture, from the folder of this file.")
    given: Fields = Field(default=None, description="A made-up flow, as its detectors left it.")
    flow: Fields = Field(default=None, description="Which flows of the capture are meant; left out: all.")
    at: Moment = Field(default=None, description="Policy time of the first packet; without a zone it is UTC.")
    home: Home = None
    expect: ExpectFile
    known_miss: bool = Field(default=False, description="Not met today; fails on the day when it is met.")
    because: str = Field(default="", description="Why it is missed.")


class RuleTestFile(_Strict):
    """Tests of the rules of one policy."""

    policy: str | None = Field(default=None, description="The policy file; left out: the one of the same name.")
    home: Home = None
    at: Moment = Field(default=None, description="Policy time of every case that has none of its own.")
    cases: Annotated[list[CaseFile], Field(min_length=1)]


class _Home(_Strict):
    home: Networks


# --- reading -------------------------------------------------------------------------------------


def load_rule_tests(path: FilePath) -> RuleTests:
    """Read a file of rule tests, and the policy it is about.

    Raises:
        PolicyError: With every problem of the file, and of the policy if that cannot be used.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise PolicyError([Document(source).value_place(()).error(f"cannot read {source}: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"found the byte 0x{error.object[error.start]:02x}, expected UTF-8 text"
        raise PolicyError([replace(Document(source).value_place(()), line=line).error(message)]) from None
    return _Reading(read_yaml(text, source), path).tests()


class _Reading:
    """One test file being read."""

    def __init__(self, document: Document, path: FilePath) -> None:
        self._document = document
        self._folder = path.parent
        self._own_policy = path.name.removesuffix(SUFFIX) + ".yaml"
        self._fields = known_fields(DETECTORS)
        self._problems: list[Problem] = []

    def tests(self) -> RuleTests:
        document = self._document
        if not document.readable:
            raise PolicyError(document.problems)
        if not isinstance(document.data, dict):
            found = "an empty file" if document.data is None else described(document.data)
            self._refuse((), f"found {found}, expected rule tests: a mapping with cases:")
            raise PolicyError([*document.problems, *self._problems])
        shape = self._shape()
        policy = self._policy(document.data)
        cases = []
        if policy is not None:
            if isinstance(shape, RuleTestFile):
                cases = [self._case(index, case, shape, policy) for index, case in enumerate(shape.cases)]
            else:
                self._check_rules_only(document.data, policy)
        problems = document.problems + [
            problem for problem in self._problems if (problem.line, problem.column) not in document.refused
        ]
        if problems or policy is None:
            raise PolicyError(problems)
        return RuleTests(document.file, policy, tuple(case for case in cases if case is not None))

    def _shape(self) -> RuleTestFile | None:
        try:
            return RuleTestFile.model_validate(self._document.data)
        except ValidationError as error:
            self._problems += [_problem(details, self._document) for details in error.errors(include_url=False)]
            return None

    def _policy(self, data: dict[str, object]) -> Policy | None:
        name = data.get("policy", self._own_policy)
        if not isinstance(name, str):
            return None  # reported with the shape
        path = self._folder / name
        if not path.is_file():
            near = suggestion(name, (file.name for file in _policies(self._folder)))
            at: Path = ("policy",) if "policy" in data else ()
            hint = near or ('; name the policy file under "policy:"' if not at else "")
            self._refuse(at, f"policy: there is no file {quoted(name)} beside this one{hint}")
            return None
        try:
            return load_policy(path)
        except PolicyError as error:
            self._problems += error.problems
            return None

    def _check_rules_only(self, data: dict[str, object], policy: Policy) -> None:
        """Wrong rule names are worth a message also where the shape of the file is wrong."""
        cases = data.get("cases")
        for index, case in enumerate(cases if isinstance(cases, list) else ()):
            if isinstance(case, dict) and isinstance(name := case.get("rule"), str):
                self._rule(name, policy, ("cases", index, "rule"))

    def _rule(self, name: str, policy: Policy, path: Path, *others: str) -> Rule | None:
        rules = {rule.name: rule for rule in policy.rules}
        if name not in rules and name not in others:
            hint = suggestion(name, (*rules, *others)) or f"; rules: {', '.join(rules)}"
            self._refuse(path, f"rule: {quoted(name)} is not a rule of the policy {policy.name}{hint}")
        return rules.get(name)

    def _case(self, index: int, shape: CaseFile, file: RuleTestFile, policy: Policy) -> Case | None:
        path: Path = ("cases", index)
        place = self._document.value_place(path)
        if shape.capture is not None and shape.given is not None:
            self._refuse(path, 'this case has both "capture" and "given"; it needs one of them')
        if shape.capture is None and shape.given is None:
            self._refuse(path, 'this case has neither "capture" nor "given"; it needs one of them')
        if shape.given is not None:
            if shape.flow is not None:
                self._refuse_key((*path, "flow"), '"flow" picks flows of a capture; a given flow is the only one')
            if shape.expect.by_packet is not None:
                self._refuse_key((*path, "expect", "by_packet"), '"by_packet" is for captures; a given flow has none')
        if shape.known_miss and not shape.because:
            self._refuse_key((*path, "known_miss"), 'a known miss says why: add "because:"')
        if shape.because and not shape.known_miss:
            self._refuse_key((*path, "because"), '"because" explains a known miss; add "known_miss: true"')
        if shape.expect.rule is not None:
            self._rule(shape.expect.rule, policy, (*path, "expect", "rule"), DEFAULT, UNDECIDED)
        home_path = (*path, "home") if shape.home is not None else ("home",)
        home = self._home(shape.home if shape.home is not None else file.home, home_path)
        rule = self._rule(shape.rule, policy, (*path, "rule"))
        if rule is None:
            return None
        return Case(
            name=shape.name,
            rule=rule,
            expect=Expectation(
                Action(shape.expect.action), shape.expect.rule, shape.expect.by_packet, shape.expect.flows
            ),
            capture=None if shape.capture is None else self._capture(shape.capture, (*path, "capture")),
            given=self._flow(shape.given, (*path, "given"), policy),
            flow=self._flow(shape.flow, (*path, "flow"), policy),
            at=shape.at if shape.at is not None else file.at,
            known_miss=shape.known_miss,
            because=shape.because,
            location=f"{place.file}:{place.line}:{place.column}",
            policy=policy if home is None else replace(policy, home=tuple(home.home)),
        )

    def _home(self, value: list[object] | None, path: Path) -> _Home | None:
        if not value:
            return None if value is None else _Home.model_construct(home=[])
        try:
            return _Home(home=value)  # type: ignore[arg-type]  # its validator reads texts
        except ValidationError as error:
            for message in {str(details.get("ctx", {}).get("error", details["msg"])) for details in error.errors()}:
                self._refuse(path, f"home: {message}, or all")
            return None

    def _capture(self, name: str, path: Path) -> str:
        file = self._folder / name
        if not file.is_file():
            near = suggestion(file.name, (other.name for other in file.parent.glob("*") if other.is_file()))
            self._refuse(path, f"capture: there is no file {quoted(str(file))}{near}")
        return str(file)

    def _flow(self, fields: dict[str, object] | None, path: Path, policy: Policy) -> Mapping[str, object] | None:
        if fields is None:
            return None
        read = {}
        for name, value in fields.items():
            at = (*path, name)
            if name in FOLLOWS:
                self._refuse_key(at, f"{quoted(name)} follows from {quoted(FOLLOWS[name])}; write that")
                continue
            kind = self._fields.get(name)
            if kind is None:
                self._refuse_key(at, f"{quoted(name)} is not a field of a flow{self._nearest(name)}")
                continue
            if kind not in (*GIVEN_KINDS, Kind.FACT):
                self._refuse_key(at, f"{quoted(name)} cannot be made up here; use a capture")
                continue
            try:
                read["protocol" if name == "app_proto" else name] = _field_value(kind, value, policy)
            except ValueError as error:
                place = self._document.value_place(at)
                self._problems.append(place.error(f"{name}: {with_quoting_hint(str(error), value, place.written)}"))
        return read

    def _nearest(self, name: str) -> str:
        names = [field for field, kind in self._fields.items() if kind in (*GIVEN_KINDS, Kind.FACT)]
        nested = [field for field in names if field.startswith(f"{name}.")]
        return f'; did you mean "{nested[0]}"?' if nested else suggestion(name, names)

    def _refuse(self, path: Path, message: str) -> None:
        self._problems.append(self._document.value_place(path).error(message))

    def _refuse_key(self, path: Path, message: str) -> None:
        self._problems.append(self._document.key_place(path).error(message))


def _policies(folder: FilePath) -> Iterator[FilePath]:
    return (file for file in sorted(folder.glob("*.yaml")) if not file.name.endswith(SUFFIX))


def _field_value(kind: Kind, value: object, policy: Policy) -> object:
    """One field of a flow: a single value of the type that the flow has."""
    match kind:
        case Kind.ADDRESS:
            text = parse_text(value, "an address such as 192.0.2.1")
            try:
                return ip_address(text)
            except ValueError:
                raise ValueError(f"found {quoted(text)}, expected an address such as 192.0.2.1") from None
        case Kind.PORT:
            return parse_port(value)
        case Kind.TRANSPORT:
            return parse_transport(value)
        case Kind.PROTOCOL:
            return parse_protocol(value)
        case Kind.CONFIDENCE:
            words = [level.word for level in Confidence]
            return Confidence[parse_word(value, words, listed(words)).upper()]
        case Kind.APPROVED:
            names = [approval.name for approval in policy.approvals]
            if isinstance(value, bool) and (names or not value):
                return value
            known = ", ".join(names) or "this policy has none"
            return parse_word(value, names, f"true, false or the name of an approval ({known})")
        case Kind.TEXT:
            return parse_host(value)
        case _:
            if isinstance(value, list) and value:
                return [_field_value(kind, item, policy) for item in value]
            return value if isinstance(value, bool | int) else parse_text(value, "a text or a whole number")


# --- pydantic's errors in our words -------------------------------------------------------------


_KEYS: Mapping[str, tuple[str, ...]] = {
    "rule test": tuple(RuleTestFile.model_fields),
    "case": tuple(CaseFile.model_fields),
    "expectation": tuple(ExpectFile.model_fields),
}
_MISSING = {
    "cases": "write cases: and a list of them",
    "name": "say in words what is shown",
    "rule": "name the rule under test",
    "expect": "say what must come of it, for instance expect: {action: pass}",
    "action": "write pass, drop, reset, reject, throttle, sample, dns or log",
}
_EXPECTED = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping (field: value)",
    "model_type": "a mapping (key: value)",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "greater_than_equal": "a whole number from 1 on",
    "string_too_short": "a text",
    "too_short": "at least one entry",
}


def _thing(path: Path) -> str:
    """What the mapping around the last key of `path` describes."""
    if len(path) == 1:
        return "rule test"
    return "expectation" if "expect" in path[:-1] else "case"


def _problem(details: ErrorDetails, document: Document) -> Problem:
    path: Path = details["loc"]
    found, kind = details["input"], details["type"]
    label = next((part for part in reversed(path) if isinstance(part, str)), "cases")
    place = document.value_place(path)
    thing = _thing(path)
    if kind == "missing":
        return place.error(f"this {thing} has no {quoted(label)}; {_MISSING[label]}")
    if kind == "extra_forbidden":
        hint = suggestion(label, _KEYS[thing]) or f"; keys: {', '.join(_KEYS[thing])}"
        article = "an" if thing[0] in "aeiou" else "a"
        return document.key_place(path).error(f"{quoted(label)} is not a key of {article} {thing}{hint}")
    context = details.get("ctx", {})
    if kind == "literal_error":
        words = re.findall("'([^']*)'", str(context["expected"]))
        other = OTHER_WORDS.get(str(found).lower())
        hint = f'; did you mean "{other}"?' if other in words else suggestion(str(found), words)
        return place.error(f"{label}: found {described(found)}, expected {listed(words)}{hint}")
    if kind == "value_error":
        return place.error(f"{label}: {with_quoting_hint(str(context['error']), found, place.written)}")
    message = f"found {described(found)}, expected {_EXPECTED.get(kind, details['msg'])}"
    return place.error(f"{label}: {with_quoting_hint(message, found, place.written)}")
