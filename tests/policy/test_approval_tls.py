"""TLS approvals, validity in time, and what `explain` says."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest

from middlebox.detect.base import Detector
from middlebox.detect.tls import Tls
from middlebox.evidence import Confidence, Proof
from middlebox.policy.approval import Approvals
from middlebox.policy.rule import Approval

CERTIFICATE = bytes(range(32))
HERE = ip_network("203.0.113.40/32")
BY_CERTIFICATE = Approval("vpn", "openconnect", server_name="vpn.example.org", certificate=CERTIFICATE)
BY_ADDRESS = Approval("vpn", "openconnect", server_name="vpn.example.org", server=(HERE,))
BY_BOTH = replace(BY_CERTIFICATE, server=(HERE,))
NAME = {"tls.sni": "vpn.example.org"}
SHOWN = {**NAME, "tls.certificate_sha256": CERTIFICATE.hex()}
OTHER = {**NAME, "tls.certificate_sha256": "00" * 32}
DAY = 86_400.0


@dataclass
class Tunnel:
    """A confirmed AnyConnect tunnel."""

    facts: dict[str, object]
    server: bytes = ip_address("203.0.113.40").packed
    client: bytes = ip_address("192.0.2.10").packed
    protocol: str = "openconnect"
    confidence: Confidence | None = Confidence.CONFIRMED
    proofs: list[Proof] = field(default_factory=list)
    key: bytes = b"flow"
    pending: tuple[type[Detector], ...] = ()


ELSEWHERE = ip_address("203.0.113.41").packed


@pytest.mark.parametrize(
    ("approval", "tunnel", "sentence"),
    [
        (BY_CERTIFICATE, Tunnel(SHOWN), None),
        (BY_CERTIFICATE, Tunnel(SHOWN, server=ELSEWHERE), None),
        (BY_CERTIFICATE, Tunnel({**SHOWN, "tls.sni": "VPN.Example.org"}), None),
        (
            BY_CERTIFICATE,
            Tunnel(OTHER),
            f"vpn is for another certificate than the server's, which has the SHA-256 {'00' * 32}",
        ),
        (
            BY_CERTIFICATE,
            Tunnel(NAME),
            "vpn asks for a certificate, which this flow does not show (TLS 1.3 hides it); add the server's address",
        ),
        (
            BY_CERTIFICATE,
            Tunnel({**SHOWN, "tls.sni": "www.example.org"}),
            "vpn is for the server name vpn.example.org, and this flow asks for www.example.org",
        ),
        (
            BY_CERTIFICATE,
            Tunnel({}),
            "vpn is for the server name vpn.example.org, and this flow shows no server name",
        ),
        (BY_ADDRESS, Tunnel(NAME), None),
        (
            BY_ADDRESS,
            Tunnel(NAME, server=ELSEWHERE),
            "vpn is for the server 203.0.113.40, and this flow goes to 203.0.113.41",
        ),
        (BY_BOTH, Tunnel(SHOWN), None),
        (BY_BOTH, Tunnel(NAME), None),
        (
            BY_BOTH,
            Tunnel(OTHER),
            f"vpn is for another certificate than the server's, which has the SHA-256 {'00' * 32}",
        ),
        (
            BY_BOTH,
            Tunnel(NAME, pending=(Tls,)),
            "vpn asks for a certificate, which the server has not shown yet",
        ),
        (
            BY_BOTH,
            Tunnel(SHOWN, confidence=Confidence.PROBABLE),
            "vpn needs the protocol to be confirmed, and openconnect is probable so far",
        ),
    ],
)
def test_name_certificate_and_address(approval: Approval, tunnel: Tunnel, sentence: str | None) -> None:
    approvals = Approvals([approval])
    assert approvals.covering(tunnel, 0.0) == (None if sentence else "vpn")
    assert [miss.sentence for miss in approvals.explain(tunnel, 0.0)] == ([sentence] if sentence else [])


def test_an_approval_holds_from_its_first_to_the_end_of_its_last_second() -> None:
    approval = replace(BY_ADDRESS, begins=1 * DAY, until=3 * DAY - 1)
    approvals, tunnel = Approvals([approval]), Tunnel(NAME)
    covered = {at: approvals.covering(tunnel, at) is not None for at in (DAY - 0.1, DAY, 3 * DAY - 0.1, 3 * DAY)}
    assert covered == {DAY - 0.1: False, DAY: True, 3 * DAY - 0.1: True, 3 * DAY: False}
    assert approvals.explain(tunnel, 0.0)[0].sentence == "vpn begins on 1970-01-02"
    assert approvals.explain(tunnel, 3 * DAY)[0].sentence == "vpn expired on 1970-01-03"
    odd = Approvals([replace(approval, until=2 * DAY + 3600)])
    assert odd.explain(tunnel, 9 * DAY)[0].sentence == "vpn expired on 1970-01-03 at 01:00:00 UTC"


def test_edges_are_the_times_at_which_something_changes() -> None:
    approvals = [
        replace(BY_ADDRESS, begins=2 * DAY, until=3 * DAY - 1),
        replace(BY_BOTH, protocol="sstp", begins=3 * DAY),
        Approval("other", "ipsec", server=(HERE,), until=DAY),
    ]
    assert Approvals(approvals).edges() == (DAY + 1, 2 * DAY, 3 * DAY)
    assert Approvals([BY_ADDRESS]).edges() == ()


def test_explain_speaks_of_every_approval_of_the_protocol_and_of_no_other() -> None:
    approvals = Approvals(
        [replace(BY_ADDRESS, name="old", until=0.0), replace(BY_BOTH, protocol="sstp"), BY_CERTIFICATE]
    )
    assert [(miss.approval, miss.reason.value) for miss in approvals.explain(Tunnel(NAME), DAY)] == [
        ("old", "expired"),
        ("vpn", "certificate_hidden"),
    ]
