"""What is shipped is what the models say: the JSON Schema, and the reference in docs/policy.md."""

from pathlib import Path

import jsonschema
import pytest

from middlebox.policy.publish import GUIDE, SCHEMA_FILE, published_schema, schema_text, with_reference
from tests.policy.test_schema import EVERYTHING, SHIPPED, as_json

GOOD = EVERYTHING.replace("tls.alpn:", "tls.version:")
"With facts that real detectors have."
VALIDATOR = jsonschema.Draft202012Validator(published_schema())
BROKEN = [
    ("policy:", "polcy:"),
    ("default: drop", "default: deny"),
    ("action: log", "action: block"),
    ("category: [vpn, proxy]", "category: [vpm]"),
    ("protocol: tor", "protocol: torr"),
    ("no_listener: closed", "no_listener: yes"),
    ("rule: everything", "rule: 'every thing'"),
]


def test_the_shipped_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "run make docs"


def test_the_reference_is_current() -> None:
    guide = GUIDE.read_text()
    assert guide == with_reference(guide), "run make docs"
    assert "| `waive` |" in guide


def test_every_key_is_explained() -> None:
    schema = published_schema()
    for name, definition in (("policy", schema), *schema["$defs"].items()):
        for key, value in definition.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_policies_fit(path: Path) -> None:
    VALIDATOR.validate(as_json(path.read_text()))


@pytest.mark.parametrize(("right", "wrong"), BROKEN)
def test_broken_ones_do_not(right: str, wrong: str) -> None:
    assert VALIDATOR.is_valid(as_json(GOOD))
    assert right in GOOD
    assert not VALIDATOR.is_valid(as_json(GOOD.replace(right, wrong)))
