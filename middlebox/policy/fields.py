"""Every field that a condition may name, with its kind: the one list that `load` checks and docs print.

Fields of the flow itself stand here. Facts that detectors report are added from what each detector
declares, so a misspelled fact can never become a rule that silently does not match.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

from middlebox.detect.base import Detector
from middlebox.policy.rule import Operator


class Kind(Enum):
    """The type of a field's value, which decides what may stand in a condition."""

    ADDRESS = "an IP address or network"
    PORT = "a port number from 0 to 65535"
    COUNTRY = "a country of two letters (ISO 3166), by the policy's `geoip`"
    ASN = "the number of an autonomous system, by the policy's `geoip`"
    TRANSPORT = "a transport: TCP, UDP, ICMP, IPV6-ICMP, ESP, AH, GRE"
    PROTOCOL = "a protocol name (see `middlebox protocols`)"
    CATEGORY = "a category of protocols"
    CONFIDENCE = "possible, probable or confirmed"
    APPROVED = "true, false or the name of an approval"
    TEXT = "a text"
    FACT = "a text or a number"
    CLIENT = "the name of a client group of this policy"
    COUNT = "a whole number, or a size such as 10MB"
    DETECTOR = "the name of a detector that gave evidence"
    HOST_SCORE = "what was seen of the server before: {protocol: ..., confidence: ..., flows: K, of: M}"


OPERATORS: Mapping[Kind, tuple[Operator, ...]] = {
    Kind.ADDRESS: (Operator.CIDR,),
    Kind.PORT: (Operator.IN,),
    Kind.COUNTRY: (Operator.IN,),
    Kind.ASN: (Operator.IN,),
    Kind.TRANSPORT: (Operator.IN,),
    Kind.PROTOCOL: (Operator.IN,),
    Kind.CATEGORY: (Operator.IN,),
    Kind.CONFIDENCE: (Operator.AT_LEAST,),
    Kind.APPROVED: (Operator.IN,),
    Kind.TEXT: (Operator.IN, Operator.DOMAIN, Operator.ENDSWITH, Operator.STARTSWITH, Operator.CONTAINS),
    Kind.FACT: (Operator.IN, Operator.DOMAIN, Operator.ENDSWITH, Operator.STARTSWITH, Operator.CONTAINS),
    Kind.CLIENT: (Operator.IN,),
    Kind.COUNT: (Operator.AT_LEAST, Operator.BELOW),
    Kind.DETECTOR: (Operator.IN,),
    Kind.HOST_SCORE: (Operator.IN,),
}
"Allowed operators by kind; the first is what a field without `|` means."

SERVER_NAME_FACTS = ("tls.sni", "quic.sni", "http.hostname")
"The facts behind `server_name`: whichever of them the flow shows."

COUNT_FIELDS: Mapping[str, str] = {
    "flow.pkts_toserver": "packets_to_server",
    "flow.pkts_toclient": "packets_to_client",
    "flow.bytes_toserver": "bytes_to_server",
    "flow.bytes_toclient": "bytes_to_client",
}
"What was counted of a flow so far, and the flow's attribute for it. Bytes are those of IP packets."

_JUDGED_FIELDS: Mapping[str, Kind] = {
    "protocol": Kind.PROTOCOL,
    "category": Kind.CATEGORY,
    "confidence": Kind.CONFIDENCE,
    "approved": Kind.APPROVED,
}
"Events have these in their object `middlebox`; both spellings mean the same."

FLOW_FIELDS: Mapping[str, Kind] = {
    "src_ip": Kind.ADDRESS,
    "src_port": Kind.PORT,
    "dest_ip": Kind.ADDRESS,
    "dest_port": Kind.PORT,
    "src_country": Kind.COUNTRY,
    "dest_country": Kind.COUNTRY,
    "src_asn": Kind.ASN,
    "dest_asn": Kind.ASN,
    "proto": Kind.TRANSPORT,
    "app_proto": Kind.PROTOCOL,
    **_JUDGED_FIELDS,
    "server_name": Kind.TEXT,
    "client": Kind.CLIENT,
    "detector": Kind.DETECTOR,
    "host_score": Kind.HOST_SCORE,
    **dict.fromkeys(COUNT_FIELDS, Kind.COUNT),
    **{f"middlebox.{name}": kind for name, kind in _JUDGED_FIELDS.items()},
}
"Fields that do not come from one detector's facts."


def known_fields(detectors: Iterable[type[Detector]]) -> dict[str, Kind]:
    """All fields a condition may name, given the detectors in use."""
    facts = {fact: Kind.FACT for detector in detectors for fact in detector.facts}
    return {**FLOW_FIELDS, **facts}
