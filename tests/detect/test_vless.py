"""Clear VLESS: its header cut anywhere, fields out of range, and servers that answer otherwise."""

import pytest

from middlebox.detect.vless import Vless
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import CLEAR_REQUEST, CLEAR_RESPONSE, USER_ID, VLESS_REQUEST

HEADER = b"\x00" + USER_ID + b"\x00"
IPV4, IPV6 = b"\x01\x01\xbb\x01\xc0\x00\x02\x07", b"\x01\x01\xbb\x03" + bytes(15) + b"\x01"
VISION = b"\x00" + USER_ID + b"\x12\x0a\x10xtls-rprx-vision"
TLS_REQUEST, TLS_RESPONSE = b"\x16\x03\x01\x00\xa4\x01\x00\x00\xa0\x03\x03", b"\x16\x03\x03\x00\x70\x02\x00\x00\x6c"


def tcp(*messages: Message) -> Evidence | None:
    return last_evidence(stream(Vless(), messages))


def answers(*messages: Message) -> list[Answer]:
    return list(stream(Vless(), messages))


def level(*messages: Message) -> Confidence | None:
    evidence = tcp(*messages)
    return evidence.confidence if evidence else None


@pytest.mark.parametrize("header", [VLESS_REQUEST, HEADER + IPV4, HEADER + IPV6, VISION + IPV4, HEADER + b"\x03"])
@pytest.mark.parametrize(
    ("client", "server"),
    [(CLEAR_REQUEST, CLEAR_RESPONSE), (TLS_REQUEST, TLS_RESPONSE), (b"SSH-2.0-a\r\n", b"SSH-2.0-b\r\n")],
    ids=["http", "tls", "ssh"],
)
def test_both_headers_and_two_halves_confirm(header: bytes, client: bytes, server: bytes) -> None:
    alone = Confidence.PROBABLE if header == VLESS_REQUEST else Confidence.POSSIBLE
    assert level(CLIENT(header + client)) is alone, "only a host name is long enough"
    assert level(CLIENT(header + client), SERVER(b"\x00\x00" + server)) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "server",
    [CLEAR_RESPONSE, b"\x01\x00" + CLEAR_RESPONSE, b"\x00\x00" + noise(60), b"\x00\x00" + TLS_RESPONSE],
    ids=["no-header", "version-1", "noise", "another-protocol"],
)
def test_other_answers_end_it(server: bytes) -> None:
    assert answers(CLIENT(VLESS_REQUEST + CLEAR_REQUEST), SERVER(server))[-1] is Opinion.NO


@pytest.mark.parametrize(
    "client",
    [
        b"\x01" + VLESS_REQUEST[1:],
        b"\x00" + bytes(16) + VLESS_REQUEST[17:],
        VLESS_REQUEST[:7] + b"\x1b" + VLESS_REQUEST[8:],
        HEADER + b"\x04\x01\xbb\x01\xc0\x00\x02\x07",
        HEADER + b"\x01\x00\x00\x01\xc0\x00\x02\x07",
        HEADER + b"\x01\x01\xbb\x04\xc0\x00\x02\x07",
        HEADER + b"\x01\x01\xbb\x02\x05a..b!",
        HEADER[:-1] + b"\x41" + noise(90),
        b"\x00\x00\x00\x85\xffSMB" + bytes(60),
    ],
    ids=["version", "no-user", "user-version", "command", "port", "kind", "name", "additions", "smb"],
)
def test_fields_out_of_range_are_refused(client: bytes) -> None:
    assert answers(CLIENT(client)) == [Opinion.NO]


def test_header_cut_anywhere_waits() -> None:
    for end in range(1, len(VLESS_REQUEST)):
        assert answers(CLIENT(VLESS_REQUEST[:end])) == [Opinion.MORE]


def test_a_server_that_answers_an_unfinished_header_ends_it() -> None:
    assert answers(CLIENT(VLESS_REQUEST[:20]), SERVER(b"\x00\x00" + CLEAR_RESPONSE))[-1] is Opinion.NO
