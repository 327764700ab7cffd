"""AH: the packet inside, in tunnel mode only."""

import pytest

from middlebox.detect.ah import Ah
from tests.detect.samples_classic_vpn import ah, ip4


def test_tunnel_mode_carries_a_packet_in_clear() -> None:
    assert Ah().unwrap(ah(300, 1, ip4(b"12345678"))) == ip4(b"12345678")


@pytest.mark.parametrize("packet", [ah(300, 1, b"tcp segment", next_header=6), b"", b"\4\xff\0\0" + bytes(20)])
def test_nothing_else_does(packet: bytes) -> None:
    assert Ah().unwrap(packet) == b""
