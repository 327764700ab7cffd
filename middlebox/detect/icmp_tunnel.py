"""Tunnels in ICMP echo: a reply must return what the request said (RFC 792, RFC 4443 section 4.2), a tunnel's does not.

The one rule: neither sizes nor contents of a ping are suspicious as long as the reply returns them. `confirmed` needs
replies that say something else, packets of IP in both directions, or both sides of a known tunnel's own protocol.
Sources: ptunnel and ptunnel-ng (src/ptunnel.h: proxy packet header), hans (src/echo.h, worker.h), icmptunnel.
"""

from typing import ClassVar

from middlebox.detect.base import ICMP, ICMPV6, INNER_PROTOCOLS, Conversation, Detector
from middlebox.detect.inner_packet import is_whole_ip
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_REQUESTS, _REPLIES = frozenset({8, 128}), frozenset({0, 129})
_HEADER_BYTES, _LINK = 8, slice(4, 8)
"Identifier and number link a reply to its request."
_PTUNNEL_MAGICS = frozenset({b"\xd5\x20\x08\x80", b"\xde\xad\xc0\xde"})
"ptunnel's, and ptunnel-ng's unless it is told another one."
_PTUNNEL_BYTES, _PTUNNEL_LENGTH = 28, slice(20, 24)
"Magic, address, port, state, acknowledgment, length of the data, number, identifier."
_IP_OFFSETS = (0, 5, 4, 8)
"Where tunnels put an IP packet: at once (icmptunnel), behind a magic word and a type (hans), or the like."
_COMPARED_BYTES = 256
_LEAST_DIFFERENT_BYTES = 4
"Bytes that a reply has changed, to something else than zero: damage, and padding of what was cut off, are less."
_PROBABLE_CHANGES, _CONFIRMED_CHANGES = 2, 4
_PROBABLE_UNASKED = 4
"Replies that answer nothing. In a ping all requests are of one size, so a reply to one that was missed is, too."
_MAX_REQUESTS = 16
"Requests of one side that are remembered. A reply to an older one shows nothing."
_ORDINARY_PAIRS, _VARIED_PAIRS = 5, 14
"Pairs that ended well, after which a flow is left alone; more when what is sent varies, which pings do not do."
_VARIED_FROM = 24
"Ping programs put their time, and little else that changes, into the first bytes."


class IcmpTunnel(Detector):
    """Recognises tunnels by replies that do not return what was sent, and by what is sent."""

    __slots__ = (
        "_changes", "_early", "_given", "_ip_at", "_ip_sides", "_last", "_pairs", "_ptunnel", "_requests", "_unasked",
        "_varies",
    )  # fmt: skip

    name: ClassVar[str] = "icmp_tunnel"
    transports: ClassVar[tuple[int, ...]] = (ICMP, ICMPV6)
    protocols: ClassVar[tuple[str, ...]] = ("icmp-tunnel",)
    facts: ClassVar[tuple[str, ...]] = (INNER_PROTOCOLS,)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 3
    builds_on: ClassVar[tuple[str, ...]] = ("icmp",)
    unwraps: ClassVar[bool] = True
    misses: ClassVar[str] = "Tunnels that speak in requests only, or hide their data where pings put theirs."

    def __init__(self) -> None:
        self._requests: tuple[dict[bytes, tuple[bytes, int]], dict[bytes, tuple[bytes, int]]] = ({}, {})
        "By link: what each side has sent (the first bytes) and how much, indexed by `from_client`."
        self._given: Confidence | None = None
        self._pairs = self._changes = self._unasked = 0
        self._early: dict[bytes, tuple[bytes, int]] = {}
        "Replies whose request was not seen, though others were."
        self._last: bytes | None = None
        self._varies = False
        self._ip_at: int | None = None
        self._ip_sides: set[bool] = set()
        self._ptunnel: dict[bytes, bool] = {}
        "Its messages, and whether the client sent them."

    def feed(self, talk: Conversation) -> Answer:
        """Remember a request; compare a reply with its request."""
        data = talk.data
        if len(data) < _HEADER_BYTES or (data[0] not in _REQUESTS and data[0] not in _REPLIES):
            return Opinion.NO
        payload, size = data[_HEADER_BYTES:], talk.size - _HEADER_BYTES
        found = self._look_for_ip(payload, size, talk) or self._look_for_ptunnel(payload, talk)
        if data[0] in _REQUESTS:
            self._remember(data[_LINK], payload, size, talk)
        else:
            self._compare(data[_LINK], payload, size, talk)
        if found is None and self._changes >= _PROBABLE_CHANGES:
            level = Confidence.CONFIRMED if self._changes >= _CONFIRMED_CHANGES else Confidence.PROBABLE
            found = level, f"{self._changes} echo replies do not say what their requests said"
        if found is None and self._unasked >= _PROBABLE_UNASKED:
            found = (
                Confidence.PROBABLE,
                f"{self._unasked} echo replies without a request, of sizes that no request had",
            )
        if found is not None and (self._given is None or found[0] > self._given):
            self._given = found[0]
            more = self._given is not Confidence.CONFIRMED or self._ip_at is not None
            return Evidence("icmp-tunnel", found[0], found[1], more=more)
        if self._given is not None or self._changes or self._unasked:
            return Opinion.MORE
        patience = _VARIED_PAIRS if self._varies else _ORDINARY_PAIRS
        waiting = len(self._requests[0]) + len(self._requests[1])
        return Opinion.MORE if self._pairs < patience and waiting < _MAX_REQUESTS else Opinion.NO

    def _look_for_ip(self, payload: bytes, size: int, talk: Conversation) -> tuple[Confidence, str] | None:
        for at in _IP_OFFSETS if self._ip_at is None else (self._ip_at,):
            if len(payload) > at and payload[at] >> 4 in (4, 6) and is_whole_ip(payload[at:], size - at):
                self._ip_at = at
                # A reply that only returns the request's packet is no second direction.
                if (payload[:_COMPARED_BYTES], size) not in self._requests[not talk.from_client].values():
                    self._ip_sides.add(talk.from_client)
                if len(self._ip_sides) == 2:
                    return Confidence.CONFIRMED, "echo messages carry whole IP packets in both directions"
                return Confidence.PROBABLE, "an echo message carries a whole IP packet"
        return None

    def _look_for_ptunnel(self, payload: bytes, talk: Conversation) -> tuple[Confidence, str] | None:
        if payload[:4] not in _PTUNNEL_MAGICS or len(payload) < _PTUNNEL_BYTES:
            return None
        data_bytes = int.from_bytes(payload[_PTUNNEL_LENGTH])
        if data_bytes not in (talk.size - _HEADER_BYTES - _PTUNNEL_BYTES - pad for pad in (0, 1)):
            return None
        head = payload[:_COMPARED_BYTES]
        sender = self._ptunnel.setdefault(head, talk.from_client)
        if len(self._ptunnel) > _MAX_REQUESTS:
            del self._ptunnel[next(iter(self._ptunnel))]
        if sender is talk.from_client and (not talk.from_client) in self._ptunnel.values():
            return Confidence.CONFIRMED, "both sides send messages of ptunnel, and not only each other's"
        return Confidence.PROBABLE, "an echo message begins with ptunnel's magic number and fits its length"

    def _remember(self, link: bytes, payload: bytes, size: int, talk: Conversation) -> None:
        requests = self._requests[talk.from_client]
        if len(requests) >= _MAX_REQUESTS:
            del requests[next(iter(requests))]
        head = payload[:_COMPARED_BYTES]
        if self._last is not None:
            common = min(len(head), len(self._last))
            self._varies = self._varies or head[_VARIED_FROM:common] != self._last[_VARIED_FROM:common]
        self._last = head
        requests[link] = head, size
        early = self._early.pop(link, None)
        if early is not None and (early[1] > size or _differ(head, early[0])):
            self._changes += 1  # it was answered before it was asked

    def _compare(self, link: bytes, payload: bytes, size: int, talk: Conversation) -> None:
        sent = self._requests[not talk.from_client].get(link)
        if sent is None:
            if self._requests[not talk.from_client] and len(self._early) < _MAX_REQUESTS:
                self._early[link] = payload[:_COMPARED_BYTES], size
                self._unasked += all(size != asked for _, asked in self._requests[not talk.from_client].values())
            return
        head, sent_size = sent
        if size > sent_size or _differ(head, payload[:_COMPARED_BYTES]):
            self._changes += 1
        else:
            self._pairs += 1

    def unwrap(self, data: bytes) -> bytes:
        """The IP packet of an echo message, if this tunnel carries such."""
        return b"" if self._ip_at is None else data[_HEADER_BYTES + self._ip_at :]


def _differ(sent: bytes, returned: bytes) -> bool:
    """Whether a reply says something else. Some hosts cut long pings short, which is none of that."""
    if sent.startswith(returned):
        return False
    changed = sum(1 for one, other in zip(sent, returned, strict=False) if one != other and other)
    return changed >= _LEAST_DIFFERENT_BYTES
