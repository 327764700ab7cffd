"""Rule test files: what is read, and what every mistake in one is answered with."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.evidence import Confidence
from middlebox.policy.problem import PolicyError
from middlebox.policy.rule_test import load_rule_tests
from middlebox.policy.rule_test_schema import SCHEMA_FILE, published, rule_test_schema

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "rules").glob("*.test.yaml"))
POLICY = """
policy: p
home: 198.51.100.0/24
approved: [{name: hq, protocol: ipsec, server: 203.0.113.1}]
rules:
  - {rule: approved-vpn, when: {approved: true}, action: pass}
  - {rule: block-vpn, when: {category: vpn}, action: drop}
"""
GOOD = """
home: all
at: 2016-03-05T12:00+08:00
cases:
  - name: a VPN
    rule: block-vpn
    given: {src_ip: "2001:db8::1", dest_port: 500, proto: udp, protocol: ipsec, confidence: probable,
            inner.protocols: [openvpn]}
    expect: {action: drop}
  - name: approved
    rule: block-vpn
    at: 2020-01-01
    home: 192.0.2.0/24
    capture: c.pcap
    flow: {approved: hq}
    expect: {action: pass, rule: approved-vpn, by_packet: 3, flows: 2}
    known_miss: true
    because: To see every key.
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy and a capture, in which the test works."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "c.pcap").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(text: str) -> list[str]:
    Path("p.test.yaml").write_text(text)
    with pytest.raises(PolicyError) as error:
        load_rule_tests(Path("p.test.yaml"))
    return str(error.value).splitlines()


@pytest.mark.usefixtures("folder")
def test_everything_that_can_be_written_is_read() -> None:
    Path("p.test.yaml").write_text(GOOD)
    first, second = load_rule_tests(Path("p.test.yaml")).cases
    assert first.given is not None
    assert (first.given["confidence"], first.given["proto"]) == (Confidence.PROBABLE, "UDP")
    assert (first.at, second.at) == (1457150400.0, 1577836800.0)
    assert first.policy is not None
    assert second.policy is not None
    assert (first.policy.home, [str(network) for network in second.policy.home]) == ((), ["192.0.2.0/24"])
    assert (first.is_match, second.is_match) == (True, False)
    assert (second.capture, second.known_miss, second.location) == ("c.pcap", True, "p.test.yaml:10:5")


CASE = "cases:\n  - {{name: n, rule: block-vpn, given: {{protocol: ipsec}}, expect: {{action: drop}}{}}}\n"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: error: found an empty file, expected rule tests: a mapping with cases:"]),
        ("cases: []", ["1:8: error: cases: found a list, expected at least one entry"]),
        ("home: all", ['1:1: error: this rule test has no "cases"; write cases: and a list of them']),
        (CASE.format(", captur: x"), ['2:82: error: "captur" is not a key of a case; did you mean "capture"?']),
        (CASE.replace("block-vpn", "blok-vpn").format(""),
         ['2:21: error: rule: "blok-vpn" is not a rule of the policy p; did you mean "block-vpn"?']),
        (CASE.format(", capture: c.pcap"),
         ['2:5: error: this case has both "capture" and "given"; it needs one of them']),
        (CASE.replace("given: {{protocol: ipsec}}", "capture: d.pcap").format(""),
         ['2:41: error: capture: there is no file "d.pcap"; did you mean "c.pcap"?']),
        (CASE.replace("{{protocol: ipsec}}", "{{protocl: ipsec}}").format(""),
         ['2:40: error: "protocl" is not a field of a flow; did you mean "protocol"?']),
        (CASE.replace("{{protocol: ipsec}}", "{{category: vpn, dest_ip: 10.0.0.0/8, approved: h}}").format(""),
         ['2:40: error: "category" follows from "protocol"; write that',
          '2:64: error: dest_ip: found "10.0.0.0/8", expected an address such as 192.0.2.1',
          '2:86: error: approved: found "h", expected true, false or the name of an approval (hq); '
          'did you mean "hq"?']),
        (CASE.replace("action: drop", "action: deny").format(""),
         ['2:75: error: action: found "deny", expected pass, drop, reset, reject, throttle, sample, dns or log; '
          'did you mean "reject"?']),
        (CASE.replace("action: drop", "action: pass, rule: defalt").format(""),
         ['2:87: error: rule: "defalt" is not a rule of the policy p; did you mean "default"?']),
        (CASE.replace("action: drop", "action: drop, by_packet: 2").format(""),
         ['2:81: error: "by_packet" is for captures; a given flow has none']),
        (CASE.format(", known_miss: true"), ['2:82: error: a known miss says why: add "because:"']),
        (CASE.format(", because: no"),
         ['2:91: error: YAML reads no as false; write "no" or false']),
        (CASE.format(", because: of it"), ['2:82: error: "because" explains a known miss; add "known_miss: true"']),
        (CASE.format(", at: soon"),
         ['2:86: error: at: found "soon", expected a date such as 2016-03-03, or a date and time such as '
          "2016-03-03T08:00"]),
        ("policy: q.yaml\n" + CASE.format(""), ['1:9: error: policy: there is no file "q.yaml" beside this one; '
                                                'did you mean "p.yaml"?']),
        ("home: 10.0.0.1/8\n" + CASE.format(""),
         ['1:7: error: home: found "10.0.0.1/8", which has bits set after the prefix; '
          "did you mean 10.0.0.0/8?, or all"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, expected: list[str]) -> None:
    assert [line.removeprefix("p.test.yaml:") for line in problems(text)] == expected


@pytest.mark.usefixtures("folder")
def test_a_broken_policy_fails_its_tests() -> None:
    Path("p.yaml").write_text("policy: p\ndefualt: drop\n")
    assert problems(GOOD)[0] == 'p.yaml:2:1: error: "defualt" is not a field of a policy; did you mean "default"?'


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_mutation_leads_to_anything_but_problems(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "p.yaml").write_text(POLICY)
    (folder / "c.pcap").write_bytes(b"")
    at = data.draw(st.integers(0, len(GOOD)))
    piece = data.draw(st.sampled_from(["\t", "x", "[", "{}", "- ", "null", "1", ": ", "\x00", "true", "", "'", "-1"]))
    text = GOOD[:at] + piece + GOOD[at + data.draw(st.integers(0, 12)) :]
    (folder / "p.test.yaml").write_text(text)
    try:
        load_rule_tests(folder / "p.test.yaml")
    except PolicyError as error:
        lines = str(error).split("\n")
    else:
        return
    assert all(": error: " in line for line in lines)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert SCHEMA_FILE.read_text() == published(), "run python -m middlebox.policy.rule_test_schema"


@pytest.mark.parametrize("text", [GOOD, *(path.read_text() for path in SHIPPED)])
def test_valid_files_fit_the_schema(text: str) -> None:
    schema = rule_test_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(yaml.safe_load(text), default=str)))


@pytest.mark.parametrize(
    "broken", ["captur: x", "at: 7", "flow: {}", "flow: {category: vpn}", "expect: {action: deny}"]
)
def test_the_schema_refuses_mistakes(broken: str) -> None:
    case = {"name": "n", "rule": "r", "capture": "c", "expect": {"action": "drop"}, **yaml.safe_load(broken)}
    assert list(jsonschema.Draft202012Validator(rule_test_schema()).iter_errors({"cases": [case]}))
