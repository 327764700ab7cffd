"""VXLAN, Geneve, GTP, LISP, Teredo, AYIYA and IP in IP: near misses, and datagrams of other kinds between theirs."""

import struct

import pytest

from middlebox.detect.ayiya import Ayiya
from middlebox.detect.base import Detector
from middlebox.detect.geneve import Geneve
from middlebox.detect.gtp import Gtp
from middlebox.detect.ip_in_ip import IpInIp
from middlebox.detect.lisp import Lisp
from middlebox.detect.six_in_four import SixInFour
from middlebox.detect.teredo import Teredo
from middlebox.detect.vxlan import Vxlan
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_overlays import (
    AUTHENTICATION,
    BUBBLE,
    GENEVE_OPTION,
    INNER,
    INNER6,
    ORIGIN,
    SOLICITATION,
    TEREDO_CLIENT,
    ayiya,
    frame,
    geneve,
    gtp0,
    gtp1,
    gtp2,
    gtp_prime,
    gtp_user,
    lisp_data,
    lisp_map,
    lisp_record,
    vxlan,
)  # fmt: skip
from tests.packets import ipv6

POSSIBLE, PROBABLE, CONFIRMED = Confidence


def answers(kind: type[Detector], *messages: Message) -> list[Answer]:
    return list(datagrams(kind(), messages))


def level(kind: type[Detector], *messages: Message) -> Confidence | None:
    evidence = last_evidence(datagrams(kind(), messages))
    return evidence.confidence if evidence else None


@pytest.mark.parametrize(
    ("kind", "why", "data"),
    [
        (Vxlan, "no valid network", vxlan(frame(INNER), flags=0)),
        (Vxlan, "a reserved flag", vxlan(frame(INNER), flags=0x18)),
        (Vxlan, "a reserved byte", vxlan(frame(INNER))[:1] + b"\x01" + vxlan(frame(INNER))[2:]),
        (Vxlan, "a reserved last byte", vxlan(frame(INNER))[:7] + b"\x01" + frame(INNER)),
        (Vxlan, "a next protocol without its flag", vxlan(INNER, next_protocol=1)),
        (Vxlan, "an unknown next protocol", vxlan(INNER, flags=0x0C, next_protocol=9)),
        (Vxlan, "a frame from a group", vxlan(frame(b"?", kind=0x88CC)[:6] + b"\x01" + frame(b"?", kind=0x88CC)[7:])),
        (Vxlan, "a header only", vxlan(b"")),
        (Geneve, "version 1", b"\x40" + geneve(frame(INNER))[1:]),
        (Geneve, "a reserved flag", b"\x00\x01" + geneve(frame(INNER))[2:]),
        (Geneve, "an unknown protocol", geneve(INNER, kind=0x1234)),
        (Geneve, "options that overrun", geneve(frame(INNER), options=GENEVE_OPTION[:8])),
        (Geneve, "options cut short", geneve(b"", options=GENEVE_OPTION)[:14]),
        (Gtp, "a wrong length", gtp_user(INNER) + b"\x00"),
        (Gtp, "a spare bit", b"\x38" + gtp_user(INNER)[1:]),
        (Gtp, "version 3", b"\x70" + gtp_user(INNER)[1:]),
        (Gtp, "an unknown type", gtp1(9, 1)),
        (Gtp, "optional fields that are not there", b"\x32\x03\x00\x00" + bytes(4)),
        (Gtp, "an extension of no length", gtp_user(INNER, extension=b"\x00\x00\x00\x00")),
        (Gtp, "elements that overrun", gtp2(32, 1, b"\x01\x00\x20\x00\x00")),
        (Gtp, "version 2 without room for its header", b"\x40\x01\x00\x00" + bytes(4)),
        (Gtp, "version 0 without its ones", gtp0(16, 1)[:9] + bytes(11)),
        (Gtp, "charging of an unknown type", gtp_prime(9, 1)),
        (Lisp, "a reserved flag", b"\xc4" + lisp_data(INNER)[1:]),
        (Lisp, "nonce and map version", b"\xd0" + lisp_data(INNER)[1:]),
        (Lisp, "an echo without a nonce", b"\x28" + lisp_data(INNER)[1:]),
        (Lisp, "a nonce without its flag", b"\x08" + lisp_data(INNER)[1:]),
        (Lisp, "records that end too early", lisp_map(2, noise(8)) + b"\x00"),
        (Lisp, "records that overrun", lisp_map(2, noise(8))[:-1]),
        (Lisp, "a constant nonce", lisp_map(2, b"\x11" * 8)),
        (Teredo, "IPv6 between others", INNER6),
        (Teredo, "IPv4", INNER),
        (Teredo, "one byte more", BUBBLE + b"\x00"),
        (Teredo, "an indication of another kind", b"\x00\x02" + ORIGIN[2:] + BUBBLE),
        (Ayiya, "an unknown next header", ayiya(INNER6, next_header=17)),
        (Ayiya, "one byte more", ayiya(INNER6) + b"\x00"),
        (Ayiya, "an identity too long", b"\xf1" + ayiya(INNER6)[1:]),
        (IpInIp, "IPv6 where IPv4 should be", INNER6),
        (SixInFour, "IPv4 where IPv6 should be", INNER),
    ],
)  # fmt: skip
def test_near_misses_are_rejected_at_once(kind: type[Detector], why: str, data: bytes) -> None:
    for side in (CLIENT, SERVER):
        assert answers(kind, side(data)) == [Opinion.NO], why


@pytest.mark.parametrize(
    ("kind", "data"),
    [(Vxlan, vxlan(frame(INNER))), (Geneve, geneve(frame(INNER))), (Teredo, BUBBLE), (Ayiya, ayiya(INNER6))],
)
def test_further_datagrams_are_waited_for_and_a_few_strangers_passed_over(kind: type[Detector], data: bytes) -> None:
    first, *others = answers(kind, CLIENT(data), *[SERVER(b"?" * 40), CLIENT(data)] * 12)
    assert isinstance(first, Evidence)
    assert first.more
    assert others == [Opinion.MORE] * 24
    assert answers(kind, CLIENT(data), *[CLIENT(b"?" * 40)] * 9)[1:] == [Opinion.MORE] * 4 + [Opinion.NO]


def test_what_is_first_cut_short_may_be_certain_later() -> None:
    lldp = vxlan(frame(noise(40), kind=0x88CC))
    found = [answer for answer in answers(Vxlan, CLIENT(lldp), CLIENT(vxlan(frame(INNER)))) if answer is not Opinion.NO]
    assert [answer.confidence for answer in found if isinstance(answer, Evidence)] == [PROBABLE, CONFIRMED]


def test_the_group_policy_extension_is_vxlan_too() -> None:
    data = bytes.fromhex("88 00 0064 00002a 00") + frame(INNER)
    assert level(Vxlan, CLIENT(data)) is CONFIRMED


def test_inner_packets_are_found_behind_every_kind_of_header() -> None:
    assert Vxlan().unwrap(vxlan(frame(INNER))) == INNER
    assert Geneve().unwrap(geneve(frame(INNER), options=GENEVE_OPTION)) == INNER
    assert Gtp().unwrap(gtp_user(INNER, extension=b"\x01\x00\x09\x00")) == INNER
    assert Lisp().unwrap(lisp_data(INNER)) == INNER
    assert Lisp().unwrap(b"\x80\x00\x00\x00" + INNER) == INNER
    assert Teredo().unwrap(AUTHENTICATION + ORIGIN + BUBBLE) == BUBBLE
    assert Ayiya().unwrap(ayiya(INNER6)) == INNER6
    for kind in (Vxlan, Geneve, Gtp, Lisp, Teredo, Ayiya):
        assert kind().unwrap(b"?") == b""
    assert Gtp().unwrap(gtp1(1, 7)) == b""


def test_gtp_answers_must_repeat_number_version_and_kind_from_the_other_side() -> None:
    request = gtp1(16, 7)
    assert level(Gtp, CLIENT(request), SERVER(gtp1(17, 7))) is CONFIRMED
    assert level(Gtp, SERVER(request), CLIENT(gtp1(17, 7))) is CONFIRMED
    assert level(Gtp, CLIENT(request), SERVER(gtp1(17, 8))) is POSSIBLE
    assert level(Gtp, CLIENT(request), SERVER(gtp1(19, 7))) is POSSIBLE
    assert level(Gtp, CLIENT(request), CLIENT(gtp1(17, 7))) is POSSIBLE
    assert level(Gtp, CLIENT(request), SERVER(gtp1(16, 7))) is POSSIBLE
    assert level(Gtp, CLIENT(request), SERVER(gtp2(33, 7))) is PROBABLE


def test_gtp_version_2_may_carry_two_messages_in_one_datagram() -> None:
    first = b"\x50" + gtp2(33, 7)[1:]
    assert level(Gtp, CLIENT(gtp2(32, 7)), SERVER(first + gtp2(95, 9))) is CONFIRMED


def test_lisp_answers_must_repeat_the_nonce() -> None:
    assert level(Lisp, CLIENT(lisp_map(1, noise(8))), SERVER(lisp_map(2, noise(8)))) is CONFIRMED
    assert level(Lisp, CLIENT(lisp_map(1, noise(8))), CLIENT(lisp_map(2, noise(8)))) is PROBABLE
    assert level(Lisp, CLIENT(lisp_map(3, noise(8))), SERVER(lisp_map(2, noise(8)))) is PROBABLE


def test_lisp_records_with_hundreds_of_places_are_not_walked_through() -> None:
    assert level(Lisp, CLIENT(bytes((0x20, 0, 0, 1)) + noise(8) + lisp_record(32))) is PROBABLE
    assert level(Lisp, CLIENT(bytes((0x20, 0, 0, 1)) + noise(8) + lisp_record(33))) is None


def test_lisp_headers_without_content_are_only_probable() -> None:
    assert level(Lisp, CLIENT(bytes(8) + INNER)) is PROBABLE


def test_teredo_takes_the_addresses_of_its_prefix_and_of_its_links_only() -> None:
    native = ipv6("2001:db8::1", TEREDO_CLIENT, 17, bytes(8))
    link = ipv6("fe80::1", "2001:db8::1", 17, bytes(8))
    assert level(Teredo, CLIENT(native)) is CONFIRMED
    assert level(Teredo, CLIENT(SOLICITATION)) is CONFIRMED
    assert level(Teredo, CLIENT(link)) is None
    assert level(Teredo, CLIENT(ORIGIN + link)) is CONFIRMED


def test_teredo_authentication_may_have_an_id_and_a_value() -> None:
    indication = struct.pack("!HBB", 1, 3, 5) + noise(3 + 5 + 8) + b"\x00"
    assert level(Teredo, CLIENT(indication + BUBBLE)) is CONFIRMED
    assert level(Teredo, CLIENT(indication[:-1] + BUBBLE)) is None


def test_ip_in_ip_of_which_little_was_captured_is_probable() -> None:
    assert level(IpInIp, CLIENT(INNER[:16])) is PROBABLE
    assert level(IpInIp, CLIENT(INNER[:16]), CLIENT(INNER)) is CONFIRMED
    assert level(SixInFour, CLIENT(INNER6[:-1])) is PROBABLE
