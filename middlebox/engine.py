"""Joins the parts: packet -> flow -> detectors -> policy -> decision and events.

What goes in is bytes and `now`; what comes out is a decision per packet and a list of events. There are no
sockets, files, clocks or randomness here or in anything this module imports: the linter refuses them.
Every packet gets exactly one decision, also after a bug of ours.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from middlebox import events
from middlebox.detect import DETECTORS
from middlebox.detect.base import INNER_PROTOCOLS, STREAM_LIMIT, Detector
from middlebox.events import Event
from middlebox.evidence import Confidence, Evidence, Opinion
from middlebox.flow import TCP_CLOSED_IDLE_SECONDS, Flow, FlowTable, Inspection, Kinds, Sighting, Totals
from middlebox.fragments import Reassembler
from middlebox.memories import Memories
from middlebox.packet import ACK, FIN, RST, SYN, TCP, Fragment, Packet, Undecodable, decode
from middlebox.policy.match import Matcher, Ruling, in_networks
from middlebox.policy.rule import Mode, Policy
from middlebox.protocols import CARRIERS
from middlebox.verdict import UNDECIDED, Action, Decision, Verdict

MAX_FLOWS = 262_144
"Flows in the table. Linux' default nf_conntrack_max on a machine with 4 GB or more."
PACKETS_INSPECTED = 32
"Packets with payload, both directions, before a flow's detectors must have finished. nDPI gives up at the same number."
LEAST_BYTES_INSPECTED = 8_192
"Yet at least so many bytes: a ClientHello of 1.8 kB, cut into records and segments of one byte, is sent as 8 kB or so."
MAX_BYTES_INSPECTED = 2 * STREAM_LIMIT
"Payload bytes shown to detectors, both directions."
MAX_PACKETS_INSPECTED = 32_768
"Packets of any kind: what ends the inspection of a connection that says nothing."
MAX_INNER_FLOWS = 8
"Ours: inner flows that are looked at within one tunnel."
MAX_INNER_DEPTH = 3
"Ours: tunnels within tunnels that are looked into."
SWEEP_SECONDS = 1.0
"How often the table is searched for idle flows."
SWEEP_SHARE = 16
"Each sweep looks at one in so many flows, at least at SWEEP_LEAST."
SWEEP_LEAST = 1_024
SWEEP_ENDS = 1_000
"Flows that one sweep may end. Ending one costs some 30 us, and packets wait meanwhile."
ERROR_EVENT_SECONDS = 60.0
"At most one error event of a kind in this time. All are counted."
ERROR_TRANSPORT_BYTES = 8
"Of a packet we failed on, after its IP header: as much as ICMP errors quote (RFC 792). A UDP header, so no payload."


@dataclass(slots=True)
class Counters:
    """What happened since the start. Read by shells, written by the engine only."""

    packets: int = 0
    bytes: int = 0
    flows: int = 0
    flows_evicted: int = 0
    "Flows that had to leave a full table."
    fragments: int = 0
    undecodable: Counter[str] = field(default_factory=Counter)
    "By reason."
    internal_errors: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    "Decided flows, by verdict."
    rules: Counter[str] = field(default_factory=Counter)
    "Flows on which a rule acted, log rules included, by rule."

    def as_dict(self) -> dict[str, object]:
        """For a stats event."""
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "flows": self.flows,
            "flows_evicted": self.flows_evicted,
            "fragments": self.fragments,
            "undecodable": dict(self.undecodable),
            "internal_errors": self.internal_errors,
            "verdicts": dict(self.verdicts),
            "rules": dict(self.rules),
        }


class Engine:
    """Judges packets by one policy."""

    def __init__(
        self,
        policy: Policy,
        *,
        epoch: int = 1,
        detectors: tuple[type[Detector], ...] = DETECTORS,
        max_flows: int = MAX_FLOWS,
        kernel_tells_ends: bool = False,
        on_end: Callable[[Flow], None] | None = None,
    ) -> None:
        self._on_end = on_end
        "Told of every flow that ends, while all that is known of it is still there."
        self.policy = policy
        self.epoch = epoch
        self.counters = Counters()
        self._matcher = Matcher(policy)
        self._enforcing = policy.mode is Mode.ENFORCE
        self._is_home = in_networks(policy.home) if policy.home else None
        self._flows = FlowTable(max_flows, kernel_tells_ends=kernel_tells_ends)
        self._fragments = Reassembler()
        self._kinds = {transport: Kinds.of(detectors, transport) for transport in range(256)}
        self._memories = Memories()
        self._events: list[Event] = []
        self._bug: Exception | None = None
        "What a detector raised on the packet in hand."
        self._next_sweep = 0.0
        self._error_event_due: dict[str, float] = {}

    def __len__(self) -> int:
        """Flows in the table."""
        return len(self._flows)

    def handle(self, raw: bytes, now: float) -> Decision:
        """Judge one packet, given from its IP header on. Never raises."""
        try:
            # The fast path: a settled flow costs one slice and one or two dictionary lookups. Only TCP and
            # UDP without IP options have keys of this length, so whatever is found here is one of them.
            first = raw[0]
            if first == 0x45:
                key = raw[9:10] + raw[12:24]
                flags_at, length = 33, (raw[2] << 8 | raw[3]) or len(raw)
                whole = not (raw[6] & 0x3F or raw[7])
            else:
                key = raw[6:7] + raw[8:44]
                length = raw[4] << 8 | raw[5]
                flags_at, length = 53, 40 + length if length else len(raw)
                whole = first >> 4 == 6
            flow = self._flows.forward.get(key)
            from_client = flow is not None
            if flow is None:
                flow = self._flows.backward.get(key)
            if (
                flow is not None
                and flow.inspection is None
                and whole
                and now - flow.last_seen < TCP_CLOSED_IDLE_SECONDS  # the least idle time: else look closer
                and not (flow.transport == TCP and raw[flags_at] & (FIN | SYN | RST))
            ):
                counters = self.counters
                counters.packets += 1
                counters.bytes += length
                flow.count(length, now, from_client=from_client)
                return flow.answer
        except IndexError:
            pass  # shorter than its headers: `decode` says what is wrong with it
        try:
            return self._handle_slowly(raw, now)
        except Exception as error:
            self._bug = None
            return self._internal_error(error, raw, now)

    def take_events(self) -> list[Event]:
        """The events since the last call. The caller owns the list."""
        taken, self._events = self._events, []
        return taken

    def expire(self, now: float) -> None:
        """End flows that have been silent for too long. Call about once a second when no packets come."""
        self._next_sweep = now + SWEEP_SECONDS
        idle = self._flows.idle(now, max(SWEEP_LEAST, len(self._flows) // SWEEP_SHARE))
        for flow in islice(idle, SWEEP_ENDS):
            self._end(flow, now)

    def close(self, key: bytes, totals: Totals, now: float) -> None:
        """End a flow of which the kernel says that it has ended, with what the kernel counted.

        `key` is the flow's key as the side that opened it has it. Flows that are not in the table are ignored.
        """
        flow = self._flows.forward.get(key)
        if flow is None:
            flow = self._flows.backward.get(key)
            totals = totals.reversed()
        if flow is None or flow.inspection is not None:
            return  # under inspection: the announcement may be about an earlier connection between the same ports
        flow.take_totals(totals)
        self._end(flow, now)

    def finish(self, now: float) -> None:
        """End every flow."""
        for flow in self._flows.all():
            self._end(flow, now)

    def stats_event(self, now: float) -> Event:
        """The counters as an event."""
        stats = {
            **self.counters.as_dict(),
            "flows_active": len(self._flows),
            "fragmented_packets_discarded": self._fragments.discarded,
        }
        return events.stats_event(stats, policy=self.policy, epoch=self.epoch, now=now)

    # --- one packet, the long way -----------------------------------------------------------------

    def _handle_slowly(self, raw: bytes, now: float) -> Decision:
        if now >= self._next_sweep:
            self.expire(now)
        packet = decode(raw)
        if isinstance(packet, Fragment):
            self.counters.fragments += 1
            whole = self._fragments.add(packet, now)
            if whole is None:
                self._count(len(raw))
                return UNDECIDED  # without the fragment that completes the packet it is of no use to its receiver
            packet = decode(whole)
            self._count(len(raw))
        elif isinstance(packet, Packet):
            self._count(packet.length)
        else:
            self._count(len(raw))
        if isinstance(packet, Packet):
            decision = self._judge(packet, now)
            bug, self._bug = self._bug, None
            if bug is None:
                return decision
            failed = self._internal_error(bug, raw, now)
            return failed if decision.verdict is Verdict.PASS else decision
        reason = packet.reason if isinstance(packet, Undecodable) else "a fragment in a fragment"
        return self._undecodable(reason, raw, now)

    def _count(self, length: int) -> None:
        self.counters.packets += 1
        self.counters.bytes += length

    def _judge(self, packet: Packet, now: float) -> Decision:
        flow = self._flows.forward.get(packet.key)
        from_client = flow is not None
        if flow is None:
            flow = self._flows.backward.get(packet.key)
        if flow is not None and (self._flows.is_over(flow, now) or (packet.flags & SYN and flow.starts_anew(packet))):
            self._end(flow, now)
            flow = None
        if flow is None:
            flow = self._open(packet, now)
            from_client = flow.key == packet.key
        flow.count(packet.length, now, from_client=from_client)
        if packet.flags & (FIN | SYN | RST):
            if packet.flags & FIN:
                flow.finished_sides |= 1 if from_client else 2
            flow.closing = flow.closing or bool(packet.flags & RST) or flow.finished_sides == 3
            if packet.flags & (SYN | ACK | RST) == SYN and packet.sequence != flow.start_sequence:
                flow.unanswered_syn = packet.sequence
                return UNDECIDED  # judged with the connection that it may begin
        inspection = flow.inspection
        if inspection is None:
            return flow.answer
        changed = self._inspect(flow, inspection, packet, now, from_client=from_client)
        if changed or flow.packets == 1:
            self._decide(flow, packet.length, now)
            if flow.refused and self._opens_approved_handshake(flow, now):
                flow.passed_packets += 1
                flow.passed_bytes += packet.length
                return UNDECIDED
        return flow.answer

    def _open(self, packet: Packet, now: float) -> Flow:
        if len(self._flows) >= self._flows.max_flows:
            self.counters.flows_evicted += 1
            self._end(self._flows.idlest(), now)
        flow = Flow(packet, now, order=self.counters.packets)
        if self._is_home is None or self._is_home(flow.client) or self._is_home(flow.server):
            self._begin_inspection(flow)
        else:
            flow.decision = flow.answer = Decision(Verdict.PASS, settled=True)
        self._flows.add(flow)
        self.counters.flows += 1
        return flow

    def _begin_inspection(self, flow: Flow) -> Inspection:
        inspection = Inspection(self._kinds[flow.transport], tcp=flow.transport == TCP, midstream=flow.midstream)
        inspection.conversation.facts = flow.facts
        flow.inspection = inspection
        return inspection

    def _inspect(self, flow: Flow, inspection: Inspection, packet: Packet, now: float, *, from_client: bool) -> bool:
        """Show the packet's payload to the detectors; True when anything is known that was not before."""
        changed = False
        for data, is_clients in inspection.in_order(packet, flow.start_sequence, from_client=from_client):
            inspection.begin(data[0], partial(self._memories.make, flow), from_client=is_clients)
            inspection.say(data, packet.size, flow.packets, now, from_client=is_clients)
            changed |= self._feed(flow, inspection)
            if inspection.unwrapper is not None:
                changed |= self._look_inside(flow, inspection, inspection.unwrapper, now)
        if inspection.pending and self._is_spent(flow, inspection):
            inspection.give_up()
            changed = True
        return changed

    def _is_spent(self, flow: Flow, inspection: Inspection) -> bool:
        """Whether a flow has been looked at for long enough."""
        if flow.refused and self._matcher.approval_may_come(flow):
            return False
        said = inspection.inspected_bytes
        return (
            (inspection.inspected_packets >= PACKETS_INSPECTED and said >= LEAST_BYTES_INSPECTED)
            or said >= MAX_BYTES_INSPECTED
            or flow.packets >= MAX_PACKETS_INSPECTED
        )

    def _feed(self, flow: Flow, inspection: Inspection) -> bool:
        """Show the newest payload to the detectors; True when evidence was found or a detector has finished."""
        talk = inspection.conversation
        asked, remaining, found = inspection.detectors, [], False
        before = inspection.unfinished
        talk.protocol, talk.confidence = flow.protocol, flow.confidence
        while asked:
            fresh: list[Detector] = []
            for detector in asked:
                if detector.statistical and _excludes(flow, detector):
                    continue
                try:
                    answer = detector.feed(talk)
                except Exception as error:
                    self._bug = error  # reported with the packet; this flow goes on without the detector
                    continue
                if answer is Opinion.MORE:
                    remaining.append(detector)
                elif isinstance(answer, Evidence):
                    found = True
                    self._note(flow, detector, answer, inspection.inspected_packets)
                    talk.protocol, talk.confidence = flow.protocol, flow.confidence
                    fresh += inspection.build_on(answer, partial(self._memories.make, flow))
                    if detector.unwraps and answer.confidence >= Confidence.PROBABLE:
                        inspection.unwrapper = detector
                    if answer.more:
                        remaining.append(detector)
            before += len(fresh)
            asked = fresh
        if found:
            remaining = [one for one in remaining if not (one.statistical and _excludes(flow, one))]
        finished = len(remaining) != before
        inspection.detectors, inspection.unfinished = remaining, len(remaining)
        if found or finished:
            inspection.drop_hopeless(flow.protocol)
        return found or finished

    def _look_inside(self, flow: Flow, inspection: Inspection, unwrapper: Detector, now: float) -> bool:
        """Show the packet that the newest payload carries to detectors of its own; True when they found something.

        What is found inside stands among the flow's evidence and in the fact `inner.protocols`. The flow keeps the name
        of the tunnel, which may carry many inner flows.
        """
        try:
            packet = decode(unwrapper.unwrap(inspection.conversation.data))
        except Exception as error:
            self._bug = error
            inspection.unwrapper = None
            return False
        if not isinstance(packet, Packet) or inspection.depth >= MAX_INNER_DEPTH:
            return False
        inner = inspection.inside.get(packet.key)
        if inner is None:
            if len(inspection.inside) >= 2 * MAX_INNER_FLOWS:
                return False
            inner = Flow(packet, now, order=0)
            self._begin_inspection(inner).depth = inspection.depth + 1
            inspection.inside[inner.key] = inspection.inside[inner.reverse_key] = inner
        from_client = packet.key == inner.key
        inner.count(packet.length, now, from_client=from_client)
        if inner.inspection is None:
            return False
        known = len(inner.sightings)
        self._inspect(inner, inner.inspection, packet, now, from_client=from_client)
        if not inner.pending:
            inner.inspection = None
        for sighting in inner.sightings[known:]:
            evidence = replace(
                sighting.evidence, reason=f"inside {flow.protocol}: {sighting.evidence.reason}", facts={}, proof=None
            )
            flow.add_sighting(Sighting(sighting.detector, flow.packets, inspection.inspected_packets, evidence))
        if inner.confidence is None or inner.confidence < Confidence.PROBABLE or len(inner.sightings) == known:
            return False
        names: set[str] = set()
        for other in inspection.inside.values():
            if other.confidence is not None and other.confidence >= Confidence.PROBABLE:
                names.add(other.protocol)
                nested = other.facts.get(INNER_PROTOCOLS)
                names.update(nested if isinstance(nested, list) else ())
        flow.facts[INNER_PROTOCOLS] = sorted(names)
        return True

    def _note(self, flow: Flow, detector: Detector, evidence: Evidence, payload_packet: int) -> None:
        flow.add_sighting(Sighting(detector.name, flow.packets, payload_packet, evidence))
        flow.facts.update(evidence.facts)
        if _names_better(evidence, detector, flow):
            flow.protocol, flow.confidence, flow.namer = evidence.protocol, evidence.confidence, type(detector)

    # --- decisions --------------------------------------------------------------------------------

    def _decide(self, flow: Flow, length: int, now: float) -> None:
        """Ask the policy again, now that more is known."""
        if flow.approved is None:
            flow.approved = self._matcher.approvals.covering(flow, now)
        ruling = self._matcher.judge(flow)
        self._log(flow, ruling, now)
        undecided = flow.decided_at is None
        newly_approved = flow.refused and flow.approved != flow.decided_for
        if ruling.action is not None and (undecided or newly_approved):
            self._rule(flow, ruling, length, now)
        if flow.decided_at is not None and self._is_final(flow, ruling):
            flow.decision = Decision(flow.decision.verdict, settled=True, rule=flow.decision.rule)
            flow.answer = (
                flow.decision if self._enforcing else Decision(Verdict.PASS, settled=True, rule=flow.decision.rule)
            )
            flow.settle()

    def _rule(self, flow: Flow, ruling: Ruling, length: int, now: float) -> None:
        """Set the verdict of a flow."""
        assert ruling.action is not None
        verdict = ruling.action.verdict
        assert verdict is not None
        rule = ruling.rule.name if ruling.rule is not None else None
        flow.decided_for = flow.approved
        if flow.refused:
            if verdict is flow.decision.verdict:
                return  # approved, and refused all the same
            flow.refused_packets = flow.packets - 1 - flow.passed_packets
            flow.refused_bytes = flow.bytes_to_server + flow.bytes_to_client - length - flow.passed_bytes
        flow.decision = Decision(verdict, settled=False, rule=rule)
        flow.answer = flow.decision if self._enforcing else UNDECIDED
        flow.decided_at = flow.packets
        flow.refused = verdict is not Verdict.PASS
        if flow.refused:
            flow.passed_packets = flow.packets - 1
            flow.passed_bytes = flow.bytes_to_server + flow.bytes_to_client - length
        self.counters.verdicts[verdict.name.lower()] += 1
        if rule is not None:
            self.counters.rules[rule] += 1
        if rule is not None or flow.refused:
            self._decision_event(flow, rule, now)

    def _log(self, flow: Flow, ruling: Ruling, now: float) -> None:
        for rule in ruling.logged:
            if flow.logged is None:
                flow.logged = set()
            if rule.name not in flow.logged:
                flow.logged.add(rule.name)
                self.counters.rules[rule.name] += 1
                self._decision_event(flow, rule.name, now)

    def _is_final(self, flow: Flow, ruling: Ruling) -> bool:
        """Whether nothing that may still come can change the verdict or is still wanted for the record.

        A refused flow is settled at once, unless the proof of an approval may still arrive: a WireGuard
        tunnel joined mid-way is refused, and freed by its next handshake. A flow that passes is settled
        when its detectors have finished, so that the record names it.
        """
        if flow.refused:
            return not ruling.log_pending and not self._matcher.approval_may_come(flow)
        return not flow.pending

    def _opens_approved_handshake(self, flow: Flow, now: float) -> bool:
        """Whether this packet of a refused flow is a handshake message that would get it passed, if it were answered.

        It alone passes, so that the approved server can answer it; the answer then frees the flow.
        """
        newest = flow.sightings[-1] if flow.sightings else None
        if flow.approved is not None or newest is None or newest.packet != flow.packets:
            return False
        if newest.evidence.proof is None:
            return False
        flow.approved = self._matcher.approvals.promised(flow, newest.evidence.proof, now)
        would_pass = flow.approved is not None and self._matcher.judge(flow).action is Action.PASS
        flow.approved = None
        return would_pass

    def _decision_event(self, flow: Flow, rule: str | None, now: float) -> None:
        self._events.append(
            events.decision_event(flow, self.policy, self._matcher, epoch=self.epoch, now=now, rule=rule)
        )

    def _end(self, flow: Flow, now: float) -> None:
        self._flows.remove(flow)
        if self._on_end is not None:
            self._on_end(flow)
        self._events.append(events.flow_event(flow, self.policy, self._matcher, epoch=self.epoch, now=now))

    # --- what cannot be judged --------------------------------------------------------------------

    def _undecodable(self, reason: str, raw: bytes, now: float) -> Decision:
        self.counters.undecodable[reason] += 1
        self._error_event("undecodable", reason, self.counters.undecodable.total(), raw, now)
        return self._failed(self.policy.fail.undecodable)

    def _internal_error(self, error: Exception, raw: bytes, now: float) -> Decision:
        self.counters.internal_errors += 1
        message = f"{type(error).__name__}: {error}"
        self._error_event("internal_error", message, self.counters.internal_errors, raw, now)
        return self._failed(self.policy.fail.internal_error)

    def _failed(self, verdict: Verdict) -> Decision:
        return Decision(verdict if self._enforcing else Verdict.PASS, settled=False)

    def _error_event(self, kind: str, message: str, count: int, raw: bytes, now: float) -> None:
        if now < self._error_event_due.get(kind, now):
            return
        self._error_event_due[kind] = now + ERROR_EVENT_SECONDS
        self._events.append(
            events.error_event(kind, message, count=count, first_bytes=_headers(raw), policy=self.policy, now=now)
        )


def _headers(raw: bytes) -> bytes:
    """The IP header and what follows it, as far as that is no payload."""
    if not raw:
        return raw
    return raw[: ((raw[0] & 0x0F) * 4 if raw[0] >> 4 == 4 else 40) + ERROR_TRANSPORT_BYTES]


def _is_recognised(flow: Flow) -> bool:
    """Whether the flow has a name that does not rest on statistics."""
    return (
        flow.namer is not None
        and not flow.namer.statistical
        and flow.confidence is not None
        and flow.confidence >= Confidence.PROBABLE
    )


def _excludes(flow: Flow, detector: Detector) -> bool:
    """Whether what the flow was recognised as leaves no room for this statistical detector."""
    return flow.protocol not in detector.builds_on and _is_recognised(flow)


def _names_better(evidence: Evidence, detector: Detector, flow: Flow) -> bool:
    """Whether a flow should go by the name in `evidence` rather than by the one it has.

    A recognised protocol wins over a statistical name that does not build on it. Otherwise what is carried wins over
    what carries it, once it is at least probable: `openconnect`, not `tls`. Among equals the surer one wins, and of
    equally sure ones the later.
    """
    if flow.confidence is None or flow.namer is None:
        return True
    surely = evidence.confidence >= Confidence.PROBABLE and not detector.statistical
    if flow.namer.statistical and surely and evidence.protocol not in flow.namer.builds_on:
        return True
    new = (evidence.confidence >= Confidence.PROBABLE and evidence.protocol not in CARRIERS, evidence.confidence)
    old = (flow.confidence >= Confidence.PROBABLE and flow.protocol not in CARRIERS, flow.confidence)
    return new >= old
