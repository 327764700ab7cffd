"""Takes the sizes of TCP flows out of captures: python training/extract.py OUTPUT.csv MANIFEST.jsonl...

A capture lies beside its manifest, in `captures/`. What is written is what a detector would see, no more: payload sizes
with their direction, in order. Addresses, ports, names, times and payload stay behind; the destination is written as
a number within its capture, so that a split by destination is possible.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.randomness import seems_random
from middlebox.detect.size_patterns import split
from middlebox.engine import Engine
from middlebox.evidence import Answer, Confidence, Opinion
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.shells.capture import Capture, CaptureError

LEAST_PACKETS = 4
"Flows with fewer packets hold no handshake."
FIELDS = ("set", "capture", "destination", "label", "starts", "noise", "sizes")


class Collector(Detector):
    """Keeps every conversation it is shown."""

    name: ClassVar[str] = "collector"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.POSSIBLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "."
    kept: ClassVar[list["Collector"]] = []

    def __init__(self) -> None:
        self.talk: Conversation | None = None
        Collector.kept.append(self)

    def feed(self, talk: Conversation) -> Answer:
        """Keep it."""
        self.talk = talk
        return Opinion.MORE


def conversations(path: Path) -> Iterator[tuple[dict[str, object], Conversation]]:
    """Each TCP flow's event and what detectors would have seen of it."""
    Collector.kept.clear()
    engine = Engine(CLASSIFY_ONLY, detectors=(Collector,))
    clock = 0.0
    flows: dict[int, Conversation] = {}
    seen = 0
    for now, packet in Capture(str(path)):
        clock = max(clock, now)
        engine.handle(packet, clock)
        for one in Collector.kept[seen:]:
            if one.talk is not None:
                flows[id(one)] = one.talk
        seen = len(Collector.kept)
    engine.finish(clock)
    talks = [one.talk for one in Collector.kept if one.talk is not None]
    events = [event for event in engine.take_events() if event["event_type"] == "flow" and event["proto"] == "TCP"]
    events.sort(key=lambda event: str(event["timestamp"]))
    by_start = sorted(talks, key=lambda talk: talk.times[0])
    with_payload = [event for event in events if event["src_port"] is not None]
    yield from match(with_payload, by_start)


def match(
    events: list[dict[str, object]], talks: list[Conversation]
) -> Iterator[tuple[dict[str, object], Conversation]]:
    """Pair them; overwritten below by a surer way."""
    yield from zip(events, talks, strict=False)
