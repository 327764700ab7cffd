"""Events: Suricata's shape, facts in their sections, times as ISO 8601, and never a payload."""

import json
from datetime import datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox import events
from middlebox.evidence import Confidence, Evidence, Proof
from middlebox.flow import Flow, Sighting
from middlebox.packet import AH, ESP, GRE, ICMP, Packet, decode
from middlebox.policy.match import Matcher
from middlebox.policy.rule import Mode, Policy
from middlebox.verdict import Action, Decision, Verdict
from tests.packets import CLIENT, CLIENT6, SERVER, SERVER6, echo, ipv4, tcp, udp
from tests.toys import asks, policy, rule

NOON = 1_795_608_000.123456
"2026-11-25T12:00:00.123456 in UTC."


def flow_of(raw: bytes, now: float = NOON) -> Flow:
    packet = decode(raw)
    assert isinstance(packet, Packet)
    flow = Flow(packet, now, order=7)
    flow.count(packet.length, now, from_client=True)
    return flow


def event_of(flow: Flow, a_policy: Policy | None = None) -> dict:  # type: ignore[type-arg]
    a_policy = a_policy or policy()
    return events.flow_event(flow, a_policy, Matcher(a_policy), epoch=3, now=NOON + 2)


def refused_flow() -> Flow:
    flow = flow_of(udp(CLIENT, SERVER, b"secret payload"))
    evidence = Evidence(
        "openvpn",
        Confidence.CONFIRMED,
        "server reset echoes the client's session id",
        {"openvpn.wrap": "tls-crypt"},
        proof=Proof("openvpn", "reset", b"secret proof"),
    )
    flow.sightings.append(Sighting("openvpn", 2, 2, evidence))
    flow.proofs.append(Proof("openvpn", "reset", b"secret proof"))
    flow.facts.update(evidence.facts)
    flow.protocol, flow.confidence = "openvpn", Confidence.CONFIRMED
    flow.count(28 + 14, NOON + 1, from_client=False)
    flow.decision = Decision(Verdict.DROP, settled=True, rule="unapproved-vpn")
    flow.refused, flow.decided_at = True, 2
    flow.passed_packets, flow.passed_bytes = 1, 42
    return flow


def test_a_flow_event_has_every_promised_field() -> None:
    event = event_of(refused_flow())
    assert event.pop("flow_id") > 0
    assert event == {
        "timestamp": "2026-11-25T12:00:02.123456+00:00",
        "event_type": "flow",
        "src_ip": "198.51.100.10",
        "src_port": 40112,
        "dest_ip": "203.0.113.20",
        "dest_port": 443,
        "proto": "UDP",
        "app_proto": "openvpn",
        "openvpn": {"wrap": "tls-crypt"},
        "flow": {
            "pkts_toserver": 1,
            "pkts_toclient": 1,
            "bytes_toserver": 42,
            "bytes_toclient": 42,
            "start": "2026-11-25T12:00:00.123456+00:00",
            "end": "2026-11-25T12:00:01.123456+00:00",
        },
        "middlebox": {
            "capture": None,
            "policy": "test",
            "mode": "enforce",
            "category": "vpn",
            "protocol": "openvpn",
            "confidence": "confirmed",
            "verdict": "drop",
            "rule": "unapproved-vpn",
            "approved": None,
            "residual": False,
            "by_packet": 2,
            "passed_packets": 1,
            "passed_bytes": 42,
            "inspected_packets": 0,
            "inspected_bytes": 0,
            "evidence": [
                {
                    "detector": "openvpn",
                    "packet": 2,
                    "payload_packet": 2,
                    "protocol": "openvpn",
                    "confidence": "confirmed",
                    "reason": "server reset echoes the client's session id",
                    "facts": {"openvpn.wrap": "tls-crypt"},
                }
            ],
            "near_misses": [],
            "epoch": 3,
        },
        events.ORDER_KEY: 7,
    }


def test_events_are_json_and_hold_neither_payload_nor_proof() -> None:
    text = json.dumps(event_of(refused_flow()))
    assert "secret" not in text
    assert b"secret".hex() not in text


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (ipv4(CLIENT[0], SERVER[0], ESP, b""), "ESP"),
        (ipv4(CLIENT[0], SERVER[0], AH, b""), "AH"),
        (ipv4(CLIENT[0], SERVER[0], GRE, b""), "GRE"),
        (ipv4(CLIENT[0], SERVER[0], ICMP, b"\x03\x01"), "ICMP"),
        (echo(CLIENT[0], SERVER[0], 1), "ICMP"),
        (echo(CLIENT6[0], SERVER6[0], 1), "IPV6-ICMP"),
    ],
)
def test_transports_without_ports_have_null_ports(raw: bytes, name: str) -> None:
    event = event_of(flow_of(raw))
    assert (event["proto"], event["src_port"], event["dest_port"]) == (name, None, None)


@pytest.mark.parametrize(
    ("raw", "name"),
    [(tcp(CLIENT6, SERVER6), "TCP"), (udp(CLIENT6, SERVER6), "UDP"), (udp((CLIENT[0], 0), (SERVER[0], 0)), "UDP")],
)
def test_transports_with_ports_have_them_also_when_zero(raw: bytes, name: str) -> None:
    event = event_of(flow_of(raw))
    assert event["proto"] == name
    assert isinstance(event["src_port"], int)
    assert isinstance(event["dest_port"], int)


def test_ipv6_addresses_are_written_short() -> None:
    event = event_of(flow_of(udp(CLIENT6, SERVER6)))
    assert (event["src_ip"], event["dest_ip"]) == (str(ip_address(CLIENT6[0])), str(ip_address(SERVER6[0])))


def test_a_flow_of_unknown_protocol_is_complete_too() -> None:
    event = event_of(flow_of(udp(CLIENT, SERVER)))
    about = event["middlebox"]
    assert event["app_proto"] == about["protocol"] == about["category"] == "unknown"
    assert (about["confidence"], about["verdict"], about["rule"], about["by_packet"]) == (None, "pass", None, None)
    assert (about["passed_packets"], about["passed_bytes"]) == (1, 28)


def test_facts_nest_into_their_sections() -> None:
    flow = flow_of(tcp(CLIENT, SERVER))
    flow.facts = {
        "tls.sni": "a.example",
        "tls.client_alpns": ["h2"],
        "ssh.client.software_version": "OpenSSH_9.2",
        "ssh.client.proto_version": "2.0",
        "ssh.server.proto_version": "2.0",
    }
    event = event_of(flow)
    assert event["tls"] == {"sni": "a.example", "client_alpns": ["h2"]}
    assert event["ssh"] == {
        "client": {"software_version": "OpenSSH_9.2", "proto_version": "2.0"},
        "server": {"proto_version": "2.0"},
    }


def test_a_decision_event_names_the_rule_that_acted_which_may_be_a_log_rule() -> None:
    a_policy = policy(mode=Mode.MONITOR)
    event = events.decision_event(refused_flow(), a_policy, Matcher(a_policy), epoch=1, now=NOON, rule="note")
    assert event["event_type"] == "decision"
    about = event["middlebox"]
    assert isinstance(about, dict)
    assert (about["rule"], about["verdict"], about["mode"]) == ("note", "drop", "monitor")
    assert events.ORDER_KEY not in event


def test_near_misses_stand_in_the_event() -> None:
    close = rule("close", Action.DROP, asks("category", "vpn"), asks("dest_port", 1194))
    assert event_of(refused_flow(), policy(close))["middlebox"]["near_misses"] == [
        {"rule": "close", "because": "dest_port is 443, the rule asks for 1194"}
    ]


def test_a_policy_event_says_which_policy_and_why_now() -> None:
    a_policy = Policy("campus", source="campus.yaml", digest="00ff")
    assert events.policy_event(a_policy, epoch=2, now=NOON, change="reloaded", open_schedules=["office"]) == {
        "timestamp": "2026-11-25T12:00:00.123456+00:00",
        "event_type": "policy",
        "policy": {
            "name": "campus", "mode": "enforce", "default": "pass", "rules": 0, "digest": "00ff",
            "source": "campus.yaml", "change": "reloaded",
            "open_schedules": ["office"],
        },
        "middlebox": {"policy": "campus", "epoch": 2},
    }  # fmt: skip


def test_a_refused_reload_tells_what_is_wrong() -> None:
    event = events.policy_event(Policy("campus"), epoch=2, now=NOON, change="reload refused", problems=["a:1:1: error"])
    assert event["policy"]["problems"] == ["a:1:1: error"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000+00:00"),
        (NOON, "2026-11-25T12:00:00.123456+00:00"),
        (1.000001, "1970-01-01T00:00:01.000001+00:00"),
        (-5.0, "1970-01-01T00:00:00.000000+00:00"),
        (1e300, "9999-12-31T23:59:59.000000+00:00"),
        (float("inf"), "9999-12-31T23:59:59.000000+00:00"),
    ],
)
def test_timestamps_are_utc_with_microseconds_and_never_fail(seconds: float, text: str) -> None:
    assert events.timestamp(seconds) == text


@given(st.floats(allow_nan=False))
def test_any_time_can_be_written_and_read_again(seconds: float) -> None:
    text = events.timestamp(seconds)
    assert len(text) == len("1970-01-01T00:00:00.000000+00:00")
    assert datetime.fromisoformat(text).tzinfo is not None


def test_flow_ids_tell_flows_and_their_repetitions_apart() -> None:
    one, other = flow_of(udp(CLIENT, SERVER)), flow_of(udp((CLIENT[0], 1), SERVER))
    again, same = flow_of(udp(CLIENT, SERVER), NOON + 60), flow_of(udp(CLIENT, SERVER))
    assert events.flow_id(one) == events.flow_id(same)
    assert len({events.flow_id(flow) for flow in (one, other, again)}) == 3


@given(st.floats(-1e15, 1e15))
def test_flow_ids_fit_in_63_bits(start: float) -> None:
    assert 0 <= events.flow_id(flow_of(udp(CLIENT, SERVER), start)) < 2**63
