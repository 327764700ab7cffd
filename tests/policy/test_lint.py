"""Every warning of `middlebox check`: where it stands, when it is silent, and how it is waived."""

from pathlib import Path

import pytest

from middlebox.detect import DETECTORS
from middlebox.policy.check import lint_files, public_suffixes
from middlebox.policy.fields import known_fields
from middlebox.policy.lint import Feature, Probe, Report, lint
from middlebox.policy.load import parse_policy
from middlebox.policy.outline import read_outline
from middlebox.policy.problem import PolicyError, Severity
from middlebox.policy.warning import NOTES, WARNINGS
from middlebox.shells.check_output import folded

ROOT = Path(__file__).parents[2]
FIELDS = known_fields(DETECTORS)
NOW = 1_800_000_000.0  # 2027-01-15
HEAD = "policy: p\nhome: [192.0.2.0/24]\n"


def missing_nothing(feature: Feature) -> None:
    return None


def report(text: str, *, probe: Probe | None = missing_nothing, files: str = "") -> Report:
    policy = parse_policy(text, source="p.yaml", read_file=lambda name: files, fields=FIELDS)
    outline = read_outline(text, "p.yaml", lambda name: files)
    return lint(policy, outline, now=NOW, detectors=DETECTORS, is_public_suffix=public_suffixes(), probe=probe)


def found(text: str, **more) -> list[tuple[str, int, int]]:  # type: ignore[no-untyped-def]
    return [(each.id, each.place.line, each.place.column) for each in report(text, **more).findings]


def rules(*lines: str) -> str:
    return HEAD + "rules:\n" + "".join(f"  - {{rule: r{n}, {line}}}\n" for n, line in enumerate(lines))


VPN = "when: {category: vpn}, action: drop"
WIREGUARD = "when: {protocol: wireguard}, action: reset"


def test_a_shadowed_rule_is_named_with_the_one_above() -> None:
    text = rules(VPN, WIREGUARD)
    assert found(text) == [("unreachable-rule", 5, 12)]
    assert 'never reached: "r0" in line 4' in str(report(text).findings[0].problem)


@pytest.mark.parametrize(
    "above",
    [
        "when: {category: vpn}, action: log",
        "when: {category: vpn}, action: drop, mode: monitor",
        "when: {category: vpn}, action: sample, probability: 0.5",
        "when: {category: vpn}, action: dns, dns: refused",
        "when: {category: vpn, dest_port: 51820}, action: drop",
        "when: {category: vpn, confidence: confirmed}, action: drop",
        "when: {not: {category: vpn}}, action: drop",
    ],
)
def test_what_does_not_decide_all_of_it_shadows_nothing(above: str) -> None:
    assert found(rules(above, WIREGUARD)) == []


def test_a_rule_shadows_only_in_its_own_hours() -> None:
    schedules = 'schedules: {day: {hours: "08:00-18:00"}, night: {hours: "18:00-08:00"}}\n'
    day, night = f"{VPN}, during: day", f"{WIREGUARD}, during: night"
    assert found(schedules + rules(day, night)) == []
    assert found(
        schedules + rules(f"{VPN}, during: night", night, "when: {proto: GRE}, action: drop, during: day")
    ) == [("unreachable-rule", 6, 12)]
    assert found(schedules + rules(day, WIREGUARD, night)) == [("unreachable-rule", 7, 12)]


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("when: {protocol: wireguard, proto: TCP}, action: drop", "impossible-condition"),
        ("when: {protocol: fully-encrypted, confidence: confirmed}, action: drop", "confidence-unreachable"),
        ("when: {protocol: dns, confidence: confirmed}, action: dns, dns: refused", "dns-action-late"),
        ("when: {dns.rcode: NXDOMAIN}, action: dns, dns: refused", "dns-action-late"),
        ("when: {}, action: drop, mode: monitor, residual: {scope: client, seconds: 9}", "residual-never"),
        ("when: {server_name|domain: co.uk}, action: drop", "public-suffix"),
    ],
)
def test_rules_by_themselves(line: str, warning: str) -> None:
    assert [each[:2] for each in found(rules(line))] == [(warning, 4)]


def test_a_protocol_that_nothing_recognises() -> None:
    text = rules(WIREGUARD)
    policy = parse_policy(text, source="p.yaml", read_file=lambda name: "", fields=FIELDS)
    outline = read_outline(text, "p.yaml", lambda name: "")
    few = tuple(detector for detector in DETECTORS if "wireguard" not in detector.protocols)
    report = lint(policy, outline, now=NOW, detectors=few, is_public_suffix=lambda name: False, probe=missing_nothing)
    assert [each.id for each in report.findings] == ["protocol-without-detector"]


def test_a_policy_that_refuses_says_for_whom() -> None:
    assert found("policy: p\ndefault: drop\n") == [("no-home", 1, 1)]
    assert found("policy: p\ndefault: drop\nmode: monitor\n") == []
    assert found("policy: p\nrules: [{rule: r, when: {}, action: pass}]\n") == []


@pytest.mark.parametrize(
    ("until", "warning"),
    [
        ("2027-01-14", ["approval-expired"]),
        ("2027-02-13", ["approval-expires-soon"]),
        ("2027-02-15", []),
    ],
)
def test_approvals_that_end(until: str, warning: list[str]) -> None:
    text = HEAD + f"approved: [{{name: hq, protocol: ipsec, server: 203.0.113.1, until: {until}}}]\n"
    assert [each[0] for each in found(text)] == warning


def test_schedules_that_are_over_or_unused() -> None:
    text = HEAD + "schedules:\n  old: {from: 2026-01-01, until: 2026-01-08}\n  new: {from: 2027-01-01}\n"
    assert found(text) == [("schedule-past", 4, 3), ("schedule-unused", 4, 3), ("schedule-unused", 5, 3)]


def test_lists_and_groups_that_are_unused() -> None:
    text = HEAD + "lists: {a: [x.example]}\nclients: {staff: 192.0.2.0/28}\n"
    assert [each[0] for each in found(text)] == ["list-unused", "client-group-unused"]


def test_entries_that_cover_each_other() -> None:
    text = HEAD + (
        "lists:\n  names: [a.example, b.a.example, a.example, com]\n  nets: [10.0.0.0/8, 10.1.0.0/16]\nrules:\n"
        "  - rule: r\n    when: {any: [{server_name|domain: {list: names}}, {src_ip: {list: nets}}]}\n    action: log\n"
    )
    assert found(text) == [
        ("list-overlap", 4, 22), ("list-overlap", 4, 35), ("public-suffix", 4, 46), ("list-overlap", 5, 22),
    ]  # fmt: skip


def test_of_a_long_list_twenty_entries_are_shown() -> None:
    text = HEAD + "lists: {f: f.txt}\nrules: [{rule: r, when: {server_name|domain: {list: f}}, action: log}]\n"
    findings = report(text, files="example.org\n" + "".join(f"n{n}.example.org\n" for n in range(30))).findings
    assert len(findings) == 21
    assert findings[-1].text == 'list "f": 10 more entries like this'


def test_a_machine_without_hashlimit() -> None:
    line = "when: {category: vpn}, action: throttle, rate: 1kbit/s"
    assert found(rules(line), probe=lambda feature: "no" if feature is Feature.HASHLIMIT else None) == [
        ("kernel-feature", 4, 12)
    ]
    (note,) = report(rules(line), probe=None).findings
    assert (note.id, note.problem.severity) == ("not-checked", Severity.NOTE)


def test_waivers_narrowed_and_unused() -> None:
    text = rules(VPN, WIREGUARD, WIREGUARD)
    whole = report(text + "waive: [{id: unreachable-rule, why: old}]\n")
    assert (len(whole.waived), whole.findings) == (2, [])
    one = report(text + "waive: [{id: unreachable-rule, rule: r1, why: old}, {id: no-home, why: none}]\n")
    assert [finding.id for finding in one.findings] == ["unreachable-rule", "waiver-unused"]
    assert (one.findings[1].place.line, one.findings[1].place.column) == (7, 53)
    assert [waiver.why for _, waiver in one.waived] == ["old"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rules("when: {}, action: throttle"), '4:34: error: action: throttle needs "rate"'),
        (rules("when: {}, action: sample"), '4:34: error: action: sample needs "probability"'),
        (rules("when: {}, action: dns"), '4:34: error: action: dns needs "dns"'),
        (rules("when: {}, action: drop, rate: 1kbit/s"), '4:40: error: "rate" is for the action throttle'),
        (rules("when: {}, action: drop, then: drop"), '"then" is for the action sample'),
        (rules("when: {}, action: drop, dns: refused"), '"dns" is for the action dns'),
        (rules("when: {}, action: pass, residual: {scope: client, seconds: 1}"), '"residual" is for drop, reset'),
        (rules("when: {}, action: drop, residual: {scope: server_port, seconds: 1}"), "server_port without server"),
        (rules("when: {}, action: log, mode: monitor"), "log only records anyway"),
        ("schedules: {work: {hours: '08:00-09:00'}}\n" + rules(f"{VPN}, during: wrok"), 'did you mean "work"?'),
        ("schedules: {w: {from: 2027-01-02, until: 2027-01-02}}\n" + HEAD, "expected a moment after from"),
        ("schedules: {w: {}}\n" + HEAD, "this schedule says no time"),
        (HEAD + "waive: [{id: no-home}]\n", 'this waiver has no "why"'),
        (HEAD + 'waive: [{id: no-home, why: " "}]\n', "expected a reason"),
        (HEAD + "waive: [{id: no-hom, why: x}]\n", 'did you mean "no-home"?'),
    ],
)
def test_keys_that_do_not_belong_together_are_errors(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(text, source="p.yaml", read_file=lambda name: "", fields=FIELDS)
    assert message in str(error.value)


def test_the_shipped_policies_have_no_warnings_when_they_are_shipped() -> None:
    checked = lint_files(sorted((ROOT / "rules").glob("*.yaml")), now=NOW, probe=missing_nothing)
    assert list(map(str, checked.problems)) == []


def test_summary_and_folding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(rules(VPN, WIREGUARD) + "waive: [{id: no-home, why: x}]\n")
    (tmp_path / "b.yaml").write_text("policy: b\nx: 1\n")
    checked = lint_files([tmp_path / "a.yaml", tmp_path / "b.yaml"], now=NOW)
    assert checked.summary == "2 policies checked: 1 error, 2 warnings"
    assert folded("a b c", None) == "a b c"
    assert all(len(line) <= 20 for line in folded("word " * 20, 20).splitlines())


def test_every_id_that_is_used_is_explained() -> None:
    source = (ROOT / "middlebox/policy/lint.py").read_text()
    assert all(f'"{warning}"' in source for warning in (*WARNINGS, *NOTES))
