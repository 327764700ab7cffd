"""Residual blocks: the messages to the kernel, and what the kernel then does to new flows and to open ones."""

import socket
import struct
import time

import pytest

from middlebox.residual import Block
from middlebox.shells.firewall import HookSettings
from middlebox.shells.residual import SCOPES, Sets, add_message, element, render, transaction
from middlebox.verdict import Verdict
from tests.shells.network import Network, inside, lab_net  # noqa: F401 - a fixture
from tests.shells.process import Running, gateway, wait_until

kernel = pytest.mark.kernel
CLIENT4, SERVER4 = bytes([192, 0, 2, 2]), bytes([198, 51, 100, 2])
CLIENT6 = socket.inet_pton(socket.AF_INET6, "2001:db8:1::2")
FAMILIES = [pytest.param(socket.AF_INET, id="IPv4"), pytest.param(socket.AF_INET6, id="IPv6")]
SECONDS = 1.5
TCP, UDP = 6, 17


def block(client=None, server=None, transport=None, port=None, verdict=Verdict.RESET) -> Block:
    return Block("rule", verdict, client, server, transport, port, 2.0)


# --- pure -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (block(client=CLIENT4), ("ip-client-refuse", CLIENT4)),
        (block(server=SERVER4, verdict=Verdict.DROP), ("ip-server-drop", SERVER4)),
        (block(CLIENT4, SERVER4, verdict=Verdict.REJECT), ("ip-client-server-refuse", CLIENT4 + SERVER4)),
        (block(CLIENT6), ("ip6-client-refuse", CLIENT6)),
        (block(CLIENT4, None, TCP, 443), ("ip-client-port-refuse", CLIENT4 + b"\6\0\0\0\1\xbb\0\0")),
        (block(None, None, UDP, 53), ("inet-port-refuse", b"\x11\0\0\0\0\x35\0\0")),
        (block(CLIENT4, None, 50, 0), None),  # ESP has no port
        (block(CLIENT4, verdict=Verdict.THROTTLE), None),
        (block(), None),
    ],
)
def test_a_block_is_a_key_in_one_set(given, expected):
    assert element(given) == expected


def test_a_transaction_is_the_one_the_kernel_documents():
    sent = transaction([add_message("ip-client-drop", CLIENT4, 1.5)])
    begin, end = (struct.pack("=IHHII", 20, kind, 1, 0, 0) + bytes([0, 0, 0, 10]) for kind in (0x10, 0x11))
    assert sent.startswith(begin)
    assert sent.endswith(end)
    message = sent[20:-20]
    assert struct.unpack_from("=IHHII", message) == (len(message), 10 << 8 | 12, 0x401, 0, 0)
    assert message[16:20] == bytes([1, 0, 0, 0])  # NFPROTO_INET
    assert b"\x13\0\2\0ip-client-drop\0\0" in message  # NFTA_SET_ELEM_LIST_SET, padded
    assert struct.pack("=HH", 8, 1) + CLIENT4 in message  # NFTA_DATA_VALUE
    assert struct.pack("=HH", 12, 4) + (1500).to_bytes(8) in message  # NFTA_SET_ELEM_TIMEOUT in milliseconds


def test_the_table_limits_itself_to_the_named_interfaces():
    assert 'iifname "a" oifname "b"' in render(HookSettings(interfaces=("a", "b")))


def test_without_a_kernel_table_nothing_is_sent_and_nothing_fails():
    sets = Sets()
    sets.add([block(CLIENT4)])
    sets.replace([])
    assert sets.failed == 0


# --- kernel -----------------------------------------------------------------------------------------


@pytest.fixture
def running(lab_net: Network, tmp_path):  # noqa: F811
    with gateway(lab_net, tmp_path, residual=True) as running:
        yield running


def elements(network: Network) -> int:
    """Elements in all sets."""
    return network.on_gateway("nft", "list", "table", "inet", "middlebox-residual").count(" expires ")


def refusal(network: Network, family: socket.AddressFamily, port: int) -> str:
    """What a client sees that opens a TCP connection to a port: open, reset, or nothing."""

    def listen() -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((network.server_address(family), port))
        listener.listen()
        return listener

    with network.on_server(listen) as listener, network.on_client(lambda: socket.socket(family)) as client:
        client.settimeout(0.5)
        try:
            client.connect(listener.getsockname()[:2])
        except ConnectionError:
            return "reset"
        except TimeoutError:
            return "nothing"
        return "open"


def ask_to_block(network: Network, family: socket.AddressFamily, text: bytes) -> int:
    """Open a connection whose payload makes the engine block; its server port."""
    client, server = network.tcp_pair(family)
    with client, server:
        client.sendall(text)
        server.recv(100)
        port = server.getsockname()[1]
        assert isinstance(port, int)
    wait_until(lambda: elements(network) == 1, "the block")
    return port


@kernel
@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_block_the_same_port_is_refused_for_its_time_and_another_port_works(
    lab_net: Network,  # noqa: F811
    running: Running,
    family,
):
    begin = time.monotonic()
    port = ask_to_block(lab_net, family, b"BLOCK client-server-port reset %.1f;" % SECONDS)
    assert refusal(lab_net, family, port) == "reset"
    assert refusal(lab_net, family, 0) == "open"
    assert time.monotonic() - begin < SECONDS
    seen = lab_net.on_gateway("cat", "/proc/net/netfilter/nfnetlink_queue").split()[7]
    assert refusal(lab_net, family, port) == "reset"
    assert lab_net.on_gateway("cat", "/proc/net/netfilter/nfnetlink_queue").split()[7] == seen, "asked user space"
    time.sleep(max(0.0, begin + SECONDS + 0.2 - time.monotonic()))
    assert refusal(lab_net, family, port) == "open"
    summary = running.stop()
    assert (summary["blocks_added"], summary["blocks_failed"]) == (1, 0)


@kernel
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_scope_refuses_what_it_names_and_leaves_an_open_connection(
    lab_net: Network,  # noqa: F811
    running: Running,
    family,
    scope,
):
    client, server = lab_net.tcp_pair(family)
    with client, server:
        client.sendall(b"PASS-ME")
        server.recv(100)
        port = ask_to_block(lab_net, family, b"BLOCK %s reject 30;" % scope.encode())
        assert refusal(lab_net, family, port) == "reset"
        assert refusal(lab_net, family, 0) == ("open" if "port" in scope else "reset")
        client.sendall(b"still here")
        assert server.recv(100) == b"still here"


@kernel
def test_a_datagram_is_refused_by_icmp_or_dropped_and_an_open_flow_goes_on(lab_net: Network, running: Running):  # noqa: F811
    old = lab_net.udp_pair()
    with old[0], old[1]:
        for sender, receiver in (old, old[::-1]):
            sender.send(b"hello")
            receiver.recv(100)
        old[0].send(b"BLOCK client reset 1;")
        old[1].recv(100)
        wait_until(lambda: elements(lab_net) == 1, "the block")
        new = lab_net.udp_pair()
        with new[0], new[1]:
            new[0].send(b"hello")
            with pytest.raises(OSError, match=r"No route to host|Host is unreachable|Permission denied|refused"):
                new[0].recv(100)
        old[0].send(b"goes on")
        assert old[1].recv(100) == b"goes on"
        wait_until(lambda: elements(lab_net) == 0, "the end of the block")
        old[0].send(b"BLOCK client drop 30;")
        old[1].recv(100)
        wait_until(lambda: elements(lab_net) == 1, "the block")
        new = lab_net.udp_pair()
        with new[0], new[1]:
            new[0].send(b"hello")
            new[0].settimeout(0.3)
            with pytest.raises(TimeoutError):
                new[0].recv(100)


@kernel
def test_a_new_epoch_lifts_what_the_engine_does_not_give_again(lab_net: Network, running: Running):  # noqa: F811
    port = ask_to_block(lab_net, socket.AF_INET, b"BLOCK client reset 30;")
    assert refusal(lab_net, socket.AF_INET, port) == "reset"
    running.raise_epoch()
    assert elements(lab_net) == 0
    assert refusal(lab_net, socket.AF_INET, port) == "open"


@kernel
def test_nothing_is_left_behind_and_a_killed_run_is_cleaned_up_at_the_next_start(lab_net: Network, tmp_path):  # noqa: F811
    before = lab_net.firewall_rules()
    with gateway(lab_net, tmp_path, residual=True) as running:
        ask_to_block(lab_net, socket.AF_INET, b"BLOCK client reset 30;")
        running.process.kill()
        running.process.wait()
    assert "middlebox-residual" in lab_net.firewall_rules()
    with gateway(lab_net, tmp_path) as running:
        assert "middlebox-residual" not in lab_net.firewall_rules()
        running.stop()
    with gateway(lab_net, tmp_path, residual=True) as running:
        assert elements(lab_net) == 0
        running.stop()
    assert lab_net.firewall_rules() == before


@kernel
def test_a_thousand_blocks_take_the_packet_loop_little_time_and_a_refusal_is_counted(lab_net: Network):  # noqa: F811
    def work() -> tuple[float, int, int]:
        sets = Sets()
        sets.open(HookSettings())
        try:
            blocks = [block(bytes([10, 0, n >> 8, n & 255]), SERVER4, TCP, 443) for n in range(1000)]
            begin = time.monotonic()
            sets.add(blocks)
            spent = time.monotonic() - begin
            assert sets.failed == 0
            lab_net.on_gateway("nft", "delete", "table", "inet", "middlebox-residual")
            sets.add(blocks[:1])
            return spent, sets.added, sets.failed
        finally:
            sets.close()

    spent, added, failed = inside(lab_net.gateway, work)
    print(f"1,000 blocks: {spent * 1000:.1f} ms")
    assert (added, failed) == (1001, 1)
    assert spent < 0.2
