"""The servers that the lab can run: real programs, each with the smallest honest configuration.

Rule of this file: a service has started when its socket waits for packets, and `stop` leaves nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from middlebox.lab import topology
from middlebox.lab.hosts import Host, LabError, Process
from middlebox.lab.lab import Lab
from middlebox.lab.scenario import (
    AioquicServer,
    Dnsmasq,
    Nginx,
    OpenvpnServer,
    Sshd,
    TunnelService,
    WireguardServer,
    endpoints,
)
from middlebox.lab.topology import Family

_START_SECONDS = 20.0
HTTP3 = ("-m", "middlebox.lab.http3")
"Python's arguments for the lab's HTTP/3 program."
_WIREGUARD_MTU = 1420
"What wg-quick sets: 1500 less the headers of IPv6, UDP and WireGuard."


@dataclass(slots=True)
class Running:
    """Something that was started, and how to end it again."""

    name: str
    processes: list[Process] = field(default_factory=list)
    clean_ups: list[Callable[[], object]] = field(default_factory=list)

    def stop(self) -> None:
        """End its processes, last started first, then undo the rest."""
        for process in reversed(self.processes):
            process.stop()
        for clean_up in reversed(self.clean_ups):
            clean_up()
        self.processes.clear()
        self.clean_ups.clear()


def start_service(lab: Lab, name: str, tag: str) -> Running:
    """Start the service `name` on the server and wait until its sockets are open.

    Args:
        lab: Where.
        name: The service's name in the scenario.
        tag: Distinguishes logs and interfaces of several starts of the same service.
    """
    service = lab.scenario.services[name]
    label = f"{tag}-{name}"
    match service:
        case Nginx():
            process = _start_nginx(lab, name, label, service)
        case AioquicServer():
            process = _start_aioquic(lab, label, service)
        case Dnsmasq():
            process = _start_dnsmasq(lab, label, service)
        case Sshd():
            process = _start_sshd(lab, name, label, service)
        case OpenvpnServer():
            process = _start_openvpn(lab, name, label, service)
        case WireguardServer():
            return _start_wireguard(lab, name, label, service)
    running = Running(name, [process])
    for _, transport, port in endpoints(service):
        _wait_for_port(lab.server, process, transport, port)
    return running


def start_payload(lab: Lab) -> Running | None:
    """Start the web server that answers at the far end of every tunnel; None where there is no tunnel."""
    if not any(isinstance(service, TunnelService) for service in lab.scenario.services.values()):
        return None
    site = f"server {{ listen {topology.PAYLOAD_PORT}; root {lab.files.at('www')}; }}"
    process = _run_nginx(lab, "payload", "payload", site)
    _wait_for_port(lab.server, process, "tcp", topology.PAYLOAD_PORT)
    return Running("payload", [process])


def _wait_for_port(host: Host, process: Process, transport: str, port: int) -> None:
    process.wait_ready(
        lambda: host.listens(transport, port), f"{process.name} to open {transport} port {port}", _START_SECONDS
    )


def _start_nginx(lab: Lab, name: str, label: str, service: Nginx) -> Process:
    addresses = topology.SERVER_ADDRESSES
    site = f"""
    server {{
        listen {addresses.ipv4}:{service.port} ssl http2;
        listen [{addresses.ipv6}]:{service.port} ssl http2;
        server_name {" ".join(service.names)};
        ssl_certificate {lab.files.at("keys/server.crt")};
        ssl_certificate_key {lab.files.at("keys/server.key")};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {lab.files.at("www")};
        # What the server saw of the client; the client's own word would prove less.
        location = /seen {{ default_type text/plain; return 200 "$ssl_protocol $server_protocol $ssl_server_name"; }}
    }}"""
    return _run_nginx(lab, name, label, site)


def _run_nginx(lab: Lab, name: str, label: str, sites: str) -> Process:
    temporary = lab.files.at("nginx")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {temporary}/{name}-{kind};\n" for kind in kinds)
    configuration = lab.files.write(
        f"conf/{name}.nginx",
        f"daemon off;\nuser root;\nworker_processes 1;\npid {temporary}/{name}.pid;\nerror_log stderr;\n"
        f"events {{}}\nhttp {{\n    access_log off;\n{paths}{sites}\n}}\n",
    )
    return lab.server.start(label, "nginx", "-e", "stderr", "-c", configuration)


def _start_aioquic(lab: Lab, label: str, service: AioquicServer) -> Process:
    return lab.server.start(
        label,
        lab.server.python,
        *HTTP3,
        "serve",
        str(service.port),
        lab.files.at("keys/server.crt"),
        lab.files.at("keys/server.key"),
        lab.files.at("www"),
        topology.SERVER_ADDRESSES.ipv4,
        topology.SERVER_ADDRESSES.ipv6,
    )


def _start_dnsmasq(lab: Lab, label: str, service: Dnsmasq) -> Process:
    addresses = [topology.SERVER_ADDRESSES.of(family) for family in Family]
    return lab.server.start(
        label,
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--user=root",
        "--group=root",
        "--pid-file=",
        "--log-facility=-",
        f"--port={service.port}",
        *(f"--listen-address={address}" for address in addresses),
        *(f"--host-record={name},{','.join(addresses)}" for name in service.names),
    )


def _start_sshd(lab: Lab, name: str, label: str, service: Sshd) -> Process:
    addresses = topology.SERVER_ADDRESSES
    configuration = lab.files.write(
        f"conf/{name}.sshd",
        f"Port {service.port}\nListenAddress {addresses.ipv4}\nListenAddress {addresses.ipv6}\n"
        f"HostKey {lab.files.at('keys/ssh_host')}\nAuthorizedKeysFile {lab.files.at('keys/authorized_keys')}\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "StrictModes no\nUsePAM no\nUseDNS no\nPidFile none\n",
    )
    lab.server.must("mkdir", "-p", "/run/sshd")
    return lab.server.start(label, "/usr/sbin/sshd", "-D", "-e", "-f", configuration)


def _start_openvpn(lab: Lab, name: str, label: str, service: OpenvpnServer) -> Process:
    tunnel = lab.tunnel(name).network
    suffix = "6" if service.family == "ipv6" else "4"
    mode = "-server" if service.transport == "tcp" else ""
    configuration = lab.files.write(
        f"conf/{name}.server.ovpn",
        f"dev ovpns{lab.scenario.tunnel_number(name)}\ndev-type tun\n"
        f"proto {service.transport}{suffix}{mode}\n"
        f"local {topology.SERVER_ADDRESSES.of(Family(service.family))}\nport {service.port}\n"
        f"ca {lab.files.at('keys/ca.crt')}\ncert {lab.files.at('keys/server.crt')}\n"
        f"key {lab.files.at('keys/server.key')}\ndh none\n"
        f"topology subnet\nserver {tunnel.network_address} {tunnel.netmask}\nkeepalive 10 60\nverb 3\n",
    )
    return lab.server.start(label, "openvpn", "--config", configuration)


def _start_wireguard(lab: Lab, name: str, label: str, service: WireguardServer) -> Running:
    keys = lab.files.wireguard[name]
    tunnel = lab.tunnel(name)
    interface = f"wgs{lab.scenario.tunnel_number(name)}"
    running = open_wireguard(
        lab.server, label, interface, f"{tunnel.server}/{topology.TUNNEL_PREFIX_LENGTH}",
        private_key=lab.files.write(f"keys/{name}.server", keys.server.private),
        settings=["listen-port", str(service.port), "peer", keys.client.public, "allowed-ips", f"{tunnel.client}/32"],
    )  # fmt: skip
    lab.server.patience.until(
        lambda: lab.server.listens("udp", service.port), f"{name} to open UDP port {service.port}", _START_SECONDS
    )
    return running


def open_wireguard(
    host: Host, label: str, interface: str, address: str, *, private_key: str, settings: list[str]
) -> Running:
    """Make a WireGuard interface, with the kernel's WireGuard where there is one, else with wireguard-go.

    Args:
        host: Where.
        label: Name of the process, if there is one.
        interface: Name of the interface.
        address: Its address and prefix length.
        private_key: Path of the private key, as programs see it.
        settings: What follows on `wg set`.
    """
    running = Running(label)
    if host.succeeds("ip", "link", "add", interface, "type", "wireguard"):
        running.clean_ups.append(lambda: host.run("ip", "link", "delete", interface))
    else:
        process = host.start(label, "wireguard-go", "-f", interface)
        running.processes.append(process)
        process.wait_ready(
            lambda: host.succeeds("wg", "show", interface), f"wireguard-go to make {interface}", _START_SECONDS
        )
    try:
        host.must("wg", "set", interface, "private-key", private_key, *settings)
        host.must("ip", "address", "add", address, "dev", interface)
        host.must("ip", "link", "set", interface, "mtu", str(_WIREGUARD_MTU), "up")
    except LabError:
        running.stop()
        raise
    return running
