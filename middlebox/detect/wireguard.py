"""WireGuard, recognised by the 32-bit indices with which its messages answer each other.

The one rule: a length alone proves nothing; `confirmed` needs an index that one side announced and the other
addressed, or data in both directions that keeps its indices while its counters advance.

Layout: the WireGuard paper, section 5.4 (all numbers little-endian, the three bytes after the type are zero).
"""

from dataclasses import dataclass, field
from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion, Proof

_INITIATION, _RESPONSE, _COOKIE, _DATA = (bytes((number, 0, 0, 0)) for number in (1, 2, 3, 4))
"Types with their reserved bytes (sections 5.4.2, 5.4.3, 5.4.7, 5.4.6)."
_INITIATION_BYTES, _RESPONSE_BYTES, _COOKIE_BYTES = 148, 92, 64
_LEAST_DATA_BYTES = 32
"Type, receiver, counter (16 bytes) and the tag of an empty packet, which is a keepalive."
_PADDING_BYTES = 16
"Inner packets are padded to a multiple of this, but never beyond the interface's MTU (section 5.4.6)."
_TAG_BYTES = 16
MAX_COUNTER = 2**40
"A key lives 180 s (section 6.1, Reject-After-Time): at 100 million packets a second it stays below 2**35."
_MAX_COUNTER_STEP = 8192
"The receiver's replay window in the Linux implementation; a larger jump is not one flow's loss."
_DATA_EACH_WAY = 2
"Each direction must show that its index stays while its counter advances, which one message cannot."
_DATA_ONE_WAY = 4
"The same four bytes of index at three more messages in a row, each with a higher counter."
_MAX_INITIATIONS = 4
"Unanswered initiations remembered per side; a peer sends one every 5 s, answers come within a round trip."
_MAX_FOREIGN = 4
"Messages in a row that link to nothing: what shares the flow (STUN of a mesh) is passed over, not waited for."


def _looks_random(part: bytes) -> bool:
    """Whether at least half of the bytes differ: keys, nonces and tags do, padding, text and counters do not."""
    return 2 * len(set(part)) >= len(part)


@dataclass(slots=True)
class Side:
    """What one side of the flow has sent."""

    announced: dict[bytes, bytes | None] = field(default_factory=dict)
    "The index under which it wants to be answered, and the initiation that said so (None: a response did)."
    longest: int = 0
    "Bytes of its longest data message."
    receiver: bytes = b""
    "Index to which its data goes."
    counter: int = -1
    "Highest counter of that data."
    in_a_row: int = 0
    "Data messages to that index whose counter was higher than any before."

    def announce(self, index: bytes, initiation: bytes | None) -> None:
        """Remember an index that answers may be addressed to."""
        self.announced[index] = initiation
        if len(self.announced) > _MAX_INITIATIONS:
            del self.announced[next(iter(self.announced))]

    def has_data_length(self, length: int) -> bool:
        """Whether data may be this long: padded, or cut to an MTU that nothing has exceeded."""
        is_cut_to_mtu = length >= self.longest
        exceeds_mtu = length > self.longest and self.longest % _PADDING_BYTES != 0
        self.longest = max(self.longest, length)
        return not exceeds_mtu and (length % _PADDING_BYTES == 0 or is_cut_to_mtu)

    def add_data(self, receiver: bytes, counter: int) -> bool:
        """Count a data message; False when it begins a new row because it does not continue the last one."""
        if receiver == self.receiver and abs(counter - self.counter) <= _MAX_COUNTER_STEP:
            if counter > self.counter:
                self.counter = counter
                self.in_a_row += 1
            return True
        is_first = not self.receiver
        self.receiver, self.counter, self.in_a_row = receiver, counter, 1
        return is_first


class WireGuard(Detector):
    """Recognises WireGuard from its handshake, and from data when the handshake was before our time."""

    name: ClassVar[str] = "wireguard"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("wireguard",)
    client_begins: ClassVar[bytes] = bytes(range(1, 5))
    server_begins: ClassVar[bytes] = client_begins
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = (
        "Variants that change header bytes or lengths (AmneziaWG, Cloudflare WARP), "
        "flows that begin with something else (STUN, Tailscale's DISCO), and WireGuard inside another tunnel."
    )

    def __init__(self) -> None:
        self._sides = (Side(), Side())
        "Server and client of the flow, indexed by `from_client`."
        self._given: Confidence | None = None
        self._initiation: bytes | None = None
        "The newest one."
        self._tells_repetition = False
        self._is_begun = False
        self._foreign = 0

    def feed(self, talk: Conversation) -> Answer:
        """Look for an index that the other side announced, or for data that keeps its indices."""
        message, kind = talk.data, talk.data[:4]
        side, other = self._sides[talk.from_client], self._sides[not talk.from_client]
        if kind == _DATA and len(message) >= _LEAST_DATA_BYTES:
            return self._feed_data(message, talk.size, side, other)
        if kind == _INITIATION and len(message) == _INITIATION_BYTES and _looks_random(message[8:40]):
            return self._feed_initiation(message, side)
        if kind == _RESPONSE and len(message) == _RESPONSE_BYTES:
            self._is_begun = True
            side.announce(message[4:8], None)
            return self._link("the response", message[8:12], other) or self._pass_over()
        if kind == _COOKIE and len(message) == _COOKIE_BYTES:
            self._is_begun = True
            return self._link("the cookie reply", message[4:8], other) or self._pass_over()
        return self._pass_over()

    def _feed_initiation(self, message: bytes, side: Side) -> Answer:
        is_copy = side.announced.get(message[4:8]) == message
        is_repeated = any(side.announced.values()) and not is_copy
        side.announce(message[4:8], message)
        self._initiation = message
        self._is_begun = True
        self._foreign = 0
        if self._given is None:
            return self._evidence(Confidence.POSSIBLE, "a handshake initiation")
        if self._given is Confidence.POSSIBLE and is_repeated and not self._tells_repetition:
            self._tells_repetition = True
            return self._evidence(Confidence.POSSIBLE, "a handshake initiation, repeated without an answer")
        if self._given is Confidence.POSSIBLE or is_copy:
            return Opinion.MORE
        return self._evidence(self._given, "data as before, and now a handshake initiation")

    def _feed_data(self, message: bytes, length: int, side: Side, other: Side) -> Answer:
        receiver, counter = message[4:8], int.from_bytes(message[8:16], "little")
        has_data_length = side.has_data_length(length)
        linked = self._link("data", receiver, other)
        if linked is not None:
            return linked
        if not has_data_length or counter > MAX_COUNTER or not _looks_random(message[-_TAG_BYTES:]):
            return self._pass_over()
        self._is_begun = True
        if not side.add_data(receiver, counter):
            return self._pass_over()
        self._foreign = 0
        if self._given is Confidence.CONFIRMED:
            return Opinion.MORE
        if side.in_a_row >= _DATA_EACH_WAY <= other.in_a_row:
            # Each peer draws its own index at random: a number that both directions share is not one.
            if side.receiver == other.receiver:
                return Opinion.NO
            reason = "data both ways, each with a constant receiver index and advancing counters"
            return self._evidence(Confidence.CONFIRMED, reason)
        if side.in_a_row == _DATA_ONE_WAY and not other.in_a_row and self._given is not Confidence.PROBABLE:
            reason = "data one way, with a constant receiver index and advancing counters"
            return self._evidence(Confidence.PROBABLE, reason)
        return Opinion.MORE

    def _link(self, what: str, receiver: bytes, other: Side) -> Answer | None:
        """What it means that a message goes to index `receiver`; None when the other side never announced it."""
        if receiver not in other.announced:
            return None
        self._foreign = 0
        initiation = other.announced[receiver]
        if initiation is not None:
            self._initiation = initiation
            reason = f"{what} goes to the initiation's sender index"
            return self._evidence(Confidence.CONFIRMED, reason, answered=True)
        if self._given is Confidence.CONFIRMED:
            return Opinion.MORE
        return self._evidence(Confidence.CONFIRMED, f"{what} goes to the response's sender index")

    def _pass_over(self) -> Opinion:
        """A message that proves nothing: of another protocol, or not linked to what was seen."""
        self._foreign += 1
        return Opinion.MORE if self._is_begun and self._foreign <= _MAX_FOREIGN else Opinion.NO

    def _evidence(self, confidence: Confidence, reason: str, *, answered: bool = False) -> Evidence:
        """Evidence with the newest initiation. With its answer seen, nothing more is to be learned."""
        self._given = confidence
        proof = None
        if self._initiation is not None:
            proof = Proof("wireguard", "initiation", self._initiation, answered=answered)
        return Evidence("wireguard", confidence, reason, more=not answered, proof=proof)
