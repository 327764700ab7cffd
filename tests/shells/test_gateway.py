"""Whole runs of the gateway: set-up, end, failures and speed. What happens to packets is shown in test_nfqueue."""

import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from middlebox.policy.rule import All, Policy, Rule
from middlebox.shells.errors import InputError, MachineError
from middlebox.shells.firewall import HookCounters
from middlebox.shells.gateway import EpochFile, Gateway, GatewayOptions, Summary, _say, rates_of, steady_clock
from middlebox.shells.nfqueue import MAX_WAITING_PACKETS
from middlebox.verdict import Action
from tests.shells.network import Network, inside, lab_net  # noqa: F401 - a fixture
from tests.shells.process import ROOT, SECONDS, CommandLine, gateway, start, wait_until

kernel = pytest.mark.kernel
MOMENTS = 14
SO_RCVBUFFORCE = 33  # asm-generic/socket.h

# --- pure -------------------------------------------------------------------------------------------


def test_epochs_grow_from_run_to_run(tmp_path):
    path = tmp_path / "state" / "epoch"
    assert [EpochFile(path).next() for _ in range(3)] == [1, 2, 3]
    assert path.read_text() == "3\n"


def test_damaged_epoch_file_is_named_with_the_command_that_helps(tmp_path):
    path = tmp_path / "epoch"
    path.write_text("three")
    with pytest.raises(MachineError, match=r"epoch holds b'three' and no number: run `rm .*/epoch`"):
        EpochFile(path).next()


def test_state_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot keep the epoch in .*/file/epoch .*: make .*/file a directory"):
        EpochFile(tmp_path / "file" / "epoch").next()


def test_clock_shows_wall_time_and_never_goes_back(monkeypatch):
    clock = steady_clock()
    assert abs(clock() - time.time()) < 0.1
    first = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert first <= clock() < first + 1


def test_summary_counts_what_passed_uninspected():
    summary = Summary(packets_inspected=70, kernel_drops=5, user_drops=5, hook_counters=HookCounters(queued=100))
    assert summary.uninspected_packets == 20
    assert "20 passed uninspected" in summary.text()
    assert Summary(packets_inspected=70).uninspected_packets == 0


def test_summary_tells_of_ends_that_were_not_heard():
    assert "ends of connections lost 3 times" in Summary(ends_lost=3).text()
    assert "ends of connections" not in Summary().text()


def test_throttling_without_a_hook_of_ours_is_refused_with_what_to_do():
    policy = Policy("p", (Rule("slow", All(()), Action.THROTTLE, rate=1000),))
    with pytest.raises(InputError, match=r"rule slow throttles, which only a hook of ours can: use --hook auto, or"):
        Gateway(policy, GatewayOptions(hook="none"))


def test_rates_of_a_policy_are_distinct_and_rise():
    rules = tuple(Rule(str(n), All(()), Action.THROTTLE, rate=rate) for n, rate in enumerate((9, 7, 9)))
    assert rates_of(Policy("p", (*rules, Rule("d", All(()), Action.DROP)))) == (7, 9)


def test_reader_of_the_messages_that_left_ends_nothing(monkeypatch):
    class Left(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Left())
    _say("a line that nobody reads")


# --- set-up and end ---------------------------------------------------------------------------------


def reaches(network: Network, seconds: float = 1.0) -> bool:
    """Whether a datagram gets from client to server."""
    client, server = network.udp_pair()
    with client, server:
        client.send(b"hello")
        server.settimeout(seconds)
        try:
            return server.recv(100) == b"hello"
        except TimeoutError:
            return False


@kernel
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_removes_every_rule(lab_net, tmp_path, number):  # noqa: F811
    before = lab_net.firewall_rules()
    with gateway(lab_net, tmp_path) as running:
        assert "-A FORWARD -j MIDDLEBOX" in lab_net.firewall_rules()
        running.stop(number)
    assert lab_net.firewall_rules() == before


@kernel
def test_rules_of_others_stay_where_they_are(lab_net, tmp_path):  # noqa: F811
    others = [("FORWARD", "-s", "203.0.113.9", "-j", "DROP"), ("INPUT", "-s", "203.0.113.9", "-j", "DROP")]
    lab_net.on_gateway("iptables", "-N", "THEIRS")
    for rule in others:
        lab_net.on_gateway("iptables", "-A", *rule)
    try:
        before = lab_net.firewall_rules()
        with gateway(lab_net, tmp_path) as running:
            rules = lab_net.firewall_rules().splitlines()
            assert rules.index("-A FORWARD -j MIDDLEBOX") < rules.index("-A FORWARD -s 203.0.113.9/32 -j DROP")
            running.stop()
        assert lab_net.firewall_rules() == before
    finally:
        for rule in others:
            lab_net.on_gateway("iptables", "-D", *rule)
        lab_net.on_gateway("iptables", "-X", "THEIRS")


@kernel
def test_packets_that_wait_at_the_end_are_answered(lab_net, tmp_path):  # noqa: F811
    client, server = lab_net.udp_pair()
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64_000_000)
    with client, server, gateway(lab_net, tmp_path) as running:
        sending = True
        sent = 0

        def send() -> None:
            nonlocal sent
            while sending:
                client.send(b"%d" % sent)
                sent += 1
                time.sleep(0.0002)

        received = 0
        server.settimeout(0.5)
        sender = threading.Thread(target=send)
        sender.start()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(SECONDS)
        sending = False
        sender.join()
        while received < sent:
            server.recv(100)
            received += 1
    assert received == sent > 100


@kernel
def test_killed_gateway_that_fails_open_lets_traffic_pass_and_the_next_start_cleans_up(lab_net, tmp_path):  # noqa: F811
    before = lab_net.firewall_rules()
    with gateway(lab_net, tmp_path, fail="open") as running:
        running.process.kill()
        running.process.wait(SECONDS)
    assert "MIDDLEBOX" in lab_net.firewall_rules()
    assert reaches(lab_net)
    with gateway(lab_net, tmp_path, interfaces=["inner", "outer"]) as running:
        assert lab_net.firewall_rules().count("-j MIDDLEBOX") == 4  # both directions, both families, no old jump
        assert "epoch 2" in running.ready
        running.stop()
    assert lab_net.firewall_rules() == before


@kernel
def test_killed_gateway_that_fails_closed_stops_traffic_until_the_next_start(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path, fail="closed") as running:
        assert reaches(lab_net)
        running.process.kill()
        running.process.wait(SECONDS)
    assert not reaches(lab_net, 0.3)
    with gateway(lab_net, tmp_path) as running:
        assert reaches(lab_net)
        running.stop()
    assert "MIDDLEBOX" not in lab_net.firewall_rules()
    assert reaches(lab_net)


@kernel
@pytest.mark.parametrize("fail", ["open", "closed"])
def test_full_queue_passes_or_drops_as_the_policy_says(lab_net, tmp_path, fail):  # noqa: F811
    sent, waiting = 5000, MAX_WAITING_PACKETS
    client, server = lab_net.udp_pair()
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64_000_000)

    def received(seconds: float) -> int:
        count = 0
        server.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while server.recv(100):
                count += 1
        return count

    with client, server, gateway(lab_net, tmp_path, fail=fail) as running:
        client.send(b"first")
        assert server.recv(100) == b"first"
        running.process.send_signal(signal.SIGSTOP)
        for _ in range(sent):
            client.send(b"more")
        passed_at_once = received(0.3)
        running.process.send_signal(signal.SIGCONT)
        assert received(0.5) == waiting
        summary = running.stop()
    assert summary["user_drops"] == 0
    if fail == "open":
        assert passed_at_once == summary["uninspected"] == sent - waiting
        assert summary["kernel_drops"] == 0
    else:
        assert passed_at_once == summary["uninspected"] == 0
        assert summary["kernel_drops"] == sent - waiting


@kernel
def test_leftover_of_the_other_firewall_interface_is_removed(lab_net, tmp_path):  # noqa: F811
    lab_net.on_gateway("nft", "add", "table", "inet", "middlebox")
    with gateway(lab_net, tmp_path, hook="iptables") as running:
        assert "table inet middlebox" not in lab_net.firewall_rules()
        running.stop()


@kernel
def test_only_traffic_between_the_named_interfaces_is_inspected(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path, interfaces=["inner", "elsewhere"]) as running:
        assert reaches(lab_net)
        assert running.stop()["packets_inspected"] == 0


def complaint(network: Network, state: Path, prefix: tuple[str, ...] = (), **options: object) -> tuple[int, str]:
    """Exit status and message of a gateway that does not start."""
    process = start(network, state, prefix, **options)
    _, text = process.communicate(timeout=SECONDS)
    return process.returncode, text


@kernel
def test_interface_that_is_not_there_is_named(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path, interfaces=["lo", "nowhere0"]) as running:
        assert running.ready == "middlebox: there is no interface nowhere0; nothing is inspected on it until there is"
        assert "on queue 0" in running.next_line()
        running.stop()


@kernel
def test_busy_queue_number_is_named_with_its_holder_and_nothing_changes(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path) as running:
        before = lab_net.firewall_rules()
        name = Path(f"/proc/{running.process.pid}/comm").read_text().strip()
        status, text = complaint(lab_net, tmp_path)
        assert status == 3
        assert text == (
            f"queue 0 is busy: process {running.process.pid} ({name}) listens on it: choose another with --queue-num, "
            f"for instance 1, or stop that process\n"
        )
        assert lab_net.firewall_rules() == before
        running.stop()


@kernel
def test_second_gateway_on_another_queue_leaves_the_first_ones_chain_alone(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path) as running:
        before = lab_net.firewall_rules()
        name = Path(f"/proc/{running.process.pid}/comm").read_text().strip()
        status, text = complaint(lab_net, tmp_path, queue_num=5)
        assert status == 3
        assert text == (
            f"another gateway is running: process {running.process.pid} ({name}) on queue 0: stop it first\n"
        )
        assert lab_net.firewall_rules() == before
        running.stop()


@kernel
def test_without_rights_the_message_says_how_to_get_them(lab_net, tmp_path):  # noqa: F811
    # A root without its rights instead of another user, who might not be allowed to read this checkout.
    status, text = complaint(lab_net, tmp_path, ("setpriv", "--bounding-set=-net_admin,-net_raw"))
    assert status == 3
    assert text == "the gateway needs CAP_NET_ADMIN and CAP_NET_RAW: run as root: sudo middlebox run ...\n"


@kernel
def test_unusable_option_is_refused_before_anything_changes(lab_net, tmp_path):  # noqa: F811
    before = lab_net.firewall_rules()
    for option, message in {
        ("mark_mask", 0): "mark mask 0x0 is not usable",
        ("events", "/missing/events"): "cannot write events to /missing/events: No such file or directory",
    }.items():
        status, text = complaint(lab_net, tmp_path, **dict([option]))
        assert (status, lab_net.firewall_rules()) == (2, before)
        assert text.startswith(message)


@kernel
def test_hook_that_the_kernel_cannot_carry_is_refused(lab_net, tmp_path):  # noqa: F811
    before = lab_net.firewall_rules()
    # Of the firewall's programs only nft is found, and it knows no address family.
    (tmp_path / "nft").write_text("#!/bin/sh\necho 'Error: no such family' >&2\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    status, text = complaint(lab_net, tmp_path, ("env", path), hook="nft")
    assert status == 3
    assert text == "nft cannot carry the hook here (Error: no such family): use --hook auto\n"
    assert lab_net.firewall_rules() == before


@kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal_at_any_moment_of_set_up_leaves_nothing(lab_net, tmp_path, number):  # noqa: F811
    before = lab_net.firewall_rules()
    begin = time.monotonic()
    with gateway(lab_net, tmp_path) as running:
        set_up_seconds = time.monotonic() - begin
        running.stop()
    for moment in range(MOMENTS):
        process = start(lab_net, tmp_path)
        time.sleep(set_up_seconds * moment / (MOMENTS - 2))  # the last one is after the end of set-up
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
        assert lab_net.firewall_rules() == before, f"after {moment} of {MOMENTS - 2} parts of set-up"
    queues = lab_net.on_gateway("cat", "/proc/net/netfilter/nfnetlink_queue")
    assert queues == ""


@kernel
@pytest.mark.parametrize("monitor", [False, True], ids=["enforce", "monitor"])
def test_decision_is_logged_live_and_carried_out_unless_monitoring(lab_net, tmp_path, monitor):  # noqa: F811
    path = tmp_path / "events.jsonl"
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "policy: live\ndefault: pass\nrules:\n  - rule: no-dns\n    when: {protocol: dns}\n    action: drop\n"
    )
    program = (
        "from middlebox.policy.load import load_policy\n"
        "from middlebox.shells.gateway import GatewayOptions, run_gateway\n"
        "from pathlib import Path\nimport sys\n"
        "summary = run_gateway(load_policy(Path(sys.argv[1])),"
        " GatewayOptions(events=sys.argv[2], state_directory=Path(sys.argv[3]), monitor=sys.argv[4] == 'True'))\n"
        "print(summary.text())\n"
    )
    command = ["ip", "netns", "exec", lab_net.gateway, sys.executable, "-c", program, str(policy), str(path)]

    def lines() -> list[dict]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    process = subprocess.Popen(
        [*command, str(tmp_path), str(monitor)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: [e["event_type"] for e in lines()] == ["policy"], "the policy event", SECONDS)
        wait_until(lambda: "MIDDLEBOX" in lab_net.firewall_rules(), "the hook")
        client, server = lab_net.udp_pair()
        with client, server:
            client.send(
                bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\x07example\x03org\x00" + bytes([0, 1, 0, 1])
            )
            wait_until(lambda: any(e["event_type"] == "decision" for e in lines()), "the decision event", 1.0)
            server.settimeout(0.2)
            if monitor:
                assert server.recv(100).startswith(b"\x12\x34")
            else:
                with pytest.raises(TimeoutError):
                    server.recv(100)
    finally:
        process.send_signal(signal.SIGTERM)
        output, complaints = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, complaints
    events = lines()
    assert [event["event_type"] for event in events] == ["policy", "decision", "flow", "stats"]
    decision = events[1]["middlebox"]
    assert (decision["rule"], decision["verdict"], decision["mode"]) == (
        "no-dns",
        "drop",
        "monitor" if monitor else "enforce",
    )
    assert events[3]["stats"]["verdicts"] == {"drop": 1}
    assert "rules       no-dns 1" in output


# --- speed ------------------------------------------------------------------------------------------

DOWNLOAD_BYTES = 200_000_000
ROUNDS, DOWNLOADS_A_ROUND = 5, 6
LEAST_RATIO = 0.8
MOST_PACKETS_SEEN = 40


REQUEST = b"GET /file HTTP/1.1\r\nHost: www.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD_BYTES


def download_seconds(network: Network, request: bytes, answer: bytes = b"") -> float:
    client, server = network.tcp_pair()
    block = bytes(1_000_000)
    # Sender and receiver stay each on a processor of their own, else their placement decides about the speed.
    processors = sorted(os.sched_getaffinity(0))

    def send() -> None:
        os.sched_setaffinity(0, {processors[0]})  # of this thread
        server.recv(100)
        server.sendall(answer)
        for _ in range(DOWNLOAD_BYTES // len(block)):
            server.sendall(block)

    sender = threading.Thread(target=send)
    buffer = bytearray(1_000_000)
    with client, server:
        begin = time.monotonic()
        sender.start()
        client.sendall(request)
        os.sched_setaffinity(0, {processors[-1]})
        try:
            left = DOWNLOAD_BYTES + len(answer)
            while left:
                left -= client.recv_into(buffer)
        finally:
            os.sched_setaffinity(0, processors)
        sender.join()
        return time.monotonic() - begin


@kernel
def test_download_of_200_megabytes_keeps_its_speed_and_its_packets_stay_in_the_kernel(lab_net, tmp_path):  # noqa: F811
    policy = (ROOT / "rules" / "approved-vpn-only.yaml").read_text()
    assert lab_net.server_address(socket.AF_INET).startswith("198.51.100."), "at home in that policy"
    without, enforced = [], []
    for number in range(ROUNDS):
        without += [download_seconds(lab_net, REQUEST, ANSWER) for _ in range(DOWNLOADS_A_ROUND)]
        with CommandLine(lab_net, tmp_path / str(number), policy) as running:
            enforced += [download_seconds(lab_net, REQUEST, ANSWER) for _ in range(DOWNLOADS_A_ROUND)]
            summary = running.stop()
        inspected = int(summary.split("inspected")[1].split()[0]) / DOWNLOADS_A_ROUND
        assert inspected < MOST_PACKETS_SEEN
        flows = running.events("flow")
        assert [flow["middlebox"]["confidence"] for flow in flows] == ["confirmed"] * DOWNLOADS_A_ROUND
        assert all(flow["flow"]["bytes_toclient"] > DOWNLOAD_BYTES for flow in flows)
    # The median of downloads in turn: other work on the machine slows some down, and a few are lucky.
    before, after = statistics.median(without), statistics.median(enforced)
    ratio = before / after
    print(
        f"download: {DOWNLOAD_BYTES * 8 / before / 1e9:.1f} Gbit/s without, "
        f"{DOWNLOAD_BYTES * 8 / after / 1e9:.1f} Gbit/s with the gateway, ratio {ratio:.2f}, "
        f"{inspected:.0f} packets of each inspected"
    )
    assert ratio >= LEAST_RATIO


@kernel
def test_undecided_download_arrives_in_offloaded_packets(lab_net, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path) as running:
        seconds = download_seconds(lab_net, b"hello")
        summary = running.stop()
    data_packets = DOWNLOAD_BYTES / 1448
    print(f"inspected: {DOWNLOAD_BYTES * 8 / seconds / 1e9:.1f} Gbit/s, {summary['packets_inspected']} packets")
    # Without the GSO flag the kernel would cut every packet down to the MTU before user space sees it.
    assert summary["packets_inspected"] < data_packets / 2
    assert summary["uninspected"] == 0


BLOCKED_HOST = """
policy: hosts
default: pass
rules:
  - rule: blocked
    when: {any: [{http.hostname: blocked.example}, {http.status: 451}]}
    action: reset
"""


@kernel
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 451 Unavailable\r\n\r\n"], ids=["by the request", "by the answer"])
def test_verdict_on_a_connection_is_not_that_of_the_next_one_on_the_same_ports(
    lab_net,  # noqa: F811
    tmp_path,
    family,
    answer,
):
    with CommandLine(lab_net, tmp_path, BLOCKED_HOST):
        client, server = lab_net.tcp_pair(family)
        ports = client.getsockname(), server.getsockname()
        with client, server:
            request = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % (b"other.example" if answer else b"blocked.example")
            client.sendall(request)
            if answer:
                assert server.recv(100) == request
                server.sendall(answer)
            for side in (client, server):
                with pytest.raises(ConnectionResetError):
                    side.recv(100)
        client, server = lab_net.tcp_pair(family, ports=(ports[0][1], ports[1][1]))
        with client, server:
            assert (client.getsockname(), server.getsockname()) == ports
            client.sendall(b"GET / HTTP/1.1\r\nHost: third.example\r\n\r\n")
            assert server.recv(100).endswith(b"third.example\r\n\r\n")
