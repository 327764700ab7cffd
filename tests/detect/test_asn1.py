"""BER headers: the forms of lengths that are read, and those that are not."""

import pytest

from middlebox.detect.asn1 import SEQUENCE, Element, read_element


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x30\x05", Element(SEQUENCE, 2, 7)),
        (b"\x30\x81\x90", Element(SEQUENCE, 3, 147)),
        (b"\x30\x84\x00\x00\x00\x05", Element(SEQUENCE, 6, 11)),
        (b"\x30", None),
        (b"\x30\x82\x01", None),
        (b"", None),
    ],
)
def test_headers(data: bytes, expected: Element | None) -> None:
    assert read_element(data) == expected
    assert read_element(b"??" + data, 2) == (expected and Element(expected.tag, expected.start + 2, expected.end + 2))


@pytest.mark.parametrize("data", [b"\x30\x80", b"\x30\x85\x00\x00\x00\x00\x05", b"\x30\xff"])
def test_indefinite_and_huge_lengths_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a form of le"):
        read_element(data)
