"""First words and reply codes: how little is enough, and what is neither."""

import pytest

from middlebox.detect.text_line import first_letters, first_line, first_word_is, reply_code

WORDS = frozenset({b"QUIT", b"QUOTE", b"X"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", None),
        (b"Q", None),
        (b"qui", None),
        (b"QUIT", None),
        (b"QUIT\r\n", True),
        (b"quote a", True),
        (b"X\n", True),
        (b"QUIX", False),
        (b"QUITS ", False),
        (b"QUIT:", False),
        (b" QUIT ", False),
        (b"A" * 40, False),
        (b"\x00", False),
    ],
)
def test_first_word(line: bytes, expected: bool | None) -> None:
    assert first_word_is(line, WORDS) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", None),
        (b"2", None),
        (b"220", None),
        (b"220 x", b"220"),
        (b"220-x", b"220"),
        (b"220\r\n", b"220"),
        (b"9", b""),
        (b"2x", b""),
        (b"2200", b""),
        (b"620 x", b"620"),
        (b"HTTP", b""),
    ],
)
def test_reply_codes(line: bytes, expected: bytes | None) -> None:
    assert reply_code(line) == expected


def test_lines_are_whole_or_nothing() -> None:
    assert first_line(b"220 smtp here\r\nmore") == b"220 SMTP HERE\r\n"
    assert first_line(b"220 smtp") == b""
    assert first_line(b"x" * 600 + b"\n") == b""


def test_first_letters_come_in_both_cases() -> None:
    assert first_letters([b"QUIT", b"EHLO"]) == b"EQeq"
