"""NATS, recognised by its greeting: the server says INFO with a JSON object, the client answers CONNECT with another.

The one rule: neither word alone confirms; the client must answer the server's INFO.

Source: NATS client protocol, docs.nats.io, sections INFO and CONNECT. Operations are text, ended by CR LF.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_INFO, _CONNECT = b"INFO {", b"CONNECT {"
"First operation of the server, and of the client. Names of operations may be in lower case."


class Nats(Detector):
    """Recognises the first operation of both sides."""

    __slots__ = ("_is_greeted",)

    name: ClassVar[str] = "nats"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("nats",)
    client_begins: ClassVar[bytes] = b"Cc"
    server_begins: ClassVar[bytes] = b"Ii"
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.CONFIRMED
    packets_needed: ClassVar[int] = 2
    misses: ClassVar[str] = "Connections that use TLS or WebSocket, and connections joined after their greeting."

    def __init__(self) -> None:
        self._is_greeted = False

    def feed(self, talk: Conversation) -> Answer:
        """Compare the first bytes of both sides."""
        greeting, answer = talk.server[: len(_INFO)].upper(), talk.client[: len(_CONNECT)].upper()
        if not _INFO.startswith(greeting) or not _CONNECT.startswith(answer):
            return Opinion.NO
        if greeting == _INFO and answer == _CONNECT:
            return Evidence("nats", Confidence.CONFIRMED, "the client answers the server's INFO with CONNECT")
        if greeting == _INFO and not self._is_greeted:
            self._is_greeted = True
            return Evidence("nats", Confidence.PROBABLE, "the server greets with INFO and a JSON object", more=True)
        return Opinion.MORE
