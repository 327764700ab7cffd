"""Decoding: what every header says, and that no bytes whatever can make it raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.packet import (
    ACK,
    AH,
    DESTINATION_OPTIONS,
    ESP,
    GRE,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    ROUTING,
    SYN,
    TCP,
    UDP,
    Fragment,
    Packet,
    Undecodable,
    decode,
    flow_key,
)
from tests.packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    echo,
    fragment_header,
    ip,
    ipv4,
    ipv4_fragments,
    ipv6,
    ipv6_fragments,
    tcp,
    tcp_segment,
    udp,
    udp_datagram,
)

NO_NEXT_HEADER = 59
ROUTER_ALERT = b"\x94\x04\0\0"
"An IPv4 option (RFC 2113)."
PADDING = b"\0\x01\x04\0\0\0\0"
"An IPv6 extension header of eight bytes that holds one PadN option (RFC 8200 section 4.2)."
LONG_PADDING = b"\x01\x01\x0c" + bytes(12)
"The same with sixteen bytes."

PAIRS = pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["IPv4", "IPv6"])


def packet_of(raw: bytes) -> Packet:
    packet = decode(raw)
    assert isinstance(packet, Packet), getattr(packet, "reason", packet)
    return packet


def fragment_of(raw: bytes) -> Fragment:
    fragment = decode(raw)
    assert isinstance(fragment, Fragment), getattr(fragment, "reason", fragment)
    return fragment


def reason_of(raw: bytes) -> str:
    undecodable = decode(raw)
    assert isinstance(undecodable, Undecodable), undecodable
    return undecodable.reason


@PAIRS
def test_tcp_fields_are_read(client: tuple[str, int], server: tuple[str, int]) -> None:
    raw = tcp(client, server, SYN | ACK, 0xFFFFFFFF, b"hello", acknowledgment=17, options=b"\x02\x04\x05\xb4")
    packet = packet_of(raw)
    assert (packet.protocol, packet.source_port, packet.destination_port) == (TCP, client[1], server[1])
    assert (packet.flags, packet.sequence, packet.acknowledgment) == (SYN | ACK, 0xFFFFFFFF, 17)
    assert (packet.payload, packet.size, packet.length) == (b"hello", 5, len(raw))


@PAIRS
def test_udp_fields_are_read(client: tuple[str, int], server: tuple[str, int]) -> None:
    raw = udp(client, server, b"hello")
    packet = packet_of(raw)
    assert (packet.protocol, packet.source_port, packet.destination_port) == (UDP, client[1], server[1])
    assert (packet.payload, packet.size, packet.length, packet.flags) == (b"hello", 5, len(raw), 0)


@PAIRS
@pytest.mark.parametrize("build", [tcp, udp])
def test_the_answer_has_the_reverse_key(build, client: tuple[str, int], server: tuple[str, int]) -> None:  # type: ignore[no-untyped-def]
    there, back = packet_of(build(client, server)), packet_of(build(server, client))
    assert there.key == back.reverse_key
    assert there.reverse_key == back.key
    assert there.key != there.reverse_key


def test_a_flow_with_itself_has_one_key() -> None:
    packet = packet_of(udp(CLIENT, CLIENT))
    assert packet.key == packet.reverse_key


@pytest.mark.parametrize("protocol", [ESP, AH, GRE, 4, 41, 132, 255])
@pytest.mark.parametrize(("source", "destination"), [(CLIENT[0], SERVER[0]), (CLIENT6[0], SERVER6[0])])
def test_transports_without_ports_are_told_apart_by_addresses(protocol: int, source: str, destination: str) -> None:
    there = packet_of(ip(source, destination, protocol, b"\x12\x34\x56\x78 whatever"))
    back = packet_of(ip(destination, source, protocol, b"other bytes"))
    assert there.key == back.reverse_key == flow_key(protocol, there.source, there.destination, b"")
    assert (there.source_port, there.destination_port, there.payload) == (0, 0, b"\x12\x34\x56\x78 whatever")


@pytest.mark.parametrize(("source", "destination"), [(CLIENT[0], SERVER[0]), (CLIENT6[0], SERVER6[0])])
def test_pings_are_told_apart_by_identifier(source: str, destination: str) -> None:
    request = packet_of(echo(source, destination, 0x0102))
    reply = packet_of(echo(destination, source, 0x0102, reply=True))
    other = packet_of(echo(source, destination, 0x0201))
    assert request.key == reply.reverse_key
    assert reply.key == request.reverse_key
    assert other.key != request.key
    assert request.protocol == (ICMP if "." in source else ICMPV6)


def test_icmp_errors_of_two_hosts_share_a_flow() -> None:
    unreachable = packet_of(ipv4(CLIENT[0], SERVER[0], ICMP, b"\x03\x01\0\0\0\0\0\0 header"))
    assert unreachable.key == flow_key(ICMP, unreachable.source, unreachable.destination, b"")


def test_ipv4_options_are_skipped() -> None:
    segment = tcp_segment(CLIENT, SERVER, ACK, 1, b"hello")
    plain = packet_of(ipv4(CLIENT[0], SERVER[0], TCP, segment))
    with_options = packet_of(ipv4(CLIENT[0], SERVER[0], TCP, segment, options=ROUTER_ALERT * 10))
    assert (with_options.key, with_options.payload) == (plain.key, b"hello")
    assert with_options.length == plain.length + 40


@pytest.mark.parametrize(
    "extensions",
    [
        [(HOP_BY_HOP, PADDING)],
        [(HOP_BY_HOP, LONG_PADDING), (DESTINATION_OPTIONS, PADDING)],
        [
            (HOP_BY_HOP, PADDING),
            (DESTINATION_OPTIONS, PADDING),
            (ROUTING, b"\0\0\0\0\0\0\0"),
            fragment_header(0, False),
        ],
        [fragment_header(0, False), (DESTINATION_OPTIONS, LONG_PADDING)],
        [(DESTINATION_OPTIONS, PADDING)] * 15,
    ],
    ids=["hop by hop", "two", "all kinds", "after an atomic fragment", "fifteen"],
)
@pytest.mark.parametrize("transport", [TCP, UDP, ESP])
def test_ipv6_extension_headers_are_skipped(extensions: list[tuple[int, bytes]], transport: int) -> None:
    body = {
        TCP: tcp_segment(CLIENT6, SERVER6, payload=b"hello"),
        UDP: udp_datagram(CLIENT6, SERVER6, b"hello"),
        ESP: b"hello",
    }
    plain = packet_of(ipv6(CLIENT6[0], SERVER6[0], transport, body[transport]))
    raw = ipv6(CLIENT6[0], SERVER6[0], transport, body[transport], extensions=extensions)
    packet = packet_of(raw)
    assert (packet.key, packet.payload, packet.size, packet.length) == (plain.key, b"hello", 5, len(raw))


def test_an_endless_chain_of_extension_headers_is_refused() -> None:
    raw = ipv6(CLIENT6[0], SERVER6[0], UDP, udp_datagram(CLIENT6, SERVER6), extensions=[(HOP_BY_HOP, PADDING)] * 17)
    assert reason_of(raw) == "too many IPv6 extension headers"


def test_ipv6_without_next_header_is_a_flow_of_its_own() -> None:
    packet = packet_of(ipv6(CLIENT6[0], SERVER6[0], NO_NEXT_HEADER, b"padding"))
    assert (packet.protocol, packet.payload) == (NO_NEXT_HEADER, b"padding")


@PAIRS
@pytest.mark.parametrize("build", [tcp, udp])
def test_a_packet_shorter_than_on_the_wire_keeps_both_sizes(build, client, server) -> None:  # type: ignore[no-untyped-def]
    raw = build(client, server, payload=b"0123456789")
    packet = packet_of(raw[:-6])
    assert (packet.payload, packet.size, packet.length) == (b"0123", 10, len(raw))


@PAIRS
@pytest.mark.parametrize("build", [tcp, udp])
def test_ethernet_padding_is_no_payload(build, client, server) -> None:  # type: ignore[no-untyped-def]
    raw = build(client, server, payload=b"hi")
    packet = packet_of(raw + bytes(20))
    assert (packet.payload, packet.size, packet.length) == (b"hi", 2, len(raw))


def test_bytes_after_the_udp_length_are_no_payload() -> None:
    packet = packet_of(udp(CLIENT, SERVER, b"hello, surplus", length=8 + 5))
    assert (packet.payload, packet.size) == (b"hello", 5)


def test_a_udp_length_beyond_the_packet_ends_with_the_packet() -> None:
    packet = packet_of(udp(CLIENT, SERVER, b"hello", length=1_000))
    assert (packet.payload, packet.size) == (b"hello", 5)


def test_an_offloaded_ipv4_packet_without_length_reaches_to_its_end() -> None:
    raw = ipv4(CLIENT[0], SERVER[0], TCP, tcp_segment(CLIENT, SERVER, payload=b"x" * 3_000), total=0)
    packet = packet_of(raw)
    assert (packet.size, packet.length) == (3_000, len(raw))


def test_an_offloaded_ipv6_packet_without_length_reaches_to_its_end() -> None:
    raw = ipv6(CLIENT6[0], SERVER6[0], TCP, tcp_segment(CLIENT6, SERVER6, payload=b"x" * 3_000), payload_length=0)
    packet = packet_of(raw)
    assert (packet.size, packet.length) == (3_000, len(raw))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty packet"),
        (b"\x50" + bytes(40), "IP version is neither 4 nor 6"),
        (b"\x45" + bytes(18), "IPv4 header cut short"),
        (b"\x44" + bytes(40), "IPv4 header length is wrong"),
        (ipv4(CLIENT[0], SERVER[0], UDP, b"", options=ROUTER_ALERT)[:22], "IPv4 header cut short"),
        (ipv4(CLIENT[0], SERVER[0], UDP, bytes(8), total=19), "IPv4 header length is wrong"),
        (b"\x60" + bytes(38), "IPv6 header cut short"),
        (ipv6(CLIENT6[0], SERVER6[0], HOP_BY_HOP, b"\x06"), "IPv6 extension header cut short"),
        (ipv6(CLIENT6[0], SERVER6[0], HOP_BY_HOP, b"\x06\x01" + bytes(13)), "IPv6 extension header cut short"),
        (ipv6(CLIENT6[0], SERVER6[0], 44, b"\x06\0\0\0\0\0\0"), "IPv6 extension header cut short"),
        (ipv4(CLIENT[0], SERVER[0], TCP, bytes(19)), "TCP header cut short"),
        (ipv4(CLIENT[0], SERVER[0], TCP, bytes(20), total=39), "TCP header cut short"),
        (ipv4(CLIENT[0], SERVER[0], TCP, bytes(12) + b"\x40" + bytes(7)), "TCP data offset is wrong"),
        (ipv4(CLIENT[0], SERVER[0], TCP, bytes(12) + b"\x60" + bytes(7)), "TCP data offset is wrong"),
        (ipv4(CLIENT[0], SERVER[0], UDP, bytes(7)), "UDP header cut short"),
        (ipv4(CLIENT[0], SERVER[0], UDP, bytes(8), total=27), "UDP header cut short"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


def test_ipv4_fragments_share_an_identity() -> None:
    packet = udp(CLIENT, SERVER, bytes(range(64)))
    first, last = map(fragment_of, ipv4_fragments(packet, [16]))
    other = fragment_of(ipv4_fragments(packet, [16], identification=8)[0])
    assert first.identity == last.identity
    assert other.identity != first.identity
    assert (first.offset, first.more, first.payload) == (0, True, packet[20:36])
    assert (last.offset, last.more, last.payload) == (16, False, packet[36:])


def test_ipv6_fragments_share_an_identity() -> None:
    packet = udp(CLIENT6, SERVER6, bytes(range(64)))
    first, last = map(fragment_of, ipv6_fragments(packet, [16]))
    other = fragment_of(ipv6_fragments(packet, [16], identification=8)[0])
    assert first.identity == last.identity
    assert other.identity != first.identity
    assert (first.offset, first.more, first.payload) == (0, True, packet[40:56])
    assert (last.offset, last.more, last.payload) == (16, False, packet[56:])
    assert first.header[6] == UDP, "next header is set past the fragment header"


def test_the_header_of_an_ipv6_fragment_ends_before_the_fragment_header() -> None:
    extensions = [(HOP_BY_HOP, PADDING), fragment_header(0, True)]
    fragment = fragment_of(ipv6(CLIENT6[0], SERVER6[0], UDP, bytes(16), extensions=extensions))
    assert len(fragment.header) == 40 + 8
    assert (fragment.header[6], fragment.header[40]) == (HOP_BY_HOP, UDP)


def test_the_reserved_bits_of_a_fragment_header_make_no_fragment() -> None:
    atomic = (44, b"\xff\0\x06\0\0\0\x07")  # reserved octet and bits set, offset and flag not (RFC 8200 section 4.5)
    packet_of(ipv6(CLIENT6[0], SERVER6[0], UDP, udp_datagram(CLIENT6, SERVER6), extensions=[atomic]))


def test_dont_fragment_and_the_reserved_bit_make_no_fragment() -> None:
    for flags in (0, 0x4000, 0x8000, 0xC000):
        packet_of(ipv4(CLIENT[0], SERVER[0], UDP, udp_datagram(CLIENT, SERVER), fragment=flags))


def test_a_fragment_cut_in_the_capture_is_not_whole() -> None:
    raw = ipv4_fragments(udp(CLIENT, SERVER, bytes(64)), [16])[0]
    assert fragment_of(raw).whole
    assert not fragment_of(raw[:-1]).whole


@pytest.mark.parametrize(
    "raw",
    [
        tcp(CLIENT, SERVER, SYN, 1, b"hello", options=b"\x02\x04\x05\xb4"),
        tcp(CLIENT6, SERVER6, SYN, 1, b"hello", options=b"\x02\x04\x05\xb4"),
        udp(CLIENT, SERVER, b"hello"),
        udp(CLIENT6, SERVER6, b"hello"),
        echo(CLIENT[0], SERVER[0], 1),
        echo(CLIENT6[0], SERVER6[0], 1),
        ipv4(CLIENT[0], SERVER[0], TCP, tcp_segment(CLIENT, SERVER), options=ROUTER_ALERT * 10),
        ipv6(CLIENT6[0], SERVER6[0], UDP, udp_datagram(CLIENT6, SERVER6), extensions=[(HOP_BY_HOP, LONG_PADDING)] * 3),
        ipv4_fragments(udp(CLIENT, SERVER, bytes(64)), [16])[0],
        ipv6_fragments(udp(CLIENT6, SERVER6, bytes(64)), [16])[0],
        ipv4(CLIENT[0], SERVER[0], ESP, b"esp"),
        ipv4(CLIENT[0], SERVER[0], AH, b"ah"),
        ipv4(CLIENT[0], SERVER[0], GRE, b"gre"),
    ],
    ids=["tcp", "tcp6", "udp", "udp6", "echo", "echo6", "options", "chain", "part", "part6", "esp", "ah", "gre"],
)
def test_every_header_cut_at_every_byte_is_read_or_refused_with_a_reason(raw: bytes) -> None:
    for length in range(len(raw) + 1):
        decoded = decode(raw[:length])
        if isinstance(decoded, Undecodable):
            assert decoded.reason
        elif isinstance(decoded, Packet):
            assert len(decoded.payload) <= decoded.size <= decoded.length == len(raw)


def likely_packets() -> st.SearchStrategy[bytes]:
    """Random bytes behind the beginning of a plausible header, so that the depths are reached too."""
    version4 = st.tuples(st.integers(0x40, 0x4F).map(lambda first: bytes((first, 0))), st.binary(max_size=120))
    version6 = st.tuples(
        st.builds(
            lambda length, number: b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes((number, 64)) + bytes(32),
            st.integers(0, 200),
            st.sampled_from([0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135]),
        ),
        st.lists(
            st.one_of(
                st.binary(max_size=24),
                st.builds(lambda number: bytes((number, 0)) + bytes(6), st.sampled_from([0, 6, 17, 43, 44, 60])),
            ),
            max_size=6,
        ).map(b"".join),
    )
    return st.one_of(st.binary(max_size=200), st.one_of(version4, version6).map(b"".join))


@given(likely_packets())
def test_decode_never_raises_and_keeps_its_word(raw: bytes) -> None:
    decoded = decode(raw)
    if isinstance(decoded, Packet):
        assert decoded.size >= len(decoded.payload)
        assert len(decoded.source) == len(decoded.destination) == (4 if raw[0] >> 4 == 4 else 16)
        assert len(decoded.key) == len(decoded.reverse_key)
    elif isinstance(decoded, Fragment):
        assert decoded.offset % 8 == 0
        assert decoded.header[0] == raw[0]


@given(
    st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.integers(0, 65_535), st.integers(0, 65_535)
)
def test_the_fast_keys_are_the_flow_keys_for_ipv4(source: bytes, destination: bytes, port: int, other: int) -> None:
    ends = ((".".join(map(str, source)), port), (".".join(map(str, destination)), other))
    for raw in (tcp(*ends), udp(*ends)):
        assert packet_of(raw).key == raw[9:10] + raw[12:24]


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(0, 65_535))
def test_the_fast_keys_are_the_flow_keys_for_ipv6(source: bytes, destination: bytes, port: int) -> None:
    for protocol, body in ((TCP, tcp_segment(("::", port), ("::", 53))), (UDP, udp_datagram(("::", port), ("::", 53)))):
        header = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64)) + source + destination
        raw = header + body
        assert packet_of(raw).key == raw[6:7] + raw[8:44]
