"""The capture library: every capture is what its description says, and is judged as it should be."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from middlebox.events import Event
from middlebox.policy.load import load_policy
from middlebox.protocols import CARRIERS, CATEGORY_OF
from middlebox.shells.replay import Replayed, replay_capture
from tests.captures.trim import trim
from tests.shells.capture_files import pcap, udp_packet

LIBRARY = Path(__file__).parent / "captures"
RULES = Path(__file__).parents[1] / "rules"
MAX_LIBRARY_BYTES = 3 * 1024 * 1024
DATA_PACKETS_ALLOWED = 4
"A tunnel whose handshake shows what it is must be confirmed by its fourth packet that carries data."

ALWAYS_REQUIRED = {"what", "made_by", "licence", "sha256"}
OURS, OTHERS = {"client", "server"}, {"source", "licence_text"}
LICENCES = re.compile(r"MIT|BSD-.*|Apache-2\.0|LGPL-.*|Unlicense/public domain")

CAPTURES = sorted(path for path in LIBRARY.rglob("*") if path.suffix in (".pcap", ".pcapng"))
HOSTILE = [path for path in CAPTURES if path.parent.name == "hostile"]
BENIGN = [path for path in CAPTURES if path.parent.name == "benign"]
DESCRIBED = [path for path in CAPTURES if path not in HOSTILE]


def name(path: Path) -> str:
    return str(path.relative_to(LIBRARY))


@cache
def description(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@cache
def replayed(path: Path) -> Replayed:
    return replay_capture(str(path))


def endpoints(event: Event) -> dict[str, object]:
    keys = ("src_ip", "src_port", "dest_ip", "dest_port", "proto")
    return {key: event[key] for key in keys if event[key] is not None}


def flows_with_truth(path: Path) -> Iterator[tuple[Event, dict[str, Any]]]:
    yield from zip(replayed(path).flows, description(path)["flows"], strict=True)


def about(event: Event) -> dict[str, Any]:
    found = event["middlebox"]
    assert isinstance(found, dict)
    return found


# --- descriptions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CAPTURES, ids=name)
def test_capture_is_described_and_unchanged(path: Path) -> None:
    described = description(path)
    origin = OTHERS if "source" in described else OURS
    flows = set() if path in HOSTILE else {"flows"}
    assert set(described) == ALWAYS_REQUIRED | origin | flows
    assert described["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert LICENCES.fullmatch(described["licence"])
    if "source" in described:
        assert set(described["source"]) == {"repository", "path", "commit"}
        assert (LIBRARY / described["licence_text"]).is_file()


def test_every_description_has_its_capture() -> None:
    described = {path.with_suffix("") for path in LIBRARY.rglob("*.yaml")}
    assert described == {path.with_suffix("") for path in CAPTURES}


def test_library_stays_small() -> None:
    assert sum(path.stat().st_size for path in LIBRARY.rglob("*") if path.is_file()) < MAX_LIBRARY_BYTES


@pytest.mark.parametrize("path", DESCRIBED, ids=name)
def test_flows_are_those_of_the_description(path: Path) -> None:
    result = replayed(path)
    assert result.problems == []
    expected = [
        {key: value for key, value in flow.items() if key not in ("truth", "level", "late", "known_miss")}
        for flow in description(path)["flows"]
    ]
    assert [endpoints(event) for event in result.flows] == expected
    for flow in description(path)["flows"]:
        assert set(flow["truth"]) <= set(CATEGORY_OF)


# --- what they are called -----------------------------------------------------------------------------------

REFUSED = {"vpn", "proxy", "anonymity"}
TUNNELS = REFUSED | {"tunnel", "encrypted-dns"}
VPN_CAPTURES = [path for path in DESCRIBED if CATEGORY_OF[description(path)["flows"][0]["truth"][0]] == "vpn"]


def is_asked(flow: dict[str, Any]) -> bool:
    """Whether the flow's description says what it should be called."""
    return "unknown" not in flow["truth"] and "known_miss" not in flow


def is_named(event: Event, flow: dict[str, Any]) -> bool:
    return about(event)["protocol"] in flow["truth"]


def test_library_has_every_family() -> None:
    first = {CATEGORY_OF[name] for path in DESCRIBED for flow in description(path)["flows"] for name in flow["truth"]}
    assert first >= TUNNELS | {"ordinary"}
    assert len(VPN_CAPTURES) >= 20


@pytest.mark.parametrize("path", DESCRIBED, ids=name)
def test_flow_is_called_what_it_is_as_surely_as_its_description_says(path: Path) -> None:
    for event, flow in flows_with_truth(path):
        if is_asked(flow):
            assert is_named(event, flow), about(event)
            assert about(event)["confidence"] == flow.get("level", "confirmed"), about(event)


@pytest.mark.parametrize("path", DESCRIBED, ids=name)
def test_what_is_confirmed_in_a_tunnel_is_confirmed_within_four_data_packets(path: Path) -> None:
    for event, flow in flows_with_truth(path):
        if is_asked(flow) and CATEGORY_OF[flow["truth"][0]] in TUNNELS and "level" not in flow and "late" not in flow:
            confirming = [
                sighting["payload_packet"]
                for sighting in about(event)["evidence"]
                if sighting["protocol"] in flow["truth"] and sighting["confidence"] == "confirmed"
            ]
            assert min(confirming) <= DATA_PACKETS_ALLOWED


@pytest.mark.parametrize("path", DESCRIBED, ids=name)
def test_known_miss_is_still_missed(path: Path) -> None:
    for event, flow in flows_with_truth(path):
        if "known_miss" in flow:
            assert not is_named(event, flow), "recognised now: remove its known_miss"


@pytest.mark.parametrize("path", DESCRIBED, ids=name)
def test_whatever_is_confirmed_is_true(path: Path) -> None:
    for event, flow in flows_with_truth(path):
        carries_it = "known_miss" in flow and about(event)["protocol"] in CARRIERS
        if about(event)["confidence"] == "confirmed" and not carries_it:
            assert is_named(event, flow)


@pytest.mark.parametrize("path", BENIGN, ids=name)
def test_ordinary_traffic_is_at_most_possibly_something_else(path: Path) -> None:
    for event in replayed(path).flows:
        if about(event)["confidence"] != "possible":
            assert about(event)["category"] not in REFUSED | {"tunnel"}, about(event)


# --- how they are judged ------------------------------------------------------------------------------------


NOT_LISTED_IS_REFUSED = {RULES / "default-deny.yaml"}
"Refuses ordinary protocols by design; tests/rules/test_rules.py holds exactly which."


@pytest.mark.parametrize("path", BENIGN, ids=name)
@pytest.mark.parametrize(
    "policy",
    sorted(set(RULES.glob("*.yaml")) - set(RULES.glob("*.test.yaml")) - NOT_LISTED_IS_REFUSED),
    ids=lambda path: path.name,
)
def test_shipped_policies_refuse_nothing_ordinary(policy: Path, path: Path) -> None:
    everywhere = dataclasses.replace(load_policy(policy), home=())
    verdicts = {about(event)["verdict"] for event in replay_capture(str(path), everywhere).flows}
    assert verdicts == {"pass"}


@pytest.mark.parametrize("path", VPN_CAPTURES, ids=name)
def test_approved_vpn_only_refuses_every_vpn_that_is_confirmed(path: Path) -> None:
    policy = dataclasses.replace(load_policy(RULES / "approved-vpn-only.yaml"), home=())
    result = replay_capture(str(path), policy)
    for event, flow in zip(result.flows, description(path)["flows"], strict=True):
        if is_asked(flow) and CATEGORY_OF[flow["truth"][0]] == "vpn" and "level" not in flow:
            assert (about(event)["verdict"], about(event)["rule"]) == ("reset", "unapproved-vpn")


@pytest.mark.parametrize("path", HOSTILE, ids=name)
def test_hostile_capture_is_read_without_a_failure_of_ours(path: Path) -> None:
    policy = load_policy(RULES / "approved-vpn-only.yaml")
    result = replay_capture(str(path), dataclasses.replace(policy, home=()))
    if path.name == "radiotap.pcap":
        assert result.unreadable
        assert "has link type 127, which cannot be read" in result.problems[0]
    else:
        assert result.problems == []
        assert result.packets + result.skipped.total() > 0


# --- the tool that cuts them --------------------------------------------------------------------------------


def test_trim_keeps_the_first_packets_of_each_flow_in_both_directions(tmp_path: Path) -> None:
    def packet(number: int, port: int, *, back: bool = False) -> bytes:
        ends = {"client": "203.0.113.20", "client_port": 9000, "server": "198.51.100.10", "server_port": port}
        return udp_packet(bytes([number]), **(ends if back else {"client_port": port}))

    first = [packet(1, 1000), packet(2, 1000, back=True), packet(3, 1000)]
    second = [packet(1, 2000)]
    source = tmp_path / "source.pcap"
    source.write_bytes(pcap([(float(n), raw) for n, raw in enumerate([*first, *second])]))
    assert trim(str(source), 2) == pcap([(0.0, first[0]), (1.0, first[1]), (3.0, second[0])])
