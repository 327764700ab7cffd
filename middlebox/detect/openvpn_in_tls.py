"""OpenVPN wrapped in TLS (stunnel), recognised by the lengths of the records that hold its handshake.

The one rule: both resets must have lengths that belong together before anything else is looked at. A wrapper puts every
packet of OpenVPN over TCP, which is written at once, into a record of its own, so the records' lengths are the packets'
plus what TLS adds.

Source: "OpenVPN is Open to VPN Fingerprinting" (USENIX Security 2022), section 6.2: acknowledgements betray the tunnel
also inside another one, once the wrapper's own handshake is left out.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.openvpn_patterns import ACK_BYTES, ACKED_RESET_BYTES, RESET_BYTES
from middlebox.detect.tls_records import Record, TlsRecords
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_OVERHEADS = 17, 24, 16
"""What TLS adds to a record: type and tag in TLS 1.3 (RFC 8446 section 5.2); nonce and tag with GCM, tag alone with
ChaCha20-Poly1305 in TLS 1.2 (RFC 5288 section 3, RFC 7905 section 2)."""
_LENGTH_BYTES = 2
"OpenVPN's own, over TCP."
_RESET_LENGTHS = frozenset(overhead + _LENGTH_BYTES + reset for overhead in _OVERHEADS for reset in RESET_BYTES)
_MAX_BEFORE_ANSWER = 3
"Records of the server up to its reset: TLS 1.3 sends up to two session tickets first."
_LONG_BYTES = 200
"A ClientHello makes one record of the client longer than this, certificates one of the server."
_LEAST_ACKS = 3
_MAX_RECORDS = 24
"Data records of both sides, after which no handshake is to come."


class OpenVpnInTls(Detector):
    """Finds the lengths of an OpenVPN handshake among the first data records of a TLS connection."""

    name: ClassVar[str] = "openvpn_in_tls"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn",)
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 16
    builds_on: ClassVar[tuple[str, ...]] = ("tls", "tls-tunnel")
    statistical: ClassVar[bool] = True
    misses: ClassVar[str] = (
        "Wrappers that merge, split or pad what they carry, tls-crypt-v2 inside TLS, and OpenVPN inside SSH."
    )

    def __init__(self) -> None:
        self._records = TlsRecords()

    def feed(self, talk: Conversation) -> Answer:
        """Compare the lengths of the data records so far."""
        records = self._records
        if records.update(talk) and records.data:
            answer = _judge(records.data)
            if answer is not Opinion.MORE:
                return answer
        return Opinion.NO if records.is_full else Opinion.MORE


def _judge(records: list[Record]) -> Answer:
    first = next((at for at, record in enumerate(records) if record.from_client), None)
    if first is None:
        return Opinion.MORE if len(records) <= _MAX_BEFORE_ANSWER else Opinion.NO
    reset = records[first].length
    if reset not in _RESET_LENGTHS:
        return Opinion.NO
    answers = [at for at, record in enumerate(records) if not record.from_client][:_MAX_BEFORE_ANSWER]
    answer = next((at for at in answers if at > first and records[at].length - reset == ACKED_RESET_BYTES), None)
    if answer is None:
        return Opinion.NO if len(answers) == _MAX_BEFORE_ANSWER or len(records) > _MAX_RECORDS else Opinion.MORE
    handshake = records[first + 1 : answer] + records[answer + 1 :]
    acknowledgements = sum(record.length - reset in ACK_BYTES for record in handshake)
    long = {record.from_client for record in handshake if record.length > reset + _LONG_BYTES}
    if acknowledgements >= _LEAST_ACKS and len(long) == 2:
        reason = "records as long as OpenVPN's two resets, its acknowledgements and a handshake inside TLS"
        return Evidence("openvpn", Confidence.PROBABLE, reason)
    return Opinion.MORE if len(records) <= _MAX_RECORDS else Opinion.NO
