"""Writes captures byte by byte, also such as no program would write."""

import gzip
import io
import struct
from collections.abc import Iterable
from ipaddress import ip_address

import zstandard

Record = tuple[float, bytes]

ETHERNET, RAW_IP = 1, 101
IP_ETHERTYPE = b"\x08\x00"
MAC_ADDRESSES = b"\x02\0\0\0\0\x01" + b"\x02\0\0\0\0\x02"
CLIENT, SERVER = "198.51.100.10", "203.0.113.20"


def pcap(
    records: Iterable[Record], *, link_type: int = RAW_IP, order: str = "<", nanoseconds: bool = False, major: int = 2
) -> bytes:
    """A pcap file."""
    magic, units = (0xA1B23C4D, 1_000_000_000) if nanoseconds else (0xA1B2C3D4, 1_000_000)
    out = io.BytesIO()
    out.write(struct.pack(order + "IHHiIII", magic, major, 4, 0, 0, 262144, link_type))
    for time, data in records:
        seconds, fraction = int(time), round((time - int(time)) * units)
        out.write(struct.pack(order + "IIII", seconds, fraction, len(data), len(data)) + data)
    return out.getvalue()


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    """A pcapng section header block of unknown section length."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """A pcapng option."""
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def interface(link_type: int = RAW_IP, *options: bytes, snap_length: int = 0, order: str = "<") -> bytes:
    """A pcapng interface description block."""
    return block(1, struct.pack(order + "HHI", link_type, 0, snap_length) + b"".join(options), order)


def enhanced(ticks: int, data: bytes, *, number: int = 0, captured: int | None = None, order: str = "<") -> bytes:
    """A pcapng enhanced packet block."""
    captured = len(data) if captured is None else captured
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, captured, captured)
    return block(6, head + data + b"\0" * (-len(data) % 4), order)


def simple(data: bytes, *, original: int | None = None, order: str = "<") -> bytes:
    """A pcapng simple packet block."""
    return block(3, struct.pack(order + "I", len(data) if original is None else original) + data, order)


def old_packet(ticks: int, data: bytes, *, number: int = 0, order: str = "<") -> bytes:
    """A pcapng packet block, which enhanced ones have replaced."""
    head = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data, order)


def packed_gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def packed_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def udp_packet(
    payload: bytes, *, client: str = CLIENT, client_port: int = 40000, server: str = SERVER, server_port: int = 9000
) -> bytes:
    """An IPv4 or IPv6 packet with a UDP datagram; checksums are left out, nobody here looks at them."""
    source, destination = ip_address(client), ip_address(server)
    datagram = struct.pack("!HHHH", client_port, server_port, 8 + len(payload), 0) + payload
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
    else:
        head = struct.pack("!IHBB", 0x60000000, len(datagram), 17, 64)
    return head + source.packed + destination.packed + datagram


def esp_packet(*, client: str = CLIENT, server: str = SERVER) -> bytes:
    """An IPv4 packet with the smallest ESP payload."""
    payload = bytes(8) + b"\x5a" * 16
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, 50, 0)
    return head + ip_address(client).packed + ip_address(server).packed + payload


def ethernet(packet: bytes, *tags: bytes) -> bytes:
    """An Ethernet frame; `tags` stand between the addresses and the EtherType."""
    ethertype = IP_ETHERTYPE if packet[0] >> 4 == 4 else b"\x86\xdd"
    return MAC_ADDRESSES + b"".join(tags) + ethertype + packet
