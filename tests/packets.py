"""Small builders of raw IP packets for tests.

Every builder returns the bytes of one packet, beginning at its IP header. Lengths and checksums are right
unless a test asks for wrong ones; the IP version follows from the address.
"""

import struct
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise

from middlebox.packet import ACK, FIN, FRAGMENT, ICMP, ICMPV6, RST, SYN, TCP, UDP

Endpoint = tuple[str, int]
"Address and port."

CLIENT: Endpoint = ("198.51.100.10", 40112)
SERVER: Endpoint = ("203.0.113.20", 443)
CLIENT6: Endpoint = ("2001:db8:1::10", 40112)
SERVER6: Endpoint = ("2001:db8:2::20", 443)

PSH = 0x08
_WHOLE = 1 << 32
"TCP sequence numbers wrap around here (RFC 9293 section 3.4)."


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    identification: int = 0,
    fragment: int = 0x4000,
    total: int | None = None,
) -> bytes:
    """An IPv4 packet; `fragment` is the word of flags and offset, by default `don't fragment`."""
    assert len(options) % 4 == 0, "IPv4 options are padded to words"
    header_length = 20 + len(options)
    total = header_length + len(payload) if total is None else total
    addresses = ip_address(source).packed + ip_address(destination).packed
    fields = (0x40 | header_length // 4, 0, total, identification, fragment, 64, protocol)
    start = struct.pack("!BBHHHBB", *fields)
    header_checksum = checksum(start + b"\0\0" + addresses + options)
    return start + struct.pack("!H", header_checksum) + addresses + options + payload


def ipv6(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    extensions: Sequence[tuple[int, bytes]] = (),
    payload_length: int | None = None,
) -> bytes:
    """An IPv6 packet; each extension is its number and its bytes without the leading `next header`."""
    numbers = [number for number, _ in extensions] + [protocol]
    chain = b"".join(bytes((following,)) + body for (_, body), following in zip(extensions, numbers[1:], strict=True))
    length = len(chain) + len(payload) if payload_length is None else payload_length
    header = struct.pack("!IHBB", 6 << 28, length, numbers[0], 64)
    return header + ip_address(source).packed + ip_address(destination).packed + chain + payload


def ip(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """A packet of the version that the addresses have."""
    return (ipv4 if ip_address(source).version == 4 else ipv6)(source, destination, protocol, payload)


def tcp(
    source: Endpoint,
    destination: Endpoint,
    flags: int = ACK,
    sequence: int = 0,
    payload: bytes = b"",
    *,
    acknowledgment: int = 0,
    options: bytes = b"",
) -> bytes:
    """A TCP packet; `options` are TCP options, padded to words."""
    return ip(
        source[0],
        destination[0],
        TCP,
        tcp_segment(source, destination, flags, sequence, payload, acknowledgment=acknowledgment, options=options),
    )


def tcp_segment(
    source: Endpoint,
    destination: Endpoint,
    flags: int = ACK,
    sequence: int = 0,
    payload: bytes = b"",
    *,
    acknowledgment: int = 0,
    options: bytes = b"",
) -> bytes:
    """What follows the IP header of a TCP packet."""
    assert len(options) % 4 == 0, "TCP options are padded to words"
    ports_and_numbers = struct.pack("!HHII", source[1], destination[1], sequence % _WHOLE, acknowledgment % _WHOLE)
    start = ports_and_numbers + struct.pack("!BBH", (20 + len(options)) // 4 << 4, flags, 0xFFFF)
    return _with_checksum(source, destination, TCP, start, b"\0\0" + options + payload)


def udp(source: Endpoint, destination: Endpoint, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A UDP packet."""
    return ip(source[0], destination[0], UDP, udp_datagram(source, destination, payload, length=length))


def udp_datagram(source: Endpoint, destination: Endpoint, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """What follows the IP header of a UDP packet."""
    start = struct.pack("!HHH", source[1], destination[1], 8 + len(payload) if length is None else length)
    return _with_checksum(source, destination, UDP, start, payload)


def echo(source: str, destination: str, identifier: int, *, reply: bool = False, payload: bytes = b"ping") -> bytes:
    """An ICMP or ICMPv6 echo request or reply."""
    version = ip_address(source).version
    protocol, kind = (ICMP, 0 if reply else 8) if version == 4 else (ICMPV6, 129 if reply else 128)
    return ip(source, destination, protocol, struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + payload)


def ipv4_fragments(packet: bytes, at: Sequence[int], *, identification: int = 7) -> list[bytes]:
    """Cut an IPv4 packet without options after each of the payload offsets `at`, multiples of 8."""
    source, destination = str(ip_address(packet[12:16])), str(ip_address(packet[16:20]))
    return [
        ipv4(source, destination, packet[9], part, identification=identification, fragment=more << 13 | offset // 8)
        for offset, part, more in _cut(packet[20:], at)
    ]


def ipv6_fragments(packet: bytes, at: Sequence[int], *, identification: int = 7) -> list[bytes]:
    """Cut an IPv6 packet without extension headers after each of the payload offsets `at`, multiples of 8."""
    source, destination = str(ip_address(packet[8:24])), str(ip_address(packet[24:40]))
    return [
        ipv6(source, destination, packet[6], part, extensions=[fragment_header(offset, more, identification)])
        for offset, part, more in _cut(packet[40:], at)
    ]


def fragment_header(offset: int, more: bool, identification: int = 7) -> tuple[int, bytes]:
    """An IPv6 fragment header, as `ipv6` takes it."""
    return FRAGMENT, struct.pack("!BHI", 0, offset | more, identification)


class Connection:
    """Builds the packets of one TCP connection, keeping count of both sides' sequence numbers."""

    def __init__(
        self,
        client: Endpoint = CLIENT,
        server: Endpoint = SERVER,
        *,
        client_start: int = 1_000,
        server_start: int = 9_000,
    ) -> None:
        self.endpoints = {True: client, False: server}
        self.next = {True: client_start, False: server_start}

    def handshake(self) -> list[bytes]:
        """SYN, SYN-ACK, ACK."""
        return [self.syn(), self.syn_ack(), self.client(b"")]

    def syn(self, payload: bytes = b"") -> bytes:
        return self.send(from_client=True, flags=SYN, payload=payload)

    def syn_ack(self) -> bytes:
        return self.send(from_client=False, flags=SYN | ACK)

    def client(self, payload: bytes, flags: int = PSH | ACK) -> bytes:
        return self.send(from_client=True, flags=flags, payload=payload)

    def server(self, payload: bytes, flags: int = PSH | ACK) -> bytes:
        return self.send(from_client=False, flags=flags, payload=payload)

    def fin(self, *, from_client: bool = True) -> bytes:
        return self.send(from_client=from_client, flags=FIN | ACK)

    def rst(self, *, from_client: bool = True) -> bytes:
        return self.send(from_client=from_client, flags=RST | ACK)

    def send(self, *, from_client: bool, flags: int, payload: bytes = b"") -> bytes:
        """The next packet of one side."""
        raw = tcp(
            self.endpoints[from_client],
            self.endpoints[not from_client],
            flags,
            self.next[from_client],
            payload,
            acknowledgment=self.next[not from_client] if flags & ACK else 0,
        )
        self.next[from_client] += len(payload) + bool(flags & (SYN | FIN))
        return raw


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_checksum(source: Endpoint, destination: Endpoint, protocol: int, start: bytes, rest: bytes) -> bytes:
    """Put the checksum between `start` and `rest` (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1)."""
    length = len(start) + 2 + len(rest)
    addresses = ip_address(source[0]).packed + ip_address(destination[0]).packed
    pseudo_header = addresses + struct.pack("!II", length, protocol)
    value = checksum(pseudo_header + start + b"\0\0" + rest)
    if protocol == UDP and value == 0:
        value = 0xFFFF  # zero would mean: no checksum
    return start + struct.pack("!H", value) + rest


def _cut(payload: bytes, at: Sequence[int]) -> list[tuple[int, bytes, bool]]:
    """Offset, bytes and `more` of each part."""
    edges = [0, *at, len(payload)]
    return [(start, payload[start:end], end < len(payload)) for start, end in pairwise(edges)]
