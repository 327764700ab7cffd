"""Reassembly: any order gives the packet back; anything dishonest or too large gives nothing, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.fragments import MAX_FRAGMENTS, MAX_PACKETS, TIMEOUT_SECONDS, Reassembler
from middlebox.packet import UDP, Fragment, Packet, decode
from tests.packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    fragment_header,
    ipv4,
    ipv4_fragments,
    ipv6,
    ipv6_fragments,
    udp,
)

PACKET = udp(CLIENT, SERVER, bytes(range(200)))
PACKET6 = udp(CLIENT6, SERVER6, bytes(range(200)))
CUTS = st.lists(st.integers(1, 25).map(lambda word: word * 8), unique=True, min_size=1, max_size=12).map(sorted)


def add_all(reassembler: Reassembler, raws: list[bytes], *, now: float = 0.0) -> list[bytes]:
    """Feed raw fragments; return every packet that became whole."""
    wholes = []
    for raw in raws:
        fragment = decode(raw)
        assert isinstance(fragment, Fragment)
        whole = reassembler.add(fragment, now)
        if whole is not None:
            wholes.append(whole)
    return wholes


def part(offset: int, payload: bytes, *, more: bool = True, identification: int = 7) -> bytes:
    """One IPv4 fragment."""
    word = more << 13 | offset // 8
    return ipv4(CLIENT[0], SERVER[0], UDP, payload, identification=identification, fragment=word)


def same_packet(one: bytes, other: bytes) -> bool:
    first, second = decode(one), decode(other)
    assert isinstance(first, Packet)
    assert isinstance(second, Packet)
    return (first.key, first.payload, first.size, first.length) == (
        second.key, second.payload, second.size, second.length,
    )  # fmt: skip


@given(CUTS, st.randoms(use_true_random=False))
def test_fragments_in_any_order_give_the_packet_back(cuts: list[int], random) -> None:  # type: ignore[no-untyped-def]
    for packet, fragments in ((PACKET, ipv4_fragments(PACKET, cuts)), (PACKET6, ipv6_fragments(PACKET6, cuts))):
        random.shuffle(fragments)
        wholes = add_all(Reassembler(), fragments)
        assert len(wholes) == 1
        assert same_packet(wholes[0], packet)


@given(CUTS, st.randoms(use_true_random=False))
def test_repeated_fragments_change_nothing(cuts: list[int], random) -> None:  # type: ignore[no-untyped-def]
    *fragments, last = ipv4_fragments(PACKET, cuts)
    fragments *= 2
    random.shuffle(fragments)
    wholes = add_all(Reassembler(), [*fragments, last])
    assert len(wholes) == 1
    assert same_packet(wholes[0], PACKET)


def test_extension_headers_before_the_fragment_header_are_kept() -> None:
    hop_by_hop = (0, b"\0\x01\x04\0\0\0\0")
    body = PACKET6[40:]
    fragments = [
        ipv6(CLIENT6[0], SERVER6[0], UDP, body[:64], extensions=[hop_by_hop, fragment_header(0, True)]),
        ipv6(CLIENT6[0], SERVER6[0], UDP, body[64:], extensions=[hop_by_hop, fragment_header(64, False)]),
    ]
    (whole,) = add_all(Reassembler(), fragments)
    packet = decode(whole)
    assert isinstance(packet, Packet)
    assert (packet.payload, packet.length) == (bytes(range(200)), len(PACKET6) + 8)


def test_fragments_of_different_packets_do_not_mix() -> None:
    one, other = ipv4_fragments(PACKET, [64], identification=1), ipv4_fragments(PACKET, [64], identification=2)
    assert add_all(Reassembler(), [one[0], other[1]]) == []


def test_ipv4_and_ipv6_do_not_mix() -> None:
    assert add_all(Reassembler(), [ipv4_fragments(PACKET, [64])[0], ipv6_fragments(PACKET6, [64])[1]]) == []


@pytest.mark.parametrize("offset", [0, 8, 16])
def test_an_overlap_spoils_the_packet(offset: int) -> None:
    reassembler = Reassembler()
    wholes = add_all(reassembler, [part(8, bytes(16)), part(offset, b"x" * 16), part(24, b"end", more=False)])
    assert wholes == []
    assert reassembler.discarded == 1


@pytest.mark.parametrize(
    "raws",
    [
        [part(0, bytes(8)), part(24, bytes(8)), part(16, bytes(8), more=False)],
        [part(24, bytes(8)), part(16, bytes(8), more=False), part(0, bytes(8))],
        [part(16, bytes(8), more=False), part(24, bytes(8)), part(0, bytes(8))],
    ],
    ids=["seen before the end, in last place", "seen before the end", "seen after the end"],
)
def test_bytes_beyond_the_end_never_stand_in_for_a_gap(raws: list[bytes]) -> None:
    # 24 bytes were promised and 24 are there, but [8, 16) is missing. A receiver puts nothing together here.
    assert add_all(Reassembler(), raws) == []


def test_two_ends_spoil_the_packet() -> None:
    reassembler = Reassembler()
    assert add_all(reassembler, [part(16, bytes(8), more=False), part(8, bytes(8), more=False)]) == []
    assert reassembler.discarded == 1


def test_an_odd_length_before_the_end_spoils_the_packet() -> None:
    reassembler = Reassembler()
    assert add_all(reassembler, [part(0, bytes(9)), part(16, b"end", more=False)]) == []
    assert reassembler.discarded == 1


def test_an_empty_fragment_spoils_the_packet() -> None:
    reassembler = Reassembler()
    assert add_all(reassembler, [part(0, bytes(8)), part(8, b"")]) == []
    assert reassembler.discarded == 1


def test_a_fragment_cut_in_the_capture_spoils_the_packet() -> None:
    first, last = ipv4_fragments(PACKET, [64])
    reassembler = Reassembler()
    assert add_all(reassembler, [first[:-1], last]) == []
    assert reassembler.discarded == 1


def test_forty_five_fragments_are_allowed_and_no_more() -> None:
    assert len(add_all(Reassembler(), [part(8 * n, bytes(8), more=n < 44) for n in range(45)])) == 1
    reassembler = Reassembler()
    assert add_all(reassembler, [part(8 * n, bytes(8), more=n < 45) for n in range(46)]) == []
    assert reassembler.discarded == 1
    assert MAX_FRAGMENTS == 45


def test_a_packet_beyond_the_largest_is_given_up() -> None:
    reassembler = Reassembler()
    assert add_all(reassembler, [part(65_528, b"too long", more=False)]) == []
    assert reassembler.discarded == 1


def test_late_fragments_find_nothing_left() -> None:
    reassembler = Reassembler()
    first, last = ipv4_fragments(PACKET, [64])
    assert add_all(reassembler, [first], now=0.0) == []
    assert add_all(reassembler, [last], now=TIMEOUT_SECONDS) == []
    assert reassembler.discarded == 1


def test_fragments_just_in_time_are_put_together() -> None:
    reassembler = Reassembler()
    first, last = ipv4_fragments(PACKET, [64])
    add_all(reassembler, [first], now=0.0)
    assert len(add_all(reassembler, [last], now=TIMEOUT_SECONDS - 0.001)) == 1
    assert reassembler.discarded == 0


def test_the_oldest_packet_goes_when_there_are_too_many() -> None:
    reassembler = Reassembler()
    for identification in range(MAX_PACKETS + 1):
        add_all(reassembler, [part(0, bytes(8), identification=identification)])
    assert reassembler.discarded == 1
    assert add_all(reassembler, [part(8, b"end", more=False, identification=0)]) == []
    assert len(add_all(reassembler, [part(8, b"end", more=False, identification=MAX_PACKETS)])) == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([3, 8, 16]), st.booleans()), max_size=8))
def test_whatever_comes_out_holds_every_byte_at_its_place(specification: list[tuple[int, int, bool]]) -> None:
    # Each byte's value is its offset in the packet, so a byte at the wrong place shows.
    content = bytes(range(200))
    raws = [
        part(8 * word, content[8 * word :][:length], more=more) for word, length, more in specification if word or more
    ]
    for whole in add_all(Reassembler(), raws):
        assert whole[20:] == content[: len(whole) - 20]
