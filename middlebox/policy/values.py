"""Single values of a policy: text to a typed value, or a ValueError that says what is wrong with it.

Rule of this file: a value is read in exactly one way wherever it stands, in an approval, a condition or a list.
"""

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from ipaddress import ip_address, ip_interface

from middlebox.policy.problem import described, listed, quoted, suggestion
from middlebox.policy.rule import Network
from middlebox.protocols import CATEGORIES, CATEGORY_OF

TRANSPORTS = ("TCP", "UDP", "ICMP", "IPV6-ICMP", "ESP", "AH", "GRE")
"Transports as events spell them."

MAX_PORT = 65535
MAX_HOST_LENGTH = 253
"Characters of a host name (RFC 1035 section 2.3.4: 255 octets on the wire)."
MAX_LABEL_LENGTH = 63
"Characters between two dots of a host name (RFC 1035 section 2.3.4)."
WIREGUARD_KEY_BYTES = 32
"A Curve25519 public key (WireGuard paper, section 5.4)."


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
    try:
        host = text.removesuffix(".").encode("idna").decode().lower()
    except UnicodeError:
        raise ValueError(refusal) from None
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or not all(_is_label(label) for label in labels):
        raise ValueError(refusal)
    return host


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
