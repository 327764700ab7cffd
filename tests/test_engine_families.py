"""Detectors that build on others, judge by statistics, or remember across flows."""

from typing import ClassVar

import pytest

from middlebox.detect.base import SIZES_LIMIT, Conversation, Detector, Scope
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from middlebox.packet import ACK, SYN
from middlebox.verdict import Action
from tests.judging import answer, engine_for, run, the_flow, verdicts, vpn
from tests.packets import CLIENT, SERVER, tcp, udp
from tests.toys import asks, policy, rule, toy

POSSIBLE, PROBABLE, CONFIRMED = Confidence.POSSIBLE, Confidence.PROBABLE, Confidence.CONFIRMED


def on_word(
    word: bytes,
    protocol: str,
    confidence: Confidence = CONFIRMED,
    *,
    more: bool = False,
    facts: dict[str, object] | None = None,
) -> type[Detector]:
    """A detector that gives evidence on a datagram that says its word, and waits for it for ever."""

    def feed(talk: Conversation) -> Answer:
        if talk.data != word:
            return Opinion.MORE
        return Evidence(protocol, confidence, f"the word {word!r}", facts or {}, more)

    return toy(protocol, feed, protocols=(protocol,), facts=tuple(facts or ()), reaches=confidence)


def building_on(kind: type[Detector], *names: str) -> type[Detector]:
    return type(kind.__name__, (kind,), {"builds_on": names})


def by_statistics(kind: type[Detector], *builds_on: str) -> type[Detector]:
    return type(kind.__name__, (kind,), {"statistical": True, "builds_on": builds_on})


def name_of(*words: bytes, kinds: tuple[type[Detector], ...]) -> tuple[str, str | None]:
    engine = engine_for(policy(), kinds)
    run(engine, map(vpn, words))
    about = the_flow(engine)["middlebox"]
    return about["protocol"], about["confidence"]


# --- building on ------------------------------------------------------------------------------------


def test_a_dependent_is_fed_from_the_packet_that_showed_the_name() -> None:
    heard: list[tuple[bytes, str, dict[str, object], list[int]]] = []

    def feed(talk: Conversation) -> Answer:
        heard.append((talk.data, talk.protocol, dict(talk.facts), list(talk.sizes)))
        return Opinion.MORE

    dependent = building_on(toy("inner", feed, protocols=("openconnect",)), "tls")
    engine = engine_for(policy(), (dependent, on_word(b"tls", "tls", facts={"tls.sni": "a.example"})))
    run(engine, [vpn(b"first"), answer(b"tls"), vpn(b"third")])
    facts = {"tls.sni": "a.example"}
    assert heard == [(b"tls", "tls", facts, [5, -3]), (b"third", "tls", facts, [5, -3, 5])]


def test_a_dependent_of_another_name_is_never_made() -> None:
    made: list[object] = []

    class Costly(Detector):
        name: ClassVar[str] = "costly"
        transports: ClassVar[tuple[int, ...]] = (17,)
        protocols: ClassVar[tuple[str, ...]] = ("openconnect",)
        facts: ClassVar[tuple[str, ...]] = ()
        reaches: ClassVar[Confidence] = CONFIRMED
        builds_on: ClassVar[tuple[str, ...]] = ("quic",)

        def __init__(self) -> None:
            made.append(self)

    engine = engine_for(policy(), (Costly, on_word(b"tls", "tls")))
    run(engine, [vpn(b"tls"), vpn(b"x")])
    assert made == []


def test_a_possible_name_is_no_ground_to_build_on() -> None:
    kinds = (on_word(b"tls", "tls", POSSIBLE), building_on(on_word(b"tls", "openconnect"), "tls"))
    assert name_of(b"tls", kinds=kinds) == ("tls", "possible")


def test_what_builds_on_a_dependent_is_made_in_the_same_round() -> None:
    kinds = (
        on_word(b"x", "tls"),
        building_on(on_word(b"x", "http"), "tls"),
        building_on(on_word(b"x", "websocket-tunnel"), "http"),
    )
    assert name_of(b"x", kinds=kinds) == ("websocket-tunnel", "confirmed")


def test_a_rule_waits_for_what_may_still_be_built_on() -> None:
    kinds = (on_word(b"tls", "tls"), building_on(on_word(b"inner", "openconnect"), "tls"))
    block = rule("block", Action.DROP, asks("protocol", "openconnect"))
    passing = rule("let-tls", Action.PASS, asks("protocol", "tls"))
    engine = engine_for(policy(block, passing), kinds)
    decisions = run(engine, [vpn(b"tls"), vpn(b"inner"), vpn(b"more")])
    assert verdicts(decisions) == ["PASS", "DROP", "DROP"]
    assert not decisions[0].settled


def test_a_flow_settles_when_nobody_is_left_on_whom_a_dependent_could_build() -> None:
    kinds = (on_word(b"dns", "dns"), building_on(on_word(b"inner", "openconnect"), "tls"))
    engine = engine_for(policy(), kinds)
    (decision,) = run(engine, [vpn(b"dns")])
    assert decision.settled


# --- statistics -------------------------------------------------------------------------------------


def test_a_recognised_protocol_excludes_statistical_verdicts() -> None:
    kinds = (by_statistics(on_word(b"two", "shadowsocks", PROBABLE)), on_word(b"one", "redis"))
    assert name_of(b"one", b"two", kinds=kinds) == ("redis", "confirmed")


@pytest.mark.parametrize("later", ["redis", "tls"])
def test_a_recognised_protocol_takes_the_name_from_a_statistical_verdict(later: str) -> None:
    kinds = (by_statistics(on_word(b"one", "shadowsocks", PROBABLE)), on_word(b"two", later, PROBABLE))
    assert name_of(b"one", b"two", kinds=kinds) == (later, "probable")


def test_a_possible_name_excludes_no_statistical_verdict() -> None:
    kinds = (by_statistics(on_word(b"two", "shadowsocks", PROBABLE)), on_word(b"one", "redis", POSSIBLE))
    assert name_of(b"one", b"two", kinds=kinds) == ("shadowsocks", "probable")


def test_a_statistical_verdict_on_a_cover_stands_beside_it() -> None:
    kinds = (by_statistics(on_word(b"two", "tls-in-tls", PROBABLE), "tls"), on_word(b"one", "tls"))
    assert name_of(b"one", b"two", kinds=kinds) == ("tls-in-tls", "probable")


def test_what_is_recognised_in_a_cover_excludes_statistics_on_that_cover() -> None:
    kinds = (
        on_word(b"one", "tls"),
        building_on(on_word(b"two", "openconnect"), "tls"),
        by_statistics(on_word(b"three", "tls-in-tls", PROBABLE), "tls"),
    )
    assert name_of(b"one", b"two", b"three", kinds=kinds) == ("openconnect", "confirmed")


def test_within_one_packet_statistics_are_asked_last() -> None:
    kinds = (by_statistics(on_word(b"x", "shadowsocks", PROBABLE)), on_word(b"x", "redis", PROBABLE))
    engine = engine_for(policy(), kinds)
    run(engine, [vpn(b"x")])
    assert [line["protocol"] for line in the_flow(engine)["middlebox"]["evidence"]] == ["redis"]


def test_sizes_and_times_of_the_first_packets_are_kept() -> None:
    seen: list[tuple[list[int], list[float]]] = []

    def feed(talk: Conversation) -> Answer:
        seen.append((list(talk.sizes), list(talk.times)))
        return Opinion.MORE

    engine = engine_for(policy(), (toy("watcher", feed, protocols=("ssh",)),))
    run(engine, [(vpn if n % 2 == 0 else answer)(b"x" * 300) for n in range(SIZES_LIMIT + 3)], step=1.0)
    sizes, times = seen[-1]
    assert sizes[:3] == [300, -300, 300]
    assert times[:3] == [0.0, 1.0, 2.0]
    assert max(len(sizes), len(times)) <= SIZES_LIMIT


# --- first bytes ------------------------------------------------------------------------------------


def beginning(heard: list[bytes], client: bytes, server: bytes) -> type[Detector]:
    """A detector that notes what it hears, of flows whose sides begin with these bytes."""

    def feed(talk: Conversation) -> Answer:
        heard.append(talk.data)
        return Opinion.MORE

    kind = toy("choosy", feed, protocols=("ssh",))
    return type("Choosy", (kind,), {"client_begins": client, "server_begins": server})


SYN_PACKET = tcp(CLIENT, SERVER, SYN, 99)
SYN_ACK_PACKET = tcp(SERVER, CLIENT, SYN | ACK, 499, acknowledgment=100)


def from_client(payload: bytes, sequence: int = 100) -> bytes:
    return tcp(CLIENT, SERVER, ACK, sequence, payload)


def from_server(payload: bytes, sequence: int = 500) -> bytes:
    return tcp(SERVER, CLIENT, ACK, sequence, payload)


@pytest.mark.parametrize(
    ("raws", "expected"),
    [
        ([SYN_PACKET, SYN_ACK_PACKET, from_client(b"cx"), from_server(b"?")], [b"cx", b"?"]),
        ([SYN_PACKET, SYN_ACK_PACKET, from_client(b"c"), from_client(b"x", 101)], [b"c", b"x"]),
        ([SYN_PACKET, SYN_ACK_PACKET, from_client(b"sx")], []),
        ([SYN_PACKET, SYN_ACK_PACKET, from_client(b"x"), from_client(b"c", 101)], []),
        ([SYN_PACKET, SYN_ACK_PACKET, from_server(b"sx")], [b"sx"]),
        ([SYN_PACKET, SYN_ACK_PACKET, from_server(b"cx"), from_client(b"c")], []),
        ([SYN_ACK_PACKET, from_client(b"cx")], [b"cx"]),
        ([SYN_ACK_PACKET, from_client(b"sx")], []),
        ([from_client(b"cx")], [b"cx"]),
        ([from_client(b"sx")], [b"sx"]),
        ([from_client(b"xx"), from_server(b"sx")], []),
        ([vpn(b"cx")], [b"cx"]),
        ([vpn(b"sx")], [b"sx"]),
        ([vpn(b""), answer(b"cx")], [b"cx"]),
        ([vpn(b"xx"), answer(b"cx")], []),
    ],
    ids=[
        "client", "one-byte-segments", "servers-byte-from-client", "second-byte", "server-first",
        "clients-byte-from-server", "syn-ack-first", "syn-ack-first-wrong", "midstream", "midstream-swapped",
        "midstream-foreign", "datagram", "datagram-swapped", "empty-datagram-first", "datagram-foreign",
    ],
)  # fmt: skip
def test_a_detector_hears_only_flows_that_can_be_its_own(raws: list[bytes], expected: list[bytes]) -> None:
    heard: list[bytes] = []
    run(engine_for(policy(), (beginning(heard, b"c", b"s"),)), raws)
    assert heard == expected


def test_who_declares_no_first_bytes_hears_everything() -> None:
    heard: list[bytes] = []
    kind = toy("all-ears", lambda talk: heard.append(talk.data) or Opinion.MORE, protocols=("ssh",))
    run(engine_for(policy(), (kind,)), [vpn(b"\x00"), answer(b"\xff")])
    assert heard == [b"\x00", b"\xff"]


def test_a_rule_waits_for_a_detector_until_the_first_byte_rules_it_out() -> None:
    engine = engine_for(policy(rule("no-ssh", Action.DROP, asks("protocol", "ssh"))), (beginning([], b"c", b"s"),))
    decisions = run(engine, [SYN_PACKET, SYN_ACK_PACKET, from_client(b"x")])
    assert [decision.settled for decision in decisions] == [False, False, True]
    assert verdicts(decisions)[-1] == "PASS"


def test_a_rule_goes_on_waiting_for_a_detector_that_the_first_byte_fits() -> None:
    engine = engine_for(policy(rule("no-ssh", Action.DROP, asks("protocol", "ssh"))), (beginning([], b"c", b"s"),))
    decisions = run(engine, [SYN_PACKET, SYN_ACK_PACKET, from_client(b"c")])
    assert [decision.settled for decision in decisions] == [False, False, False]


def test_what_builds_on_a_detector_that_is_ruled_out_is_not_waited_for() -> None:
    inside = building_on(on_word(b"inside", "openconnect"), "ssh")
    waits = rule("no-openconnect", Action.DROP, asks("protocol", "openconnect"))
    engine = engine_for(policy(waits), (beginning([], b"c", b"s"), inside))
    assert [decision.settled for decision in run(engine, [vpn(b"x")])] == [True]


def test_first_bytes_of_dependents_mean_nothing() -> None:
    carrier = on_word(b"carrier", "tls", more=True)
    inside = type(
        "Inside", (building_on(on_word(b"inside", "openconnect"), "tls"),), {"client_begins": b"", "server_begins": b""}
    )
    assert name_of(b"carrier", b"inside", kinds=(carrier, inside)) == ("openconnect", "confirmed")


# --- memory across flows ----------------------------------------------------------------------------


class Tally:
    """How many payloads were heard."""

    def __init__(self) -> None:
        self.heard = 0


def counting(scope: Scope) -> type[Detector]:
    class Counting(Detector):
        name: ClassVar[str] = "counting"
        transports: ClassVar[tuple[int, ...]] = (17,)
        protocols: ClassVar[tuple[str, ...]] = ("shadowsocks",)
        facts: ClassVar[tuple[str, ...]] = ()
        reaches: ClassVar[Confidence] = PROBABLE
        remembers: ClassVar[Scope | None] = scope
        memory: ClassVar[type] = Tally

        def __init__(self, memory: Tally | None = None) -> None:
            self._memory = memory or Tally()

        def feed(self, talk: Conversation) -> Answer:
            self._memory.heard += 1
            return Evidence("shadowsocks", PROBABLE, f"payload {self._memory.heard} of those that share a memory")

    return Counting


@pytest.mark.parametrize(
    ("scope", "counts"),
    [(Scope.CLIENT, [1, 2, 3, 1, 4]), (Scope.SERVICE, [1, 2, 1, 3, 1]), (Scope.PAIR, [1, 2, 1, 1, 3])],
)
def test_flows_of_one_scope_share_a_memory(scope: Scope, counts: list[int]) -> None:
    engine = engine_for(policy(), (counting(scope),))
    server, other_server, other_client = SERVER[0], "203.0.113.77", "192.0.2.77"
    raws = [
        udp((CLIENT[0], 1001), (server, 53), b"x"),
        udp((CLIENT[0], 1002), (server, 53), b"x"),
        udp((CLIENT[0], 1003), (other_server, 53), b"x"),
        udp((other_client, 1004), (server, 53), b"x"),
        udp((CLIENT[0], 1005), (server, 54), b"x"),
    ]
    run(engine, raws)
    engine.finish(1.0)
    flows = [event for event in engine.take_events() if event["event_type"] == "flow"]
    reasons = [event["middlebox"]["evidence"][0]["reason"] for event in flows]  # type: ignore[index]
    assert reasons == [f"payload {count} of those that share a memory" for count in counts]
