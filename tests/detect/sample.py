"""What a sample exchange is, and the building blocks that samples share."""

import random
import struct
from dataclasses import dataclass

from middlebox.evidence import Confidence
from tests.detect.conversations import Message


@dataclass(slots=True, frozen=True)
class Sample:
    """One exchange, and what the detector it is listed under must make of it in the end."""

    name: str
    transport: int
    messages: tuple[Message, ...]
    protocol: str
    confidence: Confidence
    times: tuple[float, ...] = ()
    "When each message came, in seconds; one every 10 ms unless told."


def lookalike(name: str, transport: int, *messages: Message, truly: str = "unknown") -> Sample:
    """An exchange that no detector may call confirmed, but those of the protocol that it truly is."""
    return Sample(name, transport, messages, truly, Confidence.POSSIBLE)


def noise(size: int, seed: int | None = None) -> bytes:
    """Bytes that look encrypted, the same on every run."""
    return random.Random(size if seed is None else seed).randbytes(size)


def with_length(message: bytes) -> bytes:
    """A message as TCP carries it: DNS, OpenVPN, and STUN when ICE uses it over TCP."""
    return struct.pack("!H", len(message)) + message
