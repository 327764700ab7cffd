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
}
"Allowed operators by kind; the first is what a field without `|` means."

SERVER_NAME_FACTS = ("tls.sni", "quic.sni", "http.hostname")
"The facts behind `server_name`: whichever of them the flow shows."

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
    "protocol": Kind.PROTOCOL,
    "app_proto": Kind.PROTOCOL,
    "category": Kind.CATEGORY,
    "confidence": Kind.CONFIDENCE,
    "approved": Kind.APPROVED,
    "server_name": Kind.TEXT,
}
"Fields that do not come from one detector's facts."


def known_fields(detectors: Iterable[type[Detector]]) -> dict[str, Kind]:
    """All fields a condition may name, given the detectors in use."""
    facts = {fact: Kind.FACT for detector in detectors for fact in detector.facts}
    return {**FLOW_FIELDS, **facts}
