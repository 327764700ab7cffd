"""Takes the sizes of TCP flows out of captures: python training/extract.py OUTPUT.csv SET=MANIFEST.jsonl...

The captures lie beside their manifest or in `captures/`. What is written is what a detector would see and no more:
payload sizes with their direction, in order, after what the engine's bounds cut off. Addresses, ports, names, times and
payload stay behind; the destination becomes a number within its capture, so that flows can be split by destination.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.five_rules import find_exemption
from middlebox.detect.randomness import Framing, seems_random
from middlebox.engine import Engine
from middlebox.events import Event
from middlebox.evidence import Answer, Confidence, Evidence
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.shells.capture import Capture, CaptureError

LEAST_PACKETS = 4
"Flows with fewer packets hold no handshake."
FIELDS = ("set", "capture", "destination", "kind", "label", "noise", "sizes")


class Collector(Detector):
    """Tells the sizes it is shown."""

    name: ClassVar[str] = "collector"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls",)
    facts: ClassVar[tuple[str, ...]] = ("collector.sizes", "collector.noise")
    reaches: ClassVar[Confidence] = Confidence.POSSIBLE
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "."

    def __init__(self) -> None:
        self._framing = Framing()
        self._is_framed = False

    def feed(self, talk: Conversation) -> Answer:
        """Tell all sizes so far."""
        self._is_framed |= self._framing.has_ended_framed(talk)
        noise = not self._is_framed and not talk.midstream and seems_random(talk.client) and seems_random(talk.server)
        suspect = noise and find_exemption(talk.client[: talk.sizes[0]]) is None if talk.sizes[0] > 0 else False
        facts: dict[str, object] = {"collector.sizes": list(talk.sizes), "collector.noise": int(noise) + int(suspect)}
        return Evidence("tls", Confidence.POSSIBLE, "-", facts, more=True)


def events_of(path: Path) -> list[Event]:
    """The flow events of a capture, as far as it can be read."""
    engine = Engine(CLASSIFY_ONLY, detectors=(Collector,))
    clock = 0.0
    try:
        for now, packet in Capture(str(path)):
            clock = max(clock, now)
            engine.handle(packet, clock)
    except CaptureError as error:
        print(error, file=sys.stderr)
    engine.finish(clock)
    return [event for event in engine.take_events() if event["event_type"] == "flow" and event["proto"] == "TCP"]


def rows_of(name: str, manifest: Path) -> Iterator[dict[str, object]]:
    """One row for each TCP flow of the captures in a manifest."""
    for line in manifest.read_text(encoding="utf-8").splitlines():
        about = json.loads(line)
        path = manifest.parent / "captures" / about["file"]
        if not path.exists():
            path = manifest.parent / about["file"]
        if not path.exists():
            continue
        labels = {}
        for flow in about["flows"]:
            for source, destination in (("src", "dst"), ("dst", "src")):
                ports = (flow["sport"], flow["dport"]) if source == "src" else (flow["dport"], flow["sport"])
                labels[flow[source], flow[destination], *ports] = flow["kind"], flow["label"]
        destinations: dict[object, int] = {}
        for event in events_of(path):
            facts = event["middlebox"]["evidence"][-1]["facts"] if event["middlebox"]["evidence"] else {}  # type: ignore[index]
            sizes = facts.get("collector.sizes", [])
            ends = event["src_ip"], event["dest_ip"], event["src_port"], event["dest_port"]
            kind, label = labels.get(ends, ("unknown", "unknown"))
            destination = destinations.setdefault((event["dest_ip"], event["dest_port"]), len(destinations))
            if len(sizes) >= LEAST_PACKETS and min(sizes) < 0 < max(sizes):
                yield {
                    "set": name,
                    "capture": about["file"],
                    "destination": destination,
                    "kind": kind,
                    "label": label,
                    "noise": facts["collector.noise"],
                    "sizes": " ".join(map(str, sizes)),
                }


def main(output: str, *sources: str) -> None:
    """Write one table."""
    with open(output, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        for source in sources:
            name, _, manifest = source.partition("=")
            for row in rows_of(name, Path(manifest)):
                table.writerow(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
