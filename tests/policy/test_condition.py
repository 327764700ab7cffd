"""Conditions: what each form becomes, and what is refused."""

from ipaddress import ip_network

import pytest

from middlebox.evidence import Confidence
from middlebox.policy.condition import MAX_LIST_PROBLEMS, ConditionReader, Entry, Lists, TextLines
from middlebox.policy.fields import FLOW_FIELDS, Kind
from middlebox.policy.problem import Problem
from middlebox.policy.rule import All, Any, Condition, HostScore, Not, Operator
from middlebox.policy.rule import Test as FieldTest
from middlebox.policy.yaml_positions import Place, read_yaml

FIELDS = {**FLOW_FIELDS, "tls.sni": Kind.FACT, "tls.version": Kind.FACT, "http.hostname": Kind.FACT}


CLIENTS = {"guests": (ip_network("198.51.100.128/25"),), "printers": (ip_network("198.51.100.9"),)}


def entries(*values: object) -> tuple[Entry, ...]:
    return tuple(Entry(value, Place("list", line, 1)) for line, value in enumerate(values, start=1))


LISTS: Lists = {
    "sites": entries("example.org", "Example.NET"),
    "ports": TextLines("53\n443 # https\n", "list"),
    "unreadable": None,
}


def read(text: str, lists: Lists = LISTS) -> tuple[Condition, list[Problem]]:
    document = read_yaml(text, "p")
    problems = list(document.problems)
    reader = ConditionReader(
        document, fields=FIELDS, approvals=["hq", "branch"], lists=lists, clients=CLIENTS, problems=problems
    )
    return reader.read(document.data, ()), problems


def a_test(field: str, operator: Operator, *values: object, source: str) -> FieldTest:
    return FieldTest(field, operator, values, source)


VPN = a_test("category", Operator.IN, "vpn", source="category: vpn")
TOR = a_test("protocol", Operator.IN, "tor", source="protocol: tor")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", All(())),
        ("category: vpn", VPN),
        ("category: [vpn, proxy]", a_test("category", Operator.IN, "vpn", "proxy", source="category: [vpn, proxy]")),
        ("{category: vpn, protocol: tor}", All((VPN, TOR))),
        ("any: [{category: vpn}, {protocol: tor}]", Any((VPN, TOR))),
        ("all: [{category: vpn}, {protocol: tor}]", All((VPN, TOR))),
        ("not: {category: vpn}", Not(VPN)),
        ("not: {category: vpn, protocol: tor}", Not(All((VPN, TOR)))),
        ("not: [{category: vpn}, {protocol: tor}]", Not(Any((VPN, TOR)))),
        ("not: [{category: vpn}]", Not(VPN)),
        ("{category: vpn, any: [{protocol: tor}]}", All((VPN, Any((TOR,))))),
        ("approved: false", a_test("approved", Operator.IN, False, source="approved: false")),
        ("approved: [hq, true]", a_test("approved", Operator.IN, "hq", True, source="approved: [hq, true]")),
        (
            "confidence: probable",
            a_test("confidence", Operator.AT_LEAST, Confidence.PROBABLE, source="confidence: probable"),
        ),
        (
            "dest_ip: [203.0.113.7, '2001:db8::/32']",
            a_test(
                "dest_ip",
                Operator.CIDR,
                ip_network("203.0.113.7/32"),
                ip_network("2001:db8::/32"),
                source="dest_ip: [203.0.113.7, 2001:db8::/32]",
            ),
        ),
        ("dest_port|in: 443", a_test("dest_port", Operator.IN, 443, source="dest_port|in: 443")),
        ("proto: udp", a_test("proto", Operator.IN, "UDP", source="proto: udp")),
        (
            "server_name|domain: Example.ORG.",
            a_test("server_name", Operator.DOMAIN, "example.org", source="server_name|domain: Example.ORG."),
        ),
        (
            "tls.sni|endswith: .Example.org",
            a_test("tls.sni", Operator.ENDSWITH, ".example.org", source="tls.sni|endswith: .Example.org"),
        ),
        ("tls.version: [1, x]", a_test("tls.version", Operator.IN, 1, "x", source="tls.version: [1, x]")),
        (
            "server_name|domain: {list: sites}",
            a_test(
                "server_name",
                Operator.DOMAIN,
                "example.org",
                "example.net",
                source="server_name|domain: {list: sites}",
            ),
        ),
        (
            "dest_port: [80, {list: ports}]",
            a_test("dest_port", Operator.IN, 80, 53, 443, source="dest_port: [80, {list: ports}]"),
        ),
    ],
)
def test_conditions_mean_what_they_say(text: str, expected: Condition) -> None:
    condition, problems = read(text)
    assert problems == []
    assert condition == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: when: found nothing, expected a mapping (field: value); to match every flow write when: {}"),
        ("[category]", "1:1: when: found a list, expected a mapping (field: value)"),
        ("catgory: vpn", '1:1: "catgory" is not a field of a condition; did you mean "category"?'),
        ("tls: {sni: x}", '1:1: "tls" is not a field of a condition; did you mean "tls.sni"?'),
        ("nor: []", '1:1: "nor" is not a field of a condition; did you mean "not"?'),
        (
            "zzzz: x",
            '1:1: "zzzz" is not a field of a condition; fields: src_ip, src_port, dest_ip, dest_port, '
            "src_country, dest_country, src_asn, dest_asn, proto, app_proto, protocol, category, confidence, "
            "approved, server_name, client, detector, host_score, "
            "flow.pkts_toserver, flow.pkts_toclient, flow.bytes_toserver, flow.bytes_toclient, middlebox.protocol, "
            "middlebox.category, middlebox.confidence, middlebox.approved, tls.sni, tls.version, http.hostname",
        ),
        (
            "server_name|domian: x.org",
            '1:1: server_name: found the operator "domian", expected in, domain, endswith, startswith or contains; '
            'did you mean "domain"?',
        ),
        ("dest_port|contains: 4", '1:1: dest_port: found the operator "contains", expected in'),
        ("category|: vpn", '1:1: category: found the operator "", expected in'),
        (
            "http.hostname: x.example/",
            '1:16: http.hostname: found "x.example/", expected a host name such as example.org, without a path',
        ),
        ("any: []", "1:6: any: found an empty list, expected at least one condition"),
        ("any: {category: vpn}", "1:6: any: found a mapping, expected a list of mappings"),
        ("all: 5", "1:6: all: found the number 5, expected a list of mappings"),
        ("not: vpn", '1:6: not: found "vpn", expected a mapping or a list of mappings'),
        ("not: {}", "1:6: not: found an empty mapping, expected a mapping (field: value)"),
        ("any: [{category: vpn}, vpn]", '1:24: any: found "vpn", expected a mapping (field: value)'),
        ("category: []", "1:11: category: found an empty list, expected at least one value"),
        (
            "category:",
            "1:10: category: found nothing, expected vpn, proxy, anonymity, tunnel, encrypted-dns, ordinary or unknown",
        ),
        (
            "confidence: [probable]",
            "1:13: confidence: found a list, expected one level: possible, probable or confirmed",
        ),
        (
            "confidence: sure",
            '1:13: confidence: found "sure", expected one level: possible, probable or confirmed',
        ),
        (
            "approved: brunch",
            '1:11: approved: found "brunch", expected true, false or the name of an approval (hq, branch); '
            'did you mean "branch"?',
        ),
        (
            "approved: {list: sites}",
            "1:11: approved: found a mapping, expected true, false or the name of an approval (hq, branch)",
        ),
        ("dest_port: [443, 99999]", "1:18: dest_port: found the number 99999, expected a port number from 0 to 65535"),
        (
            "tls.version|startswith: 13",
            '1:25: tls.version: found the number 13, expected a text; write "13"',
        ),
        (
            "tls.version: 1.3",
            '1:14: tls.version: found the number 1.3, expected a text or a whole number; write "1.3"',
        ),
        (
            "tls.version: 2027-01-01",
            '1:14: tls.version: found the date 2027-01-01, expected a text or a whole number; write "2027-01-01"',
        ),
        ("server_name: {lst: sites}", "1:14: server_name: found a mapping, expected a value or {list: name}"),
        ("server_name: {list: [a]}", "1:14: server_name: found a mapping, expected a value or {list: name}"),
        (
            "server_name: {list: site}",
            '1:21: server_name: "site" is not a list of this policy; did you mean "sites"?',
        ),
        (
            "server_name: {list: zz}",
            '1:21: server_name: "zz" is not a list of this policy; lists: sites, ports, unreadable',
        ),
    ],
)
def test_conditions_that_could_not_mean_what_they_say_are_refused(text: str, message: str) -> None:
    _, problems = read(text)
    place, _, rest = message.partition(" ")
    assert [str(problem) for problem in problems] == [f"p:{place} error: {rest}"]


def test_a_reference_without_any_list_says_so() -> None:
    _, problems = read("server_name: {list: a}", lists={})
    assert str(problems[0]) == (
        'p:1:21: error: server_name: "a" is not a list of this policy; this policy has no "lists"'
    )


def test_a_list_that_could_not_be_read_is_not_reported_again() -> None:
    assert read("server_name: {list: unreadable}")[1] == []


def test_a_wrong_entry_is_reported_where_it_stands() -> None:
    _, problems = read("dest_ip: {list: sites}")
    assert [str(problem) for problem in problems] == [
        f'list:{line}:1: error: list sites, used for dest_ip: found "{name}", '
        "expected an address or a network such as 203.0.113.0/24"
        for line, name in [(1, "example.org"), (2, "Example.NET")]
    ]


def test_a_list_of_the_wrong_kind_does_not_bury_everything_else() -> None:
    _, problems = read("dest_ip: {list: long}", lists={"long": entries(*["x"] * 1000)})
    assert len(problems) == MAX_LIST_PROBLEMS + 1
    assert str(problems[-1]) == "p:1:17: error: dest_ip: 980 more entries of the list long are wrong in such a way"


def test_every_problem_of_a_condition_is_found_at_once() -> None:
    _, problems = read("{catgory: vpn, any: [{dest_port: x}, {proto: y}], not: {src_ip: z}}")
    assert [problem.column for problem in problems] == [2, 34, 46, 65]


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in read(text)[1]]


def test_a_client_group_stands_for_its_addresses() -> None:
    condition, problems = read("client: [guests, printers]")
    assert problems == []
    assert condition == FieldTest(
        "src_ip", Operator.CIDR, (*CLIENTS["guests"], *CLIENTS["printers"]), "client: [guests, printers]"
    )
    [problem] = problems_of("client: gests")
    assert 'found "gests"' in problem
    assert 'did you mean "guests"?' in problem


@pytest.mark.parametrize(
    ("written", "count"), [("5", 5), ("10MB", 10_000_000), ("3 kB", 3_000), ("2GB", 2_000_000_000)]
)
def test_counts_are_numbers_or_sizes(written: str, count: int) -> None:
    for key, operator in (("flow.bytes_toclient", Operator.AT_LEAST), ("flow.bytes_toclient|below", Operator.BELOW)):
        condition, problems = read(f"{key}: {written}")
        assert problems == []
        assert condition == FieldTest("flow.bytes_toclient", operator, (count,), f"{key}: {written}")


@pytest.mark.parametrize("written", ["0", "-1", "true", "10MiB", "ten", "99999999999999999999GB"])
def test_what_is_no_count_is_refused(written: str) -> None:
    [problem] = problems_of(f"flow.pkts_toserver: {written}")
    assert "expected a whole number above 0, or a size such as 10MB" in problem


def test_events_own_spelling_means_the_same() -> None:
    assert read("middlebox.protocol: openvpn")[0].values == read("protocol: openvpn")[0].values  # type: ignore[union-attr]
    assert read("middlebox.protocol: openvpn")[0].field == "protocol"  # type: ignore[union-attr]


def test_a_detector_must_exist() -> None:
    assert problems_of("detector: openvpn") == []
    [problem] = problems_of("detector: opnvpn")
    assert 'did you mean "openvpn"?' in problem


def test_a_host_score_is_read_whole() -> None:
    condition, problems = read("host_score: {protocol: [obfs4], confidence: probable, flows: 14, of: 38}")
    assert problems == []
    score = HostScore(frozenset({"obfs4"}), Confidence.PROBABLE, 14, 38)
    assert condition.values == (score,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("3", "host_score: found the number 3, expected {protocol"),
        ("{protocol: obfs4, flows: 1, of: 2}", "host_score: found a mapping of protocol, flows, of"),
        ("{protocol: obfs4, confidence: probable, flows: 3, of: 2}", "flows: found 3, expected at most the 2 of them"),
        ("{protocol: obfs4, confidence: probable, flows: 0, of: 2}", "expected a whole number from 1 to 256"),
        ("{protocol: obfs5, confidence: probable, flows: 1, of: 2}", 'did you mean "obfs4"?'),
    ],
)
def test_a_wrong_host_score_is_refused(written: str, says: str) -> None:
    assert any(says in problem for problem in problems_of(f"host_score: {written}"))
