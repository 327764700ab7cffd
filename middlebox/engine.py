"""Joins the parts: packet -> flow -> detectors -> policy -> decision and events.

What goes in is bytes and `now`; what comes out is a decision per packet and a list of events. There are no
sockets, files, clocks or randomness here or in anything this module imports: the linter refuses them.
Every packet gets exactly one decision, also after a bug of ours.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from middlebox import dns_answer, events
from middlebox.detect import DETECTORS
from middlebox.detect.base import INNER_PROTOCOLS, STREAM_LIMIT, Detector
from middlebox.detect.dns import read_query
from middlebox.events import Event
from middlebox.evidence import Confidence, Evidence, Opinion
from middlebox.flow import TCP_CLOSED_IDLE_SECONDS, Flow, FlowTable, Inspection, Kinds, Sighting, Totals
from middlebox.fragments import Reassembler
from middlebox.host_scores import HostScores
from middlebox.memories import Memories
from middlebox.packet import ACK, FIN, RST, SYN, TCP, UDP, Fragment, Packet, Undecodable, decode
from middlebox.policy.match import Matcher, Ruling, in_networks
from middlebox.policy.rule import Mode, Policy, Rule
from middlebox.protocols import CARRIERS
from middlebox.residual import Block, Blocks
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


REFUSALS = frozenset({Verdict.DROP, Verdict.RESET, Verdict.REJECT})
"Verdicts after which nothing of the flow passes."

_COUNTS: Mapping[str, tuple[str, bool, int | None]] = {
    "flow.pkts_toserver": ("packets_to_server", True, 1),
    "flow.pkts_toclient": ("packets_to_client", False, 1),
    "flow.bytes_toserver": ("bytes_to_server", True, None),
    "flow.bytes_toclient": ("bytes_to_client", False, None),
}
"Counts that rules may ask for: attribute of a flow, whether the client's packets add to it, how much (None: bytes)."


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
    residual: int = 0
    "Flows refused because they resemble one that a rule refused."

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
            "residual": self.residual,
        }


def _same(now: float) -> float:
    return now


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
        policy_time: Callable[[float], float] = _same,
        kernel_totals: Callable[[bytes], Totals | None] | None = None,
        on_end: Callable[[Flow], None] | None = None,
    ) -> None:
        self._on_end = on_end
        "Told of every flow that ends, while all that is known of it is still there."
        self.counters = Counters()
        self._policy_time = policy_time
        self._blocks = Blocks()
        self._new_blocks: list[Block] = []
        self._kernel_totals = kernel_totals
        self._scores = HostScores()
        self._adopt(policy, epoch)
        self._flows = FlowTable(max_flows, kernel_tells_ends=kernel_tells_ends)
        self._fragments = Reassembler()
        self._kinds = {transport: Kinds.of(detectors, transport) for transport in range(256)}
        self._memories = Memories()
        self._events: list[Event] = []
        self._bug: Exception | None = None
        "What a detector raised on the packet in hand."
        self._next_sweep = 0.0
        self._error_event_due: dict[str, float] = {}

    def _adopt(self, policy: Policy, epoch: int) -> None:
        """Make this the policy in force. No rule with a schedule is, before the time is known."""
        self.policy = policy
        self.epoch = epoch
        self.matcher = Matcher(policy)
        self._enforcing = policy.mode is Mode.ENFORCE
        self._is_home = in_networks(policy.home) if policy.home else None
        self._thresholds = self.matcher.count_thresholds
        self._scores = self._scores.renewed(self.matcher.host_scores)
        self.next_edge = float("-inf")
        "Policy time at which `renew` is due: a schedule opens or closes, an approval begins or ends. -inf: not begun."

    def renew(self, now: float, *, epoch: int, policy: Policy | None = None) -> None:
        """Judge every open flow again, each on its next packet: at a schedule's edge, or by another policy.

        Args:
            now: The time.
            epoch: The new epoch, different from all before.
            policy: The policy that comes into force; None: the same one at another time.
        """
        if policy is not None:
            seen = self.matcher.approvals
            self._adopt(policy, epoch)
            self.matcher.approvals.take_over(seen)
        self.epoch = epoch
        self._set_time(now)
        in_force = frozenset(rule.name for rule in self.matcher.rules_in_force)
        self._new_blocks = list(self._blocks.keep(in_force, now))

    def pass_edge(self, now: float) -> None:
        """For captures, where nobody else watches the time: `renew` when an edge has been reached."""
        if self._policy_time(now) >= self.next_edge > float("-inf"):
            self.renew(now, epoch=self.epoch + 1)

    def _set_time(self, now: float) -> None:
        at = self._policy_time(now)
        self.matcher.activate(at)
        self.next_edge = self.matcher.next_edge(at)

    def take_blocks(self) -> list[Block]:
        """Residual blocks for the kernel to carry out: the new ones; after `renew` all that still stand."""
        taken, self._new_blocks = self._new_blocks, []
        return taken

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
                and flow.settled_in == self.epoch
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

    def flows(self) -> list[Flow]:
        """The flows in the table, the latest first. For reading only."""
        return list(reversed(self._flows.forward.values()))

    def flow_event(self, flow: Flow, now: float) -> Event:
        """What is known of a flow by now, in the words of the event at its end."""
        if flow.inspection is None:
            self._ask_kernel(flow)
        event = events.flow_event(flow, self.policy, self.matcher, epoch=self.epoch, now=now)
        del event[events.ORDER_KEY]
        return event

    def _ask_kernel(self, flow: Flow) -> None:
        """Take over what the kernel has counted of a flow that it has carried by itself."""
        if self._kernel_totals is not None and (totals := self._kernel_totals(flow.key)) is not None:
            flow.take_totals(totals)

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
        if self.next_edge == float("-inf"):
            self._set_time(now)
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
            decision = self._judge(packet, raw, now)
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

    def _judge(self, packet: Packet, raw: bytes, now: float) -> Decision:
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
        if flow.settled_in == self.epoch:
            return flow.answer
        again = flow.epoch != self.epoch or flow.residual
        if again and not self._take_up(flow, packet.length, now):
            return flow.answer
        again |= self._crosses_threshold(flow, packet.length, from_client=from_client)
        changed = flow.inspection is not None and self._inspect(flow, flow.inspection, packet, now, from_client)
        if changed or again:
            self._decide(flow, packet.length, now, again=again)
            if flow.refused and self._opens_approved_handshake(flow, now):
                flow.passed_packets += 1
                flow.passed_bytes += packet.length
                return UNDECIDED
        if from_client and self._is_judged_by_query(flow):
            return self._judge_query(flow, packet, raw, now)
        return flow.answer

    def _open(self, packet: Packet, now: float) -> Flow:
        if len(self._flows) >= self._flows.max_flows:
            self.counters.flows_evicted += 1
            self._end(self._flows.idlest(), now)
        flow = Flow(packet, now, order=self.counters.packets)
        self._flows.add(flow)
        self.counters.flows += 1
        return flow

    def _take_up(self, flow: Flow, length: int, now: float) -> bool:
        """Begin with a flow in this epoch; False when no rule needs to be asked about it."""
        is_new, flow.epoch = flow.epoch == 0, self.epoch
        if not is_new and flow.inspection is None:
            self._ask_kernel(flow)
        flow.scores = self._scores
        if self._is_home is not None and not (self._is_home(flow.client) or self._is_home(flow.server)):
            self._change_verdict(flow, Verdict.PASS, length)
            flow.decision = flow.answer = Decision(Verdict.PASS, settled=True)
            self._settle(flow)
            return False
        if (is_new or flow.residual) and len(self._blocks) and (block := self._blocks.find(flow, now)):
            self._refuse_by_block(flow, *block, length, now)
            return False
        flow.residual = False
        was_not_looked_at = flow.inspection is None and flow.confidence is None
        if is_new or (was_not_looked_at and (flow.refused or flow.decided_at is None)):
            self._begin_inspection(flow, late=not is_new)
        return True

    def _begin_inspection(self, flow: Flow, *, late: bool = False) -> Inspection:
        midstream = flow.midstream or (late and flow.transport == TCP)
        inspection = Inspection(self._kinds[flow.transport], tcp=flow.transport == TCP, midstream=midstream)
        inspection.conversation.facts = flow.facts
        flow.inspection = inspection
        return inspection

    def _crosses_threshold(self, flow: Flow, length: int, *, from_client: bool) -> bool:
        """Whether this packet brings a count to a number that a rule asks for."""
        for name, threshold in self._thresholds:
            count, is_clients, step = _COUNTS[name]
            if is_clients is from_client:
                reached = getattr(flow, count)
                if reached - (length if step is None else step) < threshold <= reached:
                    return True
        return False

    def _inspect(self, flow: Flow, inspection: Inspection, packet: Packet, now: float, from_client: bool) -> bool:
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
        if flow.refused and self.matcher.approval_may_come(flow):
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
        self._inspect(inner, inner.inspection, packet, now, from_client)
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

    def _decide(self, flow: Flow, length: int, now: float, *, again: bool) -> None:
        """Ask the policy, now that more is known or, `again`, that it asks for something else."""
        if flow.approved is None or again:
            flow.approved = self.matcher.approvals.covering(flow, self._policy_time(now))
        ruling = self.matcher.judge(flow)
        self._log(flow, ruling, now)
        if self._is_judged_by_query(flow):
            return
        undecided = flow.decided_at is None
        newly_approved = flow.refused and flow.approved != flow.decided_for
        if ruling.action is None:
            if again and not undecided:
                self._change_verdict(flow, Verdict.PASS, length)
                flow.decision = flow.answer = UNDECIDED
                flow.decided_at = None
        elif undecided or newly_approved or again:
            self._rule(flow, ruling, length, now)
        if flow.decided_at is not None and self._is_final(flow, ruling):
            decision = flow.decision = replace(flow.decision, settled=True)
            flow.answer = decision if self._enforcing else Decision(Verdict.PASS, settled=True, rule=decision.rule)
            self._settle(flow)
        elif flow.inspection is not None and flow.decided_at is not None and not flow.pending:
            flow.settle()  # only counts are waited for

    def _rule(self, flow: Flow, ruling: Ruling, length: int, now: float) -> None:
        """Set the verdict of a flow."""
        rule = ruling.rule
        verdict = _flow_verdict(ruling)
        decision = Decision(
            verdict,
            settled=False,
            rule=None if rule is None else rule.name,
            rate=rule.rate if rule is not None and verdict is Verdict.THROTTLE else None,
        )
        flow.decided_for = flow.approved
        before, flow.decision = flow.decision, decision
        flow.answer = decision if self._enforcing and verdict is not Verdict.THROTTLE else UNDECIDED
        if flow.decided_at is not None and (verdict, decision.rate) == (before.verdict, before.rate):
            return
        self._change_verdict(flow, verdict, length)
        flow.decided_at = flow.packets
        self.counters.verdicts[verdict.name.lower()] += 1
        self._act(flow, rule, verdict, now)
        if rule is not None or flow.refused:
            self._decision_event(flow, decision.rule, now)

    def _change_verdict(self, flow: Flow, verdict: Verdict, length: int) -> None:
        """Keep count of what passes and is refused. The packet in hand, of `length` bytes, meets the new verdict."""
        packets = flow.packets - 1
        octets = flow.bytes_to_server + flow.bytes_to_client - length
        if flow.refused:
            flow.refused_packets, flow.refused_bytes = packets - flow.passed_packets, octets - flow.passed_bytes
        flow.refused = verdict in REFUSALS
        if flow.refused:
            flow.passed_packets, flow.passed_bytes = packets - flow.refused_packets, octets - flow.refused_bytes

    def _act(self, flow: Flow, rule: Rule | None, verdict: Verdict, now: float) -> None:
        """Count that a rule acts, and leave its residual block."""
        if rule is None:
            return
        self.counters.rules[rule.name] += 1
        if rule.residual is not None and self._enforcing and verdict is not Verdict.PASS:
            blocked_by = Verdict.DROP if verdict is Verdict.DNS else verdict
            self._new_blocks.append(self._blocks.add(flow, rule.residual, rule.name, blocked_by, now))

    def _refuse_by_block(self, flow: Flow, rule: str, verdict: Verdict, length: int, now: float) -> None:
        """Refuse a flow for a while because it resembles a refused one. Never final: the block ends by itself."""
        if flow.residual:
            return
        flow.residual = True
        self._change_verdict(flow, verdict, length)
        flow.decision = flow.answer = Decision(verdict, settled=False, rule=rule)
        flow.decided_at = flow.packets
        self.counters.verdicts[verdict.name.lower()] += 1
        self.counters.residual += 1
        self._decision_event(flow, rule, now)

    def _settle(self, flow: Flow) -> None:
        """Nothing more is asked about the flow in this epoch."""
        flow.settled_in = self.epoch
        if flow.inspection is not None:
            flow.settle()
            self._scores.note(flow)

    # --- DNS, query by query ----------------------------------------------------------------------

    def _is_judged_by_query(self, flow: Flow) -> bool:
        """Whether each query of the flow gets a verdict of its own: resolvers ask for several names from one port."""
        return self.matcher.per_query and flow.transport == UDP and flow.protocol == "dns"

    def _judge_query(self, flow: Flow, packet: Packet, raw: bytes, now: float) -> Decision:
        """Judge one packet of a client's to a name server by what it asks for."""
        flow.facts.update(read_query(packet.payload) or {})
        ruling = self.matcher.judge(flow)
        if ruling.action is None:
            return UNDECIDED
        rule, name = ruling.rule, None if ruling.rule is None else ruling.rule.name
        is_answer = rule is not None and rule.action is Action.DNS
        verdict = Verdict.DNS if is_answer else _flow_verdict(ruling)
        decision = Decision(verdict, settled=False, rule=name)
        is_news = flow.decided_at is None or decision != flow.decision
        if is_news and (flow.decided_at is None or verdict is not Verdict.PASS):  # what was refused once is remembered
            flow.decision = decision
            flow.decided_at = flow.packets
            self.counters.verdicts[verdict.name.lower()] += 1
            self._act(flow, rule, verdict, now)
        if verdict in (Verdict.PASS, Verdict.THROTTLE):
            return UNDECIDED
        flow.refused_packets += 1
        flow.refused_bytes += packet.length
        self._decision_event(flow, name, now)
        if not self._enforcing:
            return UNDECIDED
        if rule is None or not is_answer:
            return decision
        answer = dns_answer.answer(raw, rule)
        return decision if answer is None else replace(decision, answer=answer)

    def _log(self, flow: Flow, ruling: Ruling, now: float) -> None:
        for rule in ruling.logged:
            if flow.logged is None:
                flow.logged = set()
            if rule.name not in flow.logged:
                flow.logged.add(rule.name)
                self.counters.rules[rule.name] += 1
                would = None if rule.action is Action.LOG else rule.action.value
                self._decision_event(flow, rule.name, now, would=would)

    def _is_final(self, flow: Flow, ruling: Ruling) -> bool:
        """Whether nothing that may still come can change the verdict or is still wanted for the record.

        A refused or throttled flow is settled at once, unless the proof of an approval may still arrive: a WireGuard
        tunnel joined mid-way is refused, and freed by its next handshake. A flow that passes is settled
        when its detectors have finished, so that the record names it.
        """
        if flow.decision.verdict is not Verdict.PASS:
            return not ruling.log_pending and not self.matcher.approval_may_come(flow)
        return not flow.pending and all(getattr(flow, _COUNTS[name][0]) >= least for name, least in self._thresholds)

    def _opens_approved_handshake(self, flow: Flow, now: float) -> bool:
        """Whether this packet of a refused flow is a handshake message that would get it passed, if it were answered.

        It alone passes, so that the approved server can answer it; the answer then frees the flow.
        """
        newest = flow.sightings[-1] if flow.sightings else None
        if flow.approved is not None or newest is None or newest.packet != flow.packets:
            return False
        if newest.evidence.proof is None:
            return False
        flow.approved = self.matcher.approvals.promised(flow, newest.evidence.proof, self._policy_time(now))
        would_pass = flow.approved is not None and self.matcher.judge(flow).action is Action.PASS
        flow.approved = None
        return would_pass

    def _decision_event(self, flow: Flow, rule: str | None, now: float, would: str | None = None) -> None:
        self._events.append(
            events.decision_event(flow, self.policy, self.matcher, epoch=self.epoch, now=now, rule=rule, would=would)
        )

    def _end(self, flow: Flow, now: float) -> None:
        self._flows.remove(flow)
        if flow.inspection is not None:
            self._scores.note(flow)
        if self._on_end is not None:
            self._on_end(flow)
        self._events.append(events.flow_event(flow, self.policy, self.matcher, epoch=self.epoch, now=now))

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


def _flow_verdict(ruling: Ruling) -> Verdict:
    """What a ruling does to a whole flow. Only a UDP query can be answered: other DNS is reset, so that it fails."""
    assert ruling.action is not None
    if ruling.action is Action.SAMPLE and ruling.rule is not None:
        verdict = ruling.rule.then.verdict
    else:
        verdict = Verdict.RESET if ruling.action is Action.DNS else ruling.action.verdict
    assert verdict is not None
    return verdict


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
