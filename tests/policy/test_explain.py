"""Explanations: every kind of reason, part by part, for flows that were refused and for flows that passed."""

import json
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.engine import Engine
from middlebox.evidence import Confidence
from middlebox.flow import Flow
from middlebox.policy.explain import Explanation, Outcome, RuleExplained, explain_flow
from middlebox.policy.match import FALSE, TRUE, UNKNOWN, Matcher, compile_condition, evaluate
from middlebox.policy.rule import All, Any, Approval, Condition, Mode, Not, Operator, Policy, Rule, Schedule
from middlebox.verdict import Action
from tests.packets import CLIENT, SERVER, udp
from tests.toys import NameToy, VpnToy, asks, both, either, neither, policy, rule

NOON = 1_700_000_000.0
VPN = asks("protocol", "wireguard")
SURE = asks("confidence", Confidence.CONFIRMED, operator=Operator.AT_LEAST)


def on(name: str, condition: Condition, action: Action) -> Rule:
    """A rule with a single condition."""
    return rule(name, action, condition)


def flow_of(judged_by: Policy, *, answered: bool = True) -> Flow:
    """A flow of the toy VPN: a hello, and the welcome that confirms it."""
    flows: list[Flow] = []
    engine = Engine(judged_by, detectors=(VpnToy, NameToy), on_end=flows.append)
    engine.handle(udp(CLIENT, SERVER, b"vpn hello"), NOON)
    if answered:
        engine.handle(udp(SERVER, CLIENT, b"vpn welcome"), NOON + 1)
    engine.finish(NOON + 2)
    [flow] = flows
    return flow


def explained(
    shown: Policy, judged_by: Policy | None = None, *, at: float = NOON, answered: bool = True
) -> Explanation:
    """What `shown` says of a flow that `judged_by`, by default the same policy, has judged."""
    return explain_flow(flow_of(judged_by or shown, answered=answered), shown, Matcher(shown), at)


def of(explanation: Explanation, name: str) -> RuleExplained:
    [found] = [one for one in explanation.rules if one.rule == name]
    return found


REFUSE = on("refuse", both(VPN, SURE), Action.DROP)


# --- each kind of outcome -----------------------------------------------------------------------------


def test_the_rule_that_decided_says_so_and_shows_its_parts() -> None:
    result = explained(policy(REFUSE))
    decider = of(result, "refuse")
    assert decider.outcome is Outcome.DECIDED
    assert [(part.field, part.found, part.truth) for part in decider.parts] == [
        ("protocol", "wireguard", "yes"),
        ("confidence", "confirmed", "yes"),
    ]
    assert result.decision.startswith("drop at packet 2, by the rule refuse; 1 packet (37 bytes) had passed before")


def test_a_rule_that_did_not_match_says_which_part_failed_with_found_and_asked() -> None:
    one = of(explained(policy(on("tcp", both(VPN, asks("proto", "TCP")), Action.DROP), REFUSE)), "tcp")
    assert one.outcome is Outcome.FAILED
    [failed] = one.failing
    assert (failed.field, failed.found, failed.asked) == ("proto", "UDP", "TCP")


def test_what_stands_below_was_never_reached_and_says_whether_it_would_have_matched() -> None:
    result = explained(policy(REFUSE, on("too", VPN, Action.RESET), on("not", asks("proto", "TCP"), Action.RESET)))
    assert of(result, "too").outcome is of(result, "not").outcome is Outcome.UNREACHED
    assert of(result, "too").note == "never reached: refuse decided"
    assert (of(result, "too").would_match, of(result, "not").would_match) == ("yes", "no")


def test_a_log_rule_records_and_the_next_is_tried() -> None:
    result = explained(policy(on("seen", VPN, Action.LOG), REFUSE))
    assert of(result, "seen").outcome is Outcome.RECORDED
    assert of(result, "refuse").outcome is Outcome.DECIDED


def test_a_monitored_rule_says_what_it_would_have_done() -> None:
    watched = replace(on("watched", VPN, Action.RESET), monitor=True)
    result = explained(policy(watched, REFUSE), policy(REFUSE))
    assert of(result, "watched").outcome is Outcome.MONITORED
    assert "the verdict would be reset" in of(result, "watched").note


def test_sampling_that_left_the_flow_out_says_with_which_probability() -> None:
    sampled = replace(on("some", VPN, Action.SAMPLE), probability=0.25)
    result = explained(policy(sampled, REFUSE), policy(REFUSE))
    assert of(result, "some").outcome is Outcome.NOT_CHOSEN
    assert "probability 0.25" in of(result, "some").note


@pytest.mark.parametrize(
    ("begins", "ends", "says"),
    [
        (NOON + 3600, NOON + 7200, "which opens 2023-11-14 23:13:20 UTC"),
        (NOON - 7200, NOON - 3600, "which does not open again"),
    ],
)
def test_outside_its_schedule_a_rule_says_until_when(begins: float, ends: float, says: str) -> None:
    meeting = Schedule("meetings", begins=begins, ends=ends)
    timed = replace(on("timed", VPN, Action.RESET), during=meeting)
    one = of(explained(policy(timed, REFUSE), policy(REFUSE)), "timed")
    assert one.outcome is Outcome.CLOSED
    assert one.note == f"outside its schedule meetings, {says}"


def test_inside_its_schedule_a_rule_is_tried() -> None:
    timed = replace(REFUSE, during=Schedule("meetings", begins=NOON - 1, ends=NOON + 3600))
    assert of(explained(policy(timed), policy(REFUSE)), "refuse").outcome is Outcome.DECIDED


def test_an_undecided_rule_holds_back_those_below_and_names_who_is_at_work() -> None:
    result = explained(policy(REFUSE, on("below", asks("proto", "UDP"), Action.DROP)), answered=False)
    assert of(result, "refuse").outcome is Outcome.UNDECIDED
    assert of(result, "below").note == "never reached: refuse could not be decided yet"
    assert result.unfinished == ("vpntoy",)
    assert result.decision.startswith("pass: no verdict had fallen")
    assert [change.text for change in result.changes] == [
        "the rule below (drop) would have matched; it was never reached: refuse could not be decided yet"
    ]


def test_a_rule_that_may_still_act_is_named_with_what_it_waits_for() -> None:
    [change] = explained(policy(REFUSE), answered=False).changes
    assert change.text == (
        "the rule refuse (drop) may still act; not decided yet: confidence is possible, asked: confirmed"
    )


def test_what_was_known_too_late_says_when_the_verdict_fell() -> None:
    early = on("early", asks("proto", "UDP"), Action.PASS)
    result = explained(policy(REFUSE, early), policy(early))
    assert of(result, "refuse").outcome is Outcome.LATE
    assert "the verdict fell before, at packet 1" in of(result, "refuse").note


def test_a_flow_of_other_networks_says_that_no_rule_was_tried() -> None:
    elsewhere = replace(policy(REFUSE), home=(ip_network("10.0.0.0/8"),))
    result = explained(elsewhere)
    assert not result.rules
    assert "neither end is in the policy's home networks" in result.decision
    assert "add its network to home" in result.changes[0].text


def test_a_policy_that_only_monitors_says_that_everything_passed() -> None:
    watching = replace(policy(REFUSE), mode=Mode.MONITOR)
    assert "only monitors, so everything passed" in explained(watching).decision


def test_the_default_is_named_when_it_decided() -> None:
    result = explained(policy(on("tcp", asks("proto", "TCP"), Action.PASS), default=Action.DROP))
    assert "by the policy's default" in result.decision


# --- conditions within conditions ---------------------------------------------------------------------


def test_nested_conditions_are_explained_part_by_part() -> None:
    nested = both(either(asks("dest_port", 53), both(VPN, neither(asks("dest_port", 443)))), SURE)
    one = of(explained(policy(on("nested", nested, Action.DROP))), "nested")
    any_part, sure = one.parts
    assert (any_part.kind, any_part.truth, sure.truth) == ("any", "no", "yes")
    port, inner = any_part.parts
    assert (port.field, port.found, port.truth) == ("dest_port", "443", "no")
    assert (inner.kind, inner.truth) == ("all", "no")
    vpn, negated = inner.parts
    assert (vpn.truth, negated.kind, negated.truth, negated.parts[0].truth) == ("yes", "not", "no", "yes")


TESTS = st.sampled_from(
    [asks("dest_port", 1), asks("dest_port", 443), asks("tls.sni", "example.org"), VPN, SURE, asks("approved", True)]
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Any(tuple(parts))),
    ),
    max_leaves=8,
)


@given(condition=CONDITIONS, final_names=st.booleans(), answered=st.booleans())
def test_the_tree_has_the_truth_of_the_compiled_condition(
    condition: Condition, final_names: bool, answered: bool
) -> None:
    flow = flow_of(policy(REFUSE), answered=answered)
    approvable = frozenset({"wireguard"})
    check = compile_condition(condition, approvable, final_names=final_names)
    assert evaluate(condition, flow, approvable, final_names=final_names).truth == check(flow)


def test_the_tree_is_three_valued() -> None:
    flow = flow_of(policy(REFUSE), answered=False)
    tree = evaluate(both(SURE, asks("proto", "UDP"), asks("proto", "TCP")), flow, frozenset())
    assert [part.truth for part in tree.parts] == [UNKNOWN, TRUE, FALSE]
    assert tree.truth == FALSE


# --- approvals ----------------------------------------------------------------------------------------


def approval(**more: object) -> Approval:
    return replace(Approval("office", "wireguard", server=(ip_network("203.0.113.20"),)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_approval", "says"),
    [
        (approval(until=NOON - 1), "office expired on 2023-11-14"),
        (approval(begins=NOON + 60), "office begins"),
        (
            approval(server=(ip_network("192.0.2.7"),)),
            "office is for the server 192.0.2.7, and this flow goes to 203.0.113.20",
        ),
        (approval(public_keys=(bytes(32),)), "no handshake was seen that could prove one"),
    ],
)
def test_an_approval_that_does_not_cover_says_why(given_approval: Approval, says: str) -> None:
    result = explained(policy(REFUSE, approvals=(given_approval,)), policy(REFUSE))
    [said] = result.approvals
    assert says in said


def test_an_approval_covers_only_what_is_confirmed() -> None:
    result = explained(policy(REFUSE, approvals=(approval(),)), answered=False)
    assert "needs the protocol to be confirmed, and wireguard is possible so far" in result.approvals[0]


def test_approvals_for_other_protocols_are_counted() -> None:
    others = tuple(approval(name=f"vpn{number}", protocol="openvpn") for number in range(3))
    assert explained(policy(REFUSE, approvals=others)).approvals == (
        "3 approvals are for other protocols than wireguard",
    )


def test_a_covering_approval_is_named() -> None:
    lets_through = on("approved", asks("approved", True), Action.PASS)
    result = explained(policy(lets_through, REFUSE, approvals=(approval(),)))
    assert result.approvals == ("office covers it",)
    assert result.changes[0].text == "the rule refuse (drop) would have matched; it was never reached: approved decided"


# --- what would have changed it -----------------------------------------------------------------------


def test_a_refused_flow_is_told_of_an_approval_and_of_a_rule() -> None:
    lets_through = on("approved", asks("approved", True), Action.PASS)
    key, passing = explained(policy(lets_through, REFUSE)).changes
    assert key.text == "an approval by the server's public key, in the list approved"
    assert "protocol: wireguard" in key.snippet
    assert "above the rule refuse" in passing.text
    assert 'dest_ip: "203.0.113.20", dest_port: 443, proto: UDP' in passing.snippet


def test_without_a_rule_for_approved_flows_an_approval_alone_changes_nothing() -> None:
    key, _ = explained(policy(REFUSE)).changes
    assert "together with the rule {when: {approved: true}, action: pass} above the rule refuse" in key.text


def test_asking_leaves_the_flow_as_it_was() -> None:
    flow = flow_of(policy(REFUSE))
    explain_flow(flow, policy(REFUSE), Matcher(policy(REFUSE)), NOON)
    assert flow.approved is None


def test_a_passed_flow_is_told_of_the_nearest_refusing_rule_and_the_part_that_failed() -> None:
    far = on("far", both(asks("proto", "TCP"), asks("dest_port", 1)), Action.DROP)
    near = on("near", both(VPN, asks("dest_port", 1194)), Action.DROP)
    [change] = explained(policy(far, near)).changes
    assert change.text == "the rule near (drop) failed only here: dest_port is 443, asked: 1194"


def test_a_circumstance_that_failed_is_nearer_than_a_name_that_failed() -> None:
    about_another = on("another", both(asks("protocol", "openvpn"), SURE), Action.DROP)
    changes = explained(policy(about_another, on("near", both(VPN, asks("proto", "TCP")), Action.DROP))).changes
    assert changes[0].text.startswith("the rule near")


def test_a_policy_without_refusals_says_so() -> None:
    [change] = explained(policy(on("seen", VPN, Action.LOG))).changes
    assert change.text == "nothing: no rule of this policy refuses anything"


def test_of_many_rules_only_the_near_ones_are_shown() -> None:
    far = [on(f"far{n}", both(asks("proto", "TCP"), asks("dest_port", 1000 + n)), Action.DROP) for n in range(994)]
    near = [on(f"near{n}", both(VPN, asks("dest_port", n)), Action.DROP) for n in range(7)]
    result = explained(policy(*far, *near))
    assert [one.rule for one in result.rules] == [f"near{n}" for n in range(5)]
    assert result.rules_left_out == {"failed": 996, "unreached": 0, "near": 2}


def test_it_is_plain_data() -> None:
    said = explained(policy(REFUSE)).as_dict()
    assert json.loads(json.dumps(said)) == said
    assert set(said) >= {"flow", "decision", "rules", "approvals", "changes", "unfinished"}
