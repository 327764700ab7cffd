"""DNS tunnels of any kind, recognised by a client that asks one domain for many long names that look encoded.

Counted per client and registered domain over all its flows, since a resolver asks each question from another port.

The one rule: only types whose answers can carry data make it `probable`. Lookups of virus scanners, trackers and
content networks ask for addresses under names just as long.

Sources: the fields that published detectors count: names per domain, their length and characters, share of TXT and
NULL (Born and Gustafson 2010; Farnham 2013, "Detecting DNS Tunneling"; nDPI's dns.c). The numbers are ours.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector, Scope
from middlebox.detect.dns_names import CNAME, KEY, MX, NULL, PRIVATE, SRV, TXT, read_question, split_name
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_CARRYING_TYPES = frozenset((NULL, PRIVATE, TXT, CNAME, MX, SRV, KEY))
_LEAST_BYTES = 30
"Characters before the registered domain. A SHA-1 in hex has 40, a UUID 36."
_LEAST_DIFFERENT = 12
"Different characters among them. Hex has 16, base32 32."
_LEAST_TURNS = 1 / 8
"Changes between a letter and a digit, or bytes that are neither, for each character: hex has 0.47, base64 0.26."
_NOT_LOADED = frozenset((b"arpa", b"local", b"home", b"lan", b"internal"))
"Reverse lookups (RFC 1035 section 3.5, RFC 3596 section 2.5) and names that stay in a network."

_NAMES_POSSIBLE, _NAMES_PROBABLE = 4, 8
"Different loaded names of one domain."
_WINDOW_SECONDS = 300.0
"After this long counting begins again."
_MAX_NAMES = 16
_MAX_DOMAINS = 64
"Remembered for each client; the one that was counted first goes first."
_PATIENCE = 4
"Messages in a row without a loaded name."


@dataclass(slots=True)
class Tally:
    """What one client asked one domain for."""

    since: float
    names: set[int] = field(default_factory=set)
    "Hashes of different loaded names, at most _MAX_NAMES."
    carrying: int = 0
    "How many of them were asked with a type whose answer carries data."


class Tallies:
    """The domains of one client."""

    __slots__ = ("_domains",)

    def __init__(self) -> None:
        self._domains: dict[tuple[bytes, ...], Tally] = {}

    def count(self, labels: tuple[bytes, ...], rrtype: int, now: float) -> Tally | None:
        """Count a name if it is loaded, and return its domain's tally; None when it is not."""
        inner, domain = split_name(labels)
        if domain[-1] in _NOT_LOADED or not _is_loaded(inner):
            return None
        tally = self._domains.get(domain)
        if tally is None or now - tally.since > _WINDOW_SECONDS:
            self._domains.pop(domain, None)
            if len(self._domains) >= _MAX_DOMAINS:
                del self._domains[next(iter(self._domains))]
            tally = self._domains[domain] = Tally(now)
        name = hash(inner)
        if name not in tally.names and len(tally.names) < _MAX_NAMES:
            tally.names.add(name)
            tally.carrying += rrtype in _CARRYING_TYPES
        return tally


def _is_loaded(labels: tuple[bytes, ...]) -> bool:
    """Whether the labels before a domain look like encoded data."""
    text = b"".join(label for label in labels if label[:1] != b"_")
    if len(text) < _LEAST_BYTES or len(set(text)) < _LEAST_DIFFERENT:
        return False
    turns, before = 0, 0
    for byte in text:
        kind = 1 if 0x30 <= byte <= 0x39 else 2 if 0x61 <= byte <= 0x7A else 3 if byte >= 0x80 else 0
        turns += kind == 3 or (kind != before and kind + before == 3)
        before = kind
    return turns >= _LEAST_TURNS * len(text)


class DnsLoadedNames(Detector):
    """Counts names that look encoded, per client and domain."""

    name: ClassVar[str] = "dns_loaded_names"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("dns-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 16
    misses: ClassVar[str] = (
        "Tunnels that ask for addresses only, with short names, or seldom; DNS over TCP, TLS or HTTPS."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("dns",)
    statistical: ClassVar[bool] = True
    remembers: ClassVar[Scope | None] = Scope.CLIENT
    memory: ClassVar[type] = Tallies

    __slots__ = ("_foreign", "_given", "_tallies")

    def __init__(self, tallies: Tallies | None = None) -> None:
        self._tallies = tallies if tallies is not None else Tallies()
        self._foreign = 0
        self._given: Confidence | None = None

    def feed(self, talk: Conversation) -> Answer:
        """Count a query's name. Replies add nothing."""
        question = read_question(talk.data)
        if question is None or not question.labels:
            return Opinion.NO
        tally = None
        if not question.is_reply:
            tally = self._tallies.count(question.labels, question.rrtype, talk.now)
        if tally is None:
            self._foreign += 1
            return Opinion.NO if self._foreign >= _PATIENCE else Opinion.MORE
        self._foreign = 0
        names = len(tally.names)
        carries = 2 * tally.carrying > names
        if names >= _NAMES_PROBABLE and carries:
            reason = (
                f"the client asked one domain for {_NAMES_PROBABLE} long names that look encoded, most with data types"
            )
            return Evidence("dns-tunnel", Confidence.PROBABLE, reason)
        if names >= _NAMES_POSSIBLE and carries and self._given is None:
            self._given = Confidence.POSSIBLE
            reason = (
                f"the client asked one domain for {_NAMES_POSSIBLE} long names that look encoded, most with data types"
            )
            return Evidence("dns-tunnel", Confidence.POSSIBLE, reason, more=True)
        return Opinion.MORE
