"""Ordinary traffic in bulk: the plan repeats, the truth is complete, and nothing ordinary is taken for a tunnel."""

import json
import random
import socket
import struct
import threading
from collections import Counter
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from middlebox.lab import topology
from middlebox.lab.install import ORDINARY, find_missing, package_names
from middlebox.lab.ordinary import clients, media, programs
from middlebox.lab.ordinary.certificates import SHAPES, write_chains
from middlebox.lab.ordinary.custom import INSIDE_TLS, TCP, UDP, VARIANTS
from middlebox.lab.ordinary.plan import (
    KINDS,
    ROUND_FLOWS,
    Job,
    Worker,
    client_addresses,
    make_plan,
    server_address,
    server_addresses,
)
from middlebox.lab.ordinary.run import LIBRARIES, generate
from middlebox.lab.ordinary.truth import NOISE, list_flows
from middlebox.shells.replay import replay_capture
from tests.shells.capture_files import ETHERNET, IP_ETHERTYPE, MAC_ADDRESSES, pcap

# --- the plan ---------------------------------------------------------------------------------------


def test_plan_repeats():
    assert make_plan(3000, 7) == make_plan(3000, 7)
    assert make_plan(3000, 7) != make_plan(3000, 8)


def test_plan_has_every_kind_and_as_many_flows_as_asked():
    jobs = [job for jobs in make_plan(20_000, 1) for job in jobs]
    flows = Counter[str]()
    for job in jobs:
        flows[job.kind] += job.flows
    assert set(flows) == {kind.name for kind in KINDS}
    assert 20_000 <= flows.total() <= 22_000
    weight = sum(kind.share for kind in KINDS)
    for kind in KINDS:
        assert flows[kind.name] == pytest.approx(20_800 * kind.share / weight, abs=1), kind.name


def test_small_plan_has_every_kind():
    assert {job.kind for jobs in make_plan(1, 1) for job in jobs} == {kind.name for kind in KINDS}


def test_rounds_are_of_one_size():
    rounds = make_plan(20_000, 1)
    largest_job = max(kind.flows for kind in KINDS)
    for jobs in rounds[:-1]:
        assert ROUND_FLOWS <= sum(job.flows for job in jobs) < ROUND_FLOWS + largest_job


def test_each_kind_has_an_address_of_its_own():
    addresses = server_addresses()
    assert len(addresses) == len(KINDS) == len({kind.name for kind in KINDS})
    assert all(addresses[server_address(kind.name)] == kind.name for kind in KINDS)
    assert all(ip_address(address) in ip_network(topology.SERVER_NETWORKS.ipv4) for address in addresses)
    assert all(ip_address(address) in ip_network(topology.CLIENT_NETWORKS.ipv4) for address in client_addresses())
    taken = {topology.SERVER_ADDRESSES.ipv4, topology.GATEWAY_SERVER_SIDE.ipv4, "198.51.100.255"}
    assert not taken & set(addresses)


def test_jobs_survive_being_written_down():
    for job in make_plan(500, 3)[0]:
        assert Job.from_json(job.to_json()) == job


def test_somebody_can_do_every_job():
    for kind in KINDS:
        if kind.worker in (Worker.PROGRAM, Worker.BROWSER) or kind.name in programs.MEDIA:
            assert kind.name in programs._DOERS
        else:
            known = (*clients._DOERS, *TCP, *UDP, *media.TORRENTS, "webrtc-call", "custom-tls")
            assert kind.name in known or kind.name.startswith("file-")


# --- what the plan's servers and clients say -------------------------------------------------------------


@pytest.mark.parametrize("variant", range(VARIANTS))
@pytest.mark.parametrize("wire", sorted({*TCP.values(), *INSIDE_TLS}, key=lambda each: each.__name__))
def test_both_ends_of_a_home_made_protocol_understand_each_other(wire, variant):
    pytest.importorskip("msgpack")
    near, far = socket.socketpair()
    near.settimeout(5)
    far.settimeout(5)

    def answer() -> None:
        end = wire(far, random.Random(1), variant, opens=False)
        for _ in range(3):
            end.receive()
            end.send(300)

    server = threading.Thread(target=answer, daemon=True)
    server.start()
    with near, far:
        end = wire(near, random.Random(2), variant, opens=True)
        for size in (5, 70, 9000):
            end.send(size)
            assert end.receive() > 0
        server.join(5)
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            near.recv(1)  # nothing was left over


def test_certificate_chains_are_as_described(tmp_path):
    write_chains(tmp_path, 1)
    sizes = []
    for index, shape in enumerate(SHAPES):
        chain = x509.load_pem_x509_certificates((tmp_path / f"chain{index}.crt").read_bytes())
        assert len(chain) == 1 + shape.intermediates
        for issued, issuer in pairwise(chain):
            issued.verify_directly_issued_by(issuer)
        sizes.append(sum(len(each.public_bytes(serialization.Encoding.DER)) for each in chain))
    assert min(sizes) < 1000
    assert max(sizes) > 4000


# --- the truth --------------------------------------------------------------------------------------------

CLIENT, WEB = client_addresses()[0], server_address("web-python")


def ethernet(source: str, destination: str, transport: int, payload: bytes, fragment: int = 0) -> bytes:
    addresses = ip_address(source).packed + ip_address(destination).packed
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, transport, 0) + addresses
    return MAC_ADDRESSES + IP_ETHERTYPE + ip + payload


def tcp(source: str, source_port: int, destination: str, port: int, flags: int) -> bytes:
    header = struct.pack(">HHIIBBHHH", source_port, port, 1, 1, 0x50, flags, 100, 0, 0)
    return ethernet(source, destination, 6, header)


def flows_of(tmp_path: Path, *packets: bytes):
    capture = tmp_path / "some.pcap"
    capture.write_bytes(pcap(list(enumerate(packets)), link_type=ETHERNET))
    return list_flows(capture, server_addresses())


def test_both_directions_are_one_flow_named_by_its_server(tmp_path):
    flows = flows_of(tmp_path, tcp(CLIENT, 4000, WEB, 443, 2), tcp(WEB, 443, CLIENT, 4000, 18))
    assert [(flow.label, flow.source, flow.destination_port, flow.packets) for flow in flows] == [
        ("web-python", CLIENT, 443, 2)
    ]


def test_server_may_speak_first(tmp_path):
    address = server_address("rtp")
    packet = ethernet(address, CLIENT, 17, struct.pack(">HHHH", 30000, 5000, 8, 0))
    assert [(flow.label, flow.source) for flow in flows_of(tmp_path, packet)] == [("rtp", address)]


def test_used_again_ports_make_another_flow(tmp_path):
    opening, ending = tcp(CLIENT, 4000, WEB, 443, 2), tcp(WEB, 443, CLIENT, 4000, 17)
    assert [flow.packets for flow in flows_of(tmp_path, opening, opening, ending, opening, ending)] == [3, 2]


def test_unexplained_flows_are_noise_and_counted(tmp_path):
    unreachable = ethernet(WEB, CLIENT, 1, b"\x03\x03" + bytes(6))
    stranger = tcp(CLIENT, 4000, "203.0.113.9", 443, 2)
    flows = flows_of(tmp_path, unreachable, unreachable, stranger)
    assert [(flow.label, flow.packets) for flow in flows] == [(NOISE, 2), (NOISE, 1)]
    assert json.loads(flows[0].to_json("some.pcap"))["kind"] == NOISE


def test_pings_are_told_apart_by_their_identifier(tmp_path):
    address = server_address("ping")
    pings = [ethernet(CLIENT, address, 1, b"\x08\0\0\0" + identifier + b"\0\1") for identifier in (b"\1\2", b"\3\4")]
    answer = ethernet(address, CLIENT, 1, b"\0\0\0\0\1\2\0\1")
    assert [(flow.label, flow.packets) for flow in flows_of(tmp_path, *pings, answer)] == [("ping", 2), ("ping", 1)]


# --- a run ------------------------------------------------------------------------------------------------

HIDDEN = ("vpn", "proxy", "anonymity")


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_nothing_ordinary_is_confirmed_as_a_tunnel(tmp_path):
    if missing := find_missing(ORDINARY):
        pytest.skip(f"not installed: {package_names(missing)}")
    for library in LIBRARIES:
        pytest.importorskip(library)
    summary = generate(200, 4, tmp_path, max_bytes=500_000_000)

    made = {label for label, count in summary.flows.items() if count}
    assert made >= {kind.name for kind in KINDS}, "every kind was made"
    assert summary.lost == 0
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert len(truth) == summary.total

    named = Counter[str]()
    for name in summary.captures:
        for event in replay_capture(str(tmp_path / name)).flows:
            found = event["middlebox"]
            assert isinstance(found, dict)
            named[found["confidence"] or "nothing"] += 1
            assert not (found["category"] in HIDDEN and found["confidence"] == "confirmed"), event
    assert named["confirmed"] > 100, "the engine did look"
