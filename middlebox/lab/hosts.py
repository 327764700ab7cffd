"""Running programs on the lab's hosts, and waiting for them.

Rule of this file: every command and every wait has a limit, and says what it waited for when it gives up.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_GRACE_SECONDS = 5.0
"How long a program may take to end after SIGTERM before it is killed."
_START_SECONDS = 15.0
"How long a host may take to begin a program."
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
"Between two looks at a condition. Each look may cost a `docker exec`, so they become rarer."

_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"

TIMED_OUT = 124
"Exit status of coreutils' `timeout` when it had to end the program."


def environment() -> dict[str, str]:
    """What programs inherit: untranslated messages, and system programs found also where the user's path lacks them."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_DIRECTORIES}"
    return os.environ | {"PATH": path, "LC_ALL": "C.UTF-8"}


class LabError(Exception):
    """The lab itself is broken, so nothing can be said about the policy. One line."""


class NotInTimeError(LabError):
    """A wait that reached its limit."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"waited {seconds:.0f} s in vain for {what}")


class CancelledError(LabError):
    """The run was interrupted."""

    def __init__(self) -> None:
        super().__init__("interrupted")


@dataclass(slots=True, frozen=True)
class Completed:
    """A command that has ended."""

    status: int
    output: str
    errors: str


@dataclass(slots=True)
class Patience:
    """Waiting that ends early when the run is interrupted."""

    cancelled: threading.Event

    def holds(self, condition: Callable[[], bool], seconds: float) -> float | None:
        """Look until `condition` holds, at most `seconds`. The seconds it took, or None."""
        started = time.monotonic()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self.cancelled.is_set():
                raise CancelledError
            if condition():
                return time.monotonic() - started
            left = started + seconds - time.monotonic()
            if left <= 0:
                return None
            self.cancelled.wait(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def until(self, condition: Callable[[], bool], what: str, seconds: float) -> float:
        """As `holds`, for what must hold.

        Raises:
            NotInTimeError: It did not, within `seconds`.
        """
        taken = self.holds(condition, seconds)
        if taken is None:
            raise NotInTimeError(what, seconds)
        return taken


@dataclass(slots=True, frozen=True)
class Host:
    """One of the lab's hosts.

    Args:
        name: Its name in messages.
        prefix: What stands before a command so that it runs on this host.
        outside: The run's directory as this process sees it.
        inside: The same directory as the host's programs see it.
        python: A Python on this host that has this package.
        patience: Ends waits when the run is interrupted.
    """

    name: str
    prefix: tuple[str, ...]
    outside: Path
    inside: str
    python: str
    patience: Patience
    started: list["Process"] = field(default_factory=list, compare=False)
    "Every program that was started here."

    def run(self, *command: str, seconds: float = 10.0) -> Completed:
        """Run a command to its end. Its limit is enforced on the host itself, so it leaves nothing running there."""
        limited = (*self.prefix, "timeout", "--kill-after=1", f"{seconds:.3f}", *command)
        try:
            done = subprocess.run(
                limited,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + _START_SECONDS,
                check=False,
                env=environment(),
                start_new_session=True,  # Ctrl-C reaches us alone; we end what we started
            )
        except subprocess.TimeoutExpired:
            return Completed(TIMED_OUT, "", f"{self.name} did not run {command[0]}")
        return Completed(done.returncode, done.stdout, done.stderr)

    def must(self, *command: str, seconds: float = 10.0) -> str:
        """Run a command that has to succeed; return what it printed.

        Raises:
            LabError: It did not succeed.
        """
        done = self.run(*command, seconds=seconds)
        if done.status != 0:
            complaint = (done.errors or done.output).strip().splitlines() or ["no message"]
            raise LabError(f"{self.name}: {' '.join(command)}: status {done.status}: {complaint[-1]}")
        return done.output

    def succeeds(self, *command: str, seconds: float = 10.0) -> bool:
        """Whether a command ends with status 0."""
        return self.run(*command, seconds=seconds).status == 0

    def start(self, name: str, *command: str) -> "Process":
        """Start a program that runs until it is stopped. `name` is unique in the run; its output goes to a log."""
        log = self.outside / "logs" / f"{name}.log"
        pid_file = f"pids/{name}"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*self.prefix, "sh", "-c", 'echo $$ > "$0" && exec "$@"', f"{self.inside}/{pid_file}", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )
        process = Process(self, name, popen, self.outside / pid_file, log)
        self.started.append(process)
        return process

    def reap(self) -> None:
        """After the host is gone: take notice of the end of everything started on it."""
        for process in self.started:
            process.popen.wait()

    def listens(self, transport: str, port: int) -> bool:
        """Whether a program on this host waits for that port."""
        done = self.run("ss", "-H", "-l", "-n", f"--{transport}", f"sport = :{port}")
        return bool(done.output.strip())


@dataclass(slots=True)
class Process:
    """A program that runs on a host."""

    host: Host
    name: str
    popen: subprocess.Popen[bytes]
    pid_file: Path
    log_file: Path

    def log(self) -> str:
        """What it has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """The last line it printed, for messages."""
        lines = self.log().strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def wait_ready(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Wait until it is ready.

        Raises:
            LabError: It ended instead, or did not get ready in time.
        """

        def ready_or_ended() -> bool:
            return not self.is_running() or condition()

        try:
            self.host.patience.until(ready_or_ended, what, seconds)
        except NotInTimeError as error:
            raise LabError(f"{error}; {self.name} said: {self.last_words()}") from None
        if not self.is_running():
            raise LabError(f"{self.name} ended with status {self.popen.returncode}: {self.last_words()}")

    def stop(self) -> int | None:
        """End it, politely first. Its exit status, or None if it had to be killed."""
        if self._signal("TERM"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.popen.wait(_GRACE_SECONDS)
        elif self.popen.poll() is not None:
            return self.popen.returncode
        self._signal("KILL")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(_GRACE_SECONDS)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        return None

    def _signal(self, name: str) -> bool:
        # The signal goes to the process id that the program has on its host: what we started here is only the
        # door to it (nsenter, docker exec), and such doors do not pass signals on.
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return False
        if self.popen.poll() is not None:
            return False
        done = subprocess.run(
            [*self.host.prefix, "kill", f"-{name}", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            check=False,
            env=environment(),
            start_new_session=True,
        )
        return done.returncode == 0
