"""Toy detectors and short spellings of policies, so that engine tests depend on no real protocol.

The toys speak a made-up language: a payload that begins with a toy's word is that toy's protocol.
"""

from collections.abc import Callable
from ipaddress import ip_network
from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion, Proof
from middlebox.policy.rule import All, Any, Approval, Condition, Mode, Not, Operator, Policy, Rule, Test
from middlebox.verdict import Action

Feed = Callable[[Conversation], Answer]


def toy(
    name: str,
    feed: Feed,
    *,
    protocols: tuple[str, ...],
    facts: tuple[str, ...] = (),
    transports: tuple[int, ...] = (TCP, UDP),
    reaches: Confidence = Confidence.CONFIRMED,
) -> type[Detector]:
    """A detector class without memory: its answer is a function of the conversation."""
    detector_name, its_protocols, its_facts, its_transports, level = name, protocols, facts, transports, reaches

    class Toy(Detector):
        name: ClassVar[str] = detector_name
        transports: ClassVar[tuple[int, ...]] = its_transports
        protocols: ClassVar[tuple[str, ...]] = its_protocols
        facts: ClassVar[tuple[str, ...]] = its_facts
        reaches: ClassVar[Confidence] = level
        packets_needed: ClassVar[int] = 1
        misses: ClassVar[str] = "Everything but its own word."

        def feed(self, talk: Conversation) -> Answer:
            return feed(talk)

    return Toy


class VpnToy(Detector):
    """`hello` is possible, `welcome` from the server confirms; `key:` shows a proof; `mid` confirms at once.

    A welcome answers the last key, as a WireGuard response answers one initiation.
    """

    name: ClassVar[str] = "vpntoy"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("wireguard",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 1
    misses: ClassVar[str] = "Everything but its own words."

    def __init__(self) -> None:
        self._key: bytes | None = None

    def feed(self, talk: Conversation) -> Answer:
        data = talk.data
        if data.startswith(b"vpn hello"):
            return Evidence("wireguard", Confidence.POSSIBLE, "a vpn hello", more=True)
        if data.startswith(b"vpn mid"):
            return Evidence("wireguard", Confidence.CONFIRMED, "vpn data", more=True)
        if data.startswith(b"vpn key:"):
            self._key = data.removeprefix(b"vpn key:")
            proof = Proof("wireguard", "initiation", self._key)
            return Evidence("wireguard", Confidence.POSSIBLE, "a vpn key", more=True, proof=proof)
        if data.startswith(b"vpn welcome") and not talk.from_client:
            answered = Proof("wireguard", "initiation", self._key, answered=True) if self._key is not None else None
            return Evidence("wireguard", Confidence.CONFIRMED, "the server welcomes the hello", proof=answered)
        return Opinion.NO


def _feed_name(talk: Conversation) -> Answer:
    """`name x` reports x as the server's name."""
    whole = talk.client or talk.data
    if b"name ".startswith(whole[:5]) and len(whole) < 5:
        return Opinion.MORE
    if not whole.startswith(b"name "):
        return Opinion.NO
    if not whole.endswith(b"\n"):
        return Opinion.MORE
    fact = whole[5:].strip().decode("ascii", "replace")
    return Evidence("tls", Confidence.CONFIRMED, "a name", {"tls.sni": fact, "tls.version": "TLS 1.3"})


def _feed_greedy(talk: Conversation) -> Answer:
    """Wants more for ever."""
    return Opinion.MORE


def _feed_crash(talk: Conversation) -> Answer:
    """Raises on `crash`."""
    if b"crash" in talk.data:
        message = "a bug of ours"
        raise RuntimeError(message)
    return Opinion.MORE


NameToy = toy("nametoy", _feed_name, protocols=("tls",), facts=("tls.sni", "tls.version"))
GreedyToy = toy("greedytoy", _feed_greedy, protocols=("openvpn",), facts=("openvpn.wrap",))
CrashToy = toy("crashtoy", _feed_crash, protocols=("ssh",))


def asks(field: str, *values: object, operator: Operator | None = None) -> Test:
    """`field: values`, with the operator that a policy file would mean."""
    default = {
        "src_ip": Operator.CIDR, "dest_ip": Operator.CIDR, "confidence": Operator.AT_LEAST,
    }.get(field, Operator.IN)  # fmt: skip
    if default is Operator.CIDR:
        values = tuple(ip_network(str(value)) for value in values)
    source = " ".join(value.word if isinstance(value, Confidence) else str(value) for value in values)
    return Test(field, operator or default, values, source)


def both(*parts: Condition) -> All:
    """All of the parts."""
    return All(parts)


def either(*parts: Condition) -> Any:
    """Any of the parts."""
    return Any(parts)


def neither(part: Condition) -> Not:
    """Not the part."""
    return Not(part)


def rule(name: str, action: Action, *parts: Condition) -> Rule:
    """A rule that asks for all of `parts`; for nothing, without any."""
    return Rule(name, parts[0] if len(parts) == 1 else All(parts), action)


def policy(
    *rules: Rule,
    default: Action = Action.PASS,
    mode: Mode = Mode.ENFORCE,
    approvals: tuple[Approval, ...] = (),
    home: tuple[str, ...] = (),
) -> Policy:
    """A policy with these rules."""
    return Policy("test", rules, default=default, mode=mode, approvals=approvals, home=tuple(map(ip_network, home)))
