"""Samples taken from the capture library: a detector with a capture needs no sample written by hand.

A flow whose description says that it truly is one of a detector's protocols becomes a sample of it: the payload that
the engine would show, in order, at most MAX_MESSAGES of them. It must reach the detector's highest confidence.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import yaml

from middlebox.detect.base import Conversation, Detector
from middlebox.engine import Engine
from middlebox.events import ORDER_KEY
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.shells.capture import Capture
from tests.detect.conversations import Message
from tests.detect.sample import Sample

LIBRARY = Path(__file__).parents[1] / "captures"
MAX_MESSAGES = 40


def samples_from_captures(kind: type[Detector]) -> list[Sample]:
    """Every described flow of one of the detector's protocols, as a sample."""
    samples = []
    for path, description in _descriptions():
        for number, (flow, (transport, messages)) in enumerate(zip(description, _conversations(path), strict=True)):
            fitting = [name for name in flow["truth"] if name in kind.protocols]
            if fitting and "known_miss" not in flow and transport in kind.transports:
                samples.append(Sample(f"{path.stem}-{number}", transport, messages, fitting[0], kind.reaches))
    return samples


def _descriptions() -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for description in sorted(LIBRARY.rglob("*.yaml")):
        flows = yaml.safe_load(description.read_text(encoding="utf-8")).get("flows")
        path = next(path for path in description.parent.glob(f"{description.stem}.pcap*"))
        if flows:
            yield path, flows


@cache
def _conversations(path: Path) -> list[tuple[int, tuple[Message, ...]]]:
    """Transport and payload of every flow of a capture, in the order of their first packets."""
    heard: list[tuple[int, list[Message]]] = []

    def listener(transport: int) -> type[Detector]:
        class Listener(Detector):
            """Writes down what it is shown; its first evidence says where."""

            name: ClassVar[str] = "listener"
            transports: ClassVar[tuple[int, ...]] = (transport,)
            protocols: ClassVar[tuple[str, ...]] = ("unknown",)
            facts: ClassVar[tuple[str, ...]] = ("listener.number",)
            reaches: ClassVar[Confidence] = Confidence.POSSIBLE

            def __init__(self) -> None:
                self.messages: list[Message] = []
                self.number = len(heard)
                heard.append((transport, self.messages))

            def feed(self, talk: Conversation) -> Answer:
                self.messages.append((talk.from_client, talk.data))
                if len(self.messages) == 1:
                    facts = {"listener.number": self.number}
                    return Evidence("unknown", Confidence.POSSIBLE, "its first payload", facts, more=True)
                return Opinion.MORE if len(self.messages) < MAX_MESSAGES else Opinion.NO

        return Listener

    engine = Engine(CLASSIFY_ONLY, detectors=tuple(map(listener, range(256))))
    now = 0.0
    for now, raw in Capture(str(path)):
        engine.handle(raw, now)
    engine.finish(now)
    ended = [event for event in engine.take_events() if event["event_type"] == "flow"]
    found = []
    for event in sorted(ended, key=lambda event: int(str(event[ORDER_KEY]))):
        told = event.get("listener")
        transport, messages = heard[told["number"]] if isinstance(told, dict) else (0, [])
        found.append((transport, tuple(messages)))
    return found
