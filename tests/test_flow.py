"""Flows and their table: who opened it, when it ends, and that the table never outgrows its bounds."""

import pytest

from middlebox.flow import (
    OTHER_IDLE_SECONDS,
    TCP_CLOSED_IDLE_SECONDS,
    TCP_IDLE_SECONDS,
    TCP_ONE_SIDED_IDLE_SECONDS,
    UDP_IDLE_SECONDS,
    Flow,
    FlowTable,
)
from middlebox.packet import ACK, ESP, FIN, RST, SYN, Packet, decode
from tests.packets import CLIENT, CLIENT6, SERVER, SERVER6, Endpoint, echo, ipv4, tcp, udp

ENDS = pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["IPv4", "IPv6"])


def packet_of(raw: bytes) -> Packet:
    packet = decode(raw)
    assert isinstance(packet, Packet)
    return packet


def flow_of(raw: bytes, now: float = 0.0, order: int = 1) -> Flow:
    return Flow(packet_of(raw), now, order)


def numbered(port: int, now: float = 0.0) -> Flow:
    """A UDP flow from its own client port."""
    return flow_of(udp((CLIENT[0], port), SERVER), now, order=port)


def table_of(flows: list[Flow], max_flows: int = 100) -> FlowTable:
    table = FlowTable(max_flows)
    for flow in flows:
        table.add(flow)
    return table


# --- one flow ---------------------------------------------------------------------------------------


@ENDS
@pytest.mark.parametrize("flags", [SYN, ACK, RST, FIN | ACK])
def test_the_first_sender_is_the_client(client: Endpoint, server: Endpoint, flags: int) -> None:
    packet = packet_of(tcp(client, server, flags))
    flow = Flow(packet, 0.0, 1)
    assert (flow.client, flow.client_port, flow.server, flow.server_port) == (
        packet.source, client[1], packet.destination, server[1],
    )  # fmt: skip
    assert (flow.key, flow.reverse_key) == (packet.key, packet.reverse_key)
    assert flow.midstream == (flags != SYN)


@ENDS
def test_a_syn_ack_as_first_packet_is_the_servers(client: Endpoint, server: Endpoint) -> None:
    answer = packet_of(tcp(server, client, SYN | ACK))
    flow = Flow(answer, 0.0, 1)
    assert (flow.client, flow.client_port) == (answer.destination, client[1])
    assert (flow.server, flow.server_port) == (answer.source, server[1])
    assert flow.key == packet_of(tcp(client, server, SYN)).key
    assert not flow.midstream, "all data is still to come"


def test_udp_flows_are_never_midstream() -> None:
    assert not flow_of(udp(CLIENT, SERVER)).midstream


def test_transports_have_the_names_of_events() -> None:
    assert flow_of(udp(CLIENT, SERVER)).transport_name == "UDP"
    assert flow_of(ipv4(CLIENT[0], SERVER[0], ESP, b"")).transport_name == "ESP"
    assert flow_of(echo(CLIENT6[0], SERVER6[0], 1)).transport_name == "IPV6-ICMP"
    assert flow_of(ipv4(CLIENT[0], SERVER[0], 253, b"")).transport_name == "253"


def test_packets_and_bytes_are_counted_by_direction() -> None:
    flow = flow_of(udp(CLIENT, SERVER))
    flow.count(100, 1.0, from_client=True)
    flow.count(30, 2.0, from_client=False)
    flow.count(7, 3.0, from_client=False)
    assert (flow.packets_to_server, flow.bytes_to_server) == (1, 100)
    assert (flow.packets_to_client, flow.bytes_to_client) == (2, 37)
    assert (flow.packets, flow.last_seen) == (3, 3.0)


def test_idle_time_follows_the_transport() -> None:
    assert flow_of(udp(CLIENT, SERVER)).idle_seconds == UDP_IDLE_SECONDS
    assert flow_of(ipv4(CLIENT[0], SERVER[0], ESP, b"")).idle_seconds == OTHER_IDLE_SECONDS
    connection = flow_of(tcp(CLIENT, SERVER, SYN))
    assert connection.idle_seconds == TCP_ONE_SIDED_IDLE_SECONDS
    connection.count(40, 0.0, from_client=True)
    connection.count(40, 0.0, from_client=False)
    assert connection.idle_seconds == TCP_IDLE_SECONDS
    connection.closing = True
    assert connection.idle_seconds == TCP_CLOSED_IDLE_SECONDS


@pytest.mark.parametrize(
    ("flags", "sequence", "closing", "anew"),
    [
        (SYN, 1_000, False, False),
        (SYN, 2_000, False, True),
        (SYN, 1_000, True, True),
        (SYN | ACK, 2_000, True, False),
        (SYN | RST, 2_000, True, False),
        (ACK, 2_000, True, False),
    ],
    ids=["repeated", "other number", "after the end", "a reply", "nonsense", "data"],
)
def test_a_new_connection_on_the_same_ports_is_told_by_its_syn(
    flags: int, sequence: int, closing: bool, anew: bool
) -> None:
    flow = flow_of(tcp(CLIENT, SERVER, SYN, 1_000))
    flow.closing = closing
    assert flow.starts_anew(packet_of(tcp(CLIENT, SERVER, flags, sequence))) is anew


def test_the_syn_that_a_syn_ack_overtook_belongs_to_the_same_connection() -> None:
    # Captures from several queues swap neighbours. The SYN-ACK acknowledges the SYN: its number is known.
    flow = flow_of(tcp(SERVER, CLIENT, SYN | ACK, 9_000, acknowledgment=1_001))
    assert not flow.starts_anew(packet_of(tcp(CLIENT, SERVER, SYN, 1_000)))
    assert flow.starts_anew(packet_of(tcp(CLIENT, SERVER, SYN, 2_000)))


# --- the table --------------------------------------------------------------------------------------


def test_a_flow_is_found_by_the_key_of_either_direction() -> None:
    flow = numbered(1)
    table = table_of([flow])
    assert table.forward[packet_of(udp((CLIENT[0], 1), SERVER)).key] is flow
    assert table.backward[packet_of(udp(SERVER, (CLIENT[0], 1))).key] is flow
    assert len(table) == 1


def test_a_removed_flow_is_gone_in_both_directions() -> None:
    flow = numbered(1)
    table = table_of([flow])
    table.remove(flow)
    assert flow.ended
    assert (len(table), table.forward, table.backward) == (0, {}, {})


def test_removing_an_old_flow_leaves_its_successor_in_place() -> None:
    old, new = numbered(1), numbered(1)
    table = table_of([old, new])
    table.remove(old)
    assert table.forward[new.key] is new
    assert table.backward[new.reverse_key] is new


def test_flows_are_listed_in_the_order_in_which_they_began() -> None:
    flows = [numbered(port) for port in (3, 1, 2)]
    assert [flow.order for flow in table_of(flows).all()] == [1, 2, 3]


def test_only_silent_flows_are_idle() -> None:
    flows = [numbered(1, now=0.0), numbered(2, now=100.0)]
    table = table_of(flows)
    assert list(table.idle(UDP_IDLE_SECONDS - 1, at_most=10)) == []
    assert list(table.idle(UDP_IDLE_SECONDS, at_most=10)) == [flows[0]]


def test_a_removed_flow_does_not_end_again() -> None:
    flows = [numbered(1), numbered(2)]
    table = table_of(flows)
    table.remove(flows[0])
    assert list(table.idle(1_000.0, at_most=10)) == [flows[1]]


def test_a_sweep_looks_at_a_share_and_goes_on_where_it_stopped() -> None:
    flows = [numbered(port) for port in range(1, 7)]
    table = table_of(flows)
    found = []
    for _ in range(3):
        batch = list(table.idle(1_000.0, at_most=2))
        assert len(batch) == 2
        for flow in batch:
            table.remove(flow)
        found += batch
    assert found == flows


def test_an_active_flow_gets_a_second_chance() -> None:
    flows = [numbered(port, now=0.0) for port in (1, 2)]
    table = table_of(flows)
    flows[0].last_seen = 900.0
    assert list(table.idle(1_000.0, at_most=10)) == [flows[1]]
    table.remove(flows[1])
    assert list(table.idle(1_000.0, at_most=10)) == []
    assert list(table.idle(2_000.0, at_most=10)) == [flows[0]]


def test_the_longest_silent_flow_of_the_sample_makes_room() -> None:
    flows = [numbered(port, now=float(seen)) for port, seen in ((1, 50), (2, 20), (3, 40), (4, 10))]
    table = table_of(flows)
    assert table.idlest(sample=3) is flows[1]
    table.remove(flows[1])
    assert table.idlest(sample=3) is flows[3]


def test_a_removed_flow_never_makes_room() -> None:
    flows = [numbered(port, now=float(port)) for port in (1, 2)]
    table = table_of(flows)
    table.remove(flows[0])
    assert table.idlest() is flows[1]


def test_flows_that_ended_early_do_not_pile_up() -> None:
    # A SYN flood on one pair of ports begins and ends a flow per packet. `max_flows` must bound memory here too.
    table = FlowTable(max_flows=100)
    for number in range(10_000):
        flow = numbered(1, now=float(number) / 1e6)
        table.add(flow)
        table.remove(flow)
    assert len(table._by_age) <= 2_048, "ended flows are still referred to"
