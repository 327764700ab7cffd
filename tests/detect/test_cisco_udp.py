"""Cisco's UDP encapsulation: the magic number must come first."""

import pytest

from middlebox.detect.cisco_udp import CiscoUdp
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, datagrams


@pytest.mark.parametrize("first", [b"\xfe\x57\x7e", b"\0\xfe\x57\x7e\x2b", b"\x2b\x7e\x57\xfe"])
def test_anything_else_is_rejected_at_once(first: bytes) -> None:
    assert list(datagrams(CiscoUdp(), [CLIENT(first)])) == [Opinion.NO]
