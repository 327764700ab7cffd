"""STOMP: the client's CONNECT or STOMP frame and the server's CONNECTED (STOMP 1.2, Connecting).

The one rule: both frames must.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_CONNECT = re.compile(rb"(?:CONNECT|STOMP)\r?\n(?:[a-z-]{1,32}:[^\n]{0,256}\n|\n)")
_CONNECT_BEGUN = re.compile(
    rb"(?:C(?:O(?:N(?:N(?:E(?:CT?)?)?)?)?)?|S(?:T(?:O(?:MP?)?)?)?|(?:CONNECT|STOMP)\r?\n?[a-z-]{0,32}(?::[^\n]{0,256})?)?"
)
_ANSWER = re.compile(rb"(?:CONNECTED|ERROR)\r?\n(?:[a-z-]{1,32}:|\n)")
_ANSWER_BEGUN = re.compile(rb"[A-Z]{0,9}\r?\n?[a-z-]{0,32}")


def _is_connect(data: bytes) -> Fit:
    return True if _CONNECT.match(data) else None if _CONNECT_BEGUN.fullmatch(data) else False


def _is_answer(data: bytes) -> Fit:
    return True if _ANSWER.match(data) else None if _ANSWER_BEGUN.fullmatch(data) else False


class Stomp(Exchange):
    """Finds both frames."""

    name: ClassVar[str] = "stomp"
    protocols: ClassVar[tuple[str, ...]] = ("stomp",)
    misses: ClassVar[str] = "STOMP inside TLS from the first byte or WebSocket."
    client_begins: ClassVar[bytes] = b"CS"
    server_begins: ClassVar[bytes] = b"CE"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A frame that asks for a session, and one that grants or refuses it."""
        return self.weigh(
            _is_connect(client),
            _is_answer(server),
            question="a CONNECT frame",
            answer="a CONNECTED frame",
            link="CONNECTED answers the client's frame",
        )
