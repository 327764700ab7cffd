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
        ("IMAPS", "tls"), ("SMTPS.Google", "smtp"), ("AVASTSecureDNS", "dnscrypt"), ("lisp-data", "lisp"),
        ("tns", "oracle"), ("WhatsApp", "whatsapp"), ("DNS.WhatsApp", "dns"),
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


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("tpkt", {"rdp", "s7comm"}), ("cotp", {"rdp", "s7comm"}), ("nbss", {"smb", "dcerpc"}),
        ("QUIC.DoH_DoT", {"doh", "dot", "doq"}), ("NetBIOS", {"nbns", "nbdgm", "smb", "dcerpc"}),
    ],
)  # fmt: skip
def test_a_label_of_what_several_have_in_common_accepts_each(label: str, expected: set[str]) -> None:
    assert names_for(label) == expected


def test_proxies_accept_what_their_flows_cannot_be_told_from() -> None:
    assert names_for("Shadowsocks") == {"shadowsocks", "fully-encrypted"}
    assert {"trojan", "tls-in-tls", "vless"} <= (names_for("Trojan") or set())
    assert {"vmess", "fully-encrypted", "tls-in-tls"} <= (names_for("VMess") or set())
    assert "tls" not in (names_for("Trojan") or set())


@pytest.mark.parametrize(
    ("label", "service"),
    [("TLS.CloudflareWarp", "cloudflare-warp"), ("DNS.WhatsApp", "whatsapp"), ("TLS.OperaVPN", "tls-in-tls")],
)
def test_a_host_name_makes_no_protocol_of_its_owner_right(label: str, service: str) -> None:
    found = names_for(label)
    assert found
    assert service not in found


def test_every_name_in_the_tables_exists() -> None:
    tables = (*names._FRAMING.values(), *names._MORE_SPECIFIC.values(), names._MORE_SPECIFIC)
    assert {name for table in tables for name in table} <= set(CATEGORY_OF)
    assert set(names._OURS.values()) <= set(CATEGORY_OF)


def test_no_ordinary_label_makes_a_vpn_or_proxy_right() -> None:
    for label, ours in names._OURS.items():
        if CATEGORY_OF[ours] == "ordinary" and ours != "ssh":
            categories = {CATEGORY_OF[name] for name in names_for(label) or ()}
            assert categories <= {"ordinary", "encrypted-dns"}, label
    for label in names._FRAMING:
        assert {CATEGORY_OF[name] for name in names_for(label) or ()} <= {"ordinary", "encrypted-dns"}, label


@pytest.mark.parametrize(("label", "says"), [("TLS.NordVPN", True), ("OpenVPN.NordVPN", False), ("TLS.Google", False)])
def test_a_host_name_of_a_provider_is_no_vpn(label: str, says: bool) -> None:
    assert names_a_provider_only(label) is says
