"""Short spellings for engine tests: run packets, read decisions and events."""

import hashlib
from collections.abc import Iterable

from middlebox.detect.base import Detector
from middlebox.engine import (
    Engine,
)
from middlebox.evidence import Confidence
from middlebox.policy.rule import Approval, Policy
from middlebox.verdict import Action, Decision, Verdict
from tests.packets import (
    CLIENT,
    SERVER,
    udp,
)
from tests.toys import NameToy, VpnToy, asks, policy, rule

TOYS = (VpnToy, NameToy)
PASSED = Decision(Verdict.PASS, settled=True)

APPROVED_KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
HQ = Approval("hq", "wireguard", public_keys=(APPROVED_KEY,))

BLOCK_VPN = rule("block-vpn", Action.DROP, asks("category", "vpn"))
BLOCK_SURE_VPN = rule("block-vpn", Action.DROP, asks("category", "vpn"), asks("confidence", Confidence.CONFIRMED))
PASS_APPROVED = rule("approved", Action.PASS, asks("approved", True))
APPROVAL_POLICY = policy(PASS_APPROVED, BLOCK_SURE_VPN, approvals=(HQ,))


def key_message(public_key: bytes, filler: int = 0) -> bytes:
    """The toy's way to show a WireGuard initiation with a correct mac1."""
    message = b"\x01\0\0\0" + bytes((filler % 256,)) * 110 + filler.to_bytes(4, "big")[2:]
    key = hashlib.blake2s(b"mac1----" + public_key).digest()
    return b"vpn key:" + message + hashlib.blake2s(message, key=key, digest_size=16).digest() + bytes(16)


def engine_for(
    a_policy: Policy | None = None, detectors: tuple[type[Detector], ...] = TOYS, max_flows: int = 1_000
) -> Engine:
    return Engine(a_policy or policy(), detectors=detectors, max_flows=max_flows)


def run(engine: Engine, raws: Iterable[bytes], *, start: float = 0.0, step: float = 0.01) -> list[Decision]:
    return [engine.handle(raw, start + number * step) for number, raw in enumerate(raws)]


def verdicts(decisions: Iterable[Decision]) -> list[str]:
    return [decision.verdict.name for decision in decisions]


def events_of(engine: Engine, kind: str) -> list[dict]:  # type: ignore[type-arg]
    return [event for event in engine.take_events() if event["event_type"] == kind]


def the_flow(engine: Engine, now: float = 1.0) -> dict:  # type: ignore[type-arg]
    """End every flow and return the only one."""
    engine.finish(now)
    (event,) = events_of(engine, "flow")
    return event


def vpn(payload: bytes) -> bytes:
    return udp(CLIENT, SERVER, payload)


def answer(payload: bytes) -> bytes:
    return udp(SERVER, CLIENT, payload)


HELLO, WELCOME = vpn(b"vpn hello"), answer(b"vpn welcome")
