"""The kernel queue: packets in, exactly one verdict out for each. The only import of netfilterqueue.

The rule kept here: whatever happens while a packet is judged, the kernel gets one answer for it, at once.
"""

import errno
import os
import select
import socket
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import netfilterqueue

from middlebox.detect.base import STREAM_LIMIT
from middlebox.shells.errors import MachineError
from middlebox.shells.firewall import Marks
from middlebox.verdict import Decision, Verdict

COPY_RANGE_BYTES = STREAM_LIMIT + 256
"""Bytes of a packet that user space gets: of an offloaded one as much as detectors look at, and its headers. With less,
a ClientHello made long on purpose would be cut before its server name."""
MAX_WAITING_PACKETS = 4096
"Packets that may wait for a verdict before the queue counts as full."
RECEIVE_BUFFER_BYTES = 32 * 1024 * 1024
"Room for that many packets of ordinary length, which the kernel charges at up to 8 kB each."

# linux/netlink.h
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLMSG_ERROR = 0x02
# linux/netfilter/nfnetlink.h
NFNL_SUBSYS_QUEUE = 3
NFNETLINK_V0 = 0
# linux/netfilter/nfnetlink_queue.h
NFQNL_MSG_CONFIG = 2
NFQNL_COPY_PACKET = 2
NFQA_CFG_PARAMS = 2
NFQA_CFG_MASK = 4
NFQA_CFG_FLAGS = 5
NFQA_CFG_F_FAIL_OPEN = 1 << 0
"A full queue passes packets instead of dropping them."
NFQA_CFG_F_GSO = 1 << 2
"Offloaded packets arrive whole, up to 64 kB, instead of cut into segments."

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_NFGENMSG = struct.Struct("!BBH")  # address family, version, queue number
_PARAMS = struct.Struct("!IB")  # struct nfqnl_msg_config_params: copy range, copy mode
_NLATTR = struct.Struct("=HH")  # length, type
_NLATTR_U32 = struct.Struct("=HH4s")  # length, type, value (in network byte order)
_NLMSGERR = struct.Struct("=i")  # 0 or a negated error number; the request's header follows

_PASSING = (Verdict.PASS, Verdict.THROTTLE)
"Without a chain that polices, a throttled packet passes."

_ACKNOWLEDGEMENT_SECONDS = 2.0
_MESSAGE_BYTES = COPY_RANGE_BYTES + 1024
"A packet with its netlink headers and attributes, which take less than 200 bytes."

QUEUE_STATUS_FILE = Path("/proc/net/netfilter/nfnetlink_queue")


def settings_message(queue_num: int, flags: int, sequence: int, *, mask: int | None = None) -> bytes:
    """The netlink request that sets the flags of a queue which are in `mask`, left out: turns on these.

    The other flags stay as they are. The copy range is set, too.
    """
    body = _NFGENMSG.pack(socket.AF_UNSPEC, NFNETLINK_V0, queue_num)
    for kind, value in ((NFQA_CFG_FLAGS, flags), (NFQA_CFG_MASK, flags if mask is None else mask)):
        body += _NLATTR_U32.pack(_NLATTR_U32.size, kind, struct.pack("!I", value))
    params = _PARAMS.pack(COPY_RANGE_BYTES, NFQNL_COPY_PACKET)
    body += _NLATTR.pack(_NLATTR.size + len(params), NFQA_CFG_PARAMS) + params + bytes(-len(params) % 4)
    kind = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, NLM_F_REQUEST | NLM_F_ACK, sequence, 0) + body


def acknowledged(message: bytes, sequence: int) -> int | None:
    """The error number with which the kernel answered the request, 0 for success; None: this is another message."""
    if len(message) < _NLMSGHDR.size + _NLMSGERR.size:
        return None
    _, kind, _, answered, _ = _NLMSGHDR.unpack_from(message)
    if kind != NLMSG_ERROR or answered != sequence:
        return None
    (error,) = _NLMSGERR.unpack_from(message, _NLMSGHDR.size)
    return -int(error)


@dataclass(slots=True, frozen=True)
class QueueStatus:
    """One line of /proc/net/netfilter/nfnetlink_queue."""

    number: int
    port_id: int
    "Netlink port of the listener, as a rule its process id."
    waiting: int
    kernel_drops: int
    "Packets dropped because the queue was full."
    user_drops: int
    "Packets dropped because the listener's receive buffer was full."


def parse_queue_status(text: str) -> dict[int, QueueStatus]:
    """Queue numbers to what the kernel says about them (the columns of `seq_show` in nfnetlink_queue.c)."""
    queues = {}
    for line in text.splitlines():
        number, port_id, waiting, _, _, kernel_drops, user_drops, *_ = (int(word) for word in line.split())
        queues[number] = QueueStatus(number, port_id, waiting, kernel_drops, user_drops)
    return queues


def read_queue_status() -> dict[int, QueueStatus]:
    """The queues of this network namespace that have a listener."""
    try:
        return parse_queue_status(QUEUE_STATUS_FILE.read_text())
    except FileNotFoundError:
        return {}


class _Leave(Exception):  # noqa: N818 - not an error: the way out of NetfilterQueue.run
    """Time is up: go back to the main loop although more packets wait."""


class _OneMessage:
    """Looks like a socket on which one message waits."""

    def __init__(self, message: bytes) -> None:
        self._messages = [message]

    def recv(self, _size: int) -> bytes:
        if self._messages:
            return self._messages.pop()
        raise BlockingIOError(errno.EAGAIN, "no more messages")


class _WholeMessages:
    """Looks like a socket to NetfilterQueue, which asks for no more than 4,096 bytes, and gives it whole messages."""

    __slots__ = ("_recv", "_socket")

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._recv = self._socket.recv

    def recv(self, _size: int) -> bytes:
        return self._recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class QueueCounters:
    """What passed through the queue."""

    packets: int = 0
    "Packets that got a verdict."
    settled: int = 0
    "Of these, sent back to the chain with a mark that settles their flow."
    returned: int = 0
    "Of these, packets the chain did not recognise by their mark (epoch change, no conntrack) and sent up again."
    faults: int = 0
    "Packets on which our own code raised."


class PacketQueue:
    """One numbered queue and the answers given on it.

    Args:
        number: The queue's number.
        judge: `engine.handle`.
        marks: How settled verdicts are told to the chain. May be replaced while running, for a new epoch.
        clock: Seconds since the epoch, never going back.
        repeat: Whether a chain of ours is there to read the marks. Without it every packet gets its final answer here.
        internal_error: The verdict for a packet on which `judge` raised.
        send: Called with the answer that a decision brings, a whole IP packet.
        refuse: Called with a discarded packet, its verdict, RESET or REJECT, and whether the chain tells the sender.
        report_fault: Called with the exception and the packet when `judge` raised.
    """

    def __init__(
        self,
        number: int,
        judge: Callable[[bytes, float], Decision],
        marks: Marks,
        clock: Callable[[], float],
        *,
        repeat: bool,
        internal_error: Verdict,
        refuse: Callable[[bytes, Verdict, bool], None],
        send: Callable[[bytes], None],
        report_fault: Callable[[Exception, bytes], None],
    ) -> None:
        self.number = number
        self.marks = marks
        self.repeat = repeat
        self.counters = QueueCounters()
        self._judge = judge
        self._clock = clock
        self._internal_error = Decision(internal_error, settled=False)
        self._refuse = refuse
        self._send = send
        self._report_fault = report_fault
        self._leave_at = float("inf")
        self._queue: netfilterqueue.NetfilterQueue | None = None
        self._messages: _WholeMessages | None = None

    def open(self, *, full_open: bool) -> None:
        """Become the queue's listener.

        Args:
            full_open: Pass packets uninspected while the queue is full, instead of dropping them.

        Raises:
            MachineError: The number is taken, or the kernel has no queues.
        """
        try:
            queue = netfilterqueue.NetfilterQueue()
        except OSError as error:
            raise MachineError(
                f"the kernel offers no packet queue ({error})",
                "run `modprobe nfnetlink_queue`, or boot a distribution kernel",
            ) from None
        try:
            with warnings.catch_warnings(action="ignore"):  # a smaller buffer than asked for shows in `user_drops`
                queue.bind(
                    self.number,
                    self._answer,
                    max_len=MAX_WAITING_PACKETS,
                    sock_len=RECEIVE_BUFFER_BYTES,
                )
        except OSError as error:
            raise _bind_problem(self.number, error) from None
        self._queue = queue
        self._messages = _WholeMessages(queue.get_fd())
        try:
            self._configure(NFQA_CFG_F_GSO | (NFQA_CFG_F_FAIL_OPEN if full_open else 0))
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._opened().get_fd()

    def drain(self, until: float) -> None:
        """Answer the packets that wait, as long as there are any but not longer than to the time `until`."""
        self._leave_at = until
        try:
            self._opened().run_socket(self._messages)  # type: ignore[arg-type]
        except _Leave:
            return
        finally:
            self._leave_at = float("inf")

    def set_full_open(self, full_open: bool) -> None:
        """Pass packets uninspected while the queue is full, or drop them, from now on; see `open`."""
        self._configure(NFQA_CFG_F_FAIL_OPEN if full_open else 0, mask=NFQA_CFG_F_FAIL_OPEN)

    @property
    def internal_error(self) -> Verdict:
        """The verdict for a packet on which `judge` raised. May be replaced while running."""
        return self._internal_error.verdict

    @internal_error.setter
    def internal_error(self, verdict: Verdict) -> None:
        self._internal_error = Decision(verdict, settled=False)

    def close(self) -> None:
        """Give the queue up. The kernel drops what still waits in it: stop the chain and drain it first."""
        if self._messages is not None:
            self._messages.close()
            self._messages = None
        if self._queue is not None:
            self._queue.unbind()
            self._queue = None

    def _opened(self) -> netfilterqueue.NetfilterQueue:
        assert self._queue is not None, "the queue is not open"
        return self._queue

    def _answer(self, packet: netfilterqueue.Packet) -> None:
        """Give one packet its verdict. Called by NetfilterQueue for each."""
        now = self._clock()
        raw = b""
        try:
            raw = packet.get_payload()
            decision = self._judge(raw, now)
            mark = self._mark(decision)
        except Exception as error:  # a bug of ours must not cost the packet its verdict
            decision, mark = self._internal_error, 0
            self.counters.faults += 1
            self._report_fault(error, raw)
        counters = self.counters
        counters.packets += 1
        verdict = decision.verdict
        marks = self.marks
        repeats = False
        if mark:
            old = packet.get_mark()
            packet.set_mark(old & ~marks.mask | mark)
            returned = old & marks.mask == mark  # it has been through the chain, which did not know the mark
            repeats = self.repeat and not returned
            counters.settled += repeats and decision.settled
            counters.returned += returned
        if repeats:
            packet.repeat()
        elif verdict in _PASSING:
            packet.accept()
        else:
            packet.drop()
        if verdict in (Verdict.RESET, Verdict.REJECT):
            self._refuse(raw, verdict, repeats)
        elif decision.answer is not None:
            self._send(decision.answer)
        if now >= self._leave_at:
            raise _Leave

    def _mark(self, decision: Decision) -> int:
        """What the chain is to be told about this packet or its connection; 0: nothing."""
        if decision.settled:
            return self.marks.encode(decision.verdict, decision.rate)
        return self.marks.seen if decision.verdict in _PASSING and self.repeat else 0

    def _configure(self, flags: int, *, mask: int | None = None) -> None:
        """Send one NFQNL_MSG_CONFIG message with what NetfilterQueue cannot ask for, on its descriptor."""
        queue = self._opened()
        sequence = os.getpid()
        with socket.socket(fileno=os.dup(queue.get_fd())) as netlink:
            netlink.sendto(settings_message(self.number, flags, sequence, mask=mask), (0, 0))
            readable = select.poll()
            readable.register(netlink, select.POLLIN)
            while readable.poll(_ACKNOWLEDGEMENT_SECONDS * 1000):
                message = netlink.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
                error = acknowledged(message, sequence)
                if error == 0:
                    return
                if error is not None:
                    raise MachineError(
                        f"the kernel refused to set the flags of queue {self.number} ({os.strerror(error)})",
                        "use Linux 3.10 or newer",
                    )
                queue.run_socket(_OneMessage(message))  # type: ignore[arg-type]  # a packet was first
        raise MachineError(
            f"the kernel did not acknowledge the flags of queue {self.number} within {_ACKNOWLEDGEMENT_SECONDS:.0f} s",
            "try again, or another --queue-num",
        )


def _bind_problem(number: int, error: OSError) -> MachineError:
    holder = read_queue_status().get(number)
    if holder is None:
        return MachineError(f"cannot listen on queue {number} ({error})", "run as root: sudo middlebox run ...")
    return MachineError(
        f"queue {number} is busy: {describe_listener(holder)} listens on it",
        f"choose another with --queue-num, for instance {free_number(number)}, or stop that process",
    )


def describe_listener(status: QueueStatus) -> str:
    """Name the process behind a queue as well as the kernel allows."""
    try:
        name = Path(f"/proc/{status.port_id}/comm").read_text().strip()
    except OSError:
        return f"another program (netlink port {status.port_id})"
    return f"process {status.port_id} ({name})"


def free_number(near: int) -> int:
    """The next queue number that nobody listens on."""
    taken = read_queue_status()
    return next(n for n in range(near + 1, near + len(taken) + 2) if n not in taken)
