"""Control messages of L2TP: bounded reading, and numbers of either version."""

import pytest

from middlebox.detect.l2tp_message import Control, Exchange, parse_control
from tests.detect.samples_classic_vpn import L2TP_REQUEST, L2TPV3_REPLY, attribute, l2tp_control


def test_numbers_of_both_versions_are_found() -> None:
    assert parse_control(L2TP_REQUEST, len(L2TP_REQUEST)) == Control(2, 0, 1, 0x2B27)
    assert parse_control(L2TPV3_REPLY, len(L2TPV3_REPLY)) == Control(3, 0x2B27, 2, 0x45B7)


def test_hidden_and_foreign_attributes_are_stepped_over() -> None:
    hidden = b"\xc0\x08\0\0\0\x24ab"
    message = l2tp_control(0, 1, hidden, attribute(9, b"\0\7"))
    assert parse_control(message, len(message)) == Control(2, 0, 1, 7)


@pytest.mark.parametrize("wrong", [b"\x80\x00\0\0\0\7", b"\x80\x05\0\0\0\7", b"\xbc\x06\0\0\0\7", b"\x83\xff\0\0\0\7"])
def test_attributes_that_do_not_fit_are_refused(wrong: bytes) -> None:
    message = l2tp_control(0, 1, wrong)
    assert parse_control(message, len(message)) is None


def test_a_thousand_attributes_are_not_all_read() -> None:
    message = l2tp_control(0, 1, *[attribute(7, b"")] * 1000, attribute(9, b"\0\7"))
    assert parse_control(message, len(message)) == Control(2, 0, 1, 0)


def test_numbers_assigned_long_ago_are_forgotten() -> None:
    exchange = Exchange()
    for number in range(1, 7):
        assert not exchange.add(Control(2, 0, 1, number), from_client=True)
    assert exchange.add(Control(2, 6, 2, 0), from_client=False)
    assert not exchange.add(Control(2, 2, 2, 0), from_client=False)
