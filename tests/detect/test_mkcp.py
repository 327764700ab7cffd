"""mKCP: the checksum, both sides, every disguise, and what is almost it."""

import struct

import pytest

from middlebox.detect.mkcp import Mkcp
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import MKCP_ACKNOWLEDGEMENT, MKCP_DATA, mkcp

# From a recording of two V2Ray 4.34 programs in the project's lab: a ping and an acknowledgement.
RECORDED = (
    SERVER(bytes.fromhex("1f19a5431f0cc00b1f0cc00b1c04c00b1c04c00b1c04c10b1c04c1")),
    SERVER(bytes.fromhex("9f0544d39f10219b9f10219b9c19219b9c18219b9c18209b9c1820")),
)


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Mkcp(), messages))


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(Mkcp(), messages))


def test_one_segment_is_probable_and_the_other_sides_confirms() -> None:
    first, second = answers(CLIENT(MKCP_DATA), SERVER(MKCP_ACKNOWLEDGEMENT))
    assert isinstance(first, Evidence)
    assert isinstance(second, Evidence)
    assert (first.confidence, first.more) == (Confidence.PROBABLE, True)
    assert (second.confidence, second.more) == (Confidence.CONFIRMED, False)
    assert second.facts == {"kcptun.disguise": "none"}


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("none", b""),
        ("srtp", b"\xb5\xe8\x12\x34"),
        ("utp", b"\x77\x01\x01\x00"),
        ("wechat-video", b"\xa1\x08\x00\x00\x17\xe5\x00\x10\x11\x18\x30\x22\x30"),
        ("dtls", b"\x17\xfe\xfd\x5b\x3c\x00\x00\x00\x00\x00\x07\x00\x22"),
        ("wireguard", b"\x04\x00\x00\x00"),
    ],
)
def test_every_disguise_is_seen_through(name: str, header: bytes) -> None:
    evidence = udp(SERVER(mkcp(3, header=header)), CLIENT(mkcp(1, body=noise(200), header=header)))
    assert evidence
    assert (evidence.confidence, evidence.facts) == (Confidence.CONFIRMED, {"kcptun.disguise": name})


def test_another_conversation_confirms_nothing() -> None:
    evidence = udp(CLIENT(MKCP_DATA), SERVER(mkcp(3, conversation=0x1111)))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


def test_a_new_conversation_on_the_same_ports_is_followed() -> None:
    evidence = udp(CLIENT(MKCP_DATA), CLIENT(mkcp(3, conversation=7)), SERVER(mkcp(3, conversation=7)))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


def test_recorded_segments_are_recognised() -> None:
    evidence = udp(*RECORDED)
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("kcptun", Confidence.PROBABLE)
    assert evidence.reason == "an mKCP segment whose length and checksum are right (header: none)"


@pytest.mark.parametrize("place", [0, 4, 5, 8, 20, -1])
def test_one_wrong_byte_is_enough(place: int) -> None:
    wrong = bytearray(MKCP_DATA)
    wrong[place] ^= 0x10
    assert answers(CLIENT(bytes(wrong))) == [Opinion.NO]


@pytest.mark.parametrize("data", [b"\x00", MKCP_DATA[:21], MKCP_DATA[:-1], MKCP_DATA + b"\x00", noise(300)])
def test_cut_long_and_foreign_datagrams_are_refused_at_once(data: bytes) -> None:
    assert answers(CLIENT(data)) == [Opinion.NO]


def test_a_command_beyond_ping_is_refused() -> None:
    assert answers(CLIENT(mkcp(4))) == [Opinion.NO]


def test_a_disguise_does_not_change_within_a_flow() -> None:
    evidence = udp(CLIENT(MKCP_DATA), SERVER(mkcp(3, header=b"\xb5\xe8\x12\x34")))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


def test_foreign_datagrams_are_passed_over_but_not_for_ever() -> None:
    foreign = [SERVER(noise(100, seed=number)) for number in range(5)]
    assert answers(CLIENT(MKCP_DATA), *foreign[:4], SERVER(MKCP_ACKNOWLEDGEMENT))[-1] is not Opinion.NO
    assert answers(CLIENT(MKCP_DATA), *foreign)[-1] is Opinion.NO


def test_a_very_long_datagram_is_not_hashed() -> None:
    long = mkcp(1, body=bytes(12) + struct.pack("!H", 2000) + noise(2000))
    assert answers(CLIENT(long)) == [Opinion.NO]
