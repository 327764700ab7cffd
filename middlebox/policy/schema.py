"""The shape of a policy file as pydantic models, and its errors in the words of this project.

Rule of this file: it knows which keys exist and what type each has; what names refer to is checked in `load`.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from middlebox.policy.fields import OPERATORS, Kind
from middlebox.policy.problem import Problem, described, listed, quoted, suggestion
from middlebox.policy.rule import DnsAnswer, Network
from middlebox.policy.values import (
    MAX_ASN,
    TRANSPORTS,
    parse_begins,
    parse_certificate,
    parse_dns,
    parse_host,
    parse_hours,
    parse_moment,
    parse_network,
    parse_probability,
    parse_protocol,
    parse_rate,
    parse_text,
    parse_timezone,
    parse_until,
    parse_wireguard_key,
)
from middlebox.policy.warning import WARNINGS
from middlebox.policy.yaml_positions import Document, Path
from middlebox.protocols import CATEGORIES, CATEGORY_OF

FORMAT_VERSION = 1
"The version of the file format that this program reads."

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"Names of policies, rules, lists and approvals: they stand in events, commands and file names."

LATER = {
    "policy": ("pseudonymise",),
}
"Words that the format will have one day. They are refused like any other, but by saying so."

OTHER_WORDS = {"allow": "pass", "accept": "pass", "permit": "pass", "block": "drop", "deny": "reject"}
"What other programs call our actions."


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _version(value: object) -> int:
    if value != FORMAT_VERSION or not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"found {described(value)}, expected {FORMAT_VERSION}, the version of this file format")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
OneNetwork = Annotated[Network, PlainValidator(parse_network), WithJsonSchema({"type": "string"})]
Networks = Annotated[
    list[OneNetwork],
    Field(min_length=1),
    BeforeValidator(_one_or_many),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]
KeyFile = Annotated[
    str | None,
    PlainValidator(partial(parse_text, expected="the path of a key file")),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
DatabaseFile = Annotated[
    str | None,
    PlainValidator(partial(parse_text, expected="the path of a .mmdb file")),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
NamedLists = dict[
    Name,
    Annotated[
        object,
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer"]}}]}),
    ],
]
Includes = Annotated[
    list[Annotated[str, PlainValidator(partial(parse_text, expected="the path of a .yaml file"))]],
    Field(min_length=1),
    BeforeValidator(_one_or_many),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]
FinalAction = Literal["pass", "drop", "reset", "reject"]
PassOrDrop = Literal["pass", "drop"]
OpenOrClosed = Literal["open", "closed"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FailFile(_Strict):
    """What happens to packets that the gateway cannot judge."""

    no_listener: OpenOrClosed = Field(default="open", description="No gateway process is running.")
    queue_full: OpenOrClosed = Field(default="open", description="Packets come faster than they are judged.")
    undecodable: PassOrDrop = Field(default="pass", description="A packet that cannot be decoded.")
    internal_error: PassOrDrop = Field(default="pass", description="A packet on which the gateway's own code failed.")


class ApprovalFile(_Strict):
    """One approved tunnel."""

    name: Name
    protocol: Annotated[
        str, PlainValidator(parse_protocol), WithJsonSchema({"type": "string", "enum": sorted(CATEGORY_OF)})
    ]
    public_key: Annotated[
        list[Annotated[bytes, PlainValidator(parse_wireguard_key)]],
        Field(min_length=1),
        BeforeValidator(_one_or_many),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 44},
                    {"type": "array", "items": {"type": "string", "minLength": 44}, "minItems": 1},
                ]
            }
        ),
    ] = Field(
        default=[], description="WireGuard: the approved server's public key, as `wg pubkey` prints it, or several."
    )
    tls_auth_key: KeyFile = Field(default=None, description="OpenVPN: path of the key file of `tls-auth`.")
    tls_crypt_key: KeyFile = Field(default=None, description="OpenVPN: path of the key file of `tls-crypt`.")
    tls_crypt_v2_key: KeyFile = Field(default=None, description="OpenVPN: path of the server key of `tls-crypt-v2`.")
    server_name: Annotated[
        str | None, PlainValidator(parse_host), WithJsonSchema({"type": "string", "minLength": 1})
    ] = Field(default=None, description="TLS: the host name that clients ask for; with certificate, server, or both.")
    certificate: Annotated[
        bytes | None, PlainValidator(parse_certificate), WithJsonSchema({"type": "string", "minLength": 64})
    ] = Field(default=None, description="TLS up to 1.2: SHA-256 of the server's certificate, in hex.")
    server: Networks = Field(default=[], description="Addresses of the approved server.")
    begins: Annotated[float | None, PlainValidator(parse_begins), WithJsonSchema({"type": "string"})] = Field(
        default=None, alias="from", description="First day (its beginning, UTC) or moment of validity."
    )
    until: Annotated[float | None, PlainValidator(parse_until), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="Last day (its end, UTC) or moment of validity."
    )
    why: str = ""


class ScheduleFile(_Strict):
    """When rules are in force."""

    begins: Annotated[datetime | None, PlainValidator(parse_moment), WithJsonSchema({"type": "string"})] = Field(
        default=None, alias="from", description="First moment inside: a date or a date and time."
    )
    until: Annotated[datetime | None, PlainValidator(parse_moment), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="First moment outside."
    )
    weekly: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None, Field(min_length=1)] = (
        Field(default=None, description="Days of the week; left out: every day.")
    )
    hours: Annotated[
        tuple[int, int] | None, PlainValidator(parse_hours), WithJsonSchema({"type": "string", "minLength": 11})
    ] = Field(default=None, description='"08:00-18:00" on the zone\'s clock; "22:00-06:00" passes midnight.')
    timezone: Annotated[str, PlainValidator(parse_timezone), WithJsonSchema({"type": "string"})] = Field(
        default="UTC", description="IANA time zone."
    )


class ResidualFile(_Strict):
    """What else is refused for a while, and for how long."""

    scope: Annotated[
        list[Literal["client", "server", "server_port"]], Field(min_length=1), BeforeValidator(_one_or_many)
    ] = Field(description="What later flows must have in common with the refused one: all that is named.")
    seconds: int = Field(ge=1, le=86_400, description="How long, counted from the refusal.")


class RuleFile(_Strict):
    """One rule."""

    rule: Name
    when: object = Field(description="The condition; {} is true for every flow.")
    action: Literal["pass", "drop", "reset", "reject", "throttle", "sample", "dns", "log"]
    why: str = ""
    during: str | None = Field(default=None, description="The schedule in which the rule is in force.")
    mode: Literal["enforce", "monitor"] = Field(
        default="enforce", description="monitor: record what the rule would do, and go on with the next."
    )
    residual: ResidualFile | None = Field(default=None, description="Refuse what is like it for a while.")
    rate: Annotated[int | None, PlainValidator(parse_rate), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="throttle: bits a second in each direction, such as 128kbit/s."
    )
    probability: Annotated[
        float | None,
        PlainValidator(parse_probability),
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
    ] = Field(default=None, description="sample: share of flows that are chosen.")
    then: Literal["drop", "reset", "reject"] | None = Field(
        default=None, description="sample: what happens to the chosen flows; left out: drop."
    )
    dns: Annotated[
        tuple[DnsAnswer, tuple[IPv4Address | IPv6Address, ...]] | None,
        PlainValidator(parse_dns),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": ["nxdomain", "refused"]},
                    {
                        "type": "object",
                        "properties": {
                            "address": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
                        },
                        "required": ["address"],
                        "additionalProperties": False,
                    },
                ]
            }
        ),
    ] = Field(default=None, description="dns: what the gateway answers.")


class GeoipFile(_Strict):
    """Databases in which addresses are looked up."""

    country: DatabaseFile = Field(
        default=None, description="Path of a MaxMind DB file of countries or cities, such as GeoLite2-Country.mmdb."
    )
    asn: DatabaseFile = Field(
        default=None, description="Path of a MaxMind DB file of autonomous systems, such as GeoLite2-ASN.mmdb."
    )


class WaiverFile(_Strict):
    """A warning of `middlebox check` that is known and accepted."""

    id: Literal[tuple(WARNINGS)]  # type: ignore[valid-type]
    rule: Name | None = Field(default=None, description="Only about this rule.")
    list: Name | None = Field(default=None, description="Only about this list.")
    approval: Name | None = Field(default=None, description="Only about this approval.")
    schedule: Name | None = Field(default=None, description="Only about this schedule.")
    why: str = Field(description="The reason, for whoever reads the policy next.", min_length=1)


class PolicyFile(_Strict):
    """A policy file."""

    policy: Name = Field(description="The policy's name, shown in every event.")
    version: Annotated[int, PlainValidator(_version), WithJsonSchema({"const": FORMAT_VERSION})] = FORMAT_VERSION
    home: Networks = Field(default=[], description="Networks this policy is for; left out: all.")
    default: FinalAction = Field(default="pass", description="What happens to flows that no rule decides.")
    mode: Literal["enforce", "monitor"] = Field(
        default="enforce", description="monitor: judge and log, pass everything."
    )
    fail: FailFile = FailFile()
    include: Includes = Field(
        default=[], description="Paths of files with more rules, which stand before these, and lists and other things."
    )
    lists: NamedLists = Field(default={}, description="Named lists: entries, or the path of a .yaml or .txt file.")
    clients: dict[Name, Networks] = Field(default={}, description="Named groups of client addresses.")
    schedules: dict[Name, ScheduleFile] = Field(default={}, description="Named times in which rules are in force.")
    seed: int = Field(default=0, description="Makes the choices of `sample` repeatable.")
    geoip: GeoipFile = GeoipFile()
    waive: list[WaiverFile] = Field(default=[], description="Warnings of `middlebox check` that are accepted.")
    approved: list[ApprovalFile] = []
    rules: list[RuleFile] = []


class IncludedFile(_Strict):
    """A file that a policy includes: what may stand in several files."""

    include: Includes = []
    lists: NamedLists = {}
    clients: dict[Name, Networks] = {}
    schedules: dict[Name, ScheduleFile] = {}
    approved: list[ApprovalFile] = []
    rules: list[RuleFile] = []


def validate(document: Document) -> PolicyFile | list[Problem]:
    """The policy in `document`, or everything that is wrong with its shape."""
    try:
        return PolicyFile.model_validate(document.data)
    except ValidationError as error:
        return [_problem(details, document, "policy") for details in error.errors(include_url=False)]


def validate_included(document: Document) -> IncludedFile | list[Problem]:
    """The included file in `document`, or everything that is wrong with its shape."""
    try:
        return IncludedFile.model_validate(document.data)
    except ValidationError as error:
        return [_problem(details, document, "included file") for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, document: Document, file: str) -> Problem:
    """One pydantic error, with its place and in our words. `file` is what the whole document is."""
    path: Path = details["loc"]
    found, context, kind = details["input"], details.get("ctx", {}), details["type"]
    if path and path[-1] == "[key]":
        place, path = document.key_place(path[:-1]), path[:-1]
        return place.error(f"found {quoted(str(found))}, expected a name: {_NAME_WORDS}")
    label = next((part for part in reversed(path) if isinstance(part, str)), "policy")
    place = document.value_place(path)
    if kind == "missing":
        return place.error(f"this {_thing(path, file)} has no {quoted(label)}; {_MISSING[label]}")
    if kind == "extra_forbidden":
        return document.key_place(path).error(unknown_key(label, _thing(path, file)))
    if kind == "literal_error":
        words = re.findall("'([^']*)'", str(context["expected"]))
        return place.error(f"{label}: {_wrong_word(label, found, words)}")
    if kind == "string_pattern_mismatch":
        return place.error(f"{label}: found {quoted(str(found))}, expected a name: {_NAME_WORDS}")
    if kind == "value_error":
        return place.error(f"{label}: {with_quoting_hint(str(context['error']), found, place.written)}")
    if kind == "string_too_short":
        return place.error(f'{label}: found "", expected a reason')
    if kind == "too_short":
        return place.error(f"{label}: found an empty list, expected at least one entry")
    message = f"found {described(found)}, expected {_EXPECTED.get(kind, details['msg'])}"
    return place.error(f"{label}: {with_quoting_hint(message, found, place.written)}")


_NAME_WORDS = "letters, digits, dots, hyphens and underscores, beginning with a letter or digit"
_MISSING = {
    "policy": "begin the file with policy: and a name",
    "rule": "give it a name",
    "name": "give it one",
    "protocol": "say which, for instance wireguard",
    "when": "to match every flow write when: {}",
    "action": "write pass, drop, reset, reject, throttle, sample, dns or log",
    "scope": "say what later flows must have in common with it: client, server, server_port",
    "seconds": "say for how long",
    "id": "say which warning, as it stands in [brackets] behind it",
    "why": "say why the warning is accepted",
}
"What to do about a key that must be there."

_EXPECTED = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
}
"What pydantic's type errors expect, in words."


def _thing(path: Path, file: str) -> str:
    """What the mapping around the last key of `path` describes."""
    if len(path) == 1:
        return file
    if path[0] == "rules" and "residual" in path[:-1]:
        return "residual"
    return {"rules": "rule", "approved": "approval", "schedules": "schedule", "waive": "waiver"}.get(
        str(path[0]), str(path[0])
    )


def _keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a mapping as a file has them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


_FIELDS: Mapping[str, tuple[str, ...]] = {
    "policy": _keys(PolicyFile),
    "included file": _keys(IncludedFile),
    "rule": _keys(RuleFile),
    "approval": _keys(ApprovalFile),
    "fail": _keys(FailFile),
    "schedule": _keys(ScheduleFile),
    "residual": _keys(ResidualFile),
    "geoip": _keys(GeoipFile),
    "waiver": _keys(WaiverFile),
}


def unknown_key(key: str, thing: str) -> str:
    """The message about a key that a policy, rule, approval or `fail` does not have."""
    if key in LATER.get(thing, ()):
        return f"{quoted(key)} is not supported yet"
    if thing == "included file" and key in _FIELDS["policy"]:
        return f"{quoted(key)} stands only in the policy itself, not in a file that it includes"
    hint = suggestion(key, _FIELDS[thing]) or f"; fields: {', '.join(_FIELDS[thing])}"
    article = "an" if thing[0] in "aeiou" else "a"
    owner = thing if thing in ("fail", "residual", "geoip") else f"{article} {thing}"
    return f"{quoted(key)} is not a field of {owner}{hint}"


def _wrong_word(label: str, found: object, words: list[str]) -> str:
    expected = f"found {described(found)}, expected {listed(words)}"
    if not isinstance(found, str):
        return expected
    if label == "default" and found == "log":
        return f'"log" decides nothing, expected {listed(words)}'
    other = OTHER_WORDS.get(found.lower())
    return expected + (f'; did you mean "{other}"?' if other in words else suggestion(found, words))


def with_quoting_hint(message: str, found: object, written: str) -> str:
    """`message`, and how to write a text that YAML took for something else."""
    if written and not isinstance(found, str) and "expected a text" in message:
        return f"{message}; write {quoted(written)}"
    return message


def json_schema(fields: Mapping[str, Kind]) -> dict[str, object]:
    """A JSON Schema of the policy file, for editors. `fields` are the fields that conditions may name."""
    schema = PolicyFile.model_json_schema()
    condition = {"$ref": "#/$defs/Condition"}
    several = {"type": "array", "items": condition, "minItems": 1}
    tests = {
        key: _values_schema(kind)
        for name, kind in fields.items()
        for key in (name, *(f"{name}|{operator.value}" for operator in OPERATORS[kind]))
    }
    schema["$defs"]["Condition"] = {
        "type": "object",
        "properties": {"any": several, "all": several, "not": {"anyOf": [condition, several]}, **tests},
        "additionalProperties": False,
    }
    schema["$defs"]["RuleFile"]["properties"]["when"] |= condition
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


_SCALARS: Mapping[Kind, dict[str, object]] = {
    Kind.ADDRESS: {"type": "string"},
    Kind.PORT: {"type": "integer", "minimum": 0, "maximum": 65535},
    Kind.COUNTRY: {"type": "string", "pattern": "^[A-Za-z]{2}$"},
    Kind.ASN: {"type": ["integer", "string"], "minimum": 1, "maximum": MAX_ASN, "pattern": "^[Aa][Ss][0-9]+$"},
    Kind.TRANSPORT: {"type": "string", "enum": [*TRANSPORTS, *map(str.lower, TRANSPORTS)]},
    Kind.PROTOCOL: {"type": "string", "enum": sorted(CATEGORY_OF)},
    Kind.CATEGORY: {"type": "string", "enum": list(CATEGORIES)},
    Kind.CONFIDENCE: {"type": "string", "enum": ["possible", "probable", "confirmed"]},
    Kind.APPROVED: {"type": ["boolean", "string"]},
    Kind.TEXT: {"type": "string", "minLength": 1},
    Kind.FACT: {"type": ["string", "integer", "boolean"]},
    Kind.CLIENT: {"type": "string"},
    Kind.COUNT: {"type": ["integer", "string"]},
    Kind.DETECTOR: {"type": "string"},
    Kind.HOST_SCORE: {"type": "object"},
}
"JSON Schema of one value in a condition."


def _values_schema(kind: Kind) -> dict[str, object]:
    one = _SCALARS[kind]
    if kind in (Kind.CONFIDENCE, Kind.HOST_SCORE):
        return one
    if kind in (Kind.APPROVED, Kind.CLIENT, Kind.COUNT, Kind.DETECTOR):
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    reference = {
        "type": "object",
        "properties": {"list": {"type": "string"}},
        "required": ["list"],
        "additionalProperties": False,
    }
    item = {"anyOf": [one, reference]}
    return {"anyOf": [one, reference, {"type": "array", "items": item, "minItems": 1}]}
