"""Psiphon's meek: every part of the request's form counts."""

import pytest

from middlebox.detect.psiphon import Psiphon
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, last_evidence, stream
from tests.detect.samples_clear_proxies import OK, PSIPHON_POST


def test_the_request_counts_once_it_is_taken() -> None:
    assert last_evidence(stream(Psiphon(), [CLIENT(PSIPHON_POST)])) is None
    evidence = last_evidence(stream(Psiphon(), [CLIENT(PSIPHON_POST), SERVER(OK)]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"POST", b"GET"),
        (b"Cookie: Q=", b"Cookie: session=1; Q="),
        (b"Cookie: Q=", b"Cookie: SID="),
        (b"octet-stream", b"json"),
        (b"Host:", b"Referer: http://example.org/\r\nHost:"),
    ],
)
def test_an_ordinary_post_is_none_of_ours(part: bytes, instead: bytes) -> None:
    assert last_evidence(stream(Psiphon(), [CLIENT(PSIPHON_POST.replace(part, instead)), SERVER(OK)])) is None


def test_a_refused_post_is_none_of_ours() -> None:
    refused = SERVER(b"HTTP/1.1 404 Not Found\r\n\r\n")
    assert last_evidence(stream(Psiphon(), [CLIENT(PSIPHON_POST), refused])) is None
