"""Whatever a person may have done to a policy, a list or a rule test: problems with a place, never a traceback."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from middlebox.detect import DETECTORS
from middlebox.engine import Engine
from middlebox.policy.fields import known_fields
from middlebox.policy.load import parse_policy
from middlebox.policy.problem import PolicyError
from middlebox.policy.rule_test import load_rule_tests

ROOT = Path(__file__).parents[2]
FIELDS = known_fields(DETECTORS)
POLICIES = [path for path in sorted((ROOT / "rules").glob("*.yaml")) if not path.name.endswith(".test.yaml")]
RULE_TESTS = sorted((ROOT / "rules").glob("*.test.yaml"))
EVERYTHING = """
policy: everything
home: [198.51.100.0/24]
lists: {names: [example.org, bücher.example], nets: [203.0.113.0/24]}
clients: {guests: 198.51.100.128/25}
schedules:
  week: {from: 2016-03-03T00:00, until: 2016-03-10, timezone: Asia/Shanghai}
  office: {hours: "08:00-18:00"}
approved:
  - {name: hq, protocol: wireguard, public_key: "XMzw4OPRnOfm3OItvNxib69LLgKt1cyaZLRAfkaEYQI=", until: 2027-01-01}
waive: [{id: no-home, why: none}]
rules:
  - {rule: a, when: {client: guests, dest_ip: {list: nets}}, action: throttle, rate: 128kbit/s, during: week}
  - {rule: b, when: {any: [{server_name|domain: {list: names}}, {not: {dest_port: [53, 80]}}]}, action: reset,
     residual: {scope: [client, server], seconds: 9}}
  - {rule: c, when: {host_score: {protocol: obfs4, confidence: probable, flows: 2, of: 3}},
     action: sample, probability: 0.5}
  - {rule: d, when: {dns.rrname|domain: example.org}, action: dns, dns: {address: 203.0.113.7}, mode: monitor}
  - {rule: e, when: {flow.bytes_toclient: 10MB, detector: openvpn, approved: hq}, action: log}
"""
TEXTS = [path.read_text() for path in POLICIES] + [EVERYTHING]
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SPLINTERS = st.sampled_from(
    [":", "-", "[", "]", "{", "}", '"', "\t", "\n", "  ", "#", "&a", "*a", "!!", "null", "~", "0", "-1", "1e999",
     "true", "2016-03-03", "action", "when:", "rules:", "{list: names}", "any:", "not:", "\u0000", "é", "\ud800",
     "9" * 40]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | SPLINTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def read_beside(name: str) -> bytes:
    path = os.path.normpath(ROOT / "rules" / name)
    if not path.startswith(str(ROOT / "rules")):
        raise FileNotFoundError(2, "No such file or directory")
    return Path(path).read_bytes()


def survives(text: str) -> None:
    """Load a policy; what loads must also compile."""
    refusal = refusal_of(lambda: Engine(parse_policy(text, source="p.yaml", read_file=read_beside, fields=FIELDS)))
    if refusal is not None:
        assert refusal.problems
        assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in refusal.problems)
        assert all("\n" not in str(problem) for problem in refusal.problems)


def refusal_of(load: Callable[[], object]) -> PolicyError | None:
    """What `load` has to say against its input; anything else that it raises is a bug."""
    try:
        load()
    except PolicyError as error:
        return error
    return None


@MANY
@given(st.sampled_from(TEXTS), st.data())
def test_texts_with_splinters_and_holes(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(SPLINTERS | st.just("")) + text[at + data.draw(st.integers(0, 12)) :]
    survives(text)


@MANY
@given(st.sampled_from(TEXTS), st.data())
def test_wrong_values_in_right_places(text: str, data: st.DataObject) -> None:
    document = yaml.safe_load(text)
    place = document
    while True:  # walk down to anything, and put anything there
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        deeper = place[key]
        if not (isinstance(deeper, dict | list) and deeper) or data.draw(st.booleans()):
            break
        place = deeper
    place[key] = data.draw(VALUES)
    survives(yaml.safe_dump(document, allow_unicode=True))


@pytest.mark.parametrize("text", TEXTS, ids=[path.stem for path in POLICIES] + ["everything"])
def test_what_is_mutated_is_right_before(text: str) -> None:
    assert parse_policy(text, source="p.yaml", read_file=read_beside, fields=FIELDS).rules


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([path.read_text() for path in RULE_TESTS]), st.data())
def test_rule_tests_with_splinters(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(SPLINTERS.filter(lambda splinter: splinter != "\ud800")) + text[at:]
    mutant = ROOT / "build" / "fuzz" / "approved-vpn-only.test.yaml"
    mutant.parent.mkdir(parents=True, exist_ok=True)
    mutant.write_text(text)
    (mutant.parent / "approved-vpn-only.yaml").write_text(TEXTS[0])
    refusal = refusal_of(lambda: load_rule_tests(mutant))
    assert refusal is None or all(problem.line >= 1 for problem in refusal.problems)
