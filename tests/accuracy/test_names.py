"""Other programs' names in ours."""

import pytest

from middlebox.accuracy import names
from middlebox.accuracy.names import names_a_provider_only, names_for
from middlebox.protocols import CATEGORY_OF


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("isakmp", "ipsec"), ("wg", "wireguard"), ("TLS.Google", "tls"), ("DNS.Apple", "dns"), ("QUIC.YouTube", "quic"),
        ("TLS.DNScrypt", "dnscrypt"), ("OpenVPN.NordVPN", "openvpn"), ("pgsql", "postgresql"), ("TINC", "tinc"),
    ],
)  # fmt: skip
def test_a_known_label_has_a_name(label: str, expected: str) -> None:
    found = names_for(label)
    assert found is not None
    assert expected in found


@pytest.mark.parametrize("label", ["Google", "unknown", "EAQ", ""])
def test_a_label_that_says_too_little_has_none(label: str) -> None:
    assert names_for(label) is None


def test_a_more_specific_name_is_right_too() -> None:
    assert names_for("stun") == {"stun", "turn", "rtp", "rtcp", "dtls"}


def test_no_ordinary_label_makes_a_vpn_or_proxy_right() -> None:
    for label, ours in names._OURS.items():
        if CATEGORY_OF[ours] == "ordinary" and ours != "ssh":
            categories = {CATEGORY_OF[name] for name in names_for(label) or ()}
            assert categories <= {"ordinary", "encrypted-dns"}, label


@pytest.mark.parametrize(("label", "says"), [("TLS.NordVPN", True), ("OpenVPN.NordVPN", False), ("TLS.Google", False)])
def test_a_host_name_of_a_provider_is_no_vpn(label: str, says: bool) -> None:
    assert names_a_provider_only(label) is says
