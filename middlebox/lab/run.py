"""Runs a scenario: lab up, everything once without a policy, everything under the policy, lab away, judgement.

Rule of this file: whatever ends a run, a failure, Ctrl-C or SIGTERM, the lab is gone before it returns.
"""

import fcntl
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

from middlebox.detect import DETECTORS
from middlebox.lab import judge, topology
from middlebox.lab.clients import Attempt, attempt
from middlebox.lab.docker import DockerDriver, docker_is_possible
from middlebox.lab.driver import Driver
from middlebox.lab.hosts import Host, LabError, Patience, Process
from middlebox.lab.lab import Lab, RunDirectory
from middlebox.lab.netns import NamespaceDriver
from middlebox.lab.report import write_report
from middlebox.lab.result import Check, InterfaceCounters, Result
from middlebox.lab.scenario import Scenario, Step, TunnelService, load_scenario
from middlebox.lab.services import start_payload, start_service
from middlebox.lab.versions import read_versions
from middlebox.policy.fields import known_fields
from middlebox.policy.load import parse_policy
from middlebox.policy.rule import Policy
from middlebox.shells.errors import InputError, MachineError

PROJECT = Path(__file__).resolve().parents[2]
SCENARIOS = PROJECT / "lab" / "scenarios"
OUTPUT = PROJECT / "build" / "lab"

DriverName = Literal["auto", "docker", "netns"]

_CONTROL_SECONDS = 20.0
"For a step without a policy, whatever the scenario allows it under the policy."
_SIDE_BY_SIDE = 8
"Steps that run at the same time. More only take time from each other on a small machine."
_GATEWAY_START_SECONDS = 30.0
_CAPTURE_START_SECONDS = 10.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_RESULT, _REPORT, _EVENTS, _CAPTURE = "result.json", "report.html", "events.jsonl", "capture.pcap"


def find_scenario(name_or_path: str) -> Path:
    """The file of a scenario, given by its name or its path.

    Raises:
        InputError: There is none.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    found = SCENARIOS / f"{name_or_path}.yaml"
    if not found.is_file():
        known = ", ".join(each.stem for each in list_scenarios()) or "none"
        raise InputError(f"there is no scenario {name_or_path!r} in {SCENARIOS}; known: {known}")
    return found


def list_scenarios() -> list[Path]:
    """The files of the scenarios that come with the project."""
    return sorted(path for path in SCENARIOS.glob("*.yaml") if not path.name.endswith(".policy.yaml"))


def choose_driver(name: DriverName, patience: Patience, say: Callable[[str], None]) -> Driver:
    """The driver of that name; for `auto`, Docker where an engine answers or can be started, else namespaces."""
    if name == "docker" or (name == "auto" and docker_is_possible()):
        return DockerDriver(patience, say)
    return NamespaceDriver(patience)


def run_scenario(
    name_or_path: str,
    driver_name: DriverName = "auto",
    *,
    policy_path: Path | None = None,
    output: Path | None = None,
    keep: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Result, Path]:
    """Run a scenario.

    Args:
        name_or_path: A scenario's name, or the path of its file.
        driver_name: Where the hosts live.
        policy_path: A policy to use instead of the scenario's own.
        output: The directory for report, events and capture; left out: build/lab/NAME.
        keep: Keep also the run's keys and configurations.
        say: Receives one line at the beginning of each stage.

    Returns:
        The result, and the directory that holds the report.

    Raises:
        InputError: The scenario or its policy is wrong.
        MachineError: The machine lacks something.
        LabError: The lab itself did not work.
        KeyboardInterrupt: The run was interrupted.
    """
    started = time.monotonic()
    began = datetime.now(UTC)
    path = find_scenario(name_or_path)
    scenario = load_scenario(path)
    policy_path = policy_path or path.parent / scenario.policy
    directory = output or OUTPUT / scenario.scenario
    cancelled = threading.Event()
    driver = choose_driver(driver_name, Patience(cancelled), say)
    with _sole_user_of(directory, keep=keep), _interruptible(cancelled):
        work = directory / "work"
        files = RunDirectory(work, driver.inside(work))
        files.fill(scenario)
        policy, policy_text = _read_policy(policy_path, files)
        files.write("policy.yaml", policy_text)
        with _gone_afterwards(driver, cancelled):
            driver.prepare()
            driver.open(work)
            phases = _Phases(Lab(scenario, driver.hosts, files), driver, say)
            phases.run()
        result = _judge(phases, policy, policy_text)
        result.driver, result.started = driver.name, began.isoformat(timespec="seconds")
        result.repeat = _repeat_command(
            name_or_path, driver.name, policy_path if policy_path.name != scenario.policy else None
        )
        result.files = _keep(scenario, directory, files, keep=keep)
        result.seconds = time.monotonic() - started
        (directory / _RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_report(result, directory / _REPORT)
    return result, directory


def _repeat_command(scenario: str, driver: str, policy: Path | None) -> str:
    if policy is None and not scenario.endswith(".yaml"):
        return f"make lab SCENARIO={scenario} DRIVER={driver}"
    return f"middlebox lab run {scenario} --driver {driver}" + (f" --policy {policy}" if policy else "")


def read_result(directory: Path) -> Result:
    """The result that an earlier run left.

    Raises:
        InputError: There is none.
    """
    path = directory / _RESULT
    try:
        return Result.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"there is no {path}; run the scenario first") from None
    except ValueError:
        raise InputError(f"{path} is not a result that this version can read; run the scenario again") from None


def _read_policy(path: Path, files: RunDirectory) -> tuple[Policy, str]:
    """The policy, validated, and its text, both with this run's keys filled in."""
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the policy {path}: {reason}") from None
    text = files.fill_in(template, str(path))

    def read_file(name: str) -> bytes:
        """A list that the policy names; a copy goes where the gateway will look for it."""
        content = (path.parent / name).read_bytes()
        copy = (files.path / name).resolve()
        if copy.is_relative_to(files.path.resolve()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        return content

    return parse_policy(text, source=str(path), read_file=read_file, fields=known_fields(DETECTORS)), text


@contextmanager
def _sole_user_of(directory: Path, *, keep: bool) -> Iterator[None]:
    """Hold the output directory, emptied of what an earlier run left; in the end only logs stay of the work."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MachineError(f"another run writes to {directory}", "wait for its end") from None
        for name in (_RESULT, _REPORT, _EVENTS, _CAPTURE):
            (directory / name).unlink(missing_ok=True)
        for name in ("work", "logs"):
            shutil.rmtree(directory / name, ignore_errors=True)
        try:
            yield
        finally:
            if not keep:
                with suppress(OSError):
                    shutil.move(directory / "work" / "logs", directory / "logs")
                shutil.rmtree(directory / "work", ignore_errors=True)


@contextmanager
def _interruptible(cancelled: threading.Event) -> Iterator[None]:
    """Turn the first stop signal into KeyboardInterrupt and ignore further ones: the clean-up must end."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not cancelled.is_set():
            cancelled.set()
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _gone_afterwards(driver: Driver, cancelled: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        cancelled.set()  # from here on nobody waits for anything, and a signal changes nothing
        driver.close()
        for host in driver.hosts.values():
            host.reap()


class _Phases:
    """The stages of one run, and what they found."""

    def __init__(self, lab: Lab, driver: Driver, say: Callable[[str], None]) -> None:
        self.lab = lab
        self._driver = driver
        self._say = say
        self.controls: dict[str, Attempt] = {}
        self.attempts: dict[str, Attempt] = {}
        self.counters: list[InterfaceCounters] = []
        self.versions: Mapping[str, str] = {}
        self.gateway_summary = ""
        self.gateway_status: int | None = None
        self.leftovers = ""

    def run(self) -> None:
        """All stages."""
        scenario = self.lab.scenario
        with ThreadPoolExecutor(max_workers=2) as background:
            versions = background.submit(read_versions, self.lab)
            self._say("starting servers")
            self._start_servers()
            refused = [step for step in scenario.steps if step.expect.outcome != "passed"]
            if refused:
                self._say(f"without a policy: {len(refused)} steps that must work now and be refused later")
                self.controls = self._try(refused, "control")
            self.versions = versions.result()
        self._say(f"under the policy: {len(scenario.steps)} steps")
        self._under_policy()

    def _start_servers(self) -> None:
        """Start what runs all the time. Tunnel servers are started for each step, so that no state stays behind."""
        scenario = self.lab.scenario
        names = [name for name, service in scenario.services.items() if not isinstance(service, TunnelService)]
        starts: list[Callable[[], object]] = [lambda: start_payload(self.lab)]
        starts += [lambda name=name: start_service(self.lab, name, "all") for name in names]  # type: ignore[misc]
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            for done in [pool.submit(start) for start in starts]:
                done.result()

    def _under_policy(self) -> None:
        gateway, files = self.lab.gateway, self.lab.files
        sides = [
            ("client", interface_with(gateway, topology.GATEWAY_CLIENT_SIDE.ipv4)),
            ("server", interface_with(gateway, topology.GATEWAY_SERVER_SIDE.ipv4)),
        ]
        with ExitStack() as stack:
            if "capture" in self.lab.scenario.keep:
                stack.callback(self._start_capture(sides[0][1]).stop)
            before = [_read_counters(gateway, side, interface) for side, interface in sides]
            process = gateway.start(
                "gateway",
                gateway.python,
                "-m",
                "middlebox",
                "run",
                files.at("policy.yaml"),
                "--events",
                files.at(_EVENTS),
            )
            events = files.path / _EVENTS
            process.wait_ready(
                lambda: events.exists() and '"event_type":"policy"' in events.read_text(),
                "the gateway to enforce its policy",
                _GATEWAY_START_SECONDS,
            )
            ready = len(process.log())
            self.attempts = self._try(self.lab.scenario.steps, "policy")
            if not process.is_running():
                raise LabError(f"the gateway ended during the run: {process.last_words()}")
            self.gateway_status = process.stop()
            self.gateway_summary = process.log()[ready:].strip()
            after = [_read_counters(gateway, side, interface) for side, interface in sides]
            self.counters = [_difference(*pair) for pair in zip(before, after, strict=True)]
            self.leftovers = _hook_leftovers(gateway)

    def _start_capture(self, interface: str) -> Process:
        process = self.lab.gateway.start(
            "tcpdump", "tcpdump", "--immediate-mode", "-n", "-U", "-Z", "root", "-i", interface,
            "-w", self.lab.files.at(_CAPTURE), "not arp",
        )  # fmt: skip
        process.wait_ready(lambda: "listening on" in process.log(), "tcpdump to listen", _CAPTURE_START_SECONDS)
        return process

    def _try(self, steps: Sequence[Step], phase: str) -> dict[str, Attempt]:
        """Let the client do the steps: those that share a server one after another, the others side by side."""
        lanes: dict[int, list[Step]] = {}
        lane_of = _lanes(self.lab.scenario)
        for number, step in enumerate(steps):
            service = step.client.service
            lanes.setdefault(lane_of.get(service, -1 - number), []).append(step)
        longest_first = sorted(lanes.values(), key=lambda lane: -sum(step.expect.within_seconds for step in lane))
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            futures = [pool.submit(self._try_in_turn, lane, phase) for lane in longest_first]
            try:
                return {name: found for future in futures for name, found in future.result().items()}
            except BaseException:
                for future in futures:
                    future.cancel()
                self.lab.client.patience.cancelled.set()
                self._driver.close()  # ends what the others wait for
                raise

    def _try_in_turn(self, steps: Sequence[Step], phase: str) -> dict[str, Attempt]:
        scenario = self.lab.scenario
        found = {}
        for step in steps:
            seconds = _CONTROL_SECONDS if phase == "control" else step.expect.within_seconds
            with ExitStack() as stack:
                if isinstance(scenario.service_of(step), TunnelService):
                    running = start_service(self.lab, step.client.service, f"{phase}-{step.step}")
                    stack.callback(running.stop)
                found[step.step] = attempt(self.lab, step, scenario.steps.index(step), phase, seconds)
        return found


def _lanes(scenario: Scenario) -> dict[str, int]:
    """A number for every tunnel service; services that cannot run at the same time have the same one."""
    lane = {
        name: number
        for number, (name, service) in enumerate(scenario.services.items())
        if isinstance(service, TunnelService)
    }
    for names in scenario.contested():
        joined = {lane[name] for name in names}
        lane = {name: min(joined) if number in joined else number for name, number in lane.items()}
    return lane


def interface_with(host: Host, address: str) -> str:
    """The name of the interface that has an address."""
    for line in host.must("ip", "-o", "-4", "address").splitlines():
        _, interface, _, found = line.split()[:4]
        if found.split("/")[0] == address:
            return interface
    raise LabError(f"{host.name} has no interface with {address}")


def _read_counters(gateway: Host, side: str, interface: str) -> InterfaceCounters:
    names = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes")
    directory = f"/sys/class/net/{interface}/statistics"
    numbers = [int(text) for text in gateway.must("cat", *(f"{directory}/{name}" for name in names)).split()]
    return InterfaceCounters(
        interface=interface, side=side,
        packets_in=numbers[0], packets_out=numbers[1], bytes_in=numbers[2], bytes_out=numbers[3],
    )  # fmt: skip


def _difference(before: InterfaceCounters, after: InterfaceCounters) -> InterfaceCounters:
    return InterfaceCounters(
        interface=after.interface,
        side=after.side,
        packets_in=after.packets_in - before.packets_in,
        packets_out=after.packets_out - before.packets_out,
        bytes_in=after.bytes_in - before.bytes_in,
        bytes_out=after.bytes_out - before.bytes_out,
    )


def _hook_leftovers(gateway: Host) -> str:
    """Lines of the gateway's firewall that still speak of the hook."""
    rules = "".join(
        gateway.run(*command).output
        for command in (("iptables-save",), ("ip6tables-save",), ("nft", "list", "ruleset"))
    )
    return "; ".join(sorted({line.strip() for line in rules.splitlines() if "middlebox" in line.lower()}))


def _judge(phases: _Phases, policy: Policy, policy_text: str) -> Result:
    lab = phases.lab
    scenario = lab.scenario
    events = [json.loads(line) for line in (lab.files.path / _EVENTS).read_text(encoding="utf-8").splitlines()]
    steps = [
        judge.judge_step(scenario, step, phases.attempts[step.step], phases.controls.get(step.step), events)
        for step in scenario.steps
    ]
    checks = [
        *judge.judge_crossing(phases.counters),
        *judge.judge_log(scenario.log, events),
        Check(
            what="the gateway's exit status",
            expected="0",
            found="killed" if phases.gateway_status is None else str(phases.gateway_status),
            met=phases.gateway_status == 0,
        ),
        Check(
            what="rules of the gateway in the kernel after its end",
            expected="none",
            found=phases.leftovers or "none",
            met=not phases.leftovers,
        ),
    ]
    return Result(
        scenario=scenario.scenario,
        title=scenario.title,
        driver="",
        started="",
        seconds=0.0,
        repeat="",
        policy=policy.name,
        policy_text=policy_text,
        steps=steps,
        checks=checks,
        rules=judge.count_rules(policy, events),
        rule_scores=judge.score_rules(policy, steps),
        protocol_scores=judge.score_protocols(steps),
        counters=phases.counters,
        gateway_summary=phases.gateway_summary,
        versions=dict(phases.versions),
        files=[],
    )


def _keep(scenario: Scenario, directory: Path, files: RunDirectory, *, keep: bool) -> list[str]:
    """Move what the scenario wants kept beside the report. The names of all that stays."""
    kept = []
    for name, wanted in ((_EVENTS, "events"), (_CAPTURE, "capture")):
        source = files.path / name
        if wanted in scenario.keep and source.exists():
            shutil.move(source, directory / name)
            kept.append(name)
    kept.append("work" if keep else "logs")
    return kept
