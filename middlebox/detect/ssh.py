"""SSH: identification strings and the first key exchange message (RFC 4253 sections 4.2, 6 and 7.1).

The one rule: both sides must have identified themselves before anything is confirmed.
"""

import re
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_MARK = b"SSH-"
_IDENTIFICATION = re.compile(rb"SSH-(\d{1,2}\.\d{1,3})-([!-~]*)(?: [^\x00\r\n]*)?\r?\n")
"""Protocol version, software version, comments. More is forgiven than RFC 4253 section 4.2 allows: hyphens in the
software version, comments that are not ASCII, a line end without CR. Programs in use do all three."""
_MAX_IDENTIFICATION = 255
_MAX_PRELUDE = 8 * 1024
"Bytes of other lines that a server may send first. RFC 4253 sets no limit; this is half of what detectors see."

_PACKET = Struct("!IBB")
"Packet length, padding length, message number (RFC 4253 section 6)."
_KEXINIT = 20
_SHORTEST_KEXINIT = 1 + 1 + 16 + 10 * 4 + 1 + 4 + 4
"Padding length, message number, cookie, ten lists, a flag, a reserved word, the least padding (section 7.1)."
_MAX_PACKET = 35000
"Largest packet that every implementation must take (section 6.1)."
_BLOCK = 8
"Packets are padded to multiples of this before there is a cipher (section 6)."
_MIN_PADDING = 4


class _NotSshError(Exception):
    """This direction is not SSH."""


@dataclass(slots=True, frozen=True)
class Identification:
    """One side's identification string."""

    proto_version: str
    software_version: str
    end: int
    "Offset of the first byte after it."


def _read_identification(data: bytes, start: int) -> Identification | None:
    """The identification string at `start`, None while it is incomplete."""
    match = _IDENTIFICATION.match(data, start, start + _MAX_IDENTIFICATION)
    if match:
        return Identification(match[1].decode("ascii"), match[2].decode("ascii"), match.end())
    begun = data[start : start + _MAX_IDENTIFICATION]
    if (
        not begun.startswith(_MARK[: len(begun)])
        or b"\n" in begun
        or b"\0" in begun
        or len(begun) == _MAX_IDENTIFICATION
    ):
        raise _NotSshError
    return None


def _skip_prelude(server: bytes) -> int:
    """The offset of the first line that is, or may become, the server's identification string."""
    at = 0
    if not server.startswith(_MARK):
        mark = server.find(b"\n" + _MARK, 0, _MAX_PRELUDE + len(_MARK))
        at = 1 + (mark if mark >= 0 else server.rfind(b"\n", 0, _MAX_PRELUDE))
    if b"\0" in server[:at]:
        raise _NotSshError
    return at


def _read_server(server: bytes) -> Identification | None:
    start = _skip_prelude(server)
    line = server[start:]
    if line.startswith(_MARK[: len(line)]):
        return _read_identification(server, start)
    if b"\0" in line or len(server) >= _MAX_PRELUDE:
        raise _NotSshError
    return None


def _is_key_exchange(data: bytes, at: int) -> bool | None:
    """Whether a key exchange message begins at `at`; None while too little of it is there."""
    if len(data) < at + _PACKET.size:
        return None
    length, padding, number = _PACKET.unpack_from(data, at)
    return bool(
        number == _KEXINIT
        and _SHORTEST_KEXINIT <= length <= _MAX_PACKET
        and (length + 4) % _BLOCK == 0
        and _MIN_PADDING <= padding < length
    )


def _answer(client: bytes, server: bytes) -> Answer:
    client_id = _read_identification(client, 0)
    server_id = _read_server(server)
    facts: dict[str, object] = {}
    for side, identification in (("client", client_id), ("server", server_id)):
        if identification:
            facts[f"ssh.{side}.proto_version"] = identification.proto_version
            facts[f"ssh.{side}.software_version"] = identification.software_version
    if client_id and server_id:
        exchanges = (_is_key_exchange(client, client_id.end), _is_key_exchange(server, server_id.end))
        if True in exchanges and False not in exchanges:
            reason = "identification strings both ways, then a key exchange message"
            return Evidence("ssh", Confidence.CONFIRMED, reason, facts)
        more = False not in exchanges
        return Evidence("ssh", Confidence.PROBABLE, "identification strings both ways", facts, more)
    if facts:
        side = "client" if client_id else "server"
        return Evidence("ssh", Confidence.PROBABLE, f"an identification string from the {side}", facts, more=True)
    return Opinion.MORE


class Ssh(Detector):
    """Finds both identification strings, then a key exchange message."""

    name: ClassVar[str] = "ssh"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("ssh",)
    client_begins: ClassVar[bytes] = _MARK[:1]
    facts: ClassVar[tuple[str, ...]] = tuple(
        f"ssh.{side}.{version}" for side in ("client", "server") for version in ("proto_version", "software_version")
    )
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = (
        "Connections joined after their start, SSH inside another protocol, and protocol 1, which stays probable."
    )

    def __init__(self) -> None:
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge what both sides said so far, however it was cut into segments."""
        try:
            answer = only_news(_answer(talk.client, talk.server), self._given)
        except _NotSshError:
            return Opinion.NO
        if isinstance(answer, Evidence):
            self._given = answer
        return answer
