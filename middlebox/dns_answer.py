"""The answer to a DNS query, given in the server's stead: a whole IP packet, ready to be sent to the client.

The rule kept here: only a plain query with one question is answered, and any bytes are either answered or not, without
an exception. What the client sent comes back as it was (id, question, RD), because resolvers compare it byte by byte.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from middlebox.packet import UDP, Packet, decode
from middlebox.policy.rule import DnsAnswer, Rule

TTL_SECONDS = 60
"Ours: short, so that what a rule answered is forgotten soon after the rule is gone (negative answers: see `_SOA`)."
UDP_PAYLOAD_BYTES = 1_232
"What we say that we take (RFC 6891 section 6.2.3; DNS flag day 2020: fits every path without fragments)."
LEAST_UDP_BYTES = 512
"What a client without EDNS takes (RFC 1035 section 4.2.1)."
HOP_LIMIT = 64
"Initial TTL and hop limit (IANA, IP parameters)."

_HEADER = struct.Struct("!HHHHHH")  # RFC 1035 section 4.1.1: id, flags, questions, answers, authorities, additionals
_QR, _OPCODE, _TC, _RD, _RA = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
_NO_ERROR, _NXDOMAIN, _REFUSED = 0, 3, 5
_CD = 0x0010  # RFC 4035 section 3.2.2: copied from the query
_A, _SOA, _AAAA, _OPT, _HTTPS, _ANY = 1, 6, 28, 41, 65, 255
_CLASS_IN = 1
_NAME_OF_THE_QUESTION = 0xC000 | _HEADER.size  # a pointer to the question's name (RFC 1035 section 4.1.4)
_RECORD = struct.Struct("!HHHIH")  # owner as a pointer, type, class, TTL, length of the data
_OPTION_RECORD = struct.Struct("!BHHIH")  # root, OPT, payload size, extended RCODE, version and flags, length
_DNSSEC_OK = 0x8000  # RFC 3225 section 3: copied from the query
_MAX_LABEL, _MAX_NAME = 63, 255  # RFC 1035 section 2.3.4
_IPV4_HINT, _IPV6_HINT = 4, 6  # RFC 9460 section 14.3.2
_NO_NAMES = b"\0\0" + struct.pack("!IIIII", 1, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS, TTL_SECONDS)
"SOA data (RFC 1035 section 3.3.13) with root for both names; its minimum is how long a `no` is kept (RFC 2308)."

_IPV4 = struct.Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1
_IPV6 = struct.Struct("!IHBB16s16s")  # RFC 8200 section 3
_UDP = struct.Struct("!HHHH")  # RFC 768


def answer(raw_query_packet: bytes, rule: Rule) -> bytes | None:
    """The packet that answers this query as the rule's `dns` says, from the server to the client.

    None: this is no plain query with one question, so there is nothing that could be answered.
    """
    packet = decode(raw_query_packet)
    if not isinstance(packet, Packet) or packet.protocol != UDP or rule.dns is None:
        return None
    message = _answer_message(bytes(packet.payload), rule)
    return None if message is None else _datagram_back(packet, message)


def _answer_message(query: bytes, rule: Rule) -> bytes | None:
    if len(query) < _HEADER.size:
        return None
    number, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(query)
    if flags & (_QR | _OPCODE | _TC) or (questions, answers, authorities) != (1, 0, 0) or additionals > 1:
        return None
    name_end = _end_of_name(query)
    if name_end is None or len(query) < name_end + 4:
        return None
    kind, network = struct.unpack_from("!HH", query, name_end)
    question, rest = query[_HEADER.size : name_end + 4], query[name_end + 4 :]
    option, room = b"", LEAST_UDP_BYTES
    if additionals:
        if len(rest) < _OPTION_RECORD.size:
            return None
        root, record, room, extended, _ = _OPTION_RECORD.unpack_from(rest)
        if root or record != _OPT:
            return None  # a signature (TSIG) that we could not give back, or something unheard of
        room = max(room, LEAST_UDP_BYTES)  # RFC 6891 section 6.2.3
        # RFC 6891 section 6.1.1: who is asked with OPT answers with it. Options are not given back (section 6.1.2).
        option = _OPTION_RECORD.pack(0, _OPT, UDP_PAYLOAD_BYTES, extended & _DNSSEC_OK, 0)

    code, records = _NO_ERROR, []
    if rule.dns is DnsAnswer.NXDOMAIN:
        code = _NXDOMAIN
    elif rule.dns is DnsAnswer.REFUSED:
        code = _REFUSED
    elif network == _CLASS_IN:
        records = _records(kind, rule)
    authority = b""
    if not records and code != _REFUSED:  # RFC 2308 section 3: without an SOA, a `no` must not be kept
        authority = _RECORD.pack(_NAME_OF_THE_QUESTION, _SOA, _CLASS_IN, TTL_SECONDS, len(_NO_NAMES)) + _NO_NAMES
    while records and _HEADER.size + len(question) + sum(map(len, records)) + len(option) > room:
        records.pop()  # one address is as good as all of them
    head = _HEADER.pack(
        number, _QR | _RA | flags & (_RD | _CD) | code, 1, len(records), 1 if authority else 0, 1 if option else 0
    )
    return head + question + b"".join(records) + authority + option


def _end_of_name(query: bytes) -> int | None:
    """Where the question's name ends; None for one that is cut off, too long or compressed."""
    at = _HEADER.size
    while at < len(query) and at - _HEADER.size < _MAX_NAME:
        label = query[at]
        if label == 0:
            return at + 1
        if label > _MAX_LABEL:
            return None
        at += 1 + label
    return None


def _records(kind: int, rule: Rule) -> list[bytes]:
    version4 = [address.packed for address in rule.addresses if isinstance(address, IPv4Address)]
    version6 = [address.packed for address in rule.addresses if isinstance(address, IPv6Address)]
    records = []
    if kind in (_A, _ANY):
        records += [_record(_A, packed) for packed in version4]
    if kind in (_AAAA, _ANY):
        records += [_record(_AAAA, packed) for packed in version6]
    if kind == _HTTPS and rule.addresses:
        # RFC 9460 section 2.2: priority 1, the name itself, and the parameters by rising number.
        data = b"\0\1\0"
        for parameter, packed_addresses in ((_IPV4_HINT, version4), (_IPV6_HINT, version6)):
            if hints := b"".join(packed_addresses):
                data += struct.pack("!HH", parameter, len(hints)) + hints
        records.append(_record(_HTTPS, data))
    return records


def _record(kind: int, data: bytes) -> bytes:
    return _RECORD.pack(_NAME_OF_THE_QUESTION, kind, _CLASS_IN, TTL_SECONDS, len(data)) + data


def _datagram_back(packet: Packet, message: bytes) -> bytes:
    """The message in a datagram from where the packet went to where it came from."""
    source, destination = packet.destination, packet.source
    length = _UDP.size + len(message)
    ports = packet.destination_port, packet.source_port
    pseudo_header = source + destination + struct.pack("!II", length, UDP)
    checksum = _checksum(pseudo_header + _UDP.pack(*ports, length, 0) + message)
    datagram = _UDP.pack(*ports, length, checksum or 0xFFFF) + message  # RFC 768: zero would mean `none`
    if len(source) == 16:
        return _IPV6.pack(6 << 28, length, UDP, HOP_LIMIT, source, destination) + datagram
    total = _IPV4.size + length
    header = _IPV4.pack(0x45, 0, total, 0, 0, HOP_LIMIT, UDP, 0, source, destination)
    header = _IPV4.pack(0x45, 0, total, 0, 0, HOP_LIMIT, UDP, _checksum(header), source, destination)
    return header + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
