"""The linter's proofs never lie: whatever it calls impossible or covered is so on every flow that is tried."""

import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.evidence import Confidence
from middlebox.policy import rule as policy_rule
from middlebox.policy.lint_logic import Inventory, covers, never
from middlebox.policy.match import FALSE, TRUE, compile_condition
from middlebox.policy.rule import Approval, Condition, Operator
from tests.policy.test_match import Seen
from tests.toys import asks, both, either, neither, toy

LEVELS = tuple(Confidence)
TOYS = tuple(
    toy(name, lambda talk: None, protocols=protocols, transports=transports, reaches=level, facts=("tls.sni",))  # type: ignore[arg-type, return-value]
    for name, protocols, transports, level in (
        ("a", ("wireguard",), (17,), Confidence.CONFIRMED),
        ("b", ("tls", "openvpn"), (6, 17), Confidence.CONFIRMED),
        ("c", ("obfs4",), (6,), Confidence.PROBABLE),
        ("d", ("icmp",), (1,), Confidence.PROBABLE),
    )
)
INVENTORY = Inventory.of(TOYS, ("hq", "branch"))
APPROVABLE = frozenset({"wireguard"})
NETWORKS = ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32")
HOSTS = ("a.example", "b.a.example", "example", "xa.example", "b.example")
PARTS = ("a", "example", ".example", "b.", "a.example")

_VALUES: dict[tuple[str, Operator], tuple[object, ...]] = {
    ("src_ip", Operator.CIDR): tuple(map(ip_network, NETWORKS)),
    ("dest_port", Operator.IN): (0, 53, 443),
    ("proto", Operator.IN): ("TCP", "UDP", "ICMP"),
    ("protocol", Operator.IN): ("wireguard", "tls", "obfs4", "icmp", "unknown"),
    ("category", Operator.IN): ("vpn", "anonymity", "ordinary", "unknown"),
    ("approved", Operator.IN): (True, False, "hq", "branch"),
    ("tls.sni", Operator.IN): (*HOSTS, 1),
    ("tls.sni", Operator.DOMAIN): HOSTS,
    ("server_name", Operator.DOMAIN): HOSTS,
    ("server_name", Operator.IN): HOSTS,
    **{("tls.sni", operator): PARTS for operator in (Operator.ENDSWITH, Operator.STARTSWITH, Operator.CONTAINS)},
}
TESTS = st.one_of(
    *(
        st.lists(st.sampled_from(values), min_size=1, max_size=3).map(
            lambda chosen, key=key: policy_rule.Test(key[0], key[1], tuple(chosen))  # type: ignore[misc]
        )
        for key, values in _VALUES.items()
    ),
    st.sampled_from(LEVELS).map(lambda level: asks("confidence", level)),
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: both(*parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: either(*parts)),
        inner.map(neither),
    ),
    max_leaves=4,
)


def flows() -> list[Seen]:
    """Flows as the toys could leave them, finished and not."""
    chance = random.Random(5)
    found = []
    for _ in range(1500):
        kind = chance.choice(("UDP", "TCP", "ICMP"))
        names = [toy for toy in TOYS if {"UDP": 17, "TCP": 6, "ICMP": 1}[kind] in toy.transports]
        seen = chance.choice([*names, None])
        name = chance.choice(seen.protocols) if seen else "unknown"
        level = Confidence(chance.randint(1, seen.reaches)) if seen else None
        sni: object = chance.choice((None, *HOSTS, ["a.example", "other.example"], "A.Example", 1))
        found.append(
            Seen(
                client=ip_address(
                    chance.choice(("10.1.2.3", "10.1.9.9", "10.200.0.1", "192.0.2.1", "2001:db8::1"))
                ).packed,
                server_port=0 if kind == "ICMP" else chance.choice((0, 53, 443)),
                transport_name=kind,
                protocol=name,
                confidence=level,
                facts={} if sni is None else {"tls.sni": sni},
                approved=chance.choice((None, "hq", "branch")) if name == "wireguard" else None,
                pending=chance.choice(([], names)),
            )
        )
    return found


FLOWS = flows()


@settings(max_examples=400, deadline=None)
@given(CONDITIONS)
def test_what_is_impossible_matches_no_flow(condition: Condition) -> None:
    if never(condition, INVENTORY) is not None:
        check = compile_condition(condition, APPROVABLE)
        assert not [flow for flow in FLOWS if check(flow) == TRUE]  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(CONDITIONS, CONDITIONS)
def test_a_rule_that_is_covered_never_matches_where_the_one_above_does_not(above: Condition, below: Condition) -> None:
    for earlier, later in ((above, below), (above, both(above, below)), (either(above, below), below)):
        if covers(earlier, later, INVENTORY):
            first, second = (
                compile_condition(earlier, APPROVABLE, final_names=True),
                compile_condition(later, APPROVABLE),
            )
            assert not [flow for flow in FLOWS if second(flow) == TRUE and first(flow) == FALSE]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("above", "below", "covered"),
    [
        (both(), asks("proto", "TCP"), True),
        (asks("proto", "TCP"), both(), False),
        (asks("src_ip", "10.0.0.0/8"), asks("src_ip", "10.1.0.0/16"), True),
        (asks("src_ip", "10.1.0.0/16"), asks("src_ip", "10.0.0.0/8"), False),
        (asks("src_ip", "10.0.0.0/9", "10.128.0.0/9"), asks("src_ip", "10.0.0.0/8"), True),
        (asks("category", "vpn"), both(asks("protocol", "wireguard"), asks("dest_port", 443)), True),
        (asks("protocol", "wireguard"), asks("category", "vpn"), False),
        (asks("confidence", Confidence.PROBABLE), asks("confidence", Confidence.CONFIRMED), True),
        (asks("confidence", Confidence.CONFIRMED), asks("confidence", Confidence.PROBABLE), False),
        (
            asks("server_name", "example", operator=Operator.DOMAIN),
            asks("tls.sni", "a.example", operator=Operator.DOMAIN),
            True,
        ),
        (
            asks("tls.sni", "a.example", operator=Operator.DOMAIN),
            asks("tls.sni", "xa.example", operator=Operator.DOMAIN),
            False,
        ),
        (asks("approved", True), asks("approved", "hq"), True),
        (asks("approved", "hq"), asks("approved", True), False),
        (neither(asks("dest_port", 443)), neither(asks("dest_port", 443, 80)), True),
        (neither(asks("dest_port", 443, 80)), neither(asks("dest_port", 443)), False),
    ],
)
def test_cover(above: Condition, below: Condition, covered: bool) -> None:
    assert covers(above, below, INVENTORY) is covered


@pytest.mark.parametrize(
    "condition",
    [
        both(asks("dest_port", 443), asks("dest_port", 80)),
        both(asks("src_ip", "10.0.0.0/9"), asks("src_ip", "10.128.0.0/9")),
        both(asks("src_ip", "10.0.0.0/9"), neither(asks("src_ip", "10.0.0.0/8"))),
        both(asks("category", "anonymity"), asks("protocol", "wireguard")),
        both(asks("protocol", "wireguard"), asks("proto", "TCP")),
        both(asks("proto", "ICMP"), asks("dest_port", 53)),
        both(asks("tls.sni", "x"), neither(asks("tls.sni", "x", "y"))),
        both(asks("protocol", "obfs4"), asks("confidence", Confidence.CONFIRMED)),
        both(asks("approved", "hq"), asks("approved", "branch")),
        both(asks("flow.pkts", 9, operator=Operator.AT_LEAST), asks("flow.pkts", 9, operator=Operator.BELOW)),
    ],
)
def test_what_contradicts_itself_is_impossible(condition: Condition) -> None:
    assert never(condition, INVENTORY) is not None


@pytest.mark.parametrize(
    "condition",
    [
        both(asks("tls.alpn", "h2"), asks("tls.alpn", "http/1.1")),
        both(asks("proto", "ICMP"), asks("dest_port", 0)),
        both(asks("flow.pkts", 8, operator=Operator.AT_LEAST), asks("flow.pkts", 9, operator=Operator.BELOW)),
        both(asks("protocol", "tls", "wireguard"), asks("proto", "TCP")),
    ],
)
def test_what_may_hold_is_not_impossible(condition: Condition) -> None:
    assert never(condition, INVENTORY) is None


def test_approved_is_impossible_only_without_approvals() -> None:
    assert never(asks("approved", True), Inventory.of(TOYS, ())) is not None
    assert never(asks("approved", True), INVENTORY) is None
    assert Approval("hq", "wireguard").name in INVENTORY.approvals
