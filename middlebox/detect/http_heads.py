"""Heads of HTTP/1 messages, for detectors of what HTTP carries (RFC 9112 sections 2 to 5).

The one rule: nothing is decoded here but the head's own lines; who uses them decides what they mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r?\n")
_WORD = re.compile(rb"[!-~]{1,64}")
_MAX_HEADERS = 128
"Ours: more are not looked at. Browsers send about twenty."


@dataclass(slots=True, frozen=True)
class Head:
    """The first line of a message and its headers."""

    words: tuple[bytes, bytes, bytes]
    "Method, target and version of a request; version, status and reason of a response."
    headers: Mapping[bytes, bytes]
    "Values by lower-case names; of several with one name the last."
    end: int
    "Offset of the first byte after the empty line."

    def lists(self, header: bytes, token: bytes) -> bool:
        """Whether a header that is a list of tokens has `token`, which is given in lower case."""
        return token in (one.strip() for one in self.headers.get(header, b"").lower().split(b","))


def _skip_blank(stream: bytes) -> int:
    """Offset after the empty lines that are ignored before a message (RFC 9112 section 2.2)."""
    return len(stream) - len(stream.lstrip(b"\r\n"))


def read_head(stream: bytes) -> Head | None:
    """The head with which `stream` begins, None while it is not whole."""
    ends = [at + len(mark) for mark in (b"\n\r\n", b"\n\n") if (at := stream.find(mark, _skip_blank(stream))) >= 0]
    if not ends:
        return None
    end = min(ends)
    first, *lines = _LINE_END.split(stream[:end].strip(b"\r\n"), _MAX_HEADERS)
    start, _, rest = first.partition(b" ")
    if start.startswith(b"HTTP/"):
        middle, _, last = rest.partition(b" ")
    else:
        middle, _, last = rest.rstrip(b" \r").rpartition(b" ")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and _WORD.fullmatch(name):
            headers[name.lower()] = value.strip()
    return Head((start, middle, last), headers, end)


def is_response_begun(server: bytes) -> bool:
    """Whether `server` begins like a response, as far as it goes."""
    return server.startswith(b"HTTP/1."[: len(server)])
