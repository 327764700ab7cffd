"""The queue against the real kernel: verdicts, marks, resets, epochs. Pure tests of its messages come first."""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from middlebox.shells.firewall import HookSettings, render_iptables
from middlebox.shells.nfqueue import COPY_RANGE_BYTES, acknowledged, parse_queue_status, settings_message
from tests.shells.network import Network, lab_net  # noqa: F401 - a fixture
from tests.shells.process import Running, gateway, wait_until

FAMILIES = [pytest.param(socket.AF_INET, id="IPv4"), pytest.param(socket.AF_INET6, id="IPv6")]
kernel = pytest.mark.kernel

# --- pure -------------------------------------------------------------------------------------------


def test_settings_message_is_the_one_the_kernel_documents():
    assert settings_message(258, 0b101, 7) == (
        struct.pack("=IHHII", 48, 3 << 8 | 2, 0x05, 7, 0)  # nlmsghdr: queue subsystem, config, request and ack
        + bytes([0, 0, 1, 2])  # nfgenmsg: unspecified family, version 0, queue 258 in network order
        + struct.pack("=HH", 8, 5)
        + bytes([0, 0, 0, 5])  # NFQA_CFG_FLAGS
        + struct.pack("=HH", 8, 4)
        + bytes([0, 0, 0, 5])  # NFQA_CFG_MASK
        + struct.pack("=HH", 9, 2)
        + struct.pack("!IB3x", COPY_RANGE_BYTES, 2)  # NFQA_CFG_PARAMS: whole packets up to the copy range
    )


def test_acknowledgement_is_told_from_refusal_and_from_other_messages():
    def answer(error: int, sequence: int = 7, kind: int = 2) -> bytes:
        return struct.pack("=IHHIIi", 36, kind, 0, sequence, 0, -error) + bytes(16)

    assert acknowledged(answer(0), 7) == 0
    assert acknowledged(answer(errno.EPERM), 7) == errno.EPERM
    assert acknowledged(answer(0, sequence=8), 7) is None
    assert acknowledged(answer(0, kind=3 << 8), 7) is None
    for cut in range(20):
        assert acknowledged(answer(0)[:cut], 7) is None


def test_queue_status_is_read_by_column():
    text = "    0   4321     3 2  3400    11    22   957834  1\n    7 3000000000 0 2 65531 0 0 5 1\n"
    queues = parse_queue_status(text)
    assert list(queues) == [0, 7]
    status = queues[0]
    assert (status.port_id, status.waiting, status.kernel_drops, status.user_drops) == (4321, 3, 11, 22)
    assert queues[7].port_id == 3_000_000_000


# --- kernel -----------------------------------------------------------------------------------------


@pytest.fixture
def running(lab_net: Network, tmp_path: Path) -> Iterator[Running]:  # noqa: F811
    with gateway(lab_net, tmp_path) as running:
        yield running


def exchange(client: socket.socket, server: socket.socket, question: bytes, answer: bytes) -> None:
    client.sendall(question)
    assert server.recv(65536) == question
    server.sendall(answer)
    assert client.recv(65536) == answer


def packets_seen(network: Network) -> int:
    """The kernel's own count of packets given to user space on queue 0 (column id_sequence)."""
    status = network.on_gateway("cat", "/proc/net/netfilter/nfnetlink_queue").split()
    return int(status[7])


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_undecided_packets_pass_and_each_is_seen(lab_net, running, family):  # noqa: F811
    client, server = lab_net.udp_pair(family)
    with client, server:
        for number in range(10):
            exchange(client, server, b"question %d" % number, b"answer %d" % number)
    summary = running.stop()
    assert summary["packets_inspected"] == 20
    assert summary["settled_packets"] == 0
    assert summary["hook_counters"]["queued"] == 20
    assert summary["uninspected"] == 0


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_settled_pass_is_never_seen_again(lab_net, running, family):  # noqa: F811
    client, server = lab_net.tcp_pair(family)
    with client, server:
        exchange(client, server, b"PASS-ME", b"welcome")
        seen = packets_seen(lab_net)
        for number in range(50):
            exchange(client, server, b"question %d" % number, b"answer %d" % number)
        assert packets_seen(lab_net) == seen
    summary = running.stop()
    assert summary["packets_inspected"] == seen
    assert summary["settled_packets"] == 1
    assert summary["hook_counters"]["accepted"] >= 100


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_settled_drop_is_silent_in_both_directions_and_never_seen_again(lab_net, running, family):  # noqa: F811
    client, server = lab_net.udp_pair(family)
    with client, server:
        exchange(client, server, b"hello", b"hello back")
        client.send(b"DROP-ME")
        wait_until(lambda: packets_seen(lab_net) == 3, "the deciding packet")
        for _ in range(5):
            client.send(b"more")
            server.send(b"more")
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.recv(100)
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        assert packets_seen(lab_net) == 3
    summary = running.stop()
    assert summary["hook_counters"]["dropped"] == 11
    assert summary["resets_injected"] == 0


@kernel
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("greeting", [b"hello", b"PASS-ME"], ids=["undecided", "settled"])
def test_what_passes_still_meets_the_gateways_own_rules(lab_net, running, family, greeting):  # noqa: F811
    """Whoever adds this hook to a firewall must not lose the firewall."""
    client, server = lab_net.udp_pair(family)
    with client, server:
        exchange(client, server, greeting, b"welcome")
        program = "iptables" if family == socket.AF_INET else "ip6tables"
        lab_net.on_gateway(program, "-A", "FORWARD", "-p", "udp", "-j", "DROP")
        try:
            client.send(b"no more")
            server.settimeout(0.3)
            with pytest.raises(TimeoutError):
                server.recv(100)
        finally:  # the network is used by other tests, too
            lab_net.on_gateway(program, "-D", "FORWARD", "-p", "udp", "-j", "DROP")
    running.stop()


@kernel
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sender", ["client", "server"])
def test_reset_ends_both_sides_at_once_on_the_deciding_packet(lab_net, running, family, sender):  # noqa: F811
    client, server = lab_net.tcp_pair(family)
    with client, server:
        exchange(client, server, b"GET /", b"200 OK")
        seen = packets_seen(lab_net)
        begin = time.monotonic()
        (client if sender == "client" else server).sendall(b"RESET-ME " * 100)
        for side in (client, server):
            with pytest.raises(ConnectionResetError):
                side.recv(100)
        assert time.monotonic() - begin < 0.5
        assert packets_seen(lab_net) == seen + 1
    summary = running.stop()
    assert summary["resets_injected"] == 1
    assert summary["resets_failed"] == 0
    assert summary["hook_counters"]["rejected"] >= 1


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_reset_of_udp_tells_the_sender_by_icmp(lab_net, running, family):  # noqa: F811
    client, server = lab_net.udp_pair(family)
    with client, server:
        exchange(client, server, b"hello", b"hello back")
        client.send(b"RESET-ME")
        # Linux reports 'administratively prohibited' as EHOSTUNREACH for IPv4 and as EACCES for IPv6.
        with pytest.raises(OSError, match=r"No route to host|Permission denied"):
            client.recv(100)
        client.send(b"again")
        with pytest.raises(OSError, match=r"No route to host|Permission denied"):
            client.recv(100)
    summary = running.stop()
    assert summary["packets_inspected"] == 3
    assert summary["hook_counters"]["rejected"] == 2


@kernel
def test_flow_refused_on_its_first_packet_is_refused_on_every_further_one(lab_net, running):  # noqa: F811
    # Connection tracking forgets a connection whose first packet is discarded, and the mark with it.
    client, server = lab_net.udp_pair()
    with client, server:
        for _ in range(3):
            client.send(b"REJECT-ME")
            with pytest.raises(OSError, match="No route to host"):
                client.recv(100)
    summary = running.stop()
    assert summary["packets_inspected"] == 3
    assert summary["hook_counters"]["rejected"] == 3


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_reject_tells_the_sender_only(lab_net, running, family):  # noqa: F811
    client, server = lab_net.tcp_pair(family)
    with client, server:
        client.sendall(b"REJECT-ME")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.recv(100)
    summary = running.stop()
    assert summary["resets_injected"] == 0


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_unsettled_verdicts_concern_one_packet(lab_net, running, family):  # noqa: F811
    client, server = lab_net.udp_pair(family)
    with client, server:
        client.send(b"DROP-ONCE")
        exchange(client, server, b"hello", b"hello back")
        client.send(b"REJECT-ONCE")
        with pytest.raises(OSError, match=r"No route to host|Permission denied"):
            client.recv(100)
        exchange(client, server, b"hello", b"hello back")
    summary = running.stop()
    assert summary["packets_inspected"] == 6
    assert summary["settled_packets"] == 0
    assert (summary["resets_injected"], summary["resets_failed"]) == (1, 0)


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_unsettled_reset_of_tcp_reaches_both_sides(lab_net, running, family):  # noqa: F811
    client, server = lab_net.tcp_pair(family)
    with client, server:
        client.sendall(b"RESET-ONCE")
        for side in (client, server):
            with pytest.raises(ConnectionResetError):
                side.recv(100)
    assert running.stop()["resets_injected"] == 2


@kernel
def test_packet_on_which_the_engine_raises_gets_the_verdict_of_the_policy(lab_net, running):  # noqa: F811
    client, server = lab_net.udp_pair()
    with client, server:
        for _ in range(3):
            exchange(client, server, b"RAISE", b"fine")
        complaint = running.next_line()
        assert complaint.startswith(
            "middlebox: error while judging a packet (RuntimeError: a bug in the engine), first bytes 45"
        )
    assert running.stop()["internal_errors"] == 3


@kernel
def test_foreign_mark_bits_are_kept_on_packet_and_connection(lab_net, running):  # noqa: F811
    lab_net.on_gateway("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", "MARK", "--set-xmark", "0x1234/0xffff")
    lab_net.on_gateway("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", "CONNMARK", "--set-xmark", "0x56/0xff")
    for wanted in ((), ("!",)):  # one rule counts packets with the foreign mark, one those without
        match = ("-p", "tcp", "-m", "mark", *wanted, "--mark", "0x1234/0xfffff")
        lab_net.on_gateway("iptables", "-t", "mangle", "-A", "POSTROUTING", *match)
    try:
        client, server = lab_net.tcp_pair()
        with client, server:
            exchange(client, server, b"PASS-ME", b"welcome")
            exchange(client, server, b"question", b"answer")
            port = client.getsockname()[1]
            entry = lab_net.on_gateway("conntrack", "-L", "-p", "tcp", "--orig-port-src", str(port))
            sent = lab_net.on_gateway("iptables-save", "-c", "-t", "mangle")
        mark = int(entry.partition("mark=")[2].split()[0])
        assert mark & 0x000FFFFF == 0x56
        assert mark & 0xFFF00000 == 0x02100000  # epoch 1, PASS
        with_mark, without = (line for line in sent.splitlines() if "POSTROUTING -p tcp" in line)
        assert int(with_mark[1:].partition(":")[0]) >= 6
        assert without.startswith("[0:0]")
    finally:
        lab_net.on_gateway("iptables", "-t", "mangle", "-F")
    assert running.stop()["settled_packets"] == 1


@kernel
def test_icmp_error_does_not_settle_the_flow_it_speaks_of(lab_net, running):  # noqa: F811
    client, server = lab_net.udp_pair()
    with client:
        server.close()
        for _ in range(3):  # the server's kernel answers 'port unreachable'
            client.send(b"anyone?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)
        assert packets_seen(lab_net) == 3
        port = client.getsockname()[1]
        entry = lab_net.on_gateway("conntrack", "-L", "-p", "udp", "--orig-port-src", str(port))
        assert "mark=0 " in entry + " "
    summary = running.stop()
    assert summary["packets_inspected"] == 3
    assert summary["hook_counters"]["accepted"] == 6, "three undecided datagrams and the three errors about them"


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_end_of_a_long_packet_is_judged_too(lab_net, running, family):  # noqa: F811
    # A datagram in fragments, which connection tracking puts together; how TCP cuts its data is not foreseeable.
    client, server = lab_net.udp_pair(family)
    with client, server:
        client.send(bytes(12_000) + b"DROP-ONCE")
        client.send(b"the next one")
        assert server.recv(100) == b"the next one"
    assert running.stop()["packets_inspected"] == 2


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_new_epoch_brings_an_open_flow_back_for_one_packet(lab_net, running, family):  # noqa: F811
    client, server = lab_net.tcp_pair(family)
    with client, server:
        exchange(client, server, b"PASS-ME", b"welcome")
        exchange(client, server, b"question", b"answer")
        seen = packets_seen(lab_net)
        running.raise_epoch()
        for _ in range(10):
            exchange(client, server, b"question", b"answer")
        # Its first packet after the change; data and a bare acknowledgement may both be under way before it is settled.
        assert seen + 1 <= packets_seen(lab_net) <= seen + 2
    summary = running.stop()
    assert summary["epoch"] == 2
    assert summary["returned_packets"] == 0
    assert summary["hook_counters"]["accepted"] >= 20


@kernel
@pytest.mark.timeout(20)
def test_packet_whose_mark_the_chain_does_not_know_comes_back_once_and_is_answered(lab_net, running):  # noqa: F811
    other_epoch = render_iptables(HookSettings(epoch=99), stale_jumps=["FORWARD -j MIDDLEBOX"])
    lab_net.on_gateway("iptables-restore", "-n", stdin=other_epoch)
    client, server = lab_net.udp_pair()
    with client, server:
        exchange(client, server, b"PASS-ME", b"welcome")
        assert packets_seen(lab_net) == 4
        client.send(b"question")
        assert server.recv(100) == b"question"
    summary = running.stop()
    assert summary["packets_inspected"] == 6
    assert (summary["settled_packets"], summary["returned_packets"]) == (3, 3)


@kernel
def test_hook_none_answers_in_the_queue_and_touches_no_rule(lab_net, tmp_path):  # noqa: F811
    before = lab_net.firewall_rules()
    with gateway(lab_net, tmp_path, hook="none") as running:
        assert lab_net.firewall_rules() == before
        lab_net.on_gateway("iptables", "-I", "FORWARD", "-j", "NFQUEUE", "--queue-num", "0")
        try:
            client, server = lab_net.tcp_pair()
            with client, server:
                exchange(client, server, b"PASS-ME", b"welcome")
            client, server = lab_net.tcp_pair()
            with client, server:
                client.sendall(b"RESET-ME")
                for side in (client, server):
                    with pytest.raises(ConnectionResetError):
                        side.recv(100)
            summary = running.stop()
        finally:
            lab_net.on_gateway("iptables", "-D", "FORWARD", "-j", "NFQUEUE", "--queue-num", "0")
    assert summary["hook"] == "none"
    assert summary["hook_counters"] is None
    assert summary["settled_packets"] == 0
