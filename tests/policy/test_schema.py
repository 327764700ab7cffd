"""The JSON Schema of policies, and the README's tables, agree with what the loader takes."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from middlebox.policy.fields import FLOW_FIELDS, Kind
from middlebox.policy.load import parse_policy
from middlebox.policy.rule import Operator
from middlebox.policy.schema import (
    ApprovalFile,
    FailFile,
    PolicyFile,
    ResidualFile,
    RuleFile,
    ScheduleFile,
    json_schema,
)
from middlebox.verdict import Action

ROOT = Path(__file__).parents[2]
FIELDS = {**FLOW_FIELDS, "tls.sni": Kind.FACT, "tls.alpn": Kind.FACT, "dns.rrname": Kind.FACT}
SHIPPED = sorted(set((ROOT / "rules").glob("*.yaml")) - set((ROOT / "rules").glob("*.test.yaml")))

EVERYTHING = """
policy: everything
version: 1
home: [198.51.100.0/24, "2001:db8:1::/64"]
default: drop
mode: monitor
fail: {no_listener: closed, queue_full: closed, undecodable: drop, internal_error: drop}
lists: {top-sites: [example.org], ports: [443], paid: lists/paid.txt}
approved:
  - {name: hq, protocol: wireguard, public_key: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", until: 2027-01-01}
  - {name: partner, protocol: ipsec, server: [203.0.113.40]}
rules:
  - rule: everything
    why: To see every field.
    when:
      src_ip: 198.51.100.0/24
      dest_port: [443, {list: ports}]
      approved: [false, hq]
      confidence|at_least: probable
      tls.alpn: [h2, 1, true]
      any: [{server_name|domain: {list: top-sites}}, {category: [vpn, proxy]}]
      not: {all: [{protocol: tor}, {proto: tcp}]}
    action: log
"""


def read_list(name: str) -> str:
    """A list beside the shipped policies, or what stands for one that is not there."""
    file = ROOT / "rules" / name
    return file.read_text() if file.is_file() else "example.org\n"


def as_json(text: str) -> object:
    """What an editor's YAML reader hands to its schema checker: dates are text."""
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema(FIELDS)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", [EVERYTHING, *(path.read_text() for path in SHIPPED)])
def test_a_valid_policy_fits_the_json_schema(text: str) -> None:
    validator().validate(as_json(text))
    parse_policy(text, source="p.yaml", read_file=read_list, fields=FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1",
        "{policy: p, defualt: pass}",
        "{policy: p, default: log}",
        "{policy: p, home: []}",
        "{policy: p, rules: [{rule: a, action: pass}]}",
        "{policy: p, rules: [{rule: a, action: pass, when: {catgory: vpn}}]}",
        "{policy: p, rules: [{rule: a, action: pass, when: {category|domain: vpn}}]}",
        "{policy: p, rules: [{rule: a, action: pass, when: {protocol: wiregard}}]}",
        "{policy: p, rules: [{rule: a, action: pass, when: {any: []}}]}",
        "{policy: p, rules: [{rule: a, action: pass, when: {confidence: [probable]}}]}",
    ],
)
def test_what_the_loader_refuses_does_not_fit_the_json_schema(text: str) -> None:
    assert not validator().is_valid(as_json(text))


def test_the_readme_names_every_field_operator_and_action() -> None:
    readme = (ROOT / "rules/README.md").read_text()
    named = set(re.findall(r"`([^`\n]+)`", readme))
    models = (PolicyFile, RuleFile, ApprovalFile, FailFile, ScheduleFile, ResidualFile)
    words = [field.alias or name for model in models for name, field in model.model_fields.items()]
    words += [*FLOW_FIELDS, *(operator.value for operator in Operator), *(action.value for action in Action)]
    assert [word for word in words if word not in named] == []


def test_the_readme_example_is_a_policy() -> None:
    example = re.findall(r"```yaml\n(.*?)```", (ROOT / "rules/README.md").read_text(), re.DOTALL)[0]
    policy = parse_policy(example, source="README.md", read_file=lambda name: "", fields=FLOW_FIELDS)
    assert [rule.action for rule in policy.rules] == [Action.RESET]
