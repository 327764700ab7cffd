"""BitTorrent in clear: handshakes of peers over TCP (BEP 3), the DHT (BEP 5), UDP trackers (BEP 15), local discovery.

The one rule: `confirmed` needs the other side to repeat the torrent's hash (or to
change to its other one when that was offered), or a transaction id of a request.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, UDP, Conversation
from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

PEER_START = b"\x13BitTorrent protocol"
_INFO_HASH = slice(28, 48)
"After the name and 8 reserved bytes (BEP 3, peer protocol)."
_LAST_RESERVED, _UPGRADES = 27, 0x10
"A torrent of both versions has two hashes: with this bit set, the answer may name the other one (BEP 52)."
_HANDSHAKE_BYTES = 48
"What is needed of it; the peer's own id follows later when a proxy splits it."
_KRPC_STARTS = (b"d1:ad2:id20:", b"d1:rd2:id20:", b"d1:el", b"d2:ip6:", b"d2:ip18:", b"d2:roi", b"d1:ei")
"BEP 5: a dictionary in order of its keys, which are `a`, `r`, `e`, and with BEP 42 `ip` before them."
_TRANSACTION = b"1:t"
_KINDS = {b"1:y1:q": "query", b"1:y1:r": "response", b"1:y1:e": "error"}
_MAX_TRANSACTION = 16
_TRACKER_START = b"\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00"
"BEP 15: the magic number and the action `connect`."
_TRACKER_BYTES = 16
_DISCOVERY_START = b"BT-SEARCH * HTTP/1.1\r\n"
"BEP 14."


class BitTorrent(DatagramExchange):
    """Recognises peers, and the ways in which they find each other."""

    name: ClassVar[str] = "bittorrent"
    transports: ClassVar[tuple[int, ...]] = (UDP, TCP)
    protocols: ClassVar[tuple[str, ...]] = ("bittorrent",)
    misses: ClassVar[str] = "Peers with message stream encryption, trackers over HTTPS, and connections joined later."
    client_begins: ClassVar[bytes] = b"d\x00B\x13"
    server_begins: ClassVar[bytes] = client_begins
    repeats: ClassVar[str] = "transaction id"

    def feed(self, talk: Conversation) -> Answer:
        """TCP: both handshakes. UDP: one message."""
        if not (talk.client or talk.server):
            return super().feed(talk)
        for stream in (talk.client, talk.server):
            if not stream.startswith(PEER_START[: len(stream)]):
                return Opinion.NO
        hashes = [side[_INFO_HASH] for side in (talk.client, talk.server) if len(side) >= _HANDSHAKE_BYTES]
        if len(hashes) == 2:
            if hashes[0] == hashes[1]:
                return Evidence("bittorrent", Confidence.CONFIRMED, "both peers' handshakes name the same torrent")
            if talk.client[_LAST_RESERVED] & _UPGRADES or talk.server[_LAST_RESERVED] & _UPGRADES:
                reason = "both peers' handshakes, one of which offers the torrent's other hash"
                return Evidence("bittorrent", Confidence.CONFIRMED, reason)
            return Opinion.NO
        if not hashes or self._given is not None:
            return Opinion.MORE
        self._given = Confidence.PROBABLE
        return Evidence("bittorrent", Confidence.PROBABLE, "a peer's handshake", more=True)

    def read(self, message: bytes) -> Seen | None:
        """A message of the DHT, of a UDP tracker, or of local discovery."""
        if message.startswith(_KRPC_STARTS):
            return _read_krpc(message)
        if len(message) == _TRACKER_BYTES and message.startswith(_TRACKER_START):
            return Seen("a connect request to a tracker", asks=message[12:16])
        if message.startswith(bytes(4)) and len(message) == _TRACKER_BYTES and self._waiting:
            return Seen("a tracker's connect response", answers=message[4:8])
        if message.startswith(_DISCOVERY_START) and b"\r\nInfohash: " in message:
            return Seen("a search for local peers")
        return None


def _read_krpc(message: bytes) -> Seen | None:
    """A dictionary that has a kind and a transaction id near its end."""
    kind = next((name for key, name in _KINDS.items() if key in message), None)
    at = message.rfind(_TRANSACTION)
    if kind is None or at < 0 or not message.endswith(b"e"):
        return None
    at += len(_TRANSACTION)
    colon = message.find(b":", at, at + 3)
    if colon < 0 or not message[at:colon].isdigit() or int(message[at:colon]) > _MAX_TRANSACTION:
        return None
    transaction = message[colon + 1 : colon + 1 + int(message[at:colon])]
    if kind == "query":
        return Seen("a query of the DHT", asks=transaction)
    return Seen(f"a {kind} of the DHT", answers=transaction)
