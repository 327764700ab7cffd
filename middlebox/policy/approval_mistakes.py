"""What can be wrong with an approval although each of its values is right.

Rule of this file: an approval that could cover nothing, or more than its author means, is a mistake.
"""

from collections.abc import Iterator, Mapping

from middlebox.detect import DETECTORS
from middlebox.policy.problem import quoted
from middlebox.protocols import CATEGORY_OF

KEY_FIELDS = ("tls_auth_key", "tls_crypt_key", "tls_crypt_v2_key")
"Fields that name a file with an OpenVPN key."

_PROOFS = ("public_key", *KEY_FIELDS, "server_name", "server")
_TLS = "tls"
_INSIDE_TLS = frozenset(
    name
    for detector in DETECTORS
    if detector.name in (_TLS, "quic") or not {_TLS, "quic"}.isdisjoint(detector.builds_on)
    for name in detector.protocols
)
"Protocols whose flows may show the server name of a TLS client."


def approval_mistakes(item: Mapping[str, object]) -> Iterator[tuple[str | None, str]]:
    """Each mistake, with the field it is about; None: the approval as a whole."""
    named = item.get("protocol")
    protocol = named if isinstance(named, str) else ""
    if not any(field in item for field in (*_PROOFS, "certificate")):
        yield None, f"this approval {_nothing(protocol)}; it would approve nothing or everything"
    if "public_key" in item and protocol in CATEGORY_OF and protocol != "wireguard":
        yield "public_key", _wrong_protocol("public_key", "wireguard", protocol)
    for field in KEY_FIELDS:
        if field in item and protocol in CATEGORY_OF and protocol != "openvpn":
            yield field, _wrong_protocol(field, "openvpn", protocol)
    first, *others = [field for field in KEY_FIELDS if field in item] or [""]
    for field in others:
        yield field, f"this approval has {quoted(first)} already, and a tunnel uses one of them; write two approvals"
    if "server_name" in item:
        if protocol in CATEGORY_OF and protocol not in _INSIDE_TLS:
            yield "server_name", _wrong_protocol("server_name", "VPNs inside TLS", protocol)
        if "certificate" not in item and "server" not in item:
            message = 'anybody can ask for a server name; add "certificate", "server" or both'
            yield "server_name", message
    elif "certificate" in item:
        yield "certificate", '"certificate" goes together with "server_name"; add it'


def _nothing(protocol: str) -> str:
    if protocol == "openvpn":
        return 'has none of "tls_auth_key", "tls_crypt_key", "tls_crypt_v2_key" and "server"'
    if protocol in _INSIDE_TLS:
        return 'has neither "server_name" nor "server"'
    return 'has neither "public_key" nor "server"' if protocol == "wireguard" else 'has no "server"'


def _wrong_protocol(field: str, right: str, protocol: str) -> str:
    return f'{quoted(field)} is for {right}, and this approval is for {quoted(protocol)}; write "server"'
