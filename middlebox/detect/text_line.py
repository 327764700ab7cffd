"""Commands and replies of the line protocols that descend from FTP (RFC 959): SMTP, POP3, IMAP, NNTP.

The one rule: nothing is copied out of a line but its first word or its code; the rest may be a name or a password.
"""

import re
from collections.abc import Iterable

from middlebox.detect.exchange import Fit

DIGITS = b"12345"
"First digit of a reply code (RFC 959 section 4.2.1)."

_WORD = re.compile(rb"[A-Za-z]{0,16}")
_REPLY_BEGUN = re.compile(rb"[1-5]?(?<=[1-5])\d{0,2}|")
_MAX_LINE = 512
"Longest command or reply (RFC 5321 section 4.5.3.1.4)."


def first_letters(words: Iterable[bytes]) -> bytes:
    """Every byte with which one of these commands may begin; they may be written in small letters."""
    return bytes(sorted({letter for word in words for letter in (word[0], word.lower()[0])}))


def first_word_is(line: bytes, words: frozenset[bytes]) -> Fit:
    """Whether the first word, which ends at a space or the line's end, is one of `words`."""
    match = _WORD.match(line)
    word = match[0].upper() if match else b""
    if len(word) < len(line):
        return word in words and line[len(word)] in b" \r\n"
    return None if any(known.startswith(word) for known in words) else False


def reply_code(line: bytes) -> bytes | None:
    """The three digits before a space or hyphen; empty when this is no reply, None while it is too short to tell."""
    if len(line) < 4:
        return None if _REPLY_BEGUN.fullmatch(line) else b""
    return line[:3] if line[:3].isdigit() and line[3] in b" -\r\n" else b""


def first_line(text: bytes) -> bytes:
    """The first line in capitals, empty while it is incomplete."""
    return text[: text.find(b"\n", 0, _MAX_LINE) + 1].upper()
