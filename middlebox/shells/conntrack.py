"""The true totals of connections, and their end, from the kernel's connection tracking.

Once a flow is settled the kernel carries it, and user space sees neither its packets nor its end. Connection
tracking does: it announces every connection it forgets, with the packets and bytes it counted, and lists the open ones.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from middlebox.flow import Totals
from middlebox.packet import ICMP, ICMPV6, TCP, UDP, flow_key
from middlebox.shells.errors import MachineError

ACCOUNTING_SWITCH = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
"Whether the kernel counts packets and bytes of connections that begin from now on."

RECEIVE_BUFFER_BYTES = 32 * 1024 * 1024
"Room for some tens of thousands of announcements: many connections end at once when `conntrack -F` is called."
READ_BYTES = 64 * 1024

# linux/socket.h, asm-generic/socket.h, linux/netlink.h
SO_RCVBUFFORCE = 33
SOL_NETLINK = 270
NETLINK_NETFILTER = 12
NETLINK_ADD_MEMBERSHIP = 1
NLM_F_REQUEST, NLM_F_DUMP = 0x01, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
# linux/netfilter/nfnetlink.h
NFNETLINK_V0 = 0
NFNL_SUBSYS_CTNETLINK = 1
NFNLGRP_CONNTRACK_DESTROY = 3
# linux/netfilter/nfnetlink_conntrack.h
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 0, 1, 2
CTA_TUPLE_ORIG, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY = 1, 9, 10
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID = 1, 2, 3, 4, 7
CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES = 1, 2

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_NFGENMSG = struct.Struct("!BBH")  # address family, version, resource id
_NLATTR = struct.Struct("=HH")  # length, type
_NLA_TYPE_MASK = 0x3FFF
_NLA_F_NESTED = 1 << 15
_IPV4_BYTES, _IPV6_BYTES = 4, 16
_LISTED = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
_DESTROYED = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
_OWN_PORT_ID = 1 << 31
"The kernel gives the bare process id to the first socket that asks. It is left to the queue, whose holder it names."
_LIST_SECONDS = 5.0
"Longest wait for the next piece of the list of connections."


@dataclass(slots=True, frozen=True)
class Connection:
    """What the kernel counted for one connection, `None` where accounting was off at its start."""

    key: bytes
    "As `middlebox.packet.flow_key`, seen from the side that opened the connection."
    totals: Totals


class ConnectionTracking:
    """Listens to connection tracking in this network namespace, and switches its accounting on meanwhile."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._asker: socket.socket | None = None
        "For questions about one connection: its answers must not mix with the announcements."
        self._accounting_before: str | None = None
        self.overruns = 0
        "Times that announcements were lost because nobody read them in time."

    def open(self) -> None:
        """Start to listen and switch accounting on.

        Raises:
            MachineError: The kernel has no such announcements.
        """
        try:
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            self._socket = listener
            listener.bind((os.getpid() | _OWN_PORT_ID, 0))
            listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_CONNTRACK_DESTROY)
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            listener.setblocking(False)
            self._asker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            self._asker.setblocking(False)
            before = ACCOUNTING_SWITCH.read_text()
            if before.strip() != "1":  # in a container it may be on and read-only
                ACCOUNTING_SWITCH.write_text("1")
                self._accounting_before = before
        except OSError as error:
            self.close()
            problem = f"the kernel does not announce ended connections ({error.strerror})"
            raise MachineError(problem, "run `modprobe nf_conntrack_netlink` as root") from None

    def fileno(self) -> int:
        """The descriptor to wait on."""
        assert self._socket is not None, "not open"
        return self._socket.fileno()

    def ended(self, at_most: int = sys.maxsize) -> Iterator[Connection]:
        """The connections that have ended since the last call, after reading no more than `at_most` announcements."""
        assert self._socket is not None, "not open"
        for _ in range(at_most):
            try:
                messages = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            yield from parse_connections(messages)

    def open_connections(self) -> list[Connection]:
        """The connections that the kernel knows now; an incomplete list when it does not answer in time."""
        found: list[Connection] = []
        request = _NFGENMSG.pack(socket.AF_UNSPEC, NFNETLINK_V0, 0)
        kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET
        header = _NLMSGHDR.pack(_NLMSGHDR.size + len(request), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asker:
            asker.settimeout(_LIST_SECONDS)
            with suppress(OSError):
                asker.sendto(header + request, (0, 0))
                while messages := asker.recv(READ_BYTES):
                    found += parse_connections(messages)
                    if _last_kind(messages) in (NLMSG_DONE, NLMSG_ERROR):
                        break
        return found

    def totals(self, key: bytes) -> Totals | None:
        """What the kernel has counted so far for one open connection, given and told as the flow's client sees it.

        The packet in hand is counted already. Costs some 30 us: the kernel answers before the question has been sent.
        """
        if self._asker is None or (question := ask_for_connection(key)) is None:
            return None
        try:
            self._asker.sendto(question, (0, 0))
            connections = list(parse_connections(self._asker.recv(READ_BYTES)))
        except OSError:
            return None
        if not connections:
            return None
        [connection] = connections
        return connection.totals if connection.key == key else connection.totals.reversed()

    def close(self) -> None:
        """Stop to listen and leave accounting as it was found."""
        if self._accounting_before is not None:
            with suppress(OSError):
                ACCOUNTING_SWITCH.write_text(self._accounting_before)
            self._accounting_before = None
        if self._asker is not None:
            self._asker.close()
            self._asker = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def ask_for_connection(key: bytes) -> bytes | None:
    """The netlink request for the connection of a flow; None for ICMP, whose types and codes the key does not hold."""
    is_ipv4 = len(key) < 1 + 2 * _IPV6_BYTES
    size = _IPV4_BYTES if is_ipv4 else _IPV6_BYTES
    source, destination, ports = key[1 : 1 + size], key[1 + size : 1 + 2 * size], key[1 + 2 * size :]
    if len(ports) not in (0, 4):
        return None
    kinds = (CTA_IP_V4_SRC, CTA_IP_V4_DST) if is_ipv4 else (CTA_IP_V6_SRC, CTA_IP_V6_DST)
    addresses = _attribute(kinds[0], source) + _attribute(kinds[1], destination)
    transport = _attribute(CTA_PROTO_NUM, key[:1])
    if ports:
        transport += _attribute(CTA_PROTO_SRC_PORT, ports[:2]) + _attribute(CTA_PROTO_DST_PORT, ports[2:])
    nested = _attribute(CTA_TUPLE_IP | _NLA_F_NESTED, addresses) + _attribute(
        CTA_TUPLE_PROTO | _NLA_F_NESTED, transport
    )
    family = socket.AF_INET if is_ipv4 else socket.AF_INET6
    body = _NFGENMSG.pack(family, NFNETLINK_V0, 0) + _attribute(CTA_TUPLE_ORIG | _NLA_F_NESTED, nested)
    kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, NLM_F_REQUEST, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _NLATTR.pack(_NLATTR.size + len(value), kind) + value + bytes(-len(value) % 4)


def parse_connections(messages: bytes) -> Iterator[Connection]:
    """The connections, ended or listed, in one read from a netlink socket. Ignores what it does not know."""
    for kind, body in _messages(messages):
        if kind in (_DESTROYED, _LISTED):
            connection = _parse(body[_NFGENMSG.size :])
            if connection is not None:
                yield connection


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each netlink message (linux/netlink.h, struct nlmsghdr)."""
    start = 0
    while start + _NLMSGHDR.size <= len(data):
        length, kind, _, _, _ = _NLMSGHDR.unpack_from(data, start)
        if length < _NLMSGHDR.size or start + length > len(data):
            return
        yield kind, data[start + _NLMSGHDR.size : start + length]
        start += length + 3 & ~3  # NLMSG_ALIGN


def _last_kind(messages: bytes) -> int | None:
    kinds = [kind for kind, _ in _messages(messages)]
    return kinds[-1] if kinds else None


def _parse(body: bytes) -> Connection | None:
    attributes = _attributes(body)
    original = _attributes(attributes.get(CTA_TUPLE_ORIG, b""))
    addresses = _attributes(original.get(CTA_TUPLE_IP, b""))
    transport = _attributes(original.get(CTA_TUPLE_PROTO, b""))
    source = addresses.get(CTA_IP_V4_SRC) or addresses.get(CTA_IP_V6_SRC)
    destination = addresses.get(CTA_IP_V4_DST) or addresses.get(CTA_IP_V6_DST)
    number = transport.get(CTA_PROTO_NUM)
    if not source or not destination or not number:
        return None
    if number[0] in (TCP, UDP):
        discriminator = transport.get(CTA_PROTO_SRC_PORT, b"") + transport.get(CTA_PROTO_DST_PORT, b"")
    elif number[0] in (ICMP, ICMPV6):
        discriminator = transport.get(CTA_PROTO_ICMP_ID) or transport.get(CTA_PROTO_ICMPV6_ID) or b""
    else:
        discriminator = b""
    to_server = _attributes(attributes.get(CTA_COUNTERS_ORIG, b""))
    to_client = _attributes(attributes.get(CTA_COUNTERS_REPLY, b""))
    totals = Totals(
        packets_to_server=_number(to_server.get(CTA_COUNTERS_PACKETS)),
        bytes_to_server=_number(to_server.get(CTA_COUNTERS_BYTES)),
        packets_to_client=_number(to_client.get(CTA_COUNTERS_PACKETS)),
        bytes_to_client=_number(to_client.get(CTA_COUNTERS_BYTES)),
    )
    return Connection(flow_key(number[0], source, destination, discriminator), totals)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by type (linux/netlink.h, struct nlattr)."""
    found = {}
    start = 0
    while start + _NLATTR.size <= len(data):
        length, kind = _NLATTR.unpack_from(data, start)
        if length < _NLATTR.size or start + length > len(data):
            break
        found[kind & _NLA_TYPE_MASK] = data[start + _NLATTR.size : start + length]
        start += length + 3 & ~3  # NLA_ALIGN
    return found


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")
