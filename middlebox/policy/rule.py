"""A policy as plain data: what `load` produces and `match` reads. No behaviour, no I/O.

Conditions are a tree of `All`, `Any`, `Not` and `Test`. A `Test` compares one field of a flow with values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from middlebox.evidence import Confidence
from middlebox.policy.geoip import GeoDatabases
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
    "A confidence of this level or a higher one; a count of this or more."
    BELOW = "below"
    "A count below this."


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
class HostScore:
    """The value of a `host_score` condition: what must have been seen of a server and port before.

    Holds when, of the last `of` flows to the same server, port and transport, at least `flows` were named one of
    `protocols` with at least `confidence`.
    """

    protocols: frozenset[str]
    confidence: Confidence
    flows: int
    of: int


@dataclass(slots=True, frozen=True)
class Schedule:
    """When a rule is in force: `begins <= t < ends`, on these weekdays, in these hours of the zone's wall clock."""

    name: str
    timezone: str = "UTC"
    "IANA name. Weekdays and hours are read on this clock; daylight saving is its business."
    begins: float | None = None
    "Seconds since the epoch; None: since ever."
    ends: float | None = None
    "Seconds since the epoch, the first moment outside; None: for ever."
    weekdays: frozenset[int] | None = None
    "0 is Monday; None: every day. Hours that pass midnight belong to the day on which they begin."
    hours: tuple[int, int] | None = None
    "First minute after midnight inside and first outside; the second is smaller when midnight lies between."


class ResidualScope(Enum):
    """Which later flows are refused with the one that a rule refused. All that are named must be the same."""

    CLIENT = "client"
    SERVER = "server"
    SERVER_PORT = "server_port"
    "The server's port, with the transport."


@dataclass(slots=True, frozen=True)
class Residual:
    """Refuse for some time what is like a flow that was refused."""

    scope: frozenset[ResidualScope]
    seconds: int


class DnsAnswer(Enum):
    """What the gateway answers a query with."""

    NXDOMAIN = "nxdomain"
    "The name does not exist (RFC 1035 section 4.1.1, RCODE 3)."
    REFUSED = "refused"
    "RCODE 5."
    ADDRESS = "address"
    "The addresses of the rule; no data for other types."


@dataclass(slots=True, frozen=True)
class Rule:
    """One rule of a policy."""

    name: str
    when: Condition
    action: Action
    why: str = ""
    location: str = ""
    "file:line of the rule, for messages."
    during: Schedule | None = None
    "In force only then."
    monitor: bool = False
    "Record what the rule would do and go on with the next, as `log` does."
    residual: Residual | None = None
    rate: int | None = None
    "THROTTLE: bits a second, each direction."
    probability: float | None = None
    "SAMPLE: share of flows that are chosen, above 0 and up to 1."
    then: Action = Action.DROP
    "SAMPLE: what happens to the chosen ones: DROP, RESET, REJECT."
    dns: DnsAnswer | None = None
    "DNS: the kind of answer."
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    "DNS: the answer to A and AAAA queries, and the hints of HTTPS records."


@dataclass(slots=True, frozen=True)
class Approval:
    """One approved tunnel: by cryptographic proof where it names a key, else by the server's address.

    All that is given must fit. At least one of the keys, `server` and `server_name` is.
    """

    name: str
    protocol: str
    public_keys: tuple[bytes, ...] = ()
    "WireGuard: 32-byte static public keys; the server (responder) must hold one of them."
    tls_auth_key: bytes | None = field(default=None, repr=False)
    "OpenVPN: the 256 bytes of the static key with which control packets are authenticated."
    tls_crypt_key: bytes | None = field(default=None, repr=False)
    "OpenVPN: the 256 bytes of the static key with which control packets are encrypted."
    tls_crypt_v2_key: bytes | None = field(default=None, repr=False)
    "OpenVPN: the 128 bytes of the server key that opens the clients' wrapped keys."
    server_name: str | None = None
    "TLS: the host name the client asked for, lower case."
    certificate: bytes | None = None
    "TLS: SHA-256 of the server's certificate in DER, 32 bytes; seen up to TLS 1.2 only."
    server: tuple[Network, ...] = ()
    "Addresses of the approved server."
    begins: float | None = None
    "First second of validity, in seconds since the epoch; None: since ever."
    until: float | None = None
    "Last second of validity, in seconds since the epoch; None: no end."
    why: str = ""


@dataclass(slots=True, frozen=True)
class Waiver:
    """A warning of `middlebox check` that is known and accepted."""

    id: str
    why: str
    narrowed: tuple[tuple[str, str], ...] = ()
    "(rule, list, approval or schedule; its name): all must be what the warning is about. Empty: wherever it is."


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
    clients: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    "Named groups of client addresses."
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    "Every schedule by name, whether a rule uses it or not."
    seed: int = 0
    "Makes the choices of SAMPLE repeatable."
    geoip: GeoDatabases = field(default_factory=GeoDatabases)
    "Where countries and autonomous systems of addresses are looked up."
    waivers: tuple[Waiver, ...] = ()
    "Warnings that `check` need not repeat."
    source: str = ""
    "Path of the file as given, for messages."
    digest: str = ""
    "SHA-256 of everything the policy was read from, in hex."


CLASSIFY_ONLY = Policy(name="classify-only", mode=Mode.MONITOR)
"What `replay` uses without a policy: no rules, everything passes."
