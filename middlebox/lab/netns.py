"""The lab in network namespaces: no Docker needed, up in a fraction of a second.

Rule of this file: everything lives inside one private process, mount and network namespace, whose first process
ends when its standard input closes. So the kernel itself removes every process, interface and mount of a run, even
after `kill -9` of the lab; names cannot clash with those of another run, and the machine's own network sees nothing.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from middlebox.lab import topology
from middlebox.lab.hosts import Host, LabError, Patience, environment
from middlebox.lab.install import NETNS, find_missing, package_names
from middlebox.shells.errors import MachineError

_SETUP = r"""
set -e
read -r pid rest < /proc/self/stat          # our process id outside: /proc still is the machine's
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run       # sockets and pid files of the run's programs
mkdir /run/netns /run/lock
# sshd refuses a locked root account, and many systems lock root. In here it may log in with its key.
sed 's/^root:[^:]*:/root:*:/' /etc/shadow > /run/shadow && chmod 600 /run/shadow
mount --bind /run/shadow /etc/shadow
ip link set lo up
for host in client gateway server; do ip netns add "$host"; ip -n "$host" link set lo up; done
echo "$pid"
exec cat > /dev/null
"""

_START_SECONDS = 10


CLIENT_SIDE, SERVER_SIDE = "client-side", "server-side"
"The gateway's interfaces."


class NamespaceDriver:
    """Client, gateway and server as network namespaces joined by veth pairs."""

    name = "netns"

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._world: subprocess.Popen[str] | None = None
        self.hosts: dict[str, Host] = {}

    def prepare(self) -> None:
        """Refuse a machine that cannot do this."""
        if os.geteuid() != 0:
            raise MachineError("the lab makes network namespaces, which needs root", "run it with sudo")
        if missing := find_missing(NETNS):
            raise MachineError(
                f"not installed: {package_names(missing)}", f"run `{sys.executable} -m middlebox.lab.install netns`"
            )

    def inside(self, directory: Path) -> str:
        """The run's directory as programs see it."""
        return str(directory)

    def open(self, directory: Path) -> None:
        """Make the namespaces and the links between them."""
        world = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child",
             "--propagation", "private", "sh", "-c", _SETUP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        self._world = world
        assert world.stdout is not None
        assert world.stderr is not None
        first_line = world.stdout.readline().strip()
        if not first_line.isdigit():
            world.wait(_START_SECONDS)
            complaint = (world.stderr.read().strip().splitlines() or ["no message"])[-1]
            raise LabError(f"cannot make namespaces: {complaint}")
        for name in (topology.CLIENT, topology.GATEWAY, topology.SERVER):
            prefix = ("nsenter", f"--target={first_line}", "--mount", "--pid", "--ipc", "--uts",
                      "ip", "netns", "exec", name)  # fmt: skip
            self.hosts[name] = Host(name, prefix, directory, str(directory), sys.executable, self._patience)
        self._connect()

    def _connect(self) -> None:
        client, gateway, server = (self.hosts[name] for name in (topology.CLIENT, topology.GATEWAY, topology.SERVER))
        gateway.must("ip", "link", "add", CLIENT_SIDE, "type", "veth", "peer", "lab0", "netns", topology.CLIENT)
        gateway.must("ip", "link", "add", SERVER_SIDE, "type", "veth", "peer", "lab0", "netns", topology.SERVER)
        gateway.must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        _open_interface(gateway, CLIENT_SIDE, topology.GATEWAY_CLIENT_SIDE)
        _open_interface(gateway, SERVER_SIDE, topology.GATEWAY_SERVER_SIDE)
        _open_interface(client, "lab0", topology.CLIENT_ADDRESSES)
        _open_interface(server, "lab0", topology.SERVER_ADDRESSES)
        # Routes to the lab's own networks and no others: nothing here can reach beyond them.
        for host, networks, via in (
            (client, topology.SERVER_NETWORKS, topology.GATEWAY_CLIENT_SIDE),
            (server, topology.CLIENT_NETWORKS, topology.GATEWAY_SERVER_SIDE),
        ):
            host.must("ip", "route", "add", networks.ipv4, "via", via.ipv4)
            host.must("ip", "-6", "route", "add", networks.ipv6, "via", via.ipv6)

    def close(self) -> None:
        """End the run's first process; the kernel ends and removes the rest."""
        world, self._world = self._world, None
        if world is None:
            return
        assert world.stdin is not None
        world.stdin.close()
        try:
            world.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            world.kill()
            world.wait()
        for stream in (world.stdout, world.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def _open_interface(host: Host, interface: str, addresses: topology.Addresses) -> None:
    host.must("ip", "address", "add", f"{addresses.ipv4}/24", "dev", interface)
    host.must("ip", "address", "add", f"{addresses.ipv6}/64", "dev", interface, "nodad")
    # veth hands over packets of up to 64 kB; a capture would then show sizes that no real network has.
    host.must("ethtool", "-K", interface, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off")
    host.must("ip", "link", "set", interface, "up")
