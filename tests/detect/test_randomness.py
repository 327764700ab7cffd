"""Noise passes, structure does not; and a short compressed file passes, which is why noise alone proves nothing."""

import random
import zlib

import pytest

from middlebox.detect.randomness import bits_per_byte, heads_vary, seems_random, starts_with_its_length
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
    ("message", "expected"),
    [
        (b"\x00\x64" + noise(98), True),
        (b"\x00\x62" + noise(98), True),
        (b"\x62\x00" + noise(98), True),
        (b"\x00\x00\x00\x60" + noise(96), True),
        (b"\x60\x00\x00\x00" + noise(96), True),
        (b"\x00\x63" + noise(98), False),
        (b"\x00\x00", False),
        (b"", False),
    ],
)
def test_a_message_may_start_with_its_length(message: bytes, expected: bool) -> None:
    assert starts_with_its_length(message) is expected


def test_heads_of_noise_vary() -> None:
    for seed in range(200):
        assert heads_vary([noise(8, seed=100 * seed + number) for number in range(8)])
    assert heads_vary([])


def test_heads_with_a_constant_byte_do_not_vary() -> None:
    assert not heads_vary([b"\x41" + noise(7, seed=number) for number in range(8)])
    assert not heads_vary([noise(4, seed=number) + b"\x00" + noise(3) for number in range(8)])
