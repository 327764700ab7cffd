"""The memories that detectors share across flows: found again, and bounded."""

from typing import ClassVar

from middlebox.detect.base import Detector, Scope
from middlebox.flow import Flow
from middlebox.memories import Memories
from middlebox.packet import Packet, decode
from tests.packets import CLIENT, udp


class Slate:
    """Something to write on."""


class Remembering(Detector):
    name: ClassVar[str] = "remembering"
    remembers: ClassVar[Scope | None] = Scope.SERVICE
    memory: ClassVar[type] = Slate

    def __init__(self, memory: Slate | None = None) -> None:
        self.slate = memory


class Forgetful(Detector):
    name: ClassVar[str] = "forgetful"


def flow_to(server: str) -> Flow:
    packet = decode(udp(CLIENT, (server, 53), b"x"))
    assert isinstance(packet, Packet)
    return Flow(packet, 0.0, 1)


def slate_for(memories: Memories, server: str) -> Slate | None:
    detector = memories.make(flow_to(server), Remembering)
    assert isinstance(detector, Remembering)
    return detector.slate


def test_the_same_service_gets_the_same_memory() -> None:
    memories = Memories()
    first = slate_for(memories, "203.0.113.1")
    assert isinstance(first, Slate)
    assert slate_for(memories, "203.0.113.1") is first
    assert slate_for(memories, "203.0.113.2") is not first


def test_a_detector_that_remembers_nothing_leaves_nothing() -> None:
    memories = Memories()
    assert isinstance(memories.make(flow_to("203.0.113.1"), Forgetful), Forgetful)
    assert len(memories) == 0


def test_the_memory_that_was_longest_unused_goes_first() -> None:
    memories = Memories(at_most=2)
    first, second = slate_for(memories, "203.0.113.1"), slate_for(memories, "203.0.113.2")
    assert slate_for(memories, "203.0.113.1") is first
    slate_for(memories, "203.0.113.3")
    assert len(memories) == 2
    assert slate_for(memories, "203.0.113.1") is first
    assert slate_for(memories, "203.0.113.2") is not second
