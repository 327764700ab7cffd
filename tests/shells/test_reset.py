"""The bytes of resets and refusals. That they work on live connections is shown in test_nfqueue."""

import gc
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Raw

from middlebox.shells import reset
from middlebox.shells.reset import Carrier, ResetSender, refusal_toward_sender, reset_toward_receiver
from middlebox.verdict import Verdict

IP4 = IP(src="192.0.2.2", dst="198.51.100.2")
IP6 = IPv6(src="2001:db8:1::2", dst="2001:db8:2::2")
HEADERS = [pytest.param(IP4, id="IPv4"), pytest.param(IP6, id="IPv6")]
DATA = TCP(sport=40000, dport=443, seq=1000, ack=2000, flags="PA", window=502) / Raw(b"x" * 100)


def parse(message: reset.Message):
    """The crafted packet, its checksums checked by building it again without them."""
    layer = IP if message.carrier is Carrier.IPV4 else IPv6
    packet = layer(message.data)
    again = layer(message.data)
    del again[TCP].chksum
    if layer is IP:
        del again.chksum
    assert bytes(again) == message.data, "the checksum is wrong"
    return packet


@pytest.mark.parametrize("header", HEADERS)
def test_receiver_gets_a_reset_from_the_sender_at_the_packets_own_number(header):
    message = reset_toward_receiver(bytes(header / DATA))
    assert message.destination == header.dst
    packet = parse(message)
    assert (packet.src, packet.dst) == (header.src, header.dst)
    segment = packet[TCP]
    assert (segment.sport, segment.dport) == (40000, 443)
    assert (segment.seq, segment.ack, segment.flags) == (1000, 2000, "RA")
    assert len(segment.payload) == 0


@pytest.mark.parametrize("header", HEADERS)
def test_sender_gets_a_reset_at_the_number_it_waits_for(header):
    message = refusal_toward_sender(bytes(header / DATA))
    assert message.destination == header.src
    packet = parse(message)
    assert (packet.src, packet.dst) == (header.dst, header.src)
    segment = packet[TCP]
    assert (segment.sport, segment.dport) == (443, 40000)
    assert (segment.seq, segment.flags) == (2000, "R")


@pytest.mark.parametrize("header", HEADERS)
def test_opening_syn_is_refused_to_its_sender_and_nothing_is_told_its_receiver(header):
    raw = bytes(header / TCP(sport=40000, dport=443, seq=0xFFFFFFFF, flags="S"))
    assert reset_toward_receiver(raw) is None
    segment = parse(refusal_toward_sender(raw))[TCP]
    assert (segment.seq, segment.ack, segment.flags) == (0, 0, "RA")


def test_syn_ack_resets_the_client_that_waits_for_it():
    raw = bytes(IP4 / TCP(sport=443, dport=40000, seq=500, ack=1001, flags="SA"))
    segment = parse(reset_toward_receiver(raw))[TCP]
    assert (segment.seq, segment.ack, segment.flags) == (500, 1001, "RA")


@pytest.mark.parametrize("craft", [reset_toward_receiver, refusal_toward_sender])
def test_a_reset_is_not_answered_by_a_reset(craft):
    assert craft(bytes(IP4 / TCP(flags="RA"))) is None


def test_reset_finds_tcp_behind_ipv6_extension_headers():
    segment = parse(reset_toward_receiver(bytes(IP6 / IPv6ExtHdrDestOpt() / DATA)))[TCP]
    assert (segment.seq, segment.sport) == (1000, 40000)


def test_offloaded_packet_of_which_only_a_part_was_copied_is_reset():
    raw = bytes(IP4 / DATA)
    long = raw[:2] + (60000).to_bytes(2, "big") + raw[4:]
    assert parse(reset_toward_receiver(long))[TCP].seq == 1000


def test_udp_sender_is_told_by_icmp_what_was_prohibited():
    raw = bytes(IP4 / UDP(sport=40000, dport=1194) / Raw(b"y" * 1000))
    message = refusal_toward_sender(raw)
    assert (message.carrier, message.destination) == (Carrier.ICMP, "192.0.2.2")
    error = ICMP(message.data)
    assert (error.type, error.code) == (3, 13)
    del error.chksum
    assert bytes(error) == message.data, "the checksum is wrong"
    assert message.data[8:] == raw[:548]
    assert len(message.data) + 20 <= 576
    odd = refusal_toward_sender(bytes(IP4 / UDP(sport=40000, dport=1194) / Raw(b"odd"))).data
    assert sum(struct.unpack(f"!{len(odd) // 2 + 1}H", odd + b"\0")) % 0xFFFF == 0, "the checksum is wrong"

    raw = bytes(IP6 / UDP(sport=40000, dport=1194) / Raw(b"y" * 2000))
    message = refusal_toward_sender(raw)
    assert (message.carrier, message.destination) == (Carrier.ICMPV6, "2001:db8:1::2")
    error = ICMPv6DestUnreach(message.data)
    assert (error.type, error.code) == (1, 1)
    assert message.data[8:] == raw[:1232]
    assert reset_toward_receiver(raw) is None


@pytest.mark.parametrize(
    "packet",
    [
        IP4 / ICMP(type=3, code=1) / Raw(bytes(28)),
        IP6 / ICMPv6EchoRequest(),
        IP(src="192.0.2.2", dst="224.0.0.251") / UDP(),
        IP(src="192.0.2.2", dst="255.255.255.255") / UDP(),
        IPv6(src="2001:db8::1", dst="ff02::fb") / UDP(),
    ],
    ids=["ICMP error", "ping", "multicast", "broadcast", "IPv6 multicast"],
)
def test_what_must_not_be_answered_by_an_error_is_not(packet):
    assert refusal_toward_sender(bytes(packet)) is None


def test_crafting_leaves_nothing_that_only_the_garbage_collector_could_free():
    """The gateway switches the collector off."""
    datagram = UDP(sport=40000, dport=1194) / Raw(b"y" * 1000)
    packets = [bytes(header / transport) for header in (IP4, IP6) for transport in (DATA, datagram)]
    gc.collect()
    gc.disable()
    try:
        for raw in packets * 25:
            reset_toward_receiver(raw)
            refusal_toward_sender(raw)
        assert gc.collect() < 100, "a reset that leaves one object behind leaves 100"
    finally:
        gc.enable()


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_ignored_without_an_exception(raw):
    reset_toward_receiver(raw)
    refusal_toward_sender(raw)


def test_every_prefix_of_a_packet_is_refused_or_ignored_without_an_exception():
    for header in (IP4, IP6):
        raw = bytes(header / DATA)
        for length in range(len(raw)):
            reset_toward_receiver(raw[:length])
            refusal_toward_sender(raw[:length])


def test_failure_to_send_is_counted_and_does_not_raise(monkeypatch):
    def refuse(*_: object) -> socket.socket:
        raise PermissionError("not allowed here")

    monkeypatch.setattr(reset.socket, "socket", refuse)
    sender = ResetSender()
    sender.refuse(bytes(IP4 / DATA), Verdict.RESET, False)
    sender.refuse(bytes(IP4 / DATA), Verdict.REJECT, True)
    assert (sender.sent, sender.failed) == (0, 2)
