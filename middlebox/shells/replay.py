"""Captures through the engine: what the live gateway would have said to the same packets.

Every capture meets a fresh engine and is told its own time, so flows never cross captures and results never
depend on when or in what company a capture is replayed.
"""

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from middlebox.engine import Engine
from middlebox.events import ORDER_KEY, Event
from middlebox.flow import Flow
from middlebox.policy.rule import CLASSIFY_ONLY, Policy
from middlebox.shells.capture import Capture, CaptureError

_TICK_SECONDS = 1.0
"Capture time between two looks for flows that have ended."

_WINDOW_PER_JOB = 4
"Captures that may be finished ahead of the one whose turn it is, for each job: their results wait in memory."

Advance = Callable[[int], None]
"Told how many more bytes of the captures have been read."


@dataclass(slots=True)
class Replayed:
    """What came of one capture."""

    capture: str
    "The path as given."
    flows: list[Event] = field(default_factory=list)
    "One event per flow, in the order of the flows' first packets."
    packets: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    "Records without an IP packet, by reason."
    undecodable: Counter[str] = field(default_factory=Counter)
    "IP packets that could not be decoded, by reason."
    problems: list[str] = field(default_factory=list)
    "What went wrong, one line each, with the capture's name."
    unreadable: bool = False
    "True when nothing could be read at all."
    bytes_read: int = 0
    "Bytes of the file, as stored."


ReplayOne = Callable[[str, Policy], Replayed]


def replay(
    captures: Sequence[str], policy: Policy = CLASSIFY_ONLY, *, jobs: int = 1, advance: Advance | None = None
) -> Iterator[Replayed]:
    """Replay captures; yield a result for each, in the order given.

    With `jobs` above 1, that many captures are replayed at the same time, each in a process of its own.
    """
    jobs = min(jobs, len(captures))
    if jobs > 1:
        for result in replay_in_processes(captures, policy, jobs=jobs):
            if advance is not None:
                advance(result.bytes_read)
            yield result
    else:
        for path in captures:
            yield replay_capture(path, policy, advance)


def replay_capture(
    path: str,
    policy: Policy = CLASSIFY_ONLY,
    advance: Advance | None = None,
    on_end: Callable[[Flow], None] | None = None,
) -> Replayed:
    """Replay one capture; `on_end` is handed every flow when it ends."""
    result = Replayed(path)
    capture = Capture(path)
    engine = Engine(policy, on_end=on_end)
    handle = engine.handle
    clock = next_tick = 0.0
    try:
        for now, packet in capture:
            if now > clock:  # a clock that was set back must not make flows younger
                clock = now
                if now >= next_tick:
                    engine.expire(now)
                    _collect(engine, result)
                    _tell(advance, capture, result)
                    next_tick = now + _TICK_SECONDS
                engine.pass_edge(clock)
            handle(packet, clock)
    except CaptureError as error:
        result.problems.append(str(error))
        result.unreadable = True
    engine.finish(clock)
    _collect(engine, result)
    _tell(advance, capture, result)
    result.flows.sort(key=lambda event: event.pop(ORDER_KEY))  # type: ignore[arg-type,return-value]
    if capture.problem is not None:
        result.problems.append(capture.problem)
    result.packets = capture.packets
    result.skipped = capture.skipped
    result.undecodable = engine.counters.undecodable
    return result


def _collect(engine: Engine, result: Replayed) -> None:
    """Keep what the engine says about flows that ended and about its own failures."""
    for event in engine.take_events():
        if event["event_type"] == "flow":
            about = event["middlebox"]
            assert isinstance(about, dict)
            about["capture"] = result.capture
            result.flows.append(event)
        elif event["event_type"] == "error" and not result.problems:  # the first one says enough
            error = event["error"]
            assert isinstance(error, dict)
            if error["kind"] == "internal_error":
                result.problems.append(f"{result.capture}: a packet failed in our own code: {error['message']}")


def _tell(advance: Advance | None, capture: Capture, result: Replayed) -> None:
    if advance is not None and capture.bytes_read > result.bytes_read:
        advance(capture.bytes_read - result.bytes_read)
    result.bytes_read = capture.bytes_read


# --- several captures at a time -----------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Worker:
    """A process that replays one capture after the other."""

    process: SpawnProcess
    connection: Connection
    index: int = -1
    "Which capture it is at."


def replay_in_processes(
    captures: Sequence[str], policy: Policy, *, jobs: int, replay_one: ReplayOne = replay_capture
) -> Iterator[Replayed]:
    """Replay captures in `jobs` processes; yield results in the order of the captures.

    A process that dies costs the capture it was at, which is reported, and is replaced.
    """
    idle: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}
    finished: dict[int, Replayed] = {}
    sent = 0
    try:
        for turn in range(len(captures)):
            while turn not in finished:
                while sent < min(len(captures), turn + jobs * _WINDOW_PER_JOB) and len(busy) < jobs:
                    worker = idle.pop() if idle else _start_worker(policy, replay_one)
                    worker.index = sent
                    busy[worker.connection] = worker
                    with suppress(BrokenPipeError):  # it has just died, which `wait` will tell
                        worker.connection.send(captures[sent])
                    sent += 1
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    worker = busy.pop(ready)
                    try:
                        finished[worker.index] = ready.recv()
                        idle.append(worker)
                    except (EOFError, OSError):
                        finished[worker.index] = _died(captures[worker.index], _stop(worker))
            yield finished.pop(turn)
    finally:
        for worker in (*idle, *busy.values()):
            worker.process.terminate()
            _stop(worker)


def _start_worker(policy: Policy, replay_one: ReplayOne) -> _Worker:
    # Spawned, not forked: a progress bar may have started threads by now, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, policy, replay_one), daemon=True)
    process.start()
    theirs.close()  # so that its death closes the pipe
    return _Worker(process, ours)


def _work(connection: Connection, policy: Policy, replay_one: ReplayOne) -> None:
    """Replay what the parent sends until it terminates us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent cleans up
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return  # the parent is gone
        try:
            result = replay_one(path, policy)
        except Exception as error:
            result = _died(path, f"{type(error).__name__}: {error}")
        connection.send(result)


def _died(path: str, reason: str) -> Replayed:
    return Replayed(path, problems=[f"{path}: the process that replayed it failed ({reason})"], unreadable=True)


def _stop(worker: _Worker) -> str:
    """Wait for a process that has been told to end or has died; say how it ended."""
    worker.connection.close()
    worker.process.join()
    status = worker.process.exitcode or 0
    worker.process.close()
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
