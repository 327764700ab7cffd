"""Countries and autonomous systems of addresses, from MaxMind DB files that the user supplies.

Rule of this file: a database is only ever a content in memory, and whatever is broken in it gives no answer instead of
an exception: a packet must not fail on a file.
"""

import hashlib
from io import BytesIO
from ipaddress import ip_address

from maxminddb import MODE_FD, Reader

KINDS = {"country": ("Country", "City"), "asn": ("ASN",)}
"What `geoip` of a policy may name, and what the type of such a database contains (GeoLite2-Country, DBIP-ASN-Lite)."

FIELDS = {"src_country": "country", "dest_country": "country", "src_asn": "asn", "dest_asn": "asn"}
"Fields of conditions, with the database that they need."

CACHED_ADDRESSES = 16_384
"Ours, for each database: about 2 MB. The clients of a network and the servers they use again and again."

COUNTRY_LETTERS = 2
"ISO 3166-1 alpha-2."


class GeoDatabases:
    """The databases of one policy. Equal when their contents are; travels between processes without what it opened."""

    def __init__(self, country: bytes | None = None, asn: bytes | None = None) -> None:
        """The contents of both files; None: there is none."""
        self.country = country
        self.asn = asn
        self.digest = tuple(None if one is None else hashlib.sha256(one).digest() for one in (country, asn))
        self._contents = {"country": country, "asn": asn}
        self._readers: dict[str, Reader | None] = {}
        self._cache: dict[str, dict[bytes, object]] = {kind: {} for kind in KINDS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GeoDatabases) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{kind}: {len(content)} bytes" for kind, content in self._contents.items() if content)
        return f"GeoDatabases({sizes})"

    def __reduce__(self) -> tuple[type["GeoDatabases"], tuple[bytes | None, bytes | None]]:
        return GeoDatabases, (self.country, self.asn)

    def find(self, field: str, address: bytes) -> object:
        """The country (two capitals) or the number of the autonomous system of a raw address; None: not known.

        Args:
            field: One of `FIELDS`.
            address: 4 or 16 bytes.
        """
        kind = FIELDS[field]
        cache = self._cache[kind]
        if address in cache:
            return cache[address]
        found = self._look_up(kind, address)
        if len(cache) >= CACHED_ADDRESSES:
            del cache[next(iter(cache))]
        cache[address] = found
        return found

    def _look_up(self, kind: str, address: bytes) -> object:
        if kind not in self._readers:
            content = self._contents[kind]
            self._readers[kind] = None if content is None else _opened(content)
        reader = self._readers[kind]
        if reader is None:
            return None
        try:
            record = reader.get(ip_address(address))
        except Exception:  # broken bytes make the library raise almost anything; IPv6 in a database of IPv4 ValueError
            return None
        return _country(record) if kind == "country" else _asn(record)


def what_is_wrong(kind: str, content: bytes) -> str | None:
    """Why `content` cannot be the database `kind` of a policy: "found ..., expected ..."; None if it can."""
    types = KINDS[kind]
    expected = f"expected a MaxMind database of the type {' or '.join(types)}"
    reader = _opened(content)
    if reader is None:
        return f"found {'no MaxMind database' if content else 'an empty file'}, {expected}"
    name = reader.metadata().database_type
    if not isinstance(name, str) or not any(word in name for word in types):
        return f"found a database of the type {ascii(name)[1:-1][:60]}, {expected}"
    return None


def _opened(content: bytes) -> Reader | None:
    """A reader of these bytes; None if they are not a database."""
    try:
        return Reader(BytesIO(content), MODE_FD)
    except Exception:  # as above
        return None


def _country(record: object) -> str | None:
    country = record.get("country") if isinstance(record, dict) else None
    code = country.get("iso_code") if isinstance(country, dict) else None
    if isinstance(code, str) and len(code) == COUNTRY_LETTERS and code.isascii() and code.isalpha():
        return code.upper()
    return None


def _asn(record: object) -> int | None:
    number = record.get("autonomous_system_number") if isinstance(record, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
