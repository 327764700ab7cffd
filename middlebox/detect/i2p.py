"""I2P's NTCP, version 1, by the lengths of its handshake, which is noise from the first byte.

The one rule: three lengths in a row and noise in each are statistics, hence `probable` at most. Version 2 pads at
random and leaves nothing to tell it by.

Source: the I2P specification "NTCP (discussion and specification)": SessionRequest of 288 bytes (a 2048 bit key and a
hash), SessionCreated of 304, SessionConfirmedA of 448 or, with longer identities, more, in blocks of 16.
"""

from typing import ClassVar

from middlebox.detect.base import ANY_BYTE, TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_REQUEST_BYTES, _CREATED_BYTES, _LEAST_CONFIRMED_BYTES = 288, 304, 448
_MOST_CONFIRMED_BYTES = 1024
_BLOCK = 16
_LEAST_DIFFERENT = 150
"Different bytes among 288 random ones: 173, with a standard deviation of 6."

_OTHERS = b"\x16GPHSCO"
"How TLS, HTTP and SSH begin: noise that begins so is not waited for."


class I2p(Detector):
    """Measures the first three messages."""

    name: ClassVar[str] = "i2p"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("i2p",)
    client_begins: ClassVar[bytes] = bytes(set(ANY_BYTE).difference(_OTHERS))
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = "NTCP2 and SSU2, which routers use since 2018 and 2022."
    statistical: ClassVar[bool] = True

    __slots__ = ()

    def feed(self, talk: Conversation) -> Answer:
        """Compare lengths; noise is looked for once they fit."""
        client, server = talk.client, talk.server
        if talk.midstream or (not server and len(client) > _REQUEST_BYTES) or (server and len(client) < _REQUEST_BYTES):
            return Opinion.NO
        if talk.packet > 16 or (client and client[0] in _OTHERS):
            return Opinion.NO
        if len(client) <= _REQUEST_BYTES:
            return Opinion.MORE if len(server) <= _CREATED_BYTES else Opinion.NO
        if len(server) != _CREATED_BYTES:
            return Opinion.NO
        confirmed = len(client) - _REQUEST_BYTES
        if confirmed < _LEAST_CONFIRMED_BYTES:
            return Opinion.MORE
        if confirmed > _MOST_CONFIRMED_BYTES or confirmed % _BLOCK:
            return Opinion.NO
        if min(len(set(client[:_REQUEST_BYTES])), len(set(server))) < _LEAST_DIFFERENT:
            return Opinion.NO
        reason = "the first three messages are noise of 288, 304 and 448 or more bytes, as in NTCP's handshake"
        return Evidence("i2p", Confidence.PROBABLE, reason)
