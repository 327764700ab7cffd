"""Labelled captures: what each flow of a capture truly is, or is said to be.

The one rule: labels come from whoever made the capture, never from our own detectors.

Two forms are read: the descriptions beside the project's own captures (`tests/captures/**/*.yaml`), and manifests
(`manifest.jsonl`, one JSON object a capture), which recordings of the lab and collections of public captures have.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import yaml

from middlebox.accuracy.names import names_a_provider_only, names_for
from middlebox.protocols import CATEGORY_OF

FlowKey = tuple[str, frozenset[tuple[str, int]]]
"Transport as events spell it, and both ends: what a flow has in common with its label, whichever side opened it."


class Trust(Enum):
    """How far a label can be trusted."""

    TRUTH = "ground truth"
    "Whoever recorded the capture started the programs."
    OPINION = "opinion"
    "Another program's, or somebody's reading of a file name."


@dataclass(slots=True, frozen=True)
class LabelledFlow:
    """One flow as its label has it."""

    key: FlowKey
    label: str
    "As spelled in its source."
    kind: str
    "vpn, proxy, anonymity, tunnel, encrypted-dns, ordinary, or a word of the source's own such as `unknown`."
    accept: frozenset[str] | None
    "Our names that are right for it; None where the label says too little to tell."
    packets: int | None
    "As counted in the source."


@dataclass(slots=True, frozen=True)
class LabelledCapture:
    """One capture file with its labels."""

    path: Path
    name: str
    "How reports call it: collection and file."
    collection: str
    trust: Trust
    family: str
    "What the capture is about, for instance `openvpn` or `ordinary`."
    flows: tuple[LabelledFlow, ...]


_TRANSPORTS = {
    "tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "icmp6": "IPV6-ICMP", "icmpv6": "IPV6-ICMP", "gre": "GRE", "esp": "ESP",
    "ah": "AH", "igmp": "IGMP", "sctp": "SCTP", "6in4": "IPV6-IN-IP", "ipip": "IP-IN-IP", "ospf": "89", "pim": "103",
    "eigrp": "88", "vrrp": "112", "rsvp": "46", "pgm": "113",
}  # fmt: skip
"Transports as manifests spell them, to the names of events. Numbers stand for themselves there."


def flow_key(
    transport: str, source: str, source_port: int | None, destination: str, destination_port: int | None
) -> FlowKey:
    """The key of a flow. Ports that events do not have count as 0."""
    has_ports = transport in ("TCP", "UDP")
    ends = ((source, source_port or 0), (destination, destination_port or 0))
    return transport, frozenset(ends if has_ports else ((address, 0) for address, _ in ends))


def read_manifests(directory: Path) -> Iterator[LabelledCapture]:
    """Captures of a folder with `manifest.jsonl`, whose files lie in `captures/` or beside it."""
    with (directory / "manifest.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            places = (directory / "captures" / entry["file"], directory / entry["file"])
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                continue
            accept = frozenset(entry["accept"]) if entry.get("accept") else None
            flows = tuple(_manifest_flow(flow, accept) for flow in entry["flows"] if flow["kind"] != "noise")
            # Whoever took a label from another program says from which.
            trust = Trust.OPINION if any("label_source" in flow for flow in entry["flows"]) else Trust.TRUTH
            family = entry["class"] if entry["class"] in ("ordinary", "mixed") else str(entry["protocols"][0])
            yield LabelledCapture(path, f"{directory.name}/{entry['file']}", directory.name, trust, family, flows)


def read_truth(directory: Path) -> Iterator[LabelledCapture]:
    """Recordings of the lab's traffic generator: `truth.jsonl`, one JSON object a flow, beside the captures."""
    flows: dict[str, list[LabelledFlow]] = {}
    with (directory / "truth.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            flow = json.loads(line)
            if flow["kind"] != "noise":
                flows.setdefault(flow["file"], []).append(_manifest_flow(flow, None))
    for name, of_file in sorted(flows.items()):
        path = directory / name
        if path.is_file():
            yield LabelledCapture(
                path, f"{directory.name}/{name}", directory.name, Trust.TRUTH, "ordinary", tuple(of_file)
            )


def _manifest_flow(flow: dict[str, object], accept_of_capture: frozenset[str] | None) -> LabelledFlow:
    label, kind = str(flow["label"]), str(flow["kind"])
    if names_a_provider_only(label):
        kind = "vpn-service"
    stated = flow.get("accept")
    if isinstance(stated, list):
        accept: frozenset[str] | None = frozenset(map(str, stated))
    elif accept_of_capture is not None and kind not in ("ordinary", "unknown"):
        accept = accept_of_capture
    else:
        accept = names_for(label)
    packets = flow.get("packets")
    transport = str(flow["l4"])
    return LabelledFlow(
        flow_key(
            _TRANSPORTS.get(transport, transport),
            str(flow["src"]),
            _port(flow.get("sport")),
            str(flow["dst"]),
            _port(flow.get("dport")),
        ),
        label,
        kind,
        accept,
        packets if isinstance(packets, int) else None,
    )


def _port(value: object) -> int | None:
    return value if isinstance(value, int) else None


def read_descriptions(directory: Path, collection: str) -> Iterator[LabelledCapture]:
    """The project's own captures, each with a description of the same name beside it."""
    for description in sorted(directory.rglob("*.yaml")):
        found = [
            path for path in (description.with_suffix(".pcap"), description.with_suffix(".pcapng")) if path.is_file()
        ]
        told = yaml.safe_load(description.read_text(encoding="utf-8"))
        if not found or "flows" not in told:
            continue
        flows = tuple(_described_flow(flow) for flow in told["flows"])
        trust = Trust.OPINION if "source" in told else Trust.TRUTH
        name = f"{collection}/{found[0].relative_to(directory)}"
        family = "ordinary" if "benign" in found[0].parts else flows[0].label
        yield LabelledCapture(found[0], name, collection, trust, family, flows)


def _described_flow(flow: dict[str, object]) -> LabelledFlow:
    truth = flow["truth"]
    assert isinstance(truth, list)
    names = [str(name) for name in truth]
    category = CATEGORY_OF[names[0]]
    key = flow_key(
        str(flow["proto"]),
        str(flow["src_ip"]),
        _port(flow.get("src_port")),
        str(flow["dest_ip"]),
        _port(flow.get("dest_port")),
    )
    return LabelledFlow(key, names[0], category, None if names == ["unknown"] else frozenset(names), None)
