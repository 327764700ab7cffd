"""S7comm and S7comm-plus, which Siemens controllers speak: X.224 data units whose user data begins with 32 or 72.

The one rule: units both ways, after a connection or in the middle of one. Sources: the captures and dissectors of the
Snap7 and Wireshark projects; Siemens has not published a specification.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange
from middlebox.detect.tpkt import CONNECTION_CONFIRM, CONNECTION_REQUEST, DATA, Unit, read_unit
from middlebox.evidence import Answer, Opinion

_PROTOCOL = (b"\x32", b"\x72")
"First byte of the user data: S7comm, and S7comm-plus of newer controllers."
_KINDS = b"\x01\x02\x03\x07"
"What follows it: job, acknowledgement, acknowledgement with data, user data; for plus its version, 1 to 3."
_TSAP = (b"\xc0", b"\xc1", b"\xc2")
"X.224 section 13.3.4: the parameters that every request carries, the size of units and both selectors."


def _is_s7(unit: Unit | None) -> bool:
    return (
        unit is not None
        and unit.code == DATA
        and unit.variable.startswith(_PROTOCOL)
        and unit.variable[1:2] in _KINDS
        and len(unit.variable) > 1
    )


class S7comm(Exchange):
    """Finds S7comm in X.224 data units of both sides."""

    name: ClassVar[str] = "s7comm"
    protocols: ClassVar[tuple[str, ...]] = ("s7comm",)
    packets_needed: ClassVar[int] = 4
    misses: ClassVar[str] = "S7comm inside TLS, and other protocols on ISO transport (MMS, ICCP, H.323)."
    client_begins: ClassVar[bytes] = b"\x03"
    server_begins: ClassVar[bytes] = b"\x03"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """What each side says after its connection unit, if it began with one."""
        try:
            asked, answered = self._first_data(client), self._first_data(server)
        except ValueError:
            return Opinion.NO
        if (asked and not _is_s7(asked)) or (answered and not _is_s7(answered)):
            return Opinion.NO
        if asked and answered:
            return self.confirmed("S7comm in data units both ways")
        return self.probable("S7comm in a data unit") if asked or answered else Opinion.MORE

    @staticmethod
    def _first_data(data: bytes) -> Unit | None:
        unit = read_unit(data)
        if unit is not None and unit.code in (CONNECTION_REQUEST, CONNECTION_CONFIRM):
            if not unit.variable.startswith(_TSAP):
                raise ValueError
            unit = read_unit(data, unit.end)
        return unit if unit is not None and len(unit.variable) > 1 else None
