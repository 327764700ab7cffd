"""The lab by hand: what the containers run when nobody drives them.

Rule of this file: it only joins what the driven lab is made of, so what works here works there.

    python3 -m middlebox.lab.byhand client|gateway|server    the containers' own programs
    python3 -m middlebox.lab.byhand steps                    in the client: what can be tried
    python3 -m middlebox.lab.byhand try STEP                 in the client: try it once
    python3 -m middlebox.lab.byhand serve SERVICE            in the server: a service instead of the one in its place
"""

import os
import signal
import sys
import threading
from pathlib import Path

from middlebox.lab import topology
from middlebox.lab.clients import attempt
from middlebox.lab.hosts import Host, LabError, Patience
from middlebox.lab.lab import Lab, RunDirectory
from middlebox.lab.scenario import Scenario, load_scenario
from middlebox.lab.services import Running, start_payload, start_service
from middlebox.shells.errors import ShellError

_RUN = Path("/lab/run")
_SCENARIO = Path("/lab/scenarios") / f"{os.environ.get('LAB_SCENARIO', 'default')}.yaml"
_POLICY = _RUN / "policy.yaml"
_WANTED = _RUN / "wanted-service"
"`serve` writes a service's name here; the server's own program reads it."
_POLICY_SECONDS = 120.0
_FAILED, _USAGE = 1, 2


def main(arguments: list[str]) -> int:
    """Run one of the commands; the exit status."""
    try:
        match arguments:
            case ["client"]:
                return _wait_for_the_end()
            case ["gateway"]:
                return _gateway()
            case ["server"]:
                return _server()
            case ["steps"]:
                for step in load_scenario(_SCENARIO).steps:
                    print(f"{step.step:24} {step.what}")
            case ["try", name]:
                return _try(name)
            case ["serve", name]:
                _WANTED.write_text(name)
            case _:
                print(__doc__, file=sys.stderr)
                return _USAGE
    except (LabError, ShellError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _here(name: str) -> tuple[Scenario, RunDirectory, Lab]:
    scenario = load_scenario(_SCENARIO)
    files = RunDirectory(_RUN, str(_RUN))
    host = Host(name, (), _RUN, str(_RUN), sys.executable, Patience(threading.Event()))
    return scenario, files, Lab(scenario, {name: host}, files)


def _end_on_signal() -> threading.Event:
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: end.set())
    return end


def _wait_for_the_end() -> int:
    _end_on_signal().wait()
    return 0


def _gateway() -> int:
    """Become the gateway, once the server has made the keys that its policy speaks of."""
    Patience(threading.Event()).until(_POLICY.exists, f"the server to write {_POLICY}", _POLICY_SECONDS)
    os.execvp(  # noqa: S606
        sys.executable,
        [sys.executable, "-m", "middlebox", "run", str(_POLICY), "--events", str(_RUN / "events.jsonl")],
    )


def _server() -> int:
    """Make keys and policy, start every service, and change services when asked to."""
    end = _end_on_signal()
    scenario, files, lab = _here(topology.SERVER)
    _POLICY.unlink(missing_ok=True)
    _WANTED.unlink(missing_ok=True)
    files.fill(scenario)
    files.save()
    start_payload(lab)
    in_place_of = {name: names for names in scenario.contested() for name in names}
    running: dict[str, Running] = {}
    for name in scenario.services:
        # Of services that share an address, the last one listed comes first.
        if name == in_place_of.get(name, [name])[-1]:
            running[name] = _start(lab, name)
    template = (_SCENARIO.parent / scenario.policy).read_text(encoding="utf-8")
    unfinished = _RUN / "policy.new"
    unfinished.write_text(files.fill_in(template, scenario.policy), encoding="utf-8")
    unfinished.rename(_POLICY)
    print("lab: ready", flush=True)
    while not end.wait(1.0):
        if _WANTED.exists():
            wanted = _WANTED.read_text().strip()
            _WANTED.unlink()
            for name in {wanted, *in_place_of.get(wanted, [])} & set(running):
                running.pop(name).stop()
            if wanted in scenario.services:
                running[wanted] = _start(lab, wanted)
            else:
                print(f"lab: there is no service {wanted}; services: {', '.join(scenario.services)}", flush=True)
    return 0


def _start(lab: Lab, name: str) -> Running:
    running = start_service(lab, name, "by-hand")
    print(f"lab: {name} runs", flush=True)
    return running


def _try(name: str) -> int:
    scenario, files, lab = _here(topology.CLIENT)
    files.load()
    numbers = {step.step: number for number, step in enumerate(scenario.steps)}
    if name not in numbers:
        print(f"lab: there is no step {name}; steps: {', '.join(numbers)}", file=sys.stderr)
        return _USAGE
    step = scenario.steps[numbers[name]]
    found = attempt(lab, step, numbers[name], "policy", step.expect.within_seconds)
    print(f"{step.what}: {found.noticed.value} after {found.seconds:.2f} s: {found.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
