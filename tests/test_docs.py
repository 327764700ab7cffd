"""What the documents show works as shown."""

import re
from pathlib import Path

import pytest

from middlebox.detect import DETECTORS
from middlebox.lab.scenario import load_scenario
from middlebox.policy.fields import known_fields
from middlebox.policy.load import parse_policy
from middlebox.policy.rule_test import load_rule_tests

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path for path in ROOT.glob("**/*.md") if not {".venv", "build"} & set(path.parts))
EXAMPLES = [
    pytest.param(example, id=f"{path.relative_to(ROOT)}-{number}")
    for path in DOCUMENTS
    for number, example in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL), start=1)
]


def test_there_are_documents_with_examples():
    assert ROOT / "README.md" in DOCUMENTS
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_is_valid(example, tmp_path):
    if "cases:\n" in example:
        path = tmp_path / "approved-vpn-only.test.yaml"
        path.write_text(example.replace("../tests/", f"{ROOT}/tests/"))
        (tmp_path / "approved-vpn-only.yaml").write_text((ROOT / "rules" / "approved-vpn-only.yaml").read_text())
        assert load_rule_tests(path).cases
    elif "\nscenario:" in example:
        path = tmp_path / "example.yaml"
        path.write_text(example)
        assert load_scenario(path).steps
    else:
        policy = parse_policy(example, source="example", read_file=lambda name: name, fields=known_fields(DETECTORS))
        assert policy.rules


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_detector_that_is_shown_is_the_one_that_runs():
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "add-a-protocol.md").read_text(), re.DOTALL)
    assert shown == (ROOT / "middlebox" / "detect" / "nats.py").read_text()
