"""A policy as plain data: what `load` produces and `match` reads. No behaviour, no I/O.

Conditions are a tree of `All`, `Any`, `Not` and `Test`. A `Test` compares one field of a flow with values.
"""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from middlebox.verdict import Action, Verdict

Network = IPv4Network | IPv6Network


class Operator(Enum):
    """How a field is compared. The part after `|` in a policy's `field|operator:`."""

    IN = "in"
    "Equal to one of the values; the default, and the only one without `|`."
    ENDSWITH = "endswith"
    "Text ends with one of the values."
    STARTSWITH = "startswith"
    "Text starts with one of the values."
    CONTAINS = "contains"
    "Text contains one of the values."
    DOMAIN = "domain"
    "A host name that is one of the values or below one of them: a.example.org is below example.org."
    CIDR = "cidr"
    "An address inside one of the networks."
    AT_LEAST = "at_least"
    "A confidence of this level or a higher one."


@dataclass(slots=True, frozen=True)
class Test:
    """`field|operator: values`: true when the field's value fits any of the values.

    `values` are already of the type the operator needs: str, int, bool, Confidence or Network.
    A field that holds a list (tls.alpn) fits when any of its items fits.
    """

    field: str
    operator: Operator
    values: tuple[object, ...]
    source: str = ""
    "As written in the policy, for explanations."


@dataclass(slots=True, frozen=True)
class All:
    """True when every part is. An empty `All` is always true."""

    parts: tuple["Condition", ...]


@dataclass(slots=True, frozen=True)
class Any:
    """True when at least one part is."""

    parts: tuple["Condition", ...]


@dataclass(slots=True, frozen=True)
class Not:
    """True when the part is false."""

    part: "Condition"


Condition = Test | All | Any | Not


@dataclass(slots=True, frozen=True)
class Rule:
    """One rule of a policy."""

    name: str
    when: Condition
    action: Action
    why: str = ""
    location: str = ""
    "file:line of the rule, for messages."


@dataclass(slots=True, frozen=True)
class Approval:
    """One approved tunnel: by public key where there is one, else by the server's address."""

    name: str
    protocol: str
    public_key: bytes | None = None
    "WireGuard: the 32-byte static public key of the approved server (responder)."
    server: tuple[Network, ...] = ()
    "Addresses of the approved server."
    until: float | None = None
    "Last second of validity, in seconds since the epoch; None: no end."
    why: str = ""


@dataclass(slots=True, frozen=True)
class FailurePolicy:
    """What happens when the gateway cannot judge. Each field has its own counter."""

    no_listener_open: bool = True
    "No gateway process on the queue: True passes packets, False drops them."
    queue_full_open: bool = True
    "The queue is full: True passes packets uninspected, False drops them."
    undecodable: Verdict = Verdict.PASS
    "Packets that cannot be decoded."
    internal_error: Verdict = Verdict.PASS
    "Packets on which our own code raised."


class Mode(Enum):
    """Whether verdicts act."""

    ENFORCE = "enforce"
    MONITOR = "monitor"
    "Judge and log, pass everything."


@dataclass(slots=True, frozen=True)
class Policy:
    """A whole policy, validated."""

    name: str
    rules: tuple[Rule, ...] = ()
    default: Action = Action.PASS
    mode: Mode = Mode.ENFORCE
    fail: FailurePolicy = field(default_factory=FailurePolicy)
    home: tuple[Network, ...] = ()
    "Networks whose clients this policy is for. A flow with no end in them is passed untouched; empty: all flows."
    approvals: tuple[Approval, ...] = ()
    source: str = ""
    "Path of the file as given, for messages."
    digest: str = ""
    "SHA-256 of everything the policy was read from, in hex."


CLASSIFY_ONLY = Policy(name="classify-only", mode=Mode.MONITOR)
"What `replay` uses without a policy: no rules, everything passes."
