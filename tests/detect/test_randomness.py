"""Noise passes, structure does not; and a short compressed file passes, which is why noise alone proves nothing."""

import random
import zlib

import pytest

from middlebox.detect.base import Conversation
from middlebox.detect.randomness import Framing, bits_per_byte, heads_vary, is_framed, seems_random
from tests.detect.sample import noise

TEXT = "".join(random.Random(3).choices("abcdefghij ,.\n", k=20_000)).encode()


@pytest.mark.parametrize("size", [1, 2, 8, 16, 50, 333, 1448, 16_384])
def test_noise_of_any_length_passes(size: int) -> None:
    for seed in range(100):
        assert seems_random(noise(size, seed=size * 100 + seed))


@pytest.mark.parametrize(
    "data",
    [b"", bytes(64), b"\xff" * 64, TEXT[:100], noise(50) * 8, b"\x8b\xd1" * 50, noise(100) + bytes(60)],
    ids=["nothing", "zeros", "ones", "text", "repeated", "two-bytes", "padded"],
)
def test_structure_fails(data: bytes) -> None:
    assert not seems_random(data)


def test_compressed_text_fails_only_when_there_is_enough_of_it() -> None:
    compressed = zlib.compress(TEXT)[2:]
    assert seems_random(compressed[5000:5100])
    assert not seems_random(compressed[5000:])


def test_only_the_first_kilobytes_are_looked_at() -> None:
    assert seems_random(noise(4096) + bytes(60_000))


def test_bits_per_byte() -> None:
    assert bits_per_byte(b"") == 0
    assert bits_per_byte(b"\xff\x00\x0f") == 4


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x62" + noise(98),
        b"\x62\x00" + noise(98),
        b"\x00\x64" + noise(98),
        b"\x00\x00\x00\x60" + noise(96),
        b"\x60\x00\x00\x00" + noise(96),
        b"\x05\x00\x61" + noise(97),
        b"\x60\x00\x00\x00\x07\x00\x00\x00" + noise(96),
        b"GAME\x00\x00\x01\x2c" + noise(300),
        b"\x00\x10" + noise(16) + b"\x01\x2c" + noise(300) + b"\x00\x01x",
    ],
)
def test_messages_that_tell_their_lengths(said: bytes) -> None:
    assert is_framed(said)
    assert not is_framed(said + b"\x55")


@pytest.mark.parametrize("said", [b"", b"\x00", b"\x00\x00", bytes(100), b"\x00\x63" + noise(98)])
def test_lengths_that_do_not_fit(said: bytes) -> None:
    assert not is_framed(said)


def test_noise_is_hardly_ever_framed() -> None:
    assert sum(is_framed(noise(300, seed=seed)) for seed in range(2000)) <= 8


def framed(*said: tuple[bool, bytes]) -> list[bool]:
    """What Framing says to a conversation of these packets."""
    talk, framing, found = Conversation(), Framing(), []
    for from_client, data in said:
        talk.data, talk.from_client = data, from_client
        talk.client, talk.server = talk.client + data * from_client, talk.server + data * (not from_client)
        found.append(framing.has_ended_framed(talk))
    return found


def test_a_framed_stretch_is_told_when_the_other_side_speaks() -> None:
    first, rest = b"\x01\x2c" + noise(100), noise(200)
    assert framed((True, first), (True, rest), (False, noise(50))) == [False, False, True]


def test_keys_first_and_frames_later_are_told() -> None:
    said = [(True, noise(32)), (False, noise(32)), (True, b"\x00\x50" + noise(80)), (False, noise(90))]
    assert framed(*said) == [False, False, False, True]


def test_a_stretch_cut_off_by_the_limit_is_not_judged() -> None:
    assert framed((True, b"\x3f\xfe" + noise(16_382)), (False, noise(50))) == [False, False]


def test_heads_of_noise_vary() -> None:
    for seed in range(200):
        assert heads_vary([noise(8, seed=100 * seed + number) for number in range(8)])
    assert heads_vary([])


def test_heads_with_a_constant_byte_do_not_vary() -> None:
    assert not heads_vary([b"\x41" + noise(7, seed=number) for number in range(8)])
    assert not heads_vary([noise(4, seed=number) + b"\x00" + noise(3) for number in range(8)])
