"""The five rules at their borders, and where the published rule and three programs disagree."""

import pytest

from middlebox.detect.five_rules import (
    ARTIFACT,
    NDPI,
    OPENGFW,
    PUBLISHED,
    Exemption,
    Variant,
    find_exemption,
    printable_share,
)
from tests.detect.sample import noise

EVERY = pytest.mark.parametrize("variant", [PUBLISHED, ARTIFACT, NDPI, OPENGFW])
FOUR_BITS = b"\x8b\xd1\xe2\x95\xa6\xb8\xc3\xf0"
"Not printable, each with four bits set."


def padded(start: bytes, count: int = 200) -> bytes:
    """A payload that only its start can exempt."""
    return start + (FOUR_BITS * count)[: count - len(start)]


@EVERY
def test_noise_is_suspect(variant: Variant) -> None:
    assert find_exemption(noise(500), variant) is None
    assert find_exemption(padded(b""), variant) is None


@EVERY
def test_nothing_has_no_bits_set(variant: Variant) -> None:
    assert find_exemption(b"", variant) is Exemption.BITS_SET


@EVERY
@pytest.mark.parametrize(
    ("ones", "suspect"), [(34, False), (35, True), (45, True), (46, False)], ids=["3.4", "3.5", "4.5", "4.6"]
)
def test_bits_per_byte_at_exactly_3_4_and_4_6_exempt(variant: Variant, ones: int, suspect: bool) -> None:
    # Ten bytes that are not printable, with so many bits set in all.
    payload = bytes(0x80 | (1 << (ones // 10 - 1)) - 1 for _ in range(10 - ones % 10))
    payload += bytes(0x80 | (1 << ones // 10) - 1 for _ in range(ones % 10))
    assert int.from_bytes(payload).bit_count() == ones
    assert (find_exemption(payload, variant) is None) is suspect


@EVERY
def test_six_printable_bytes_at_the_start_exempt_and_five_do_not(variant: Variant) -> None:
    assert find_exemption(padded(b"abcmok"), variant) is Exemption.PRINTABLE_START
    assert find_exemption(padded(b"abcmo"), variant) is None


@EVERY
def test_fewer_than_six_bytes_have_no_printable_start(variant: Variant) -> None:
    assert find_exemption(b"jjjj\xf0", variant) is Exemption.MOSTLY_PRINTABLE
    assert find_exemption(b"jj\xf0\xe2", variant) is None


@EVERY
def test_more_than_half_printable_exempts_and_half_does_not(variant: Variant) -> None:
    assert find_exemption(b"\xf0j" * 20, variant) is None
    assert find_exemption(b"\xf0j" * 20 + b"j", variant) is Exemption.MOSTLY_PRINTABLE


@pytest.mark.parametrize(("variant", "exempt_from"), [(NDPI, 20), (PUBLISHED, 21), (OPENGFW, 21), (ARTIFACT, 22)])
def test_runs_of_printable_bytes(variant: Variant, exempt_from: int) -> None:
    assert find_exemption(padded(b"\xf0" + b"j" * (exempt_from - 1) + b"\xf0"), variant) is None
    for run in (exempt_from, exempt_from + 1):
        assert find_exemption(padded(b"\xf0" + b"j" * run + b"\xf0"), variant) is Exemption.PRINTABLE_RUN


@pytest.mark.parametrize(
    ("start", "exempt_for"),
    [
        (b"\x16\x03\x01", (PUBLISHED, ARTIFACT, OPENGFW)),
        (b"\x17\x03\x03", (PUBLISHED, ARTIFACT)),
        (b"\x16\x03\x09", (PUBLISHED, ARTIFACT)),
        (b"\x16\x03\x0f", (ARTIFACT,)),
        (b"\x16\x03\x10", ()),
        (b"\x15\x03\x01", ()),
        (b"GET \xf0", (PUBLISHED, ARTIFACT, OPENGFW)),
        (b"get \xf0", (PUBLISHED,)),
        (b"GET\xf0\xf0", (OPENGFW,)),
        (b"HEAD \xf0", (PUBLISHED, ARTIFACT, OPENGFW)),
        (b"DELE\xf0", (OPENGFW,)),
    ],
)
def test_known_protocols_differ(start: bytes, exempt_for: tuple[Variant, ...]) -> None:
    for variant in (PUBLISHED, ARTIFACT, NDPI, OPENGFW):
        expected = Exemption.KNOWN_PROTOCOL if variant in exempt_for else None
        assert find_exemption(padded(start), variant) is expected


def test_printable_share() -> None:
    assert printable_share(b"") == 0
    assert printable_share(b"ab\x00\xff") == 0.5
