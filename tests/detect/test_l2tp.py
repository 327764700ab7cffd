"""L2TP over UDP: numbers that were assigned, data with PPP, and what only begins like it."""

import struct

import pytest

from middlebox.detect.l2tp import L2tp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_classic_vpn import (
    L2TP_REPLY,
    L2TP_REQUEST,
    L2TPV3_REQUEST,
    PPP_LCP,
    attribute,
    ip4,
    l2tp_control,
    l2tp_data,
)

PPP_IP = b"\xff\x03\x00\x21" + ip4()


def finding(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(L2tp(), messages))


def level(*messages: Message) -> Confidence | None:
    evidence = finding(*messages)
    return evidence.confidence if evidence else None


def test_an_acknowledgment_without_content_links_too() -> None:
    assert level(CLIENT(L2TP_REQUEST), SERVER(l2tp_control(0x2B27, 0))) is Confidence.CONFIRMED


def test_a_reply_to_another_tunnel_or_to_none_confirms_nothing() -> None:
    for tunnel in (0, 0x2B28):
        answer = l2tp_control(tunnel, 2, attribute(9, b"\x45\xb7"))
        assert level(CLIENT(L2TP_REQUEST), SERVER(answer)) is Confidence.PROBABLE


def test_a_reply_from_the_same_side_confirms_nothing() -> None:
    assert level(CLIENT(L2TP_REQUEST), CLIENT(L2TP_REPLY)) is Confidence.PROBABLE


@pytest.mark.parametrize(
    "first",
    [
        L2TP_REQUEST[:-1],
        L2TP_REQUEST + b"\0",
        b"\xc8\x04" + L2TP_REQUEST[2:],
        b"\xc8\x03\x00\x0c" + bytes(8) + bytes(100),
        l2tp_control(0, 1)[:12] + attribute(9, b"\0\1"),
        l2tp_control(0, 99),
        b"\xc8\x02\x00\x0c" + bytes(8),
        l2tp_data(5, 6, b"\xff\x03\x00\x21" + ip4()[:-1]),
        l2tp_data(0, 6, PPP_IP),
        l2tp_data(5, 6, b"random bytes"),
        b"\x00\x02",
    ],
)
def test_other_first_datagrams_give_nothing(first: bytes) -> None:
    assert finding(CLIENT(first)) is None


@pytest.mark.parametrize(
    "packet",
    [
        l2tp_data(5, 6, PPP_IP),
        l2tp_data(5, 6, b"\x21" + ip4()),
        struct.pack("!HHHH", 0x4002, 8 + len(PPP_IP), 5, 6) + PPP_IP,
        struct.pack("!HHHHH", 0x0802, 5, 6, 1, 1) + PPP_IP,
        struct.pack("!HHHH", 0x0202, 5, 6, 2) + bytes(2) + PPP_IP,
    ],
)
def test_data_is_read_with_any_options_and_unwrapped(packet: bytes) -> None:
    assert L2tp().unwrap(packet) == ip4()
    assert level(CLIENT(packet), SERVER(l2tp_data(7, 8, PPP_LCP))) is Confidence.CONFIRMED


def test_data_one_way_is_probable_at_most() -> None:
    packets = [CLIENT(l2tp_data(5, 6, PPP_IP))] * 20
    assert level(*packets[:2]) is None
    assert level(*packets) is Confidence.PROBABLE


def test_nothing_is_unwrapped_from_other_messages() -> None:
    for data in (L2TP_REQUEST, l2tp_data(5, 6, PPP_LCP), l2tp_data(5, 6, b"\xff"), b"\0\2", b""):
        assert L2tp().unwrap(data) == b""


def test_the_version_is_told_and_strangers_end_it() -> None:
    evidence = finding(CLIENT(L2TPV3_REQUEST))
    assert evidence
    assert evidence.facts == {"l2tp.version": 3}
    assert list(datagrams(L2tp(), [CLIENT(L2TP_REQUEST), *[SERVER(b"\xff\xff\xff")] * 5]))[-1] is Opinion.NO
