"""TCP inside encrypted datagrams: the order of sizes that tells, and traffic whose sizes do not."""

import pytest

from middlebox.detect.generic_udp_vpn import GenericUdpVpn
from middlebox.evidence import Opinion
from tests.detect.conversations import datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import CARRIED_TCP_SIZES, carried

SIZES = CARRIED_TCP_SIZES


def test_the_handshake_may_come_late() -> None:
    before = (220, -150, 100, -100)
    assert last_evidence(datagrams(GenericUdpVpn(), carried(before + SIZES)))


@pytest.mark.parametrize(
    ("why", "sizes"),
    [
        ("one way", tuple(map(abs, SIZES)) * 2),
        ("no full segment", tuple(max(-400, min(400, size)) for size in SIZES) * 2),
        ("no handshake", SIZES[3:] + SIZES[3:]),
        ("no acknowledgements of one size", tuple(size + at * (-1, 1)[size > 0] for at, size in enumerate(SIZES))),
        ("smaller packets beside them", tuple(-70 if at % 5 == 4 else size for at, size in enumerate(SIZES * 2))),
        ("too short for TCP", tuple(size // 2 for size in SIZES) * 2),
        ("a call of equal packets", (172, -172) * 16),
    ],
)  # fmt: skip
def test_other_sizes_are_nothing(why: str, sizes: tuple[int, ...]) -> None:
    assert last_evidence(datagrams(GenericUdpVpn(), carried(sizes))) is None, why


def test_plain_packets_are_nothing() -> None:
    plain = [(size > 0, bytes(abs(size))) for size in SIZES]
    assert list(datagrams(GenericUdpVpn(), plain)) == [Opinion.NO]


def test_it_gives_up_after_32_packets() -> None:
    answers = list(datagrams(GenericUdpVpn(), carried((200, -300) * 40)))
    assert len(answers) == 32
    assert answers[-1] is Opinion.NO
