"""What the kernel tells about connections: its messages as bytes, then the real thing."""

import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.flow import Totals
from middlebox.packet import flow_key
from middlebox.shells.conntrack import Connection, ConnectionTracking, ask_for_connection, parse_connections
from tests.shells.network import Network, inside, lab_net  # noqa: F401 - a fixture
from tests.shells.process import CommandLine, wait_until

DESTROYED = 1 << 8 | 2
NEW = 1 << 8 | 0
NESTED = 0x8000


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def counters(kind: int, packets: int, size: int) -> bytes:
    return attribute(kind | NESTED, attribute(1, packets.to_bytes(8, "big")) + attribute(2, size.to_bytes(8, "big")))


def message(kind: int, *attributes: bytes) -> bytes:
    body = struct.pack("!BBH", socket.AF_INET, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


CLIENT, SERVER = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])
TUPLE = attribute(
    1 | NESTED,
    attribute(1 | NESTED, attribute(1, CLIENT) + attribute(2, SERVER))
    + attribute(2 | NESTED, attribute(1, b"\x11") + attribute(2, b"\x9c\x40") + attribute(3, b"\x00\x35")),
)
KEY = b"\x11" + CLIENT + SERVER + b"\x9c\x40\x00\x35"


def test_ended_connection_has_the_key_of_its_flow_and_what_was_counted():
    read = message(DESTROYED, TUPLE, counters(9, 3, 300), counters(10, 2, 2000))
    assert list(parse_connections(read)) == [Connection(KEY, Totals(3, 300, 2, 2000))]


def test_several_connections_in_one_read_and_without_counters():
    read = message(DESTROYED, TUPLE) + message(7, b"") + message(NEW, TUPLE, counters(9, 1, 60))
    assert [connection.totals for connection in parse_connections(read)] == [
        Totals(None, None, None, None),
        Totals(1, 60, None, None),
    ]


def test_echo_is_told_by_its_identifier_and_other_transports_by_addresses():
    def of(protocol: int, *proto: bytes) -> bytes:
        addresses = attribute(1, attribute(1, CLIENT) + attribute(2, SERVER))
        connection = attribute(1, addresses + attribute(2, attribute(1, bytes([protocol])) + b"".join(proto)))
        return next(iter(parse_connections(message(DESTROYED, connection)))).key

    assert of(1, attribute(4, b"\x12\x34"), attribute(5, b"\x08")) == b"\x01" + CLIENT + SERVER + b"\x12\x34"
    assert of(50) == b"\x32" + CLIENT + SERVER


def test_connection_without_addresses_is_ignored():
    assert list(parse_connections(message(DESTROYED, counters(9, 3, 300)))) == []


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_bytes_make_it_fail(garbage: bytes, cut: int):
    whole = message(DESTROYED, TUPLE, counters(9, 3, 300))
    for data in (garbage, whole[:cut] + garbage, whole[:16] + garbage):
        for connection in parse_connections(data):
            assert isinstance(connection.totals, Totals)


@pytest.mark.kernel
def test_many_ends_at_once_are_read_in_portions_and_none_is_lost(lab_net: Network):  # noqa: F811
    many, portion = 10_000, 64

    def listen() -> ConnectionTracking:
        tracking = ConnectionTracking()
        tracking.open()
        return tracking

    tracking = inside(lab_net.gateway, listen)
    tracked = ("FORWARD", "-m", "conntrack", "--ctstate", "NEW")  # without such a rule nothing is tracked
    lab_net.on_gateway("iptables", "-A", *tracked)
    try:
        with lab_net.on_client(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            for port in range(20_000, 20_000 + many):
                client.sendto(b"hello", (lab_net.server_address(socket.AF_INET), port))
        lab_net.on_gateway("conntrack", "-F")
        assert len(list(tracking.ended(portion))) == portion
        found = {connection.key for connection in tracking.ended()}
        assert len(found) > many - 2 * portion
        assert tracking.overruns == 0
    finally:
        lab_net.on_gateway("iptables", "-D", *tracked)
        inside(lab_net.gateway, tracking.close)


@pytest.mark.kernel
@pytest.mark.parametrize("ends_first", [True, False], ids=["connection ends", "gateway stops"])
def test_flow_event_counts_what_the_kernel_carried_by_itself(lab_net: Network, tmp_path, ends_first):  # noqa: F811
    with CommandLine(lab_net, tmp_path, "policy: all\ndefault: pass\nrules: []\n") as running:
        client, server = lab_net.tcp_pair(socket.AF_INET)
        with client, server:
            for _ in range(100):
                client.sendall(bytes(1000))
                assert len(server.recv(1000, socket.MSG_WAITALL)) == 1000
                server.sendall(b"ok")
                client.recv(2)
        if ends_first:
            lab_net.on_gateway("conntrack", "-D", "-p", "tcp")
            wait_until(lambda: len(running.events("flow")) == 1, "the flow event")
        summary = running.stop()
    (flow,) = [event["flow"] for event in running.events("flow") if event["proto"] == "TCP"]
    inspected = int(summary.split("inspected")[1].split()[0])
    assert inspected < 10
    assert flow["pkts_toserver"] >= 100
    assert flow["pkts_toclient"] >= 100
    assert flow["bytes_toserver"] > 100_000
    accounting = lab_net.on_gateway("cat", "/proc/sys/net/netfilter/nf_conntrack_acct")
    assert accounting.strip() == "0", "accounting is left as it was found"


@pytest.mark.kernel
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_totals_of_one_open_connection_from_either_side(lab_net: Network, family):  # noqa: F811
    def listen() -> ConnectionTracking:
        made = ConnectionTracking()
        made.open()
        return made

    tracking = inside(lab_net.gateway, listen)
    program = "iptables" if family == socket.AF_INET else "ip6tables"
    tracked = ("FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    lab_net.on_gateway(program, "-A", *tracked)
    try:
        client, server = lab_net.udp_pair(family)
        with client, server:
            client.send(bytes(100))
            assert tracking.totals(key_between(client, server)) == Totals(1, UDP_OVERHEAD[family] + 100, 0, 0)
            server.recv(1000)
            server.send(bytes(300))
            client.recv(1000)
            seen = Totals(1, UDP_OVERHEAD[family] + 100, 1, UDP_OVERHEAD[family] + 300)
            assert tracking.totals(key_between(client, server)) == seen
            assert tracking.totals(key_between(server, client)) == seen.reversed()
            begin = time.perf_counter()
            for _ in range(1000):
                tracking.totals(key_between(client, server))
            print(f"one connection's totals cost {(time.perf_counter() - begin) * 1000:.0f} us")
        with lab_net.on_client(lambda: socket.socket(family, socket.SOCK_DGRAM)) as other:
            other.bind((lab_net.client_address(family), 0))
            assert tracking.totals(key_between(other, server_address=(lab_net.server_address(family), 1))) is None
    finally:
        lab_net.on_gateway(program, "-D", *tracked)
        inside(lab_net.gateway, tracking.close)


UDP_OVERHEAD = {socket.AF_INET: 28, socket.AF_INET6: 48}


def key_between(source: socket.socket, destination: socket.socket | None = None, server_address=None) -> bytes:
    """The flow key of UDP packets from one socket to another, or to an address."""
    ends = [source.getsockname()[:2], server_address or destination.getsockname()[:2]]
    addresses = [socket.inet_pton(source.family, address) for address, _ in ends]
    return flow_key(17, *addresses, b"".join(port.to_bytes(2, "big") for _, port in ends))


def test_echo_cannot_be_asked_for():
    assert ask_for_connection(flow_key(1, bytes(4), bytes(4), b"id")) is None
