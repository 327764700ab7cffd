"""LDAP over TCP, and CLDAP over UDP: requests and responses with the same message ID (RFC 4511 section 4.1.1).

The one rule: SNMP begins the same way (SEQUENCE, INTEGER), so only an operation's tag right after the ID counts.
"""

from typing import ClassVar, NamedTuple

from middlebox.detect.asn1 import ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE, read_element
from middlebox.detect.base import STREAM_LIMIT, TCP, UDP
from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_BIND, _UNBIND, _SEARCH, _ABANDON, _EXTENDED = 0x60, 0x42, 0x63, 0x50, 0x77
_ANSWERS = {
    _BIND: (0x61,),
    _SEARCH: (0x64, 0x65, 0x73),
    0x66: (0x67,),
    0x68: (0x69,),
    0x4A: (0x6B,),
    0x6C: (0x6D,),
    0x6E: (0x6F,),
    _EXTENDED: (0x78, 0x79),
    _UNBIND: (),
    _ABANDON: (),
}
"Tags of requests and of what answers them (RFC 4511 sections 4.2 to 4.13): bind, search, modify, add, and so on."
_RESPONSES = frozenset(tag for tags in _ANSWERS.values() for tag in tags)
_FIRST_FIELD = {_BIND: INTEGER, _SEARCH: OCTET_STRING, 0x66: OCTET_STRING, 0x68: OCTET_STRING, 0x6C: OCTET_STRING,
                0x6E: OCTET_STRING, _EXTENDED: 0x80, 0x73: OCTET_STRING, 0x64: OCTET_STRING}  # fmt: skip
"Tag of the first field of an operation; of other responses it is the result code, of other requests there is none."
_MAX_ID_BYTES = 4
"maxInt is 2^31 - 1 (RFC 4511 section 4.1.1)."
_SHORTEST = 3
"Bytes of a message's contents: an ID of one byte."


class Message(NamedTuple):
    """The ID and the operation of one message."""

    number: int
    operation: int
    telling: bool
    "The operation's first field is there and fits."


def read_message(data: bytes) -> Message | None:
    """The message with which `data` begins; None while it is too short to tell. ValueError when it is none."""
    outer = read_element(data)
    number = read_element(data, outer.start) if outer else None
    operation = read_element(data, number.end) if number else None
    if outer is None or number is None or operation is None:
        if data[:1] != b"\x30" or (outer and outer.end - outer.start < _SHORTEST):
            raise ValueError
        if outer and len(data) > outer.start and data[outer.start] != INTEGER:
            raise ValueError
        if number and number.end - number.start > _MAX_ID_BYTES:
            raise ValueError
        return None
    if outer.tag != SEQUENCE or number.tag != INTEGER or not 1 <= number.end - number.start <= _MAX_ID_BYTES:
        raise ValueError
    if operation.end > outer.end or (operation.tag not in _ANSWERS and operation.tag not in _RESPONSES):
        raise ValueError
    telling = False
    if operation.tag not in (_UNBIND, _ABANDON, 0x4A):
        if len(data) <= operation.start:
            return None
        if data[operation.start] != _FIRST_FIELD.get(operation.tag, ENUMERATED):
            raise ValueError
        telling = True
    return Message(int.from_bytes(data[number.start : number.end]), operation.tag, telling)


class Ldap(Exchange):
    """Finds a response with the request's message ID."""

    name: ClassVar[str] = "ldap"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("ldap",)
    misses: ClassVar[str] = "LDAP inside TLS from the first byte (port 636), which is tls."
    client_begins: ClassVar[bytes] = b"\x30"
    server_begins: ClassVar[bytes] = b"\x30"
    patience: ClassVar[int] = STREAM_LIMIT
    "A bind with a Kerberos ticket is some kilobytes long."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A request, and the response to that very request."""
        try:
            request = read_message(client) if client else None
            response = read_message(server) if server else None
        except ValueError:
            return Opinion.NO
        if (request and request.operation not in _ANSWERS) or (response and response.operation not in _RESPONSES):
            return Opinion.NO
        if request and response:
            if request.number == response.number and response.operation in _ANSWERS[request.operation]:
                return self.confirmed("a response with the request's message ID")
            return Opinion.NO
        if request and request.telling:
            return self.probable("an LDAP request")
        return self.probable("an LDAP response") if response and response.telling else Opinion.MORE
