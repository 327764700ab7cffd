"""The engine as a whole: exactly one decision per packet, the right one, once, and within its bounds."""

import gc
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
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
from middlebox.flow import (
    CARRIED_IDLE_SECONDS,
    OTHER_IDLE_SECONDS,
    TCP_CLOSED_IDLE_SECONDS,
    TCP_IDLE_SECONDS,
    UDP_IDLE_SECONDS,
    Totals,
)
from middlebox.packet import ACK, ESP, FIN, ICMP, RST, SYN, TCP, UDP
from middlebox.policy.rule import Approval, FailurePolicy, Mode, Policy
from middlebox.shells.capture import Capture
from middlebox.verdict import UNDECIDED, Action, Decision, Verdict
from tests.packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    Connection,
    echo,
    fragment_header,
    ipv4,
    ipv4_fragments,
    ipv6,
    ipv6_fragments,
    tcp,
    tcp_segment,
    udp,
    udp_datagram,
)
from tests.test_packet import likely_packets
from tests.toys import CrashToy, GreedyToy, NameToy, VpnToy, asks, both, policy, rule, toy

TOYS = (VpnToy, NameToy)
PASSED = Decision(Verdict.PASS, settled=True)

APPROVED_KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
HQ = Approval("hq", "wireguard", public_key=APPROVED_KEY)

BLOCK_VPN = rule("block-vpn", Action.DROP, asks("category", "vpn"))
BLOCK_SURE_VPN = rule("block-vpn", Action.DROP, asks("category", "vpn"), asks("confidence", Confidence.CONFIRMED))
PASS_APPROVED = rule("approved", Action.PASS, asks("approved", True))
APPROVAL_POLICY = policy(PASS_APPROVED, BLOCK_SURE_VPN, approvals=(HQ,))


def key_message(public_key: bytes, filler: int = 0) -> bytes:
    """The toy's way to show a WireGuard initiation with a correct mac1."""
    message = b"\x01\0\0\0" + bytes((filler % 256,)) * 110 + filler.to_bytes(4, "big")[2:]
    key = hashlib.blake2s(b"mac1----" + public_key).digest()
    return b"vpn key:" + message + hashlib.blake2s(message, key=key, digest_size=16).digest() + bytes(16)


def engine_for(
    a_policy: Policy | None = None, detectors: tuple[type[Detector], ...] = TOYS, max_flows: int = 1_000
) -> Engine:
    return Engine(a_policy or policy(), detectors=detectors, max_flows=max_flows)


def run(engine: Engine, raws: Iterable[bytes], *, start: float = 0.0, step: float = 0.01) -> list[Decision]:
    return [engine.handle(raw, start + number * step) for number, raw in enumerate(raws)]


def verdicts(decisions: Iterable[Decision]) -> list[str]:
    return [decision.verdict.name for decision in decisions]


def events_of(engine: Engine, kind: str) -> list[dict]:  # type: ignore[type-arg]
    return [event for event in engine.take_events() if event["event_type"] == kind]


def the_flow(engine: Engine, now: float = 1.0) -> dict:  # type: ignore[type-arg]
    """End every flow and return the only one."""
    engine.finish(now)
    (event,) = events_of(engine, "flow")
    return event


def vpn(payload: bytes) -> bytes:
    return udp(CLIENT, SERVER, payload)


def answer(payload: bytes) -> bytes:
    return udp(SERVER, CLIENT, payload)


HELLO, WELCOME = vpn(b"vpn hello"), answer(b"vpn welcome")

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
    expired = Approval("hq", "wireguard", public_key=APPROVED_KEY, until=50.0)
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


# --- what detectors are told ------------------------------------------------------------------------


def watcher() -> tuple[type[Detector], list[tuple[object, ...]]]:
    """A detector that writes down what it is shown."""
    log: list[tuple[object, ...]] = []

    def feed(talk: Conversation) -> Answer:
        log.append((talk.packet, talk.from_client, talk.data, talk.size, talk.client, talk.server, talk.now))
        return Opinion.MORE

    return toy("watcher", feed, protocols=("ssh",)), log


def test_a_conversation_grows_in_both_directions() -> None:
    detector, log = watcher()
    connection = Connection(CLIENT6, SERVER6)
    packets = [*connection.handshake(), connection.client(b"one"), connection.server(b"two"), connection.client(b"!")]
    run(engine_for(policy(), (detector,)), packets, step=1.0)
    assert log == [
        (4, True, b"one", 3, b"one", b"", 3.0),
        (5, False, b"two", 3, b"one", b"two", 4.0),
        (6, True, b"!", 1, b"one!", b"two", 5.0),
    ]


def test_a_conversation_of_datagrams_has_no_stream() -> None:
    detector, log = watcher()
    run(engine_for(policy(), (detector,)), [vpn(b"one"), answer(b"two")[:-1]], step=1.0)
    assert log == [(1, True, b"one", 3, b"", b"", 0.0), (2, False, b"tw", 3, b"", b"", 1.0)]


def test_segments_out_of_order_are_shown_in_order() -> None:
    detector, log = watcher()
    connection = Connection()
    start, one, two = [*connection.handshake()], connection.client(b"one"), connection.client(b"two")
    run(engine_for(policy(), (detector,)), [*start, two, one, two])
    assert [entry[:3] for entry in log] == [(5, True, b"onetwo")]


def test_sequence_numbers_wrap_around() -> None:
    detector, log = watcher()
    connection = Connection(client_start=0xFFFFFFFF - 3)
    run(
        engine_for(policy(), (detector,)),
        [*connection.handshake(), connection.client(b"one"), connection.client(b"two")],
    )
    assert log[-1][4] == b"onetwo"


def test_a_stream_ends_at_the_limit() -> None:
    detector, log = watcher()
    connection = Connection()
    packets = [*connection.handshake(), *(connection.client(bytes(1_400)) for _ in range(20))]
    run(engine_for(policy(), (detector,)), packets)
    assert len(log) == STREAM_LIMIT // 1_400 + 1
    assert log[-1][4] == bytes(STREAM_LIMIT)


def test_a_flow_joined_midway_says_so() -> None:
    seen: list[bool] = []

    def feed(talk: Conversation) -> Answer:
        seen.append(talk.midstream)
        return Opinion.MORE

    detector = toy("midway", feed, protocols=("ssh",))
    connection = Connection()
    run(engine_for(policy(), (detector,)), [connection.client(b"late")])
    run(engine_for(policy(), (detector,)), [*Connection().handshake(), tcp(CLIENT, SERVER, ACK, 1_001, b"early")])
    assert seen == [True, False]


@pytest.mark.parametrize("flags", [0, 0x08], ids=["none", "PSH"])
def test_bytes_that_no_receiver_takes_are_not_part_of_the_stream(flags: int) -> None:
    # A receiver drops a segment without ACK (RFC 9293 section 3.10.7.4, fifth). Shown to detectors, such a segment
    # would hide the true bytes that follow with the same numbers.
    engine = engine_for(policy(rule("named", Action.DROP, asks("tls.sni", "bad.example"))), (NameToy,))
    connection = Connection()
    decoy = tcp(CLIENT, SERVER, flags, 1_001, b"decoy bad.exampl\n")
    packets = [*connection.handshake(), decoy, connection.client(b"name bad.example\n")]
    assert verdicts(run(engine, packets))[-1] == "DROP"


def test_data_on_a_syn_that_the_server_did_not_take_is_not_part_of_the_stream() -> None:
    # Without a TCP Fast Open cookie a server acknowledges the SYN alone, and the client sends again (RFC 7413 s. 4.2).
    engine = engine_for(policy(rule("named", Action.DROP, asks("tls.sni", "bad.example"))), (NameToy,))
    decoy = tcp(CLIENT, SERVER, SYN, 1_000, b"decoy bad.exampl\n")
    refusal = tcp(SERVER, CLIENT, SYN | ACK, 9_000, acknowledgment=1_001)
    packets = [decoy, refusal, tcp(CLIENT, SERVER, ACK, 1_001, b"name bad.example\n", acknowledgment=9_001)]
    assert verdicts(run(engine, packets))[-1] == "DROP"


def test_data_on_a_syn_that_the_server_took_is_part_of_the_stream() -> None:
    engine = engine_for(policy(rule("named", Action.DROP, asks("tls.sni", "bad.example"))), (NameToy,))
    connection = Connection()
    packets = [connection.syn(b"name bad."), connection.syn_ack(), connection.client(b"example\n")]
    assert verdicts(run(engine, packets))[-1] == "DROP"


# --- which flow a packet belongs to -----------------------------------------------------------------


def test_both_directions_are_one_flow() -> None:
    engine = engine_for()
    packets = [*Connection().handshake(), *Connection(CLIENT6, SERVER6).handshake()]
    run(engine, packets)
    assert len(engine) == 2
    engine.finish(1.0)
    four, six = events_of(engine, "flow")
    for event, size in ((four, 40), (six, 60)):
        assert event["flow"]["pkts_toserver"] == 2
        assert event["flow"]["pkts_toclient"] == 1
        assert event["flow"]["bytes_toserver"] == 2 * size
    assert (four["src_ip"], four["src_port"], four["dest_ip"], four["dest_port"]) == (*CLIENT, *SERVER)
    assert six["src_ip"] == CLIENT6[0]


def test_a_flow_whose_syn_ack_comes_first_has_the_right_client() -> None:
    engine = engine_for()
    connection = Connection()
    run(engine, [connection.syn_ack(), connection.client(b"name a.example\n"), connection.server(b"x")])
    event = the_flow(engine)
    assert (event["src_ip"], event["dest_ip"]) == (CLIENT[0], SERVER[0])
    assert (event["flow"]["pkts_toserver"], event["flow"]["pkts_toclient"]) == (1, 2)


def test_a_syn_that_its_syn_ack_overtook_makes_no_second_flow() -> None:
    engine = engine_for()
    syn, syn_ack, ack = Connection().handshake()
    run(engine, [syn_ack, syn, ack])
    event = the_flow(engine)
    assert (event["flow"]["pkts_toserver"], event["flow"]["pkts_toclient"]) == (2, 1)


def test_a_flow_joined_midway_belongs_to_its_first_sender() -> None:
    engine = engine_for()
    run(engine, [Connection().server(b"late")])
    assert the_flow(engine)["src_ip"] == SERVER[0]


def test_pings_with_different_identifiers_are_different_flows() -> None:
    engine = engine_for()
    run(
        engine,
        [echo(CLIENT[0], SERVER[0], 1), echo(SERVER[0], CLIENT[0], 1, reply=True), echo(CLIENT[0], SERVER[0], 2)],
    )
    engine.finish(1.0)
    counts = [(e["flow"]["pkts_toserver"], e["flow"]["pkts_toclient"]) for e in events_of(engine, "flow")]
    assert counts == [(1, 1), (1, 0)]


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_the_same_ports_after_the_end_are_a_new_flow(end: str) -> None:
    engine = engine_for()
    first, second = Connection(), Connection()
    packets = [*first.handshake(), getattr(first, end)(), *second.handshake(), second.client(b"name b.example\n")]
    run(engine, packets)
    engine.finish(1.0)
    old, new = events_of(engine, "flow")
    assert (old["flow"]["pkts_toserver"], new["flow"]["pkts_toserver"]) == (3, 3)
    assert (old["app_proto"], new["app_proto"]) == ("unknown", "tls")


def test_a_new_connection_after_a_refused_one_is_judged_anew() -> None:
    engine = engine_for(policy(rule("named", Action.RESET, asks("tls.sni", "bad.example"))), (NameToy,))
    first, second = Connection(), Connection(client_start=70_000)
    bad = [*first.handshake(), first.client(b"name bad.example\n")]
    good = [*second.handshake(), second.client(b"name good.example\n")]
    assert verdicts(run(engine, [*bad, *good])) == ["PASS"] * 3 + ["RESET"] + ["PASS"] * 4


def test_a_repeated_syn_is_the_same_flow() -> None:
    engine = engine_for()
    syn = Connection().syn()
    run(engine, [syn, syn, syn])
    assert the_flow(engine)["flow"]["pkts_toserver"] == 3


@pytest.mark.parametrize("from_client", [True, False])
def test_a_stray_syn_does_not_blind_the_engine_to_a_connection_that_lives(from_client: bool) -> None:
    # A SYN inside a living connection gets a challenge ACK and nothing else (RFC 9293 section 3.10.7.4, fourth), so
    # whoever sends one must not be rid of inspection, nor turn the flow round.
    engine = engine_for(policy(rule("named", Action.DROP, asks("tls.sni", "bad.example"))), (NameToy,))
    connection = Connection()
    stray = tcp(CLIENT, SERVER, SYN, 0x70000000) if from_client else tcp(SERVER, CLIENT, SYN, 0x70000000)
    packets = [*connection.handshake(), stray, connection.client(b"name bad.example\n")]
    assert verdicts(run(engine, packets))[-1] == "DROP"


# --- time and room ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packets", "idle"),
    [
        ([HELLO], UDP_IDLE_SECONDS),
        (Connection().handshake(), TCP_IDLE_SECONDS),
        ([*Connection().handshake(), tcp(CLIENT, SERVER, RST, 1_001)], TCP_CLOSED_IDLE_SECONDS),
        ([echo(CLIENT[0], SERVER[0], 1)], OTHER_IDLE_SECONDS),
    ],
    ids=["udp", "tcp", "closed", "other"],
)
def test_silent_flows_end(packets: list[bytes], idle: float) -> None:
    engine = engine_for()
    run(engine, packets, step=0.0)
    engine.expire(idle - 0.001)
    assert len(engine) == 1
    engine.expire(idle)
    assert len(engine) == 0
    assert len(events_of(engine, "flow")) == 1


def test_a_half_closed_connection_may_be_silent_for_longer_than_a_closed_one() -> None:
    # The client has sent its request and a FIN; the server takes a while. Linux: nf_conntrack_tcp_timeout_fin_wait.
    engine = engine_for()
    connection = Connection()
    run(engine, [*connection.handshake(), connection.client(b"request"), connection.fin()], step=0.0)
    engine.expire(TCP_CLOSED_IDLE_SECONDS + 1.0)
    assert len(engine) == 1


def test_a_connection_closed_by_both_sides_ends_soon() -> None:
    engine = engine_for()
    connection = Connection()
    packets = [
        *connection.handshake(),
        connection.fin(),
        connection.fin(from_client=False),
        connection.client(b"", ACK),
    ]
    run(engine, packets, step=0.0)
    engine.expire(TCP_CLOSED_IDLE_SECONDS + 1.0)
    assert len(engine) == 0


@pytest.mark.parametrize("payload", [b"vpn hello", b"else"], ids=["inspected", "settled"])
def test_a_packet_after_too_long_a_silence_begins_a_new_flow(payload: bytes) -> None:
    # Nothing else is on the line, so nobody swept: the packet itself must find out.
    engine = engine_for()
    for now in (0.0, 1.0, UDP_IDLE_SECONDS * 3):
        engine.handle(vpn(payload), now)
    engine.finish(UDP_IDLE_SECONDS * 3)
    assert [event["flow"]["pkts_toserver"] for event in events_of(engine, "flow")] == [2, 1]


def test_a_flow_that_the_kernel_ends_has_the_kernels_totals() -> None:
    engine = Engine(policy(), detectors=(), kernel_tells_ends=True)
    engine.handle(HELLO, 0.0)
    engine.close(HELLO[9:10] + HELLO[12:24], Totals(10, 1_000, 20, 2_000), 5.0)
    assert len(engine) == 0
    (event,) = events_of(engine, "flow")
    figures = {
        name: event["flow"][name] for name in ("pkts_toserver", "bytes_toserver", "pkts_toclient", "bytes_toclient")
    }
    assert list(figures.values()) == [10, 1_000, 20, 2_000]
    assert (event["middlebox"]["passed_packets"], event["middlebox"]["passed_bytes"]) == (30, 3_000)


def test_the_kernels_totals_are_turned_round_where_its_client_is_our_server() -> None:
    engine = Engine(policy(), detectors=(), kernel_tells_ends=True)
    engine.handle(answer(b"late"), 0.0)
    engine.close(HELLO[9:10] + HELLO[12:24], Totals(10, 1_000, None, None), 5.0)
    (event,) = events_of(engine, "flow")
    assert (event["flow"]["pkts_toclient"], event["flow"]["bytes_toclient"]) == (10, 1_000)
    assert event["flow"]["pkts_toserver"] == 1, "what the kernel did not count stays as seen"


def test_the_end_of_a_flow_that_nobody_knows_is_ignored() -> None:
    engine = engine_for()
    engine.close(HELLO[9:10] + HELLO[12:24], Totals(1, 1, 1, 1), 5.0)
    assert engine.take_events() == []


def test_a_settled_flow_that_the_kernel_carries_is_not_idle() -> None:
    engine = Engine(policy(), detectors=(), kernel_tells_ends=True)
    engine.handle(HELLO, 0.0)
    engine.expire(CARRIED_IDLE_SECONDS - 1.0)
    assert len(engine) == 1
    engine.expire(CARRIED_IDLE_SECONDS)
    assert len(engine) == 0


def test_packets_sweep_the_table_without_help() -> None:
    engine = engine_for()
    engine.handle(HELLO, 0.0)
    engine.handle(udp((CLIENT[0], 7), SERVER, b"vpn hello"), UDP_IDLE_SECONDS + 1.0)
    assert len(engine) == 1


def test_the_table_never_outgrows_its_bound() -> None:
    engine = engine_for(policy(), TOYS, max_flows=10)
    run(engine, [udp((CLIENT[0], port), SERVER, b"vpn hello") for port in range(1, 31)])
    assert len(engine) == 10
    assert engine.counters.flows_evicted == 20
    engine.finish(1.0)
    ports = [event["src_port"] for event in events_of(engine, "flow")]
    assert ports == list(range(1, 31)), "evicted flows are recorded, oldest first"


def test_an_active_flow_is_not_the_one_that_makes_room() -> None:
    engine = engine_for(policy(), TOYS, max_flows=3)
    busy = udp((CLIENT[0], 1), SERVER, b"vpn hello")
    for number in range(2, 40):
        run(engine, [busy, udp((CLIENT[0], number), SERVER, b"vpn hello")], start=float(number))
    assert any(flow.client_port == 1 and flow.packets == 38 for flow in engine._flows.all())


def test_a_flood_of_syns_on_one_pair_of_ports_stays_small() -> None:
    engine = engine_for(policy(), TOYS, max_flows=100)
    for number in range(5_000):
        engine.handle(tcp(CLIENT, SERVER, SYN, number * 1_000), number / 1e5)
    assert len(engine) == 1
    assert len(engine._flows._by_age) <= 2_048, "ended flows are still referred to"


# --- fragments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_fragments_are_judged_when_they_are_whole(order: tuple[int, int]) -> None:
    six = udp(CLIENT6, SERVER6, b"vpn hello")
    for fragments in (ipv4_fragments(HELLO, [8]), ipv6_fragments(six, [8])):
        engine = engine_for(policy(BLOCK_VPN))
        assert verdicts(run(engine, [fragments[index] for index in order])) == ["PASS", "DROP"]
        assert engine.counters.fragments == 2


def test_a_settled_flow_is_not_fooled_by_fragments() -> None:
    # The first fragment looks like a packet of the settled flow but for its flag.
    engine = engine_for(policy(BLOCK_VPN))
    engine.handle(HELLO, 0.0)
    first, last = ipv4_fragments(HELLO, [8])
    assert verdicts(run(engine, [first, last])) == ["PASS", "DROP"]
    assert the_flow(engine)["flow"]["pkts_toserver"] == 2


def test_atomic_fragments_are_ordinary_packets() -> None:
    engine = engine_for(policy(BLOCK_VPN))
    datagram = udp_datagram(CLIENT6, SERVER6, b"vpn hello")
    raw = ipv6(CLIENT6[0], SERVER6[0], UDP, datagram, extensions=[fragment_header(0, False)])
    assert verdicts(run(engine, [raw])) == ["DROP"]
    assert engine.counters.fragments == 0


def test_a_fragment_in_a_fragment_is_undecodable() -> None:
    inner = fragment_header(0, True)
    body = bytes((UDP,)) + inner[1] + udp_datagram(CLIENT6, SERVER6, b"vpn hello!!!!!!!")
    raws = [
        ipv6(CLIENT6[0], SERVER6[0], 44, body[:16], extensions=[fragment_header(0, True)]),
        ipv6(CLIENT6[0], SERVER6[0], 44, body[16:], extensions=[fragment_header(16, False)]),
    ]
    engine = engine_for(policy(BLOCK_VPN))
    run(engine, raws)
    assert engine.counters.undecodable == {"a fragment in a fragment": 1}


def test_every_byte_is_counted_once() -> None:
    packets = [HELLO, *ipv4_fragments(WELCOME, [8]), b"\x45", tcp(CLIENT, SERVER, SYN)]
    engine = engine_for()
    run(engine, packets)
    assert (engine.counters.packets, engine.counters.bytes) == (len(packets), sum(map(len, packets)))


# --- the fast path ----------------------------------------------------------------------------------


class SlowEngine(Engine):
    """The engine without its fast path."""

    def handle(self, raw: bytes, now: float) -> Decision:
        return self._handle_slowly(raw, now)


def four_with_options(source: tuple[str, int], destination: tuple[str, int], protocol: int, body: bytes) -> bytes:
    return ipv4(source[0], destination[0], protocol, body, options=b"\x94\x04\0\0")


@st.composite
def traffic(draw: st.DrawFn) -> list[bytes]:
    """Packets of a few flows, of every kind the fast path must tell apart."""
    payload = st.sampled_from([b"", b"vpn hello", b"vpn welcome", b"vpn mid", b"name a.example\n", b"else"])
    flags = st.sampled_from([ACK, ACK | 8, SYN, SYN | ACK, FIN | ACK, RST])
    packets = []
    for _ in range(draw(st.integers(1, 25))):
        client, server = draw(st.sampled_from([(CLIENT, SERVER), (CLIENT6, SERVER6), ((CLIENT[0], 2), (SERVER[0], 2))]))
        if draw(st.booleans()):
            client, server = server, client
        data = draw(payload)
        segment = tcp_segment(client, server, draw(flags), draw(st.integers(0, 3)) * 9, data)
        datagram = udp_datagram(client, server, data)
        protocol, body = draw(st.sampled_from([(TCP, segment), (UDP, datagram), (ESP, data), (ICMP, datagram)]))
        if client in (CLIENT6, SERVER6):
            extensions = draw(st.sampled_from([[], [], [fragment_header(0, False)], [fragment_header(0, True)]]))
            length = draw(st.sampled_from([None, None, 0]))
            raw = ipv6(client[0], server[0], protocol, body, extensions=extensions, payload_length=length)
        else:
            raw = ipv4(
                client[0],
                server[0],
                protocol,
                body,
                options=draw(st.sampled_from([b"", b"", b"\x94\x04\0\0"])),
                fragment=draw(st.sampled_from([0x4000, 0x4000, 0, 0x2000, 0x2001, 1])),
                total=draw(st.sampled_from([None, None, 0])),
            )
        packets.append(raw[: len(raw) - draw(st.sampled_from([0, 0, len(data) // 2, len(data)]))])
    return packets


@settings(max_examples=400)
@given(traffic())
def test_the_fast_path_gives_the_same_answers_and_records_as_the_slow_one(packets: list[bytes]) -> None:
    a_policy = policy(BLOCK_SURE_VPN, rule("named", Action.RESET, asks("tls.sni", "a.example")))
    fast, slow = Engine(a_policy, detectors=TOYS), SlowEngine(a_policy, detectors=TOYS)
    assert run(fast, packets) == run(slow, packets)
    for engine in (fast, slow):
        engine.finish(10.0)
    assert fast.take_events() == slow.take_events()
    assert fast.counters == slow.counters


def test_ip_options_change_no_answer() -> None:
    plain, with_options = engine_for(policy(BLOCK_SURE_VPN)), engine_for(policy(BLOCK_SURE_VPN))
    talk = [(CLIENT, SERVER, b"vpn hello"), (SERVER, CLIENT, b"vpn welcome"), (CLIENT, SERVER, b"data")]
    answers = run(plain, [udp(source, destination, data) for source, destination, data in talk])
    optional = [four_with_options(one, two, UDP, udp_datagram(one, two, data)) for one, two, data in talk]
    assert run(with_options, optional) == answers


@pytest.mark.parametrize("version", [4, 6])
def test_an_offloaded_packet_without_length_counts_as_long_as_it_is(version: int) -> None:
    ends = (CLIENT, SERVER) if version == 4 else (CLIENT6, SERVER6)
    segment = tcp_segment(*ends, ACK, 1, bytes(70_000))
    if version == 4:
        raw = ipv4(ends[0][0], ends[1][0], TCP, segment, total=0)
    else:
        raw = ipv6(ends[0][0], ends[1][0], TCP, segment, payload_length=0)
    engine = engine_for(policy(), ())
    run(engine, [raw, raw, raw])
    assert the_flow(engine)["flow"]["bytes_toserver"] == 3 * len(raw)


def test_a_settled_connection_still_ends_with_its_fin() -> None:
    engine = engine_for(policy(), ())
    connection = Connection()
    run(engine, [*connection.handshake(), connection.client(b"x"), connection.fin(), connection.fin(from_client=False)])
    (flow,) = engine._flows.all()
    assert flow.inspection is None
    assert flow.closing


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
