"""Every event the engine writes keeps to the published schema, and the schema refuses what it should."""

import copy
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from middlebox import events
from middlebox.engine import Engine
from middlebox.events import ORDER_KEY
from middlebox.policy.rule import All as Always
from middlebox.policy.rule import Policy, Rule
from middlebox.protocols import CATEGORIES, CATEGORY_OF
from middlebox.shells.replay import replay
from middlebox.verdict import Action, Verdict
from tests.shells.capture_files import CLIENT, SERVER, esp_packet, pcap, udp_packet

NOON = 1_700_000_000.0
EVERYTHING_DROPPED = Policy(name="nothing-passes", rules=(Rule("all", when=Always(()), action=Action.DROP),))

DNS_QUERY = bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\x03www\x07example\x03org\x00" + b"\x00\x01\x00\x01"
DNS_ANSWER = bytes.fromhex("1234 8180 0001 0000 0000 0000") + DNS_QUERY[12:]

SCHEMA: dict[str, Any] = json.loads((files("middlebox") / "event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def packets() -> Iterator[tuple[float, bytes]]:
    yield NOON, udp_packet(DNS_QUERY, server_port=53)
    yield NOON + 0.01, udp_packet(DNS_ANSWER, client=SERVER, client_port=53, server=CLIENT, server_port=40000)
    yield NOON + 0.02, udp_packet(b"\xffnothing known", client="2001:db8:1::2", server="2001:db8:2::2")
    yield NOON + 0.03, esp_packet()
    yield NOON + 0.04, b"\x45\x00\x00"


def engine_events(policy: Policy) -> list[events.Event]:
    engine = Engine(policy)
    for now, packet in packets():
        engine.handle(packet, now)
    engine.finish(NOON + 1)
    found = engine.take_events()
    found += [engine.stats_event(NOON + 1), events.policy_event(policy, epoch=1, now=NOON, change="loaded")]
    for event in found:
        event.pop(ORDER_KEY, None)
    return found


@pytest.fixture(name="flow")
def a_flow_event() -> dict[str, Any]:
    return next(event for event in engine_events(EVERYTHING_DROPPED) if event["event_type"] == "flow")


def test_schema_itself_is_sound() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_flows_of_a_replay_keep_to_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "mixed.pcap"
    path.write_bytes(pcap(packets()))
    [result] = replay([str(path)])
    assert len(result.flows) == 3
    for event in result.flows:
        VALIDATOR.validate(json.loads(json.dumps(event)))


def test_every_kind_of_event_keeps_to_the_schema() -> None:
    found = engine_events(EVERYTHING_DROPPED)
    assert {event["event_type"] for event in found} == {"flow", "decision", "error", "stats", "policy"}
    for event in found:
        VALIDATOR.validate(json.loads(json.dumps(event)))


def test_schema_knows_the_words_of_the_code() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["protocol"]["enum"] == list(CATEGORY_OF)
    assert definitions["about_flow"]["properties"]["category"]["enum"] == list(CATEGORIES)
    assert definitions["about_flow"]["properties"]["verdict"]["enum"] == [verdict.name.lower() for verdict in Verdict]


Change = Callable[[dict[str, Any]], object]

WRONG: list[tuple[str, Change]] = [
    ("no address", lambda event: event.pop("src_ip")),
    ("no app_proto", lambda event: event.pop("app_proto")),
    ("no verdict", lambda event: event["middlebox"].pop("verdict")),
    ("no evidence", lambda event: event["middlebox"].pop("evidence")),
    ("no capture", lambda event: event["middlebox"].pop("capture")),
    ("unknown protocol", lambda event: event["middlebox"].update(protocol="openvpm")),
    ("unknown category", lambda event: event["middlebox"].update(category="vpns")),
    ("unknown confidence", lambda event: event["middlebox"].update(confidence="certain")),
    ("unknown verdict", lambda event: event["middlebox"].update(verdict="log")),
    ("unknown key about the flow", lambda event: event["middlebox"].update(payload="00")),
    ("unknown counter", lambda event: event["flow"].update(pkts=1)),
    ("negative count", lambda event: event["flow"].update(pkts_toserver=-1)),
    ("host name as address", lambda event: event.update(dest_ip="example.org")),
    ("UDP without ports", lambda event: event.update(src_port=None, dest_port=None)),
    ("ESP with ports", lambda event: event.update(proto="ESP")),
    ("port too large", lambda event: event.update(src_port=65536)),
    ("local time", lambda event: event.update(timestamp="2026-11-23T12:00:00.123456")),
    ("milliseconds", lambda event: event.update(timestamp="2026-11-23T12:00:00.123+00:00")),
    ("private key", lambda event: event.update(_order=1)),
    ("unknown event", lambda event: event.update(event_type="alert")),
    ("evidence without reason", lambda event: event["middlebox"].update(evidence=[{"detector": "dns", "packet": 1}])),
    ("fact without section", lambda event: event.update(sni="example.org")),
]


@pytest.mark.parametrize(("change"), [change for _, change in WRONG], ids=[name for name, _ in WRONG])
def test_schema_refuses(flow: dict[str, Any], change: Change) -> None:
    VALIDATOR.validate(flow)
    broken = copy.deepcopy(flow)
    change(broken)
    assert not VALIDATOR.is_valid(broken)
