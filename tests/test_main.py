"""The command line: what a user types, what comes out, and with which status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from middlebox import __version__
from middlebox.__main__ import main

CAPTURES = Path(__file__).parent / "captures"
RULES = Path(__file__).parents[1] / "rules"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `middlebox` with arguments; its status, output and complaints."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["middlebox", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        output, complaints = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, output, complaints

    return run


def test_version(run):
    assert run("--version") == (0, f"middlebox {__version__}\n", "")


def test_every_command_is_listed(run):
    status, output, _ = run("--help")
    assert status == 0
    for command in ("run", "replay", "check", "test", "protocols", "lab"):
        assert f"\u2502 {command} " in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frob"], "No such command 'frob'"),
        (["check"], "Missing argument 'POLICY...'"),
        (["replay", "--frob", "x.pcap"], "--frob"),
        (["run", RULES / "monitor-everything.yaml", "--interfaces", "eth0"], "'eth0' is not of the form IN:OUT"),
        (["run", RULES / "monitor-everything.yaml", "--queue-num", "70000"], "--queue-num"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run, arguments, complaint):
    status, output, complaints = run(*arguments)
    assert (status, output) == (2, "")
    assert complaint in complaints
    assert complaints.count("\n") == 1


def test_check_says_that_nothing_is_wrong(run):
    status, output, complaints = run("check", *sorted(set(RULES.glob("*.yaml")) - set(RULES.glob("*.test.yaml"))))
    assert (status, complaints) == (0, "")
    assert output.endswith("policies checked: 0 errors, 0 warnings\n")


def test_check_prints_every_problem_with_its_place(run, tmp_path):
    policy = tmp_path / "bad.yaml"
    policy.write_text("policy: bad\ndefault: alow\nrules:\n  - rule: r\n    when: {protocl: dns}\n    action: drop\n")
    status, output, complaints = run("check", policy)
    assert (status, output) == (2, "1 policy checked: 2 errors, 0 warnings\n")
    assert complaints.splitlines() == [
        f'{policy}:2:10: error: default: found "alow", expected pass, drop, reset or reject',
        f'{policy}:5:12: error: "protocl" is not a field of a condition; did you mean "protocol"?',
    ]


@pytest.mark.parametrize("command", [["check"], ["run"], ["replay", CAPTURES / "openvpn-udp.pcap", "--policy"]])
def test_policy_that_is_not_there_is_named(run, command):
    status, output, complaints = run(*command, "none.yaml")
    assert (status, output) == (2, "1 policy checked: 1 error, 0 warnings\n" if command == ["check"] else "")
    assert complaints == "none.yaml:1:1: error: cannot read none.yaml: No such file or directory\n"


def test_replay_prints_one_object_a_flow(run):
    status, output, complaints = run("replay", "--format", "jsonl", CAPTURES / "wireguard-p443.pcap")
    assert (status, complaints) == (0, "")
    flows = [json.loads(line) for line in output.splitlines()]
    assert {flow["event_type"] for flow in flows} == {"flow"}
    assert [flow["app_proto"] for flow in flows if flow["proto"] == "UDP"] == ["wireguard"]


def test_replay_prints_the_others_when_one_capture_is_missing(run):
    status, output, complaints = run("replay", "none.pcap", CAPTURES / "openvpn-udp.pcap")
    assert status == 2
    assert complaints == "none.pcap: No such file or directory\n"
    assert "openvpn" in output


def test_replay_explains(run):
    _, output, _ = run("replay", "--explain", CAPTURES / "openvpn-udp.pcap")
    assert "server reset echoes the client's session id" in output


def test_protocols_as_json_and_as_table(run):
    status, output, _ = run("protocols", "--format", "jsonl")
    records = {record["protocol"]: record for record in map(json.loads, output.splitlines())}
    assert status == 0
    assert [found["detector"] for found in records["fastd"]["detectors"]] == ["fastd"]
    assert records["tor"]["category"] == "anonymity"
    status, output, _ = run("protocols")
    assert status == 0
    assert "wireguard" in output


def test_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m middlebox protocols --format jsonl | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_warns_and_fails_only_when_it_shall_be_strict(run, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("policy: p\ndefault: drop\nlists: {l: [a.example]}\nwaive: [{id: list-unused, why: Later.}]\n")
    warning = (
        f'{policy}:1:1: warning: the policy refuses, and no "home" says for whose clients: '
        "a mistake would hit every flow [no-home]\n"
    )
    waived = f'{policy}:3:9: waived: list "l": no condition uses it [list-unused]: Later.\n'
    summary = "1 policy checked: 0 errors, 1 warning (1 waived)\n"
    assert run("check", policy) == (0, summary, warning)
    assert run("check", "--strict", policy) == (1, summary, warning)
    assert run("check", "--show-waived", policy) == (0, summary, warning + waived)
