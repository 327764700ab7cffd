"""Replays labelled captures and holds every flow against its label.

The one rule: a flow is scored by what stands in its flow event, which is what any user of `middlebox replay` sees.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from middlebox.accuracy.truth import FlowKey, LabelledCapture, LabelledFlow, flow_key
from middlebox.events import Event
from middlebox.packet import TRANSPORT_NAMES, Packet, decode
from middlebox.shells.capture import Capture, CaptureError
from middlebox.shells.replay import Replayed, replay

LEVELS = ("possible", "probable", "confirmed")
REFUSED_KINDS = frozenset({"vpn", "proxy", "anonymity", "tunnel", "encrypted-dns"})
"Kinds and categories that policies are written against."
SETTLED_PACKETS, SETTLED_BYTES = 12, 16 * 1024
"A flow should be settled by this packet, or before so many bytes of payload were looked at."


@dataclass(slots=True)
class Outcome:
    """One flow: its label, and what we say."""

    capture: LabelledCapture
    flow: LabelledFlow | None
    "None for a flow that has no label."
    ends: str
    "The flow as a person writes it down."
    name: str = "unknown"
    category: str = "unknown"
    level: str | None = None
    payload_packets: int = 0
    "Payload packets until the name was given at its level."
    reason: str = ""
    packets: int = 0
    data_packets: int = 0
    "Packets with payload in the whole capture; counted only for flows that are not ordinary."
    inspected_packets: int = 0
    inspected_bytes: int = 0
    names_seen: frozenset[str] = field(default_factory=frozenset)
    "Every name that some piece of evidence gave at least as probable."
    ndpi: str | None = None
    "What ndpiReader calls it; None where it was not asked or does not know the flow."

    @property
    def is_right(self) -> bool:
        """The name is one of those that count as right."""
        return self.flow is not None and self.flow.accept is not None and self.name in self.flow.accept

    @property
    def is_scored(self) -> bool:
        """The label says enough to tell right from wrong."""
        return self.flow is not None and self.flow.accept is not None

    @property
    def is_ordinary(self) -> bool:
        """The label says that this is ordinary traffic."""
        return self.flow is not None and self.flow.kind == "ordinary"

    @property
    def is_settled_early(self) -> bool:
        """Looked at for no more than the promised number of packets, or the promised number of bytes."""
        return self.inspected_packets <= SETTLED_PACKETS or self.inspected_bytes <= SETTLED_BYTES


@dataclass(slots=True)
class Measured:
    """Everything that was compared."""

    outcomes: list[Outcome] = field(default_factory=list)
    unseen: list[tuple[LabelledCapture, LabelledFlow]] = field(default_factory=list)
    "Labelled flows of which the replay reports nothing: fragments only, undecodable, cut off."
    problems: list[str] = field(default_factory=list)
    captures: int = 0
    packets: int = 0


def measure(captures: Sequence[LabelledCapture], *, jobs: int, tell: Callable[[str], None]) -> Measured:
    """Replay `captures` and compare; `tell` hears the name of each capture that is done."""
    measured = Measured()
    results = replay([str(capture.path) for capture in captures], jobs=jobs)
    for capture, result in zip(captures, results, strict=True):
        _compare(capture, result, measured)
        tell(capture.name)
    return measured


def _compare(capture: LabelledCapture, result: Replayed, measured: Measured) -> None:
    measured.captures += 1
    measured.packets += result.packets
    measured.problems += result.problems
    events: dict[FlowKey, list[Event]] = defaultdict(list)
    for event in result.flows:
        events[_key_of(event)].append(event)
    labelled = {flow.key: flow for flow in capture.flows}
    for key, flow in labelled.items():
        if key not in events:
            measured.unseen.append((capture, flow))
    is_about_tunnels = any(flow.kind in REFUSED_KINDS for flow in capture.flows)
    data_packets = _count_data_packets(capture) if is_about_tunnels else {}
    for key, of_key in events.items():
        for event in of_key:
            outcome = _outcome(capture, labelled.get(key), event)
            outcome.data_packets = data_packets.get(key, 0)
            measured.outcomes.append(outcome)


def _count_data_packets(capture: LabelledCapture) -> Counter[FlowKey]:
    """Packets with payload of every flow."""
    counts: Counter[FlowKey] = Counter()
    try:
        for _, raw in Capture(str(capture.path)):
            packet = decode(raw)
            if isinstance(packet, Packet) and packet.size:
                source, destination = str(ip_address(packet.source)), str(ip_address(packet.destination))
                transport = TRANSPORT_NAMES.get(packet.protocol, str(packet.protocol))
                counts[flow_key(transport, source, packet.source_port, destination, packet.destination_port)] += 1
    except CaptureError:
        pass  # the replay has said so
    return counts


def _key_of(event: Event) -> FlowKey:
    about: dict[str, Any] = event
    return flow_key(about["proto"], about["src_ip"], about["src_port"], about["dest_ip"], about["dest_port"])


def _outcome(capture: LabelledCapture, flow: LabelledFlow | None, event: dict[str, Any]) -> Outcome:
    about = event["middlebox"]
    ends = f"{event['src_ip']}:{event['src_port'] or 0} > {event['dest_ip']}:{event['dest_port'] or 0} {event['proto']}"
    outcome = Outcome(capture, flow, ends)
    outcome.name, outcome.category, outcome.level = about["protocol"], about["category"], about["confidence"]
    outcome.packets = event["flow"]["pkts_toserver"] + event["flow"]["pkts_toclient"]
    outcome.inspected_packets, outcome.inspected_bytes = about["inspected_packets"], about["inspected_bytes"]
    telling = [
        sighting
        for sighting in about["evidence"]
        if sighting["protocol"] == outcome.name and sighting["confidence"] == outcome.level
    ]
    if telling:
        outcome.payload_packets, outcome.reason = telling[0]["payload_packet"], telling[0]["reason"]
    outcome.names_seen = frozenset(
        sighting["protocol"] for sighting in about["evidence"] if sighting["confidence"] != LEVELS[0]
    )
    return outcome


def flows_of_kinds(outcomes: Sequence[Outcome], kinds: frozenset[str]) -> Iterator[Outcome]:
    """Outcomes whose label is of one of `kinds`."""
    return (outcome for outcome in outcomes if outcome.flow is not None and outcome.flow.kind in kinds)
