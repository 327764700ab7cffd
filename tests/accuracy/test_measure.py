"""Replay held against labels."""

from pathlib import Path

from middlebox.accuracy.measure import measure
from middlebox.accuracy.ndpi import _read, is_right
from middlebox.accuracy.speed import slowest
from middlebox.accuracy.truth import flow_key, read_descriptions
from middlebox.detect import DETECTORS

CAPTURES = Path(__file__).parents[1] / "captures"


def test_a_capture_is_compared_flow_by_flow() -> None:
    captures = [capture for capture in read_descriptions(CAPTURES, "project") if "openvpn-udp.pcap" in capture.name]
    heard: list[str] = []
    measured = measure(captures, jobs=1, tell=heard.append)
    assert heard == ["project/openvpn-udp.pcap"]
    assert (measured.captures, measured.problems, measured.unseen) == (1, [], [])
    outcome = next(outcome for outcome in measured.outcomes if outcome.name == "openvpn")
    assert outcome.is_right
    assert (outcome.category, outcome.level, outcome.payload_packets) == ("vpn", "confirmed", 2)
    assert outcome.data_packets >= outcome.payload_packets
    assert outcome.is_settled_early


def test_every_detector_that_was_asked_has_a_slowest_packet() -> None:
    worst = slowest([CAPTURES / "openvpn-udp.pcap"])
    assert {"openvpn", "quic"} <= {one.detector for one in worst} <= {kind.name for kind in DETECTORS}
    assert all(one.microseconds > 0 for one in worst)
    assert worst == sorted(worst, key=lambda one: -one.microseconds)


def test_ndpis_table_is_read(tmp_path: Path) -> None:
    table = tmp_path / "flows.csv"
    table.write_text(
        "#flow_id,protocol,src_ip,src_port,dst_ip,dst_port,ndpi_proto\n"
        "1,17,192.0.2.2,1,198.51.100.2,2,OpenVPN\n"
        "2,47,192.0.2.2,0,198.51.100.2,0,GRE\n"
    )
    assert _read(table) == {
        flow_key("UDP", "192.0.2.2", 1, "198.51.100.2", 2): "OpenVPN",
        flow_key("GRE", "192.0.2.2", 0, "198.51.100.2", 0): "GRE",
    }


def test_ndpis_names_are_held_against_ours() -> None:
    assert is_right("TLS.Google", frozenset({"tls"}))
    assert not is_right("TLS.Google", frozenset({"openvpn"}))
    assert not is_right("Unknown", frozenset({"openvpn"}))
