"""Single values: what each reads, and exactly what it says about what it does not."""

import base64
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.policy.values import (
    parse_category,
    parse_host,
    parse_network,
    parse_port,
    parse_protocol,
    parse_transport,
    parse_until,
    parse_wireguard_key,
)

KEY = base64.b64encode(bytes(range(32))).decode()
NETWORK = "an address or a network such as 203.0.113.0/24"
HOST = "a host name such as example.org"
PROTOCOL = "a protocol (middlebox protocols lists them)"
UNTIL = "a date such as 2027-01-01, or a date and time"
KEY_FORM = "44 characters of base64 as wg pubkey prints them"


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (parse_network, "203.0.113.7", ip_network("203.0.113.7/32")),
        (parse_network, "203.0.113.0/24", ip_network("203.0.113.0/24")),
        (parse_network, "2001:db8::/32", ip_network("2001:db8::/32")),
        (parse_network, "0.0.0.0/0", ip_network("0.0.0.0/0")),
        (parse_host, "Example.ORG.", "example.org"),
        (parse_host, "bücher.example", "xn--bcher-kva.example"),
        (parse_host, "_dmarc.example.org", "_dmarc.example.org"),
        (parse_host, "org", "org"),
        (parse_port, 0, 0),
        (parse_port, 65535, 65535),
        (parse_transport, "udp", "UDP"),
        (parse_protocol, "wireguard", "wireguard"),
        (parse_protocol, "unknown", "unknown"),
        (parse_category, "vpn", "vpn"),
        (parse_category, "unknown", "unknown"),
        (parse_wireguard_key, KEY, bytes(range(32))),
        (parse_until, date(2027, 1, 1), datetime(2027, 1, 1, 23, 59, 59, tzinfo=UTC).timestamp()),
        (parse_until, "2027-01-01", datetime(2027, 1, 1, 23, 59, 59, tzinfo=UTC).timestamp()),
        (parse_until, "2027-01-01T08:30", datetime(2027, 1, 1, 8, 30, tzinfo=UTC).timestamp()),
        (parse_until, datetime(2027, 1, 1, 8), datetime(2027, 1, 1, 8, tzinfo=UTC).timestamp()),
        (
            parse_until,
            datetime(2027, 1, 1, 8, tzinfo=timezone(timedelta(hours=2))),
            datetime(2027, 1, 1, 6, tzinfo=UTC).timestamp(),
        ),
    ],
)
def test_values_are_read(parse: Callable[[object], object], value: object, expected: object) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (parse_network, "example.org", f'found "example.org", expected {NETWORK}'),
        (parse_network, "", f'found "", expected {NETWORK}'),
        (parse_network, 7, f"found the number 7, expected {NETWORK}"),
        (parse_network, "fe80::1%eth0", f'found "fe80::1%eth0", expected {NETWORK}'),
        (parse_network, "10.0.0.0/255.0.0.0", f'found "10.0.0.0/255.0.0.0", expected {NETWORK}'),
        (parse_network, "203.0.113.0/33", 'found "203.0.113.0/33", expected a prefix length from 0 to 32'),
        (parse_network, "2001:db8::/129", 'found "2001:db8::/129", expected a prefix length from 0 to 128'),
        (
            parse_network,
            "198.51.100.7/24",
            'found "198.51.100.7/24", which has bits set after the prefix; did you mean 198.51.100.0/24?',
        ),
        (parse_host, "https://example.org", f'found "https://example.org", expected {HOST}, without "https://"'),
        (parse_host, "example.org/a", f'found "example.org/a", expected {HOST}, without a path'),
        (parse_host, "example.org:443", f'found "example.org:443", expected {HOST}, without a port'),
        (parse_host, "two words", f'found "two words", expected {HOST}'),
        (parse_host, "a..b", f'found "a..b", expected {HOST}'),
        (parse_host, f"{'a' * 64}.example", f'found "{"a" * 57}...", expected {HOST}'),
        (parse_host, None, f"found nothing, expected {HOST}"),
        (
            parse_host,
            "*.example.org",
            f'found "*.example.org", expected {HOST}; '
            'the operator "domain" takes example.org for itself and every name below it',
        ),
        (parse_port, 65536, "found the number 65536, expected a port number from 0 to 65535"),
        (parse_port, True, "found true, expected a port number from 0 to 65535"),
        (parse_port, "443", 'found "443", expected a port number from 0 to 65535, without quotes'),
        (
            parse_transport,
            "tpc",
            'found "tpc", expected TCP, UDP, ICMP, IPV6-ICMP, ESP, AH or GRE; did you mean "TCP"?',
        ),
        (parse_protocol, "wiregard", f'found "wiregard", expected {PROTOCOL}; did you mean "wireguard"?'),
        (parse_protocol, "vpn", 'found "vpn", which is a category, expected a protocol; "category" takes it'),
        (parse_category, "tor", 'found "tor", which is a protocol, expected a category; "protocol" takes it'),
        (
            parse_category,
            "proxies",
            'found "proxies", expected vpn, proxy, anonymity, tunnel, encrypted-dns, ordinary or unknown; '
            'did you mean "proxy"?',
        ),
        (parse_wireguard_key, "AAAA", f"found a key of 3 bytes, expected 32: {KEY_FORM}"),
        (parse_wireguard_key, "not base64!", f"found 11 characters that are not base64, expected {KEY_FORM}"),
        (parse_wireguard_key, "ä", f"found 1 characters that are not base64, expected {KEY_FORM}"),
        (parse_until, "tomorrow", f'found "tomorrow", expected {UNTIL}'),
        (parse_until, 2027, f"found the number 2027, expected {UNTIL}"),
    ],
)
def test_values_are_refused_with_what_was_found_and_expected(
    parse: Callable[[object], object], value: object, message: str
) -> None:
    with pytest.raises(ValueError, match="found ") as error:
        parse(value)
    assert str(error.value) == message


def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        assert parse_until("1970-01-01T00:00") == 0
        assert parse_until("1970-01-01") == 86399
    time.tzset()


def test_a_wrong_key_is_not_repeated_because_it_may_be_the_private_one() -> None:
    with pytest.raises(ValueError, match="found 43 characters") as error:
        parse_wireguard_key(KEY[:-1])
    assert KEY[:10] not in str(error.value)


@settings(deadline=None)  # other work on the machine is not the parser's fault
@given(
    st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.dates(), st.datetimes()),
    st.sampled_from([parse_network, parse_host, parse_port, parse_protocol, parse_until, parse_wireguard_key]),
)
def test_nothing_but_a_value_error_comes_out(value: object, parse: Callable[[object], object]) -> None:
    try:
        parse(value)
    except ValueError as error:
        assert str(error).startswith("found ")  # noqa: PT017


@pytest.mark.parametrize(
    ("written", "on_the_wire"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),  # IDNA 2003 made it fass.example
        ("BÜCHER。Example.", "xn--bcher-kva.example"),
        ("пример.example", "xn--e1afmkfd.example"),
        ("xn--fa-hia.example", "xn--fa-hia.example"),
    ],
)
def test_names_in_other_scripts_are_what_programs_ask_for(written: str, on_the_wire: str) -> None:
    assert parse_host(written) == on_the_wire


def test_a_name_that_nobody_can_register_is_refused() -> None:
    with pytest.raises(ValueError, match="IDNA 2008 has no such name"):
        parse_host("i❤.example")
