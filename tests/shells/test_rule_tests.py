"""Running rule tests: what makes a case pass, fail or be missed as known, and what a user reads about it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from middlebox.__main__ import main

CAPTURES = Path(__file__).parents[1] / "captures"
POLICY = """
policy: p
default: pass
schedules: {later: {from: 2030-01-01}}
rules:
  - {rule: noted, when: {protocol: wireguard}, action: log}
  - {rule: block-vpn, when: {category: vpn, confidence: confirmed}, action: drop}
  - {rule: later, during: later, when: {protocol: dns}, action: reject}
  - {rule: rest, when: {dest_port: 9}, action: pass}
"""
WIREGUARD = "capture: wireguard-psk.pcap, flow: {proto: UDP}"
TOUCHED = "given: {protocol: ipsec}"


Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `middlebox test` on cases about POLICY; status, output, complaints."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(POLICY)
    for name in ("wireguard-psk.pcap", "benign/dns-udp.pcap"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to(CAPTURES / name)

    def run(*cases: str, options: tuple[str, ...] = ()) -> tuple[object, str, str]:
        lines = "".join(f"  - {{name: case, {case}}}\n" for case in cases)
        Path("p.test.yaml").write_text(f"cases:\n{lines}")
        monkeypatch.setattr("sys.argv", ["middlebox", "test", *options, "p.test.yaml"])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        (f"rule: block-vpn, {WIREGUARD}, expect: {{action: drop, by_packet: 2, flows: 1}}", None),
        (f"rule: block-vpn, {WIREGUARD}, expect: {{action: drop, by_packet: 1}}",
         "expected drop by block-vpn on packet 1 or before; wireguard confirmed (UDP) to 198.51.100.2 port 51820 got "
         "drop by block-vpn on packet 2, noted by noted"),
        (f"rule: block-vpn, {WIREGUARD}, expect: {{action: pass}}",
         "expected pass, not by block-vpn; wireguard confirmed (UDP) to 198.51.100.2 port 51820 got drop by "
         "block-vpn on packet 2, noted by noted"),
        (f"rule: noted, {WIREGUARD}, expect: {{action: log}}", None),
        ("rule: noted, given: {protocol: openvpn}, expect: {action: drop, rule: block-vpn}", None),
        ("rule: block-vpn, given: {protocol: ipsec, confidence: probable}, expect: {action: drop}",
         "expected drop by block-vpn; ipsec probable (TCP) to 203.0.113.20 port 443 got pass by default (near miss: "
         "block-vpn: confidence is probable, the rule asks for confidence: confirmed)"),
        ("rule: rest, given: {dest_port: 10}, expect: {action: pass, rule: default}", None),
        ("rule: rest, given: {dest_port: 9}, expect: {action: pass, rule: default}",
         "expected pass by default; unknown (TCP) to 203.0.113.20 port 9 got pass by rest"),
        ("rule: block-vpn, capture: wireguard-psk.pcap, flow: {dest_port: 1}, expect: {action: drop}, "
         "known_miss: true, because: nothing selected proves nothing",
         "no flow of the capture is what `flow` asks for; there is wireguard confirmed (UDP) to 198.51.100.2 "
         "port 51820; icmp confirmed (IPV6-ICMP) to ff02::16"),
        ("rule: later, at: 2029-12-31T23:59:59, given: {protocol: dns}, expect: {action: pass}", None),
        ("rule: later, at: 2030-01-01, given: {protocol: dns}, expect: {action: reject}", None),
        ("rule: later, at: 2030-01-01, capture: benign/dns-udp.pcap, expect: {action: reject}", None),
        ("rule: later, at: 2029-01-01, capture: benign/dns-udp.pcap, expect: {action: pass}", None),
        ("rule: block-vpn, home: 192.0.2.0/24, given: {protocol: ipsec}, expect: {action: drop}",
         "expected drop by block-vpn; ipsec (TCP) to 203.0.113.20 port 443 got pass because it is outside "
         "the policy's home"),
        (f"rule: block-vpn, {TOUCHED}, expect: {{action: drop}}, known_miss: true, because: of it",
         "it is no longer missed: remove known_miss"),
        (f"rule: block-vpn, {TOUCHED}, expect: {{action: pass}}, known_miss: true, because: of it", None),
    ],
)  # fmt: skip
def test_cases(run: Run, case: str, complaint: str | None) -> None:
    status, output, complaints = run(case)
    assert complaints == ""
    rule = case.split(",")[0].removeprefix("rule: ")
    failures = [line for line in output.splitlines() if ": failed: " in line]
    assert failures == ([] if complaint is None else [f"p.test.yaml:2:5: failed: {rule}: case: {complaint}"])
    assert status == (0 if complaint is None else 1)


COVERED = (
    "rule: noted, given: {protocol: wireguard}, expect: {action: log}",
    "rule: noted, given: {protocol: dns}, expect: {action: pass}",
    "rule: block-vpn, given: {protocol: ipsec}, expect: {action: drop}",
    "rule: block-vpn, given: {protocol: dns}, expect: {action: pass}",
    "rule: later, at: 2031-01-01, given: {protocol: dns}, expect: {action: reject}",
    "rule: later, given: {protocol: dns}, expect: {action: pass}",
    "rule: rest, given: {dest_port: 9}, expect: {action: pass}",
)


def test_a_rule_without_a_near_miss_is_named_and_fails_strictly(run: Run) -> None:
    assert run(*COVERED)[:2] == (
        0,
        "p.test.yaml:1:1: warning: rest has no case that is a near miss\n"
        "1 policy, 7 cases: 7 passed; 1 gap in what is tested\n",
    )
    status, output, _ = run(*COVERED, options=("--strict",))
    assert (status, "failed: rest has no case that is a near miss" in output) == (1, True)
    near_miss = "rule: rest, given: {dest_port: 8}, expect: {action: pass, rule: default}"
    assert run(*COVERED, near_miss, options=("--strict",))[:2] == (0, "1 policy, 8 cases: 8 passed\n")


def test_records(run: Run) -> None:
    _, output, _ = run(*COVERED, options=("--format", "jsonl"))
    first, *_, gap = map(json.loads, output.splitlines())
    assert first == {
        "record": "case", "file": "p.test.yaml", "line": 2, "column": 5, "policy": "p", "rule": "noted", "case": "case",
        "kind": "match", "result": "passed", "found": None,
    }  # fmt: skip
    assert gap == {"record": "coverage", "file": "p.test.yaml", "policy": "p", "rule": "rest", "lacking": "near miss"}


def test_verbose_lists_cases_and_rules(run: Run) -> None:
    _, output, _ = run(*COVERED, options=("-v",))
    assert "p.test.yaml:4:5: passed: block-vpn: case" in output
    assert "│ block-vpn │ 1       │ 1           │ 0            │ 0      │" in output


def test_bad_input_is_status_2(run: Run) -> None:
    status, output, complaints = run("rule: noted, given: {protocol: wiregard}, expect: {action: log}")
    assert (status, output) == (2, "0 policies, 0 cases: 0 passed\n")
    assert complaints == (
        'p.test.yaml:2:49: error: protocol: found "wiregard", expected a protocol (middlebox protocols lists them); '
        'did you mean "wireguard"?\n'
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("p.yaml", 'rule tests are in files whose names end in .test.yaml; did you mean "p.test.yaml"?'),
        ("p.tst.yaml", 'there is no such file or folder; did you mean "p.test.yaml"?'),
        ("benign", "this folder has no rule tests (*.test.yaml)"),
    ],
)
def test_wrong_paths_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    run(*COVERED)
    monkeypatch.setattr("sys.argv", ["middlebox", "test", path])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (2, f"{path}:1:1: error: {message}\n")
