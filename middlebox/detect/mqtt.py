"""MQTT 3.1, 3.1.1 and 5: CONNECT names the protocol, CONNACK answers (OASIS MQTT 5.0 sections 3.1 and 3.2).

The one rule: name, level and reserved bits of CONNECT must be as the standard has them.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_CONNECT, _CONNACK = 0x10, 0x20
"First byte: packet type in the upper half, flags that must be 0 (section 2.1.2)."
_NAMES = (b"\x00\x04MQTT\x04", b"\x00\x04MQTT\x05", b"\x00\x06MQIsdp\x03")
"Protocol name and level of 3.1.1, 5.0 and 3.1; the upper bit of a level marks a bridge (Mosquitto)."
_BRIDGE = 0x80
_CONTINUES = 0x80
_MAX_LENGTH_BYTES = 4
"Of the remaining length, seven bits in each byte (section 1.5.5)."
_RESERVED_FLAG = 0x01
_MAX_RETURN_CODE = 5
"MQTT 3.1.1 table 3.1; MQTT 5 has codes from 0x80 on (section 3.2.2.2)."
_LEAST_ERROR = 0x80


def _skip_length(data: bytes) -> int | None:
    """Offset of what follows the remaining length; None while that is incomplete, 0 when it is none."""
    for at in range(1, 1 + _MAX_LENGTH_BYTES):
        if at >= len(data):
            return None
        if not data[at] & _CONTINUES:
            return at + 1
    return 0


def _is_connect(data: bytes) -> Fit:
    at = _skip_length(data) if data else None
    if not at:
        return None if at is None else False
    fits = any(
        name[:-1].startswith(data[at : at + len(name) - 1])
        and (len(data) < at + len(name) or data[at + len(name) - 1] & ~_BRIDGE == name[-1])
        for name in _NAMES
    )
    if not fits:
        return False
    flags = at + (len(_NAMES[2]) if data[at + 1 : at + 2] == b"\x06" else len(_NAMES[0]))
    return None if len(data) <= flags else not data[flags] & _RESERVED_FLAG


def _is_connack(data: bytes) -> Fit:
    at = _skip_length(data) if data else None
    if not at:
        return None if at is None else False
    if len(data) < at + 2:
        return None
    code = data[at + 1]
    return data[at] <= 1 and (code <= _MAX_RETURN_CODE or code >= _LEAST_ERROR) and (at > 2 or data[1] >= 2)


class Mqtt(Exchange):
    """Finds CONNECT and CONNACK."""

    name: ClassVar[str] = "mqtt"
    protocols: ClassVar[tuple[str, ...]] = ("mqtt",)
    misses: ClassVar[str] = "MQTT inside TLS or WebSocket, MQTT-SN over UDP, and connections joined after their start."
    client_begins: ClassVar[bytes] = bytes((_CONNECT,))
    server_begins: ClassVar[bytes] = bytes((_CONNACK,))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """CONNECT from the client, CONNACK from the server."""
        asked = _is_connect(client)
        answered = _is_connack(server)
        if asked is None and answered:
            answered = None  # two small numbers prove nothing by themselves
        return self.weigh(
            asked, answered, question="a CONNECT packet", answer="a CONNACK packet", link="CONNACK answers CONNECT"
        )
