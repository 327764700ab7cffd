"""The end of connections, with their true totals, from the kernel's connection tracking.

Once a flow is settled the kernel carries it, and user space sees neither its packets nor its end. Connection
tracking does: it announces every entry it destroys, with the packets and bytes it counted for it.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from middlebox.packet import ICMP, ICMPV6, TCP, UDP, flow_key
from middlebox.shells.errors import MachineError

ACCOUNTING_SWITCH = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
"Whether the kernel counts packets and bytes of connections that begin from now on."

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"Room for about 5,000 announcements, some 800 bytes each as the kernel charges them."
READ_BYTES = 64 * 1024

# linux/socket.h, asm-generic/socket.h, linux/netlink.h
SO_RCVBUFFORCE = 33
SOL_NETLINK = 270
NETLINK_NETFILTER = 12
NETLINK_ADD_MEMBERSHIP = 1
# linux/netfilter/nfnetlink.h
NFNL_SUBSYS_CTNETLINK = 1
NFNLGRP_CONNTRACK_DESTROY = 3
# linux/netfilter/nfnetlink_conntrack.h
IPCTNL_MSG_CT_DELETE = 2
CTA_TUPLE_ORIG, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY = 1, 9, 10
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID = 1, 2, 3, 4, 7
CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES = 1, 2

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_NFGENMSG_BYTES = 4
_NLATTR = struct.Struct("=HH")  # length, type
_NLA_TYPE_MASK = 0x3FFF
_DESTROYED = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE


@dataclass(slots=True, frozen=True)
class EndedConnection:
    """One connection that the kernel has forgotten. Counters are None when accounting was off at its start."""

    key: bytes
    "As `middlebox.packet.flow_key`, seen from the side that opened the connection."
    packets_to_server: int | None
    bytes_to_server: int | None
    packets_to_client: int | None
    bytes_to_client: int | None


class ConnectionEnds:
    """Listens for ended connections in this network namespace."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
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
            listener.bind((0, 0))
            listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_CONNTRACK_DESTROY)
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            listener.setblocking(False)
            self._accounting_before = ACCOUNTING_SWITCH.read_text()
            ACCOUNTING_SWITCH.write_text("1")
        except OSError as error:
            self.close()
            problem = f"the kernel does not announce ended connections ({error.strerror})"
            raise MachineError(problem, "run `modprobe nf_conntrack_netlink` as root") from None

    def fileno(self) -> int:
        """The descriptor to wait on."""
        assert self._socket is not None, "not open"
        return self._socket.fileno()

    def read(self) -> Iterator[EndedConnection]:
        """The connections that have ended since the last call."""
        assert self._socket is not None, "not open"
        while True:
            try:
                messages = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            yield from parse_announcements(messages)

    def close(self) -> None:
        """Stop to listen and leave accounting as it was found."""
        if self._accounting_before is not None:
            with suppress(OSError):
                ACCOUNTING_SWITCH.write_text(self._accounting_before)
            self._accounting_before = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def parse_announcements(messages: bytes) -> Iterator[EndedConnection]:
    """The ended connections in one read from the netlink socket. Ignores what it does not know."""
    start = 0
    while start + _NLMSGHDR.size <= len(messages):
        length, kind, _, _, _ = _NLMSGHDR.unpack_from(messages, start)
        if length < _NLMSGHDR.size or start + length > len(messages):
            return
        if kind == _DESTROYED:
            ended = _parse(messages[start + _NLMSGHDR.size + _NFGENMSG_BYTES : start + length])
            if ended is not None:
                yield ended
        start += length + 3 & ~3  # NLMSG_ALIGN


def _parse(body: bytes) -> EndedConnection | None:
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
    return EndedConnection(
        key=flow_key(number[0], source, destination, discriminator),
        packets_to_server=_number(to_server.get(CTA_COUNTERS_PACKETS)),
        bytes_to_server=_number(to_server.get(CTA_COUNTERS_BYTES)),
        packets_to_client=_number(to_client.get(CTA_COUNTERS_PACKETS)),
        bytes_to_client=_number(to_client.get(CTA_COUNTERS_BYTES)),
    )


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
