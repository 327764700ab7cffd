"""Packets within tunnels: judged like others, reported with the tunnel, bounded in number and depth."""

import pytest

from middlebox.detect.base import ICMP, IP_IN_IP, IPV6_IN_IP
from middlebox.engine import MAX_INNER_DEPTH, MAX_INNER_FLOWS, Engine
from middlebox.verdict import Action
from tests.detect.samples import DNS_QUERY, DNS_REPLY
from tests.detect.samples_overlays import (
    AUTHENTICATION,
    FASTD_FIRST,
    FASTD_REPLY,
    GENEVE_OPTION,
    TEREDO_CLIENT,
    ayiya,
    frame,
    geneve,
    gtp_user,
    hans,
    lisp_data,
    ping,
    vxlan,
)  # fmt: skip
from tests.detect.test_wireguard import RECORDED_WIREGUARD
from tests.judging import run, the_flow, verdicts
from tests.packets import Connection, ip, ipv4, ipv4_fragments, ipv6, udp
from tests.toys import asks, policy, rule

OUTER, FAR = ("198.51.100.10", 51000), ("203.0.113.20", 4789)
INNER, INNER_FAR = ("10.0.0.1", 40000), ("10.0.0.2", 53)
QUERY, REPLY = udp(INNER, INNER_FAR, DNS_QUERY), udp(INNER_FAR, INNER, DNS_REPLY)


def both_ways(*packets: tuple[bool, bytes]) -> list[bytes]:
    """Each payload in an outer UDP packet."""
    return [udp(OUTER, FAR, payload) if from_client else udp(FAR, OUTER, payload) for from_client, payload in packets]


def about(packets: list[bytes]) -> tuple[str, object, list[str]]:
    """The only flow's name, the protocols inside it, and all reasons."""
    engine = Engine(policy())
    run(engine, packets)
    flow = the_flow(engine)
    reasons = [line["reason"] for line in flow["middlebox"]["evidence"]]
    return flow["middlebox"]["protocol"], flow.get("inner", {}).get("protocols"), reasons


@pytest.mark.parametrize(
    ("tunnel", "wrap"),
    [
        ("vxlan", lambda packet: vxlan(frame(packet))),
        ("geneve", lambda packet: geneve(frame(packet), options=GENEVE_OPTION)),
        ("gtp", gtp_user),
        ("lisp", lisp_data),
    ],
)
def test_dns_in_a_tunnel_over_udp_is_reported_with_the_tunnel(tunnel, wrap) -> None:
    name, inside, reasons = about(both_ways((True, wrap(QUERY)), (False, wrap(REPLY))))
    assert (name, inside) == (tunnel, ["dns"])
    assert reasons[1:] == [
        f"inside {tunnel}: a well-formed DNS query",
        f"inside {tunnel}: the reply repeats the query's id and question",
    ]


@pytest.mark.parametrize("tunnel", ["teredo", "ayiya"])
def test_dns_over_ipv6_in_udp_is_reported_with_the_tunnel(tunnel) -> None:
    here, there = (TEREDO_CLIENT, 40000), ("2001:db8::53", 53)
    packets = udp(here, there, DNS_QUERY), udp(there, here, DNS_REPLY)
    wrapped = [AUTHENTICATION + packet if tunnel == "teredo" else ayiya(packet) for packet in packets]
    name, inside, _ = about(both_ways((True, wrapped[0]), (False, wrapped[1])))
    assert (name, inside) == (tunnel, ["dns"])


@pytest.mark.parametrize(("number", "tunnel"), [(IP_IN_IP, "ip-in-ip"), (IPV6_IN_IP, "6in4")])
def test_dns_in_ip_in_ip_is_reported_with_the_tunnel(number, tunnel) -> None:
    here, there = (INNER, INNER_FAR) if number == IP_IN_IP else (("2001:db8::1", 40000), ("2001:db8::2", 53))
    inside = udp(here, there, DNS_QUERY), udp(there, here, DNS_REPLY)
    packets = [ip(OUTER[0], FAR[0], number, inside[0]), ip(FAR[0], OUTER[0], number, inside[1])]
    name, found, reasons = about(packets)
    assert (name, found) == (tunnel, ["dns"])
    assert reasons[-1] == f"inside {tunnel}: the reply repeats the query's id and question"


def test_a_vpn_in_a_tunnel_can_be_refused() -> None:
    ends = {True: ((INNER[0], 51820), (INNER_FAR[0], 51820)), False: ((INNER_FAR[0], 51820), (INNER[0], 51820))}
    packets = both_ways(
        *((from_client, vxlan(frame(udp(*ends[from_client], message)))) for from_client, message in RECORDED_WIREGUARD)
    )
    engine = Engine(policy(rule("no-vpn", Action.DROP, asks("inner.protocols", "wireguard"))))
    assert verdicts(run(engine, packets)) == ["PASS", "DROP", "DROP"]
    flow = the_flow(engine)
    assert flow["middlebox"]["protocol"] == "vxlan"
    assert flow["inner"]["protocols"] == ["wireguard"]
    reasons = [line["reason"] for line in flow["middlebox"]["evidence"]]
    assert "inside vxlan: the response goes to the initiation's sender index" in reasons


def test_tcp_in_a_tunnel_is_put_in_order() -> None:
    connection = Connection(client=INNER, server=(INNER_FAR[0], 80))
    syn, syn_ack, ack = connection.handshake()
    first, second = connection.client(b"GET / HTTP/1.1\r\n"), connection.client(b"Host: example.org\r\n\r\n")
    answer = connection.server(b"HTTP/1.1 200 OK\r\n\r\n")
    order = [(True, syn), (False, syn_ack), (True, ack), (True, second), (True, first), (False, answer)]
    name, inside, reasons = about(both_ways(*((side, vxlan(frame(packet))) for side, packet in order)))
    assert (name, inside) == ("vxlan", ["http"])
    assert reasons[-1] == "inside vxlan: a status line answers the request line"


def test_tunnels_in_tunnels_are_looked_into_and_all_are_named() -> None:
    def wrap(packet: bytes) -> bytes:
        return vxlan(frame(ipv4("10.1.0.1", "10.1.0.2", IP_IN_IP, packet)))

    name, inside, reasons = about(both_ways((True, wrap(QUERY)), (True, wrap(QUERY))))
    assert (name, inside) == ("vxlan", ["dns", "ip-in-ip"])
    assert reasons[-1] == "inside vxlan: inside ip-in-ip: a well-formed DNS query"


@pytest.mark.parametrize(("tunnels", "is_seen"), [(MAX_INNER_DEPTH, True), (MAX_INNER_DEPTH + 1, False)])
def test_depth_is_bounded(tunnels, is_seen) -> None:
    packet = QUERY
    for level in range(1, tunnels):
        packet = ipv4(f"10.{level}.0.1", f"10.{level}.0.2", IP_IN_IP, packet)
    _, inside, _ = about([ipv4(OUTER[0], FAR[0], IP_IN_IP, packet)] * 2)
    assert isinstance(inside, list)
    assert ("dns" in inside) is is_seen


def test_a_tunnel_in_itself_hundreds_of_times_ends_the_look_inside() -> None:
    packet = QUERY
    for _ in range(700):
        packet = ipv4(OUTER[0], FAR[0], IP_IN_IP, packet)
    name, inside, _ = about([packet] * 3)
    assert (name, inside) == ("ip-in-ip", ["ip-in-ip"])


def test_the_number_of_inner_flows_is_bounded() -> None:
    queries = [udp((INNER[0], 40000 + n), INNER_FAR, DNS_QUERY) for n in range(MAX_INNER_FLOWS + 4)]
    _, _, reasons = about(both_ways(*((True, vxlan(frame(query))) for query in queries)))
    assert reasons.count("inside vxlan: a well-formed DNS query") == MAX_INNER_FLOWS


@pytest.mark.parametrize(
    "inner",
    [
        b"", b"\x45", b"\x45" + bytes(30), QUERY[:24], b"\x60" + bytes(10), b"\xff" * 60,
        ipv4("10.0.0.1", "10.0.0.2", 6, b"\x00" * 7), ipv6("::1", "::2", 17, b"\x00"),
        *ipv4_fragments(udp(INNER, INNER_FAR, bytes(64)), [32]),
    ],
)  # fmt: skip
def test_garbage_inside_does_no_harm(inner) -> None:
    engine = Engine(policy())
    packets = both_ways((True, vxlan(frame(QUERY))), (True, vxlan(frame(inner))), (False, vxlan(frame(REPLY))))
    run(engine, packets)
    assert engine.counters.internal_errors == 0
    flow = the_flow(engine)
    assert flow["inner"]["protocols"] == ["dns"]


def test_a_name_that_is_only_possible_is_not_listed() -> None:
    initiation = RECORDED_WIREGUARD[0][1]
    packets = [QUERY, udp((INNER[0], 1), (INNER_FAR[0], 2), initiation), REPLY]
    name, inside, reasons = about(both_ways(*((True, vxlan(frame(packet))) for packet in packets)))
    assert (name, inside) == ("vxlan", ["dns"])
    assert "inside vxlan: a handshake initiation" in reasons


def test_ip_in_pings_is_looked_at() -> None:
    request = ipv4(OUTER[0], FAR[0], ICMP, ping(1, hans(QUERY)))
    reply = ipv4(FAR[0], OUTER[0], ICMP, ping(1, hans(REPLY, magic=b"hans"), reply=True))
    name, inside, reasons = about([request, reply])
    assert (name, inside) == ("icmp-tunnel", ["dns"])
    assert reasons[-1] == "inside icmp-tunnel: the reply repeats the query's id and question"


def test_a_mesh_in_a_tunnel_keeps_its_name_to_itself() -> None:
    ends = (INNER, (INNER_FAR[0], 10000))
    packets = [(True, udp(*ends, FASTD_FIRST)), (False, udp(*reversed(ends), FASTD_REPLY))]
    name, inside, _ = about(both_ways(*((side, gtp_user(packet)) for side, packet in packets)))
    assert (name, inside) == ("gtp", ["fastd"])
