"""How long each detector takes on its slowest packet.

A machine that does other things at the same time makes single packets slow now and then, so every capture is replayed
several times and of each packet the fastest time counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import cast

from middlebox.detect import DETECTORS
from middlebox.detect.base import Conversation, Detector
from middlebox.engine import Engine
from middlebox.evidence import Answer
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.shells.capture import Capture, CaptureError

ROUNDS = 3
"Replays of each capture."
_SLOW_NS = 200_000
"Packets below this are not worth another round: the bar is 1 ms."


@dataclass(slots=True, frozen=True)
class Worst:
    """The packet on which a detector took longest."""

    detector: str
    microseconds: float
    capture: str
    call: int
    "Ordinal of the call of this detector in the capture."
    payload_bytes: int


class _Clock:
    """The time of every call of every detector in one replay, by ordinal."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[int, int]]] = {kind.name: [] for kind in DETECTORS}


def _timed(kind: type[Detector], clock: _Clock) -> type[Detector]:
    """The same detector, with a clock around `feed`."""
    calls = clock.calls[kind.name]
    feed = kind.feed

    def timed_feed(self: Detector, talk: Conversation) -> Answer:
        start = perf_counter_ns()
        answer = feed(self, talk)
        calls.append((perf_counter_ns() - start, len(talk.data)))
        return answer

    return cast(type[Detector], type(kind.__name__, (kind,), {"feed": timed_feed, "__slots__": ()}))


def _replay(path: Path) -> dict[str, list[tuple[int, int]]]:
    clock = _Clock()
    engine = Engine(CLASSIFY_ONLY, detectors=tuple(_timed(kind, clock) for kind in DETECTORS))
    try:
        for now, packet in Capture(str(path)):
            engine.handle(packet, now)
    except CaptureError:
        pass  # what could be read of it counts
    return clock.calls


def slowest(paths: Sequence[Path]) -> list[Worst]:
    """For each detector its slowest packet in all captures, the slowest detector first."""
    worst: dict[str, Worst] = {}
    for path in paths:
        calls = _replay(path)
        if any(ns >= _SLOW_NS for times in calls.values() for ns, _ in times):
            for _ in range(ROUNDS - 1):
                again = _replay(path)
                for name, times in calls.items():
                    calls[name] = [
                        (min(first[0], second[0]), first[1]) for first, second in zip(times, again[name], strict=True)
                    ]
        for name, times in calls.items():
            for call, (ns, size) in enumerate(times, start=1):
                if name not in worst or ns / 1000 > worst[name].microseconds:
                    worst[name] = Worst(name, ns / 1000, path.name, call, size)
    return sorted(worst.values(), key=lambda one: -one.microseconds)
