"""Tailscale: keys each way, and WireGuard between."""

import pytest

from middlebox.detect.tailscale import Tailscale
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import DISCO, disco, noise, wireguard_data


def test_wireguard_between_is_waited_through() -> None:
    between = [CLIENT(wireguard_data(7, n)) for n in range(16)]
    evidence = last_evidence(datagrams(Tailscale(), [DISCO[0], *between, DISCO[1]]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    too_many = list(datagrams(Tailscale(), [DISCO[0], *between, *between[:1], DISCO[1]]))
    assert too_many[-1] is Opinion.NO


def test_one_key_both_ways_is_an_echo() -> None:
    key = noise(32, 3)
    evidence = last_evidence(datagrams(Tailscale(), [CLIENT(disco(key)), SERVER(disco(key))]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize("first", [b"TS\xf0\x9f\x92\xad" + noise(80), disco(noise(32))[:61], wireguard_data(7, 0)])
def test_anything_else_first_is_rejected(first: bytes) -> None:
    assert list(datagrams(Tailscale(), [CLIENT(first)])) == [Opinion.NO]
