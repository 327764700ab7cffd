"""Starts the gateway in its namespace, with a toy engine or as users do, always with a time limit."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.shells.network import Network

ROOT = Path(__file__).parents[2]
SECONDS = 15.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 5.0) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


@dataclass
class Running:
    """A gateway process that has said it is ready."""

    process: subprocess.Popen[str]
    lines: "queue.Queue[str | None]"
    ready: str

    def next_line(self) -> str:
        line = self.lines.get(timeout=SECONDS)
        assert line is not None, "the gateway ended"
        return line

    def stop(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """End it by a signal; its summary."""
        self.process.send_signal(number)
        assert self.process.wait(SECONDS) == 0
        rest: list[str] = []
        while (line := self.lines.get(timeout=SECONDS)) is not None:
            rest.append(line)
        summary = json.loads(rest[-1])
        assert isinstance(summary, dict)
        return summary

    def raise_epoch(self) -> None:
        self.process.send_signal(signal.SIGUSR1)
        assert self.next_line() == "epoch raised"


def start(network: Network, state: Path, prefix: tuple[str, ...] = (), **options: object) -> subprocess.Popen[str]:
    """Start the driver without waiting for it."""
    arguments = json.dumps({"state_directory": str(state), **options})
    command = ["ip", "netns", "exec", network.gateway, *prefix, sys.executable, "-m", "tests.shells.driver", arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@contextmanager
def gateway(network: Network, state: Path, **options: object) -> Iterator[Running]:
    """A running gateway; stopped at the end if the test did not do it."""
    process = start(network, state, **options)
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        ready = lines.get(timeout=SECONDS)
        if ready is None:
            _, complaint = process.communicate(timeout=SECONDS)
            raise AssertionError(f"the gateway did not start: {complaint}")
        yield Running(process, lines, ready)
    finally:
        if process.poll() is None:  # a test failed
            process.terminate()
        process.wait(SECONDS)
        reader.join()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
        process.stderr.close()
        if complaint:
            os.write(2, complaint.encode())


class CommandLine:
    """`middlebox run`, the program as it is, in the gateway's namespace."""

    def __init__(self, network: Network, directory: Path, policy: str, *options: str) -> None:
        directory.mkdir(exist_ok=True)
        self.events_path = directory / "events.jsonl"
        self.control = directory / "control"
        self.policy = directory / "policy.yaml"
        self.policy.write_text(policy)
        command = ["ip", "netns", "exec", network.gateway, sys.executable, "-m", "middlebox", "run", str(self.policy)]
        command += ["--events", str(self.events_path), "--control", str(self.control), *options]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> "CommandLine":
        assert self._process.stderr is not None
        ready = self._process.stderr.readline()
        assert "hook" in ready, ready + self._process.stderr.read()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def stop(self) -> str:
        """End it; what it printed as its summary."""
        if self._process.poll() is not None:
            return ""
        self._process.terminate()
        _, summary = self._process.communicate(timeout=SECONDS)
        assert self._process.returncode == 0, summary
        return summary

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `middlebox status` and the like against it."""
        return subprocess.run(
            [sys.executable, "-m", "middlebox", *command, "--control", str(self.control)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def events(self, event_type: str) -> list[dict[str, Any]]:
        """The events of one type so far."""
        records = [json.loads(line) for line in self.events_path.read_text().splitlines()]
        return [record for record in records if record["event_type"] == event_type]
