"""Trojan's header in clear."""

import pytest

from middlebox.detect.trojan import Trojan
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, last_evidence, stream
from tests.detect.samples_obfuscated import CLEAR_REQUEST, CLEAR_RESPONSE, TROJAN_HEADER

HASH = TROJAN_HEADER[:58]


def level(*messages: tuple[bool, bytes]) -> Confidence | None:
    found = last_evidence(stream(Trojan(), messages))
    return found.confidence if found else None


@pytest.mark.parametrize(
    "address", [b"\x01\xc0\x00\x02\x07", b"\x03\x0bexample.org", b"\x04" + bytes(16)], ids=["ipv4", "name", "ipv6"]
)
@pytest.mark.parametrize("command", [b"\x01", b"\x03", b"\x7f"])
def test_every_kind_of_address_is_read(command: bytes, address: bytes) -> None:
    header = HASH + command + address + b"\x00\x50\r\n"
    assert level(CLIENT(header + CLEAR_REQUEST), SERVER(CLEAR_RESPONSE)) is Confidence.CONFIRMED


def test_an_answer_to_something_else_confirms_nothing() -> None:
    assert level(CLIENT(TROJAN_HEADER + CLEAR_REQUEST), SERVER(b"SSH-2.0-x\r\n")) is Confidence.PROBABLE


def test_without_carried_bytes_nothing_is_confirmed() -> None:
    assert level(CLIENT(TROJAN_HEADER), SERVER(CLEAR_RESPONSE)) is Confidence.PROBABLE


@pytest.mark.parametrize(
    "data",
    [
        TROJAN_HEADER.upper(),
        TROJAN_HEADER[1:],
        b"0" + TROJAN_HEADER,
        HASH + b"\x02" + TROJAN_HEADER[59:],
        HASH + b"\x01\x02" + TROJAN_HEADER[60:],
        TROJAN_HEADER[:-2] + b"\n\r",
        b"0123456789abcdef" * 8,
    ],
    ids=["capitals", "short-hash", "long-hash", "bind", "address-2", "wrong-end", "hex-text"],
)
def test_near_misses_are_refused(data: bytes) -> None:
    answers = list(stream(Trojan(), [CLIENT(data + CLEAR_REQUEST), SERVER(CLEAR_RESPONSE)]))
    assert answers[-1] is Opinion.NO
    assert not any(isinstance(answer, Evidence) for answer in answers)


def test_text_is_refused_at_its_first_byte_that_is_no_hex_digit() -> None:
    assert list(stream(Trojan(), [CLIENT(b"def foo")], segment=1)) == [Opinion.MORE] * 3 + [Opinion.NO]
