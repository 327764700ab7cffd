"""Kerberos 5: a request for a ticket and the reply or error to it (RFC 4120 sections 5.4, 5.9 and 7.2).

The one rule: application tag, version 5 and message type must agree in both messages.
"""

from typing import ClassVar

from middlebox.detect.asn1 import SEQUENCE, read_element
from middlebox.detect.base import STREAM_LIMIT, TCP, UDP
from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_AS_REQ, _AS_REP, _TGS_REQ, _TGS_REP, _ERROR = 10, 11, 12, 13, 30
_ANSWERS = {_AS_REQ: (_AS_REP, _ERROR), _TGS_REQ: (_TGS_REP, _ERROR)}
"Message types (RFC 4120 section 7.5.7), which are the application tags, too (section 5.10)."
_APPLICATION = 0x60
"Application class, constructed (X.690 section 8.1.2)."
_VERSION, _VERSION_OF_REQUEST = b"\xa0\x03\x02\x01\x05\xa1\x03\x02\x01", b"\xa1\x03\x02\x01\x05\xa2\x03\x02\x01"
"Fields pvno = 5 and msg-type, numbered from 0 in replies and errors (5.4.2, 5.9.1), from 1 in requests (5.4.1)."
_RECORD_MARK_BYTES = 4
"Over TCP a length comes first (section 7.2.2)."


def _read_type(data: bytes) -> int | None:
    """The message's type, None while it is too short to tell; ValueError when this is no Kerberos message."""
    if not data:
        return None
    kind = data[0] - _APPLICATION
    version = _VERSION_OF_REQUEST if kind in _ANSWERS else _VERSION
    if kind not in _ANSWERS and kind not in (_AS_REP, _TGS_REP, _ERROR):
        raise ValueError
    outer = read_element(data)
    inner = read_element(data, outer.start) if outer else None
    if inner is None:
        return None
    if inner.tag != SEQUENCE:
        raise ValueError
    fields = data[inner.start : inner.start + len(version) + 1]
    expected = version + bytes((kind,))
    if fields != expected[: len(fields)]:
        raise ValueError
    return kind if len(fields) == len(expected) else None


def _without_mark(data: bytes) -> bytes:
    if len(data) > _RECORD_MARK_BYTES:
        outer = read_element(data, _RECORD_MARK_BYTES)
        if outer and outer.end - _RECORD_MARK_BYTES != int.from_bytes(data[:_RECORD_MARK_BYTES]):
            raise ValueError
    return data[_RECORD_MARK_BYTES:]


class Kerberos(Exchange):
    """Finds a request, then the reply of its kind or an error."""

    name: ClassVar[str] = "kerberos"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("kerberos",)
    misses: ClassVar[str] = "Tickets inside other protocols, changes of passwords, and Kerberos 4."
    client_begins: ClassVar[bytes] = b"\x00\x6a\x6b\x6c\x6d\x7e"
    server_begins: ClassVar[bytes] = client_begins
    patience: ClassVar[int] = STREAM_LIMIT
    "Tickets with Microsoft's authorisation data are some kilobytes long."

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Over TCP: messages behind their lengths."""
        try:
            return self.judge_datagrams(_without_mark(client), _without_mark(server))
        except ValueError:
            return Opinion.NO

    def judge_datagrams(self, client: bytes, server: bytes) -> Answer:
        """A request, and a reply of its kind."""
        try:
            asked, answered = _read_type(client), _read_type(server)
        except ValueError:
            return Opinion.NO
        if (asked and asked not in _ANSWERS) or (answered in _ANSWERS):
            return Opinion.NO
        if asked and answered:
            fits = answered in _ANSWERS[asked]
            return self.confirmed("a reply or an error of the request's kind") if fits else Opinion.NO
        if asked or answered:
            return self.probable("a ticket request" if asked else "a reply to a ticket request")
        return Opinion.MORE
