"""QUIC packets: keys and packets of the RFCs' appendices, long headers, frames, and bytes of any kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.quic_packet import (
    CLIENT_LABEL,
    MAX_COALESCED,
    SERVER_LABEL,
    VERSIONS,
    CryptoStream,
    crypto_frames,
    initial_keys,
    long_packets,
    open_initial,
)
from tests.detect.initials import (
    RFC_CLIENT_FRAMES,
    RFC_CONNECTION_ID,
    RFC_SERVER_INITIAL,
    V1,
    V2,
    crypto,
    initial,
    long_header,
    variable,
    version_negotiation,
)


@pytest.mark.parametrize(
    ("version", "label", "key", "iv", "header_key"),
    [
        pytest.param(
            V1,
            CLIENT_LABEL,
            "1f369613dd76d5467730efcbe3b1a22d",
            "fa044b2f42a3fd3b46fb255c",
            "9f50449e04a0e810283a1e9933adedd2",
            id="RFC 9001 A.1 client",
        ),
        pytest.param(
            V1,
            SERVER_LABEL,
            "cf3a5331653c364c88f0f379b6067e37",
            "0ac1493ca1905853b0bba03e",
            "c206b8d9b9f0f37644430b490eeaa314",
            id="RFC 9001 A.1 server",
        ),
        pytest.param(
            V2,
            CLIENT_LABEL,
            "8b1a0bc121284290a29e0971b5cd045d",
            "91f73e2351d8fa91660e909f",
            "45b95e15235d6f45a6b19cbcb0294ba9",
            id="RFC 9369 A.1 client",
        ),
        pytest.param(
            V2,
            SERVER_LABEL,
            "82db637861d55e1d011f19ea71d5d2a7",
            "dd13c276499c0249d3310652",
            "edf6d05c83121201b436e16877593c3a",
            id="RFC 9369 A.1 server",
        ),
    ],
)
def test_keys_of_the_appendices(version: int, label: bytes, key: str, iv: str, header_key: str) -> None:
    keys = initial_keys(version, RFC_CONNECTION_ID, label)
    assert (keys.key.hex(), keys.iv.hex(), keys.header_key.hex()) == (key, iv, header_key)


@pytest.mark.parametrize(
    ("version", "start", "end"),
    [
        pytest.param(
            V1,
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
            "e221af44860018ab0856972e194cd934",
            id="RFC 9001 A.2",
        ),
        pytest.param(
            V2,
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
            "a18b2faa745b6fe189cf772a9f84cbfc",
            id="RFC 9369 A.2",
        ),
    ],
)
def test_client_initials_of_the_appendices_open(version: int, start: str, end: str) -> None:
    datagram = initial(RFC_CLIENT_FRAMES, version=version)
    # The builder of these tests is held to the published packets first.
    assert len(datagram) == 1200
    assert datagram.hex().startswith(start)
    assert datagram.hex().endswith(end)
    (packet,) = long_packets(datagram)
    assert packet.is_initial
    payload = open_initial(packet, initial_keys(version, RFC_CONNECTION_ID, CLIENT_LABEL))
    assert payload == RFC_CLIENT_FRAMES
    ((offset, content),) = crypto_frames(payload)
    assert (offset, content) == (0, RFC_CLIENT_FRAMES[4:245])


def test_server_initial_of_the_appendix_opens_under_the_servers_key_only() -> None:
    (packet,) = long_packets(RFC_SERVER_INITIAL)
    assert (packet.destination_id, packet.source_id.hex()) == (b"", "f067a5502a4262b5")
    payload = open_initial(packet, initial_keys(V1, RFC_CONNECTION_ID, SERVER_LABEL))
    assert payload is not None
    # An ACK frame, then the ServerHello.
    ((offset, content),) = crypto_frames(payload)
    assert (offset, content[:6].hex(), len(content)) == (0, "020000560303", 90)
    assert open_initial(packet, initial_keys(V1, RFC_CONNECTION_ID, CLIENT_LABEL)) is None


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: VERSIONS[version][0])
@pytest.mark.parametrize("number_length", [1, 2, 3, 4])
def test_every_version_and_packet_number_length_opens(version: int, number_length: int) -> None:
    datagram = initial(crypto(0, b"hello" * 9), version=version, number_length=number_length, token=b"t" * 70)
    (packet,) = long_packets(datagram)
    payload = open_initial(packet, initial_keys(version, RFC_CONNECTION_ID, CLIENT_LABEL))
    assert payload == crypto(0, b"hello" * 9)


@pytest.mark.parametrize("offset", [0, 6, 15, 19, 40, 1199])
def test_a_changed_byte_does_not_open(offset: int) -> None:
    datagram = bytearray(initial(RFC_CLIENT_FRAMES))
    datagram[offset] ^= 1
    for packet in long_packets(bytes(datagram)):
        assert open_initial(packet, initial_keys(V1, RFC_CONNECTION_ID, CLIENT_LABEL)) is None


def test_coalesced_packets_are_found_up_to_the_short_header() -> None:
    first, second = initial(RFC_CLIENT_FRAMES[:300]), long_header(2, b"abcd", b"efgh")
    found = list(long_packets(first + second + b"\x40short header"))
    assert [(packet.start, packet.end, packet.is_initial) for packet in found] == [
        (0, len(first), True),
        (len(first), len(first) + len(second), False),
    ]


def test_packets_in_one_datagram_are_bounded() -> None:
    assert len(list(long_packets(long_header(1, b"", b"", size=20) * 50))) == MAX_COALESCED


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x40" + bytes(50), id="short header"),
        pytest.param(b"\xc0\0\0\0\1\x15" + bytes(50), id="connection ID longer than 20"),
        pytest.param(b"\xc0\0\0\0\1\0\x15" + bytes(50), id="source connection ID longer than 20"),
        pytest.param(long_header(1, b"abcd", b"efgh")[:-1], id="longer than its datagram"),
        pytest.param(long_header(1, b"abcd", b"efgh", size=19), id="too short for a sample"),
        pytest.param(b"\xc0\0\0\0\1\0\0\x7f\xff" + bytes(50), id="token longer than its datagram"),
    ],
)
def test_what_is_no_long_header_is_not_found(datagram: bytes) -> None:
    assert list(long_packets(datagram)) == []


def test_version_two_numbers_its_packet_types_differently() -> None:
    datagram = initial(RFC_CLIENT_FRAMES, version=V2)
    assert datagram[0] >> 4 == 0b1101
    assert next(long_packets(datagram)).is_initial
    others = [next(long_packets(long_header(kind, b"", b"", version=V2))).is_initial for kind in (0, 2)]
    assert others == [False, False]


def test_unknown_versions_and_version_negotiation_show_their_connection_ids() -> None:
    for datagram in (version_negotiation(b"to", b"from", V1), b"\x80\x1a\x2a\x3a\x4a\2to\4from"):
        (packet,) = long_packets(datagram)
        assert (packet.destination_id, packet.source_id, packet.is_initial) == (b"to", b"from", False)


def test_frames_beside_crypto_are_passed_over() -> None:
    acknowledgement = b"\2" + variable(5) + variable(70) + variable(2) + b"\1" + b"\2\3" * 2
    with_counters = b"\3" + variable(5) + variable(0) + variable(0) + b"\1" + b"\1\2\3"
    close = b"\x1c" + variable(257) + b"\6" + variable(4) + b"gone"
    google_crypto = b"\x08" + variable(9) + variable(1) + b"g"
    others = [b"\0\1\0\0", acknowledgement, crypto(500, b"later"), b"\1", with_counters, google_crypto, close]
    payload = b"".join([*others, crypto(0, b"first")])
    assert list(crypto_frames(payload)) == [(500, b"later"), (9, b"g"), (0, b"first")]


def test_frames_that_an_initial_may_not_hold_end_the_reading() -> None:
    assert list(crypto_frames(crypto(0, b"a") + b"\x10\5" + crypto(1, b"b"))) == [(0, b"a")]


@given(st.binary(max_size=100), st.integers(0, 3), st.sampled_from(list(VERSIONS)))
def test_any_bytes_are_an_answer(data: bytes, kind: int, version: int) -> None:
    for datagram in (data, bytes([0xC0 | kind << 4]) + version.to_bytes(4) + data):
        for packet in long_packets(datagram):
            if packet.is_initial:
                assert open_initial(packet, initial_keys(packet.version, packet.destination_id, CLIENT_LABEL)) is None
    for offset, content in crypto_frames(data):
        assert offset >= 0
        assert len(content) <= len(data)


def test_a_stream_is_read_up_to_its_first_hole_whatever_the_order() -> None:
    stream = CryptoStream(10)
    stream.put(4, b"ef")
    stream.put(0, b"ab")
    assert (stream.contiguous(), len(stream)) == (b"ab", 6)
    stream.put(2, b"cd")
    stream.put(9, b"xy")  # beyond the limit
    assert (stream.contiguous(), len(stream)) == (b"abcdef", 6)
    stream.clear()
    assert (stream.contiguous(), len(stream)) == (b"", 0)
