"""Tells the ends of a discarded packet that it is gone, where the kernel does not, or sends what is said in its stead.

The chain's REJECT answers the sender of the packet that decided; its receiver would wait for a timeout. It gets a RST
in the sender's name. The rule kept here: crafting and sending never raise; what fails is counted. A reset is made of
plain bytes, in microseconds: a client that tries again and again must not hold up the packets of others, and the
gateway runs without the cyclic garbage collector, so what is made for a reset must be free of reference cycles.
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from middlebox.packet import ACK, AH, ESP, GRE, RST, SYN, TCP, UDP, Packet, decode
from middlebox.verdict import Verdict

HOP_LIMIT = 64
"Initial TTL and hop limit (IANA, IP parameters)."
ICMP_QUOTE_BYTES = 548
"So that the error fits 576 bytes with its headers (RFC 1812 section 4.3.2.3)."
ICMPV6_QUOTE_BYTES = 1232
"So that the error fits 1280 bytes with its headers (RFC 4443 section 2.4 c)."
ICMP_UNREACHABLE, ICMP_PROHIBITED = 3, 13
"Destination unreachable, communication administratively prohibited (RFC 1812 section 5.2.7.1)."
ICMPV6_UNREACHABLE, ICMPV6_PROHIBITED = 1, 1
"Destination unreachable, communication administratively prohibited (RFC 4443 section 3.1)."

_IPV4 = struct.Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1
_IPV4_FIRST_BYTE, _IPV4_CHECKSUM_AT = 0x45, 10  # version 4, five words
_DONT_FRAGMENT = 0x4000
_IPV6 = struct.Struct("!IHBB16s16s")  # RFC 8200 section 3
_IPV6_FIRST_WORD = 6 << 28
_TCP = struct.Struct("!HHIIBBHHH")  # RFC 9293 section 3.1
_TCP_CHECKSUM_AT = 16
_ICMP = struct.Struct("!BBHI")  # RFC 792, RFC 4443 section 3.1
_ICMP_CHECKSUM_AT = 2

_ANSWERED_BY_ICMP = frozenset({UDP, ESP, AH, GRE})


class Carrier(Enum):
    """The raw socket that a message goes out by."""

    IPV4 = (socket.AF_INET, socket.IPPROTO_RAW)
    "The message brings its IPv4 header."
    IPV6 = (socket.AF_INET6, socket.IPPROTO_RAW)
    "The message brings its IPv6 header."
    ICMP = (socket.AF_INET, socket.IPPROTO_ICMP)
    "The kernel adds the header, with the gateway's own address."
    ICMPV6 = (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    "The kernel adds header and checksum."


@dataclass(slots=True, frozen=True)
class Message:
    """Something to send."""

    carrier: Carrier
    destination: str
    data: bytes


def reset_toward_receiver(raw: bytes) -> Message | None:
    """A RST to the receiver of this TCP packet, as if its sender had sent it instead of the packet.

    Its sequence number is the packet's own, so it is exactly the number the receiver waits for (RFC 5961 section
    3.2 accepts no other at once). None for what takes no RST: other transports, a RST, the SYN that opens.
    """
    packet = decode(raw)
    if not isinstance(packet, Packet) or packet.protocol != TCP or packet.flags & RST:
        return None
    if packet.flags & (SYN | ACK) == SYN:
        return None  # the receiver has not heard of this connection
    flags = RST | packet.flags & ACK
    return _tcp_reset(
        packet, toward_receiver=True, sequence=packet.sequence, acknowledgment=packet.acknowledgment, flags=flags
    )


def refusal_toward_sender(raw: bytes) -> Message | None:
    """What REJECT would answer the sender of this packet: a RST, or ICMP 'administratively prohibited'."""
    packet = decode(raw)
    if not isinstance(packet, Packet):
        return None
    if packet.protocol == TCP:
        if packet.flags & RST:
            return None
        if packet.flags & ACK:  # RFC 9293 section 3.10.7.1: <SEQ=SEG.ACK><CTL=RST>
            return _tcp_reset(
                packet, toward_receiver=False, sequence=packet.acknowledgment, acknowledgment=0, flags=RST
            )
        after = packet.sequence + packet.size + bool(packet.flags & SYN)  # else <SEQ=0><ACK=SEG.SEQ+SEG.LEN>
        return _tcp_reset(packet, toward_receiver=False, sequence=0, acknowledgment=after & 0xFFFFFFFF, flags=RST | ACK)
    if packet.protocol not in _ANSWERED_BY_ICMP or _is_multicast(packet.destination):
        return None  # RFC 1122 section 3.2.2: no error about an error, nor about a multicast
    return _icmp_prohibited(packet, raw)


def _is_multicast(address: bytes) -> bool:
    return 224 <= address[0] <= 239 or address == b"\xff" * 4 if len(address) == 4 else address[0] == 0xFF


def _tcp_reset(packet: Packet, *, toward_receiver: bool, sequence: int, acknowledgment: int, flags: int) -> Message:
    source, destination = packet.source, packet.destination
    ports = packet.source_port, packet.destination_port
    if not toward_receiver:
        source, destination, ports = destination, source, ports[::-1]
    segment = _TCP.pack(*ports, sequence, acknowledgment, _TCP.size // 4 << 4, flags, 0, 0, 0)
    pseudo_header = source + destination + struct.pack("!II", len(segment), TCP)
    segment = _with_checksum(segment, _TCP_CHECKSUM_AT, pseudo_header)
    if len(source) == 4:
        total = _IPV4.size + len(segment)
        header = _IPV4.pack(_IPV4_FIRST_BYTE, 0, total, 0, _DONT_FRAGMENT, HOP_LIMIT, TCP, 0, source, destination)
        return Message(Carrier.IPV4, _text(destination), _with_checksum(header, _IPV4_CHECKSUM_AT) + segment)
    header = _IPV6.pack(_IPV6_FIRST_WORD, len(segment), TCP, HOP_LIMIT, source, destination)
    return Message(Carrier.IPV6, _text(destination), header + segment)


def _icmp_prohibited(packet: Packet, raw: bytes) -> Message:
    sender = _text(packet.source)
    if len(packet.source) == 4:
        error = _ICMP.pack(ICMP_UNREACHABLE, ICMP_PROHIBITED, 0, 0) + raw[:ICMP_QUOTE_BYTES]
        return Message(Carrier.ICMP, sender, _with_checksum(error, _ICMP_CHECKSUM_AT))
    error = _ICMP.pack(ICMPV6_UNREACHABLE, ICMPV6_PROHIBITED, 0, 0) + raw[:ICMPV6_QUOTE_BYTES]
    return Message(Carrier.ICMPV6, sender, error)


def _with_checksum(data: bytes, at: int, pseudo_header: bytes = b"") -> bytes:
    """The data with its internet checksum (RFC 1071) in the two bytes at `at`, which are zero before."""
    summed = pseudo_header + data
    summed += bytes(len(summed) % 2)
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack("!H", total ^ 0xFFFF) + data[at + 2 :]


def _as_message(packet: bytes) -> Message:
    if packet[0] >> 4 == 4:
        return Message(Carrier.IPV4, _text(packet[16:20]), packet)
    return Message(Carrier.IPV6, _text(packet[24:40]), packet)


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


@dataclass(slots=True)
class ResetSender:
    """Sends those messages by raw sockets, and counts."""

    sent: int = 0
    failed: int = 0
    _sockets: dict[Carrier, socket.socket] = field(default_factory=dict)

    def refuse(self, raw: bytes, verdict: Verdict, chain_tells_sender: bool) -> None:
        """Tell those who are not told by the chain that this packet was discarded."""
        if verdict is Verdict.RESET:
            self._craft_and_send(reset_toward_receiver, raw)
        if not chain_tells_sender:
            self._craft_and_send(refusal_toward_sender, raw)

    def send_packet(self, packet: bytes) -> None:
        """Send a whole IPv4 or IPv6 packet to its destination, in the name of the source that it bears."""
        self._craft_and_send(_as_message, packet)

    def close(self) -> None:
        """Close the raw sockets."""
        for open_socket in self._sockets.values():
            open_socket.close()
        self._sockets.clear()

    def _craft_and_send(self, craft: Callable[[bytes], Message | None], raw: bytes) -> None:
        try:
            message = craft(raw)
            if message is not None:
                self._send(message)
                self.sent += 1
        except Exception:  # a reset is a courtesy; without it the flow is still cut
            self.failed += 1

    def _send(self, message: Message) -> None:
        sender = self._sockets.get(message.carrier)
        if sender is None:
            family, protocol = message.carrier.value
            sender = self._sockets[message.carrier] = socket.socket(family, socket.SOCK_RAW, protocol)
        # Port 0: a raw socket has none, and for IPv6 the kernel refuses any other.
        sender.sendto(message.data, socket.MSG_DONTWAIT, (message.destination, 0))
