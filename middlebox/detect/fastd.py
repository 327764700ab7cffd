"""fastd, recognised by handshakes whose answer repeats the keys of the question.

The one rule: the records fill the message, and `confirmed` needs a key that the other side has sent.
Layout: fastd's documentation (Protocols, Handshake packet format) and src/handshake.h: type 1, zero, length; records
with type and length, little-endian. Since version 22 the same stands behind twelve bytes that look like L2TP control.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_L2TP_START = 0xC8
_L2TP = bytes.fromhex("c803000c0000000000000000")
"The header that handshakes have since version 22, for kernel offloading (src/fastd.h, fastd_l2tp_control_header_t)."
_START = b"\x01\x00"
"Packet type handshake, and a reserved byte."
_HEADER_BYTES, _RECORD_HEADER_BYTES = 4, 4
_HANDSHAKE_TYPE = 0
_SENDER_KEY, _RECIPIENT_KEY, _SENDER_HANDSHAKE_KEY, _RECIPIENT_HANDSHAKE_KEY = 6, 7, 8, 9
_VERSION_NAME, _MAX_VERSION_BYTES = 13, 32
_MAX_RECORD_TYPE = 15
"src/handshake.h, fastd_handshake_record_type_t; the last one is the code over all records."
_STEPS = frozenset({1, 2, 3})
"Handshake types: initial, reply, finish."
_MAX_RECORDS = 24
_KEY_BYTES = 32
_MAX_STRANGERS = 4


def records(data: bytes, size: int) -> dict[int, bytes]:
    """Type and value of each record, empty if this is no handshake from its first to its last byte."""
    if data[0] == _L2TP_START and data.startswith(_L2TP):
        data, size = data[len(_L2TP) :], size - len(_L2TP)
    if data[:2] != _START or len(data) != size or len(data) < _HEADER_BYTES + _RECORD_HEADER_BYTES:
        return {}
    if data[2] << 8 | data[3] not in (0, size - _HEADER_BYTES):  # not filled in before version 17
        return {}
    found: dict[int, bytes] = {}
    at = _HEADER_BYTES
    while at < size:
        start = at + _RECORD_HEADER_BYTES
        kind, end = int.from_bytes(data[at : at + 2], "little"), start + int.from_bytes(data[at + 2 : start], "little")
        if end > size or start > size or kind > _MAX_RECORD_TYPE or kind in found or len(found) >= _MAX_RECORDS:
            return {}
        found[kind] = data[start:end]
        at = end
    return found


class Fastd(Detector):
    """Recognises fastd from its handshake."""

    __slots__ = ("_given", "_keys", "_strangers")

    name: ClassVar[str] = "fastd"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("fastd",)
    client_begins: ClassVar[bytes] = bytes((_START[0], _L2TP_START))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ("fastd.version",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Flows joined after the handshake, which is repeated every hour or so."

    def __init__(self) -> None:
        self._given = False
        self._keys: tuple[set[bytes], set[bytes]] = (set(), set())
        "Keys that each side has sent, indexed by `from_client`."
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look for a handshake, and in it for the other side's keys."""
        found = records(talk.data, talk.size)
        step = found.get(_HANDSHAKE_TYPE, b"")
        keys = {value for kind, value in found.items() if kind in (_SENDER_KEY, _SENDER_HANDSHAKE_KEY)}
        if len(step) != 1 or step[0] not in _STEPS or not keys or any(len(key) != _KEY_BYTES for key in keys):
            self._strangers += 1
            return Opinion.MORE if self._given and self._strangers <= _MAX_STRANGERS else Opinion.NO
        self._strangers = 0
        known = self._keys[not talk.from_client]
        version = found.get(_VERSION_NAME, b"")
        is_version = version.isascii() and version.decode().isprintable() and 0 < len(version) <= _MAX_VERSION_BYTES
        facts = {"fastd.version": version.decode("ascii")} if is_version else {}
        if {found.get(_RECIPIENT_KEY, b""), found.get(_RECIPIENT_HANDSHAKE_KEY, b"")} & known and step[0] > 1:
            return Evidence("fastd", Confidence.CONFIRMED, "a handshake repeats a key that the other side sent", facts)
        self._keys[talk.from_client].update(keys)
        if self._given or len(self._keys[talk.from_client]) > 2 * _MAX_RECORDS:
            return Opinion.MORE
        self._given = True
        reason = f"a well-formed handshake message, type {step[0]}"
        return Evidence("fastd", Confidence.PROBABLE, reason, facts, more=True)
