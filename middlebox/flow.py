"""Flows: who talks to whom, what was seen, what was decided, and the bounded table that holds them.

All memory about a flow lives here. What detection needs is dropped when the flow is settled.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from middlebox.detect.base import SIZES_LIMIT, STREAM_LIMIT, Conversation, Detector
from middlebox.evidence import Confidence, Evidence, Proof
from middlebox.host_scores import HostScores
from middlebox.packet import ACK, RST, SYN, TCP, TRANSPORT_NAMES, UDP, Packet
from middlebox.policy.rule import HostScore
from middlebox.stream import StreamSide
from middlebox.verdict import UNDECIDED, Decision

UDP_IDLE_SECONDS = 180.0
"An assured UDP flow ends in Linux' connection tracking after nf_conntrack_udp_timeout_stream = 120; one minute more."
TCP_IDLE_SECONDS = 7_440.0
"RFC 5382 section 5, REQ-5: an established connection may be idle for 2 hours 4 minutes."
TCP_CLOSED_IDLE_SECONDS = 10.0
"Linux nf_conntrack_tcp_timeout_close: after a RST, or a FIN from each side."
TCP_HALF_CLOSED_IDLE_SECONDS = 120.0
"Linux nf_conntrack_tcp_timeout_fin_wait: one side has sent all it has, the other may still answer."
TCP_ONE_SIDED_IDLE_SECONDS = 240.0
"RFC 5382 section 5, REQ-5: a connection that is not established yet may be idle for 4 minutes."
CARRIED_IDLE_SECONDS = 432_000.0
"""Settled flows whose end the kernel announces: kept as long as it may keep them itself, in case the announcement was
lost (Linux nf_conntrack_tcp_timeout_established)."""
OTHER_IDLE_SECONDS = 600.0
"Linux nf_conntrack_generic_timeout: ESP, GRE, ICMP and the rest."

MAX_SIGHTINGS = 32
"Ours: evidence kept of a flow. A refused tunnel that tries again for days would fill the memory otherwise."
MAX_PROOFS = 4
"Ours: handshake messages kept of a flow, the latest."


@dataclass(slots=True, frozen=True)
class Totals:
    """Packets and IP bytes of a whole connection; None: not counted."""

    packets_to_server: int | None
    bytes_to_server: int | None
    packets_to_client: int | None
    bytes_to_client: int | None

    def reversed(self) -> "Totals":
        """The same with client and server exchanged."""
        return Totals(self.packets_to_client, self.bytes_to_client, self.packets_to_server, self.bytes_to_server)


SLACK = 1_024
"Ours: places of ended flows in the age order, beyond one for each living flow."


Make = Callable[[type[Detector]], Detector]
"Makes a detector for one flow, with the memory that it shares with others."


class Opener(Enum):
    """Who has sent a flow's first payload, as far as that is certain."""

    CLIENT = "client"
    SERVER = "server"
    EITHER = "either"
    "Datagrams, and connections joined mid-way: what looks like the client may be the server."


@dataclass(slots=True, frozen=True)
class Kinds:
    """The detectors for one transport."""

    first: tuple[type[Detector], ...]
    "Those that begin with the first payload. Statistical ones stand last, so that they hear what the others found."
    dependents: tuple[type[Detector], ...]
    "Those that build on what others find."
    _meant: dict[tuple[Opener, int], tuple[type[Detector], ...]] = field(default_factory=dict)
    "What `meant_by` has answered: three openers, 256 bytes."

    @classmethod
    def of(cls, detectors: Iterable[type[Detector]], transport: int) -> "Kinds":
        """Sort out those that want to see `transport`."""
        wanted = sorted((kind for kind in detectors if transport in kind.transports), key=lambda kind: kind.statistical)
        first = tuple(kind for kind in wanted if not kind.builds_on)
        return cls(first, tuple(kind for kind in wanted if kind.builds_on))

    def meant_by(self, opener: Opener, byte: int) -> tuple[type[Detector], ...]:
        """Those of the first whose protocol may be that of a flow which begins with this byte."""
        meant = self._meant.get((opener, byte))
        if meant is None:
            meant = self._meant[opener, byte] = tuple(
                kind
                for kind in self.first
                if (opener is not Opener.SERVER and byte in kind.client_begins)
                or (opener is not Opener.CLIENT and byte in kind.server_begins)
            )
        return meant


class Sighting:
    """One piece of evidence, with who gave it and at which packet."""

    __slots__ = ("detector", "evidence", "packet", "payload_packet")

    def __init__(self, detector: str, packet: int, payload_packet: int, evidence: Evidence) -> None:
        self.detector = detector
        self.packet = packet
        "Of the flow, both directions counted from 1."
        self.payload_packet = payload_packet
        "The same, but only packets counted that brought payload."
        self.evidence = evidence


class Inspection:
    """What is needed only while a flow is being looked at."""

    __slots__ = (
        "_has_begun", "_kinds", "_syn_data", "client_side", "conversation", "dependents", "depth", "detectors",
        "inside", "inspected_bytes", "inspected_packets", "server_side", "unfinished", "unwrapper",
    )  # fmt: skip

    def __init__(self, kinds: Kinds, *, tcp: bool, midstream: bool) -> None:
        self._kinds = kinds
        self._has_begun = False
        "The first payload has come."
        self.detectors: list[Detector] = []
        "Detectors that have not finished. Made when the first payload comes, so that a flood of SYNs costs none."
        self.unfinished = len(kinds.first)
        "How many had not finished before the newest payload, those to be made included."
        self.dependents = kinds.dependents
        "Detectors that build on a name which the flow does not have yet."
        self.conversation = Conversation(midstream=midstream)
        self.client_side = StreamSide(STREAM_LIMIT) if tcp else None
        self.server_side = StreamSide(STREAM_LIMIT) if tcp else None
        self.inspected_packets = 0
        "Packets that brought payload in order, both directions."
        self.inspected_bytes = 0
        "Payload bytes shown to detectors, both directions."
        self.unwrapper: Detector | None = None
        "The detector that knows how to take inner packets out of this flow's payload."
        self.inside: dict[bytes, Flow] = {}
        "Inner flows by the key of either direction. They are in no table and have no verdict of their own."
        self.depth = 0
        "0 for what the network sees, 1 for what a tunnel in it carries, and so on."
        self._syn_data = b""
        "TCP: what came with the client's SYN, until the server's answer tells whether it was taken."

    @property
    def pending(self) -> Sequence[Detector | type[Detector]]:
        """Detectors that may still report something."""
        made: Sequence[Detector | type[Detector]] = self.detectors if self._has_begun else self._kinds.first
        return (*made, *self.dependents) if self.dependents else made

    def give_up(self) -> None:
        """Ask no detector any more."""
        self._has_begun = True
        self.detectors, self.unfinished, self.dependents, self.inside = [], 0, (), {}

    def begin(self, byte: int, make: Make, *, from_client: bool) -> None:
        """Make the detectors that a flow is shown to whose first payload begins with this byte; once only."""
        if self._has_begun:
            return
        self._has_begun = True
        opener = Opener.CLIENT if from_client else Opener.SERVER
        if self.client_side is None or self.conversation.midstream:
            opener = Opener.EITHER
        self.detectors = [make(kind) for kind in self._kinds.meant_by(opener, byte)]

    def say(self, data: bytes, size: int, packet: int, now: float, *, from_client: bool) -> None:
        """Add new payload to the conversation that detectors look at."""
        talk = self.conversation
        if self.client_side is not None:
            if from_client:
                talk.client += data
            else:
                talk.server += data
        talk.data, talk.from_client, talk.packet, talk.size, talk.now = data, from_client, packet, size, now
        if len(talk.sizes) < SIZES_LIMIT:
            talk.sizes.append(size if from_client else -size)
            talk.times.append(now)
        self.inspected_packets += 1
        self.inspected_bytes += len(data)

    def build_on(self, evidence: Evidence, make: Make) -> list[Detector]:
        """The detectors, now made, that build on the name which this evidence gives."""
        if evidence.confidence < Confidence.PROBABLE or not self.dependents:
            return []
        fresh = [make(kind) for kind in self.dependents if evidence.protocol in kind.builds_on]
        if fresh:
            self.dependents = tuple(kind for kind in self.dependents if evidence.protocol not in kind.builds_on)
        return fresh

    def drop_hopeless(self, protocol: str) -> None:
        """Forget dependents whose name neither the flow has nor any detector at work could still give it."""
        if not self.dependents:
            return
        names = {protocol}
        for detector in self.detectors:
            names.update(detector.protocols)
        hopeless, has_grown = list(self.dependents), True
        while hopeless and has_grown:
            without_hope, hopeless, has_grown = hopeless, [], False
            for kind in without_hope:
                if names.isdisjoint(kind.builds_on):
                    hopeless.append(kind)
                else:
                    names.update(kind.protocols)
                    has_grown = True
        if hopeless:
            self.dependents = tuple(kind for kind in self.dependents if kind not in hopeless)

    def in_order(
        self, packet: Packet, start_sequence: int | None, *, from_client: bool
    ) -> Iterator[tuple[bytes, bool]]:
        """Payload that this packet brings into order, and whether it is the client's.

        `start_sequence` is the number of the client's SYN.
        """
        if self.client_side is None or self.server_side is None:
            if packet.payload:
                yield packet.payload, from_client
            return
        side = self.client_side if from_client else self.server_side
        sequence, data = packet.sequence, packet.payload
        if packet.flags & SYN:
            side.open(sequence)
            sequence += 1  # data on a SYN begins after it
            if from_client:
                # Part of the stream only if the server takes it (RFC 7413 section 4.2), which its SYN-ACK tells.
                self._syn_data = data
                return
            if self._syn_data and start_sequence is not None:
                start = (start_sequence + 1) % (1 << 32)
                taken = self._syn_data[: (packet.acknowledgment - start) % (1 << 32)]
                self._syn_data = b""
                if early := self.client_side.push(start, taken, len(taken)):
                    yield early, True
        # A receiver drops what lacks an ACK (RFC 9293 section 3.10.7.4, fifth).
        if packet.flags & ACK and data and (fresh := side.push(sequence, data, packet.size)):
            yield fresh, from_client


class Flow:
    """One flow, from its first packet to its end. `client` is the side that opened it."""

    __slots__ = (
        "answer",
        "approved",
        "bytes_to_client",
        "bytes_to_server",
        "client",
        "client_port",
        "closing",
        "confidence",
        "decided_at",
        "decided_for",
        "decision",
        "ended",
        "epoch",
        "facts",
        "finished_sides",
        "inspected_bytes",
        "inspected_packets",
        "inspection",
        "key",
        "last_seen",
        "logged",
        "midstream",
        "namer",
        "order",
        "packets_to_client",
        "packets_to_server",
        "passed_bytes",
        "passed_packets",
        "proofs",
        "protocol",
        "refused",
        "refused_bytes",
        "refused_packets",
        "residual",
        "reverse_key",
        "scores",
        "server",
        "server_port",
        "settled_in",
        "sightings",
        "start",
        "start_sequence",
        "transport",
        "unanswered_syn",
    )  # fmt: skip

    def __init__(self, packet: Packet, now: float, order: int) -> None:
        # A SYN-ACK as the first packet means that the capture or the gateway came a moment late.
        reply = packet.protocol == TCP and packet.flags & (SYN | ACK) == SYN | ACK
        self.order = order
        "Ordinal of the flow's first packet among all packets of the engine."
        self.transport = packet.protocol
        self.key = packet.reverse_key if reply else packet.key
        "As seen from the client; see `middlebox.packet.flow_key`."
        self.reverse_key = packet.key if reply else packet.reverse_key
        self.client, self.server = packet.source, packet.destination
        self.client_port, self.server_port = packet.source_port, packet.destination_port
        if reply:
            self.client, self.server = self.server, self.client
            self.client_port, self.server_port = self.server_port, self.client_port
        self.start = self.last_seen = now
        self.packets_to_server = self.packets_to_client = 0
        self.bytes_to_server = self.bytes_to_client = 0
        self.start_sequence: int | None = None
        "TCP: the number of the client's SYN, also when only the SYN-ACK was seen, which acknowledges it."
        if packet.flags & SYN:
            self.start_sequence = (packet.acknowledgment - 1) % (1 << 32) if reply else packet.sequence
        self.unanswered_syn: int | None = None
        "TCP: the number of a SYN that came later. It begins a new connection once a SYN-ACK takes it up."
        self.midstream = packet.protocol == TCP and not packet.flags & SYN
        self.closing = False
        "TCP: a RST was seen, or a FIN from each side."
        self.finished_sides = 0
        "TCP: 1 after the client's FIN, 2 after the server's, 3 after both."
        self.ended = False
        "No longer in the table."
        self.inspection: Inspection | None = None
        "None once the flow is settled."
        self.inspected_packets = self.inspected_bytes = 0
        "Of a settled flow: its packets of any kind until then, and the payload bytes that detectors were shown."
        self.sightings: list[Sighting] = []
        self.protocol = "unknown"
        "The most specific protocol that evidence supports so far."
        self.confidence: Confidence | None = None
        "How sure that name is."
        self.namer: type[Detector] | None = None
        "The kind of detector that gave the name."
        self.facts: dict[str, object] = {}
        self.proofs: list[Proof] = []
        self.approved: str | None = None
        "Name of the approval that covers this flow."
        self.decision: Decision = UNDECIDED
        "What the policy says."
        self.answer: Decision = UNDECIDED
        "What the shell is told: the same, or PASS while the policy only monitors."
        self.refused = False
        "The decision is anything but PASS."
        self.decided_at: int | None = None
        "Number of the packet on which the decision fell."
        self.decided_for: str | None = None
        "The approval that was known when the decision fell."
        self.refused_packets = self.refused_bytes = 0
        "What was refused before the flow was freed, and DNS queries that were not passed on."
        self.passed_packets = self.passed_bytes = 0
        "What went through before a refusal; everything for a flow that passes. Bytes are IP bytes."
        self.epoch = 0
        "The epoch in which rules were asked last."
        self.settled_in = -1
        "The epoch in which `answer` became final; -1 while it is not."
        self.residual = False
        "Refused because it resembles another flow that a rule refused."
        self.scores: HostScores | None = None
        "What is known of servers, for rules that ask for it."
        self.logged: set[str] | None = None
        "Names of the log rules that have matched."

    @property
    def packets(self) -> int:
        """Packets seen, both directions."""
        return self.packets_to_server + self.packets_to_client

    @property
    def transport_name(self) -> str:
        """The transport as events spell it."""
        return TRANSPORT_NAMES.get(self.transport, str(self.transport))

    @property
    def pending(self) -> Sequence[Detector | type[Detector]]:
        """Detectors that may still report something."""
        return self.inspection.pending if self.inspection is not None else ()

    def was_named(self, protocols: frozenset[str], confidence: Confidence) -> bool:
        """Whether any evidence gave the flow one of these names with this confidence or more."""
        return any(
            sighting.evidence.protocol in protocols and sighting.evidence.confidence >= confidence
            for sighting in self.sightings
        )

    def host_score(self, score: HostScore) -> bool:
        """Whether enough of the last flows to the same server and port fitted."""
        return self.scores is not None and self.scores.holds(score, self)

    @property
    def idle_seconds(self) -> float:
        """How long the flow may be silent before it counts as ended."""
        if self.transport == TCP:
            if self.closing:
                return TCP_CLOSED_IDLE_SECONDS
            if not self.packets_to_client or not self.packets_to_server:
                return TCP_ONE_SIDED_IDLE_SECONDS
            return TCP_HALF_CLOSED_IDLE_SECONDS if self.finished_sides else TCP_IDLE_SECONDS
        return UDP_IDLE_SECONDS if self.transport == UDP else OTHER_IDLE_SECONDS

    def settle(self) -> None:
        """End the inspection."""
        self.inspected_packets, self.inspected_bytes = self.inspected
        self.inspection = None

    @property
    def inspected(self) -> tuple[int, int]:
        """Packets of any kind that were looked at so far, and payload bytes that detectors were shown."""
        if self.inspection is None:
            return self.inspected_packets, self.inspected_bytes
        return self.packets, self.inspection.inspected_bytes

    def count(self, length: int, now: float, *, from_client: bool) -> None:
        """Count one packet of `length` bytes."""
        self.last_seen = now
        if from_client:
            self.packets_to_server += 1
            self.bytes_to_server += length
        else:
            self.packets_to_client += 1
            self.bytes_to_client += length

    def add_sighting(self, sighting: Sighting) -> None:
        """Note a piece of evidence. Of many, the first ones are kept, and the latest."""
        if len(self.sightings) >= MAX_SIGHTINGS:
            del self.sightings[-1]
        self.sightings.append(sighting)
        if sighting.evidence.proof is not None:
            self.proofs = [*self.proofs[1 - MAX_PROOFS :], sighting.evidence.proof]

    def take_totals(self, totals: Totals) -> None:
        """Replace what was seen by what the kernel counted, which includes what it carried by itself."""
        if totals.packets_to_server is not None and totals.bytes_to_server is not None:
            self.packets_to_server, self.bytes_to_server = totals.packets_to_server, totals.bytes_to_server
        if totals.packets_to_client is not None and totals.bytes_to_client is not None:
            self.packets_to_client, self.bytes_to_client = totals.packets_to_client, totals.bytes_to_client

    def starts_anew(self, packet: Packet) -> bool:
        """Whether this packet opens a new connection between the same ports (RFC 9293 section 3.6.1).

        A SYN into a living connection proves nothing: its receiver answers with a challenge ACK (RFC 9293 section
        3.10.7.4) and goes on. Only the SYN-ACK that takes it up shows that a new connection has begun.
        """
        flags = packet.flags & (SYN | ACK | RST)
        if flags == SYN:
            is_other = packet.sequence != self.start_sequence
            return self.closing or self.finished_sides != 0 or (is_other and not self.packets_to_client)
        if self.unanswered_syn is None or flags != SYN | ACK:
            return False
        return packet.acknowledgment == (self.unanswered_syn + 1) % (1 << 32)


class FlowTable:
    """All flows, found by the key of either direction. Never larger than `max_flows`."""

    def __init__(self, max_flows: int, *, kernel_tells_ends: bool = False) -> None:
        self.max_flows = max_flows
        self._kernel_tells_ends = kernel_tells_ends
        self.forward: dict[bytes, Flow] = {}
        "Flows by the key that the client's packets have."
        self.backward: dict[bytes, Flow] = {}
        "The same flows by the key that the server's packets have."
        self._by_age: deque[Flow] = deque()
        # Second chance (the clock algorithm): flows are looked at in this order and go to the end when
        # they were active meanwhile. A packet costs one attribute write, not a move in an ordered map.

    def __len__(self) -> int:
        return len(self.forward)

    def add(self, flow: Flow) -> None:
        """Put a new flow into the table. The caller makes room first (`idlest`)."""
        self.forward[flow.key] = flow
        self.backward[flow.reverse_key] = flow
        self._by_age.append(flow)

    def remove(self, flow: Flow) -> None:
        """Take a flow out. Its place in the age order is freed when it comes up, or when too many are empty."""
        flow.ended = True
        if len(self._by_age) > 2 * len(self.forward) + SLACK:
            self._by_age = deque(flow for flow in self._by_age if not flow.ended)
        if self.forward.get(flow.key) is flow:
            del self.forward[flow.key]
        if self.backward.get(flow.reverse_key) is flow:
            del self.backward[flow.reverse_key]

    def idle(self, now: float, at_most: int) -> Iterator[Flow]:
        """Flows that have been silent too long, after looking at no more than `at_most` flows."""
        for _ in range(min(at_most, len(self._by_age))):
            if not self._by_age:
                return
            flow = self._by_age.popleft()
            if flow.ended:
                continue
            if self.is_over(flow, now):
                yield flow
            else:
                self._by_age.append(flow)

    def is_over(self, flow: Flow, now: float) -> bool:
        """Whether a flow has been silent for too long."""
        carried = self._kernel_tells_ends and flow.inspection is None and not flow.refused
        return flow.last_seen + (CARRIED_IDLE_SECONDS if carried else flow.idle_seconds) <= now

    def idlest(self, sample: int = 16) -> Flow:
        """The longest silent of the next `sample` flows in age order: what makes room in a full table."""
        candidates: list[Flow] = []
        while self._by_age and len(candidates) < sample:
            flow = self._by_age.popleft()
            if not flow.ended:
                candidates.append(flow)
        oldest = min(candidates, key=lambda flow: flow.last_seen)
        self._by_age.extend(flow for flow in candidates if flow is not oldest)
        return oldest

    def all(self) -> list[Flow]:
        """Every flow, in the order in which they began."""
        return sorted(self.forward.values(), key=lambda flow: flow.order)
