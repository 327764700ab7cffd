"""WireGuard after STUN: how long it is waited for, and what ends the wait."""

from middlebox.detect.wireguard_late import WireGuardLate
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import STUN, data_both_ways, wireguard_initiation, wireguard_response

HANDSHAKE = (CLIENT(wireguard_initiation()), SERVER(wireguard_response()))


def test_nothing_is_fed_before_stun_is_recognised() -> None:
    assert list(datagrams(WireGuardLate(), HANDSHAKE)) == []


def test_data_without_a_handshake_is_enough() -> None:
    assert last_evidence(datagrams(WireGuardLate(), (*STUN, *data_both_ways(4))))


def test_checks_may_go_on_for_a_while() -> None:
    assert last_evidence(datagrams(WireGuardLate(), STUN * 4 + HANDSHAKE))
    assert last_evidence(datagrams(WireGuardLate(), STUN * 6 + HANDSHAKE)) is None


def test_media_end_the_wait() -> None:
    for first in (b"\x16\xfe\xfd", b"\x80\x60", b"\x40\x01"):
        answers = list(datagrams(WireGuardLate(), (*STUN, CLIENT(first + bytes(40)), *HANDSHAKE)))
        assert answers[-1] is Opinion.NO
        assert last_evidence(answers) is None
