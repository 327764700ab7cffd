"""The table of names: complete, spelled once, with a category each."""

import pytest

from middlebox.detect import DETECTORS
from middlebox.protocols import CARRIERS, CATEGORIES, CATEGORY_OF


def test_the_categories_are_the_promised_ones() -> None:
    assert CATEGORIES == ("vpn", "proxy", "anonymity", "tunnel", "encrypted-dns", "ordinary", "unknown")
    assert set(CATEGORY_OF.values()) == set(CATEGORIES)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("openvpn", "vpn"), ("wireguard", "vpn"), ("ipsec", "vpn"), ("shadowsocks", "proxy"), ("tor", "anonymity"),
        ("ssh-tunnel", "tunnel"), ("doh", "encrypted-dns"), ("tls", "ordinary"), ("quic", "ordinary"),
        ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_names_have_their_category(name: str, category: str) -> None:
    assert CATEGORY_OF[name] == category


def test_no_name_stands_in_two_categories() -> None:
    from middlebox import protocols

    names = [name for names in protocols._CATEGORIES.values() for name in names.split()]
    assert len(names) == len(set(names)) == len(CATEGORY_OF)


def test_names_are_lower_case_words() -> None:
    for name in CATEGORY_OF:
        assert name == name.lower()
        assert name.replace("-", "").isalnum()


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATEGORY_OF["mine"] = "vpn"  # type: ignore[index]


def test_carriers_are_known_and_not_what_they_carry() -> None:
    for name in CARRIERS:
        assert CATEGORY_OF[name] == "ordinary" or name == "gre"


def test_every_detector_reports_only_known_names() -> None:
    for detector in DETECTORS:
        assert set(detector.protocols) <= set(CATEGORY_OF), detector.name
