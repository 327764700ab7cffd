"""DHCP and BOOTP (RFC 2131, RFC 951).

The one rule: the fixed fields, the magic cookie and the options must all be as the format has them; `confirmed` needs a
reply with the request's transaction id and hardware address.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_REQUEST, _REPLY = 1, 2
_FIXED_BYTES = 236
"RFC 2131 section 2, up to the vendor area."
_COOKIE = b"\x63\x82\x53\x63"
"RFC 2131 section 3."
_BOOTP_BYTES = 300
"RFC 951: a vendor area of 64 bytes follows. Without a cookie it counts only if it is empty."
_MAX_HARDWARE_BYTES = 16
_MAX_HOPS = 16
"RFC 1542 section 4.1.1."
_PADDING, _END = 0, 255
_MESSAGE_TYPE = 53
_TYPES = {
    1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak", 7: "release", 8: "inform",
    9: "force renew", 10: "lease query", 11: "lease unassigned", 12: "lease unknown", 13: "lease active",
}  # fmt: skip
"RFC 2132 section 9.6, RFC 3203, RFC 4388."


class Dhcp(DatagramExchange):
    """Recognises requests for an address, and replies."""

    name: ClassVar[str] = "dhcp"
    protocols: ClassVar[tuple[str, ...]] = ("dhcp",)
    misses: ClassVar[str] = (
        "A request to the broadcast address and its reply are different flows, and each is probable at most."
    )
    client_begins: ClassVar[bytes] = bytes((_REQUEST, _REPLY))
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "transaction id"

    def read(self, message: bytes) -> Seen | None:
        """Fixed fields, then options up to the end mark or the end of the datagram."""
        if len(message) < _FIXED_BYTES or message[2] > _MAX_HARDWARE_BYTES or message[3] > _MAX_HOPS or not message[1]:
            return None
        kind = "BOOTP"
        if message.startswith(_COOKIE, _FIXED_BYTES):
            number = _read_type(message)
            if number is None:
                return None
            kind = f"DHCP {_TYPES[number]}" if number else kind
        elif len(message) != _BOOTP_BYTES or any(message[_FIXED_BYTES:]):
            return None
        key = message[4:8], message[28:44]
        if message[0] == _REQUEST:
            return Seen(f"a {kind} request message", asks=key)
        return Seen(f"a {kind} reply message", answers=key)


def _read_type(message: bytes) -> int | None:
    """The message type in the options, 0 when there is none (BOOTP); None when the options are none."""
    at, kind = _FIXED_BYTES + len(_COOKIE), 0
    while at < len(message):
        option = message[at]
        if option == _END:
            break
        if option == _PADDING:
            at += 1
            continue
        if at + 2 > len(message) or at + 2 + message[at + 1] > len(message):
            return None
        if option == _MESSAGE_TYPE and message[at + 1] == 1:
            kind = message[at + 2]
        at += 2 + message[at + 1]
    return kind if not kind or kind in _TYPES else None
