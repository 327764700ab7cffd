"""The engine: decisions, approvals, budgets, failures and names. Packets on their way to a flow: test_engine_flows."""

import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT, Conversation, Detector
from middlebox.engine import (
    ERROR_EVENT_SECONDS,
    LEAST_BYTES_INSPECTED,
    MAX_PACKETS_INSPECTED,
    PACKETS_INSPECTED,
    Engine,
)
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from middlebox.packet import ESP, UDP
from middlebox.policy.rule import Approval, FailurePolicy, Mode, Policy
from middlebox.shells.capture import Capture
from middlebox.verdict import UNDECIDED, Action, Decision, Verdict
from tests.judging import (
    APPROVAL_POLICY,
    APPROVED_KEY,
    BLOCK_SURE_VPN,
    BLOCK_VPN,
    HELLO,
    HQ,
    OTHER_KEY,
    PASS_APPROVED,
    PASSED,
    TOYS,
    WELCOME,
    answer,
    engine_for,
    events_of,
    key_message,
    run,
    the_flow,
    verdicts,
    vpn,
)
from tests.packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    Connection,
    echo,
    ipv4,
    ipv4_fragments,
    ipv6,
    ipv6_fragments,
    udp,
    udp_datagram,
)
from tests.test_packet import likely_packets
from tests.toys import CrashToy, GreedyToy, NameToy, VpnToy, asks, both, policy, rule, toy

# --- one decision, always ---------------------------------------------------------------------------


@given(st.lists(likely_packets(), max_size=12), st.booleans())
def test_any_bytes_get_exactly_one_decision(raws: list[bytes], enforcing: bool) -> None:
    engine = engine_for(policy(BLOCK_VPN, mode=Mode.ENFORCE if enforcing else Mode.MONITOR))
    for decision in run(engine, raws):
        assert isinstance(decision, Decision)
    engine.finish(100.0)
    assert engine.counters.packets == len(raws)
    assert engine.counters.internal_errors == 0


@pytest.mark.parametrize(
    "raw",
    [
        Connection().syn(b"hello"),
        Connection(CLIENT6, SERVER6).syn(b"hello"),
        HELLO,
        udp(CLIENT6, SERVER6, b"vpn hello"),
        echo(CLIENT[0], SERVER[0], 0x0800),
        echo(CLIENT6[0], SERVER6[0], 0x8000),
        ipv4(CLIENT[0], SERVER[0], UDP, udp_datagram(CLIENT, SERVER, b"vpn hello"), options=b"\x94\x04\0\0"),
        ipv6(CLIENT6[0], SERVER6[0], UDP, udp_datagram(CLIENT6, SERVER6), extensions=[(0, b"\0\x01\x04\0\0\0\0")]),
        ipv4_fragments(HELLO, [8])[0],
        ipv6_fragments(udp(CLIENT6, SERVER6, b"vpn hello"), [8])[0],
    ],
    ids=["tcp", "tcp6", "udp", "udp6", "echo", "echo6", "options", "chain", "part", "part6"],
)
def test_a_packet_cut_at_any_byte_gets_one_decision_on_a_new_and_on_a_settled_flow(raw: bytes) -> None:
    engine = engine_for(policy(rule("all", Action.DROP)))
    for _ in range(2):
        for length in range(len(raw) + 1):
            assert isinstance(engine.handle(raw[:length], 0.0), Decision)
        engine.handle(raw, 0.0)
    assert engine.counters.packets == 2 * (len(raw) + 2)
    assert engine.counters.internal_errors == 0


def test_an_ordinary_flow_passes_and_is_settled_when_no_detector_is_left() -> None:
    engine = engine_for()
    assert run(engine, [vpn(b"vpn hello"), answer(b"whatever")]) == [
        Decision(Verdict.PASS, settled=False),
        PASSED,
    ]


def test_transports_without_detectors_are_settled_at_once() -> None:
    engine = engine_for()
    assert run(engine, [ipv4(CLIENT[0], SERVER[0], ESP, b"esp"), echo(CLIENT6[0], SERVER6[0], 1)]) == [PASSED, PASSED]


# --- decisions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [Action.DROP, Action.RESET, Action.REJECT])
def test_a_refusal_falls_on_the_packet_that_shows_it_and_stays(action: Action) -> None:
    sure_vpn = rule("block-vpn", action, asks("category", "vpn"), asks("confidence", Confidence.CONFIRMED))
    engine = engine_for(policy(sure_vpn))
    decisions = run(engine, [HELLO, WELCOME, vpn(b"data"), answer(b"data")])
    assert verdicts(decisions) == ["PASS", action.name, action.name, action.name]
    assert [decision.settled for decision in decisions] == [False, True, True, True]
    assert {decision.rule for decision in decisions[1:]} == {"block-vpn"}


def test_the_record_of_a_refused_flow_says_when_and_what_had_passed() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN))
    run(engine, [HELLO, HELLO, WELCOME, vpn(b"data"), vpn(b"data")])
    about = the_flow(engine)["middlebox"]
    assert (about["verdict"], about["rule"], about["by_packet"]) == ("drop", "block-vpn", 3)
    assert (about["passed_packets"], about["passed_bytes"]) == (2, 2 * len(HELLO))


def test_a_refusal_on_the_first_packet_lets_nothing_pass() -> None:
    engine = engine_for(policy(BLOCK_VPN))
    assert run(engine, [HELLO]) == [Decision(Verdict.DROP, settled=True, rule="block-vpn")]
    about = the_flow(engine)["middlebox"]
    assert (about["by_packet"], about["passed_packets"], about["passed_bytes"]) == (1, 0, 0)


def test_everything_of_a_flow_that_passes_has_passed() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN))
    packets = [vpn(b"something else"), answer(b"something else")]
    run(engine, packets)
    about = the_flow(engine)["middlebox"]
    assert (about["verdict"], about["passed_packets"]) == ("pass", 2)
    assert about["passed_bytes"] == sum(map(len, packets))


def test_the_confidence_floor_keeps_a_rule_from_acting_on_less() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN))
    assert verdicts(run(engine, [HELLO] * 40)) == ["PASS"] * 40
    about = the_flow(engine)["middlebox"]
    assert (about["protocol"], about["confidence"], about["verdict"]) == ("wireguard", "possible", "pass")
    assert about["near_misses"] == [
        {"rule": "block-vpn", "because": "confidence is possible, the rule asks for confirmed"}
    ]


def test_a_rule_that_is_unknown_holds_back_the_ones_below() -> None:
    named = rule("named", Action.PASS, asks("tls.sni", "good.example"))
    engine = engine_for(policy(named, rule("port", Action.DROP, asks("dest_port", SERVER[1]))), (NameToy,))
    connection = Connection()
    packets = [*connection.handshake(), connection.client(b"name good."), connection.client(b"example\n")]
    decisions = run(engine, packets)
    assert verdicts(decisions) == ["PASS"] * 5
    assert [decision.rule for decision in decisions] == [None, None, None, None, "named"]
    assert decisions[-1].settled


def test_a_rule_held_back_acts_when_the_one_above_fails() -> None:
    named = rule("named", Action.PASS, asks("tls.sni", "good.example"))
    engine = engine_for(policy(named, rule("port", Action.RESET, asks("dest_port", SERVER[1]))), (NameToy,))
    connection = Connection()
    decisions = run(engine, [*connection.handshake(), connection.client(b"name bad.example\n")])
    assert verdicts(decisions) == ["PASS", "PASS", "PASS", "RESET"]


def test_a_rule_on_addresses_acts_on_the_first_packet() -> None:
    engine = engine_for(policy(rule("port", Action.REJECT, asks("dest_port", SERVER[1]))), (GreedyToy,))
    assert run(engine, [Connection().syn()]) == [Decision(Verdict.REJECT, settled=True, rule="port")]


def test_a_flow_that_a_rule_passes_is_still_named_before_it_is_settled() -> None:
    engine = engine_for(policy(rule("port", Action.PASS, asks("dest_port", SERVER[1]))))
    connection = Connection()
    decisions = run(engine, [*connection.handshake(), connection.client(b"name a.example\n")])
    assert [(decision.rule, decision.settled) for decision in decisions] == [("port", False)] * 3 + [("port", True)]
    about = the_flow(engine)["middlebox"]
    assert (about["protocol"], about["by_packet"]) == ("tls", 1)


def test_the_default_may_refuse() -> None:
    engine = engine_for(policy(default=Action.DROP), ())
    assert run(engine, [HELLO]) == [Decision(Verdict.DROP, settled=True, rule=None)]
    (decision,) = events_of(engine, "decision")
    assert (decision["middlebox"]["verdict"], decision["middlebox"]["rule"]) == ("drop", None)


def test_log_rules_record_once_and_fall_through() -> None:
    note = rule("note", Action.LOG, asks("category", "vpn"))
    engine = engine_for(policy(note, BLOCK_SURE_VPN))
    run(engine, [HELLO, HELLO, HELLO, WELCOME, vpn(b"data")])
    rules = [event["middlebox"]["rule"] for event in events_of(engine, "decision")]
    assert rules == ["note", "block-vpn"]
    assert engine.counters.rules == {"note": 1, "block-vpn": 1}


def test_a_log_rule_below_the_deciding_one_stays_silent() -> None:
    engine = engine_for(policy(BLOCK_VPN, rule("note", Action.LOG, asks("category", "vpn"))))
    run(engine, [HELLO])
    assert [event["middlebox"]["rule"] for event in events_of(engine, "decision")] == ["block-vpn"]


def test_a_refused_flow_is_watched_until_its_log_rules_are_decided() -> None:
    note = rule("note", Action.LOG, asks("tls.sni", "a.example"))
    engine = engine_for(policy(note, rule("port", Action.DROP, asks("dest_port", SERVER[1]))), (NameToy,))
    connection = Connection()
    decisions = run(engine, [connection.syn(), connection.client(b"name a.example\n")])
    assert decisions == [
        Decision(Verdict.DROP, settled=False, rule="port"),
        Decision(Verdict.DROP, settled=True, rule="port"),
    ]
    assert [event["middlebox"]["rule"] for event in events_of(engine, "decision")] == ["port", "note"]


def test_a_refused_flow_whose_log_rule_stays_unknown_is_settled_when_the_budget_is_spent() -> None:
    note = rule("note", Action.LOG, asks("openvpn.wrap", "plain"))
    engine = engine_for(policy(note, rule("port", Action.DROP, asks("dest_port", SERVER[1]))), (GreedyToy,))
    decisions = run(engine, [vpn(b"x")] * (MAX_PACKETS_INSPECTED + 1))
    assert decisions[-1] == Decision(Verdict.DROP, settled=True, rule="port")


def test_decisions_are_counted_by_verdict_and_by_rule() -> None:
    engine = engine_for(policy(BLOCK_VPN), (VpnToy,))
    run(engine, [udp((CLIENT[0], port), SERVER, b"vpn hello") for port in (1, 2, 3)])
    run(engine, [udp((CLIENT[0], port), SERVER, b"else") for port in (4, 5)])
    assert engine.counters.verdicts == {"drop": 3, "pass": 2}
    assert engine.counters.rules == {"block-vpn": 3}
    assert engine.counters.as_dict()["flows"] == 5


# --- monitor mode -----------------------------------------------------------------------------------


def test_monitor_mode_passes_everything_and_records_what_it_would_have_done() -> None:
    packets = [HELLO, WELCOME, vpn(b"data")]
    monitored = engine_for(policy(BLOCK_SURE_VPN, mode=Mode.MONITOR))
    assert verdicts(run(monitored, packets)) == ["PASS"] * 3
    enforced = engine_for(policy(BLOCK_SURE_VPN))
    run(enforced, packets)
    watched, done = the_flow(monitored)["middlebox"], the_flow(enforced)["middlebox"]
    assert watched.pop("mode") == "monitor"
    assert done.pop("mode") == "enforce"
    assert watched == done
    assert watched["verdict"] == "drop"


def test_monitor_mode_passes_what_cannot_be_judged() -> None:
    fail = FailurePolicy(undecodable=Verdict.DROP, internal_error=Verdict.DROP)
    engine = Engine(Policy("test", mode=Mode.MONITOR, fail=fail), detectors=(CrashToy,))
    assert verdicts(run(engine, [b"\x45", vpn(b"crash")])) == ["PASS", "PASS"]


# --- approvals --------------------------------------------------------------------------------------


def test_an_approved_tunnel_passes_and_says_by_which_approval() -> None:
    engine = engine_for(APPROVAL_POLICY)
    decisions = run(engine, [vpn(key_message(APPROVED_KEY)), WELCOME, vpn(b"data")])
    assert verdicts(decisions) == ["PASS"] * 3
    assert decisions[-1] == Decision(Verdict.PASS, settled=True, rule="approved")
    assert the_flow(engine)["middlebox"]["approved"] == "hq"


def test_a_tunnel_with_another_key_is_refused() -> None:
    engine = engine_for(APPROVAL_POLICY)
    decisions = run(engine, [vpn(key_message(OTHER_KEY)), WELCOME, vpn(b"data")])
    assert verdicts(decisions) == ["PASS", "DROP", "DROP"]
    assert the_flow(engine)["middlebox"]["approved"] is None


def test_an_expired_approval_does_not_help() -> None:
    expired = Approval("hq", "wireguard", public_keys=(APPROVED_KEY,), until=50.0)
    engine = engine_for(policy(PASS_APPROVED, BLOCK_SURE_VPN, approvals=(expired,)))
    assert verdicts(run(engine, [vpn(key_message(APPROVED_KEY)), WELCOME], start=60.0)) == ["PASS", "DROP"]


def test_nothing_is_approved_by_the_first_message_alone() -> None:
    engine = engine_for(APPROVAL_POLICY)
    run(engine, [vpn(key_message(APPROVED_KEY))])
    assert the_flow(engine)["middlebox"]["approved"] is None


def test_the_answered_initiation_counts_and_not_one_sent_before_it() -> None:
    # A client that knows an approved public key sends one initiation for it, which nobody answers, then its own.
    engine = engine_for(APPROVAL_POLICY)
    confirmed_by_second = [vpn(key_message(APPROVED_KEY)), vpn(key_message(OTHER_KEY)), WELCOME]
    assert verdicts(run(engine, confirmed_by_second)) == ["PASS", "PASS", "DROP"]


def test_a_refused_tunnel_joined_midway_is_freed_by_a_later_proof() -> None:
    engine = engine_for(APPROVAL_POLICY)
    decisions = run(engine, [vpn(b"vpn mid"), answer(b"vpn mid"), vpn(key_message(APPROVED_KEY)), WELCOME])
    assert verdicts(decisions) == ["DROP", "DROP", "PASS", "PASS"]
    assert [decision.settled for decision in decisions] == [False, False, False, True]
    about = the_flow(engine)["middlebox"]
    assert (about["verdict"], about["rule"], about["approved"], about["by_packet"]) == ("pass", "approved", "hq", 4)


def test_packets_refused_before_the_proof_came_did_not_pass() -> None:
    engine = engine_for(APPROVAL_POLICY)
    packets = [vpn(b"vpn mid"), answer(b"vpn mid"), vpn(key_message(APPROVED_KEY)), WELCOME]
    run(engine, packets)
    about = the_flow(engine)["middlebox"]
    assert (about["passed_packets"], about["passed_bytes"]) == (2, len(packets[2]) + len(packets[3]))


def test_a_refused_tunnel_joined_midway_stays_refused_with_another_key() -> None:
    engine = engine_for(APPROVAL_POLICY)
    assert verdicts(run(engine, [vpn(b"vpn mid"), vpn(key_message(OTHER_KEY)), WELCOME])) == ["DROP"] * 3


def test_a_refused_flow_is_settled_at_once_where_nothing_can_be_approved() -> None:
    engine = engine_for(policy(BLOCK_VPN))
    assert run(engine, [vpn(b"vpn mid")]) == [Decision(Verdict.DROP, settled=True, rule="block-vpn")]


def test_an_approved_flow_that_a_rule_refuses_anyway_is_decided_once() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN, approvals=(HQ,)))
    run(engine, [vpn(b"vpn mid"), vpn(key_message(APPROVED_KEY)), vpn(b"vpn mid"), vpn(b"vpn mid"), vpn(b"vpn mid")])
    assert len(events_of(engine, "decision")) == 1
    assert engine.counters.verdicts == {"drop": 1}
    about = the_flow(engine)["middlebox"]
    assert (about["by_packet"], about["passed_packets"]) == (1, 0)


def test_a_refused_flow_that_shows_many_proofs_stays_small() -> None:
    # The client of a refused tunnel tries again for ever, or an attacker does so at full speed.
    engine = engine_for(APPROVAL_POLICY)
    engine.handle(vpn(b"vpn mid"), 0.0)
    for number in range(2_000):
        engine.handle(vpn(key_message(OTHER_KEY, number)), number / 1e6)
    (flow,) = engine._flows.all()
    assert len(flow.proofs) <= 16, "a proof each"
    assert len(flow.sightings) <= 64, "a line of evidence each"


CAPTURES = Path(__file__).parent / "captures"

# --- home -------------------------------------------------------------------------------------------


def test_flows_without_an_end_at_home_pass_unseen() -> None:
    engine = engine_for(policy(BLOCK_VPN, default=Action.DROP, home=("198.51.100.0/24", "2001:db8:1::/64")))
    strangers = ("192.0.2.1", 1), ("192.0.2.2", 2)
    assert run(engine, [udp(*strangers, b"vpn hello")]) == [PASSED]
    assert the_flow(engine)["middlebox"]["protocol"] == "unknown"


@pytest.mark.parametrize("ends", [(CLIENT, SERVER), (SERVER, CLIENT), (CLIENT6, SERVER6)])
def test_flows_with_an_end_at_home_are_judged(ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    engine = engine_for(policy(BLOCK_VPN, home=("198.51.100.0/24", "2001:db8:1::/64")))
    assert verdicts(run(engine, [udp(*ends, b"vpn hello")])) == ["DROP"]


# --- budget and settled flows -----------------------------------------------------------------------


def test_detectors_get_so_many_packets_and_no_more() -> None:
    engine = engine_for(policy(rule("wait", Action.DROP, asks("protocol", "openvpn"))), (GreedyToy,))
    enough = bytes(LEAST_BYTES_INSPECTED // PACKETS_INSPECTED)
    decisions = run(engine, [vpn(enough)] * (PACKETS_INSPECTED + 1))
    assert decisions[: PACKETS_INSPECTED - 1] == [UNDECIDED] * (PACKETS_INSPECTED - 1)
    assert decisions[PACKETS_INSPECTED - 1 :] == [PASSED] * 2
    assert the_flow(engine)["middlebox"]["by_packet"] == PACKETS_INSPECTED


def test_neither_tiny_segments_nor_empty_packets_end_the_inspection_early() -> None:
    engine = engine_for(policy(rule("wait", Action.DROP, asks("protocol", "openvpn"))), (GreedyToy,))
    decisions = run(engine, [vpn(b"x"), vpn(b"")] * (LEAST_BYTES_INSPECTED - 1))
    assert set(decisions) == {UNDECIDED}
    assert run(engine, [vpn(b"x")]) == [PASSED]


def test_a_connection_that_says_nothing_is_let_go() -> None:
    engine = engine_for(policy(rule("wait", Action.DROP, asks("protocol", "openvpn"))), (GreedyToy,))
    decisions = run(engine, [vpn(b"")] * MAX_PACKETS_INSPECTED)
    assert decisions[-2:] == [UNDECIDED, PASSED]


def test_detectors_get_so_many_bytes_and_no_more() -> None:
    engine = engine_for(policy(), (GreedyToy,))
    decisions = run(engine, [vpn(bytes(STREAM_LIMIT))] * 2)
    assert [decision.settled for decision in decisions] == [False, True]


def test_a_settled_flow_forgets_what_inspection_needed() -> None:
    engine = engine_for(policy(BLOCK_VPN))
    run(engine, [HELLO])
    (flow,) = engine._flows.all()
    assert flow.inspection is None
    assert not flow.pending


def test_detectors_are_not_asked_after_no_nor_after_their_last_evidence() -> None:
    asked: list[tuple[str, bytes]] = []

    def once(name: str, last: Answer) -> type[Detector]:
        def feed(talk: Conversation) -> Answer:
            asked.append((name, talk.data))
            return last

        return toy(name, feed, protocols=("ssh",))

    last_word = Evidence("ssh", Confidence.POSSIBLE, "seen")
    detectors = (once("no", Opinion.NO), once("last", last_word), once("more", Opinion.MORE))
    run(engine_for(policy(), detectors), [vpn(b"1"), vpn(b"2")])
    assert asked == [("no", b"1"), ("last", b"1"), ("more", b"1"), ("more", b"2")]


def test_detectors_are_never_shown_nothing() -> None:
    seen: list[bytes] = []

    def feed(talk: Conversation) -> Answer:
        seen.append(talk.data)
        return Opinion.MORE

    connection = Connection()
    packets = [*connection.handshake(), connection.client(b"a"), connection.server(b""), vpn(b"")]
    run(engine_for(policy(), (toy("all", feed, protocols=("ssh",)),)), packets)
    assert seen == [b"a"]


def test_two_flows_never_learn_from_each_other() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN))
    other = (CLIENT[0], 9)
    packets = [HELLO, udp(other, SERVER, b"else"), WELCOME, udp(SERVER, other, b"else")]
    assert verdicts(run(engine, packets)) == ["PASS", "PASS", "DROP", "PASS"]


# --- what cannot be judged --------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", Verdict)
def test_undecodable_packets_are_answered_as_the_policy_says(verdict: Verdict) -> None:
    engine = Engine(Policy("test", fail=FailurePolicy(undecodable=verdict)), detectors=TOYS)
    assert run(engine, [b"\x45\0"]) == [Decision(verdict, settled=False)]
    assert engine.counters.undecodable == {"IPv4 header cut short": 1}


@pytest.mark.parametrize("verdict", Verdict)
def test_a_bug_of_ours_is_answered_as_the_policy_says(verdict: Verdict) -> None:
    engine = Engine(Policy("test", fail=FailurePolicy(internal_error=verdict)), detectors=(CrashToy,))
    assert run(engine, [vpn(b"crash")]) == [Decision(verdict, settled=False)]
    assert engine.counters.internal_errors == 1


def test_the_event_about_a_bug_shows_headers_and_no_payload() -> None:
    engine = engine_for(policy(), (CrashToy,))
    connection = Connection()
    packets = [*connection.handshake(), connection.client(b"crash secret")]
    run(engine, packets)
    (event,) = events_of(engine, "error")
    first_bytes = bytes.fromhex(event["error"].pop("first_bytes"))
    assert event["error"] == {"kind": "internal_error", "message": "RuntimeError: a bug of ours", "count": 1}
    assert packets[-1].startswith(first_bytes)
    assert 24 <= len(first_bytes) <= 40, "addresses and ports, no payload"


def test_the_event_about_a_bug_on_a_datagram_shows_no_payload() -> None:
    engine = engine_for(policy(), (CrashToy,))
    engine.handle(vpn(b"crash secret"), 0.0)
    (event,) = events_of(engine, "error")
    assert b"crash".hex() not in event["error"]["first_bytes"]


def test_error_events_are_limited_and_everything_is_counted() -> None:
    engine = engine_for(policy(), (CrashToy,))
    for port, now in enumerate((0.0, 1.0, ERROR_EVENT_SECONDS - 0.1, ERROR_EVENT_SECONDS)):
        engine.handle(b"\x45\0", now)
        engine.handle(udp((CLIENT[0], port), SERVER, b"crash"), now)
    counts = [(event["error"]["kind"], event["error"]["count"]) for event in events_of(engine, "error")]
    assert counts == [("undecodable", 1), ("internal_error", 1), ("undecodable", 4), ("internal_error", 4)]


def test_a_bug_in_one_flow_leaves_the_others_alone() -> None:
    engine = engine_for(policy(BLOCK_VPN), (CrashToy, VpnToy))
    other = (CLIENT[0], 2)
    decisions = run(engine, [vpn(b"crash"), udp(other, SERVER, b"vpn hello")])
    assert verdicts(decisions) == ["PASS", "DROP"]


def test_a_detector_that_raises_does_not_keep_its_flow_in_the_slow_path_for_ever() -> None:
    engine = engine_for(policy(), (CrashToy, VpnToy))
    decisions = run(engine, [vpn(b"crash")] * (MAX_PACKETS_INSPECTED + 8))
    assert decisions[-1].settled


def test_a_detector_that_raises_does_not_hide_the_flow_from_the_others() -> None:
    engine = engine_for(policy(BLOCK_SURE_VPN), (CrashToy, VpnToy))
    decisions = run(engine, [vpn(b"vpn hello crash"), vpn(b"vpn mid crash"), vpn(b"data")])
    assert decisions[-1].verdict is Verdict.DROP


def test_a_refused_flow_stays_refused_when_a_detector_raises() -> None:
    # Otherwise a known bug is a key: `fail: {internal_error: pass}` would open what a rule has closed.
    note = rule("note", Action.LOG, asks("protocol", "ssh"))
    engine = engine_for(policy(note, BLOCK_SURE_VPN), (VpnToy, CrashToy))
    assert verdicts(run(engine, [vpn(b"vpn mid"), vpn(b"crash")])) == ["DROP", "DROP"]


# --- names ------------------------------------------------------------------------------------------


def named(protocol: str, confidence: Confidence) -> type[Detector]:
    """A detector that gives this evidence on its own word: its protocol's name."""

    def feed(talk: Conversation) -> Answer:
        if talk.data != protocol.encode():
            return Opinion.MORE
        return Evidence(protocol, confidence, f"its word, {protocol}")

    return toy(protocol, feed, protocols=(protocol,))


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (("tls", Confidence.CONFIRMED), ("openvpn", Confidence.PROBABLE), "openvpn"),
        (("openvpn", Confidence.PROBABLE), ("tls", Confidence.CONFIRMED), "openvpn"),
        (("tls", Confidence.CONFIRMED), ("openvpn", Confidence.POSSIBLE), "tls"),
        (("openvpn", Confidence.POSSIBLE), ("tls", Confidence.CONFIRMED), "tls"),
        (("openvpn", Confidence.PROBABLE), ("wireguard", Confidence.CONFIRMED), "wireguard"),
        (("wireguard", Confidence.CONFIRMED), ("openvpn", Confidence.PROBABLE), "wireguard"),
        (("openvpn", Confidence.CONFIRMED), ("wireguard", Confidence.CONFIRMED), "wireguard"),
    ],
)
def test_a_flow_goes_by_the_most_specific_name_that_can_be_shown(
    first: tuple[str, Confidence], second: tuple[str, Confidence], name: str
) -> None:
    engine = engine_for(policy(), (named(*first), named(*second)))
    run(engine, [vpn(first[0].encode()), vpn(second[0].encode())])
    event = the_flow(engine)
    assert event["app_proto"] == event["middlebox"]["protocol"] == name
    assert [line["protocol"] for line in event["middlebox"]["evidence"]] == [first[0], second[0]]


def test_facts_of_all_evidence_stand_in_the_record() -> None:
    engine = engine_for()
    connection = Connection()
    run(engine, [*connection.handshake(), connection.client(b"name a.example\n")])
    event = the_flow(engine)
    assert event["tls"] == {"sni": "a.example", "version": "TLS 1.3"}
    (line,) = event["middlebox"]["evidence"]
    assert (line["detector"], line["packet"], line["reason"]) == ("nametoy", 4, "a name")


def test_flow_events_come_out_once_and_the_list_belongs_to_the_caller() -> None:
    engine = engine_for()
    engine.handle(HELLO, 0.0)
    engine.finish(1.0)
    engine.finish(2.0)
    taken = engine.take_events()
    assert [event["event_type"] for event in taken] == ["flow"]
    assert engine.take_events() == []
    assert engine.take_events() is not taken


def test_the_stats_event_has_every_counter() -> None:
    engine = engine_for(policy(BLOCK_VPN))
    run(engine, [HELLO, b"\x45"])
    stats = engine.stats_event(1.0)["stats"]
    assert stats == {
        "packets": 2,
        "bytes": len(HELLO) + 1,
        "flows": 1,
        "flows_active": 1,
        "flows_evicted": 0,
        "fragments": 0,
        "fragmented_packets_discarded": 0,
        "undecodable": {"IPv4 header cut short": 1},
        "internal_errors": 0,
        "verdicts": {"drop": 1},
        "rules": {"block-vpn": 1},
        "residual": 0,
    }


def test_conditions_may_be_nested() -> None:
    nested = both(asks("proto", "UDP"), both(asks("dest_port", SERVER[1]), asks("category", "vpn")))
    engine = engine_for(policy(rule("nested", Action.DROP, nested)))
    assert verdicts(run(engine, [HELLO])) == ["DROP"]


def test_judging_packets_leaves_no_reference_cycles_behind() -> None:
    """The gateway switches the cyclic garbage collector off."""
    packets = [packet for path in sorted(CAPTURES.glob("*.pcap")) for packet in Capture(str(path))]
    assert packets
    gc.collect()
    gc.disable()
    try:
        engine = Engine(policy(BLOCK_VPN))
        for now, packet in packets:
            engine.handle(packet, now)
        engine.finish(packets[-1][0])
        engine.take_events()
        del engine
        assert gc.collect() < 100, "objects that only the collector could free"
    finally:
        gc.enable()
