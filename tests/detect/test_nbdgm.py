"""NetBIOS datagrams: both names and the length must fit."""

import pytest

from middlebox.detect.nbdgm import Nbdgm
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, datagrams
from tests.detect.samples_ordinary_udp import NETBIOS_NAME, netbios_datagram


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("another length", netbios_datagram() + b"\x00"),
        ("another type", b"\x16" + netbios_datagram()[1:]),
        (
            "only one name",
            netbios_datagram()[:14] + NETBIOS_NAME + bytes(len(netbios_datagram()) - 14 - len(NETBIOS_NAME)),
        ),
        ("no payload at all", netbios_datagram()[:13]),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Nbdgm(), [CLIENT(first)])) == [Opinion.NO], why
