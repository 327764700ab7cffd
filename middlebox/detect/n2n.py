"""n2n, recognised by the name of its community, which both sides send in clear.

The one rule: `confirmed` needs one community in well-formed messages of the same version from both sides.
Layout: n2n 1.3 (n2n.h, n2n_packet_header), n2n 2 and 3 (include/n2n_define.h, n2n_typedefs.h, src/wire.c).
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_V1_TYPES = frozenset({1, 2, 3, 4})
"Register, deregister, packet, acknowledgment of a registration."
_V1_HEADER_BYTES, _V1_COMMUNITY_BYTES = 84, 16
_V1_END = b"\x11\x00\x00"
"What LZO1X ends with: version 1 compresses every payload, even an empty one."
_V2_COMMUNITY_BYTES = {2: (16,), 3: (20, 16)}
"By version: the early third still had the shorter name."
_V2_MAX_TYPE = 12
"Ping (0) and the messages of n2n_define.h up to the address request of later versions."
_V2_MAX_TTL = 8
"Packets start with 2 and may be forwarded twice; the bound leaves room."
_V2_FLAGS = 0x00E0
"From the supernode, a socket follows, options follow."
_V2_TYPE_MASK = 0x001F
_V2_LEAST_BODY_BYTES = 4
_V1_SENDER_AT, _GROUP_BIT = 20, 0x01
"The sender's Ethernet address, which is no group's."
_MAX_STRANGERS = 4

Community = tuple[int, bytes]
"Version and name."


def _name(field: bytes, *, zero_filled: bool) -> bytes:
    """The name in a field that NUL ends, empty if it is none."""
    name, _, rest = field.partition(b"\x00")
    is_name = name.isascii() and all(0x20 < byte < 0x7F for byte in name)
    return name if is_name and not (zero_filled and any(rest)) else b""


def community_of(data: bytes) -> Community | None:
    """The community of a message, None if this is none."""
    version = data[0]
    if version == 1:
        if len(data) < _V1_HEADER_BYTES + len(_V1_END) or data[1] not in _V1_TYPES or data[3] > 1:
            return None
        name = _name(data[4 : 4 + _V1_COMMUNITY_BYTES], zero_filled=False)
        is_sender = not data[_V1_SENDER_AT] & _GROUP_BIT
        return (1, name) if name and is_sender and data.endswith(_V1_END) else None
    for size in _V2_COMMUNITY_BYTES.get(version, ()):
        if len(data) < 4 + size + _V2_LEAST_BODY_BYTES:
            continue
        flags = data[2] << 8 | data[3]
        if data[1] > _V2_MAX_TTL or flags & ~(_V2_FLAGS | _V2_TYPE_MASK) or flags & _V2_TYPE_MASK > _V2_MAX_TYPE:
            return None
        name = _name(data[4 : 4 + size], zero_filled=True)
        if name:
            return version, name
    return None


class N2n(Detector):
    """Recognises n2n by its community."""

    __slots__ = ("_communities", "_given", "_strangers")

    name: ClassVar[str] = "n2n"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("n2n",)
    client_begins: ClassVar[bytes] = bytes((1, *_V2_COMMUNITY_BYTES))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ("n2n.version",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Version 3 with encrypted headers (-H), and n2n over TCP."

    def __init__(self) -> None:
        self._communities: tuple[Community | None, Community | None] = (None, None)
        "Of server and client, indexed by `from_client`."
        self._given = False
        self._strangers = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look for the community, and for the same one from the other side."""
        community = community_of(talk.data)
        if community is None:
            self._strangers += 1
            is_begun = self._communities != (None, None)
            return Opinion.MORE if is_begun and self._strangers <= _MAX_STRANGERS else Opinion.NO
        self._strangers = 0
        facts = {"n2n.version": community[0]}
        if self._communities[not talk.from_client] == community:
            reason = f"n2n version {community[0]} messages with one community from both sides"
            return Evidence("n2n", Confidence.CONFIRMED, reason, facts)
        server, client = self._communities
        is_constant = self._communities[talk.from_client] == community
        self._communities = (server, community) if talk.from_client else (community, client)
        # One message of version 2 or 3 may be chance: few bits of its header are fixed.
        if self._given or not (community[0] == 1 or is_constant):
            return Opinion.MORE
        self._given = True
        reason = f"a well-formed n2n version {community[0]} message"
        return Evidence("n2n", Confidence.PROBABLE, reason, facts, more=True)
