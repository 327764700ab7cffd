"""The judge: what counts as refused, what counts as passed, and what does not."""

import pytest

from middlebox.lab.judge import judge_crossing, judge_log, judge_step, matches, score_protocols
from middlebox.lab.result import InterfaceCounters, wilson_interval
from middlebox.lab.scenario import LogCheck
from tests.lab.results import CONTROL, HTTPS, PASSED, REFUSED, SCENARIO, VPN, event, https_event


def judge_vpn(attempt=REFUSED, control=CONTROL, events=None):
    events = [event("decision"), event("flow")] if events is None else events
    return judge_step(SCENARIO, VPN, attempt, control, events)


def judge_https(attempt=PASSED, events=None):
    return judge_step(SCENARIO, HTTPS, attempt, None, [https_event()] if events is None else events)


def test_refusal_by_the_named_rule_is_as_expected():
    step = judge_vpn()
    assert step.as_expected
    assert (step.rule, step.seen_as, step.by_packet, step.passed_packets) == (
        "unapproved-vpn",
        "openvpn confirmed",
        2,
        1,
    )


def test_refusal_that_also_happens_without_a_policy_proves_nothing():
    assert judge_vpn(control=REFUSED).problems == ["already without a policy it was refused: no answer"]


def test_tunnel_that_came_up_was_not_refused():
    assert judge_vpn(attempt=PASSED).problems[0] == "it passed, expected refused: all of it"


def test_refusal_by_another_rule_is_not_the_expected_one():
    assert judge_vpn(events=[event(rule="blocked-site")]).problems == [
        "decided by blocked-site, expected unapproved-vpn"
    ]


def test_refusal_that_no_rule_made_is_not_the_expected_one():
    assert judge_vpn(events=[event(verdict="pass", rule=None)]).problems == [
        "decided by no rule, expected unapproved-vpn"
    ]


def test_flow_that_went_round_the_gateway_is_noticed():
    assert judge_https(events=[]).problems == ["the gateway saw no flow of it"]


def test_events_of_another_source_port_belong_to_another_step():
    assert judge_vpn(events=[event(port=20_200)]).problems == ["the gateway saw no flow of it"]


def test_ordinary_step_passes_untouched():
    assert judge_https().as_expected


def test_ordinary_step_that_a_rule_touched_is_not_as_expected_even_if_it_went_through():
    events = [https_event("decision", verdict="reset", rule="blocked-site"), https_event()]
    assert judge_https(events=events).problems == ["blocked-site touched it"]


def test_reset_also_counts_as_a_refusal_but_a_refusal_is_no_reset():
    reset = HTTPS.model_copy(update={"expect": VPN.expect.model_copy(update={"outcome": "reset"})})
    problems = judge_step(SCENARIO, reset, REFUSED, CONTROL, [https_event()]).problems
    assert "it was refused, expected reset: no answer" in problems


@pytest.mark.parametrize(
    ("check", "met"),
    [({"count": 1}, True), ({"count": 0}, False), ({"at_least": 1}, True), ({"at_least": 2}, False)],
)
def test_events_are_counted_against_what_the_log_must_say(check, met):
    match = {"event_type": "decision", "middlebox.rule": "unapproved-vpn"}
    found = judge_log([LogCheck(match=match, **check)], [event("decision"), event("flow"), https_event()])
    assert [each.met for each in found] == [met]
    assert found[0].found == "1"


def test_path_that_an_event_does_not_have_is_not_null():
    assert not matches({"event_type": "error"}, {"middlebox.rule": None})
    assert matches({"middlebox": {"rule": None}}, {"middlebox.rule": None})


def test_interface_without_packets_means_that_traffic_did_not_cross():
    silent = InterfaceCounters(interface="x", side="server", packets_in=0, packets_out=3, bytes_in=0, bytes_out=300)
    assert [check.met for check in judge_crossing([silent])] == [False]


def test_protocol_seen_where_it_was_not_is_a_false_positive():
    wrong = judge_https(events=[event(port=20_000, service_port=443, proto="TCP", verdict="pass", rule=None)])
    scores = {score.name: score for score in score_protocols([judge_vpn(), wrong])}
    assert (scores["openvpn"].true_positives, scores["openvpn"].false_positives) == (1, 1)
    assert scores["tls"].false_negatives == 1


def test_wilson_interval_agrees_with_the_published_example():
    # 81 of 263: 0.255 to 0.366. Newcombe, Statistics in Medicine 17 (1998), table I.
    interval = wilson_interval(81, 263)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 0) is None
