"""What the sizes of a flow's first packets look like when their bytes say nothing: groups, grams and bursts.

Shared by the detectors that look for a TLS handshake carried inside something encrypted. The one rule: only sizes and
directions go in, never an address, a port, a name or a time.

Groups, 3-grams and the window: Xue and others, "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS
Handshakes", USENIX Security 2024, section 5.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

WINDOW_PACKETS = 25
"Packets with data that are looked at (section 5.2, W_o). A TLS handshake and the first request need fewer."
USUAL_SEGMENT_BYTES = 1_448
"Ethernet's 1500 bytes less IPv4 and TCP headers with timestamps: what Linux and most others send."
LARGEST_SEGMENT_BYTES = 1_460
"The same without TCP options. Anything longer was merged by an offload before we saw it."
GROUP_STARTS = (1, 161, 601, 1_211)
"Least bytes of the groups L1 to L4 (section 5.2)."
LETTERS = 8
"Four groups in two directions."
GRAMS = LETTERS**3
BURSTS = 6
"Bursts at the start of a flow whose sizes are features: a TLS handshake, the first request and its answer."
LEAST_BURSTS = 3
"Client's hello, server's answer, client's Finished: before that nothing can be said of one flow alone."
BURST_EDGES = (
    30, 50, 65, 82, 100, 116, 135, 160, 200, 260, 330, 420, 520, 640, 780, 1_000, 1_461, 1_800, 2_300, 3_000, 4_500,
    6_500, 9_500, 14_000,
)  # fmt: skip
"""Bytes at which one class of bursts ends and the next begins. Narrow where a Finished message lies, alone or with what
proxies add to it (58 to 135), and where a ClientHello does (330 to 780, with post-quantum keys 1461 to 2300). A full
segment is in one class, with TCP options or without."""
_CLASSES = len(BURST_EDGES) + 2
"One more class below the first edge, and one for a burst that has not come."
BURST_FEATURES = 2 * BURSTS * _CLASSES


def split(sizes: Sequence[int], window: int = WINDOW_PACKETS) -> list[int]:
    """The first `window` packets as they were on the wire: what an offload merged is cut into segments again.

    `sizes` are payload bytes, positive from the client, negative from the server, as in `Conversation.sizes`.
    """
    pieces: list[int] = []
    for size in sizes:
        sign, left = (1, size) if size > 0 else (-1, -size)
        while left > LARGEST_SEGMENT_BYTES and len(pieces) < window:
            pieces.append(sign * USUAL_SEGMENT_BYTES)
            left -= USUAL_SEGMENT_BYTES
        if len(pieces) >= window:
            break
        pieces.append(sign * left)
    return pieces


def letter(size: int, overhead: int = 0) -> int:
    """The group and direction of a packet as one number below LETTERS: L1 to L4 are 0 to 3, from the server 4 to 7.

    `overhead` is what the carrier is thought to add to each packet.
    """
    length = abs(size) - overhead
    group = sum(length >= start for start in GROUP_STARTS[1:])
    return group if size > 0 else group + 4


def grams(sizes: Sequence[int], overhead: int = 0) -> Iterator[int]:
    """The 3-grams of the packets' letters, in order, each as one number below GRAMS."""
    letters = [letter(size, overhead) for size in sizes]
    for first, second, third in zip(letters, letters[1:], letters[2:], strict=False):
        yield (first * LETTERS + second) * LETTERS + third


def gram_name(gram: int) -> str:
    """A gram as people write it, for instance (L2,-L4,L1)."""
    letters = gram // LETTERS**2, gram // LETTERS % LETTERS, gram % LETTERS
    return "(" + ",".join(f"{'-' if one >= 4 else ''}L{one % 4 + 1}" for one in letters) + ")"


def bursts(sizes: Sequence[int]) -> list[int]:
    """Bytes of each run of packets in one direction, with its sign.

    Times play no part, so two flights in a row from the same side count as one.
    """
    return [sum(run) for _, run in groupby(sizes, key=lambda size: size > 0)]


def burst_features(sizes: Sequence[int], complete: int) -> list[int]:
    """Which features hold for a flow of which `complete` bursts have ended.

    Two for each of the first BURSTS: the class of its bytes, and that of its first packet. Each is a number below
    BURST_FEATURES. `sizes` as given by `split`.
    """
    runs = [list(run) for _, run in groupby(sizes, key=lambda size: size > 0)][: min(complete, BURSTS)]
    found = []
    for place in range(BURSTS):
        has_come = place < len(runs)
        whole = bisect_right(BURST_EDGES, abs(sum(runs[place]))) if has_come else _CLASSES - 1
        first = bisect_right(BURST_EDGES, abs(runs[place][0])) if has_come else _CLASSES - 1
        found += [place * _CLASSES + whole, (BURSTS + place) * _CLASSES + first]
    return found


def burst_score(weights: Sequence[float], bias: float, sizes: Sequence[int], complete: int) -> float:
    """What a model says of a flow of which `complete` bursts have ended: log-odds, above 0 for what it looks for."""
    return bias + sum(weights[feature] for feature in burst_features(sizes, complete))
