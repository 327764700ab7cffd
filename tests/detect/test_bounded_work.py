"""Messages made of thousands of tiny parts: each is well-formed, and none may keep a detector busy for a millisecond.

Time is not measured here. What is tested is where reading ends: of few parts the message is taken, of many it is not.
"""

import struct

import pytest

from middlebox.detect.base import Detector
from middlebox.detect.dhcpv6 import Dhcpv6
from middlebox.detect.radius import Radius
from middlebox.detect.rtcp import Rtcp
from middlebox.detect.stun import Stun
from middlebox.detect.tls import Tls
from middlebox.detect.utp import Utp
from middlebox.evidence import Evidence, Opinion
from tests.detect.conversations import CLIENT, datagrams, stream
from tests.detect.hellos import client_hello, records, server_name

HELLO = client_hello(server_name(b"a.example"))


def dhcpv6(options: int) -> bytes:
    return b"\x01abc" + struct.pack("!HHH", 1, 2, 1) + b"\x00\x06\x00\x00" * (options - 1)


def radius(attributes: int) -> bytes:
    return struct.pack("!BBH", 1, 7, 20 + 3 * attributes) + bytes(16) + b"\x01\x03a" * attributes


def rtcp(packets: int) -> bytes:
    return b"\x80\xc9\x00\x01abcd" * packets


def stun(attributes: int) -> bytes:
    return struct.pack("!HHI", 1, 4 * attributes, 0x2112A442) + b"transaction!" + b"\x80\x22\x00\x00" * attributes


def utp(extensions: int) -> bytes:
    header = struct.pack("!BBHIIIHH", 0x41, 1, 77, 1, 0, 1 << 20, 1, 0)
    return header + b"\x01\x04abcd" * (extensions - 1) + b"\x00\x04abcd"


@pytest.mark.parametrize(
    ("kind", "few", "many"),
    [
        (Dhcpv6, dhcpv6(16), dhcpv6(1_000)),
        (Radius, radius(16), radius(2_000)),
        (Rtcp, rtcp(16), rtcp(1_000)),
        (Stun, stun(16), stun(1_000)),
        (Utp, utp(2), utp(1_000)),
    ],
    ids=lambda value: value.name if isinstance(value, type) else "",
)
def test_a_message_of_very_many_parts_is_not_taken(kind: type[Detector], few: bytes, many: bytes) -> None:
    assert isinstance(next(datagrams(kind(), [CLIENT(few)])), Evidence)
    assert next(datagrams(kind(), [CLIENT(many)])) is Opinion.NO


@pytest.mark.parametrize(("warnings", "is_taken"), [(16, True), (17, False)])
@pytest.mark.parametrize("segment", [1, 7, 1 << 14])
def test_so_many_warnings_before_a_hello_and_no_more(warnings: int, is_taken: bool, segment: int) -> None:
    said = b"\x15\x03\x01\x00\x02\x01\x00" * warnings + records(HELLO)
    answers = list(stream(Tls(), [CLIENT(said)], segment=segment))
    assert isinstance(answers[-1], Evidence) is is_taken


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1_000])
@pytest.mark.parametrize("segment", [1, 3, 6, 64, 1 << 14])
def test_a_hello_in_tiny_records_is_read_however_it_is_cut(size: int, segment: int) -> None:
    said = records(HELLO, size=size)
    (evidence,) = [one for one in stream(Tls(), [CLIENT(said)], segment=segment) if isinstance(one, Evidence)]
    assert evidence.facts["tls.sni"] == "a.example"


@pytest.mark.parametrize(("empty", "is_taken"), [(2_047, True), (2_048, False)])
@pytest.mark.parametrize("segment", [1, 1_460, 1 << 14])
def test_so_many_records_before_a_hello_and_no_more(empty: int, is_taken: bool, segment: int) -> None:
    said = b"\x16\x03\x01\x00\x00" * empty + records(HELLO)
    answers = list(stream(Tls(), [CLIENT(said)], segment=segment))
    assert isinstance(answers[-1], Evidence) is is_taken
