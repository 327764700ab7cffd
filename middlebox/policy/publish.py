"""The published JSON Schema of policies, and the reference in docs/policy.md: made from the models, never by hand.

`python -m middlebox.policy.publish` (`make docs`) writes both. Tests hold what is shipped to what this makes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from middlebox.detect import DETECTORS
from middlebox.policy.fields import known_fields
from middlebox.policy.rule import Operator
from middlebox.policy.schema import json_schema
from middlebox.policy.warning import NOTES, WARNINGS

SCHEMA_FILE = Path(__file__).parents[1] / "policy.schema.json"
GUIDE = Path(__file__).parents[2] / "docs" / "policy.md"
BEGIN, END = "<!-- reference: begin (make docs) -->\n", "<!-- reference: end -->\n"

_WORDS = {
    "PolicyFile.version": "The version of this file format.",
    "PolicyFile.fail": "What happens to packets that the gateway cannot judge.",
    "PolicyFile.approved": "The tunnels that are approved.",
    "PolicyFile.geoip": "Databases in which the countries and autonomous systems of addresses are looked up.",
    "PolicyFile.rules": "The rules, tried in order; the first that matches decides.",
    "RuleFile.rule": "The rule's name, unique in the policy; it stands in events.",
    "RuleFile.action": "What happens to a flow that matches.",
    "RuleFile.why": "The reason, for people.",
    "ApprovalFile.name": "The approval's name, for conditions and events.",
    "ApprovalFile.protocol": "The tunnel's protocol.",
    "ApprovalFile.why": "The reason, for people.",
    "WaiverFile.id": "The warning, as it stands in [brackets] behind it.",
    "Condition.any": "At least one of these conditions must hold.",
    "Condition.all": "All of these conditions must hold.",
    "Condition.not": "This condition must not hold; of a list none may.",
}
"Descriptions of keys whose models have none of their own."

_OPERATOR_WORDS = {
    Operator.IN: "Is one of the values.",
    Operator.ENDSWITH: "Ends with one of the values.",
    Operator.STARTSWITH: "Starts with one of the values.",
    Operator.CONTAINS: "Contains one of the values.",
    Operator.DOMAIN: "Is one of the host names or below one of them.",
    Operator.CIDR: "Lies in one of the networks.",
    Operator.AT_LEAST: "Is this or more.",
    Operator.BELOW: "Is below this.",
}
_TITLES = {
    "PolicyFile": "A policy",
    "FailFile": "`fail`",
    "ApprovalFile": "An entry of `approved`",
    "ScheduleFile": "An entry of `schedules`",
    "ResidualFile": "`residual` of a rule",
    "RuleFile": "An entry of `rules`",
    "GeoipFile": "`geoip`",
    "WaiverFile": "An entry of `waive`",
}
"Headings of the reference, by definition of the schema."

Schema = dict[str, Any]
"Part of a JSON Schema, which has no fixed shape."


def published_schema() -> Schema:
    """The JSON Schema of a policy file, with a description of every key."""
    schema: Schema = json_schema(known_fields(DETECTORS))
    for name, definition in _definitions(schema):
        for key, value in definition.get("properties", {}).items():
            words = value.get("description") or _WORDS.get(f"{name}.{key}") or _field_words(name, key)
            if words:
                value["description"] = words
    return schema


def _field_words(definition: str, key: str) -> str:
    """What an editor says to a field of a condition."""
    if definition != "Condition":
        return ""
    name, _, word = key.partition("|")
    operator = next((operator for operator in Operator if operator.value == word), None)
    kind = known_fields(DETECTORS)[name]
    return f"{name}: {kind.value}." + (f" {_OPERATOR_WORDS[operator]}" if operator else "")


def schema_text() -> str:
    """The schema as it is shipped."""
    return json.dumps(published_schema(), indent=1, ensure_ascii=False) + "\n"


def reference() -> str:
    """The reference of docs/policy.md in Markdown."""
    schema = published_schema()
    lines: list[str] = []
    known = dict(_definitions(schema))
    for name in (*(title for title in _TITLES if title in known), *(other for other in known if other not in _TITLES)):
        if name == "Condition":
            continue
        definition = known[name]
        required = definition.get("required", [])
        lines += [f"### {_TITLES.get(name, name)}", "", "| key | value | default | meaning |", "|---|---|---|---|"]
        for key, value in definition["properties"].items():
            default = "required" if key in required else _default(value.get("default"))
            lines.append(f"| `{key}` | {_type(value)} | {default} | {value.get('description', '')} |")
        lines.append("")
    lines += ["### Warnings", "", "| id | meaning |", "|---|---|"]
    lines += [f"| `{warning}` | {words} |" for warning, words in WARNINGS.items()]
    lines += ["", "Notes have ids, too, and never change the exit status:", "", "| id | meaning |", "|---|---|"]
    lines += [f"| `{note}` | {words} |" for note, words in NOTES.items()]
    return "\n".join(lines) + "\n"


def with_reference(guide: str) -> str:
    """The guide's text with the reference between its markers as it is now."""
    before, _, rest = guide.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _definitions(schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield "PolicyFile", schema
    yield from schema["$defs"].items()


def _default(value: object) -> str:
    if value in (None, [], {}, ""):
        return ""
    return (
        f"`{str(value).lower() if isinstance(value, bool) else value}`" if not isinstance(value, dict) else "see below"
    )


def _type(value: Schema) -> str:
    """A part of the schema in a few words of a table's cell."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return "a condition" if name == "Condition" else f"see {_TITLES.get(name, name)}"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        words = value["enum"]
        few = 8
        return ", ".join(f"`{word}`" for word in words) if len(words) <= few else "one of those listed"
    for key in ("anyOf", "allOf"):
        if key in value:
            kinds = [_type(part) for part in value[key] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if value.get("type") == "array":
        return f"list of ({_type(value.get('items', {}))})"
    if value.get("type") == "object":
        inner = value.get("additionalProperties") or next(iter(value.get("patternProperties", {}).values()), None)
        if isinstance(inner, dict):
            return f"name: {_type(inner)}"
        return "mapping of " + ", ".join(f"`{key}`" for key in value.get("properties", {}))
    words = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`", "number": "number"}
    kind: str | list[str] = value.get("type", "any")
    return " or ".join(words.get(one, one) for one in kind) if isinstance(kind, list) else words.get(kind, "any")


def main() -> None:
    """Write what is made."""
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    GUIDE.write_text(with_reference(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
