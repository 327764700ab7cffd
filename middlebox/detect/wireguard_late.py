"""WireGuard that begins in a flow after STUN, as meshes do that punch holes through NATs first.

The one rule: it judges as `wireguard` does; only its patience differs, and ends at once where media begin.
"""

from typing import ClassVar

from middlebox.detect.base import Conversation
from middlebox.detect.wireguard import WireGuard
from middlebox.evidence import Answer, Evidence, Opinion

_MAX_WAITING = 8
"Messages before WireGuard begins: checks of a hole from both sides, a few of each."
_MEDIA = range(20, 192)
"First bytes of DTLS, TURN's channels and RTP, which share flows with STUN (RFC 7983 section 7). WireGuard has 1 to 4."


class WireGuardLate(WireGuard):
    """Recognises WireGuard after STUN."""

    name: ClassVar[str] = "wireguard_late"
    builds_on: ClassVar[tuple[str, ...]] = ("stun", "turn")
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = "WireGuard inside TURN's channels, and beside media."

    def __init__(self) -> None:
        super().__init__()
        self._waited = 0
        self._is_found = False

    def feed(self, talk: Conversation) -> Answer:
        """Wait for the first message that WireGuard may have sent, then judge."""
        answer = super().feed(talk)
        self._is_found = self._is_found or isinstance(answer, Evidence)
        if answer is not Opinion.NO or self._is_found:
            return answer
        self._waited += 1
        return Opinion.NO if self._waited > _MAX_WAITING or talk.data[0] in _MEDIA else Opinion.MORE
