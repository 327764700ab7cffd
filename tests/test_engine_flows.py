"""The engine: which flow a packet belongs to, what detectors are told of it, time, room, fragments, the fast path."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT, Conversation, Detector
from middlebox.engine import (
    Engine,
)
from middlebox.evidence import Answer, Opinion
from middlebox.flow import (
    CARRIED_IDLE_SECONDS,
    OTHER_IDLE_SECONDS,
    TCP_CLOSED_IDLE_SECONDS,
    TCP_IDLE_SECONDS,
    UDP_IDLE_SECONDS,
    Totals,
)
from middlebox.packet import ACK, ESP, FIN, ICMP, RST, SYN, TCP, UDP
from middlebox.verdict import Action, Decision
from tests.judging import (
    BLOCK_SURE_VPN,
    BLOCK_VPN,
    HELLO,
    TOYS,
    WELCOME,
    answer,
    engine_for,
    events_of,
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
from tests.toys import NameToy, asks, policy, rule, toy

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
