"""Residual blocks in the kernel: nftables sets whose elements time out, in a table of our own.

Rule of this file: a block only ever costs the packet loop one message to the kernel, and never a wait for its answer;
what the kernel refused is counted when it says so. What the kernel does not block, the engine refuses by its own table.

The table stands beside the hook, whichever firewall interface carries that. (ipset has no pair of addresses on kernels
without hash:net,net; nftables has sets of any fields wherever it has sets.) Only what opens a flow is looked up: a SYN,
or a packet of another transport whose connection is new and bears no verdict. So an open flow goes on, and client and
server of a block are always the packet's source and destination.

The table is made before the hook and removed after the queue was drained: whenever a netfilter hook is unregistered,
the kernel drops all packets that wait in queues. For the same reason a renewed policy empties the sets and leaves the
table as it is.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from middlebox.packet import TCP, UDP
from middlebox.residual import MAX_BLOCKS, Block
from middlebox.shells import firewall
from middlebox.shells.errors import MachineError
from middlebox.shells.firewall import HookSettings
from middlebox.verdict import Verdict

TABLE = "middlebox-residual"
NFT_TABLE = f"inet {TABLE}"
SET_ELEMENTS = 2 * MAX_BLOCKS
"Room for all blocks of the engine in one set, and for as many that have timed out and are not yet collected."
BLOCKS_A_BATCH = 500
"Of some 120 bytes each, so that a batch fits into any send buffer."
SEND_BUFFER_BYTES = 1 << 20
MESSAGE_BYTES = 65_536

SCOPES = ("client", "server", "client-server", "port", "client-port", "server-port", "client-server-port")
"What a block may name, in parts. `port` comes with the transport."
_KEYS = {
    "client": "{ip} saddr",
    "server": "{ip} daddr",
    "port": "meta l4proto . th dport",
}
_FAMILIES = {0: "inet", 4: "ip", 16: "ip6"}
"Bytes of an address to nftables' name of its family; without addresses, both."
_ACTIONS = ("drop", "refuse")

# linux/netlink.h
_NETLINK_NETFILTER = 12
_NLM_F_REQUEST, _NLM_F_CREATE = 0x01, 0x400
_NLMSG_ERROR = 0x02
_NLA_F_NESTED = 0x8000
# linux/netfilter/nfnetlink.h
_NFNL_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
# linux/netfilter.h
_NFPROTO_INET = 1
# linux/netfilter/nf_tables.h
_NEWSETELEM, _DELSETELEM = 12, 14
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEM = 1, 2, 3, 1
_ELEM_KEY, _ELEM_TIMEOUT, _DATA_VALUE = 1, 4, 1

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_NFGENMSG = struct.Struct("!BBH")  # address family, version, resource
_NLATTR = struct.Struct("=HH")  # length, type
_NLMSGERR = struct.Struct("=i")  # 0 or a negated error number


def _names() -> Iterator[tuple[str, str, str]]:
    """Family, scope and action of every set; its name is the three joined by dashes."""
    for scope in SCOPES:
        for ip in ("inet",) if scope == "port" else ("ip", "ip6"):
            for action in _ACTIONS:
                yield ip, scope, action


def render(settings: HookSettings) -> str:
    """Input for `nft -f`: make our table anew, with empty sets."""
    others_mark = f"ct mark & {settings.mark_mask:#010x} == 0"
    sets, lookups = [], []
    for ip, scope, action in _names():
        address = "ipv4_addr" if ip == "ip" else "ipv6_addr"
        types = {"client": address, "server": address, "port": "inet_proto . inet_service"}
        parts = scope.split("-")
        kinds = " . ".join(types[part] for part in parts)
        sets.append(f"set {ip}-{scope}-{action} {{ type {kinds}; flags timeout; size {SET_ELEMENTS}; }}")
        key = " . ".join(_KEYS[part].format(ip=ip) for part in parts)
        guard = "meta l4proto { tcp, udp } " if "port" in parts else ""
        lookups.append(f"{guard}{key} @{ip}-{scope}-{action} goto {action}-it")
    if settings.interfaces is None:
        ways = [""]
    else:
        inner, outer = settings.interfaces
        ways = [f'iifname "{a}" oifname "{b}" ' for a, b in ((inner, outer), (outer, inner))]
    opening = ("tcp flags & (fin | syn | rst | ack) == syn", f"meta l4proto != tcp ct state new {others_mark}")
    lines = [
        f"table {NFT_TABLE}",  # so that the next line never fails
        f"delete table {NFT_TABLE}",
        f"table {NFT_TABLE} {{",
        *(f"\t{line}" for line in sets),
        "\tchain drop-it {",
        "\t\tcounter drop",
        "\t}",
        "\tchain refuse-it {",
        "\t\tmeta l4proto tcp counter reject with tcp reset",
        "\t\tcounter reject with icmpx admin-prohibited",
        "\t}",
        "\tchain look-up {",
        *(f"\t\t{lookup}" for lookup in lookups),
        "\t}",
        "\tchain forward {",
        # Before the hook's chain, where a new flow would be sent to the queue.
        "\t\ttype filter hook forward priority filter - 1; policy accept;",
        *(f"\t\t{way}{opens} jump look-up" for way in ways for opens in opening),
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def element(block: Block) -> tuple[str, bytes] | None:
    """The set that a block belongs in and its key there; None for one that the kernel cannot carry out.

    In a key every field begins at a multiple of four bytes (`NFT_REG32_SIZE`).
    """
    if block.verdict not in (Verdict.DROP, Verdict.RESET, Verdict.REJECT):
        return None
    parts, key = [], b""
    if block.client is not None:
        parts.append("client")
        key += block.client
    if block.server is not None:
        parts.append("server")
        key += block.server
    if block.port is not None:
        if block.transport not in (TCP, UDP):
            return None
        parts.append("port")
        key += struct.pack("!B3xH2x", block.transport, block.port)
    if not parts:
        return None
    ip = _FAMILIES[len(block.client or block.server or b"")]
    action = "drop" if block.verdict is Verdict.DROP else "refuse"
    return f"{ip}-{'-'.join(parts)}-{action}", key


def _attribute(kind: int, *parts: bytes, nested: bool = False) -> bytes:
    value = b"".join(parts)
    header = _NLATTR.pack(_NLATTR.size + len(value), kind | (_NLA_F_NESTED if nested else 0))
    return header + value + bytes(-len(value) % 4)


def _message(kind: int, family: int, resource: int, body: bytes = b"", flags: int = 0) -> bytes:
    length = _NLMSGHDR.size + _NFGENMSG.size + len(body)
    return _NLMSGHDR.pack(length, kind, _NLM_F_REQUEST | flags, 0, 0) + _NFGENMSG.pack(family, 0, resource) + body


def _set_message(kind: int, name: str, elements: bytes = b"", flags: int = 0) -> bytes:
    body = _attribute(_LIST_TABLE, TABLE.encode() + b"\0") + _attribute(_LIST_SET, name.encode() + b"\0") + elements
    return _message(_NFNL_SUBSYS_NFTABLES << 8 | kind, _NFPROTO_INET, 0, body, flags)


def transaction(messages: Iterable[bytes]) -> bytes:
    """Messages that the kernel carries out together or not at all."""
    begin = _message(_BATCH_BEGIN, socket.AF_UNSPEC, _NFNL_SUBSYS_NFTABLES)
    end = _message(_BATCH_END, socket.AF_UNSPEC, _NFNL_SUBSYS_NFTABLES)
    return begin + b"".join(messages) + end


def add_message(name: str, key: bytes, seconds: float) -> bytes:
    """Put one key into a set. One that is there gets the new time on Linux 6.12 and newer, else keeps its own."""
    timeout = struct.pack("!Q", max(1, round(seconds * 1000)))
    data = _attribute(_ELEM_KEY, _attribute(_DATA_VALUE, key), nested=True) + _attribute(_ELEM_TIMEOUT, timeout)
    elements = _attribute(_LIST_ELEMENTS, _attribute(_LIST_ELEM, data, nested=True), nested=True)
    return _set_message(_NEWSETELEM, name, elements, _NLM_F_CREATE)


def flush_messages() -> Iterator[bytes]:
    """Empty every set."""
    for name in _names():
        yield _set_message(_DELSETELEM, "-".join(name))


def probe(settings: HookSettings) -> str | None:
    """Ask the kernel whether it would take our table. None: it would; else what is missing."""
    return firewall.complaint_about(render(settings))


def remove_leftover() -> None:
    """Take our table out, also one that a killed run left. Does nothing where there is none."""
    firewall.remove_nft_table(NFT_TABLE)


@dataclass(slots=True)
class Sets:
    """The sets of one run and the descriptor by which they are filled."""

    added: int = 0
    failed: int = 0
    "Transactions that could not be sent or that the kernel refused. Their blocks hold in user space only."
    _netlink: socket.socket | None = None

    def open(self, settings: HookSettings) -> None:
        """Make the table, in place of a leftover.

        Raises:
            MachineError: The kernel or a program lacks what it takes.
        """
        firewall.load_nft(render(settings))
        try:
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            self._netlink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._netlink.setblocking(False)
        except OSError as error:
            self.close()
            raise MachineError(f"no netlink socket for residual blocks ({error})", "run as root") from None

    @property
    def is_open(self) -> bool:
        """Whether the kernel has the table."""
        return self._netlink is not None

    def close(self) -> None:
        """Remove the table."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        remove_leftover()

    def add(self, blocks: Iterable[Block]) -> None:
        """Let the kernel carry out these blocks from now on."""
        self._send(self._additions(blocks))

    def replace(self, blocks: Iterable[Block]) -> None:
        """Lift all blocks and carry out these."""
        self._send([*flush_messages(), *self._additions(blocks)])

    def _additions(self, blocks: Iterable[Block]) -> list[bytes]:
        messages = []
        for block in blocks:
            where = element(block)
            if where is not None:
                messages.append(add_message(*where, block.seconds))
        self.added += len(messages)
        return messages

    def _send(self, messages: list[bytes]) -> None:
        if self._netlink is None:
            return
        for at in range(0, len(messages), BLOCKS_A_BATCH):
            try:
                # The kernel carries it out before `send` returns, and answers only what it refused.
                self._netlink.send(transaction(messages[at : at + BLOCKS_A_BATCH]))
            except OSError:
                self.failed += 1
        self._count_refusals()

    def _count_refusals(self) -> None:
        assert self._netlink is not None
        while True:
            try:
                message = self._netlink.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # more refusals than the buffer held
                    raise
                self.failed += 1
                continue
            if len(message) >= _NLMSGHDR.size + _NLMSGERR.size:
                _, kind, *_ = _NLMSGHDR.unpack_from(message)
                (number,) = _NLMSGERR.unpack_from(message, _NLMSGHDR.size)
                self.failed += kind == _NLMSG_ERROR and number != 0
