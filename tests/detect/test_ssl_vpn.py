"""VPNs inside TLS: each opening, near misses one byte off, and ordinary connections that must not be held up."""

import pytest

from middlebox.detect.ssl_vpn import SslVpn, SslVpnMemory, carries_tcp
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.hellos import alpn, client_hello, records, supported_versions
from tests.detect.samples_classic_vpn import (
    FORTINET,
    GLOBALPROTECT,
    HTTP_EXCHANGES,
    OPENCONNECT,
    SOFTETHER,
    SSTP,
    TICKETS,
    inner_tcp,
    tls13,
)


def answers(*messages: Message, memory: SslVpnMemory | None = None) -> list[Answer]:
    return list(stream(SslVpn(memory), messages, segment=1 << 16))


def named(*lengths: int, memory: SslVpnMemory | None = None) -> str | None:
    evidence = last_evidence(answers(*tls13(*lengths), memory=memory))
    return evidence.protocol if evidence else None


def replaced(lengths: tuple[int, ...], old: int, new: int) -> tuple[int, ...]:
    at = lengths.index(old)
    return (*lengths[:at], new, *lengths[at + 1 :])


def test_sstp_may_write_its_acknowledgment_at_once_or_in_parts() -> None:
    assert named(*TICKETS, 182, -84, 14, -48, 22) == "sstp"
    assert named(182, -84, 14, -4, -44, -30, 22) == "sstp"


@pytest.mark.parametrize(
    "lengths",
    [
        replaced(SSTP, 14, 15),
        replaced(SSTP, -44, -45),
        replaced(SSTP, 182, 100),
        (*TICKETS, 182, -84, 14, -48),
        (*TICKETS, 182, -84, 14, -48, 200),
        (*TICKETS, 182, -84, 182, -84, 14, -48, 22),
    ],
)
def test_near_misses_of_sstp_are_not_it(lengths: tuple[int, ...]) -> None:
    assert named(*lengths) is None


@pytest.mark.parametrize(
    ("protocol", "opening", "header"),
    [
        ("openconnect", HTTP_EXCHANGES, 8),
        ("softether", SOFTETHER[: -len(inner_tcp(22))], 22),
        ("fortinet-sslvpn", FORTINET[: -len(inner_tcp(8))], 8),
        ("fortinet-sslvpn", FORTINET[: -len(inner_tcp(8))], 10),
        ("globalprotect", GLOBALPROTECT[: -len(inner_tcp(16))], 16),
    ],
)
def test_a_tunnel_needs_its_opening_and_its_framing(protocol: str, opening: tuple[int, ...], header: int) -> None:
    assert named(*opening, *inner_tcp(header)) == protocol
    assert named(*opening, *inner_tcp(header + 1)) is None
    assert named(*opening) is None
    assert named(*inner_tcp(header)) is None


def test_frames_shorter_than_a_header_rule_cstp_out() -> None:
    assert named(*HTTP_EXCHANGES, 25, *inner_tcp(8)) is None


@pytest.mark.parametrize("lengths", [(*HTTP_EXCHANGES[:2], 8, -8), (*HTTP_EXCHANGES, 8, 8), (*HTTP_EXCHANGES, 8, -9)])
def test_empty_frames_count_as_a_pair_after_a_login_only(lengths: tuple[int, ...]) -> None:
    assert named(*lengths) is None


def test_a_keepalive_both_ways_is_enough_for_globalprotect() -> None:
    assert named(*TICKETS, 210, -12, 16, -16) == "globalprotect"
    assert named(*TICKETS, 210, -13, 16, -16) is None


def signed(*sizes: int) -> list[tuple[bool, int]]:
    return [(size > 0, abs(size)) for size in sizes]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (signed(60, -60, 52, 150, -52), True),  # Linux to Linux
        (signed(64, -60, 52, -52), True),  # macOS
        (signed(52, -52, 40, -40), True),  # Windows
        (signed(60, -44, 40, -40), True),  # no timestamps in return
        (signed(80, -80, 72, -72), True),  # IPv6
        (signed(60, 90, -70, -60, 33, 52, -52), True),  # others in between
        (signed(60, -60, 40, -40), False),  # timestamps agreed on, and not used
        (signed(60, -60, 52), False),
        (signed(60, 60, 52, 52), False),
        (signed(-60, 60, -52, 52), False),
        (signed(61, -60, 52, -52), False),
    ],
)
def test_handshakes_inside(frames: list[tuple[bool, int]], expected: bool) -> None:
    assert carries_tcp(frames, 0) is expected
    assert carries_tcp([(from_client, size + 8) for from_client, size in frames], 8) is expected


def test_further_connections_of_the_same_client_to_softether_are_known() -> None:
    memory = SslVpnMemory()
    another = (*TICKETS, 1558, -700, 1034, -1189)
    assert named(*another, memory=memory) is None
    assert named(*SOFTETHER, memory=memory) == "softether"
    assert named(*another, memory=memory) == "softether"
    assert named(*TICKETS, memory=memory) is None


def test_clients_that_speak_http2_are_not_looked_at() -> None:
    for offered, expected in (
        ((b"h2", b"http/1.1"), Opinion.NO),
        ((b"mqtt",), Opinion.NO),
        ((b"http/1.1",), Opinion.MORE),
    ):
        hello = records(client_hello(alpn(*offered), supported_versions(0x0304)))
        assert answers(CLIENT(hello)) == [expected]


@pytest.mark.parametrize(
    ("name", "lengths", "records_needed"),
    [
        ("a download", (*TICKETS, 200, -4000, -4000, 200), 3),
        ("a chat after an upgrade", (*TICKETS, 260, -130, 20, -12, 33), 5),
        ("short commands", (*TICKETS, 30, -40, 30), 3),
        ("many requests", (*TICKETS, *((300, -500) * 9)), 12),
        ("a large record", (*TICKETS, 200, -16000, 300), 2),
    ],
)
def test_ordinary_connections_are_let_go(name: str, lengths: tuple[int, ...], records_needed: int) -> None:
    given = answers(*tls13(*lengths))
    assert given[-1] is Opinion.NO, name
    assert len(given) <= 3 + len(TICKETS) + records_needed, name


def test_what_is_no_tls_any_more_ends_it() -> None:
    assert answers(*tls13(200), SERVER(b"HTTP/1.1 400"))[-1] is Opinion.NO


def test_the_same_tunnel_in_tls12() -> None:
    # Finished and 8 + 16 bytes of overhead, as AES-GCM has them.
    hello = records(client_hello())
    finished = b"\x14\x03\x03\x00\x01\x01" + records(bytes(40), version=0x0303)
    said = [CLIENT(hello), SERVER(records(b"\2\0\0\x26\3\3" + bytes(33) + b"\xc0\x2f\0" + b"")), CLIENT(finished)]
    said.append(SERVER(finished))
    for length in OPENCONNECT:
        said.append((length > 0, records(bytes(abs(length) + 24), content_type=23, version=0x0303)))
    evidence = last_evidence(answers(*said))
    assert isinstance(evidence, Evidence)
    assert (evidence.protocol, evidence.confidence) == ("openconnect", Confidence.PROBABLE)
