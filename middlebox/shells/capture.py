"""Captures to IP packets: pcap and pcapng, plain or compressed with gzip or zstd, read front to back.

Memory stays bounded whatever the file claims or unpacks to, and every packet before the first damaged byte
is delivered. The inner loops are written for speed: replay can be no faster than they are.
"""

import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import zstandard

from middlebox.shells.link import ETHERNET, LINK_LAYERS, supported_link_types

Timed = tuple[float, bytes]
"Seconds since the epoch and an IP packet."

_CHUNK_BYTES = 256 * 1024
"Ours: unpacked bytes looked at together. Larger chunks leave the processor's cache and are slower."

_MAX_RECORD_BYTES = 1024 * 1024
"Ours: four times the largest snap length libpcap accepts (MAXIMUM_SNAPLEN). A longer record is damage."

_MAX_BLOCK_BYTES = 16 * 1024 * 1024
"The largest pcapng block Wireshark reads (MAX_BLOCK_SIZE)."

_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
"First bytes of a pcap: its byte order and how many of its time units make a second (draft-ietf-opsawg-pcap)."

_PCAP_HEADER_BYTES, _PCAP_RECORD_HEADER_BYTES = 24, 16
_PCAP_VERSION = 2
"The only major version there ever was."

_SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
_SECTION_HEADER_TYPE = 0x0A0D0D0A
"Type of the block that opens a pcapng section, the same in both byte orders (draft-ietf-opsawg-pcapng)."

_PCAPNG_NATIVE = b"\x4d\x3c\x2b\x1a"
_PCAPNG_BYTE_ORDERS = {_PCAPNG_NATIVE: "<", b"\x1a\x2b\x3c\x4d": ">"}

_BLOCK_FRAME_BYTES = 12
"Type and length before a block's body, length after it."

_HIGH_TICKS = float(1 << 32)
"What the upper half of a pcapng timestamp counts."

_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
"pcapng block types."

_END_OF_OPTIONS, _IF_TSRESOL, _IF_TSOFFSET = 0, 9, 14
"pcapng option codes of an interface description."

_SMALLEST_BODY = {_SECTION_HEADER_TYPE: 16, _INTERFACE: 8, _OLD_PACKET: 20, _SIMPLE_PACKET: 4, _ENHANCED_PACKET: 20}
"Fixed part of each block that is read, in bytes."

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"Tells zlib that a gzip header is there."
_ZSTD = b"\x28\xb5\x2f\xfd"
"First bytes of a gzip member (RFC 1952 section 2.3.1) and of a zstd frame (RFC 8878 section 3.1.1)."

_MAX_INTERFACES = 4096
"Ours: interfaces of one pcapng section. Without a bound a crafted file fills memory with them."

_LAST_SECOND = 253_402_300_799.0
"End of the year 9999: pcapng can express later times, calendars cannot."


class CaptureError(Exception):
    """A file that cannot be read as a capture at all. Its text is one line that names the file."""


class _DamageError(Exception):
    """Nothing readable follows. Its text says why."""


class _Interface:
    """What a pcapng section says about one interface."""

    __slots__ = ("ethernet", "link_type", "offset_seconds", "snap_length", "ticks_per_second", "unwrap")

    def __init__(self, link_type: int, snap_length: int) -> None:
        layer = LINK_LAYERS.get(link_type)
        self.link_type = link_type
        self.ethernet = link_type == ETHERNET
        self.unwrap = layer.unwrap if layer else None
        self.snap_length = snap_length or _MAX_BLOCK_BYTES  # 0: unlimited
        self.ticks_per_second = 1e6
        self.offset_seconds = 0


class Capture:
    """One capture file. Iterate over it once to get `(seconds since the epoch, IP packet)` pairs.

    Packets shorter in the file than on the wire (snap length) are delivered as they are. Iteration raises
    CaptureError when the file is no capture; a capture that is damaged further on ends there, and `problem`
    says where. The counters run ahead of the iteration by up to one chunk.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        "One line that names the file, when it ends before its end; None while all is well."
        self.packets = 0
        "IP packets delivered."
        self.skipped: Counter[str] = Counter()
        "Records that hold no IP packet, by reason."
        self.link_types: set[int] = set()
        "Link types that the file's headers name."
        self.bytes_read = 0
        "Bytes of the file, as stored, that have been read so far."

    def __iter__(self) -> Iterator[Timed]:
        """Read the file."""
        return itertools.chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[Timed]]:
        """Yield packets in lists, so that only one step in some hundred leaves the inner loop."""
        try:
            with Path(self.path).open("rb") as file:
                chunks = self._chunks(file)
                head = self._take_head(chunks)
                if head[:4] in _PCAP_MAGICS:
                    batches = self._pcap(head, chunks)
                elif head.startswith(_SECTION_HEADER) and (len(head) < 12 or head[8:12] in _PCAPNG_BYTE_ORDERS):
                    batches = self._pcapng(head, chunks)
                elif not head:
                    raise CaptureError(f"{self.path}: is empty; expected a pcap or pcapng capture")
                else:
                    raise CaptureError(
                        f"{self.path}: is no capture: begins with {head[:8].hex(' ')}; "
                        "expected pcap or pcapng, as it is or compressed with gzip or zstd"
                    )
                yield from batches
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror or error}") from error
        except _DamageError as damage:
            self.problem = f"{self.path}: {damage}"

    def _take_head(self, chunks: Iterator[bytes]) -> bytes:
        """Collect enough bytes to know the format and to read a pcap file header."""
        head = b""
        try:
            for chunk in chunks:
                head += chunk
                if len(head) >= _PCAP_HEADER_BYTES:
                    break
        except _DamageError as damage:
            if not head:
                raise CaptureError(f"{self.path}: {damage}") from damage
        return head

    def _chunks(self, file: BufferedReader) -> Iterator[bytes]:
        """Yield the file's unpacked bytes in pieces of at most a chunk, never an empty one."""
        magic = file.peek(len(_ZSTD))
        reader = _CountingReader(file, self)
        if magic.startswith(_GZIP):
            return _gunzip(reader)
        if magic.startswith(_ZSTD):
            return _unzstd(reader)
        return _stored(reader)

    def _unsupported(self) -> str:
        found = ", ".join(str(link_type) for link_type in sorted(self.link_types))
        return f"{self.path}: has link type {found}, which cannot be read; expected {supported_link_types()}"

    def _pcap(self, head: bytes, chunks: Iterator[bytes]) -> Iterator[list[Timed]]:
        byte_order, ticks_per_second = _PCAP_MAGICS[head[:4]]
        if len(head) < _PCAP_HEADER_BYTES:
            raise CaptureError(f"{self.path}: ends at byte {len(head)}, inside the pcap file header")
        major, minor, link_field = struct.unpack_from(byte_order + "HH12xI", head, 4)
        if major != _PCAP_VERSION:
            raise CaptureError(f"{self.path}: is pcap version {major}.{minor}; expected {_PCAP_VERSION}.x")
        link_type = link_field & 0xFFFF  # above it: length of the frame check sequence
        self.link_types.add(link_type)
        layer = LINK_LAYERS.get(link_type)
        if layer is None:
            raise CaptureError(self._unsupported())
        unwrap, skipped = layer.unwrap, self.skipped
        ethernet = link_type == ETHERNET
        unpack = struct.Struct(byte_order + "IIII").unpack_from
        tick = 1 / ticks_per_second
        buffer, position, base = head, _PCAP_HEADER_BYTES, 0  # base: where in the file the buffer begins
        for chunk in itertools.chain((b"",), chunks):
            buffer = buffer[position:] + chunk
            base += position
            position, available = 0, len(buffer)
            batch: list[Timed] = []
            append = batch.append
            damage = None
            while (body := position + _PCAP_RECORD_HEADER_BYTES) <= available:
                seconds, ticks, captured, _ = unpack(buffer, position)
                end = body + captured
                if end > available:
                    if captured > _MAX_RECORD_BYTES:
                        damage = (
                            f"the record at byte {base + position} claims {captured} bytes; "
                            f"expected at most {_MAX_RECORD_BYTES}"
                        )
                    break
                position = end
                if ethernet and captured > 14 and buffer[body + 12 : body + 14] in _IP_ETHERTYPES:
                    append((seconds + ticks * tick, buffer[body + 14 : end]))
                    continue
                packet = unwrap(buffer[body:end])
                if isinstance(packet, bytes):
                    append((seconds + ticks * tick, packet))
                else:
                    skipped[packet] += 1
            self.packets += len(batch)
            yield batch
            if damage:
                raise _DamageError(damage)
        if position < len(buffer):
            raise _DamageError(
                f"ends at byte {base + len(buffer)}, inside the record that begins at byte {base + position}"
            )

    def _pcapng(self, head: bytes, chunks: Iterator[bytes]) -> Iterator[list[Timed]]:
        section = _Section(self)
        buffer, position, base = head, 0, 0
        for chunk in itertools.chain((b"",), chunks):
            buffer = buffer[position:] + chunk
            base += position
            position, available = 0, len(buffer)
            batch: list[Timed] = []
            damage = None
            try:
                while available - position >= _BLOCK_FRAME_BYTES:
                    kind, length = section.unpack_block(buffer, position)
                    if kind == _SECTION_HEADER_TYPE:
                        section.open(buffer[position + 8 : position + 12])
                        kind, length = section.unpack_block(buffer, position)
                    if not _BLOCK_FRAME_BYTES <= length <= _MAX_BLOCK_BYTES or length & 3:
                        raise _DamageError(
                            f"claims {length} bytes; "
                            f"expected a multiple of 4 from {_BLOCK_FRAME_BYTES} to {_MAX_BLOCK_BYTES}"
                        )
                    end = position + length
                    if end > available:
                        break
                    if section.unpack_length(buffer, end - 4)[0] != length:
                        raise _DamageError("has two different lengths")
                    section.read(kind, buffer, position + 8, end - 4, batch)
                    position = end
            except _DamageError as error:
                damage = f"the block at byte {base + position} {error}"
            self.packets += len(batch)
            yield batch
            if damage:
                raise _DamageError(damage)
        if position < len(buffer):
            raise _DamageError(
                f"ends at byte {base + len(buffer)}, inside the block that begins at byte {base + position}"
            )
        if self.link_types and self.link_types.isdisjoint(LINK_LAYERS):
            raise CaptureError(self._unsupported())


_IP_ETHERTYPES = (b"\x08\x00", b"\x86\xdd")
"IPv4 and IPv6 as they stand in an Ethernet header: the short way past `unwrap` for nearly all frames."


class _Section:
    """A pcapng section: its byte order and interfaces. A file may hold several, each starting anew."""

    def __init__(self, capture: Capture) -> None:
        self._skipped = capture.skipped
        self._link_types = capture.link_types
        self._last_seconds = 0.0
        "Simple packet blocks have no time of their own."
        self._interfaces: list[_Interface] = []
        self.open(_PCAPNG_NATIVE)

    def open(self, magic: bytes) -> None:
        """Start anew, in the byte order that the magic number shows."""
        order = _PCAPNG_BYTE_ORDERS.get(magic)
        if order is None:
            raise _DamageError(f"has byte-order magic {magic.hex(' ')}; expected 1a 2b 3c 4d or its reverse")
        self._order = order
        self._interfaces = []
        self.unpack_block = struct.Struct(order + "II").unpack_from
        self.unpack_length = struct.Struct(order + "I").unpack_from
        self._unpack_enhanced = struct.Struct(order + "IIIII").unpack_from
        self._unpack_old = struct.Struct(order + "HHIIII").unpack_from

    def read(self, kind: int, buffer: bytes, start: int, end: int, batch: list[Timed]) -> None:
        """Take one block, whose body is `buffer[start:end]`; add its packet, if it has one, to `batch`."""
        if end - start < _SMALLEST_BODY.get(kind, 0):
            raise _DamageError(f"has a body of {end - start} bytes; expected at least {_SMALLEST_BODY[kind]}")
        if kind == _ENHANCED_PACKET:
            number, high, low, captured, _ = self._unpack_enhanced(buffer, start)
            start += 20
        elif kind == _INTERFACE:
            self._describe_interface(buffer[start:end])
            return
        elif kind == _OLD_PACKET:
            number, _, high, low, captured, _ = self._unpack_old(buffer, start)
            start += 20
        elif kind == _SIMPLE_PACKET:
            number = high = low = 0
            captured = self.unpack_length(buffer, start)[0]
            start += 4
            if self._interfaces:
                captured = min(captured, self._interfaces[0].snap_length, end - start)
        else:
            return
        if number >= len(self._interfaces):
            self._skipped["interface without description"] += 1
            return
        interface = self._interfaces[number]
        if captured > end - start:
            self._skipped["packet longer than its block"] += 1
            return
        if kind != _SIMPLE_PACKET:
            seconds = (high * _HIGH_TICKS + low) / interface.ticks_per_second + interface.offset_seconds
            if 0.0 <= seconds <= _LAST_SECOND:
                self._last_seconds = seconds
        if interface.ethernet and captured > 14 and buffer[start + 12 : start + 14] in _IP_ETHERTYPES:
            batch.append((self._last_seconds, buffer[start + 14 : start + captured]))
            return
        if interface.unwrap is None:
            self._skipped[f"link type {interface.link_type}"] += 1
            return
        packet = interface.unwrap(buffer[start : start + captured])
        if isinstance(packet, bytes):
            batch.append((self._last_seconds, packet))
        else:
            self._skipped[packet] += 1

    def _describe_interface(self, body: bytes) -> None:
        if len(self._interfaces) == _MAX_INTERFACES:
            raise _DamageError(f"is one interface description too many; expected at most {_MAX_INTERFACES}")
        link_type, snap_length = struct.unpack_from(self._order + "H2xI", body)
        interface = _Interface(link_type, snap_length)
        self._link_types.add(link_type)
        self._interfaces.append(interface)
        position = 8
        while position + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, position)
            value = body[position + 4 : position + 4 + length]
            position += 4 + length + -length % 4
            if code == _END_OF_OPTIONS:
                return
            if code == _IF_TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                interface.ticks_per_second = 2.0**exponent if value[0] & 0x80 else 10.0**exponent
            elif code == _IF_TSOFFSET and len(value) == 8:
                interface.offset_seconds = struct.unpack(self._order + "q", value)[0]


class _CountingReader:
    """Reads a file and adds up how much it read. zstandard wants an object with `read`, and no more."""

    def __init__(self, file: BufferedReader, capture: Capture) -> None:
        self._file = file
        self._capture = capture

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._capture.bytes_read += len(data)
        return data


def _stored(reader: _CountingReader) -> Iterator[bytes]:
    while chunk := reader.read(_CHUNK_BYTES):
        yield chunk


def _gunzip(reader: _CountingReader) -> Iterator[bytes]:
    # Not gzip.open: at a cut it drops what it has already unpacked.
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    inside_member = False
    for packed in _stored(reader):
        data = packed
        while True:
            inside_member = True
            try:
                piece = decompressor.decompress(data, _CHUNK_BYTES)
            except zlib.error as error:
                raise _DamageError(f"its gzip data is damaged ({error})") from error
            if piece:
                yield piece
            if decompressor.eof:
                data = decompressor.unused_data.lstrip(b"\0")  # padding, as tapes have it
                decompressor = zlib.decompressobj(_GZIP_WINDOW)  # members may follow (RFC 1952 section 2.2)
                inside_member = False
                if not data:
                    break
            else:
                data = decompressor.unconsumed_tail
                if not data and len(piece) < _CHUNK_BYTES:
                    break
    if inside_member:
        raise _DamageError("its gzip data is cut short")


def _unzstd(reader: _CountingReader) -> Iterator[bytes]:
    # The library refuses windows of more than 128 MiB, as the zstd program does.
    with zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], reader), read_across_frames=True) as unpacked:
        while True:
            try:
                piece = unpacked.read(_CHUNK_BYTES)
            except zstandard.ZstdError as error:
                raise _DamageError(f"its zstd data is damaged ({error})") from error
            if not piece:
                return
            yield piece
