"""Captures of every format, order, resolution and compression, whole and cut."""

import gc
import gzip
import struct
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap, wrpcapng

from middlebox.shells.capture import Capture, CaptureError
from tests.shells.capture_files import (
    ETHERNET,
    MAC_ADDRESSES,
    block,
    enhanced,
    ethernet,
    interface,
    old_packet,
    option,
    packed_gzip,
    packed_zstd,
    pcap,
    section,
    simple,
    udp_packet,
)

NOON = 1_700_000_000.123456
FIRST, SECOND, THIRD = udp_packet(b"first"), udp_packet(b"second!"), udp_packet(b"3")
RECORDS = [(NOON, FIRST), (NOON + 1, SECOND), (NOON + 2.5, THIRD)]
MICROSECONDS = round(NOON * 1_000_000)
IF_TSRESOL, IF_TSOFFSET = 9, 14


def read(path: Path) -> tuple[list[tuple[float, bytes]], Capture]:
    capture = Capture(str(path))
    return list(capture), capture


def read_until_trouble(path: Path) -> tuple[list[bytes], str | None]:
    """The packets, and what the reader had to say about the file."""
    capture = Capture(str(path))
    found: list[bytes] = []
    try:
        for time, packet in capture:
            assert 0 <= time <= 253_402_300_799
            found.append(packet)
    except CaptureError as error:
        return found, str(error)
    assert capture.packets == len(found)
    return found, capture.problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.cap"


def assert_records(found: list[tuple[float, bytes]], expected: list[tuple[float, bytes]]) -> None:
    assert [packet for _, packet in found] == [packet for _, packet in expected]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in expected], abs=1e-6, rel=0)


# --- pcap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap_of_both_byte_orders_and_resolutions(file: Path, order: str, nanoseconds: bool) -> None:
    file.write_bytes(pcap(RECORDS, order=order, nanoseconds=nanoseconds))
    found, capture = read(file)
    assert_records(found, RECORDS)
    assert capture.problem is None
    assert capture.packets == 3
    assert capture.link_types == {101}


def test_what_scapy_writes_is_read(file: Path) -> None:
    frames = [
        Ether() / IP(src="198.51.100.10", dst="203.0.113.20") / UDP(sport=1, dport=2) / bytes([n]) for n in (1, 2)
    ]
    frames[0].time, frames[1].time = 1_700_000_000.25, 1_700_000_001.5
    expected = [(float(frame.time), bytes(frame[IP])) for frame in frames]
    for write in (wrpcap, wrpcapng):
        write(str(file), frames)
        found, capture = read(file)
        assert_records(found, expected)
        assert capture.problem is None


def test_ethernet_frames_without_ip_are_counted_by_reason(file: Path) -> None:
    arp, lldp = MAC_ADDRESSES + b"\x08\x06" + bytes(28), MAC_ADDRESSES + b"\x88\xcc" + bytes(28)
    frames = [ethernet(FIRST), arp, arp, lldp, b"", ethernet(SECOND, b"\x81\x00\x00\x05")]
    file.write_bytes(pcap([(NOON, frame) for frame in frames], link_type=ETHERNET))
    found, capture = read(file)
    assert [packet for _, packet in found] == [FIRST, SECOND]
    assert capture.skipped == {"ARP": 2, "EtherType 0x88cc": 1, "frame cut short": 1}
    assert capture.packets == 2


def test_frame_without_ethertype_does_not_borrow_one_from_the_next_record(file: Path) -> None:
    spells_ipv4 = 0x65000008  # the next record's time begins with the bytes 08 00
    file.write_bytes(pcap([(NOON, MAC_ADDRESSES), (float(spells_ipv4), ethernet(FIRST))], link_type=ETHERNET))
    found, capture = read(file)
    assert found == [(float(spells_ipv4), FIRST)]
    assert capture.skipped == {"frame cut short": 1}


def test_packets_cut_at_the_snap_length_are_delivered_as_captured(file: Path) -> None:
    header = pcap([])
    file.write_bytes(header + struct.pack("<IIII", 5, 0, 24, len(FIRST)) + FIRST[:24])
    assert read(file)[0] == [(5.0, FIRST[:24])]


def test_frame_check_sequence_length_is_not_part_of_the_link_type(file: Path) -> None:
    file.write_bytes(pcap([(NOON, ethernet(FIRST))], link_type=0x44000000 | ETHERNET))
    assert [packet for _, packet in read(file)[0]] == [FIRST]


def test_capture_larger_than_a_chunk_is_read_to_its_end(file: Path) -> None:
    records = [(float(second), udp_packet(bytes(second % 1400))) for second in range(2000)]
    for data in (
        pcap(records),
        section() + interface() + b"".join(enhanced(int(time * 1e6), packet) for time, packet in records),
    ):
        file.write_bytes(data)
        found, capture = read(file)
        assert found == records
        assert capture.problem is None
        assert capture.bytes_read == len(data)


# --- pcapng -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_packet_blocks_of_every_kind(file: Path, order: str) -> None:
    file.write_bytes(
        section(order)
        + interface(order=order)
        + enhanced(MICROSECONDS, FIRST, order=order)
        + block(0x0BAD, b"custom block", order)
        + old_packet(MICROSECONDS + 1_000_000, SECOND, order=order)
        + simple(THIRD, order=order)
    )
    found, capture = read(file)
    assert_records(found, [(NOON, FIRST), (NOON + 1, SECOND), (NOON + 1, THIRD)])
    assert capture.problem is None


def test_interfaces_have_their_own_link_type_resolution_and_offset(file: Path) -> None:
    file.write_bytes(
        section()
        + interface(101, option(IF_TSRESOL, b"\x09"), option(0, b""))
        + interface(ETHERNET, option(IF_TSRESOL, b"\x8a"))
        + interface(101, option(2, b"eth0"), option(IF_TSOFFSET, struct.pack("<q", 1_700_000_000)))
        + enhanced(1_700_000_000_500_000_000, FIRST, number=0)
        + enhanced(1_700_000_000 * 1024 + 512, ethernet(SECOND), number=1)
        + enhanced(250_000, THIRD, number=2)
    )
    found, capture = read(file)
    assert_records(found, [(1_700_000_000.5, FIRST), (1_700_000_000.5, SECOND), (1_700_000_000.25, THIRD)])
    assert capture.link_types == {101, ETHERNET}


def test_each_section_starts_with_its_own_byte_order_and_interfaces(file: Path) -> None:
    file.write_bytes(
        section("<")
        + interface(101)
        + enhanced(MICROSECONDS, FIRST)
        + section(">")
        + interface(ETHERNET, order=">")
        + enhanced(MICROSECONDS, ethernet(SECOND), order=">")
        + section("<")
        + enhanced(MICROSECONDS, THIRD)
    )
    found, capture = read(file)
    assert [packet for _, packet in found] == [FIRST, SECOND]
    assert capture.skipped == {"interface without description": 1}


def test_simple_packets_are_cut_at_the_snap_length(file: Path) -> None:
    file.write_bytes(section() + interface(snap_length=24) + simple(FIRST[:24], original=len(FIRST)))
    assert read(file)[0] == [(0.0, FIRST[:24])]


def test_packet_longer_than_its_block_is_counted_and_the_rest_read(file: Path) -> None:
    file.write_bytes(section() + interface() + enhanced(1, FIRST, captured=5000) + enhanced(2, SECOND))
    found, capture = read(file)
    assert [packet for _, packet in found] == [SECOND]
    assert capture.skipped == {"packet longer than its block": 1}


def test_times_no_calendar_has_repeat_the_last_good_one(file: Path) -> None:
    whole_seconds = option(IF_TSRESOL, b"\x00")
    file.write_bytes(
        section() + interface(101, whole_seconds) + enhanced(1_700_000_000, FIRST) + enhanced((1 << 64) - 1, SECOND)
    )
    assert read(file)[0] == [(1_700_000_000.0, FIRST), (1_700_000_000.0, SECOND)]


def test_interface_of_an_unknown_link_type_is_counted(file: Path) -> None:
    file.write_bytes(section() + interface(127) + interface() + enhanced(1, b"radio") + enhanced(2, FIRST, number=1))
    found, capture = read(file)
    assert [packet for _, packet in found] == [FIRST]
    assert capture.skipped == {"link type 127": 1}


# --- compression ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [packed_gzip, packed_zstd])
def test_compressed_captures_are_recognised_by_content(file: Path, pack: object) -> None:
    assert callable(pack)
    data = pack(pcap(RECORDS))
    file.write_bytes(data)
    found, capture = read(file)
    assert_records(found, RECORDS)
    assert capture.problem is None
    assert capture.bytes_read == len(data)


@pytest.mark.parametrize("pack", [packed_gzip, packed_zstd])
def test_compressed_data_in_several_parts(file: Path, pack: object) -> None:
    assert callable(pack)
    data = pcap(RECORDS)
    file.write_bytes(pack(data[:50]) + pack(data[50:]))
    found, capture = read(file)
    assert_records(found, RECORDS)
    assert capture.problem is None


def test_zeros_behind_gzip_data_are_no_problem(file: Path) -> None:
    file.write_bytes(packed_gzip(pcap(RECORDS)) + bytes(512))
    found, capture = read(file)
    assert len(found) == 3
    assert capture.problem is None


def test_cut_gzip_delivers_what_was_unpacked_and_says_so(file: Path) -> None:
    data = gzip.compress(pcap(RECORDS), compresslevel=0)
    file.write_bytes(data[:-30])
    found, capture = read(file)
    assert [packet for _, packet in found] == [FIRST, SECOND]
    assert capture.problem == f"{file}: its gzip data is cut short"


def test_damaged_compressed_data_is_named(file: Path) -> None:
    file.write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 40)
    with pytest.raises(CaptureError, match=r"some\.cap: its gzip data is damaged \(.*\)$"):
        read(file)
    file.write_bytes(b"\x28\xb5\x2f\xfd" + b"\xff" * 40)
    with pytest.raises(CaptureError, match=r"some\.cap: its zstd data is damaged \(.*\)$"):
        read(file)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_decompression_bomb_does_not_fill_memory(file: Path, compression: str) -> None:
    # 128 MiB of zeros, packed to some kilobytes.
    record = struct.pack("<IIII", 1, 0, 1024 * 1024, 1024 * 1024) + bytes(1024 * 1024)
    with file.open("wb") as out:
        writer = (
            gzip.GzipFile(fileobj=out, mode="wb")
            if compression == "gzip"
            else zstandard.ZstdCompressor().stream_writer(out, closefd=False)
        )
        with writer:
            writer.write(pcap([]))
            for _ in range(128):
                writer.write(record)
    capture = Capture(str(file))
    gc.collect()
    tracemalloc.start()
    try:
        assert sum(len(packet) for _, packet in capture) == 128 * 1024 * 1024
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file.stat().st_size < 256 * 1024
    assert peak < 16 * 1024 * 1024


# --- what is no capture, and captures that end early ------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a pcap or pcapng capture"),
        (
            b"policy: campus",
            "is no capture: begins with 70 6f 6c 69 63 79 3a 20; "
            "expected pcap or pcapng, as it is or compressed with gzip or zstd",
        ),
        (pcap([])[:20], "ends at byte 20, inside the pcap file header"),
        (pcap([], major=3), "is pcap version 3.4; expected 2.x"),
        (packed_gzip(b""), "is empty; expected a pcap or pcapng capture"),
    ],
)
def test_file_that_is_no_capture_is_refused_in_one_line(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(CaptureError) as raised:
        read(file)
    assert str(raised.value) == f"{file}: {message}"


@pytest.mark.parametrize("content", [pcap([], link_type=127), section() + interface(127) + enhanced(1, b"x")])
def test_capture_of_an_unsupported_link_type_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(CaptureError, match=r"some\.cap: has link type 127, which cannot be read; expected .*Ethernet"):
        read(file)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"missing\.pcap: No such file or directory$"):
        read(tmp_path / "missing.pcap")
    with pytest.raises(CaptureError, match=r"Is a directory$"):
        read(tmp_path)


def test_cut_capture_says_at_which_byte_it_ends(file: Path) -> None:
    data = pcap(RECORDS)
    file.write_bytes(data[:-1])
    found, capture = read(file)
    assert len(found) == 2
    third = 24 + 16 + len(FIRST) + 16 + len(SECOND)
    assert capture.problem == (f"{file}: ends at byte {len(data) - 1}, inside the record that begins at byte {third}")


def test_record_of_absurd_length_ends_the_capture(file: Path) -> None:
    file.write_bytes(pcap([(NOON, FIRST)]) + struct.pack("<IIII", 1, 1, 0x7FFFFFFF, 60) + bytes(60))
    found, capture = read(file)
    assert len(found) == 1
    start = 24 + 16 + len(FIRST)
    assert capture.problem == f"{file}: the record at byte {start} claims 2147483647 bytes; expected at most 1048576"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (struct.pack("<III", 6, 13, 13), "claims 13 bytes; expected a multiple of 4 from 12 to 16777216"),
        (
            struct.pack("<III", 6, 0x7FFFFFFC, 0),
            "claims 2147483644 bytes; expected a multiple of 4 from 12 to 16777216",
        ),
        (struct.pack("<IIII", 5, 16, 0, 20), "has two different lengths"),
        (block(6, bytes(8)), "has a body of 8 bytes; expected at least 20"),
        (
            struct.pack("<IIII", 0x0A0D0D0A, 28, 7, 0),
            "has byte-order magic 07 00 00 00; expected 1a 2b 3c 4d or its reverse",
        ),
        (interface() * 4096, "is one interface description too many; expected at most 4096"),
    ],
)
def test_damaged_block_ends_the_capture_after_what_was_before(file: Path, damage: bytes, message: str) -> None:
    before = section() + interface() + enhanced(1, FIRST)
    file.write_bytes(before + damage)
    found, capture = read(file)
    assert [packet for _, packet in found] == [FIRST]
    damaged_at = len(before) + (20 * 4095 if len(damage) > 1000 else 0)
    assert capture.problem == f"{file}: the block at byte {damaged_at} {message}"


WHOLE = {
    "pcap": pcap(RECORDS),
    "Ethernet": pcap([(time, ethernet(packet)) for time, packet in RECORDS], link_type=ETHERNET),
    "pcapng": section() + interface() + b"".join(enhanced(1, packet) for _, packet in RECORDS),
    "simple packets": section(">")
    + interface(order=">")
    + b"".join(simple(packet, order=">") for _, packet in RECORDS),
}


@pytest.mark.parametrize("pack", [bytes, packed_gzip, packed_zstd])
@pytest.mark.parametrize("name", WHOLE)
def test_capture_cut_anywhere_gives_its_first_packets_and_a_problem(file: Path, name: str, pack: type[bytes]) -> None:
    data = pack(WHOLE[name])
    for length in range(len(data)):
        file.write_bytes(data[:length])
        found, complaint = read_until_trouble(file)
        assert found == [FIRST, SECOND, THIRD][: len(found)]
        assert complaint is None or complaint.startswith(f"{file}: ")
        if pack is not bytes:  # a bare capture cut between two records shows no trace
            assert complaint is not None or len(found) == 3


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=6)), max_size=4),
    st.sampled_from([bytes, packed_gzip, packed_zstd]),
    st.booleans(),
)
def test_damage_anywhere_never_raises_anything_but_a_capture_error(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    patches: list[tuple[int, bytes]],
    pack: type[bytes],
    after_packing: bool,
) -> None:
    data = bytearray(pack(WHOLE[name]) if after_packing else WHOLE[name])
    for position, patch in patches:
        data[position : position + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / "damaged.cap"
    path.write_bytes(bytes(data) if after_packing else pack(bytes(data)))
    _, complaint = read_until_trouble(path)
    assert complaint is None or "\n" not in complaint
