"""Countries and autonomous systems: what loads, what is refused and where, and that broken files never raise."""

import pickle
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from middlebox.detect import DETECTORS
from middlebox.policy import geoip
from middlebox.policy.fields import known_fields
from middlebox.policy.geoip import GeoDatabases
from middlebox.policy.load import PolicyError, load_policy, parse_policy
from middlebox.policy.match import Matcher
from middlebox.policy.rule import Policy
from middlebox.verdict import Action
from tests.policy.test_match import Seen


def database(kind: str, records: dict[str, object], ip_version: int = 6) -> bytes:
    writer = MMDBWriter(ip_version, kind, ipv4_compatible=ip_version == 6, description="made by a test")
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    with NamedTemporaryFile() as file:
        writer.to_db_file(file.name)
        return Path(file.name).read_bytes()


COUNTRY = database(
    "Test-Country",
    {
        "203.0.113.0/25": {"country": {"iso_code": "DE"}},
        "203.0.113.128/25": {"country": {"iso_code": "FR"}},
        "192.0.2.0/24": {"country": "no mapping"},
        "2001:db8:1::/48": {"country": {"iso_code": "NO"}},
    },
)
ASN = database(
    "Test-ASN",
    {
        "203.0.113.0/24": {"autonomous_system_number": 64500},
        "2001:db8::/32": {"autonomous_system_number": 64501},
        "192.0.2.0/24": {"autonomous_system_number": "none"},
    },
)
FILES: dict[str, bytes] = {"country.mmdb": COUNTRY, "asn.mmdb": ASN}
BOTH = "geoip: {country: country.mmdb, asn: asn.mmdb}"
FIELDS = known_fields(DETECTORS)


def read(when: str, section: str = BOTH, files: dict[str, bytes] = FILES, more: str = "") -> Policy:
    def read_file(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name]

    text = f"policy: p\n{section}\n{more}rules:\n  - rule: r\n    when: {when}\n    action: drop\n"
    return parse_policy(text, source="p.yaml", read_file=read_file, fields=FIELDS)


def problems(when: str, section: str = BOTH, files: dict[str, bytes] = FILES) -> list[str]:
    with pytest.raises(PolicyError) as error:
        read(when, section, files)
    return [str(problem).removeprefix("p.yaml:") for problem in error.value.problems]


def flow(server: str, client: str = "198.51.100.10") -> Seen:
    return Seen(client=ip_address(client).packed, server=ip_address(server).packed)


def drops(policy: Policy, seen: Seen) -> bool:
    return Matcher(policy).judge(seen).action is Action.DROP  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("when", "server", "holds"),
    [
        ("{dest_country: DE}", "203.0.113.5", True),
        ("{dest_country: de}", "203.0.113.5", True),
        ("{dest_country: [FR, DE]}", "203.0.113.5", True),
        ("{dest_country: DE}", "203.0.113.200", False),
        ("{dest_country: DE}", "198.51.100.1", False),
        ("{not: {dest_country: DE}}", "198.51.100.1", True),
        ('{dest_country: "NO"}', "2001:db8:1::1", True),
        ('{dest_country: "NO"}', "2001:db8:2::1", False),
        ("{src_country: DE}", "203.0.113.5", False),
        ("{dest_asn: 64500}", "203.0.113.5", True),
        ("{dest_asn: AS64500}", "203.0.113.5", True),
        ("{dest_asn: as64501}", "2001:db8:2::1", True),
        ("{dest_asn: 64501}", "203.0.113.5", False),
        ("{dest_asn: 64501}", "192.0.2.1", False),
        ("{dest_country: DE}", "192.0.2.1", False),
    ],
)
def test_a_server_is_looked_up(when: str, server: str, holds: bool) -> None:
    assert drops(read(when), flow(server)) is holds


@pytest.mark.parametrize("when", ["{src_country: DE}", "{src_asn: 64500}"])
def test_a_client_is_looked_up(when: str) -> None:
    assert drops(read(when), flow("198.51.100.1", client="203.0.113.5"))
    assert not drops(read(when), flow("203.0.113.5"))


def test_an_ipv6_address_is_unknown_to_a_database_of_ipv4() -> None:
    old = database("Test-Country", {"203.0.113.0/24": {"country": {"iso_code": "DE"}}}, ip_version=4)
    policy = read("{dest_country: DE}", files={**FILES, "country.mmdb": old})
    assert drops(policy, flow("203.0.113.5"))
    assert not drops(policy, flow("2001:db8:1::1"))


def test_lists_hold_countries_and_systems() -> None:
    lists = "lists: {c: [de, FR], a: as.txt}\n"
    policy = read(
        "{dest_country: {list: c}, dest_asn: {list: a}}", files={**FILES, "as.txt": b"64500\nAS64501\n"}, more=lists
    )
    assert policy.rules[0].when.parts[0].values == ("DE", "FR")  # type: ignore[union-attr]
    assert policy.rules[0].when.parts[1].values == (64500, 64501)  # type: ignore[union-attr]


COUNTRY_WORDS = "expected a MaxMind database of the type Country or City"
ASN_WORDS = "expected a MaxMind database of the type ASN"
SYSTEM_WORDS = "expected an autonomous system such as 64500 or AS64500"
CODE_WORDS = "expected a text of two letters, a country of ISO 3166 such as DE"


@pytest.mark.parametrize(
    ("when", "section", "expected"),
    [
        ("{}", "geoip: {country: no.mmdb}", ["2:18: error: cannot read no.mmdb: No such file or directory"]),
        ("{}", "geoip: {country: a.txt}", [f"2:18: error: a.txt: found no MaxMind database, {COUNTRY_WORDS}"]),
        ("{}", "geoip: {asn: empty}", [f"2:14: error: empty: found an empty file, {ASN_WORDS}"]),
        (
            "{}",
            "geoip: {country: asn.mmdb}",
            [f"2:18: error: asn.mmdb: found a database of the type Test-ASN, {COUNTRY_WORDS}"],
        ),
        (
            "{}",
            "geoip: {asn: country.mmdb}",
            [f"2:14: error: country.mmdb: found a database of the type Test-Country, {ASN_WORDS}"],
        ),
        (
            "{}",
            "geoip: {contry: country.mmdb}",
            ['2:9: error: "contry" is not a field of geoip; did you mean "country"?'],
        ),
        ("{}", "geoip: {country: 7}", ["2:18: error: country: found the number 7, expected the path of a .mmdb file"]),
        (
            "{dest_asn: 64500}",
            "geoip: {country: country.mmdb}",
            ["5:12: error: dest_asn: this policy has no database for it; expected geoip: {asn: path.mmdb}"],
        ),
        (
            "{src_country: DE}",
            "default: pass",
            ["5:12: error: src_country: this policy has no database for it; expected geoip: {country: path.mmdb}"],
        ),
        # The missing file is the mistake; the rule that needs it is none.
        (
            "{src_country: DE}",
            "geoip: {country: no.mmdb}",
            ["2:18: error: cannot read no.mmdb: No such file or directory"],
        ),
        ("{src_country: DEU}", BOTH, [f'5:25: error: src_country: found "DEU", {CODE_WORDS}']),
        ("{src_country: 49}", BOTH, [f'5:25: error: src_country: found the number 49, {CODE_WORDS}; write "49"']),
        ("{src_asn: 0}", BOTH, [f"5:21: error: src_asn: found the number 0, {SYSTEM_WORDS}"]),
        ("{src_asn: 4294967296}", BOTH, [f"5:21: error: src_asn: found the number 4294967296, {SYSTEM_WORDS}"]),
        ("{src_asn: ASX}", BOTH, [f'5:21: error: src_asn: found "ASX", {SYSTEM_WORDS}']),
    ],
)  # fmt: skip
def test_mistakes_are_named_where_they_stand(when: str, section: str, expected: list[str]) -> None:
    assert problems(when, section, {**FILES, "a.txt": b"hello\n", "empty": b""}) == expected


def test_norway_without_quotes_is_an_error() -> None:
    (message,) = problems("{src_country: NO}")
    assert message.startswith("5:25: error:")
    assert '"NO"' in message


def test_files_stand_beside_the_policy_and_count_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "c.mmdb").write_bytes(COUNTRY)
    (tmp_path / "p.yaml").write_text("policy: p\ngeoip: {country: c.mmdb}\n")
    before = load_policy(tmp_path / "p.yaml")
    (tmp_path / "c.mmdb").write_bytes(database("Test-City", {"192.0.2.0/24": {"country": {"iso_code": "DE"}}}))
    after = load_policy(tmp_path / "p.yaml")
    assert before.digest != after.digest
    assert before.geoip != after.geoip


def test_databases_travel_to_another_process() -> None:
    policy = read("{dest_country: DE}")
    assert drops(policy, flow("203.0.113.5")), "opened before it is pickled"
    copy = pickle.loads(pickle.dumps(policy))
    assert copy == policy
    assert drops(copy, flow("203.0.113.5"))
    assert "203" not in repr(copy.geoip)


def test_a_near_miss_names_what_was_found() -> None:
    policy = read("{dest_country: DE, dest_port: 443}")

    def because(server: str) -> str:
        (miss,) = Matcher(policy).near_misses(flow(server))  # type: ignore[arg-type]
        return miss["because"]

    assert because("203.0.113.200") == (
        "dest_country is FR for 203.0.113.200, the rule asks for dest_country: DE"
    )  # fmt: skip
    assert because("198.51.100.1").startswith("dest_country is unknown for 198.51.100.1,")


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoip, "CACHED_ADDRESSES", 3)
    databases = GeoDatabases(country=COUNTRY)
    for number in range(20):
        assert databases.find("dest_country", bytes([203, 0, 113, number])) == "DE"
    assert len(databases._cache["country"]) == 3


edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8)


@given(edits, st.integers(0, 200), st.sampled_from(["country.mmdb", "asn.mmdb"]))
def test_broken_bytes_are_refused_or_give_no_answer(changes: list[tuple[int, int]], cut: int, name: str) -> None:
    content = bytearray(FILES[name])
    # The upper half of the offsets counts from the end, where the records and what says their type stand.
    for offset, value in changes:
        content[-1 - offset % 400 if offset > 5_000 else offset % len(content)] = value
    files = {**FILES, name: bytes(content[: len(content) - max(0, cut - 150)])}
    try:
        policy = read("{any: [{dest_country: DE}, {dest_asn: 64500}]}", files=files)
    except PolicyError:
        return
    for server in ("203.0.113.5", "192.0.2.1", "198.51.100.1", "2001:db8:1::1", "2001:db8:2::1"):
        matcher = Matcher(policy)
        matcher.judge(flow(server))  # type: ignore[arg-type]
        matcher.near_misses(flow(server))  # type: ignore[arg-type]


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16))
def test_any_bytes_give_an_answer_or_none(content: bytes, address: bytes) -> None:
    databases = GeoDatabases(content + b"\xab\xcd\xefMaxMind.com" + content, content)
    for field in geoip.FIELDS:
        databases.find(field, address)
