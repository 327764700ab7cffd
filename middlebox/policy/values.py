"""Single values of a policy: text to a typed value, or a ValueError that says what is wrong with it.

Rule of this file: a value is read in exactly one way wherever it stands, in an approval, a condition or a list.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from zoneinfo import ZoneInfo, available_timezones

import idna

from middlebox.policy.problem import described, listed, quoted, suggestion
from middlebox.policy.rule import DnsAnswer, Network
from middlebox.protocols import CATEGORIES, CATEGORY_OF

TRANSPORTS = ("TCP", "UDP", "ICMP", "IPV6-ICMP", "ESP", "AH", "GRE")
"Transports as events spell them."

MAX_PORT = 65535
MAX_ASN = 2**32 - 1
"Numbers of autonomous systems have 32 bits (RFC 6793)."
MAX_HOST_LENGTH = 253
"Characters of a host name (RFC 1035 section 2.3.4: 255 octets on the wire)."
MAX_LABEL_LENGTH = 63
"Characters between two dots of a host name (RFC 1035 section 2.3.4)."
WIREGUARD_KEY_BYTES = 32
"A Curve25519 public key (WireGuard paper, section 5.4)."
CERTIFICATE_BYTES = 32
"SHA-256."
_HEX = re.compile(r"[0-9A-Fa-f]+")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_ASN = re.compile(r"[Aa][Ss]([0-9]{1,10})")
_COLONS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*")


def parse_text(value: object, expected: str = "a text") -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise ValueError(f"found {described(value)}, expected {expected}")
    if not value:
        raise ValueError(f'found "", expected {expected}')
    return value


def parse_word(value: object, known: Iterable[str], expected: str) -> str:
    """One of the `known` words."""
    known = tuple(known)
    word = parse_text(value, expected)
    if word not in known:
        raise ValueError(f"found {quoted(word)}, expected {expected}{suggestion(word, known)}")
    return word


def parse_protocol(value: object) -> str:
    """A protocol name."""
    if isinstance(value, str) and value in CATEGORIES and value not in CATEGORY_OF:
        raise ValueError(f'found {quoted(value)}, which is a category, expected a protocol; "category" takes it')
    return parse_word(value, CATEGORY_OF, "a protocol (middlebox protocols lists them)")


def parse_category(value: object) -> str:
    """A category of protocols."""
    if isinstance(value, str) and value in CATEGORY_OF and value not in CATEGORIES:
        raise ValueError(f'found {quoted(value)}, which is a protocol, expected a category; "protocol" takes it')
    return parse_word(value, CATEGORIES, listed(CATEGORIES))


def parse_transport(value: object) -> str:
    """A transport, in capitals as events have it."""
    if isinstance(value, str) and value.upper() in TRANSPORTS:
        return value.upper()
    return parse_word(value, TRANSPORTS, listed(TRANSPORTS))


def parse_port(value: object) -> int:
    """A port number."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PORT:
        hint = ", without quotes" if isinstance(value, str) and value.isdigit() else ""
        raise ValueError(f"found {described(value)}, expected a port number from 0 to {MAX_PORT}{hint}")
    return value


def parse_country(value: object) -> str:
    """A country code of ISO 3166-1 alpha-2, in capitals. YAML takes an unquoted NO for false, hence "a text"."""
    expected = "a text of two letters, a country of ISO 3166 such as DE"
    text = parse_text(value, expected)
    if not _COUNTRY.fullmatch(text):
        raise ValueError(f"found {quoted(text)}, expected {expected}")
    return text.upper()


def parse_asn(value: object) -> int:
    """The number of an autonomous system, 64500 or AS64500; 0 belongs to none (RFC 7607)."""
    match = _ASN.fullmatch(value) if isinstance(value, str) else None
    number = int(match[1]) if match else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MAX_ASN:
        raise ValueError(f"found {described(value)}, expected an autonomous system such as 64500 or AS64500")
    return number


def parse_network(value: object) -> Network:
    """An address or a network in CIDR notation. An address is the network that holds only itself."""
    expected = "an address or a network such as 203.0.113.0/24"
    text = parse_text(value, expected)
    address, slash, length = text.partition("/")
    refusal = f"found {quoted(text)}, expected {expected}"
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
        raise ValueError(refusal)
    try:
        ip_address(address)
    except ValueError:
        raise ValueError(refusal) from None
    try:
        network = ip_interface(text).network
    except ValueError:
        longest = 128 if ":" in address else 32
        raise ValueError(f"found {quoted(text)}, expected a prefix length from 0 to {longest}") from None
    if ip_address(address) != network.network_address:
        raise ValueError(f"found {quoted(text)}, which has bits set after the prefix; did you mean {network}?")
    return network


def parse_host(value: object) -> str:
    """A host name as it appears on the wire: lower case, no dot at the end, other scripts as xn-- labels."""
    expected = "a host name such as example.org"
    text = parse_text(value, expected)
    refusal = f"found {quoted(text)}, expected {expected}"
    if "://" in text:
        raise ValueError(f"{refusal}, without {quoted(text.partition('://')[0] + '://')}")
    if "/" in text:
        raise ValueError(f"{refusal}, without a path")
    if text.startswith(("*.", ".")):
        rest = text.lstrip("*.")
        raise ValueError(f'{refusal}; the operator "domain" takes {rest} for itself and every name below it')
    if ":" in text:
        raise ValueError(f"{refusal}, without a port")
    host = text.removesuffix(".").lower()
    if not host.isascii():
        host = _as_on_the_wire(host, refusal)
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or not all(_is_label(label) for label in labels):
        raise ValueError(refusal)
    return host


def _as_on_the_wire(host: str, refusal: str) -> str:
    """A name in another script with `xn--` labels, as programs of today ask for it: UTS 46, then IDNA 2008."""
    if len(host) > MAX_HOST_LENGTH:
        raise ValueError(refusal)
    try:
        labels = idna.uts46_remap(host, std3_rules=False).removesuffix(".").split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError:
        raise ValueError(f"{refusal}; IDNA 2008 has no such name: write it as it is on the wire (xn--...)") from None


def _is_label(label: str) -> bool:
    """Letters, digits, hyphens, and the underscore that names in use contain although RFC 952 does not."""
    return 0 < len(label) <= MAX_LABEL_LENGTH and label.isascii() and label.replace("-", "").replace("_", "").isalnum()


def parse_wireguard_key(value: object) -> bytes:
    """A WireGuard public key in base64. The message does not repeat it: somebody may have pasted the private one."""
    expected = "44 characters of base64 as wg pubkey prints them"
    text = parse_text(value, expected)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"found {len(text)} characters that are not base64, expected {expected}") from None
    if len(key) != WIREGUARD_KEY_BYTES:
        raise ValueError(f"found a key of {len(key)} bytes, expected {WIREGUARD_KEY_BYTES}: {expected}")
    return key


def parse_certificate(value: object) -> bytes:
    """The SHA-256 of a certificate: 64 hexadecimal digits, with or without a colon after every second."""
    expected = "64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 prints them"
    text = parse_text(value, expected)
    digits = text.replace(":", "") if _COLONS.fullmatch(text) else text
    if not _HEX.fullmatch(digits):
        raise ValueError(f"found {quoted(text)}, expected {expected}")
    if len(digits) != 2 * CERTIFICATE_BYTES:
        raise ValueError(f"found {len(digits)} digits, expected {expected}")
    return bytes.fromhex(digits)


WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"Days as a schedule writes them, in the order of `date.weekday()`."
MAX_RATE = 100_000_000_000
"Bits a second: above any link that user space could look at."
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMG]?)bit/s")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_HOURS = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_MINUTES_A_DAY = 24 * 60


def parse_rate(value: object) -> int:
    """A rate in bits a second."""
    expected = "a rate such as 128kbit/s (bit/s, kbit/s, Mbit/s, Gbit/s)"
    text = parse_text(value, expected)
    match = _RATE.fullmatch(text)
    rate = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"found {quoted(text)}, expected {expected}")
    return rate


MAX_COUNT = (1 << 63) - 1
"What JSON readers take as a whole number."
_COUNT = re.compile(r"([0-9]+) ?(kB|MB|GB)?")
_COUNT_UNITS = {None: 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def parse_count(value: object) -> int:
    """A whole number above 0, or a size such as 10MB."""
    expected = "a whole number above 0, or a size such as 10MB (kB, MB, GB)"
    count = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if isinstance(value, str) and len(value) < 30 and (match := _COUNT.fullmatch(value)):
        count = int(match[1]) * _COUNT_UNITS[match[2]]
    if not 0 < count <= MAX_COUNT:
        raise ValueError(f"found {described(value)}, expected {expected}")
    return count


def parse_probability(value: object) -> float:
    """A probability above 0 and up to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"found {described(value)}, expected a number above 0 and up to 1, such as 0.26")
    return float(value)


def parse_timezone(value: object) -> str:
    """An IANA time zone."""
    expected = "an IANA time zone such as Europe/Paris"
    return parse_word(value, available_timezones(), expected)


def parse_hours(value: object) -> tuple[int, int]:
    """Hours of a day as minutes after midnight, `08:00-18:00`; over midnight where the second is the smaller one."""
    expected = 'hours in quotes such as "08:00-18:00"'
    text = parse_text(value, expected)
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"found {quoted(text)}, expected {expected}")
    begins, ends = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begins == ends or begins >= _MINUTES_A_DAY or ends > _MINUTES_A_DAY:
        raise ValueError(f"found {quoted(text)}, expected two different times of a day: {expected}")
    return begins, ends


def parse_moment(value: object) -> datetime:
    """A date, which is its midnight, or a date and time; without a zone of its own it is in that of its schedule."""
    expected = "a date such as 2016-03-03, or a date and time such as 2016-03-03T08:00"
    moment = value
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError(f"found {described(value)}, expected {expected}") from None
    if not isinstance(moment, date):
        raise ValueError(f"found {described(value)}, expected {expected}")
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time())


def in_zone(moment: datetime, zone: ZoneInfo) -> float:
    """Seconds since the epoch of a moment, on the zone's wall clock unless it names a zone itself."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def parse_begins(value: object) -> float:
    """The first second of validity; a day begins at its midnight, times without a zone are UTC."""
    return in_zone(parse_moment(value), ZoneInfo("UTC"))


def parse_dns(value: object) -> tuple[DnsAnswer, tuple[IPv4Address | IPv6Address, ...]]:
    """What to answer a DNS query with: `nxdomain`, `refused`, or `{address: ...}` with one address or several."""
    expected = "nxdomain, refused, or {address: 192.0.2.1}"
    if not isinstance(value, dict):
        return DnsAnswer(parse_word(value, ("nxdomain", "refused"), expected)), ()
    if list(value) != ["address"]:
        raise ValueError(f"found a mapping of {listed(map(quoted, map(str, value)))}, expected {expected}")
    found = value["address"] if isinstance(value["address"], list) else [value["address"]]
    if not found:
        raise ValueError(f"found an empty list, expected {expected}")
    addresses = []
    for one in found:
        try:
            addresses.append(ip_address(parse_text(one, "an address")))
        except ValueError:
            raise ValueError(f"found {described(one)}, expected an address such as 192.0.2.1") from None
    return DnsAnswer.ADDRESS, tuple(addresses)


def parse_until(value: object) -> float:
    """The last second of validity. A day ends at 23:59:59; times without a zone are UTC."""
    expected = "a date such as 2027-01-01, or a date and time"
    moment = value
    if isinstance(moment, str):
        try:
            moment = date.fromisoformat(moment)
        except ValueError:
            try:
                moment = datetime.fromisoformat(str(value))
            except ValueError:
                raise ValueError(f"found {described(value)}, expected {expected}") from None
    if not isinstance(moment, date):
        raise ValueError(f"found {described(value)}, expected {expected}")
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(23, 59, 59), UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
