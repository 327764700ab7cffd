"""What the client can do: real programs, each tried until it succeeds, is refused, or its time is up.

Rule of this file: a client reports what its user would have noticed. Whether that is right is judged elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from middlebox.lab import topology
from middlebox.lab.hosts import Completed
from middlebox.lab.lab import Lab
from middlebox.lab.scenario import (
    AioquicClient,
    Curl,
    Dig,
    OpenvpnClient,
    OpenvpnServer,
    Ssh,
    Step,
    WireguardClient,
    WireguardServer,
)
from middlebox.lab.services import HTTP3, Running, open_wireguard
from middlebox.lab.topology import SERVER_ADDRESSES, Family

_FETCH_SECONDS = 20.0
"For the payload, once a tunnel is up."
_PORTS_PER_STEP = 100
_FIRST_PORT = {"control": 10_000, "policy": 20_000}
"Source ports by phase. Below 32768, where Linux begins to hand them out by itself."

_CURL_CONNECT_FAILED, _CURL_TLS_FAILED, _CURL_RECEIVE_FAILED = 7, 35, 56
"Exit statuses of curl that may stand for a reset; its message says which it was."
_COMPLETED = "Initialization Sequence Completed"
"What OpenVPN prints when its tunnel is up."


class Noticed(Enum):
    """What the client's user noticed."""

    PASSED = "passed"
    REFUSED = "refused"
    "No answer within the time, or a refusal."
    RESET = "reset"
    "The connection was reset."
    BROKEN = "broken"
    "An answer came and was wrong."


@dataclass(slots=True, frozen=True)
class Attempt:
    """What came of one try."""

    noticed: Noticed
    detail: str
    "In words, for the report."
    seconds: float
    "Until success, refusal or reset was certain."
    ports: tuple[int, ...] = ()
    "Source ports that the client used; empty where the program cannot be told which to use."


def source_port(step_number: int, phase: str) -> int:
    """The first source port of a step. Each step of each phase has its own, so that its flows can be told apart."""
    return _FIRST_PORT[phase] + step_number * _PORTS_PER_STEP


def attempt(lab: Lab, step: Step, number: int, phase: str, seconds: float) -> Attempt:
    """Let the client do what the step says, for at most `seconds`."""
    port = source_port(number, phase)
    label = f"{phase}-{step.step}"
    match step.client:
        case Curl() as client:
            return _curl(lab, client, label, port, seconds)
        case AioquicClient() as client:
            return _aioquic(lab, client, label, port, seconds)
        case Dig() as client:
            return _dig(lab, client, port, seconds)
        case Ssh() as client:
            return _ssh(lab, client, seconds)
        case OpenvpnClient() as client:
            return _openvpn(lab, client, label, port, seconds)
        case WireguardClient() as client:
            return _wireguard(lab, client, label, port, seconds)


def _curl(lab: Lab, client: Curl, label: str, port: int, seconds: float) -> Attempt:
    address = SERVER_ADDRESSES.of(Family(client.family))
    shown = f"[{address}]" if client.family == "ipv6" else address
    service_port = lab.scenario.services[client.service].port
    site = f"https://{client.name}:{service_port}"
    body, seen = f"fetched/{label}.bin", f"fetched/{label}.seen"
    http = {"1.1": "--http1.1", "2": "--http2"}[client.http]
    started = monotonic()
    done = lab.client.run(
        "curl", "--silent", "--show-error", "--fail", "--fail-early",
        http, f"--tlsv{client.tls}", "--tls-max", client.tls, "--cacert", lab.files.at("keys/ca.crt"),
        "--resolve", f"{client.name}:{service_port}:{shown}",
        "--local-port", f"{port}-{port + _PORTS_PER_STEP - 1}",
        "--output", lab.files.at(body), f"{site}/{client.kilobytes}k.bin",
        "--output", lab.files.at(seen), f"{site}/seen",
        seconds=seconds,
    )  # fmt: skip
    ports = tuple(range(port, port + _PORTS_PER_STEP))
    if done.status != 0:
        failures = (_CURL_CONNECT_FAILED, _CURL_TLS_FAILED, _CURL_RECEIVE_FAILED)
        return _failure(done, monotonic() - started, ports, was_reset=done.status in failures)
    expected = f"TLSv{client.tls} HTTP/{'2.0' if client.http == '2' else client.http} {client.name}"
    actual = (lab.files.path / seen).read_text()
    if actual != expected:
        return Attempt(Noticed.BROKEN, f"the server saw {actual}, not {expected}", monotonic() - started, ports)
    return _checked(lab, body, client.kilobytes, f"{client.kilobytes} kB; server saw {actual}", started, ports)


def _aioquic(lab: Lab, client: AioquicClient, label: str, port: int, seconds: float) -> Attempt:
    body = f"fetched/{label}.bin"
    started = monotonic()
    done = lab.client.run(
        lab.client.python, *HTTP3, "fetch", SERVER_ADDRESSES.of(Family(client.family)),
        str(lab.scenario.services[client.service].port), str(port), lab.files.at("keys/ca.crt"),
        client.name, f"/{client.kilobytes}k.bin", lab.files.at(body),
        seconds=seconds,
    )  # fmt: skip
    if done.status != 0:
        return _failure(done, monotonic() - started, (port,), was_reset=False)
    return _checked(lab, body, client.kilobytes, f"{client.kilobytes} kB over HTTP/3", started, (port,))


def _dig(lab: Lab, client: Dig, port: int, seconds: float) -> Attempt:
    family = Family(client.family)
    source = f"{topology.CLIENT_ADDRESSES.of(family)}#{port}"
    expected = SERVER_ADDRESSES.of(family)
    started = monotonic()
    done = lab.client.run(
        "dig", f"@{expected}", "-p", str(lab.scenario.services[client.service].port), "-b", source,
        "+short", "+tries=1", f"+time={max(1, round(seconds))}", "+tcp" if client.transport == "tcp" else "+notcp",
        client.name, "A" if family is Family.IPV4 else "AAAA",
        seconds=seconds + 1,
    )  # fmt: skip
    taken = monotonic() - started
    answer = done.output.strip()
    if answer == expected:
        return Attempt(Noticed.PASSED, f"{client.name} is {answer}", taken, (port,))
    if done.status != 0 or answer.startswith(";;"):
        return _failure(done, taken, (port,), was_reset=client.transport == "tcp")
    return Attempt(Noticed.BROKEN, f"the answer was {answer or 'empty'}, not {expected}", taken, (port,))


def _ssh(lab: Lab, client: Ssh, seconds: float) -> Attempt:
    kilobytes = min(lab.files.digests)
    started = monotonic()
    done = lab.client.run(
        "ssh", "-F", "none", "-i", lab.files.at("keys/ssh_client"),
        "-p", str(lab.scenario.services[client.service].port), "-o", "BatchMode=yes",
        "-o", f"UserKnownHostsFile={lab.files.at('keys/known_hosts')}", "-o", "StrictHostKeyChecking=yes",
        "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={max(1, round(seconds))}",
        f"root@{SERVER_ADDRESSES.of(Family(client.family))}", "sha256sum", lab.files.at(f"www/{kilobytes}k.bin"),
        seconds=seconds,
    )  # fmt: skip
    taken = monotonic() - started
    if done.status != 0:
        return _failure(done, taken, (), was_reset=True)
    if done.output.split()[:1] != [lab.files.digests[kilobytes]]:
        return Attempt(Noticed.BROKEN, "the command's output is wrong", taken)
    return Attempt(Noticed.PASSED, "a command ran and its output is right", taken)


def _openvpn(lab: Lab, client: OpenvpnClient, label: str, port: int, seconds: float) -> Attempt:
    service = lab.scenario.services[client.service]
    assert isinstance(service, OpenvpnServer)
    suffix = "6" if service.family == "ipv6" else "4"
    mode = "-client" if service.transport == "tcp" else ""
    configuration = lab.files.write(
        f"conf/{label}.client.ovpn",
        f"client\ndev ovpnc{lab.scenario.tunnel_number(client.service)}\ndev-type tun\n"
        f"proto {service.transport}{suffix}{mode}\n"
        f"remote {SERVER_ADDRESSES.of(Family(service.family))} {service.port}\nlport {port}\n"
        f"ca {lab.files.at('keys/ca.crt')}\ncert {lab.files.at('keys/client.crt')}\n"
        f"key {lab.files.at('keys/client.key')}\nremote-cert-tls server\nconnect-retry 1 2\nverb 3\n",
    )
    process = lab.client.start(f"{label}-client", "openvpn", "--config", configuration)
    running = Running(label, [process])
    try:
        return _through_tunnel(
            lab, client.service, label, client.kilobytes, (port,), seconds,
            is_up=lambda: _COMPLETED in process.log(),
            up="OpenVPN reports its tunnel up",
            down=lambda: f"OpenVPN never reported its tunnel up; last: {_last_remark(process.log())}",
        )  # fmt: skip
    finally:
        running.stop()


def _last_remark(log: str) -> str:
    """The last line of OpenVPN's log without its time stamp."""
    line = (log.strip().splitlines() or ["nothing"])[-1]
    return line[20:] if line[4:5] == "-" else line


def _wireguard(lab: Lab, client: WireguardClient, label: str, port: int, seconds: float) -> Attempt:
    service = lab.scenario.services[client.service]
    assert isinstance(service, WireguardServer)
    keys = lab.files.wireguard[client.service]
    tunnel = lab.tunnel(client.service)
    interface = f"wgc{lab.scenario.tunnel_number(client.service)}"
    address = SERVER_ADDRESSES.of(Family(service.family))
    shown = f"[{address}]" if service.family == "ipv6" else address
    running = open_wireguard(
        lab.client, f"{label}-client", interface, f"{tunnel.client}/{topology.TUNNEL_PREFIX_LENGTH}",
        private_key=lab.files.write(f"keys/{label}.client", keys.client.private),
        # The keepalive makes WireGuard open the tunnel by itself.
        settings=["listen-port", str(port), "peer", keys.server.public, "endpoint", f"{shown}:{service.port}",
                  "allowed-ips", f"{tunnel.network}", "persistent-keepalive", "1"],
    )  # fmt: skip

    def has_shaken_hands() -> bool:
        # One line a peer: public key, tab, seconds since the epoch or 0.
        return not lab.client.must("wg", "show", interface, "latest-handshakes").rstrip().endswith("\t0")

    try:
        return _through_tunnel(
            lab, client.service, label, client.kilobytes, (port,), seconds,
            is_up=has_shaken_hands,
            up="WireGuard reports a handshake",
            down=lambda: "WireGuard never reported a handshake",
        )  # fmt: skip
    finally:
        running.stop()


def _through_tunnel(
    lab: Lab,
    service: str,
    label: str,
    kilobytes: int,
    ports: tuple[int, ...],
    seconds: float,
    *,
    is_up: Callable[[], bool],
    up: str,
    down: Callable[[], str],
) -> Attempt:
    """Wait for the tunnel, then fetch through it from an address that exists nowhere else."""
    started = monotonic()
    taken = lab.client.patience.holds(is_up, seconds)
    if taken is None:
        return Attempt(Noticed.REFUSED, f"{down()} ({seconds:.0f} s)", monotonic() - started, ports)
    body = f"fetched/{label}.bin"
    target = f"http://{lab.tunnel(service).server}:{topology.PAYLOAD_PORT}/{kilobytes}k.bin"
    done = lab.client.run(
        "curl", "--silent", "--show-error", "--fail", "--output", lab.files.at(body), target, seconds=_FETCH_SECONDS
    )
    if done.status != 0:
        detail = f"{up}, but nothing came through it: {_complaint(done)}"
        return Attempt(Noticed.BROKEN, detail, monotonic() - started, ports)
    return _checked(lab, body, kilobytes, f"up after {taken:.1f} s; {kilobytes} kB through it", started, ports)


def _checked(lab: Lab, body: str, kilobytes: int, detail: str, started: float, ports: tuple[int, ...]) -> Attempt:
    taken = monotonic() - started
    if not lab.files.fetched_matches(body, kilobytes):
        return Attempt(Noticed.BROKEN, "what was fetched is not what the server has", taken, ports)
    return Attempt(Noticed.PASSED, f"{detail}, SHA-256 right", taken, ports)


def _failure(done: Completed, seconds: float, ports: tuple[int, ...], *, was_reset: bool) -> Attempt:
    """A program that ended with an error. `was_reset` says whether its error may stand for a reset at all."""
    complaint = _complaint(done)
    reset = was_reset and "reset" in complaint.lower()
    return Attempt(Noticed.RESET if reset else Noticed.REFUSED, complaint, seconds, ports)


def _complaint(done: Completed) -> str:
    lines = (done.errors.strip() or done.output.strip()).splitlines()
    return lines[-1] if lines else f"no answer (status {done.status})"
