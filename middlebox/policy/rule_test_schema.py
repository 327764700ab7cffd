"""The JSON Schema of rule test files, for editors: made from the models, never by hand.

`python -m middlebox.policy.rule_test_schema` writes it. A test holds what is shipped to what this makes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from middlebox.detect import DETECTORS
from middlebox.evidence import Confidence
from middlebox.policy.fields import Kind, known_fields
from middlebox.policy.rule_test import FOLLOWS, GIVEN_KINDS, CaseFile, RuleTestFile
from middlebox.policy.schema import NAME_PATTERN
from middlebox.policy.values import TRANSPORTS
from middlebox.protocols import CATEGORY_OF

SCHEMA_FILE = Path(__file__).parents[1] / "ruletest.schema.json"

_FIELD_SCHEMAS: Mapping[Kind, dict[str, object]] = {
    Kind.PORT: {"type": "integer", "minimum": 0, "maximum": 65535},
    Kind.TRANSPORT: {"enum": [*TRANSPORTS, *map(str.lower, TRANSPORTS)]},
    Kind.PROTOCOL: {"enum": sorted(CATEGORY_OF)},
    Kind.CONFIDENCE: {"enum": [level.word for level in Confidence]},
    Kind.APPROVED: {"type": ["boolean", "string"]},
    Kind.FACT: {"type": ["string", "integer", "boolean", "array"]},
}


def rule_test_schema() -> dict[str, object]:
    """A JSON Schema of rule test files: `middlebox/ruletest.schema.json` is this, and a test holds it to that."""
    schema = RuleTestFile.model_json_schema()
    schema["$defs"]["Flow"] = {
        "type": "object",
        "properties": {
            name: _FIELD_SCHEMAS.get(kind, {"type": "string"})
            for name, kind in known_fields(DETECTORS).items()
            if kind in (*GIVEN_KINDS, Kind.FACT) and name not in FOLLOWS
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    case = schema["$defs"]["CaseFile"]
    for key in ("given", "flow"):
        case["properties"][key] = {
            "$ref": "#/$defs/Flow",
            "description": CaseFile.model_fields[key].description,
        }
    case["oneOf"] = [{"required": ["capture"]}, {"required": ["given"]}]
    schema["$defs"]["ExpectFile"]["properties"]["rule"]["pattern"] = NAME_PATTERN
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def published() -> str:
    """The schema as the file has it."""
    return json.dumps(rule_test_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(published(), encoding="utf-8")
