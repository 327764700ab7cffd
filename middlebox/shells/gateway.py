"""The live gateway: joins kernel hook, queue, engine, resets and event log, and undoes all of it.

The rule kept here: whatever ends a run, an error in set-up, SIGTERM, Ctrl-C or a bug, the kernel is left as it was
found. Only SIGKILL can prevent that; the next start replaces what it left.

While it runs, SIGHUP or the control command `reload` loads the policy again, and at the edges of schedules and
approvals every open flow is judged again. In both cases a new epoch brings open connections back from the kernel.

Order of set-up: rights, queue, hook. The queue number comes before the hook, so a second gateway fails before it
touches the first one's chain, and no packet is sent to a queue without a listener.

Order of the end: take the jump to the chain out, answer what waits in the queue, then remove the chain and give up
the queue. The other way round, packets that are in the queue when it closes would be lost.
"""

import fcntl
import gc
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Literal

from middlebox import __version__, events
from middlebox.engine import Engine
from middlebox.flow import Flow
from middlebox.policy.explain import explain_flow
from middlebox.policy.problem import PolicyError
from middlebox.policy.rule import Mode, Policy
from middlebox.policy.schedule import is_open
from middlebox.shells import firewall, residual
from middlebox.shells.clock import PolicyClock
from middlebox.shells.conntrack import ConnectionTracking
from middlebox.shells.control import Answer, ControlSocket, Handler, Later, Record, RequestError
from middlebox.shells.errors import InputError, MachineError
from middlebox.shells.eventlog import EventLog
from middlebox.shells.firewall import DEFAULT_MARK_MASK, Backend, HookCounters, HookSettings
from middlebox.shells.loader import PolicyLoading
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

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOCK_SET_BACK_SECONDS = 1.0
"Policy time that goes back by more was set, and what is open is looked up again."

FLOWS_NAMED = 5
"Of several that a request may mean."

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
    control: Path | None = None
    "Where the control socket is made; None: `control` in the state directory, and a run without one if that fails."
    clock: PolicyClock = field(default_factory=PolicyClock)
    "By which schedules and approvals are read."


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
    """Enforce a policy on this machine's forwarded packets until SIGTERM or SIGINT; SIGHUP loads it again.

    Args:
        policy: A validated policy.
        options: What the command line asks for.
        make_engine: Called with the policy, `epoch=`, `kernel_tells_ends=`, `policy_time=` and `kernel_totals=`.
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
        self._options = options
        self._policy = policy = self._with_options(policy)
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
        self._reload_requested = False
        self._loading: PolicyLoading | None = None
        self._asking: list[Later] = []
        "Those who have asked for a load that has not begun."
        self._loading_for: list[Later] = []
        "Those who have asked for the load that is under way."
        self._control: ControlSocket | None = None
        self._policy_time = 0.0
        "As it was when it was last looked at."
        self._started = 0.0
        self._tracking: ConnectionTracking | None = None
        self._engine: Engine
        self._queue: PacketQueue

    def run(self) -> Summary:
        """Set up, judge packets until told to stop, undo, and report. Can be called once."""
        summary = Summary(policy=self._policy.name)
        with self._stop_signals() as wakeup, ExitStack() as undo:
            require_capabilities()
            undo.callback(self._resets.close)
            undo.callback(self._stop_loading)
            self._tracking = self._start_tracking(undo)
            if self._options.events is not None:
                self._log = EventLog(self._options.events)
                undo.callback(self._log.close)
            self._start_queue(undo)
            self._warn_of_missing_interfaces()
            if not self._stop_requested:
                self._install_hook(undo)
            summary.hook = self._backend.value if self._backend else "none"
            started = self._started = self._clock()
            self._engine.renew(started, epoch=self._settings.epoch)
            self._policy_time = self._options.clock.now()
            self._policy_event("loaded")
            self._say(
                f"middlebox: policy {self._policy.name} ({self._policy.mode.value}) on queue {self._queue.number}, "
                f"hook {summary.hook}, epoch {self._settings.epoch}"
            )
            self._open_control(undo)
            with _without_garbage_collection():
                self._loop(wakeup)
                self._finish(summary)
            summary.seconds = self._clock() - started
        if self._log is not None:
            summary.events_lost = self._log.lost
        return summary

    def advance_epoch(self, policy: Policy | None = None) -> None:
        """Bring every open flow back to user space, by replacing the chain with one that knows only a new epoch.

        Args:
            policy: By which they are judged from now on; None: by the same as before, at another time.
        """
        epoch = self._epochs.next()
        self._settings = replace(self._settings, epoch=epoch)
        if policy is not None:
            self._policy = policy
            self._settings = replace(
                self._settings, no_listener_open=policy.fail.no_listener_open, rates=rates_of(policy)
            )
            self._queue.internal_error = self._internal_error
            self._queue.set_full_open(policy.fail.queue_full_open)
        self._engine.renew(self._clock(), epoch=epoch, policy=policy)
        # First our marks, then the chain: a packet in between comes back once and gets its answer in the queue.
        self._queue.marks = self._settings.marks
        if self._backend is not None:
            self._replaced_counters += firewall.read_counters(self._backend)
            firewall.apply(self._backend, self._settings)
        if self._backend is not None:
            self._open_residual_sets()
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

        def reload(_number: int, _frame: FrameType | None) -> None:
            self._reload_requested = True

        handlers = {**dict.fromkeys(STOP_SIGNALS, stop), signal.SIGHUP: reload}
        before = {number: signal.getsignal(number) for number in handlers}
        descriptor = signal.set_wakeup_fd(wakeup.fileno())
        try:
            for number, handle in handlers.items():
                signal.signal(number, handle)
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
        self._engine = self._make_engine(
            self._policy,
            epoch=epoch,
            kernel_tells_ends=self._tracking is not None,
            policy_time=self._options.clock.engine_time,
            kernel_totals=None if self._tracking is None else self._tracking.totals,
        )
        self._queue = PacketQueue(
            self._options.queue_num,
            self._engine.handle,
            self._settings.marks,
            self._clock,
            repeat=self._options.hook != "none",
            internal_error=self._internal_error,
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
        undo.callback(self._residual.close)
        self._open_residual_sets()
        undo.callback(firewall.remove, backend)
        firewall.apply(backend, self._settings)  # replaces a leftover of the same kind without a gap
        self._backend = backend
        for leftover in firewall.find_leftovers():
            if leftover.backend is not backend:
                firewall.remove(leftover.backend)

    def _open_residual_sets(self) -> None:
        """Let the kernel refuse what a residual block is about; without that, the engine alone refuses it."""
        if self._residual.is_open or not any(rule.residual is not None for rule in self._policy.rules):
            return
        try:
            self._residual.open(self._settings)
        except MachineError as error:
            self._say(f"middlebox: residual blocks are carried out in user space only: {error}")

    def _with_options(self, policy: Policy) -> Policy:
        """The policy as the command line changes it.

        Raises:
            InputError: The policy asks for what these options exclude.
        """
        throttling = [rule.name for rule in policy.rules if rule.rate is not None]
        if throttling and self._options.hook == "none":
            raise InputError(
                f"rule {throttling[0]} throttles, which only a hook of ours can: "
                "use --hook auto, or give the rule another action"
            )
        if self._options.monitor:
            policy = replace(policy, mode=Mode.MONITOR)
        if self._options.fail is not None:
            is_open = self._options.fail == "open"
            policy = replace(policy, fail=replace(policy.fail, no_listener_open=is_open, queue_full_open=is_open))
        return policy

    @property
    def _internal_error(self) -> Verdict:
        return self._policy.fail.internal_error if self._policy.mode is Mode.ENFORCE else Verdict.PASS

    def _open_control(self, undo: ExitStack) -> None:
        path = self._options.control or self._options.state_directory / "control"
        handlers: dict[str, Handler] = {
            "status": self._status,
            "flows": self._flows,
            "explain": self._explain,
            "reload": self._ask_reload,
        }
        control = ControlSocket(path, handlers)
        undo.callback(control.close)
        try:
            control.open()
        except MachineError as error:
            if self._options.control is not None:
                raise
            self._say(f"middlebox: it runs without a control socket: {error}")
        else:
            self._control = control

    # --- running ----------------------------------------------------------------------------------

    def _loop(self, wakeup: socket.socket) -> None:
        ready = select.poll()
        for source in (self._queue, wakeup, self._tracking, self._control):
            if source is not None:
                ready.register(source, select.POLLIN)
        now = self._clock()
        expire_at, stats_at, flush_at = now + EXPIRE_SECONDS, now + STATS_SECONDS, now
        while not self._stop_requested:
            next_turn = min(expire_at, stats_at)
            if flush_at > now:
                next_turn = min(next_turn, flush_at)
            wait = min(next_turn - now, self._options.clock.seconds_until(self._engine.next_edge))
            if self._control is not None and self._control.is_waiting:
                wait = 0.0
            ready.poll(max(0.0, wait) * 1000)
            with suppress(BlockingIOError):
                wakeup.recv(SIGNAL_BYTES)
            if self._tracking is not None:  # before the queue: a connection may end and begin again on the same ports
                for connection in self._tracking.ended(ENDS_A_TURN):
                    self._engine.close(connection.key, connection.totals, self._clock())
            self._watch_policy_time()
            self._queue.drain(until=self._clock() + FLUSH_SECONDS)
            if blocks := self._engine.take_blocks():
                self._residual.add(blocks)
            self._go_on_with_reload(ready)
            if self._control is not None:
                self._control.turn()
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

    def _policy_event(self, change: str, problems: Sequence[str] = ()) -> None:
        event = events.policy_event(
            self._policy,
            epoch=self._settings.epoch,
            now=self._clock(),
            change=change,
            open_schedules=self._open_schedules(),
            problems=problems,
        )
        self._write([event])

    # --- time -------------------------------------------------------------------------------------

    def _open_schedules(self) -> list[str]:
        at = self._options.clock.now()
        return [name for name, schedule in self._policy.schedules.items() if is_open(schedule, at)]

    def _watch_policy_time(self) -> None:
        """Judge every open flow again when policy time has reached an edge, or was set back."""
        at, before = self._options.clock.now(), self._policy_time
        self._policy_time = at
        if at < self._engine.next_edge and at > before - CLOCK_SET_BACK_SECONDS:
            return
        self.advance_epoch()
        schedules = self._policy.schedules.values()
        changes = [
            f"{schedule.name} {'opened' if is_open(schedule, at) else 'closed'}"
            for schedule in schedules
            if is_open(schedule, at) != is_open(schedule, before)
        ]
        if changes:
            self._policy_event(f"schedule edge: {', '.join(changes)}")
        else:
            self._policy_event("approval edge" if at > before else "clock set back")

    # --- reload -----------------------------------------------------------------------------------

    def _go_on_with_reload(self, ready: select.poll) -> None:
        """Begin to load the policy again where that was asked for, or take in what the loading child has sent."""
        if self._loading is None:
            if not self._reload_requested:
                return
            self._reload_requested = False
            self._loading_for, self._asking = self._asking, []
            if not self._policy.source:
                self._refuse_reload(["the policy did not come from a file"])
                return
            try:
                self._loading = PolicyLoading(self._policy.source)
            except OSError as error:
                self._refuse_reload([f"cannot start a process that loads it: {error.strerror}"])
                return
            ready.register(self._loading, select.POLLIN)
            return
        descriptor = self._loading.fileno()
        outcome = self._loading.read()
        if outcome is None:
            return
        ready.unregister(descriptor)
        self._loading = None
        if isinstance(outcome, PolicyError):
            self._refuse_reload([str(problem) for problem in outcome.problems])
            return
        try:
            policy = self._with_options(outcome)
            HookSettings(rates=rates_of(policy))
        except InputError as error:
            self._refuse_reload([str(error)])
            return
        self.advance_epoch(policy)
        self._policy_event("reloaded")
        self._say(
            f"middlebox: policy {self._policy.name} ({self._policy.mode.value}) reloaded, epoch {self._settings.epoch}"
        )
        self._answer_reload([self._about_policy()])

    def _refuse_reload(self, problems: list[str]) -> None:
        for problem in problems:
            self._say(problem)
        self._say(f"middlebox: reload refused; policy {self._policy.name} stays in force, epoch {self._settings.epoch}")
        self._policy_event("reload refused", problems)
        self._answer_reload(
            [{"problem": problem} for problem in problems], error="reload refused; the old policy stays in force"
        )

    def _answer_reload(self, records: list[Record], error: str | None = None) -> None:
        for answer in self._loading_for:
            answer.finish(records, error=error)
        self._loading_for.clear()

    def _stop_loading(self) -> None:
        if self._loading is not None:
            self._loading.close()

    # --- what the control socket answers ----------------------------------------------------------

    def _ask_reload(self, _request: Record) -> Later:
        """Load the policy again. Who asks while it is being loaded waits for another load, which sees the new file."""
        answer = Later()
        self._reload_requested = True
        self._asking.append(answer)
        return answer

    def _about_policy(self) -> dict[str, object]:
        policy, clock = self._policy, self._options.clock
        edge = self._engine.next_edge
        return {
            "policy": policy.name,
            "mode": policy.mode.value,
            "source": policy.source,
            "digest": policy.digest,
            "rules": len(policy.rules),
            "epoch": self._settings.epoch,
            "policy_time": events.timestamp(clock.now()),
            "clock": "simulated" if clock.is_simulated else "wall",
            "open_schedules": self._open_schedules(),
            "next_edge": events.timestamp(edge) if edge < math.inf else None,
        }

    def _status(self, _request: Record) -> Answer:
        now = self._clock()
        stats = self._engine.stats_event(now)["stats"]
        queue = read_queue_status().get(self._queue.number, QueueStatus(self._queue.number, 0, 0, 0, 0))
        yield {
            "timestamp": events.timestamp(now),
            "version": __version__,
            "pid": os.getpid(),
            "seconds": round(now - self._started, 3),
            "hook": self._backend.value if self._backend else "none",
            "queue": self._queue.number,
            "queue_waiting": queue.waiting,
            "kernel_drops": queue.kernel_drops,
            "user_drops": queue.user_drops,
            "inspected_packets": self._queue.counters.packets,
            "faults": self._queue.counters.faults,
            "resets_injected": self._resets.sent,
            "events_lost": self._log.lost if self._log is not None else 0,
            **self._about_policy(),
            "stats": stats,
        }

    def _flows(self, request: Record) -> Answer:
        """Flow events of open flows, the latest first."""
        protocol, verdict, limit = request.get("protocol"), request.get("verdict"), request.get("limit")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise RequestError(f"limit is {limit!r}, expected a whole number from 1 on")
        left = math.inf if limit is None else limit
        for flow in self._engine.flows():
            fits = protocol in (None, flow.protocol) and verdict in (None, flow.decision.verdict.name.lower())
            if not fits or flow.ended:
                yield None
                continue
            yield self._engine.flow_event(flow, self._clock())
            left -= 1
            if left <= 0:
                return

    def _explain(self, request: Record) -> Answer:
        wanted = request.get("flow")
        if not isinstance(wanted, str) or not wanted:
            raise RequestError('name a flow: its flow_id, or its ends such as "192.0.2.7:40112>198.51.100.9:443"')
        found: list[Flow] = []
        for flow in self._engine.flows():
            if _is_meant(flow, wanted):
                found.append(flow)
            yield None
        if not found:
            raise RequestError(f"no open flow fits {wanted}")
        if len(found) > 1:
            shown = ", ".join(f"{events.flow_id(flow)} ({_ends(flow)})" for flow in found[:FLOWS_NAMED])
            raise RequestError(f"{len(found):,} open flows fit {wanted}; name one by its flow_id: {shown}")
        [flow] = found
        at, epoch = self._options.clock.now(), self._settings.epoch
        yield explain_flow(flow, self._policy, self._engine.matcher, at, epoch=epoch).as_dict()

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


def _ends(flow: Flow) -> str:
    """`192.0.2.7:40112>198.51.100.9:443`, as people name a flow."""
    client, server = ip_address(flow.client), ip_address(flow.server)
    shown = [f"[{one}]" if one.version == 6 else str(one) for one in (client, server)]
    return f"{shown[0]}:{flow.client_port}>{shown[1]}:{flow.server_port}"


def _is_meant(flow: Flow, wanted: str) -> bool:
    if wanted.isascii() and wanted.isdigit():
        return events.flow_id(flow) == int(wanted)
    ends = _ends(flow)
    return ends == wanted if ">" in wanted else wanted in ends.split(">")


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
