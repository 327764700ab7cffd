"""OpenVPN with CBC ciphers: sizes on a lattice, and everything that is on it by chance or for other reasons."""

import pytest

from middlebox.detect.openvpn_cbc import OpenVpnCbc
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import SERVER, Message, datagrams, last_evidence, stream
from tests.detect.samples_openvpn_wireguard import STATIC_SIZES, both_ways, in_frame, openvpn_cbc

DATA_SIZES = (101, -109, 93, -1277, 93, -101)


def udp(messages: tuple[Message, ...], *, spacing: float = 0.01) -> Evidence | None:
    return last_evidence(datagrams(OpenVpnCbc(), messages, spacing=spacing))


def test_steps_of_the_block_are_named() -> None:
    for sizes, block in ((DATA_SIZES, 8), ((101, -117, 85, -1269, 85, -101), 16)):
        evidence = udp(both_ways(sizes))
        assert evidence
        assert evidence.reason == f"data packets with one opcode, all else random, sizes in steps of {block}"


def test_peer_ids_shift_the_lattice() -> None:
    assert udp(both_ways(tuple(size + 3 if size > 0 else size - 3 for size in DATA_SIZES), b"\x48\x00\x00\x01"))
    assert udp(both_ways(DATA_SIZES, b"\x48\x00\x00\x01")) is None


def test_static_keys_take_twelve_packets() -> None:
    assert udp(both_ways(STATIC_SIZES, b""))
    assert udp(both_ways(STATIC_SIZES[:-1], b"")) is None


@pytest.mark.parametrize(
    ("why", "sizes", "header"),
    [
        ("one direction", tuple(map(abs, DATA_SIZES)) * 3, b"\x30"),
        ("one size", (101, -101) * 9, b"\x30"),
        ("no lattice", (101, -110, 93, -1277, 94, -103) * 2, b"\x30"),
        ("another lattice", tuple(size + 2 if size > 0 else size - 2 for size in DATA_SIZES), b"\x30"),
        ("another opcode", DATA_SIZES, b"\x20"),
        ("static, no acknowledgements of TCP", (356, -596, 84, 436, -1220, -916, 84, -84, 164, -84, 84, 324), b""),
        ("static, in steps of 8", tuple(size + 8 * (size > 0) for size in STATIC_SIZES), b""),
        ("static, with a header that stays", STATIC_SIZES, b"\x91\xe2"),
    ],
)
def test_what_is_not_on_the_lattice_is_nothing(why: str, sizes: tuple[int, ...], header: bytes) -> None:
    assert udp(both_ways(sizes, header)) is None, why


def test_a_number_that_rises_is_a_header() -> None:
    messages = tuple(
        (from_client, data[:2] + at.to_bytes(2) + data[4:])
        for at, (from_client, data) in enumerate(both_ways(STATIC_SIZES, b"\x8f\xe1"))
    )
    assert list(datagrams(OpenVpnCbc(), messages))[-1] is Opinion.NO


def test_pings_one_way_must_be_slow() -> None:
    pings = tuple(SERVER(openvpn_cbc(53, seed)) for seed in (1, 1, 2, 2, 3, 3))
    evidence = udp(pings, spacing=10)
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert udp(pings) is None
    assert udp(tuple(SERVER(openvpn_cbc(61, seed)) for seed in range(3)), spacing=10) is None


def test_tcp_joined_later_is_cut_by_its_lengths() -> None:
    frames = tuple(map(in_frame, both_ways(DATA_SIZES)))
    assert last_evidence(stream(OpenVpnCbc(), frames, midstream=True))
    assert list(stream(OpenVpnCbc(), frames)) == [Opinion.NO]
    static = tuple(map(in_frame, both_ways(STATIC_SIZES, b"")))
    assert last_evidence(stream(OpenVpnCbc(), static, midstream=True)) is None
