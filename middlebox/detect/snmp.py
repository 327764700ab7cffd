"""The Simple Network Management Protocol, versions 1, 2c and 3 (RFC 3416, RFC 3412).

The one rule: the outer sequence must end with the datagram, and every element up to the request id must have the type
and place that the message format gives it.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_PDUS = {
    0xA0: "get", 0xA1: "get-next", 0xA2: "response", 0xA3: "set", 0xA4: "trap", 0xA5: "get-bulk", 0xA6: "inform",
    0xA7: "trap", 0xA8: "report",
}  # fmt: skip
"RFC 3416 section 3; A4 is version 1's trap, which has no request id."
_ANSWERS = frozenset({0xA2, 0xA8})
_OLD_TRAP = 0xA4
_VERSIONS = {0: "1", 1: "2c", 3: "3"}
_MAX_COMMUNITY = 255


class Snmp(DatagramExchange):
    """Recognises requests and the responses that repeat their id."""

    name: ClassVar[str] = "snmp"
    protocols: ClassVar[tuple[str, ...]] = ("snmp",)
    misses: ClassVar[str] = "SNMP over TCP, TLS or DTLS."
    client_begins: ClassVar[bytes] = bytes((_SEQUENCE,))
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "request id"

    def read(self, message: bytes) -> Seen | None:
        """Version, community or global data, then the PDU's tag and request id."""
        try:
            return _read(message)
        except IndexError:
            return None


def _read(message: bytes) -> Seen | None:
    at, end = _enter(message, 0, _SEQUENCE)
    if end != len(message):
        return None
    start, at = _enter(message, at, _INTEGER)
    version = int.from_bytes(message[start:at])
    if at - start != 1 or version not in _VERSIONS:
        return None
    if version == 3:
        start, _ = _enter(message, at, _SEQUENCE)
        number, after = _enter(message, start, _INTEGER)
        key = message[number:after]
        if not key:
            return None
        # Whether it is a request or its answer may be encrypted.
        return Seen("an SNMP version 3 message", asks=key, answers=key)
    start, at = _enter(message, at, _OCTETS)
    if at - start > _MAX_COMMUNITY or message[at] not in _PDUS:
        return None
    what = f"an SNMP version {_VERSIONS[version]} {_PDUS[message[at]]}"
    tag = message[at]
    if tag == _OLD_TRAP:
        return Seen(what)
    start, _ = _enter(message, at, tag)
    number, after = _enter(message, start, _INTEGER)
    key = message[number:after]
    if not key:
        return None
    return Seen(what, answers=key) if tag in _ANSWERS else Seen(what, asks=key)


def _enter(message: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the contents of the element at `at` begin and end; (0, 0) when it has another tag or does not fit."""
    if message[at] != tag:
        return 0, 0
    length, start = message[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(message[start : start + count]), start + count
        if not 1 <= count <= 4:
            return 0, 0
    return (start, start + length) if start + length <= len(message) else (0, 0)
