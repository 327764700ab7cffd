"""Whole runs with real programs, on both drivers, and how they end when they are interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from middlebox.lab.netns import CLIENT_SIDE, SERVER_SIDE
from middlebox.lab.run import list_scenarios, run_scenario

lab = pytest.mark.lab
docker = pytest.mark.docker
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from middlebox.lab.cli import app; app()", "run", "default"]

KEPT = {"report.html", "result.json", "events.jsonl", "capture.pcap", "logs"}
IMAGES_SECONDS = 900
"A run in Docker may have to start the engine and build all images first."


def processes_of(output: Path) -> list[str]:
    """Command lines of processes that use the run's directory: every program of the lab has it among its arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{output}/work" in command:
            found.append(command)
    return found


def bridges() -> set[str]:
    """Docker's bridges on this machine."""
    return {name for name in os.listdir("/sys/class/net") if name.startswith("br-")}


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


def assert_all_met(name: str, driver: str, output: Path) -> None:
    result, directory = run_scenario(name, driver, output=output)
    assert directory == output
    unmet = [f"{step.step}: {problem}" for step in result.steps for problem in step.problems]
    unmet += [f"{check.what}: {check.found}" for check in result.checks if not check.met]
    assert result.met, unmet
    assert {path.name for path in output.iterdir()} == {*KEPT, ".lock"}
    assert (output / "capture.pcap").stat().st_size > 1_000_000  # 10 MB went through a tunnel
    events = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]
    assert {event["event_type"] for event in events} >= {"policy", "decision", "flow", "stats"}
    assert processes_of(output) == []


@lab
@pytest.mark.parametrize("path", list_scenarios(), ids=lambda path: path.stem)
def test_every_scenario_is_met_in_namespaces(path, tmp_path):
    assert_all_met(path.stem, "netns", tmp_path)


@docker
@pytest.mark.timeout(IMAGES_SECONDS)
@pytest.mark.parametrize("path", list_scenarios(), ids=lambda path: path.stem)
def test_every_scenario_is_met_in_docker(path, tmp_path):
    assert_all_met(path.stem, "docker", tmp_path)


@lab
def test_policy_that_never_acts_fails_the_scenario(tmp_path):
    policy = tmp_path / "empty.yaml"
    policy.write_text("policy: empty\nversion: 1\nrules: []\n")
    output = tmp_path / "out"
    done = subprocess.run(
        [*COMMAND, "--driver", "netns", "--policy", policy, "--output", output],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    result = json.loads((output / "result.json").read_text())
    wrong = {step["step"] for step in result["steps"] if step["problems"]}
    assert {"openvpn-udp", "openvpn-tcp", "wireguard-unapproved", "https-blocked"} <= wrong
    assert not wrong & {"https-tls13", "http3", "dns-udp", "ssh"}, "ordinary steps need no policy"
    assert "it passed, expected refused" in done.stdout


@lab
def test_wrong_policy_is_one_line_and_nothing_is_started(tmp_path):
    policy = tmp_path / "wrong.yaml"
    policy.write_text("policy: wrong\nrulez: []\n")
    done = subprocess.run(
        [*COMMAND, "--driver", "netns", "--policy", policy, "--output", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f'{policy}:2:1: error: "rulez" is not a field of a policy; did you mean "rules"?'
    ]


@lab
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_interrupted_run_leaves_no_process_and_no_interface(number, tmp_path):
    run = subprocess.Popen(
        [*COMMAND, "--driver", "netns", "--output", tmp_path],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with run:
        until(lambda: any("openvpn" in each for each in processes_of(tmp_path)), "OpenVPN to run", 30)
        run.send_signal(number)
        run.wait(30)
        assert run.stderr is not None
        if number is not signal.SIGKILL:
            assert run.returncode == 130
            assert run.stderr.read().endswith("middlebox: interrupted; the lab is gone\n")
    until(lambda: processes_of(tmp_path) == [], "every process to be gone", 5)
    assert not {CLIENT_SIDE, SERVER_SIDE} & set(os.listdir("/sys/class/net"))
    if number is not signal.SIGKILL:
        assert not (tmp_path / "work").exists(), "the keys are gone too"


@docker
@pytest.mark.timeout(IMAGES_SECONDS)
def test_killed_run_in_docker_leaves_no_container_and_no_network(tmp_path):
    before = bridges()
    run = subprocess.Popen(
        [*COMMAND, "--driver", "docker", "--output", tmp_path],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with run:
        events = tmp_path / "work" / "events.jsonl"
        until(events.exists, "the gateway to start", IMAGES_SECONDS - 60)
        assert len(bridges() - before) == 2
        run.kill()
    until(lambda: bridges() <= before, "the bridges to be gone", 60)


@lab
def test_two_runs_into_one_directory_are_refused(tmp_path):
    run = subprocess.Popen(
        [*COMMAND, "--driver", "netns", "--output", tmp_path],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with run:
        until((tmp_path / "work" / "keys").exists, "the first run to begin", 30)
        second = subprocess.run(
            [*COMMAND, "--driver", "netns", "--output", tmp_path],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        run.terminate()
    assert second.returncode == 3
    assert second.stderr == f"middlebox: another run writes to {tmp_path}: wait for its end\n"
