"""Labels of captures, in both forms."""

import json
from pathlib import Path

from middlebox.accuracy.truth import Trust, flow_key, read_descriptions, read_manifests
from tests.shells.capture_files import pcap

CAPTURES = Path(__file__).parents[1] / "captures"


def test_a_key_has_no_direction_and_ports_only_where_events_have_them() -> None:
    assert flow_key("UDP", "192.0.2.2", 1, "198.51.100.2", 2) == flow_key("UDP", "198.51.100.2", 2, "192.0.2.2", 1)
    assert flow_key("UDP", "192.0.2.2", 1, "198.51.100.2", 2) != flow_key("UDP", "192.0.2.2", 2, "198.51.100.2", 1)
    assert flow_key("GRE", "192.0.2.2", 0, "198.51.100.2", None) == flow_key("GRE", "192.0.2.2", 7, "198.51.100.2", 9)


def manifest(directory: Path, *flows: dict[str, object], **more: object) -> None:
    (directory / "a.pcap").write_bytes(pcap([]))
    entry = {"file": "a.pcap", "class": "vpn", "protocols": ["openvpn"], "flows": list(flows), **more}
    missing = {"file": "gone.pcap", "class": "vpn", "protocols": ["openvpn"], "flows": []}
    (directory / "manifest.jsonl").write_text(f"{json.dumps(entry)}\n{json.dumps(missing)}\n")


UDP_FLOW = {"l4": "udp", "src": "192.0.2.2", "sport": 1, "dst": "198.51.100.2", "dport": 2, "packets": 9}


def test_a_recording_is_truth_and_what_it_accepts_holds_for_its_tunnels(tmp_path: Path) -> None:
    ordinary = {**UDP_FLOW, "sport": 7, "label": "ordinary-dns", "kind": "ordinary"}
    noise = {**UDP_FLOW, "sport": 8, "label": "noise", "kind": "noise"}
    manifest(
        tmp_path, {**UDP_FLOW, "label": "openvpn", "kind": "vpn"}, ordinary, noise, accept=["openvpn", "tls-tunnel"]
    )
    (capture,) = read_manifests(tmp_path)
    assert (capture.trust, capture.family, capture.collection) == (Trust.TRUTH, "openvpn", tmp_path.name)
    tunnel, other = capture.flows
    assert tunnel.accept == {"openvpn", "tls-tunnel"}
    assert tunnel.key == flow_key("UDP", "192.0.2.2", 1, "198.51.100.2", 2)
    assert other.accept == {"dns", "mdns", "llmnr", "nbns", "dnscrypt"}


def test_another_programs_label_is_an_opinion(tmp_path: Path) -> None:
    manifest(tmp_path, {**UDP_FLOW, "label": "TLS.NordVPN", "kind": "vpn", "label_source": "ndpi-expected"})
    (capture,) = read_manifests(tmp_path)
    assert capture.trust is Trust.OPINION
    assert capture.flows[0].kind == "vpn-service"


def test_the_projects_own_captures_are_read() -> None:
    captures = {capture.name: capture for capture in read_descriptions(CAPTURES, "project")}
    assert len(captures) > 30
    vpn = captures["project/openvpn-udp.pcap"]
    assert (vpn.trust, vpn.family, vpn.flows[0].kind) == (Trust.TRUTH, "openvpn", "vpn")
    assert captures["project/benign/dot.pcap"].family == "ordinary"
    assert not any("hostile" in name for name in captures)
