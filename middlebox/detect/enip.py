"""EtherNet/IP: an encapsulated reply with the request's command and context (ODVA, CIP Volume 2, section 2-3).

The one rule: command and sender context must come back.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_HEADER = Struct("<HHII8sI")
"Command, length, session, status, sender context, options (always 0)."
_COMMANDS = frozenset((0x04, 0x63, 0x64, 0x65, 0x66, 0x6F, 0x70))
"List services, identity, interfaces; register, unregister session; send data with or without a connection."
_REGISTER = 0x65
_REGISTER_BYTES = 4
_MAX_LENGTH = 65_511
_MAX_STATUS = 0x69


def _is_message(data: bytes) -> Fit:
    if len(data) < _HEADER.size:
        return None if len(data) < 2 or data[1] == 0 else False
    command, length, _, status, _, options = _HEADER.unpack_from(data)
    return (
        command in _COMMANDS
        and length <= _MAX_LENGTH
        and status <= _MAX_STATUS
        and not options
        and (command != _REGISTER or length == _REGISTER_BYTES)
    )


class Enip(Exchange):
    """Finds a reply with the request's command and context."""

    name: ClassVar[str] = "enip"
    protocols: ClassVar[tuple[str, ...]] = ("enip",)
    misses: ClassVar[str] = "EtherNet/IP over UDP or inside TLS."
    client_begins: ClassVar[bytes] = bytes(sorted(_COMMANDS))
    server_begins: ClassVar[bytes] = client_begins
    patience: ClassVar[int] = 2048

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The first message of each side."""
        asked, answered = _is_message(client), _is_message(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            same = client[:2] == server[:2] and client[12:20] == server[12:20]
            return self.confirmed("a reply with the request's command and context") if same else Opinion.NO
        return self.probable("an encapsulation header of EtherNet/IP") if asked else Opinion.MORE
