"""Names of public resolvers."""

import pytest

from middlebox.detect.resolvers import is_resolver


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("dns.google", True),
        ("abc123.dns.nextdns.io", True),
        ("mozilla.cloudflare-dns.com", True),
        ("notcloudflare-dns.com", False),
        ("google", False),
        ("dns.google.example.org", False),
        ("", False),
        (None, False),
    ],
)
def test_a_domain_covers_what_is_below_it_and_nothing_else(name: object, is_one: bool) -> None:
    assert is_resolver(name) == is_one
