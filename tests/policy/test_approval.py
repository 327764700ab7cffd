"""Approvals: the key decides where there is one, the address where there is none, both where both are given."""

import hashlib
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest

from middlebox.detect.base import Detector
from middlebox.evidence import Confidence, Proof
from middlebox.policy.approval import Approvals
from middlebox.policy.rule import Approval

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def initiation(public_key: bytes, filler: int = 0) -> bytes:
    """A WireGuard handshake initiation for the holder of `public_key` (whitepaper section 5.4.2 and 5.4.4).

    Only the type and mac1 are real: nothing else can be checked by who has no private key.
    """
    message = b"\x01\0\0\0" + bytes((filler,)) * 112
    assert len(message) == 116
    key = hashlib.blake2s(b"mac1----" + public_key).digest()
    return message + hashlib.blake2s(message, key=key, digest_size=16).digest() + bytes(16)


def proof(message: bytes, *, protocol: str = "wireguard", kind: str = "initiation") -> Proof:
    return Proof(protocol, kind, message, answered=True)


@dataclass
class Tunnel:
    """What an approval looks at: a confirmed WireGuard flow, unless told otherwise."""

    protocol: str = "wireguard"
    confidence: Confidence | None = Confidence.CONFIRMED
    client: bytes = ip_address("192.0.2.10").packed
    server: bytes = ip_address("203.0.113.40").packed
    proofs: list[Proof] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    key: bytes = b"flow"
    pending: tuple[type[Detector], ...] = ()


HQ = Approval("hq", "wireguard", public_keys=(KEY,))
PARTNER = Approval("partner", "ipsec", server=(ip_network("203.0.113.40/32"),))
BOTH = Approval("both", "wireguard", public_keys=(KEY,), server=(ip_network("203.0.113.40/32"),))


def test_the_initiation_is_what_wireguard_sends() -> None:
    assert len(initiation(KEY)) == 148


def test_an_initiation_for_the_approved_key_is_covered() -> None:
    assert Approvals([HQ]).covering(Tunnel(proofs=[proof(initiation(KEY))]), 0.0) == "hq"


def test_an_initiation_for_another_key_is_not_covered() -> None:
    assert Approvals([HQ]).covering(Tunnel(proofs=[proof(initiation(OTHER_KEY))]), 0.0) is None


def test_without_an_initiation_nothing_is_covered() -> None:
    assert Approvals([HQ]).covering(Tunnel(), 0.0) is None


@pytest.mark.parametrize("position", [0, 50, 115, 116, 131])
def test_one_changed_byte_under_mac1_is_not_covered(position: int) -> None:
    message = bytearray(initiation(KEY))
    message[position] ^= 1
    assert Approvals([HQ]).covering(Tunnel(proofs=[proof(bytes(message))]), 0.0) is None


def test_mac2_does_not_matter() -> None:
    message = initiation(KEY)[:132] + b"\xff" * 16
    assert Approvals([HQ]).covering(Tunnel(proofs=[proof(message)]), 0.0) == "hq"


@pytest.mark.parametrize("length", [0, 1, 115, 116, 117, 131])
def test_an_initiation_cut_short_is_not_covered(length: int) -> None:
    assert Approvals([HQ]).covering(Tunnel(proofs=[proof(initiation(KEY)[:length])]), 0.0) is None


@pytest.mark.parametrize(("protocol", "kind"), [("openvpn", "initiation"), ("wireguard", "response")])
def test_other_messages_prove_nothing(protocol: str, kind: str) -> None:
    tunnel = Tunnel(proofs=[proof(initiation(KEY), protocol=protocol, kind=kind)])
    assert Approvals([HQ]).covering(tunnel, 0.0) is None


@pytest.mark.parametrize("confidence", [None, Confidence.POSSIBLE, Confidence.PROBABLE])
def test_nothing_is_approved_before_it_is_confirmed(confidence: Confidence | None) -> None:
    tunnel = Tunnel(confidence=confidence, proofs=[proof(initiation(KEY))])
    assert Approvals([HQ]).covering(tunnel, 0.0) is None
    assert Approvals([PARTNER]).covering(Tunnel("ipsec", confidence), 0.0) is None


def test_a_proof_of_one_protocol_does_not_cover_another() -> None:
    assert Approvals([HQ]).covering(Tunnel(protocol="openvpn", proofs=[proof(initiation(KEY))]), 0.0) is None


def test_the_address_covers_where_there_is_no_key() -> None:
    assert Approvals([PARTNER]).covering(Tunnel("ipsec"), 0.0) == "partner"
    assert Approvals([PARTNER]).covering(Tunnel("ipsec", server=ip_address("203.0.113.41").packed), 0.0) is None


def test_an_ipv6_server_is_not_in_an_ipv4_network() -> None:
    assert Approvals([PARTNER]).covering(Tunnel("ipsec", server=ip_address("2001:db8::1").packed), 0.0) is None


def test_an_approval_with_key_and_address_asks_for_both() -> None:
    elsewhere = ip_address("203.0.113.41").packed
    approvals = Approvals([BOTH])
    assert approvals.covering(Tunnel(proofs=[proof(initiation(KEY))]), 0.0) == "both"
    assert approvals.covering(Tunnel(proofs=[proof(initiation(KEY))], server=elsewhere), 0.0) is None
    assert approvals.covering(Tunnel(proofs=[proof(initiation(OTHER_KEY))]), 0.0) is None
    assert approvals.covering(Tunnel(), 0.0) is None


def test_an_approval_ends_after_its_last_second() -> None:
    approvals = Approvals([Approval("hq", "wireguard", public_keys=(KEY,), until=100.0)])
    tunnel = Tunnel(proofs=[proof(initiation(KEY))])
    assert approvals.covering(tunnel, 100.0) == "hq"
    assert approvals.covering(tunnel, 101.0) is None


def test_the_first_approval_that_covers_gives_its_name() -> None:
    expired = Approval("old", "wireguard", public_keys=(KEY,), until=-1.0)
    tunnel = Tunnel(proofs=[proof(initiation(KEY))])
    assert Approvals([expired, PARTNER, HQ, BOTH]).covering(tunnel, 0.0) == "hq"


def test_protocols_lists_what_can_be_approved() -> None:
    assert Approvals([HQ, BOTH, PARTNER]).protocols == {"wireguard", "ipsec"}
    assert Approvals([]).protocols == frozenset()


def test_an_initiation_that_nobody_answered_proves_nothing_but_promises_something() -> None:
    unanswered = Proof("wireguard", "initiation", initiation(KEY))
    tunnel = Tunnel(proofs=[unanswered])
    assert Approvals([HQ]).covering(tunnel, 0.0) is None
    assert Approvals([HQ]).promised(tunnel, unanswered, 0.0) == "hq"
    assert Approvals([HQ]).promised(tunnel, Proof("wireguard", "initiation", initiation(OTHER_KEY)), 0.0) is None


def test_an_approval_by_address_alone_promises_nothing() -> None:
    by_address = Approval("partner", "wireguard", server=(ip_network("203.0.113.40/32"),))
    assert Approvals([by_address]).promised(Tunnel(), Proof("wireguard", "initiation", initiation(KEY)), 0.0) is None


def test_an_approved_server_may_be_the_first_to_speak() -> None:
    tunnel = Tunnel(client=ip_address("203.0.113.40").packed, server=ip_address("192.0.2.10").packed)
    tunnel.protocol = "ipsec"
    assert Approvals([PARTNER]).covering(tunnel, 0.0) == "partner"


def test_one_of_several_keys_will_do() -> None:
    several = Approval("hq", "wireguard", public_keys=(OTHER_KEY, KEY))
    assert Approvals([several]).covering(Tunnel(proofs=[proof(initiation(KEY))]), 0.0) == "hq"
    assert Approvals([several]).covering(Tunnel(proofs=[proof(initiation(bytes(32)))]), 0.0) is None


def test_a_recorded_initiation_proves_nothing_for_another_flow() -> None:
    approvals, recorded = Approvals([HQ]), proof(initiation(KEY))
    assert approvals.covering(Tunnel(proofs=[recorded]), 0.0) == "hq"
    other = Tunnel(proofs=[recorded], key=b"other")
    assert approvals.covering(other, 0.0) is None
    assert approvals.promised(other, recorded, 0.0) is None
    assert approvals.explain(other, 0.0)[0].sentence == (
        "hq fits a handshake that was seen before in another flow: a recording of it"
    )
    other.proofs.append(proof(initiation(KEY, filler=1)))
    assert approvals.covering(other, 0.0) == "hq", "a message of its own"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("middlebox.policy.approval.MAX_ACCEPTED", 2)
    approvals = Approvals([HQ])
    messages = [proof(initiation(KEY, filler=number)) for number in range(3)]
    for number, message in enumerate(messages):
        assert approvals.covering(Tunnel(proofs=[message], key=bytes((number,))), 0.0) == "hq"
    stranger = b"stranger"
    assert [approvals.covering(Tunnel(proofs=[message], key=stranger), 0.0) for message in reversed(messages)] == [
        None, None, "hq",
    ]  # fmt: skip
