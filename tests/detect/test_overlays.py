"""ZeroTier, Nebula, fastd, n2n, tinc, vtun, Yggdrasil: what links two sides, and what only looks like it."""

import struct

import pytest

from middlebox.detect.base import Detector
from middlebox.detect.fastd import Fastd
from middlebox.detect.n2n import N2n
from middlebox.detect.nebula import Nebula
from middlebox.detect.tinc import Meta, Tinc
from middlebox.detect.vtun import Control, Vtun
from middlebox.detect.yggdrasil import Yggdrasil
from middlebox.detect.yggdrasil_tls import YggdrasilTls
from middlebox.detect.zerotier import ZeroTier
from middlebox.engine import Engine
from middlebox.evidence import Answer, Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_overlays import (
    FASTD_FIRST,
    FASTD_L2TP,
    FASTD_REPLY,
    KEY_A,
    KEY_B,
    NEBULA_ANSWER,
    NEBULA_FIRST,
    NEBULA_INDEX,
    NEBULA_SECOND,
    NODE,
    ROOT,
    SHARE_A,
    TINC_CLIENT,
    TINC_SERVER,
    VTUN_GREETING,
    VTUN_HOST,
    YGGDRASIL4,
    fastd,
    n2n,
    n2n1,
    nebula,
    vtun,
    yggdrasil5,
    yggdrasil_tls,
    zerotier,
    zerotier_hello,
)  # fmt: skip
from tests.judging import run
from tests.packets import Connection, udp
from tests.toys import policy

POSSIBLE, PROBABLE, CONFIRMED = Confidence


def answers(kind: type[Detector], *messages: Message) -> list[Answer]:
    return list(datagrams(kind(), messages))


def level(kind: type[Detector], *messages: Message) -> Confidence | None:
    return level_of(datagrams(kind(), messages))


def tcp_level(kind: type[Detector], *messages: Message) -> Confidence | None:
    return level_of(stream(kind(), messages))


def level_of(given) -> Confidence | None:
    evidence = last_evidence(given)
    return evidence.confidence if evidence else None


# --- ZeroTier ---------------------------------------------------------------------------------------


def test_zerotier_addresses_must_come_back_exchanged() -> None:
    hello = CLIENT(zerotier_hello())
    assert level(ZeroTier, hello, SERVER(zerotier(NODE, ROOT))) is CONFIRMED
    assert level(ZeroTier, hello, SERVER(zerotier(ROOT, NODE))) is PROBABLE
    assert level(ZeroTier, hello, CLIENT(zerotier(NODE, ROOT))) is PROBABLE
    assert level(ZeroTier, hello, SERVER(zerotier(NODE, noise(5)))) is PROBABLE


def test_zerotier_hello_must_hold_its_senders_address() -> None:
    assert level(ZeroTier, CLIENT(zerotier_hello(identity=ROOT))) is None
    assert level(ZeroTier, CLIENT(zerotier_hello()[:100])) is None


def test_zerotier_packets_of_an_unknown_cipher_link_nothing() -> None:
    odd = (CLIENT(zerotier(ROOT, NODE, cipher=6)), SERVER(zerotier(NODE, ROOT, cipher=6)))
    assert answers(ZeroTier, *odd) == [Opinion.NO]


def test_zerotier_fragments_are_passed_over() -> None:
    fragment = CLIENT(noise(8) + ROOT + b"\xff\x21\x00" + noise(60))
    packets = (CLIENT(zerotier(ROOT, NODE)), fragment, SERVER(zerotier(NODE, ROOT)))
    assert level(ZeroTier, *packets) is CONFIRMED


def test_zerotier_waits_for_few_datagrams_of_others() -> None:
    others = [CLIENT(noise(60, n)) for n in range(20)]
    assert len(answers(ZeroTier, *others)) <= 5


# --- Nebula -----------------------------------------------------------------------------------------


def test_nebula_answer_must_go_to_the_announced_index() -> None:
    other = nebula(0, bytes.fromhex("01020304"), 2, noise(200))
    assert level(Nebula, CLIENT(NEBULA_FIRST), SERVER(NEBULA_SECOND)) is CONFIRMED
    assert level(Nebula, SERVER(NEBULA_FIRST), CLIENT(NEBULA_SECOND)) is CONFIRMED
    assert level(Nebula, CLIENT(NEBULA_FIRST), SERVER(other)) is PROBABLE
    assert level(Nebula, CLIENT(NEBULA_FIRST), CLIENT(NEBULA_SECOND)) is PROBABLE


def test_nebula_data_must_keep_its_indices_and_count_both_ways() -> None:
    def data(index: bytes, counter: int) -> bytes:
        return nebula(1, index, counter)

    up, down = NEBULA_ANSWER, NEBULA_INDEX
    assert (
        level(Nebula, CLIENT(data(up, 7)), SERVER(data(down, 3)), CLIENT(data(up, 8)), SERVER(data(down, 4)))
        is CONFIRMED
    )
    for last in (data(down, 3), data(up, 4), data(down, 3 + 9000), data(bytes(4), 4), nebula(9, down, 4)):
        assert level(Nebula, CLIENT(data(up, 7)), SERVER(data(down, 3)), CLIENT(data(up, 8)), SERVER(last)) is None
    same = [side(data(up, n)) for n in (1, 2) for side in (CLIENT, SERVER)]
    assert level(Nebula, *same) is None


def test_nebula_data_one_way_is_probable() -> None:
    assert level(Nebula, *(CLIENT(nebula(1, NEBULA_ANSWER, n)) for n in range(1, 9))) is PROBABLE


def test_nebula_passes_over_single_bytes_that_punch_holes() -> None:
    punch = SERVER(b"\x01")
    assert level(Nebula, CLIENT(NEBULA_FIRST), punch, punch, SERVER(NEBULA_SECOND)) is CONFIRMED
    assert answers(Nebula, punch) == [Opinion.NO]


# --- fastd ------------------------------------------------------------------------------------------


def test_fastd_answer_must_repeat_a_key() -> None:
    first = CLIENT(FASTD_FIRST)
    assert level(Fastd, first, SERVER(FASTD_REPLY)) is CONFIRMED
    assert level(Fastd, first, SERVER(fastd(2, (6, KEY_B), (9, SHARE_A)))) is CONFIRMED
    assert level(Fastd, first, SERVER(fastd(2, (6, KEY_B), (7, KEY_B)))) is PROBABLE
    assert level(Fastd, first, CLIENT(FASTD_REPLY)) is PROBABLE
    assert level(Fastd, first, SERVER(fastd(1, (6, KEY_B), (7, KEY_A)))) is PROBABLE


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("one byte more", FASTD_FIRST + b"\x00"),
        ("cut short", FASTD_FIRST[:-1]),
        ("another length", FASTD_FIRST[:3] + b"\x01" + FASTD_FIRST[4:]),
        ("no keys", fastd(1)),
        ("a key too short", fastd(1, (6, KEY_A[:31]))),
        ("a record twice", fastd(1, (6, KEY_A), (6, KEY_A))),
        ("an unknown record", fastd(1, (6, KEY_A), (77, KEY_A))),
        ("an unknown step", fastd(4, (6, KEY_A))),
        ("L2TP", FASTD_L2TP),
        ("L2TP with something else", FASTD_L2TP + b"\x00\x08" + bytes(20)),
    ],
)
def test_fastd_near_misses_are_rejected_at_once(why: str, data: bytes) -> None:
    assert answers(Fastd, CLIENT(data)) == [Opinion.NO], why


def test_fastd_before_version_17_left_the_length_open() -> None:
    old = FASTD_FIRST[:2] + bytes(2) + FASTD_FIRST[4:]
    assert level(Fastd, CLIENT(old), SERVER(FASTD_REPLY)) is CONFIRMED


def test_fastd_versions_that_are_no_words_are_not_told() -> None:
    evidence = last_evidence(datagrams(Fastd(), [CLIENT(fastd(1, (6, KEY_A), version=b"v\x1b[2J"))]))
    assert evidence
    assert evidence.facts == {}


# --- n2n --------------------------------------------------------------------------------------------


def test_n2n_community_and_version_must_agree() -> None:
    assert level(N2n, CLIENT(n2n(3, 5)), SERVER(n2n(3, 7))) is CONFIRMED
    assert level(N2n, CLIENT(n2n(3, 5)), SERVER(n2n(2, 7))) is None
    assert level(N2n, CLIENT(n2n(3, 5)), SERVER(n2n(3, 7, community=b"lab2"))) is None
    assert level(N2n, CLIENT(n2n1(1)), SERVER(n2n1(4, community=b"lab\x00other stack!"))) is CONFIRMED


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("no community", n2n(3, 5, community=b"")),
        ("a community of bytes", n2n(3, 5, community=b"\x01lab")),
        ("something behind the community", n2n(3, 5, community=b"lab\x00x")),
        ("an unknown type", n2n(3, 31)),
        ("an unknown flag", n2n(3, 5, flags=0x8000)),
        ("too many hops", b"\x03\x63" + n2n(3, 5)[2:]),
        ("version 4", b"\x04" + n2n(3, 5)[1:]),
        ("version 1 without its end", n2n1(1)[:-1]),
        ("version 1 of an unknown type", n2n1(9)),
    ],
)
def test_n2n_near_misses_are_not_recognised(why: str, data: bytes) -> None:
    assert level(N2n, CLIENT(data), CLIENT(data)) is None, why


# --- tinc -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"0 laptop 16\n", b"0 laptop\n", b"0 lap top 17\n", b"0 lap-top 17\n", b"0  17\n", b"1 laptop 17\n",
     b"0 laptop 17.x\n", b"0 " + b"a" * 300, b"0\n"],
)  # fmt: skip
def test_tinc_other_greetings_are_rejected(line: bytes) -> None:
    assert tcp_level(Tinc, CLIENT(line), SERVER(TINC_SERVER)) is None


def test_tinc_invitations_begin_with_a_key() -> None:
    assert tcp_level(Tinc, CLIENT(b"0 ?3KcNQtTi9 17.7\n"), SERVER(b"0 office 17.7\n")) is CONFIRMED


def legacy(number: int, size: int) -> bytes:
    """A packet as tinc 1.0 sends it: cipher blocks and four bytes."""
    return noise(size, number)


def sptps(source: bytes, number: int) -> bytes:
    """A packet as tinc 1.1 sends it: hashes of names, a number, what is encrypted."""
    return bytes(6) + source + struct.pack("!I", number) + noise(60, number)


def known() -> Meta:
    meta = Meta()
    assert last_evidence(stream(Tinc(meta), (CLIENT(TINC_CLIENT), SERVER(TINC_SERVER))))
    return meta


def test_tinc_datagrams_count_only_between_hosts_that_have_greeted() -> None:
    both_ways = [side(legacy(n, 100 + 8 * n)) for n in range(4) for side in (CLIENT, SERVER)]
    assert list(datagrams(Tinc(), both_ways)) == [Opinion.NO]
    greeting_only = Meta()
    assert last_evidence(stream(Tinc(greeting_only), (CLIENT(TINC_CLIENT),)))
    assert list(datagrams(Tinc(greeting_only), both_ways)) == [Opinion.NO]


def test_tinc_datagrams_of_cipher_blocks_are_certain_after_three_each_way() -> None:
    both_ways = [side(legacy(2 * n + (side is CLIENT), 100 + 8 * n)) for n in range(3) for side in (CLIENT, SERVER)]
    assert level_of(datagrams(Tinc(known()), both_ways)) is CONFIRMED
    assert level_of(datagrams(Tinc(known()), both_ways[:5])) is PROBABLE


def test_tinc_datagrams_of_other_lengths_are_only_probable() -> None:
    both_ways = [side(legacy(n, 101 + 8 * n)) for n in range(20) for side in (CLIENT, SERVER)]
    assert level_of(datagrams(Tinc(known()), both_ways)) is PROBABLE


def test_tinc_datagrams_with_hashes_and_numbers_are_certain_after_two_each_way() -> None:
    here, there = noise(6, 1), noise(6, 2)
    both_ways = [side(sptps(source, n)) for n in (7, 8) for side, source in ((CLIENT, here), (SERVER, there))]
    assert level_of(datagrams(Tinc(known()), both_ways)) is CONFIRMED
    repeated = [side(sptps(source, 7)) for _ in (7, 8) for side, source in ((CLIENT, here), (SERVER, there))]
    assert level_of(datagrams(Tinc(known()), repeated)) is not CONFIRMED


def test_tinc_leaves_other_traffic_between_its_hosts_alone() -> None:
    query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\x03www\x07example\x03org\x00\x00\x01\x00\x01"
    for data in (query, b"text that is not encrypted at all", bytes(100)):
        assert list(datagrams(Tinc(known()), [CLIENT(data)])) == [Opinion.NO]


# --- vtun -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting",
    [b"VTUN server ver 3.X\n", vtun(b"VTUN client ver 3.X"), VTUN_GREETING[:49] + b"x", b"220 VTUN server ver 3\r\n"],
)
def test_vtun_other_greetings_are_rejected(greeting: bytes) -> None:
    assert tcp_level(Vtun, SERVER(greeting), CLIENT(VTUN_HOST)) is not CONFIRMED


def test_vtun_datagrams_count_only_between_hosts_that_have_talked_and_with_their_length() -> None:
    def framed(size: int) -> bytes:
        return struct.pack("!H", size) + noise(size)

    both_ways = [side(framed(size)) for size in (80, 96) for side in (CLIENT, SERVER)]
    assert list(datagrams(Vtun(), both_ways)) == [Opinion.NO]
    control = Control()
    assert last_evidence(stream(Vtun(control), (SERVER(VTUN_GREETING), CLIENT(VTUN_HOST))))
    assert level_of(datagrams(Vtun(control), both_ways)) is CONFIRMED
    echoes = [CLIENT(b"\x20\x00"), SERVER(b"\x40\x00")] * 2
    assert level_of(datagrams(Vtun(control), echoes)) is CONFIRMED
    assert level_of(datagrams(Vtun(control), both_ways[:3])) is PROBABLE
    for other in (framed(80) + b"x", b"\x80\x00", b"\x20\x50" + noise(80), b"x"):
        assert list(datagrams(Vtun(control), [CLIENT(other)])) == [Opinion.NO]


def test_the_engine_links_the_udp_flow_of_a_pair_to_its_control_connection() -> None:
    here, there = ("198.51.100.10", 40112), ("203.0.113.20", 5000)
    connection = Connection(here, there)
    packets = [*connection.handshake(), connection.server(VTUN_GREETING), connection.client(VTUN_HOST)]
    framed = struct.pack("!H", 80) + noise(80)
    ends = ("198.51.100.10", 41000), ("203.0.113.20", 42000)
    packets += [udp(*ends, framed), udp(*reversed(ends), framed)] * 2
    stranger = ("203.0.113.77", 42000)
    packets += [udp(ends[0], stranger, framed), udp(stranger, ends[0], framed)] * 2
    engine = Engine(policy())
    run(engine, packets)
    engine.finish(9.0)
    names = [event["app_proto"] for event in engine.take_events() if event["event_type"] == "flow"]
    assert names == ["vtun", "vtun", "unknown"]


# --- Yggdrasil --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [b"metadata=1&x=2", b"meta\x00\x05" + KEY_A, b"meta\x01\x04" + KEY_A, b"meta\x00\x10\x00\x00\x00\x02\x00\x00",
     b"META\x00\x04" + KEY_A, b"metal works\n"],
)  # fmt: skip
def test_yggdrasil_other_beginnings_are_rejected(start: bytes) -> None:
    assert tcp_level(Yggdrasil, CLIENT(start), SERVER(YGGDRASIL4 + KEY_B)) is None


def test_yggdrasil_needs_both_sides() -> None:
    assert tcp_level(Yggdrasil, SERVER(yggdrasil5(KEY_A))) is PROBABLE


@pytest.mark.parametrize(
    ("why", "messages"),
    [
        ("another length", yggdrasil_tls(141)),
        ("an ECDSA signature", yggdrasil_tls(140, signature=96)),
        ("something negotiated", yggdrasil_tls(140, extensions=30)),
        ("an answer of another length", (*yggdrasil_tls(140)[:-1], CLIENT(b"\x17\x03\x03\x00\x37" + noise(55)))),
        ("no answer", yggdrasil_tls(140)[:-1]),
    ],
)
def test_yggdrasil_other_records_in_tls_are_not_recognised(why: str, messages: tuple[Message, ...]) -> None:
    assert tcp_level(YggdrasilTls, *messages) is None, why


def test_yggdrasil_in_tls_does_not_depend_on_segments() -> None:
    for segment in (1, 7, 1460):
        assert level_of(stream(YggdrasilTls(), yggdrasil_tls(55), segment=segment)) is PROBABLE, segment


def test_ordinary_tls_is_left_alone_soon() -> None:
    said = yggdrasil_tls(140, extensions=30)
    assert len(list(stream(YggdrasilTls(), said))) == 2
