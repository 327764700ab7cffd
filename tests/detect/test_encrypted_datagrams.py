"""Noise over UDP: which sizes make it more than possible, and which only come close."""

import pytest

from middlebox.detect.encrypted_datagrams import EncryptedDatagrams
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import HYSTERIA, KCPTUN, MKCP_WITH_SEED, exchange


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(EncryptedDatagrams(), messages))


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(EncryptedDatagrams(), messages))


def finding(*messages: Message) -> tuple[str, str] | None:
    evidence = udp(*messages)
    return (evidence.protocol, evidence.confidence.word) if evidence else None


def test_noise_both_ways_is_possible_with_the_first_answer() -> None:
    first, second = answers(CLIENT(noise(111)), SERVER(noise(300)))
    assert first is Opinion.MORE
    assert isinstance(second, Evidence)
    assert (second.protocol, second.confidence, second.more) == ("fully-encrypted", Confidence.POSSIBLE, True)
    assert set(second.facts) == {"fully-encrypted.popcount"}


def test_noise_of_any_sizes_stays_possible() -> None:
    sizes = [(-1) ** number * (60 + number * 197 % 1200) for number in range(39)]
    assert finding(*exchange(*sizes)) == ("fully-encrypted", "possible")


@pytest.mark.parametrize(
    "header", [b"\x80\x60", b"\x17\xfe\xfd", b"\x00\x00\x00\x00"], ids=["rtp", "dtls", "non-esp-marker"]
)
def test_a_header_is_refused(header: bytes) -> None:
    said = [(number % 2 == 0, header + noise(120, seed=number)) for number in range(8)]
    assert answers(*said)[-1] is Opinion.NO


@pytest.mark.parametrize("data", [b"x" * 100, noise(28), noise(1501), bytes(100), b"\x00\x78" + noise(118)])
def test_text_short_long_and_framed_datagrams_are_refused_at_once(data: bytes) -> None:
    assert answers(CLIENT(data)) == [Opinion.NO]


def test_one_side_alone_is_given_up() -> None:
    assert answers(*exchange(*[200 + number for number in range(10)])) == [Opinion.MORE] * 5 + [Opinion.NO]


def test_one_structured_datagram_ends_it() -> None:
    assert answers(*exchange(111, -115), CLIENT(bytes(200)))[-1] is Opinion.NO


def test_hysteria_2_is_probable_after_its_handshake() -> None:
    evidence = udp(*HYSTERIA)
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("hysteria", Confidence.PROBABLE)
    assert "a salt of 8 bytes (Hysteria 2, Salamander)" in evidence.reason


def test_hysteria_1_has_a_longer_salt() -> None:
    evidence = udp(*exchange(1268, -53, 1268, -1296, -1176, 51, 85))
    assert evidence
    assert "a salt of 16 bytes (Hysteria 1, xplus)" in evidence.reason


@pytest.mark.parametrize(
    "sizes",
    [
        (1258, -700, 1258, -1288, 51),
        (1258, 300, 1258, -1288, 51),
        (1258, -1288, 900, -1100, 700),
        (1259, 1259, -1288, -1163, 51, 43),
        (1258, 1258, -1200, -1163, 51, 43),
        (1258, -1288, 51, 43, 77),
    ],
    ids=["short-answer", "short-flight", "no-small", "odd-length", "answer-not-full", "not-repeated"],
)
def test_sizes_that_are_not_a_quic_handshake(sizes: tuple[int, ...]) -> None:
    assert finding(*exchange(*sizes)) == ("fully-encrypted", "possible")


def test_kcptun_is_probable_with_its_first_parity() -> None:
    assert finding(*KCPTUN) == ("kcptun", "probable")
    assert finding(*KCPTUN[:-1]) == ("fully-encrypted", "possible")


def test_equal_datagrams_of_a_download_are_no_parity() -> None:
    assert finding(*exchange(52, *[-1200] * 13)) == ("fully-encrypted", "possible")


def test_parity_without_kcptuns_shortest_datagram_is_none() -> None:
    longer = [(from_client, data + noise(8)) for from_client, data in KCPTUN]
    assert finding(*longer) == ("fully-encrypted", "possible")


def test_mkcp_with_a_seed_is_probable_after_six_short_datagrams() -> None:
    assert finding(*MKCP_WITH_SEED) == ("kcptun", "probable")
    assert finding(*MKCP_WITH_SEED[:6]) == ("fully-encrypted", "possible")


@pytest.mark.parametrize("odd", [(46,), (51,), (52,)])
def test_one_short_datagram_of_another_length_is_not_mkcps(odd: tuple[int, ...]) -> None:
    assert finding(*exchange(289, *odd, seed=9), *MKCP_WITH_SEED[1:]) == ("fully-encrypted", "possible")


def test_equal_short_datagrams_alone_are_not_mkcps() -> None:
    assert finding(*exchange(49, -49, 49, -49, 49, -49, 49, -49)) == ("fully-encrypted", "possible")
