"""Rules against flows: the three-valued tables, and that what is not known yet holds back what stands below."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import Detector
from middlebox.evidence import Confidence, Opinion, Proof
from middlebox.policy.match import FALSE, TRUE, UNKNOWN, Matcher, compile_condition, in_networks
from middlebox.policy.rule import Approval, Condition, Operator, Rule
from middlebox.verdict import Action
from tests.toys import GreedyToy, NameToy, VpnToy, asks, both, either, neither, policy, rule, toy

NOTHING: frozenset[str] = frozenset()
VALUES = (FALSE, UNKNOWN, TRUE)


@dataclass
class Seen:
    """A flow as far as rules look at it."""

    client: bytes = ip_address("198.51.100.10").packed
    server: bytes = ip_address("203.0.113.20").packed
    client_port: int = 40112
    server_port: int = 443
    transport_name: str = "TCP"
    protocol: str = "unknown"
    confidence: Confidence | None = None
    facts: dict[str, object] = field(default_factory=dict)
    approved: str | None = None
    proofs: list[Proof] = field(default_factory=list)
    pending: list[type[Detector]] = field(default_factory=list)


def truth(condition: Condition, flow: Seen, approvable: frozenset[str] = NOTHING) -> int:
    return compile_condition(condition, approvable)(flow)  # type: ignore[arg-type]


def judge(flow: Seen, *rules: Rule, default: Action = Action.PASS, approvals: tuple[Approval, ...] = ()):  # type: ignore[no-untyped-def]
    return Matcher(policy(*rules, default=default, approvals=approvals)).judge(flow)  # type: ignore[arg-type]


def constant(value: int) -> Condition:
    """A condition that has this truth on `PARTLY_KNOWN`."""
    return {
        FALSE: asks("dest_port", 1), UNKNOWN: asks("tls.sni", "example.org"), TRUE: asks("dest_port", 443),
    }[value]  # fmt: skip


PARTLY_KNOWN = Seen(pending=[NameToy])


# --- the logic --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES)
def test_the_constants_of_these_tests_are_what_they_say(value: int) -> None:
    assert truth(constant(value), PARTLY_KNOWN) == value


@pytest.mark.parametrize(
    ("one", "other", "all_of", "any_of"),
    [
        (FALSE, FALSE, FALSE, FALSE),
        (FALSE, UNKNOWN, FALSE, UNKNOWN),
        (FALSE, TRUE, FALSE, TRUE),
        (UNKNOWN, FALSE, FALSE, UNKNOWN),
        (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
        (UNKNOWN, TRUE, UNKNOWN, TRUE),
        (TRUE, FALSE, FALSE, TRUE),
        (TRUE, UNKNOWN, UNKNOWN, TRUE),
        (TRUE, TRUE, TRUE, TRUE),
    ],
)
def test_all_and_any_follow_kleene(one: int, other: int, all_of: int, any_of: int) -> None:
    assert truth(both(constant(one), constant(other)), PARTLY_KNOWN) == all_of
    assert truth(either(constant(one), constant(other)), PARTLY_KNOWN) == any_of


@pytest.mark.parametrize(("value", "opposite"), [(FALSE, TRUE), (UNKNOWN, UNKNOWN), (TRUE, FALSE)])
def test_not_is_the_mirror_image(value: int, opposite: int) -> None:
    assert truth(neither(constant(value)), PARTLY_KNOWN) == opposite


def test_an_empty_all_is_true_and_an_empty_any_is_false() -> None:
    assert truth(both(), Seen()) == TRUE
    assert truth(either(), Seen()) == FALSE


CONDITIONS = st.recursive(
    st.sampled_from(VALUES).map(constant),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: both(*parts)),
        st.lists(inner, max_size=3).map(lambda parts: either(*parts)),
        inner.map(neither),
    ),
    max_leaves=12,
)


@given(CONDITIONS)
def test_what_is_known_now_stays_true_whatever_is_found_out_later(condition: Condition) -> None:
    now = truth(condition, PARTLY_KNOWN)
    for later in (Seen(), Seen(facts={"tls.sni": "example.org"}), Seen(facts={"tls.sni": "other.example"})):
        if now != UNKNOWN:
            assert truth(condition, later) == now


# --- each field -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        (asks("src_ip", "198.51.100.0/24"), TRUE),
        (asks("src_ip", "198.51.101.0/24"), FALSE),
        (asks("src_ip", "203.0.113.20/32"), FALSE),
        (asks("dest_ip", "2001:db8::/32", "203.0.113.20/32"), TRUE),
        (asks("dest_ip", "0.0.0.0/0"), TRUE),
        (asks("dest_ip", "::/0"), FALSE),
        (asks("src_port", 40112), TRUE),
        (asks("src_port", 443), FALSE),
        (asks("dest_port", 80, 443), TRUE),
        (asks("dest_port", 40112), FALSE),
        (asks("proto", "TCP"), TRUE),
        (asks("proto", "UDP", "ESP"), FALSE),
    ],
)
def test_addresses_ports_and_transport_are_known_at_once(condition: Condition, value: int) -> None:
    assert truth(condition, PARTLY_KNOWN) == value


@pytest.mark.parametrize("spelling", ["protocol", "app_proto"])
def test_a_protocol_is_unknown_while_its_detector_works(spelling: str) -> None:
    condition = asks(spelling, "wireguard", "openvpn")
    assert truth(condition, Seen(pending=[VpnToy])) == UNKNOWN
    assert truth(condition, Seen(pending=[NameToy])) == FALSE
    assert truth(condition, Seen()) == FALSE
    assert truth(condition, Seen(protocol="wireguard", confidence=Confidence.POSSIBLE)) == TRUE
    assert truth(condition, Seen(protocol="tls", confidence=Confidence.CONFIRMED, pending=[GreedyToy])) == UNKNOWN


def test_unknown_is_a_protocol_only_when_nobody_can_tell_otherwise() -> None:
    condition = asks("protocol", "unknown")
    assert truth(condition, Seen(pending=[VpnToy])) == UNKNOWN
    assert truth(condition, Seen()) == TRUE
    assert truth(condition, Seen(protocol="tls", confidence=Confidence.POSSIBLE)) == FALSE
    assert truth(condition, Seen(protocol="tls", confidence=Confidence.POSSIBLE, pending=[VpnToy])) == FALSE


def test_not_unknown_waits_too() -> None:
    condition = neither(asks("protocol", "unknown"))
    assert truth(condition, Seen(pending=[VpnToy])) == UNKNOWN
    assert truth(condition, Seen()) == FALSE


def test_a_category_holds_all_its_protocols() -> None:
    vpn = asks("category", "vpn", "proxy")
    assert truth(vpn, Seen(protocol="openvpn", confidence=Confidence.CONFIRMED)) == TRUE
    assert truth(vpn, Seen(protocol="tls", confidence=Confidence.CONFIRMED)) == FALSE
    assert truth(vpn, Seen(protocol="tls", confidence=Confidence.CONFIRMED, pending=[VpnToy])) == UNKNOWN
    assert truth(asks("category", "unknown"), Seen()) == TRUE


@pytest.mark.parametrize("found", [None, *Confidence])
@pytest.mark.parametrize("least", Confidence)
def test_the_confidence_floor(found: Confidence | None, least: Confidence) -> None:
    enough = found is not None and found >= least
    condition = asks("confidence", least)
    assert truth(condition, Seen(confidence=found)) == (TRUE if enough else FALSE)
    assert truth(condition, Seen(confidence=found, pending=[VpnToy])) == (TRUE if enough else UNKNOWN)


def test_a_detector_that_never_reaches_the_floor_keeps_nothing_waiting() -> None:
    class Statistical(VpnToy):  # type: ignore[valid-type,misc]
        reaches = Confidence.PROBABLE

    flow = Seen(confidence=Confidence.POSSIBLE, pending=[Statistical])
    assert truth(asks("confidence", Confidence.CONFIRMED), flow) == FALSE
    assert truth(asks("confidence", Confidence.PROBABLE), flow) == UNKNOWN


APPROVABLE = frozenset({"wireguard"})
CONFIRMED_TUNNEL = Seen(protocol="wireguard", confidence=Confidence.CONFIRMED)
WORKING = Seen(pending=[VpnToy])
APPROVED = Seen(protocol="wireguard", confidence=Confidence.CONFIRMED, approved="hq")
ORDINARY = Seen(protocol="tls", confidence=Confidence.CONFIRMED)


@pytest.mark.parametrize(
    ("wanted", "approved", "confirmed", "working", "ordinary"),
    [
        ((True,), TRUE, FALSE, UNKNOWN, FALSE),
        ((False,), FALSE, TRUE, UNKNOWN, TRUE),
        (("hq",), TRUE, FALSE, UNKNOWN, FALSE),
        (("branch",), FALSE, FALSE, UNKNOWN, FALSE),
        (("branch", "hq"), TRUE, FALSE, UNKNOWN, FALSE),
        (("branch", False), FALSE, TRUE, UNKNOWN, TRUE),
        ((True, False), TRUE, TRUE, UNKNOWN, TRUE),
    ],
)
def test_approved(wanted: tuple[object, ...], approved: int, confirmed: int, working: int, ordinary: int) -> None:
    condition = asks("approved", *wanted)
    assert truth(condition, APPROVED, APPROVABLE) == approved
    assert truth(condition, CONFIRMED_TUNNEL, APPROVABLE) == confirmed
    assert truth(condition, WORKING, APPROVABLE) == working
    assert truth(condition, ORDINARY, APPROVABLE) == ordinary


def test_approved_waits_for_nobody_when_there_is_nothing_to_approve() -> None:
    assert truth(asks("approved", True), WORKING) == FALSE
    assert truth(asks("approved", False), WORKING) == TRUE


def test_a_confirmed_tunnel_is_unapproved_also_while_a_proof_may_come() -> None:
    flow = Seen(protocol="wireguard", confidence=Confidence.CONFIRMED, pending=[VpnToy])
    assert truth(asks("approved", False), flow, APPROVABLE) == TRUE


def test_a_fact_is_unknown_while_its_detector_works() -> None:
    condition = asks("tls.sni", "example.org")
    assert truth(condition, Seen(pending=[NameToy])) == UNKNOWN
    assert truth(condition, Seen(pending=[VpnToy])) == FALSE
    assert truth(condition, Seen(facts={"tls.sni": "example.org"}, pending=[NameToy])) == TRUE
    assert truth(condition, Seen(facts={"tls.sni": "other.example"}, pending=[NameToy])) == FALSE


@pytest.mark.parametrize("fact", ["tls.sni", "quic.sni", "http.hostname"])
def test_the_server_name_is_whichever_fact_shows_it(fact: str) -> None:
    assert truth(asks("server_name", "example.org"), Seen(facts={fact: "example.org"})) == TRUE
    assert truth(asks("server_name", "example.org"), Seen(facts={fact: "example.com"})) == FALSE


def test_the_server_name_is_unknown_while_anybody_may_show_it() -> None:
    assert truth(asks("server_name", "example.org"), Seen(pending=[NameToy])) == UNKNOWN
    assert truth(asks("server_name", "example.org"), Seen()) == FALSE


@pytest.mark.parametrize(
    ("operator", "value", "text", "fits"),
    [
        (Operator.IN, "example.org", "example.org", True),
        (Operator.IN, "example.org", "www.example.org", False),
        (Operator.ENDSWITH, ".org", "example.org", True),
        (Operator.ENDSWITH, ".com", "example.org", False),
        (Operator.STARTSWITH, "www.", "www.example.org", True),
        (Operator.STARTSWITH, "www.", "example.org", False),
        (Operator.CONTAINS, "ampl", "example.org", True),
        (Operator.CONTAINS, "AMPL", "example.org", False),
        (Operator.DOMAIN, "example.org", "example.org", True),
        (Operator.DOMAIN, "example.org", "a.b.example.org", True),
        (Operator.DOMAIN, "example.org", "A.Example.ORG.", True),
        (Operator.DOMAIN, "Example.org.", "example.org", True),
        (Operator.DOMAIN, "example.org", "badexample.org", False),
        (Operator.DOMAIN, "example.org", "example.org.evil.test", False),
        (Operator.DOMAIN, "example.org", "org", False),
        (Operator.DOMAIN, "example.org", "", False),
    ],
)
def test_texts_are_compared_as_the_operator_says(operator: Operator, value: str, text: str, fits: bool) -> None:
    condition = asks("tls.sni", value, operator=operator)
    assert truth(condition, Seen(facts={"tls.sni": text})) == (TRUE if fits else FALSE)


def test_a_list_fits_when_any_of_its_items_does() -> None:
    flow = Seen(facts={"tls.client_alpns": ["h2", "http/1.1"]})
    assert truth(asks("tls.client_alpns", "h2"), flow) == TRUE
    assert truth(asks("tls.client_alpns", "http/", operator=Operator.STARTSWITH), flow) == TRUE
    assert truth(asks("tls.client_alpns", "h3"), flow) == FALSE


def test_numbers_and_truths_are_compared_as_themselves() -> None:
    assert truth(asks("http.status", 404), Seen(facts={"http.status": 404})) == TRUE
    assert truth(asks("http.status", "404"), Seen(facts={"http.status": 404})) == FALSE
    assert truth(asks("tls.ech", True), Seen(facts={"tls.ech": True})) == TRUE


# --- networks ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=8),
    st.lists(st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)), max_size=4),
    st.one_of(st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes(4, "big")), st.binary(min_size=16, max_size=16)),
)
def test_in_networks_is_what_ipaddress_says(
    four: list[tuple[int, int]], six: list[tuple[int, int]], address: bytes
) -> None:
    networks = [ip_network((number.to_bytes(4, "big"), prefix), strict=False) for number, prefix in four]
    networks += [ip_network((number.to_bytes(16, "big"), prefix), strict=False) for number, prefix in six]
    assert in_networks(networks)(address) == any(ip_address(address) in network for network in networks)


# --- policies ---------------------------------------------------------------------------------------


def spelled(values: tuple[int, ...]) -> str:
    return " ".join(("FALSE", "UNKNOWN", "TRUE")[value] for value in values)


@pytest.mark.parametrize("values", list(product(VALUES, repeat=3)), ids=spelled)
def test_the_first_true_rule_wins_unless_one_above_is_unknown(values: tuple[int, ...]) -> None:
    rules = [rule(f"rule {n}", Action.DROP, constant(value)) for n, value in enumerate(values)]
    ruling = judge(PARTLY_KNOWN, *rules, default=Action.REJECT)
    first = next((n for n, value in enumerate(values) if value != FALSE), None)
    if first is None:
        assert (ruling.action, ruling.rule) == (Action.REJECT, None)
    elif values[first] == UNKNOWN:
        assert (ruling.action, ruling.rule) == (None, None)
    else:
        assert (ruling.action, ruling.rule) == (Action.DROP, rules[first])


def test_log_rules_fall_through() -> None:
    seen, unseen = rule("seen", Action.LOG, constant(TRUE)), rule("unseen", Action.LOG, constant(FALSE))
    block, below = rule("block", Action.DROP, constant(TRUE)), rule("below", Action.LOG, constant(TRUE))
    ruling = judge(PARTLY_KNOWN, unseen, seen, block, below)
    assert (ruling.action, ruling.rule, ruling.logged, ruling.log_pending) == (Action.DROP, block, (seen,), False)


def test_a_log_rule_that_is_unknown_holds_nobody_back() -> None:
    ruling = judge(
        PARTLY_KNOWN, rule("wait", Action.LOG, constant(UNKNOWN)), rule("block", Action.DROP, constant(TRUE))
    )
    assert (ruling.action, ruling.logged, ruling.log_pending) == (Action.DROP, (), True)


def test_without_rules_the_default_holds_at_once() -> None:
    ruling = judge(PARTLY_KNOWN, default=Action.REJECT)
    assert (ruling.action, ruling.rule) == (Action.REJECT, None)


def test_an_approval_may_come_while_a_detector_of_its_protocol_works() -> None:
    matcher = Matcher(policy(approvals=(Approval("hq", "wireguard", public_keys=(bytes(32),)),)))
    assert matcher.approval_may_come(Seen(pending=[NameToy, VpnToy]))  # type: ignore[arg-type]
    assert not matcher.approval_may_come(Seen(pending=[NameToy]))  # type: ignore[arg-type]
    assert not Matcher(policy()).approval_may_come(Seen(pending=[VpnToy]))  # type: ignore[arg-type]


def test_order_holds_for_a_name_that_a_better_one_may_replace() -> None:
    # A flow goes by `tls` until the detector of what it carries has spoken. The rule on `tls` stands above, but
    # the flow's name is still open: `openvpn` over TLS would be renamed and then be decided by the second rule.
    flow = Seen(protocol="tls", confidence=Confidence.PROBABLE, pending=[GreedyToy])
    ordinary = rule("ordinary", Action.PASS, asks("protocol", "tls"))
    vpn = rule("vpn", Action.DROP, asks("protocol", "openvpn"))
    assert judge(flow, ordinary, vpn).action is None
    assert judge(Seen(protocol="tls", confidence=Confidence.PROBABLE), ordinary, vpn).rule == ordinary


def test_a_rule_that_refuses_does_not_wait_for_a_better_name() -> None:
    # A refused flow never shows what it carries. Waiting would only let packets through.
    flow = Seen(protocol="tls", confidence=Confidence.PROBABLE, pending=[GreedyToy])
    assert judge(flow, rule("no-tls", Action.DROP, asks("protocol", "tls"))).action is Action.DROP


def test_a_rule_on_what_stays_unknown_waits_for_every_detector() -> None:
    unknown = rule("unknown", Action.DROP, asks("protocol", "unknown"))
    assert judge(Seen(pending=[GreedyToy]), unknown).action is None
    assert judge(Seen(), unknown).action is Action.DROP


# --- near misses ------------------------------------------------------------------------------------


def near_misses(flow: Seen, *rules: Rule) -> list[dict[str, str]]:
    return Matcher(policy(*rules)).near_misses(flow)  # type: ignore[arg-type]


VPN_SEEN = Seen(protocol="openvpn", confidence=Confidence.PROBABLE, facts={"tls.sni": "example.org"})
VPN = asks("category", "vpn")


@pytest.mark.parametrize(
    ("test", "because"),
    [
        (asks("confidence", Confidence.CONFIRMED), "confidence is probable, the rule asks for confirmed"),
        (asks("protocol", "wireguard"), "protocol is openvpn, the rule asks for wireguard"),
        (asks("category", "proxy"), "category is vpn, the rule asks for proxy"),
        (asks("approved", True), "approved is no approval covers it, the rule asks for True"),
        (asks("src_ip", "192.0.2.0/24"), "src_ip is 198.51.100.10, the rule asks for 192.0.2.0/24"),
        (asks("dest_ip", "192.0.2.0/24"), "dest_ip is 203.0.113.20, the rule asks for 192.0.2.0/24"),
        (asks("src_port", 1), "src_port is 40112, the rule asks for 1"),
        (asks("dest_port", 1194), "dest_port is 443, the rule asks for 1194"),
        (asks("proto", "UDP", "ESP"), "proto is TCP, the rule asks for UDP ESP"),
        (asks("tls.sni", "example.com"), "tls.sni is example.org, the rule asks for example.com"),
        (asks("server_name", "example.com"), "server_name is example.org, the rule asks for example.com"),
        (asks("quic.sni", "example.com"), "quic.sni is not seen, the rule asks for example.com"),
    ],
)
def test_a_near_miss_says_what_was_found_and_what_was_asked(test: Condition, because: str) -> None:
    fits = asks("proto", "TCP")
    assert near_misses(VPN_SEEN, rule("block", Action.DROP, fits, test)) == [{"rule": "block", "because": because}]


def test_a_rule_that_fails_twice_is_no_near_miss() -> None:
    assert near_misses(VPN_SEEN, rule("far", Action.DROP, asks("dest_port", 1), asks("proto", "UDP"), VPN)) == []


def test_a_rule_with_a_single_test_has_no_near_miss() -> None:
    assert near_misses(VPN_SEEN, rule("far", Action.DROP, asks("dest_port", 1))) == []


def test_rules_below_the_one_that_matched_were_not_missed() -> None:
    close = rule("close", Action.DROP, VPN, asks("dest_port", 1194))
    assert near_misses(VPN_SEEN, rule("hit", Action.PASS, VPN), close) == []
    assert near_misses(VPN_SEEN, rule("note", Action.LOG, VPN), close)[0]["rule"] == "close"


# --- a name and a least confidence together ----------------------------------------------------------

STATISTICAL = toy("stat", lambda _: Opinion.MORE, protocols=("tls-in-tls",), reaches=Confidence.PROBABLE)
SURE = toy("sure", lambda _: Opinion.MORE, protocols=("socks5",), reaches=Confidence.CONFIRMED)


@pytest.mark.parametrize(
    ("pending", "least", "value"),
    [
        ([STATISTICAL], Confidence.CONFIRMED, FALSE),
        ([STATISTICAL], Confidence.PROBABLE, UNKNOWN),
        ([STATISTICAL, SURE], Confidence.CONFIRMED, UNKNOWN),
    ],
)
def test_nothing_waits_for_a_detector_that_never_gets_so_sure(
    pending: list[type[Detector]], least: Confidence, value: int
) -> None:
    # A TLS flow, in which a detector still looks for a proxy: is it a proxy, at least so surely?
    flow = Seen(protocol="tls", confidence=Confidence.CONFIRMED, pending=pending)
    assert truth(both(asks("category", "proxy"), asks("confidence", least)), flow) == value
    assert truth(both(asks("confidence", least), either(asks("protocol", "tls-in-tls", "socks5"))), flow) == value


def test_a_name_alone_still_waits_for_every_detector() -> None:
    flow = Seen(protocol="tls", confidence=Confidence.CONFIRMED, pending=[STATISTICAL])
    assert truth(asks("category", "proxy"), flow) == UNKNOWN


def test_a_rule_below_acts_while_a_statistical_detector_is_at_work() -> None:
    vpns = rule("vpns", Action.DROP, asks("category", "proxy"), asks("confidence", Confidence.CONFIRMED))
    site = rule("site", Action.RESET, asks("tls.sni", "blocked.example"))
    flow = Seen(
        protocol="tls", confidence=Confidence.CONFIRMED, facts={"tls.sni": "blocked.example"}, pending=[STATISTICAL]
    )
    assert judge(flow, vpns, site).rule is site
