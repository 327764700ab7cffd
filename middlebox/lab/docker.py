"""The lab in Docker containers: `lab/compose.yaml`, driven.

Rule of this file: what it starts is taken down by a guard process that waits for our end, so that even after
`kill -9` no container, network or engine of ours stays. What killed guards leave is removed at the next start.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from middlebox.lab import topology
from middlebox.lab.hosts import Host, LabError, NotInTimeError, Patience
from middlebox.lab.images import build_images
from middlebox.shells.errors import MachineError

COMPOSE_FILE = Path(__file__).resolve().parents[2] / "lab" / "compose.yaml"
PROJECT_NAME = "middlebox-lab"
"One name for all runs: the lab's addresses can exist only once on a machine."
INSIDE = "/lab/run"
"Where compose.yaml puts the run's directory."

LOCK = Path("/run/lock/middlebox-lab-docker")
ENGINE_LOG = Path("/run/middlebox-lab-dockerd.log")

# An engine that we start ourselves leaves the machine's firewall alone: the lab needs no masquerade, and rules that an
# engine makes stay behind when it ends.
_ENGINE_OPTIONS = (
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--bridge=none",
    "--shutdown-timeout=2",
)
_MODULES = ("nf_conntrack", "nf_conntrack_netlink", "nfnetlink_queue", "tun")
_ENGINE_SECONDS = 60.0
_LOCK_SECONDS = 120.0
_NETWORK_SECONDS = 20.0
_CLOSE_SECONDS = 60.0

# $1: where an engine that we start writes its log, or nothing; then, up to `--`, the command that takes containers
# and networks down; then the command that starts the engine. The guard does its work when its input closes.
_GUARD = r"""
log=$1; shift
down=; while [ "$1" != -- ]; do down="$down '$1'"; shift; done; shift
engine=
if [ -n "$log" ]; then "$@" > "$log" 2>&1 < /dev/null & engine=$!; fi
cat > /dev/null
eval "$down" > /dev/null 2>&1
if [ -n "$engine" ]; then kill "$engine"; wait "$engine"; rm -f "$log"; fi
"""

_INSTALL_HINT = f"run `{sys.executable} -m middlebox.lab.install docker`"


class DockerDriver:
    """Client, gateway and server as containers on two bridge networks."""

    name = "docker"

    def __init__(self, patience: Patience, say: Callable[[str], None]) -> None:
        self._patience = patience
        self._say = say
        self._docker = ""
        self._compose: tuple[str, ...] = ()
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self.hosts: dict[str, Host] = {}

    def prepare(self) -> None:
        """Find or start an engine, remove what a killed run left, build the images."""
        if os.geteuid() != 0:
            raise MachineError("the lab reads what its containers write, which needs root", "run it with sudo")
        client = _find_client()
        if client is None:
            raise MachineError("there is no docker command", _INSTALL_HINT)
        self._docker = client
        self._compose = _find_compose(client)
        # Containers may not load modules, and without the first of these the gateway's sysctl does not exist.
        if shutil.which("modprobe"):
            subprocess.run(["modprobe", "--quiet", "--all", *_MODULES], capture_output=True, check=False)
        self._lock = self._take_lock()
        self._start_guard()
        if self._containers():
            self._say("removing what an interrupted run left")
            self._run_compose("down", "--timeout", "0", "--volumes", "--remove-orphans")
        build_images(self._docker, self._compose_command(), COMPOSE_FILE, self._say)

    def inside(self, directory: Path) -> str:
        """The run's directory as programs see it: always the same."""
        return INSIDE

    def open(self, directory: Path) -> None:
        """Start the containers."""
        self._say("starting containers")
        done = self._run_compose("up", "--detach", "--no-build", run_directory=directory)
        if done.returncode != 0:
            complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if "overlaps" in done.stderr:
                complaint += "; is a lab running that was started by hand? docker-compose -f lab/compose.yaml down"
            raise LabError(f"cannot start the containers: {complaint}")
        for name in (topology.CLIENT, topology.GATEWAY, topology.SERVER):
            containers = self._containers(name)
            if len(containers) != 1:
                raise LabError(f"found {len(containers)} containers of {name}, expected one")
            prefix = (self._docker, "exec", containers[0])
            host = Host(name, prefix, directory, INSIDE, "python3", self._patience)
            self.hosts[name] = host
            # IPv6 addresses take a second or two to be usable: duplicate address detection (RFC 4862, 5.4).
            script = 'test -e /run/lab-network-ready && test -z "$(ip -6 address show tentative)"'
            self._patience.until(
                lambda host=host, script=script: host.succeeds("sh", "-c", script),  # type: ignore[misc]
                f"{name} to have its network",
                _NETWORK_SECONDS,
            )

    def close(self) -> None:
        """Let the guard take everything down, and wait for it."""
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            try:
                guard.wait(_CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._say("Docker is slow to take the lab down; it goes on in the background")
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> int:
        LOCK.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def is_ours() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True

        try:
            self._patience.until(is_ours, "another lab in Docker to end", _LOCK_SECONDS)
        except NotInTimeError as error:
            os.close(lock)
            raise MachineError(str(error), "end it, or use --driver netns") from None
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _start_guard(self) -> None:
        """Start the guard, and with it an engine where none answers."""
        start_engine = not _answers(self._docker)
        engine = shutil.which("dockerd") or ""
        if start_engine:
            if not engine:
                raise MachineError("no Docker engine answers and none is installed", _INSTALL_HINT)
            self._say("starting a Docker engine")
        down = (*self._compose_command(), "down", "--timeout", "0", "--volumes", "--remove-orphans")
        assert self._lock is not None
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "lab-guard", str(ENGINE_LOG) if start_engine else "", *down, "--",
             engine, *_ENGINE_OPTIONS],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[self._lock],  # the lab is free for the next run when the guard has done its work
            cwd="/",
        )  # fmt: skip
        if start_engine:
            try:
                self._patience.until(lambda: _answers(self._docker), "the Docker engine to start", _ENGINE_SECONDS)
            except NotInTimeError as error:
                lines = ENGINE_LOG.read_text(errors="replace").strip().splitlines() if ENGINE_LOG.exists() else []
                raise MachineError(f"{error}: {lines[-1] if lines else 'no message'}", "use --driver netns") from None

    def _compose_command(self) -> tuple[str, ...]:
        return (*self._compose, "--project-name", PROJECT_NAME, "--file", str(COMPOSE_FILE))

    def _run_compose(self, *arguments: str, run_directory: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LAB_BY_HAND": "no"}
        if run_directory is not None:
            environment["LAB_RUN"] = str(run_directory)
        return subprocess.run(
            [*self._compose_command(), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
            start_new_session=True,
        )  # fmt: skip

    def _containers(self, service: str | None = None) -> list[str]:
        filters = ["--filter", f"label=com.docker.compose.project={PROJECT_NAME}"]
        if service is not None:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        command = [self._docker, "ps", "--all", "--quiet", *filters]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def docker_is_possible() -> bool:
    """Whether an engine answers, or is installed so that we can start it."""
    client = _find_client()
    return client is not None and (shutil.which("dockerd") is not None or _answers(client))


def _find_client() -> str | None:
    """The docker command: where several are installed, the first that an engine answers."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [path for directory in directories if (path := shutil.which("docker", path=directory))]
    return next((path for path in found if _answers(path)), found[0] if found else None)


def _answers(client: str) -> bool:
    try:
        done = subprocess.run([client, "version"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _find_compose(client: str) -> tuple[str, ...]:
    """`docker compose` where that plugin exists, else `docker-compose`."""
    if subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return (client, "compose")
    if program := shutil.which("docker-compose"):
        return (program,)
    raise MachineError("there is neither `docker compose` nor docker-compose", _INSTALL_HINT)
