"""A run: namespaces, servers, one capture and one list of truths a round.

Rule of this file: whatever happens, nothing of a run is left but its captures, its truth and its summary.
"""

import collections
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from middlebox.lab import topology
from middlebox.lab.hosts import Host, LabError, Patience, Process
from middlebox.lab.install import ORDINARY, find_missing, package_names
from middlebox.lab.keys import write_ssh_key
from middlebox.lab.netns import CLIENT_SIDE, NamespaceDriver
from middlebox.lab.ordinary.certificates import write_chains
from middlebox.lab.ordinary.files import write_files, write_pages
from middlebox.lab.ordinary.plan import Job, client_addresses, make_plan, server_addresses
from middlebox.lab.ordinary.servers import Servers
from middlebox.lab.ordinary.truth import NOISE, list_flows
from middlebox.shells.errors import MachineError

_ROUND_SECONDS = 240.0
_DRAIN_SECONDS = 1.5
"tcpdump hands over what it has once a second."
_DIRECTORIES = ("conf", "data", "fetched", "files", "jobs", "keys", "logs", "pids", "www")
LIBRARIES = (
    "aioquic", "aiortc", "aiosmtpd", "asyncssh", "dns", "httpx", "libtorrent", "msgpack", "paho", "paramiko",
    "pg8000", "pyftpdlib", "pymemcache", "pymysql", "redis", "websockets",
)  # fmt: skip
"What `pip install -e '.[ordinary]'` brings, by the names that Python imports."


@dataclass(slots=True)
class Summary:
    """What a run made.

    Args:
        flows: Flows of each kind.
        seconds: How long the rounds took, without the preparations.
    """

    flows: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0
    bytes: int = 0
    lost: int = 0
    captures: list[str] = field(default_factory=list)
    complaints: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def total(self) -> int:
        """Flows of all kinds."""
        return sum(self.flows.values())


def generate(flows: int, seed: int, out: Path, *, max_bytes: int) -> Summary:
    """Make ordinary traffic and record it.

    Args:
        flows: How many, at least about.
        seed: Decides the plan.
        out: Where captures (`ordinary-NNN.pcap`), `truth.jsonl`, `plan.jsonl` and `summary.json` go.
        max_bytes: No further round is begun once the captures are this large together.

    Raises:
        MachineError: The machine lacks something.
        LabError: A server did not start, or the run was interrupted.
    """
    import importlib.util

    if os.geteuid() != 0:
        raise MachineError("making namespaces needs root", "run it with sudo")
    if missing := find_missing(ORDINARY):
        raise MachineError(
            f"not installed: {package_names(missing)}", f"run `{sys.executable} -m middlebox.lab.install ordinary`"
        )
    if lacking := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise MachineError(
            f"Python lacks {', '.join(lacking)}", f"run `{sys.executable} -m pip install -e '.[ordinary]'`"
        )
    cancelled = threading.Event()
    previous = {number: signal.signal(number, lambda *_: cancelled.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    directory = Path(tempfile.mkdtemp(prefix="middlebox-ordinary-"))
    directory.chmod(0o755)
    driver = NamespaceDriver(Patience(cancelled))
    try:
        return _run(driver, directory, flows, seed, out, max_bytes)
    finally:
        driver.close()
        for host in driver.hosts.values():
            host.reap()
        shutil.rmtree(directory, ignore_errors=True)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(driver: NamespaceDriver, directory: Path, flows: int, seed: int, out: Path, max_bytes: int) -> Summary:
    out.mkdir(parents=True, exist_ok=True)
    rounds = make_plan(flows, seed)
    with (out / "plan.jsonl").open("w", encoding="utf-8") as plan:
        plan.writelines(job.to_json() + "\n" for jobs in rounds for job in jobs)
    _prepare(directory, seed)
    driver.open(directory)
    client, gateway, server = (driver.hosts[name] for name in (topology.CLIENT, topology.GATEWAY, topology.SERVER))
    _add_addresses(client, server)
    Servers(server, sys.executable).start()
    summary = Summary()
    with (out / "truth.jsonl").open("w", encoding="utf-8") as truth:
        for number, jobs in enumerate(rounds):
            started = time.monotonic()
            capture = out / f"ordinary-{number:03}.pcap"
            _one_round(client, gateway, directory, number, jobs, capture, summary)
            summary.seconds += time.monotonic() - started
            listed = list_flows(capture, server_addresses())
            truth.writelines(flow.to_json(capture.name) + "\n" for flow in listed)
            truth.flush()
            summary.flows.update(flow.label for flow in listed)
            summary.bytes += capture.stat().st_size
            summary.captures.append(capture.name)
            made = summary.total - summary.flows[NOISE]
            print(
                f"round {number + 1} of {len(rounds)}: {len(listed)} flows, {made} so far, "
                f"{summary.bytes / 1e6:.0f} MB, {summary.seconds:.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            if summary.bytes >= max_bytes:
                print(f"the captures have reached {max_bytes} bytes; no further round", file=sys.stderr)
                break
    (out / "summary.json").write_text(
        json.dumps(
            {
                "flows": dict(summary.flows.most_common()), "total": summary.total, "seed": seed,
                "seconds": round(summary.seconds, 1), "bytes": summary.bytes, "lost_packets": summary.lost,
                "captures": summary.captures, "jobs_ended_early": dict(summary.complaints),
            },
            indent=1,
        )
    )  # fmt: skip
    return summary


def _prepare(directory: Path, seed: int) -> None:
    for name in _DIRECTORIES:
        (directory / name).mkdir()
    keys = directory / "keys"
    write_chains(keys, seed)
    write_ssh_key(keys / "ssh_host")
    (keys / "authorized_keys").write_text(write_ssh_key(keys / "ssh_client") + "\n")
    write_pages(directory / "www", seed)
    write_files(directory / "files", seed)


def _add_addresses(client: Host, server: Host) -> None:
    for host, addresses in ((client, client_addresses()), (server, list(server_addresses()))):
        commands = "".join(f"address add {address}/32 dev lab0\n" for address in addresses)
        batch = host.outside / "conf" / f"{host.name}.addresses"
        batch.write_text(commands, encoding="utf-8")
        host.must("ip", "-batch", f"{host.inside}/conf/{host.name}.addresses")
        host.must("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
        host.must("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")


def _one_round(
    client: Host, gateway: Host, directory: Path, number: int, jobs: list[Job], capture: Path, summary: Summary
) -> None:
    listing = directory / "jobs" / f"{number}.jsonl"
    listing.write_text("".join(job.to_json() + "\n" for job in jobs), encoding="utf-8")
    recording = gateway.start(
        f"tcpdump-{number}", "tcpdump", "-i", CLIENT_SIDE, "-n", "-s", "0", "-B", "65536", "-Z", "root", "-w",
        str(capture), "ip",
    )  # fmt: skip
    recording.wait_ready(lambda: "listening on" in recording.log(), "tcpdump")
    working = client.start(
        f"clients-{number}", client.python, "-m", "middlebox.lab.ordinary.clients", str(directory), str(listing)
    )
    finished = client.patience.holds(lambda: not working.is_running(), _ROUND_SECONDS)
    if finished is None:
        summary.complaints[f"round {number}: out of time"] += 1
        working.stop()
    for line in working.log().splitlines():
        print(f"  {line}", file=sys.stderr)
        kind, _, rest = line.partition(": ")
        if rest.split(" ")[0].isdigit():
            summary.complaints[kind] += int(rest.split(" ")[0])
    client.patience.cancelled.wait(_DRAIN_SECONDS)
    _end(recording, summary)


def _end(recording: Process, summary: Summary) -> None:
    recording.stop()
    for line in recording.log().splitlines():
        if "dropped by kernel" in line:
            summary.lost += int(line.split()[0])
    if recording.host.patience.cancelled.is_set():
        raise LabError("interrupted")
