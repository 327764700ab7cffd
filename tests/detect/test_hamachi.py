"""Hamachi: what is known of it, and messages that differ in one field."""

import struct

import pytest

from middlebox.detect.hamachi import Hamachi
from middlebox.evidence import Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.samples_classic_vpn import HAMACHI_OPENING, HAMACHI_TCP, hamachi_data

OPENED = (CLIENT(HAMACHI_OPENING), SERVER(HAMACHI_OPENING))


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Hamachi(), messages))


@pytest.mark.parametrize(
    "second",
    [hamachi_data(1, 2), hamachi_data(0x01020304, 1), hamachi_data(0x01020304, 0x10000), hamachi_data(0, 2)[:40]],
)
def test_data_that_does_not_continue_is_none(second: bytes) -> None:
    first = CLIENT(hamachi_data(0x01020304, 1))
    assert udp(*OPENED, first, CLIENT(hamachi_data(0x01020304, 2)))
    assert udp(*OPENED, first, CLIENT(second)) is None


def test_both_peers_must_open() -> None:
    data = [CLIENT(hamachi_data(0x01020304, number)) for number in range(1, 9)]
    assert udp(OPENED[0], *data) is None
    assert udp(*data) is None


@pytest.mark.parametrize(
    "first",
    [
        HAMACHI_TCP.replace(b"\x7b\x7a", b"\x7b\x7b"),
        struct.pack("!I", 100) + HAMACHI_TCP[4:],
        struct.pack("!I", 60_000) + HAMACHI_TCP[4:],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_other_first_messages_are_rejected_at_once(first: bytes) -> None:
    assert list(stream(Hamachi(), [CLIENT(first)])) == [Opinion.NO]
