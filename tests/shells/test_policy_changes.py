"""What is open when the policy changes: a tunnel stops and comes back, a download goes on undisturbed.

Real programs on both sides: WireGuard, and curl against an HTTP server.
"""

import hashlib
import itertools
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.shells.network import Network, lab_net  # noqa: F401 - a fixture
from tests.shells.process import CommandLine, wait_until
from tests.shells.test_wireguard_tunnel import INSIDE_SERVER, tunnel

ACT_SECONDS = 1.0
"Within this time of an edge or a reload what it forbids has stopped, and what it allows goes on."
STALL_SECONDS = 0.5
PING_SECONDS = 0.02
FORBIDDEN_SECONDS = 4.0
PING_PORT = 9

BLOCK_BYTES, BLOCK_SECONDS, BLOCKS = 20_000, 0.02, 700
"What the server sends: 1 MB/s for 14 s."
CONTENT = random.Random(1).randbytes(BLOCK_BYTES * BLOCKS)

NO_VPN = "  - {{rule: no-vpn, {when}when: {{category: vpn, confidence: confirmed}}, action: drop}}\n"
OPEN_POLICY = "policy: meeting\nrules:\n  - {rule: note, when: {category: vpn}, action: log}\n"
CLOSED_POLICY = OPEN_POLICY + NO_VPN.format(when="")


class Pings:
    """Datagrams through a tunnel, one every PING_SECONDS, and when their echoes came."""

    def __init__(self, network: Network) -> None:
        self.received: list[float] = []
        "Wall times at which echoes arrived."
        self._server = network.on_server(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._server.bind((INSIDE_SERVER, PING_PORT))
        self._client = network.on_client(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._client.bind(("", 0))
        for end in (self._client, self._server):
            end.settimeout(0.1)
        self._running = True
        self._threads = [threading.Thread(target=work) for work in (self._send, self._echo, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while self._running:
            with suppress(OSError):
                self._client.sendto(b"ping", (INSIDE_SERVER, PING_PORT))
            time.sleep(PING_SECONDS)

    def _echo(self) -> None:
        while self._running:
            with suppress(OSError):
                self._server.sendto(*self._server.recvfrom(100))

    def _receive(self) -> None:
        while self._running:
            with suppress(OSError):
                self._client.recv(100)
                self.received.append(time.time())

    def close(self) -> None:
        self._running = False
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def last_before(self, moment: float) -> float:
        """When the last echo before a moment came."""
        return max(at for at in self.received if at < moment)

    def first_after(self, moment: float) -> float:
        """When the first echo after a moment came."""
        return min(at for at in self.received if at > moment)


@contextmanager
def pings(network: Network) -> Iterator[Pings]:
    made = Pings(network)
    try:
        yield made
    finally:
        made.close()


class Download:
    """curl fetching CONTENT from a server that sends it slowly."""

    def __init__(self, network: Network) -> None:
        address = network.server_address(socket.AF_INET)

        class Slow(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                for number in range(BLOCKS):
                    self.wfile.write(CONTENT[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES])
                    time.sleep(BLOCK_SECONDS)

            def log_message(self, *_: object) -> None:
                pass

        self._server = network.on_server(lambda: HTTPServer((address, 0), Slow))
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()
        url = f"http://{address}:{self._server.server_port}/"
        command = ["ip", "netns", "exec", network.client, "curl", "--silent", "--no-buffer", url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.longest_stall = 0.0
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        last = None
        while piece := self._process.stdout.read1(65_536):
            now = time.monotonic()
            if last is not None:
                self.longest_stall = max(self.longest_stall, now - last)
            last = now
            self.bytes += len(piece)
            self._hash.update(piece)

    def assert_undisturbed(self) -> None:
        """Wait for its end: every byte is there, and none was long in coming."""
        assert self._process.wait(BLOCKS * BLOCK_SECONDS + 15) == 0
        self._reading.join()
        assert self.bytes == len(CONTENT)
        assert self._hash.digest() == hashlib.sha256(CONTENT).digest()
        assert self.longest_stall < STALL_SECONDS

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


@contextmanager
def download(network: Network) -> Iterator[Download]:
    made = Download(network)
    try:
        yield made
    finally:
        made.close()


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def event_time(event: dict) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def changes(running: CommandLine) -> list[str]:
    return [event["policy"]["change"] for event in running.events("policy")]


@pytest.mark.lab
def test_open_tunnel_stops_at_the_edge_of_a_window_and_comes_back_and_a_download_goes_on(lab_net, tmp_path):  # noqa: F811
    with tunnel(lab_net, tmp_path) as (echo, _):
        opens = round(time.time() + 6.0, 3)
        closes = opens + FORBIDDEN_SECONDS
        schedules = f'schedules:\n  meeting: {{from: "{moment(opens)}", until: "{moment(closes)}"}}\n'
        policy = OPEN_POLICY + NO_VPN.format(when="during: meeting, ") + schedules
        with CommandLine(lab_net, tmp_path / "run", policy) as running:
            wait_until(echo.is_up, "the tunnel")
            with pings(lab_net) as ping, download(lab_net) as undisturbed:
                time.sleep(1.0)
                assert json.loads(running.ask("status", "--format", "jsonl").stdout)["open_schedules"] == []
                time.sleep(max(0.0, opens + ACT_SECONDS - time.time()))
                assert json.loads(running.ask("status", "--format", "jsonl").stdout)["open_schedules"] == ["meeting"]
                carried = running.ask("flows", "--protocol", "http", "--format", "jsonl").stdout
                received = undisturbed.bytes
                refused = running.ask("flows", "--verdict", "drop", "--format", "jsonl").stdout
                time.sleep(max(0.0, closes + ACT_SECONDS - time.time()))
                undisturbed.assert_undisturbed()
            stopped, freed = ping.last_before((opens + closes) / 2) - opens, ping.first_after(closes) - closes
            print(
                f"the tunnel stops {stopped * 1000:.0f} ms after the window opens, goes on {freed * 1000:.0f} ms after "
                f"it closes; the download's longest stall is {undisturbed.longest_stall * 1000:.0f} ms"
            )
            # Until the very edge it ran: what came before is not the last echo of a tunnel that had died early.
            assert -5 * PING_SECONDS < stopped < ACT_SECONDS
            assert 0 <= freed < ACT_SECONDS
            running.stop()
        assert [json.loads(line)["app_proto"] for line in refused.splitlines()] == ["wireguard"]
        # What the kernel carries is counted, too.
        assert abs(json.loads(carried)["flow"]["bytes_toclient"] - received) < 1_000_000
        found = running.events("policy")
        assert changes(running) == ["loaded", "schedule edge: meeting opened", "schedule edge: meeting closed"]
        assert [event["policy"]["open_schedules"] for event in found] == [[], ["meeting"], []]
        assert [event_time(event) - at for event, at in zip(found[1:], (opens, closes), strict=True)] == [
            pytest.approx(0.25, abs=0.25)
        ] * 2
        [refusal] = [one["middlebox"] for one in running.events("decision") if one["middlebox"]["verdict"] == "drop"]
        # Each echo is a packet either way. Most were carried by the kernel, which has told how many there were.
        assert refusal["passed_packets"] >= 2 * sum(at < opens for at in ping.received)


@pytest.mark.lab
def test_open_tunnel_stops_at_a_reload_and_comes_back_at_the_next(lab_net, tmp_path):  # noqa: F811
    with (
        tunnel(lab_net, tmp_path) as (echo, _),
        CommandLine(lab_net, tmp_path / "run", OPEN_POLICY) as running,
    ):
        wait_until(echo.is_up, "the tunnel")
        with pings(lab_net) as ping, download(lab_net) as undisturbed:
            time.sleep(1.0)
            running.policy.write_text(CLOSED_POLICY)
            done = running.ask("reload")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("policy meeting reloaded, epoch ")
            reloaded = time.time()
            time.sleep(2.0)

            running.policy.write_text(OPEN_POLICY + "rulez: []\n")
            done = running.ask("reload")
            assert done.returncode == 2
            assert f'{running.policy}:4:1: error: "rulez" is not a field of a policy' in done.stderr
            assert "reload refused; the old policy stays in force" in done.stderr
            refused = time.time()
            time.sleep(1.0)
            assert not any(reloaded + ACT_SECONDS < at < refused + 1.0 for at in ping.received)

            running.policy.write_text(OPEN_POLICY)
            running.hang_up()
            wait_until(lambda: changes(running)[-1] == "reloaded", "the second reload")
            freed_at = event_time(running.events("policy")[-1])
            time.sleep(ACT_SECONDS)
            undisturbed.assert_undisturbed()
        stopped_at = event_time(running.events("policy")[1])
        stopped = ping.last_before(refused) - stopped_at
        freed = ping.first_after(refused) - freed_at
        print(
            f"the tunnel stops {stopped * 1000:.0f} ms after the reload, goes on {freed * 1000:.0f} ms after the next"
        )
        assert stopped < ACT_SECONDS
        assert freed < ACT_SECONDS
        assert changes(running) == ["loaded", "reloaded", "reload refused", "reloaded"]
        problems = running.events("policy")[2]["policy"]["problems"]
        assert "rulez" in problems[0]
        running.stop()


BIG_LIST = 200_000
"Domains: some two seconds of loading."


@pytest.mark.lab
def test_packets_are_judged_while_a_long_list_is_loaded(lab_net, tmp_path):  # noqa: F811
    (tmp_path / "run").mkdir()
    names = "\n".join(f"host{number}.example{number % 1000}.org" for number in range(BIG_LIST))
    (tmp_path / "run" / "big.txt").write_text(names)
    address = (lab_net.server_address(socket.AF_INET), 4000)
    delays = []
    with (
        CommandLine(lab_net, tmp_path / "run", OPEN_POLICY) as running,
        lab_net.on_server(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
    ):
        server.bind(address)
        server.settimeout(5.0)

        def first_packet() -> None:
            """Of a new flow: user space must judge it."""
            with lab_net.on_client(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
                begin = time.monotonic()
                client.sendto(b"who knows", address)
                server.recv(100)
                delays.append(time.monotonic() - begin)

        running.policy.write_text(
            "policy: big\nlists: {big: big.txt}\n"
            "rules:\n  - {rule: big, when: {server_name|domain: {list: big}}, action: drop}\n"
        )
        running.hang_up()
        while changes(running)[-1] != "reloaded":
            first_packet()
        first_packet()
        running.stop()
    print(f"{len(delays)} packets while a policy was loaded, the slowest took {max(delays) * 1000:.0f} ms")
    assert len(delays) > 50
    assert max(delays) < STALL_SECONDS


@pytest.mark.kernel
def test_simulated_clock_passes_a_week_in_seconds(lab_net, tmp_path):  # noqa: F811
    policy = (
        "policy: office\n"
        "schedules: {office: {weekly: [mon, tue], hours: '08:00-18:00', timezone: Asia/Shanghai}}\n"
        "rules: [{rule: r, during: office, when: {protocol: dns}, action: drop}]\n"
    )
    clock = ("--clock", "2016-03-07T00:00+08:00", "--clock-speed", "86400")  # a Monday; a day a second
    with CommandLine(lab_net, tmp_path, policy, *clock) as running:
        wait_until(lambda: len(changes(running)) >= 6, "five edges", 12)
        running.stop()
    opened, closed = "schedule edge: office opened", "schedule edge: office closed"
    expected = itertools.chain(["loaded"], itertools.cycle([opened, closed]))
    assert all(change == next(expected) for change in changes(running))


@pytest.mark.kernel
def test_explain_and_flows_over_the_socket(lab_net, tmp_path):  # noqa: F811
    with CommandLine(lab_net, tmp_path, OPEN_POLICY) as running:
        client, server = lab_net.udp_pair()
        with client, server:
            client.send(b"hello")
            server.recv(100)
            table = running.ask("flows")
            assert "198.51.100.2" in table.stdout
            assert "1 open flow, the latest first" in table.stdout
            assert running.ask("flows", "--protocol", "wireguard").stdout == "no open flow fits\n"
            [flow] = map(json.loads, running.ask("flows", "--format", "jsonl", "--limit", "1").stdout.splitlines())
            from middlebox.shells.control_client import request

            ends = "{}:{}>{}:{}".format(*client.getsockname(), *server.getsockname())
            for wanted in (str(flow["flow_id"]), ends, ends.split(">")[1]):
                said = request(running.control, {"command": "explain", "flow": wanted})
                assert said["flow"]["flow_id"] == flow["flow_id"]
            shown = running.ask("explain", "--live", ends)
            assert (shown.returncode, shown.stderr) == (0, "")
            assert "judged by the policy meeting" in shown.stdout
            assert request(running.control, {"command": "explain", "flow": "192.0.2.2:1"}) == {
                "error": "no open flow fits 192.0.2.2:1"
            }
            assert "expected a whole number" in request(running.control, {"command": "flows", "limit": 0})["error"]
        status = running.ask("status")
        assert "policy     meeting (enforce), 1 rule, epoch " in status.stdout
        running.stop()
        gone = running.ask("status")
        assert (gone.returncode, gone.stdout) == (3, "")
        assert gone.stderr.startswith("middlebox: no gateway runs here: nothing listens on ")
