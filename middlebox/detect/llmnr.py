"""Link-local multicast name resolution (RFC 4795), told from DNS by its flags and its names.

The one rule: one question for a name of one label, no recursion wanted and nothing else in the query; the answer has
none of the flags that DNS servers set. A query to a root server without EDNS may look the same.
"""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.detect.dns import parse_message, read_first_name
from middlebox.evidence import Confidence

_FLAGS_AND_COUNTS = slice(2, 12)
_QUERY = b"\x00\x00" + b"\x00\x01" + bytes(6)
"No flag set, one question, no records (RFC 4795 section 2.1.1)."
_RESPONSE_FLAGS = b"\x80\x00"
"A response without conflict, truncation or tentativeness. DNS servers say here whether they recurse or have authority."
_ADDRESS_TYPES = frozenset({1, 28, 255})
"A, AAAA, ANY: what is asked about a single label."
_POINTER, _ARPA = 12, b"\x04arpa\x00"


class Llmnr(DatagramExchange):
    """Recognises questions to the local link."""

    name: ClassVar[str] = "llmnr"
    protocols: ClassVar[tuple[str, ...]] = ("llmnr",)
    misses: ClassVar[str] = (
        "A resolver's question to a root server about a top-level name, without EDNS, has the same bytes."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("dns",)
    repeats: ClassVar[str] = "id and question"

    def read(self, message: bytes) -> Seen | None:
        """The flags first, which DNS of clients does not have."""
        header = message[_FLAGS_AND_COUNTS]
        is_query = header == _QUERY
        is_response = header.startswith(_RESPONSE_FLAGS + b"\x00\x01\x00") and header[5:6] != b"\x00"
        if not (is_query or is_response):
            return None
        parsed = parse_message(message)
        if parsed is None or parsed.question is None or not any(message[:2]):
            return None
        name = read_first_name(message)
        is_single = 2 + name[0] == len(name) and parsed.question.rrtype in _ADDRESS_TYPES
        is_reverse = parsed.question.rrtype == _POINTER and name.endswith(_ARPA)
        if not is_single and not (is_reverse and is_response):
            return None
        key = message[:2], parsed.question
        if is_query:
            return Seen("a link-local name query", asks=key)
        return Seen("a link-local name response", answers=key, confidence=Confidence.POSSIBLE)
