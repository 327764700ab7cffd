"""Tunnels in echo messages, and every kind of ping that is none."""

import random
import struct

import pytest

from middlebox.detect.icmp_tunnel import IcmpTunnel
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_overlays import INNER, PING_PAYLOAD, UNREACHABLE, exchange, hans, ping, ptunnel

POSSIBLE, PROBABLE, CONFIRMED = Confidence


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(IcmpTunnel(), messages))


def level(*messages: Message) -> Confidence | None:
    evidence = last_evidence(datagrams(IcmpTunnel(), messages))
    return evidence.confidence if evidence else None


def pings(payloads: list[tuple[bytes, bytes]], version: int = 4) -> list[Message]:
    pairs = [exchange(number, sent, returned, version) for number, (sent, returned) in enumerate(payloads)]
    return [message for pair in pairs for message in pair]


ORDINARY = {
    "linux": [struct.pack("<QQ", n, n) + bytes(range(16, 56)) for n in range(30)],
    "windows": [b"abcdefghijklmnopqrstuvwabcdefghi"] * 30,
    "empty": [b""] * 30,
    "large": [bytes(range(256)) * 5] * 30,
    "sweep of sizes": [bytes(n * 40) for n in range(30)],
    "pattern": [b"\xde\xad\xbe\xef" * 14] * 30,
    "random, another each time": [random.Random(n).randbytes(8 + 30 * n) for n in range(30)],
    "ptunnel's magic as a pattern": [b"\xd5\x20\x08\x80" * 16] * 30,
    "text": [b"How are you today? Ping number %d." % n for n in range(30)],
}


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("version", [4, 6])
def test_a_ping_that_is_returned_is_no_tunnel_whatever_it_says(kind: str, version: int) -> None:
    given = answers(*pings([(payload, payload) for payload in ORDINARY[kind]], version))
    assert not any(isinstance(answer, Evidence) for answer in given)
    assert given[-1] is Opinion.NO


def test_an_ordinary_ping_is_left_alone_after_five_pairs() -> None:
    assert len(answers(*pings([(PING_PAYLOAD, PING_PAYLOAD)] * 30))) == 10


def test_an_unanswered_ping_is_left_alone() -> None:
    assert len(answers(*(CLIENT(ping(n, PING_PAYLOAD)) for n in range(60)))) <= 20


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("cut to 64 bytes", lambda payload: payload[:64]),
        ("cut, and filled with zeros", lambda payload: payload[:64] + bytes(len(payload) - 64)),
        ("a bit flipped", lambda payload: payload[:50] + bytes((payload[50] ^ 1,)) + payload[51:]),
        ("said twice", lambda payload: payload),
    ],
)
def test_replies_that_hosts_and_lines_spoil_are_no_tunnel(why, change) -> None:
    payload = bytes(range(256)) * 2
    assert level(*pings([(payload, change(payload))] * 20)) is None, why


def test_replies_that_come_late_or_twice_are_no_tunnel() -> None:
    requests = [CLIENT(ping(n, noise(60, n))) for n in range(12)]
    replies = [SERVER(ping(n, noise(60, n), reply=True)) for n in range(12)]
    assert level(*requests, *replies, *replies) is None


def test_replies_to_requests_that_nobody_saw_are_no_tunnel() -> None:
    assert level(*(SERVER(ping(n, noise(60, n), reply=True)) for n in range(40))) is None


def test_replies_that_say_something_else_become_certain() -> None:
    said = pings([(noise(30, n), noise(90, n + 100)) for n in range(4)])
    assert level(*said[:2]) is None
    assert level(*said[:4]) is PROBABLE
    assert level(*said) is CONFIRMED
    same_size = pings([(noise(60, n), noise(60, n + 100)) for n in range(4)])
    assert level(*same_size) is CONFIRMED


def test_a_tunnel_whose_host_also_answers_pings_is_seen() -> None:
    said: list[Message] = []
    for number in range(8):
        said += exchange(number, noise(40, number), noise(40, number))
        said.append(SERVER(ping(number, noise(300, number + 50), reply=True)))
    assert level(*said) is CONFIRMED


def test_icmpv6_is_looked_at_in_the_same_way() -> None:
    assert level(*pings([(noise(30, n), noise(90, n + 100)) for n in range(4)], version=6)) is CONFIRMED


def test_ip_packets_in_both_directions_are_a_tunnel_and_an_echo_of_one_is_not() -> None:
    there, back = hans(INNER), hans(INNER[:12] + INNER[16:20] + INNER[12:16] + INNER[20:])
    assert level(*exchange(1, there, back)) is CONFIRMED
    assert level(*pings([(there, there)] * 8)) is PROBABLE
    assert level(*pings([(INNER[:-1], INNER[:-1])] * 8)) is None


@pytest.mark.parametrize("magic", [b"\xd5\x20\x08\x80", b"\xde\xad\xc0\xde"])
def test_ptunnel_is_certain_once_the_server_says_something_of_its_own(magic: bytes) -> None:
    first = ptunnel(1, 0, magic=magic)
    assert level(*exchange(0, first, first)) is PROBABLE
    assert level(*pings([(first, first)] * 9)) is PROBABLE
    own = SERVER(ping(0, ptunnel(2, 0, b"SSH-2.0-x\r\n", magic=magic), reply=True))
    assert level(*exchange(0, first, first), own) is CONFIRMED


def test_ptunnel_magic_with_a_wrong_length_is_none() -> None:
    assert level(CLIENT(ping(0, ptunnel(1, 0, b"12345678")[:-3]))) is None


@pytest.mark.parametrize("message", [UNREACHABLE, b"\x0d\x00" + bytes(18), b"\x87\x00" + bytes(22)])
def test_other_messages_are_rejected_at_once(message: bytes) -> None:
    assert answers(CLIENT(message)) == [Opinion.NO]


def test_memory_of_requests_is_bounded() -> None:
    detector = IcmpTunnel()
    said: list[Message] = []
    for number in range(400):
        said += exchange(number, noise(60, number), noise(61, number))
        said.append(CLIENT(ping(number + 1000, ptunnel(1, number % 7))))
    last_evidence(datagrams(detector, said))
    assert len(detector._requests[True]) <= 16
    assert len(detector._ptunnel) <= 16


def test_replies_that_come_before_their_requests_are_a_tunnel_when_they_say_something_else() -> None:
    said: list[Message] = [*exchange(0, noise(40), noise(40))]
    for number in range(1, 5):
        said.append(SERVER(ping(number, noise(200, number), reply=True)))
    for number in range(1, 5):
        said += exchange(number, noise(40, number), noise(40, number))
    assert level(*said) is CONFIRMED


def test_replies_that_a_capture_shows_before_their_requests_are_no_tunnel() -> None:
    said: list[Message] = [*exchange(0, PING_PAYLOAD, PING_PAYLOAD)]
    for number in range(1, 12):
        said += reversed(exchange(number, noise(60, number), noise(60, number)))
    assert level(*said) is None


def test_replies_that_nobody_asked_for_are_probably_a_tunnel_when_their_sizes_are_new() -> None:
    asked = [*exchange(0, noise(40), noise(40))]
    unasked = [SERVER(ping(number, noise(200, number), reply=True)) for number in range(1, 9)]
    assert level(*asked, *unasked) is PROBABLE
    missed = [SERVER(ping(number, noise(40, number), reply=True)) for number in range(1, 30)]
    assert level(*asked, *missed) is None
