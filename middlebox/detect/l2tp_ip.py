"""L2TP version 3 straight over IP (protocol 115, RFC 3931 section 4.1.1).

The one rule: the IP protocol number with a fitting header makes it probable; `confirmed` needs a control message that
goes to the number which the other side assigned.
"""

from typing import ClassVar

from middlebox.detect.base import Conversation, Detector
from middlebox.detect.l2tp_message import Exchange, parse_control
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_L2TP = 115
"IP protocol number (IANA)."
_SESSION_BYTES = 4
"A data message begins with its session id; zero means control."
_MAX_WAITING = 8
"Datagrams in which control messages may link."


class L2tpIp(Detector):
    """Links control messages by the numbers they assign."""

    name: ClassVar[str] = "l2tp_ip"
    transports: ClassVar[tuple[int, ...]] = (_L2TP,)
    protocols: ClassVar[tuple[str, ...]] = ("l2tp",)
    facts: ClassVar[tuple[str, ...]] = ("l2tp.version",)
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Proof where only data or only one direction is seen, as with tunnels set up by hand."

    __slots__ = ("_exchange", "_given", "_packets")

    def __init__(self) -> None:
        self._exchange = Exchange()
        self._given = False
        self._packets = 0

    def feed(self, talk: Conversation) -> Answer:
        """Each datagram is one message."""
        self._packets += 1
        session, facts = talk.data[:_SESSION_BYTES], {"l2tp.version": 3}
        if session == bytes(_SESSION_BYTES):
            control = parse_control(talk.data[_SESSION_BYTES:], talk.size - _SESSION_BYTES)
            if control is None or control.version != 3:
                return Opinion.NO
            if self._exchange.add(control, from_client=talk.from_client):
                reason = "an L2TP control message goes to the number that the other side assigned"
                return Evidence("l2tp", Confidence.CONFIRMED, reason, facts)
        elif len(session) < _SESSION_BYTES:
            return Opinion.NO
        if not self._given:
            self._given = True
            return Evidence("l2tp", Confidence.PROBABLE, "L2TPv3 by its IP protocol number", facts, more=True)
        return Opinion.MORE if self._packets < _MAX_WAITING else Opinion.NO
