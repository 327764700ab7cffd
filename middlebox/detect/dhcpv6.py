"""DHCP for IPv6 (RFC 8415).

The one rule: options must fill the datagram to its last byte, and one must be a client's or server's DUID.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen

_RELAY_FORWARD, _RELAY_REPLY = 12, 13
_TYPES = {
    1: "solicit", 2: "advertise", 3: "request", 4: "confirm", 5: "renew", 6: "rebind", 7: "reply", 8: "release",
    9: "decline", 10: "reconfigure", 11: "information request", _RELAY_FORWARD: "relay forward",
    _RELAY_REPLY: "relay reply", 14: "lease query", 15: "lease query reply",
}  # fmt: skip
"Section 7.3, RFC 5007."
_FROM_SERVER = frozenset({2, 7, 10, 15})
_HEADER_BYTES, _RELAY_HEADER_BYTES = 4, 34
"Type and transaction id (section 8); type, hop count and two addresses (section 9)."
_CLIENT_ID, _SERVER_ID, _RELAY_MESSAGE = 1, 2, 9
_DUID_TYPES = range(1, 5)
"Section 11, RFC 6355."
_MAX_OPTIONS = 128
"Ours: of one message."
_MAX_OPTION = 255
"IANA has given out fewer than 150."


class Dhcpv6(DatagramExchange):
    """Recognises messages between clients, relays and servers."""

    name: ClassVar[str] = "dhcpv6"
    protocols: ClassVar[tuple[str, ...]] = ("dhcp",)
    misses: ClassVar[str] = "Clients ask a multicast address, so most answers are in another flow and probable at most."
    client_begins: ClassVar[bytes] = bytes(_TYPES)
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "transaction id"

    def read(self, message: bytes) -> Seen | None:
        """Options behind the header, or a relayed message in one of them."""
        kind = message[0]
        is_relayed = kind in (_RELAY_FORWARD, _RELAY_REPLY)
        options = _read_options(message, _RELAY_HEADER_BYTES if is_relayed else _HEADER_BYTES)
        if is_relayed:
            if _RELAY_MESSAGE not in options:
                return None
            key: bytes = message[2:_RELAY_HEADER_BYTES]
        else:
            duids = [options[option] for option in (_CLIENT_ID, _SERVER_ID) if option in options]
            if not duids or any(int.from_bytes(duid[:2]) not in _DUID_TYPES for duid in duids):
                return None
            key = message[1:_HEADER_BYTES]
        if kind in _FROM_SERVER or kind == _RELAY_REPLY:
            return Seen(f"a DHCPv6 {_TYPES[kind]}", answers=key)
        return Seen(f"a DHCPv6 {_TYPES[kind]}", asks=key)


def _read_options(message: bytes, at: int) -> dict[int, bytes]:
    """Option codes and contents; empty unless they fill the message."""
    options: dict[int, bytes] = {}
    for _ in range(_MAX_OPTIONS):
        if at + 4 > len(message):
            break
        code, length = int.from_bytes(message[at : at + 2]), int.from_bytes(message[at + 2 : at + 4])
        if code > _MAX_OPTION or not code:
            return {}
        options.setdefault(code, message[at + 4 : at + 4 + length])
        at += 4 + length
    return options if at == len(message) else {}
