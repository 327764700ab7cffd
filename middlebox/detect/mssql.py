"""Microsoft SQL Server's TDS: pre-login packets both ways, or a login and its answer ([MS-TDS] 2.2.3.1, 2.2.6.5).

The one rule: the table of options in both pre-login packets must be well formed. TLS after it keeps this name.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit, begins_with
from middlebox.evidence import Answer, Opinion

_PRE_LOGIN, _LOGIN_7, _RESPONSE, _BATCH, _RPC = 0x12, 0x10, 0x04, 0x01, 0x03
"Packet types ([MS-TDS] 2.2.3.1.1)."
_HEADER_BYTES = 8
"Type, status, length (2), process (2), packet number, window ([MS-TDS] 2.2.3.1)."
_END = 0x01
"Status: last packet of a message."
_OPTION_BYTES = 5
"Token, offset (2), length (2) ([MS-TDS] 2.2.6.5)."
_TERMINATOR = 0xFF
_MAX_OPTIONS = 12
_LOGIN_VERSION = range(0x70, 0x75)
"Last byte of the version in a login: TDS 7.0 to 7.4 ([MS-TDS] 2.2.6.4). It follows a length."
_LOGIN_VERSION_AT = 15
_ALL_HEADERS = b"\x16\x00\x00\x00\x12\x00\x00\x00\x02\x00"
"How queries begin since TDS 7.2: one header of 18 bytes, the transaction ([MS-TDS] 2.2.5.3)."
_ANSWER_TOKENS = b"\xaa\xab\xad\xe3\xed\x81\xd1\xd3\xfd\xfe\xff"
"Error, info, login acknowledgement, environment, SSPI, columns, rows, done ([MS-TDS] 2.2.4)."


def _is_header(data: bytes, kinds: tuple[int, ...]) -> Fit:
    """Whether a packet header of one of these kinds begins the data."""
    if data and data[0] not in kinds:
        return False
    if len(data) < _HEADER_BYTES:
        return None
    return data[1] & ~0x1F == 0 and int.from_bytes(data[2:4]) > _HEADER_BYTES and data[7] == 0


def _is_pre_login(data: bytes) -> Fit:
    """Whether the options' table after the header is well formed; it begins with the version."""
    length = int.from_bytes(data[2:4]) - _HEADER_BYTES
    at = _HEADER_BYTES
    for number in range(_MAX_OPTIONS):
        if len(data) <= at:
            return None
        if data[at] == _TERMINATOR:
            return number > 0
        option = data[at : at + _OPTION_BYTES]
        if option[0] != number and (number == 0 or option[0] > _MAX_OPTIONS):
            return False
        if len(option) < _OPTION_BYTES:
            return None
        if int.from_bytes(option[1:3]) + int.from_bytes(option[3:5]) > length:
            return False
        at += _OPTION_BYTES
    return False


class Mssql(Exchange):
    """Finds pre-login packets both ways, or a login and a response."""

    name: ClassVar[str] = "mssql"
    protocols: ClassVar[tuple[str, ...]] = ("mssql",)
    misses: ClassVar[str] = "TDS 8 inside TLS, and TDS 4.2 and 5 of Sybase."
    client_begins: ClassVar[bytes] = bytes((_PRE_LOGIN, _LOGIN_7, _BATCH, _RPC))
    server_begins: ClassVar[bytes] = bytes((_RESPONSE,))

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The client's packet, and a response."""
        asked = _is_header(client, (_PRE_LOGIN, _LOGIN_7, _BATCH, _RPC))
        answered = _is_header(server, (_RESPONSE,))
        if asked is False or answered is False:
            return Opinion.NO
        if asked and client[0] == _PRE_LOGIN:
            asked = _is_pre_login(client)
            answered = _is_pre_login(server) if answered else answered
            return self.weigh(
                asked,
                answered,
                question="a pre-login packet",
                answer="",
                link="a pre-login packet answers the client's",
            )
        asked = asked and self._is_request(client)
        if answered:
            answered = None if len(server) <= _HEADER_BYTES else server[_HEADER_BYTES] in _ANSWER_TOKENS
        if asked is False or answered is False:
            return Opinion.NO
        if asked and answered:
            return self.confirmed("a response to a packet of the client")
        return self.probable("a login or a query") if asked else Opinion.MORE

    @staticmethod
    def _is_request(client: bytes) -> Fit:
        if client[0] != _LOGIN_7:
            return begins_with(client[_HEADER_BYTES:], _ALL_HEADERS)
        return None if len(client) <= _LOGIN_VERSION_AT else client[_LOGIN_VERSION_AT] in _LOGIN_VERSION
