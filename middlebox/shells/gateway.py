"""The live gateway: joins kernel hook, queue, engine, resets and event log, and undoes all of it.

The rule kept here: whatever ends a run, an error in set-up, SIGTERM, Ctrl-C or a bug, the kernel is left as it was
found. Only SIGKILL can prevent that; the next start replaces what it left.

Order of set-up: rights, queue, hook. The queue number comes before the hook, so a second gateway fails before it
touches the first one's chain, and no packet is sent to a queue without a listener.

Order of the end: take the jump to the chain out, answer what waits in the queue, then remove the chain and give up
the queue. The other way round, packets that are in the queue when it closes would be lost.
"""

import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

from middlebox import events
from middlebox.engine import Engine
from middlebox.policy.rule import Mode, Policy
from middlebox.shells import firewall, residual
from middlebox.shells.conntrack import ConnectionTracking
from middlebox.shells.errors import InputError, MachineError
from middlebox.shells.eventlog import EventLog
from middlebox.shells.firewall import DEFAULT_MARK_MASK, Backend, HookCounters, HookSettings
from middlebox.shells.nfqueue import PacketQueue, QueueStatus, describe_listener, read_queue_status
from middlebox.shells.reset import ResetSender
from middlebox.verdict import Verdict

STATE_DIRECTORY = Path("/run/middlebox")
FLUSH_SECONDS = 0.2
"Events reach the log at most this late, so that `tail -f` is live. Also the longest a stop waits for a busy queue."
EXPIRE_SECONDS = 1.0
STATS_SECONDS = 60.0
FAULT_EVENT_SECONDS = 60.0
"At most one event about faults of the shell in this time. All are counted."
FAULT_FIRST_BYTES = 40
"Of a packet we failed on: an IPv4 and a TCP header without options, so no payload."
LAST_PACKET_MILLISECONDS = 20
"After the chain has stopped, a packet that is still on its way into the queue arrives within this time."
LAST_DRAIN_SECONDS = 1.0
"Longest time for that. Rules of the user's own (hook none) go on sending packets."
ENDS_A_TURN = 64
"""Ends of connections taken in before the packets get their turn again. Each costs some 60 us, and `conntrack -F`
announces thousands at once."""
SIGNAL_BYTES = 64
"Each signal writes one byte to the wake-up socket."

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
"linux/capability.h"


@dataclass(slots=True, frozen=True)
class GatewayOptions:
    """What the command line says about one run."""

    monitor: bool = False
    "Judge and log, pass everything, whatever mode the policy asks for."
    queue_num: int = 0
    hook: Literal["auto", "nft", "iptables", "none"] = "auto"
    "none: the user's own rules send packets to the queue, and every packet gets its final answer there."
    events: str | None = None
    "A file, or `-` for standard output."
    interfaces: tuple[str, str] | None = None
    fail: Literal["open", "closed"] | None = None
    "Overrides the policy for `no_listener` and `queue_full`."
    mark_mask: int = DEFAULT_MARK_MASK
    state_directory: Path = STATE_DIRECTORY
    "Where the last used epoch is kept between runs."


@dataclass(slots=True)
class Summary:
    """What a run did."""

    policy: str = ""
    hook: str = "none"
    epoch: int = 0
    seconds: float = 0.0
    packets_inspected: int = 0
    flows: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    "Decided flows by verdict."
    rules: dict[str, int] = field(default_factory=dict)
    "Flows by the rule that acted on them."
    settled_packets: int = 0
    "Packets with which user space handed their flow to the kernel."
    returned_packets: int = 0
    "Packets whose mark the chain did not recognise."
    kernel_drops: int = 0
    "Dropped because the queue was full."
    user_drops: int = 0
    "Dropped because the receive buffer was full."
    hook_counters: HookCounters | None = None
    "None without a hook of ours."
    resets_injected: int = 0
    resets_failed: int = 0
    blocks_added: int = 0
    "Residual blocks given to the kernel."
    blocks_failed: int = 0
    "Times that it did not take some."
    internal_errors: int = 0
    undecodable: int = 0
    events_lost: int = 0
    ends_lost: int = 0
    "Times that ends of connections were announced faster than they were read. Such flows end late, without totals."

    @property
    def uninspected_packets(self) -> int:
        """Packets that the chain queued and that passed unseen because the queue was full or had no listener."""
        if self.hook_counters is None:
            return 0
        return max(0, self.hook_counters.queued - self.packets_inspected - self.kernel_drops - self.user_drops)

    def text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"policy {self.policy}, hook {self.hook}, epoch {self.epoch}, {self.seconds:.1f} s",
            f"  inspected   {self.packets_inspected} packets, {self.flows} flows",
            f"  verdicts    {_tally(self.verdicts)}",
            f"  rules       {_tally(self.rules)}",
        ]
        if (hook := self.hook_counters) is not None:
            lines.append(
                f"  kernel      {hook.accepted} accepted, {hook.dropped} dropped, {hook.rejected} rejected, "
                f"{hook.queued} queued (packets)"
            )
        lines += [
            f"  resets      {self.resets_injected} sent, {self.resets_failed} failed",
            f"  lost        {self.kernel_drops} to a full queue, {self.user_drops} to a full buffer, "
            f"{self.uninspected_packets} passed uninspected, {self.events_lost} events",
            f"  errors      {self.internal_errors} internal, {self.undecodable} undecodable packets",
        ]
        if self.blocks_added or self.blocks_failed:
            lines.append(f"  residual    {self.blocks_added} blocks to the kernel, {self.blocks_failed} times refused")
        if self.ends_lost:
            lines.append(f"  tracking    ends of connections lost {self.ends_lost} times: their events lack totals")
        return "\n".join(lines)


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def run_gateway(
    policy: Policy,
    options: GatewayOptions,
    *,
    make_engine: Callable[..., Engine] = Engine,
    say: Callable[[str], None] | None = None,
) -> Summary:
    """Enforce a policy on this machine's forwarded packets until SIGTERM, SIGINT or SIGHUP.

    Args:
        policy: A validated policy.
        options: What the command line asks for.
        make_engine: Called with the policy, `epoch=` and `kernel_tells_ends=`.
        say: Receives one line when the hook is in force; standard error if not given.

    Raises:
        MachineError: A right, a program, a kernel feature or the queue number is missing.
        InputError: An option is wrong.
    """
    return Gateway(policy, options, make_engine=make_engine, say=say or _say).run()


def _say(line: str) -> None:
    with suppress(OSError):  # a reader that left must not end the run, still less cost a packet its verdict
        print(line, file=sys.stderr, flush=True)


class Gateway:
    """One run of the gateway."""

    def __init__(
        self,
        policy: Policy,
        options: GatewayOptions,
        *,
        make_engine: Callable[..., Engine] = Engine,
        say: Callable[[str], None] = _say,
    ) -> None:
        if options.monitor:
            policy = replace(policy, mode=Mode.MONITOR)
        if options.fail is not None:
            is_open = options.fail == "open"
            policy = replace(policy, fail=replace(policy.fail, no_listener_open=is_open, queue_full_open=is_open))
        if options.hook == "none" and (throttling := [rule.name for rule in policy.rules if rule.rate is not None]):
            raise InputError(
                f"rule {throttling[0]} throttles, which only a hook of ours can: "
                "use --hook auto, or give the rule another action"
            )
        self._policy = policy
        self._options = options
        self._say = say
        self._make_engine = make_engine
        self._clock = steady_clock()
        self._settings = HookSettings(
            queue_num=options.queue_num,
            mark_mask=options.mark_mask,
            no_listener_open=policy.fail.no_listener_open,
            interfaces=options.interfaces,
            rates=rates_of(policy),
        )
        self._epochs = EpochFile(options.state_directory / "epoch")
        self._backend: Backend | None = None
        self._resets = ResetSender()
        self._residual = residual.Sets()
        self._log: EventLog | None = None
        self._replaced_counters = HookCounters()
        self._fault_event_due = 0.0
        self._stop_requested = False
        self._tracking: ConnectionTracking | None = None
        self._engine: Engine
        self._queue: PacketQueue

    def run(self) -> Summary:
        """Set up, judge packets until told to stop, undo, and report. Can be called once."""
        summary = Summary(policy=self._policy.name)
        with self._stop_signals() as wakeup, ExitStack() as undo:
            require_capabilities()
            undo.callback(self._resets.close)
            self._tracking = self._start_tracking(undo)
            if self._options.events is not None:
                self._log = EventLog(self._options.events)
                undo.callback(self._log.close)
            self._start_queue(undo)
            self._warn_of_missing_interfaces()
            if not self._stop_requested:
                self._install_hook(undo)
            summary.hook = self._backend.value if self._backend else "none"
            started = self._clock()
            self._write([events.policy_event(self._policy, epoch=self._settings.epoch, now=started, change="loaded")])
            self._say(
                f"middlebox: policy {self._policy.name} ({self._policy.mode.value}) on queue {self._queue.number}, "
                f"hook {summary.hook}, epoch {self._settings.epoch}"
            )
            with _without_garbage_collection():
                self._loop(wakeup)
                self._finish(summary)
            summary.seconds = self._clock() - started
        if self._log is not None:
            summary.events_lost = self._log.lost
        return summary

    def advance_epoch(self) -> None:
        """Bring every open flow back to user space, by replacing the chain with one that knows only a new epoch."""
        epoch = self._epochs.next()
        self._settings = replace(self._settings, epoch=epoch)
        self._engine.epoch = epoch
        # First our marks, then the chain: a packet in between comes back once and gets its answer in the queue.
        self._queue.marks = self._settings.marks
        if self._backend is not None:
            self._replaced_counters += firewall.read_counters(self._backend)
            firewall.apply(self._backend, self._settings)
        self._residual.replace(self._engine.take_blocks())

    # --- set-up -----------------------------------------------------------------------------------

    @contextmanager
    def _stop_signals(self) -> Iterator[socket.socket]:
        """Turn stop signals into a flag and a readable socket, so that they can interrupt nothing half-way."""
        wakeup, woken = socket.socketpair()
        wakeup.setblocking(False)
        woken.setblocking(False)

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stop_requested = True

        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        if before[signal.SIGHUP] == signal.SIG_IGN:
            del before[signal.SIGHUP]  # nohup
        descriptor = signal.set_wakeup_fd(wakeup.fileno())
        try:
            for number in before:
                signal.signal(number, stop)
            yield woken
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)
            wakeup.close()
            woken.close()

    def _warn_of_missing_interfaces(self) -> None:
        """An interface may come later (ppp0), so this is no error; a mistyped one would never be noticed otherwise."""
        for name in self._options.interfaces or ():
            try:
                socket.if_nametoindex(name)
            except OSError:
                self._say(f"middlebox: there is no interface {name}; nothing is inspected on it until there is")

    def _start_tracking(self, undo: ExitStack) -> ConnectionTracking | None:
        """Ask the kernel to tell how connections end; without that, flow events hold what was inspected only."""
        tracking = ConnectionTracking()
        try:
            tracking.open()
        except MachineError as error:
            self._say(f"middlebox: flow events will hold inspected packets only: {error}")
            return None
        undo.callback(tracking.close)
        return tracking

    def _start_queue(self, undo: ExitStack) -> None:
        epoch = self._epochs.next()
        self._settings = replace(self._settings, epoch=epoch)
        self._engine = self._make_engine(self._policy, epoch=epoch, kernel_tells_ends=self._tracking is not None)
        self._queue = PacketQueue(
            self._options.queue_num,
            self._engine.handle,
            self._settings.marks,
            self._clock,
            repeat=self._options.hook != "none",
            internal_error=self._policy.fail.internal_error if self._policy.mode is Mode.ENFORCE else Verdict.PASS,
            refuse=self._resets.refuse,
            send=self._resets.send_packet,
            report_fault=self._report_fault,
        )
        self._queue.open(full_open=self._policy.fail.queue_full_open)
        undo.callback(self._queue.close)

    def _install_hook(self, undo: ExitStack) -> None:
        chosen = self._options.hook
        if chosen == "none":
            return
        if chosen == "auto":
            backend = firewall.probe(self._settings)
        else:
            backend = Backend(chosen)
            if problem := firewall.check(backend, self._settings):
                raise MachineError(f"{chosen} cannot carry the hook here ({problem})", "use --hook auto")
        listeners = read_queue_status()
        for leftover in firewall.find_leftovers():
            for number in leftover.queue_nums:
                if number in listeners and number != self._queue.number:
                    raise MachineError(
                        f"another gateway is running: {describe_listener(listeners[number])} on queue {number}",
                        "stop it first",
                    )
        residual.remove_leftover()
        self._open_residual_sets(undo)
        undo.callback(firewall.remove, backend)
        firewall.apply(backend, self._settings)  # replaces a leftover of the same kind without a gap
        self._backend = backend
        for leftover in firewall.find_leftovers():
            if leftover.backend is not backend:
                firewall.remove(leftover.backend)

    def _open_residual_sets(self, undo: ExitStack) -> None:
        """Let the kernel refuse what a residual block is about; without that, the engine alone refuses it."""
        if not any(rule.residual is not None for rule in self._policy.rules):
            return
        try:
            self._residual.open(self._settings)
        except MachineError as error:
            self._say(f"middlebox: residual blocks are carried out in user space only: {error}")
            return
        undo.callback(self._residual.close)

    # --- running ----------------------------------------------------------------------------------

    def _loop(self, wakeup: socket.socket) -> None:
        ready = select.poll()
        ready.register(self._queue, select.POLLIN)
        ready.register(wakeup, select.POLLIN)
        if self._tracking is not None:
            ready.register(self._tracking, select.POLLIN)
        now = self._clock()
        expire_at, stats_at, flush_at = now + EXPIRE_SECONDS, now + STATS_SECONDS, now
        while not self._stop_requested:
            next_turn = min(expire_at, stats_at)
            if flush_at > now:
                next_turn = min(next_turn, flush_at)
            ready.poll(max(0.0, next_turn - now) * 1000)
            with suppress(BlockingIOError):
                wakeup.recv(SIGNAL_BYTES)
            if self._tracking is not None:  # before the queue: a connection may end and begin again on the same ports
                for connection in self._tracking.ended(ENDS_A_TURN):
                    self._engine.close(connection.key, connection.totals, self._clock())
            self._queue.drain(until=self._clock() + FLUSH_SECONDS)
            if blocks := self._engine.take_blocks():
                self._residual.add(blocks)
            now = self._clock()
            if now >= expire_at:
                self._engine.expire(now)
                expire_at = now + EXPIRE_SECONDS
            if now >= stats_at:
                self._write([self._engine.stats_event(now)])
                stats_at = now + STATS_SECONDS
            if now >= flush_at and self._write(self._engine.take_events()):
                flush_at = now + FLUSH_SECONDS  # the first event after a pause is written at once

    def _write(self, new_events: list[events.Event]) -> bool:
        """Log events; False when there were none."""
        if self._log is not None and new_events:
            self._log.write(new_events)
            self._log.flush()
        return bool(new_events)

    def _report_fault(self, error: Exception, raw: bytes) -> None:
        """A bug of ours outside the engine, which answers its own. Once a minute with the packet's headers."""
        now = self._clock()
        if now < self._fault_event_due:
            return
        self._fault_event_due = now + FAULT_EVENT_SECONDS
        message = f"{type(error).__name__}: {error}"
        first_bytes = raw[:FAULT_FIRST_BYTES]
        count = self._queue.counters.faults
        event = events.error_event(
            "shell_error", message, count=count, first_bytes=first_bytes, policy=self._policy, now=now
        )
        self._write([event])
        self._say(f"middlebox: error while judging a packet ({message}), first bytes {first_bytes.hex()}")

    # --- end --------------------------------------------------------------------------------------

    def _finish(self, summary: Summary) -> None:
        """Stop the chain, answer what waits, and fill in the summary."""
        queue = self._queue
        if self._backend is not None:
            firewall.detach(self._backend)
        queue.repeat = False  # the chain is gone: what still waits gets its final answer here
        ready = select.poll()
        ready.register(queue, select.POLLIN)
        deadline = self._clock() + LAST_DRAIN_SECONDS
        while ready.poll(LAST_PACKET_MILLISECONDS) and self._clock() < deadline:
            queue.drain(until=deadline)
        if self._backend is not None:
            summary.hook_counters = self._replaced_counters + firewall.read_counters(self._backend)
        status = read_queue_status().get(queue.number, QueueStatus(queue.number, 0, 0, 0, 0))
        now = self._clock()
        if self._tracking is not None:
            for connection in (*self._tracking.ended(), *self._tracking.open_connections()):
                self._engine.close(connection.key, connection.totals, now)
            summary.ends_lost = self._tracking.overruns
        self._engine.finish(now)
        if self._log is not None:  # closing it writes them, however many they are
            self._log.write([*self._engine.take_events(), self._engine.stats_event(now)])
        counters = self._engine.counters
        summary.epoch = self._settings.epoch
        summary.packets_inspected = queue.counters.packets
        summary.settled_packets = queue.counters.settled
        summary.returned_packets = queue.counters.returned
        summary.kernel_drops, summary.user_drops = status.kernel_drops, status.user_drops
        summary.flows = counters.flows
        summary.verdicts, summary.rules = dict(counters.verdicts), dict(counters.rules)
        summary.blocks_added, summary.blocks_failed = self._residual.added, self._residual.failed
        summary.resets_injected, summary.resets_failed = self._resets.sent, self._resets.failed
        summary.internal_errors = counters.internal_errors + queue.counters.faults
        summary.undecodable = counters.undecodable.total()


def rates_of(policy: Policy) -> tuple[int, ...]:
    """Every rate that a rule throttles at, bits a second, in rising order."""
    return tuple(sorted({rule.rate for rule in policy.rules if rule.rate is not None}))


def steady_clock() -> Callable[[], float]:
    """A clock that shows wall time as of now and then never goes back or jumps."""
    offset = time.time() - time.monotonic()
    monotonic = time.monotonic
    return lambda: monotonic() + offset


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep the cyclic collector from looking through all flows while packets wait.

    Nothing on a packet's way makes reference cycles, so nothing is left behind; `tests/test_engine.py` holds us to it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def require_capabilities() -> None:
    """Check the rights that the gateway needs.

    Raises:
        MachineError: A right is missing.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    needed = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
    if effective & needed != needed:
        raise MachineError("the gateway needs CAP_NET_ADMIN and CAP_NET_RAW", "run as root: sudo middlebox run ...")


class EpochFile:
    """Keeps the last used epoch, so that marks which a previous run left on connections are never taken for ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def next(self) -> int:
        """Take the next epoch; no two callers get the same one.

        Raises:
            MachineError: The file cannot be written, or holds something else.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            problem = f"cannot keep the epoch in {self._path} ({error.strerror})"
            raise MachineError(problem, f"make {self._path.parent} a directory that can be written to") from None
        with open(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            try:
                epoch = int(text or b"0") + 1
            except ValueError:
                raise MachineError(
                    f"{self._path} holds {text[:20]!r} and no number", f"run `rm {self._path}`"
                ) from None
            file.seek(0)
            file.write(b"%d\n" % epoch)
            file.truncate()
            return epoch
