"""What rules can do beside refusing: throttle, sample, answer DNS, leave blocks, look back at hosts, keep hours."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.dns import DNS, DNSQR  # type: ignore[import-untyped]

from middlebox.detect.dns import Dns
from middlebox.engine import Engine
from middlebox.evidence import Confidence
from middlebox.policy.rule import (
    DnsAnswer,
    HostScore,
    Mode,
    Operator,
    Policy,
    Residual,
    ResidualScope,
    Rule,
    Schedule,
)
from middlebox.policy.rule import Test as FieldTest
from middlebox.verdict import Action, Verdict
from tests.judging import HELLO, TOYS, WELCOME, answer, engine_for, events_of, run, the_flow, verdicts, vpn
from tests.packets import ACK, CLIENT, SERVER, SYN, tcp, udp
from tests.toys import asks, policy, rule

VPN = asks("category", "vpn")
OTHER_SERVER = ("203.0.113.99", 443)


def acting(action: Action, *parts: FieldTest, **more: object) -> Rule:
    return replace(rule("acts", action, *parts or (VPN,)), **more)  # type: ignore[arg-type]


def test_throttling_is_told_to_the_kernel_with_its_rate() -> None:
    engine = engine_for(policy(acting(Action.THROTTLE, rate=128_000)))
    last = run(engine, [HELLO, WELCOME])[-1]
    assert (last.verdict, last.settled, last.rate) == (Verdict.THROTTLE, True, 128_000)
    flow = the_flow(engine)
    assert (flow["middlebox"]["verdict"], flow["middlebox"]["passed_packets"]) == ("throttle", 2)


# --- sample ---------------------------------------------------------------------------------------------


def sampled(seed: int, probability: float, flows: int = 400) -> list[bool]:
    engine = engine_for(replace(policy(acting(Action.SAMPLE, probability=probability)), seed=seed))
    hit = []
    for port in range(2_000, 2_000 + flows):
        client = (CLIENT[0], port)
        run(engine, [udp(client, SERVER, b"vpn hello"), udp(SERVER, client, b"vpn welcome")])
        hit.append(engine.handle(udp(client, SERVER, b"more"), 1.0).verdict is Verdict.DROP)
    return hit


def test_sampling_hits_the_asked_share_and_repeats_with_its_seed() -> None:
    once, again, other = sampled(1, 0.26), sampled(1, 0.26), sampled(2, 0.26)
    assert once == again
    assert once != other
    # 400 flows at 0.26: four standard deviations are 35 flows.
    assert abs(sum(once) - 104) <= 35
    assert all(sampled(1, 1.0, flows=20))


def test_what_is_not_chosen_meets_the_next_rule() -> None:
    never = acting(Action.SAMPLE, probability=1e-12)
    engine = engine_for(policy(never, rule("next", Action.RESET, VPN)))
    assert run(engine, [HELLO, WELCOME])[-1].rule == "next"


def test_the_chosen_meet_what_then_says() -> None:
    engine = engine_for(policy(acting(Action.SAMPLE, probability=1.0, then=Action.RESET)))
    assert run(engine, [HELLO, WELCOME])[-1].verdict is Verdict.RESET


# --- monitor --------------------------------------------------------------------------------------------


def test_a_monitored_rule_says_what_it_would_do_and_leaves_the_flow_to_the_next() -> None:
    trial = acting(Action.RESET, monitor=True)
    engine = engine_for(policy(trial, rule("real", Action.DROP, VPN)))
    assert run(engine, [HELLO, WELCOME])[-1].verdict is Verdict.DROP
    told = [(e["middlebox"]["rule"], e["middlebox"].get("would")) for e in events_of(engine, "decision")]
    assert told == [("acts", "reset"), ("real", None)]


# --- residual -------------------------------------------------------------------------------------------

BOTH = frozenset({ResidualScope.CLIENT, ResidualScope.SERVER})


def blocking(*scope: ResidualScope, seconds: int = 10) -> Engine:
    residual = Residual(frozenset(scope), seconds)
    engine = engine_for(policy(acting(Action.DROP, residual=residual)))
    run(engine, [HELLO, WELCOME])
    return engine


def next_flow(engine: Engine, now: float, client: tuple[str, int], server: tuple[str, int]) -> Verdict:
    return engine.handle(udp(client, server, b"anything"), now).verdict


@pytest.mark.parametrize(
    ("scope", "client", "server", "is_hit"),
    [
        ((ResidualScope.CLIENT,), (CLIENT[0], 9), OTHER_SERVER, True),
        ((ResidualScope.CLIENT,), ("198.51.100.77", 9), SERVER, False),
        ((ResidualScope.SERVER,), ("198.51.100.77", 9), SERVER, True),
        ((ResidualScope.SERVER,), (CLIENT[0], 9), OTHER_SERVER, False),
        ((ResidualScope.CLIENT, ResidualScope.SERVER), (CLIENT[0], 9), SERVER, True),
        ((ResidualScope.CLIENT, ResidualScope.SERVER), (CLIENT[0], 9), OTHER_SERVER, False),
        ((ResidualScope.SERVER, ResidualScope.SERVER_PORT), (CLIENT[0], 9), SERVER, True),
        ((ResidualScope.SERVER, ResidualScope.SERVER_PORT), (CLIENT[0], 9), (SERVER[0], SERVER[1] + 1), False),
    ],
)
def test_what_has_the_scope_in_common_is_refused(
    scope: tuple[ResidualScope, ...], client: tuple[str, int], server: tuple[str, int], is_hit: bool
) -> None:
    verdict = next_flow(blocking(*scope), 1.0, client, server)
    assert (verdict is Verdict.DROP) == is_hit


def test_a_block_ends_also_for_a_flow_that_tried_meanwhile() -> None:
    engine = blocking(ResidualScope.CLIENT, ResidualScope.SERVER, seconds=10)
    again = (CLIENT[0], 9)
    assert next_flow(engine, 5.0, again, SERVER) is Verdict.DROP
    assert next_flow(engine, 9.9, again, SERVER) is Verdict.DROP
    assert next_flow(engine, 10.2, again, SERVER) is Verdict.PASS
    (event,) = [e for e in events_of(engine, "decision") if e["middlebox"]["residual"]]
    assert event["middlebox"]["rule"] == "acts"


def test_the_kernel_is_given_the_block_and_after_a_renewal_what_still_stands() -> None:
    engine = blocking(ResidualScope.CLIENT, seconds=10)
    (block,) = engine.take_blocks()
    assert (block.client, block.server, block.port) == (ip_address(CLIENT[0]).packed, None, None)
    assert engine.take_blocks() == []
    engine.renew(5.0, epoch=2)
    (left,) = engine.take_blocks()
    assert left.seconds == pytest.approx(5, abs=0.1)
    engine.renew(6.0, epoch=3, policy=policy())
    assert engine.take_blocks() == []  # its rule is gone


def test_a_policy_that_monitors_leaves_no_block() -> None:
    residual = Residual(BOTH, 10)
    engine = engine_for(policy(acting(Action.DROP, residual=residual), mode=Mode.MONITOR))
    run(engine, [HELLO, WELCOME])
    assert next_flow(engine, 1.0, (CLIENT[0], 9), SERVER) is Verdict.PASS


# --- dns ------------------------------------------------------------------------------------------------

RESOLVER = ("203.0.113.53", 53)
BLOCKED = FieldTest("dns.rrname", Operator.DOMAIN, ("blocked.example",))


def query(name: str, number: int, port: int = 5_000) -> bytes:
    return udp((CLIENT[0], port), RESOLVER, bytes(DNS(id=number, rd=1, qd=DNSQR(qname=name))))


def resolver_policy(**more: object) -> Policy:
    return policy(acting(Action.DNS, BLOCKED, dns=DnsAnswer.NXDOMAIN, **more))


def test_each_query_of_one_flow_is_judged_for_itself() -> None:
    engine = engine_for(resolver_policy(), detectors=(Dns,))
    asked = ["blocked.example", "fine.example", "www.blocked.example"]
    decisions = [engine.handle(query(name, number), 0.0) for number, name in enumerate(asked, start=1)]
    assert verdicts(decisions) == ["DNS", "PASS", "DNS"]
    for number, decision in ((1, decisions[0]), (3, decisions[2])):
        assert decision.answer is not None
        said = DNS(decision.answer[28:])
        assert (said.id, said.qr, said.rcode) == (number, 1, 3)
    flow = the_flow(engine)
    assert (flow["middlebox"]["verdict"], flow["middlebox"]["passed_packets"]) == ("dns", 1)


def test_a_rule_that_drops_by_name_lets_other_names_of_the_flow_through() -> None:
    engine = engine_for(policy(rule("drop-name", Action.DROP, BLOCKED)), detectors=(Dns,))
    decisions = [engine.handle(query(name, 1), 0.0) for name in ("blocked.example", "fine.example")]
    assert verdicts(decisions) == ["DROP", "PASS"]
    assert not any(decision.settled for decision in decisions)


def test_dns_over_tcp_is_reset() -> None:
    client = (CLIENT[0], 6_000)
    message = bytes(DNS(id=1, rd=1, qd=DNSQR(qname="blocked.example")))
    engine = engine_for(resolver_policy(), detectors=(Dns,))
    engine.handle(tcp(client, RESOLVER, SYN, 10), 0.0)
    said = tcp(client, RESOLVER, ACK, 11, len(message).to_bytes(2) + message)
    assert engine.handle(said, 0.1).verdict is Verdict.RESET


# --- over many flows ------------------------------------------------------------------------------------


def test_a_host_score_acts_once_enough_of_the_last_flows_fitted() -> None:
    score = HostScore(frozenset({"wireguard"}), Confidence.CONFIRMED, flows=2, of=3)
    engine = engine_for(policy(acting(Action.DROP, FieldTest("host_score", Operator.IN, (score,)))))
    hits = []
    for number, is_vpn in enumerate([True, True, False, False, False]):
        client = (CLIENT[0], 3_000 + number)
        hits.append(engine.handle(udp(client, SERVER, b"vpn hello" if is_vpn else b"x"), number).verdict.name)
        engine.handle(udp(SERVER, client, b"vpn welcome" if is_vpn else b"y"), number + 0.1)
        engine.finish(number + 0.2)
    # Refused flows show less of themselves, so the history forgets: two hits in three, two in three, one in three.
    assert hits == ["PASS", "PASS", "DROP", "DROP", "PASS"]
    assert next_flow(engine, 9.0, (CLIENT[0], 9), OTHER_SERVER) is Verdict.PASS


# --- counts ---------------------------------------------------------------------------------------------


def test_a_count_rule_acts_when_the_count_is_reached() -> None:
    limit = FieldTest("flow.pkts_toserver", Operator.AT_LEAST, (4,))
    engine = engine_for(policy(acting(Action.DROP, limit)))
    assert verdicts(run(engine, [vpn(b"x")] * 5)) == ["PASS", "PASS", "PASS", "DROP", "DROP"]


# --- time -----------------------------------------------------------------------------------------------


def scheduled() -> Policy:
    window = Schedule("window", begins=100.0, ends=200.0)
    return policy(acting(Action.DROP, during=window))


def test_open_flows_are_judged_again_at_both_edges() -> None:
    engine = engine_for(scheduled())
    seen = []
    for now, raw in [
        (0, HELLO),
        (1, WELCOME),
        (99, vpn(b"a")),
        (100, answer(b"b")),
        (150, vpn(b"c")),
        (200, vpn(b"d")),
    ]:
        engine.pass_edge(now)
        seen.append(engine.handle(raw, now).verdict.name)
    assert seen == ["PASS", "PASS", "PASS", "DROP", "DROP", "PASS"]
    flow = the_flow(engine, 201.0)["middlebox"]
    assert (flow["verdict"], flow["passed_packets"], flow["epoch"]) == ("pass", 4, 3)


def test_a_simulated_clock_moves_the_edge() -> None:
    engine = Engine(scheduled(), detectors=TOYS, policy_time=lambda now: now * 100)
    run(engine, [HELLO, WELCOME], step=0.1)
    engine.pass_edge(1.0)
    assert engine.handle(vpn(b"a"), 1.0).verdict is Verdict.DROP


def test_a_new_policy_meets_open_flows() -> None:
    engine = engine_for(policy())
    run(engine, [HELLO, WELCOME])
    engine.renew(1.0, epoch=2, policy=policy(rule("now", Action.REJECT, VPN)))
    assert engine.handle(vpn(b"a"), 1.1).verdict is Verdict.REJECT
    engine.renew(2.0, epoch=3, policy=policy())
    assert engine.handle(vpn(b"a"), 2.1).verdict is Verdict.PASS
