"""DNS over TLS, recognised by what the client offers, by a resolver's name, or by the lengths of padded messages.

The one rule: lengths alone are `probable` at most, and only of clients that offer no protocol: who speaks HTTP says so.

Sources: RFC 7858 (a message follows its length), RFC 8467 section 4.1 (queries are padded to multiples of 128 bytes,
responses of 468), IANA's ALPN registry ("dot"). Record lengths: RFC 8446 section 5.2, RFC 5288 section 3, RFC 7905.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.news import only_news
from middlebox.detect.resolvers import is_resolver
from middlebox.detect.tls_records import TLS13_OVERHEAD, TlsRecords
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_ALPN = "dot"
_LENGTH_BYTES = 2
_QUERY_BLOCK, _ANSWER_BLOCK = 128, 468
"RFC 8467 section 4.1."
_MOST_QUERY_BLOCKS = 2
"A name of 255 bytes at most, and options of little more."
_LEAST_ANSWER, _MOST_ANSWER = 28, 1232
"Header, a short name, and one address; what fits into a datagram (RFC 9715 section 3.1), if it is not padded."
_OVERHEADS_TLS12 = (24, 16)
"AES-GCM with its nonce; ChaCha20-Poly1305."
_CLOSE_ALERT = 2
"Bytes of an alert, which TLS 1.3 sends like data (RFC 8446 section 6)."
_EXCHANGES = 2
"Queries with answers between them, when answers are not padded."
_MOST_TICKETS = 2
"Server records before an answer that may be session tickets (RFC 8446 section 4.6.1)."
_PATIENCE = 12
"Records of data after which nothing more is hoped for."


class Dot(Detector):
    """Looks at ALPN, the server's name, and record lengths."""

    name: ClassVar[str] = "dot"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("dot",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Clients that neither name a known resolver, offer a protocol, nor pad their queries."
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_given", "_records")

    def __init__(self) -> None:
        self._records = TlsRecords()
        self._given: Evidence | None = None
        "The last evidence given."

    def feed(self, talk: Conversation) -> Answer:
        """Judge what the client offers; without an offer, the records."""
        offered = talk.facts.get("tls.client_alpns")
        if offered is not None:
            answer = _judge_offer(offered, is_answered="tls.version" in talk.facts)
        elif is_resolver(talk.facts.get("tls.sni")):
            reason = "the client names a public resolver and offers no protocol, as over HTTPS it would"
            answer = Evidence("dot", Confidence.PROBABLE, reason)
        else:
            self._records.update(talk)
            answer = self._judge_records(is_tls12=talk.facts.get("tls.version") == "TLS 1.2")
        answer = only_news(answer, self._given)
        if isinstance(answer, Evidence):
            self._given = answer
        return answer

    def _judge_records(self, *, is_tls12: bool) -> Answer:
        records = self._records
        if not records.data:
            return Opinion.NO if records.is_full else Opinion.MORE
        overheads = (TLS13_OVERHEAD,) if records.is_tls13 else _OVERHEADS_TLS12 if is_tls12 else ()
        for overhead in overheads:
            answer = _judge_lengths(
                [one.length - overhead if one.from_client else overhead - one.length for one in records.data]
            )
            if answer is not Opinion.NO:
                return answer
        return Opinion.NO


def _judge_offer(offered: object, *, is_answered: bool) -> Answer:
    if not isinstance(offered, list) or offered != [_ALPN]:
        return Opinion.NO
    if is_answered:
        reason = "the client offers nothing but DNS over TLS, and the server answers"
        return Evidence("dot", Confidence.CONFIRMED, reason)
    return Evidence("dot", Confidence.PROBABLE, "the client offers nothing but DNS over TLS", more=True)


def _is_padded_query(size: int) -> bool:
    blocks, rest = divmod(size - _LENGTH_BYTES, _QUERY_BLOCK)
    return not rest and 0 < blocks <= _MOST_QUERY_BLOCKS


def _judge_lengths(sizes: list[int]) -> Answer:
    """Judge plain lengths of records, the client's positive: queries, and what answers them."""
    asked = [size for size in sizes if size > 0]
    queries = [size for size in asked if size != _CLOSE_ALERT]
    if not all(_is_padded_query(size) for size in queries):
        return Opinion.NO
    answers = [-size - _LENGTH_BYTES for size in sizes[sizes.index(queries[0]) :] if size < 0] if queries else []
    if any(answer > 0 and answer % _ANSWER_BLOCK == 0 for answer in answers):
        reason = "the client's records are as long as padded DNS queries, and one of the server's as a padded response"
        return Evidence("dot", Confidence.PROBABLE, reason)
    fitting = [answer for answer in answers if _LEAST_ANSWER <= answer <= _MOST_ANSWER]
    is_over = len(asked) > len(queries)
    if len(fitting) < len(answers) - is_over or len(answers) > len(queries) + _MOST_TICKETS + is_over:
        return Opinion.NO
    if queries and fitting and (len(queries) >= _EXCHANGES or is_over):
        reason = "all the client's records are as long as padded DNS queries, each has a short answer"
        return Evidence("dot", Confidence.PROBABLE, reason)
    return Opinion.MORE if len(sizes) <= _PATIENCE else Opinion.NO
