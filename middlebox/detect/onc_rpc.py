"""ONC RPC, which NFS, mount and portmap use: a reply with the call's transaction ID (RFC 5531 sections 9 and 11).

The one rule: the call must name RPC version 2, the reply the same transaction.
"""

from struct import Struct
from typing import ClassVar

from middlebox.detect.base import STREAM_LIMIT, TCP, UDP, Conversation
from middlebox.detect.exchange import Exchange
from middlebox.evidence import Answer, Opinion

_CALL_HEADER = Struct("!IIIIIIII")
"Transaction, message type, RPC version, program, program version, procedure, credential's kind and length."
_CALL, _REPLY = 0, 1
_ZEROS = bytes(3)
"Of the message type, which has four bytes."
_RPC_VERSION = 2
_MAX_PROGRAM_VERSION, _MAX_PROCEDURE = 16, 256
"Ours; those of assigned programs are smaller."
_PROGRAMS = range(100_000, 0x6000_0000)
"Assigned (IANA, ONC RPC program numbers), site-defined from 0x20000000, transient from 0x40000000."
_MAX_FLAVOUR, _MAX_CREDENTIAL = 7, 400
"AUTH_NONE to AUTH_TLS (RFC 5531 section 8.1, RFC 9289); opaque_auth's limit (section 8.2)."
_REPLY_HEADER = Struct("!III")
"Transaction, message type, accepted or denied."
_MARK_BYTES = 4
_LAST_FRAGMENT = 0x80
"First bit of a record mark over TCP (section 11)."
_MAX_FRAGMENT = 1 << 23
"Ours: 8 MiB; NFS writes and reads at most 1 MiB in one."


def _is_call(data: bytes) -> bool | None:
    if len(data) < _CALL_HEADER.size:
        return None if data[4:12] == b"\x00\x00\x00\x00\x00\x00\x00\x02"[: max(len(data) - 4, 0)][:8] else False
    _, kind, version, program, program_version, procedure, flavour, length = _CALL_HEADER.unpack_from(data)
    return bool(
        kind == _CALL
        and version == _RPC_VERSION
        and program in _PROGRAMS
        and 1 <= program_version <= _MAX_PROGRAM_VERSION
        and procedure <= _MAX_PROCEDURE
        and flavour <= _MAX_FLAVOUR
        and length <= _MAX_CREDENTIAL
    )


def _is_reply(data: bytes) -> bool | None:
    if len(data) < _REPLY_HEADER.size:
        return None if data[4:8] == b"\x00\x00\x00\x01"[: max(len(data) - 4, 0)] else False
    _, kind, state = _REPLY_HEADER.unpack_from(data)
    return bool(kind == _REPLY and state <= 1)


class OncRpc(Exchange):
    """Finds a call and the reply to it."""

    name: ClassVar[str] = "onc_rpc"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("onc-rpc",)
    misses: ClassVar[str] = "Calls inside TLS, and which program is called."
    patience: ClassVar[int] = STREAM_LIMIT

    def feed(self, talk: Conversation) -> Answer:
        """As others do, after a look at the three zeros that every datagram has."""
        if not talk.client and not talk.server and talk.data[4:7] != _ZEROS:
            return Opinion.NO
        return super().feed(talk)

    def judge(self, client: bytes, server: bytes) -> Answer:
        """Over TCP: behind record marks."""
        for side in (client, server):
            if side and (side[0] != _LAST_FRAGMENT or (len(side) > 1 and side[1] >= _MAX_FRAGMENT >> 16)):
                return Opinion.NO
        return self.judge_datagrams(client[_MARK_BYTES:], server[_MARK_BYTES:])

    def judge_datagrams(self, client: bytes, server: bytes) -> Answer:
        """A call and the reply to that very call."""
        asked, answered = _is_call(client), _is_reply(server)
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            same = client[:4] == server[:4]
            return self.confirmed("a reply to the call's transaction") if same else Opinion.NO
        return self.probable("a call of RPC version 2") if asked else Opinion.MORE
