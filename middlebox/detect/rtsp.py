"""RTSP 1.0 and 2.0: a request line and the status line that answers it (RFC 2326 section 6, RFC 7826 section 7).

The one rule: both must name the protocol at the end, respectively the beginning, of the line.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_REQUEST = re.compile(rb"[A-Z_]{4,16} (?:rtsp[su]?://[^\s\x00]{1,2048}|\*) RTSP/[12]\.0\r?\n")
_REQUEST_BEGUN = re.compile(rb"(?:[A-Z_]{1,16}(?: (?:(?:r(?:t(?:s(?:p[^\n\x00]*)?)?)?)|\*[^\n\x00]*)?)?)?")
_MAX_LINE = 2100
_STATUS = re.compile(rb"RTSP/[12]\.0 \d{3}[ \r\n]")
_STATUS_MODEL = b"RTSP/1.0 200 "


def _is_request(data: bytes) -> Fit:
    if _REQUEST.match(data):
        return True
    return None if len(data) < _MAX_LINE and _REQUEST_BEGUN.fullmatch(data) else False


def _is_status(data: bytes) -> Fit:
    if len(data) >= len(_STATUS_MODEL):
        return _STATUS.match(data) is not None
    return None if _STATUS.match(data + _STATUS_MODEL[len(data) :]) else False


class Rtsp(Exchange):
    """Finds a request line and a status line."""

    name: ClassVar[str] = "rtsp"
    protocols: ClassVar[tuple[str, ...]] = ("rtsp",)
    misses: ClassVar[str] = "RTSP inside HTTP or TLS, and the media that it controls."
    client_begins: ClassVar[bytes] = b"ODASPTGR"
    "First letters of OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, RECORD and their like."
    server_begins: ClassVar[bytes] = b"R"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A request and its status."""
        return self.weigh(
            _is_request(client),
            _is_status(server),
            question="a request line of RTSP",
            answer="a status line of RTSP",
            link="a status line of RTSP answers the request line",
        )
