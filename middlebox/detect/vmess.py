"""VMess that leaves what it carries unencrypted (security "none" or "zero"): noise in front, a clear protocol behind.

The one rule: `confirmed` needs noise of exactly VMess's lengths in front of two halves of one clear protocol.

Layout (V2Ray, proxy/vmess/aead and encoding): the client sends an authentication (16), the header's length with a tag
(18), a nonce (8) and the header with a tag; the server a length with a tag (18) and four bytes with a tag (20). Then
either sends chunks, each behind two bytes of masked length.
"""

import re
from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.randomness import seems_random
from middlebox.detect.vless import find_half
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LEAST_REQUEST = 16 + 18 + 8 + 38 + 4 + 16
"With the shortest header: key, nonce and options (38), no address, a checksum."
_LONGEST_REQUEST = 16 + 18 + 8 + 41 + 256 + 15 + 4 + 16
"With a port and the longest name, and padding of 15 bytes."
_LENGTH_BYTES = 2
_ANSWER = 18 + 20
_CHUNK_AT = _ANSWER + _LENGTH_BYTES
_ENOUGH = _CHUNK_AT + 9
_BEGINNINGS = re.compile(rb"\x16\x03[\x00-\x04]..\x01|[A-Z]{3,7} [!-~]+ HTTP/1\.|SSH-2", re.DOTALL)
"What a client's first chunk may begin with: TLS, HTTP, SSH."


class VMess(Detector):
    """Looks for a clear protocol behind noise, at the places where VMess would put it."""

    name: ClassVar[str] = "vmess"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("vmess",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "VMess that encrypts what it carries, as it does by default: see `fully_encrypted`."

    __slots__ = ()

    def feed(self, talk: Conversation) -> Answer:
        """Wait for the server's first chunk, then compare what both sides have behind their headers."""
        if talk.midstream or not talk.client or not seems_random(talk.client[:_LEAST_REQUEST]):
            return Opinion.NO
        if len(talk.server) < _ENOUGH:
            is_open = not talk.server or (len(talk.client) >= _LEAST_REQUEST and seems_random(talk.server[:_ANSWER]))
            return Opinion.MORE if is_open else Opinion.NO
        begins = _BEGINNINGS.search(talk.client, _LEAST_REQUEST, _LONGEST_REQUEST + _LENGTH_BYTES + _ENOUGH)
        if begins is None or not seems_random(talk.server[:_CHUNK_AT]):
            return Opinion.NO
        request = begins.start() - _LENGTH_BYTES
        if not find_half(talk.client[begins.start() :], talk.server[_CHUNK_AT:]) or not seems_random(
            talk.client[:request]
        ):
            return Opinion.NO
        reason = f"{request} and {_ANSWER} bytes of noise, as in VMess, and behind them two halves of a clear protocol"
        return Evidence("vmess", Confidence.CONFIRMED, reason)
