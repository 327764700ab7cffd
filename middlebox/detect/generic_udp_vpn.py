"""TCP connections inside encrypted UDP, whatever the tunnel is called.

The one rule: sizes alone must tell of a TCP connection in its order: a SYN, a SYN-ACK of nearly its size from the other
side, then an acknowledgement that is the smallest packet both sides send again and again, and full packets. All of that
in datagrams that show no structure.

Idea: "OpenVPN is Open to VPN Fingerprinting" (USENIX Security 2022) for acknowledgements; Hanlon et al., "Detecting VPN
Traffic through Encapsulated TCP Behavior" (FOCI 2024) for TCP inside UDP. Neither's thresholds are used.
"""

from typing import ClassVar

from middlebox.detect.base import UDP, Conversation, Detector
from middlebox.detect.random_bytes import is_random
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_SYN_BYTES = frozenset({4, 8, 12, 16, 20})
"""By so much is a SYN longer than an acknowledgement: its options are 12 to 24 bytes (segment size, window scale,
timestamps, selective acknowledgement), those of an acknowledgement none or 12; ciphers may round up to 4, 8 or 16."""
_LEAST_BYTES = 60
"IP and TCP without options (40), and what a tunnel adds: at least an index, a counter and a tag of 16."
_FULL_BYTES = 500
"Data of TCP comes in full segments: at least one packet must be well above what a request or a voice packet measures."
_TAIL_BYTES = 16
"Tags are random, and so is a ciphertext without one."
_LEAST_PACKETS = 16
_MAX_PACKETS = 32
"The engine looks no longer at a flow."
_LEAST_EACH_WAY = 5
_LEAST_ACKNOWLEDGEMENTS = 5
"Of the smallest size, both ways together, at least two each way."
_ACKNOWLEDGEMENTS_SHARE = 4
"Of so many packets at least one is a pure acknowledgement: one for every two full segments, and those of a handshake."
_MAX_STRIKES = 1
"Datagrams that are shorter or not random."


class GenericUdpVpn(Detector):
    """Recognises the sizes of a TCP connection among encrypted datagrams."""

    name: ClassVar[str] = "generic_udp_vpn"
    transports: ClassVar[tuple[int, ...]] = (UDP,)
    protocols: ClassVar[tuple[str, ...]] = ("generic-udp-vpn",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 16
    statistical: ClassVar[bool] = True
    misses: ClassVar[str] = (
        "Tunnels that pad or merge packets, that carry no new TCP connection in the first 32 packets, or only QUIC."
    )

    def __init__(self) -> None:
        self._strikes = 0

    def feed(self, talk: Conversation) -> Answer:
        """Judge all sizes once there are enough."""
        if talk.confidence is not None and talk.confidence >= Confidence.PROBABLE:
            return Opinion.NO  # it has a better name
        data = talk.data
        if len(data) < _LEAST_BYTES or not is_random(data[-_TAIL_BYTES:]):
            self._strikes += 1
            if self._strikes > _MAX_STRIKES or len(talk.sizes) == 1:
                return Opinion.NO
        if len(talk.sizes) < _LEAST_PACKETS:
            return Opinion.MORE
        if _carries_tcp(talk.sizes):
            reason = "encrypted datagrams with the sizes of a TCP handshake, its acknowledgements and full segments"
            return Evidence("generic-udp-vpn", Confidence.PROBABLE, reason)
        return Opinion.MORE if len(talk.sizes) < _MAX_PACKETS else Opinion.NO


def _carries_tcp(sizes: list[int]) -> bool:
    up, down = [size for size in sizes if size > 0], [-size for size in sizes if size < 0]
    if min(len(up), len(down)) < _LEAST_EACH_WAY or max(map(abs, sizes)) < _FULL_BYTES:
        return False
    counts = {size: (up.count(size), down.count(size)) for size in {*up, *down}}
    for at in range(len(sizes) - 2):
        syn, answer, acknowledgement = sizes[at : at + 3]
        one_way = (syn > 0) == (acknowledgement > 0) != (answer > 0)
        longer = abs(syn) - abs(acknowledgement), abs(answer) - abs(acknowledgement)
        if not one_way or longer[0] not in _SYN_BYTES or longer[1] not in _SYN_BYTES:
            continue
        both = counts[abs(acknowledgement)]
        enough = sum(both) >= max(_LEAST_ACKNOWLEDGEMENTS, len(sizes) / _ACKNOWLEDGEMENTS_SHARE)
        smaller = sum(abs(size) < abs(acknowledgement) for size in sizes)
        if enough and min(both) >= 2 and smaller <= len(sizes) // 10:
            return True
    return False
