"""The laws of `rules/`: every case holds, every rule is tested, and no shipped policy touches ordinary traffic."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from middlebox.evidence import Confidence
from middlebox.policy.load import load_policy
from middlebox.policy.rule import Policy
from middlebox.policy.rule_test import SUFFIX, Case, load_rule_tests
from middlebox.shells.replay import replay_capture
from middlebox.shells.rule_tests import Result, Runner, given_flow
from middlebox.verdict import Action

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "rules").rglob(f"*{SUFFIX}"))
POLICIES = sorted(
    path for path in (ROOT / "rules").rglob("*.yaml") if not path.name.endswith(SUFFIX) and path.parent.name != "lists"
)
BENIGN = sorted(path for path in (ROOT / "tests/captures/benign").iterdir() if path.suffix != ".yaml")

LISTED = frozenset({
    "http", "websocket", "tls", "quic", "ssh", "smtp", "imap", "pop3", "stun", "dns", "ntp",
    "dhcp", "igmp", "mdns", "llmnr", "icmp",
})  # fmt: skip
"What default-deny lets out by name. Everything else it refuses: that is what it is for."

REFUSED_BY_DESIGN = frozenset({
    "dot", "dtls", "ftp", "fully-encrypted", "git", "mqtt", "nats", "postgresql", "rdp", "rsync", "rtp", "unknown",
    "utp", "vnc",
})  # fmt: skip
"Ordinary protocols among the captures that default-deny does not list. Whoever uses one of them adds it to the rule."


@cache
def runner() -> Runner:
    return Runner()


def all_cases() -> list[object]:
    return [
        pytest.param(case, id=f"{path.name.removesuffix(SUFFIX)}: {case.name}")
        for path in TESTS
        for case in load_rule_tests(path).cases
    ]


@pytest.mark.parametrize("case", all_cases())
def test_case(case: Case) -> None:
    outcome = runner().run(case)
    assert outcome.result is not Result.FAILED, f"{case.location}: {outcome.found}"


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_every_rule_has_a_match_and_a_near_miss(path: Path) -> None:
    tests = load_rule_tests(path.with_name(path.stem + SUFFIX))
    assert [(rule.name, lacking) for rule, lacking in tests.uncovered()] == []


def test_every_test_file_is_about_a_policy_beside_it() -> None:
    assert {path.name.removesuffix(SUFFIX) for path in TESTS} == {path.stem for path in POLICIES}


def test_names_are_unique() -> None:
    """The loader holds the names of one policy's rules apart; that two policies share a rule's name is fine."""
    policies = [load_policy(path) for path in POLICIES]
    assert [name for name, count in Counter(policy.name for policy in policies).items() if count > 1] == []
    for path, policy in zip(POLICIES, policies, strict=True):
        assert policy.name == path.stem
        assert len({rule.name for rule in policy.rules}) == len(policy.rules)


@pytest.mark.parametrize("path", [*POLICIES, *TESTS], ids=lambda path: path.name)
def test_every_file_tells_editors_its_schema(path: Path) -> None:
    name = "ruletest" if path.name.endswith(SUFFIX) else "policy"
    first = path.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../middlebox/{name}.schema.json"


def widened(path: Path) -> Policy:
    """The policy, for every client, with its schedules open: what it can do at most."""
    policy = load_policy(path)
    return replace(policy, home=(), rules=tuple(replace(rule, during=None) for rule in policy.rules))


@pytest.mark.parametrize("capture", BENIGN, ids=lambda path: path.name)
@pytest.mark.parametrize("path", [path for path in POLICIES if path.stem != "default-deny"], ids=lambda path: path.stem)
def test_ordinary_traffic_is_not_touched(path: Path, capture: Path) -> None:
    replayed = replay_capture(str(capture), widened(path))
    assert replayed.flows
    touched = [event["middlebox"] for event in replayed.flows if event["middlebox"]["verdict"] != "pass"]  # type: ignore[index]
    assert touched == []


@pytest.mark.parametrize("capture", BENIGN, ids=lambda path: path.name)
def test_default_deny_lets_out_what_it_lists(capture: Path) -> None:
    """What it refuses of ordinary traffic is refused by its default, and is not on its list."""
    flows = replay_capture(str(capture), widened(ROOT / "rules/default-deny.yaml")).flows
    assert flows
    refused = [event["middlebox"] for event in flows if event["middlebox"]["verdict"] != "pass"]  # type: ignore[index]
    assert {about["rule"] for about in refused} <= {None}  # type: ignore[index]
    assert {about["protocol"] for about in refused} <= REFUSED_BY_DESIGN  # type: ignore[index]


def test_what_default_deny_refuses_is_argued_completely() -> None:
    """The list above is neither too long nor in conflict with the policy."""
    policy = widened(ROOT / "rules/default-deny.yaml")
    refused = {
        event["middlebox"]["protocol"]  # type: ignore[index]
        for capture in BENIGN
        for event in replay_capture(str(capture), policy).flows
        if event["middlebox"]["verdict"] != "pass"  # type: ignore[index]
    }
    assert refused == REFUSED_BY_DESIGN


@pytest.mark.parametrize("protocol", sorted(LISTED | REFUSED_BY_DESIGN))
def test_default_deny_by_name(protocol: str) -> None:
    policy = widened(ROOT / "rules/default-deny.yaml")
    proto = "ICMP" if protocol == "icmp" else "UDP"
    judged = given_flow({"proto": proto, "protocol": protocol, "confidence": Confidence.CONFIRMED}, policy, None)
    assert judged.action is (Action.PASS if protocol in LISTED else Action.REJECT)
