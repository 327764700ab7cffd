"""The records that leave the engine, in the shape of Suricata's EVE: metadata only, never payload.

Each function returns one event as a dict ready for JSON. `event.schema.json` describes them; a test holds
every event to it.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from middlebox.flow import Flow
from middlebox.policy.match import Matcher
from middlebox.policy.rule import Policy
from middlebox.protocols import CATEGORY_OF

Event = dict[str, object]

ORDER_KEY = "_order"
"Private key of flow events: the ordinal of the flow's first packet, for those who must sort. Never written out."


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC with microseconds.

    Times outside the years that a date can express (broken captures have them) are clamped.
    """
    seconds = min(max(seconds, 0.0), 253_402_300_799.0)  # 9999-12-31
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def flow_id(flow: Flow) -> int:
    """A number that tells this flow from others: 63 bits of a hash of its key and its start."""
    identity = flow.key + int(flow.start * 1e6).to_bytes(16, "big", signed=True)
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big") >> 1


def flow_event(flow: Flow, policy: Policy, matcher: Matcher, *, epoch: int, now: float) -> Event:
    """A flow at its end."""
    event = _about_flow("flow", flow, policy, matcher, epoch=epoch, now=now)
    event[ORDER_KEY] = flow.order
    return event


def decision_event(
    flow: Flow, policy: Policy, matcher: Matcher, *, epoch: int, now: float, rule: str | None, would: str | None = None
) -> Event:
    """A rule that acted on a flow, or the default where it does not pass; `rule` may be a log rule.

    `would` is the action of a rule that is only monitored.
    """
    event = _about_flow("decision", flow, policy, matcher, epoch=epoch, now=now)
    about = event["middlebox"]
    assert isinstance(about, dict)
    about["rule"] = rule
    if would is not None:
        about["would"] = would
    return event


def policy_event(
    policy: Policy,
    *,
    epoch: int,
    now: float,
    change: str,
    open_schedules: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> Event:
    """A policy came into force or what is in force of it changed.

    `change` says what happened: loaded, reloaded, reload refused with the new file's problems, schedule edge: NAME
    opened, approval edge, clock set back. `open_schedules` are those open after it.
    """
    event: Event = {
        "timestamp": timestamp(now),
        "event_type": "policy",
        "policy": {
            "name": policy.name,
            "mode": policy.mode.value,
            "default": policy.default.value,
            "rules": len(policy.rules),
            "digest": policy.digest,
            "source": policy.source,
            "change": change,
            "open_schedules": list(open_schedules),
            **({"problems": list(problems)} if problems else {}),
        },
        "middlebox": {"policy": policy.name, "epoch": epoch},
    }
    return event


def error_event(kind: str, message: str, *, count: int, first_bytes: bytes, policy: Policy, now: float) -> Event:
    """A packet that could not be judged. `first_bytes` are its headers, for whoever must find the fault."""
    return {
        "timestamp": timestamp(now),
        "event_type": "error",
        "error": {"kind": kind, "message": message, "count": count, "first_bytes": first_bytes.hex()},
        "middlebox": {"policy": policy.name},
    }


def stats_event(stats: dict[str, object], *, policy: Policy, epoch: int, now: float) -> Event:
    """Counters since the start."""
    return {
        "timestamp": timestamp(now),
        "event_type": "stats",
        "stats": stats,
        "middlebox": {"policy": policy.name, "epoch": epoch},
    }


def _about_flow(kind: str, flow: Flow, policy: Policy, matcher: Matcher, *, epoch: int, now: float) -> Event:
    has_ports = len(flow.key) in (13, 37)  # protocol, two addresses, two ports: TCP and UDP
    event: Event = {
        "timestamp": timestamp(now),
        "event_type": kind,
        "flow_id": flow_id(flow),
        "src_ip": str(ip_address(flow.client)),
        "src_port": flow.client_port if has_ports else None,
        "dest_ip": str(ip_address(flow.server)),
        "dest_port": flow.server_port if has_ports else None,
        "proto": flow.transport_name,
        "app_proto": flow.protocol,
    }
    for name, value in flow.facts.items():
        _nest(event, name, value)
    event["flow"] = {
        "pkts_toserver": flow.packets_to_server,
        "pkts_toclient": flow.packets_to_client,
        "bytes_toserver": flow.bytes_to_server,
        "bytes_toclient": flow.bytes_to_client,
        "start": timestamp(flow.start),
        "end": timestamp(flow.last_seen),
    }
    inspected_packets, inspected_bytes = flow.inspected
    event["middlebox"] = {
        "capture": None,
        "policy": policy.name,
        "mode": policy.mode.value,
        "category": CATEGORY_OF[flow.protocol],
        "protocol": flow.protocol,
        "confidence": flow.confidence.word if flow.confidence is not None else None,
        "verdict": flow.decision.verdict.name.lower(),
        "rule": flow.decision.rule,
        "approved": flow.approved,
        "residual": flow.residual,
        "by_packet": flow.decided_at,
        "passed_packets": flow.passed_packets if flow.refused else flow.packets - flow.refused_packets,
        "passed_bytes": flow.passed_bytes
        if flow.refused
        else flow.bytes_to_server + flow.bytes_to_client - flow.refused_bytes,
        "inspected_packets": inspected_packets,
        "inspected_bytes": inspected_bytes,
        "evidence": [
            {
                "detector": sighting.detector,
                "packet": sighting.packet,
                "payload_packet": sighting.payload_packet,
                "protocol": sighting.evidence.protocol,
                "confidence": sighting.evidence.confidence.word,
                "reason": sighting.evidence.reason,
                "facts": dict(sighting.evidence.facts),
            }
            for sighting in flow.sightings
        ],
        "near_misses": matcher.near_misses(flow),
        "epoch": epoch,
    }
    return event


def _nest(event: Event, dotted: str, value: object) -> None:
    """Put {'ssh.client.software_version': x} where EVE has it: event['ssh']['client']['software_version']."""
    *sections, last = dotted.split(".")
    place = event
    for section in sections:
        inner = place.setdefault(section, {})
        assert isinstance(inner, dict)
        place = inner
    place[last] = value
