"""Key files that a policy names: text to key, or everything that is wrong with it.

One rule: nothing of a key file's content stands in a message. A wrong file may be somebody's private key.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from middlebox.policy.openvpn_keys import SERVER_KEY_BYTES, STATIC_KEY_BYTES
from middlebox.policy.problem import Problem
from middlebox.policy.yaml_positions import Place

OTHERS_MAY_USE = 0o007
"Permission bits of everybody who is neither owner nor in the group (chmod(1))."


@dataclass(slots=True, frozen=True)
class _Kind:
    """A kind of key file."""

    label: str
    "What stands after BEGIN."
    size: int
    is_hex: bool
    made_by: str
    "The command that makes one."


_STATIC = _Kind("OpenVPN Static key V1", STATIC_KEY_BYTES, True, "openvpn --genkey secret FILE")
_SERVER = _Kind("OpenVPN tls-crypt-v2 server key", SERVER_KEY_BYTES, False, "openvpn --genkey tls-crypt-v2-server FILE")
KINDS: Mapping[str, _Kind] = {"tls_auth_key": _STATIC, "tls_crypt_key": _STATIC, "tls_crypt_v2_key": _SERVER}
"By the field of an approval that names the file."

_FOUND = {
    _STATIC.label: "an OpenVPN static key",
    _SERVER.label: "the tls-crypt-v2 server key",
    "OpenVPN tls-crypt-v2 client key": "the tls-crypt-v2 key of one client",
    "CERTIFICATE": "a certificate",
}
_USES = {
    _STATIC.label: '; "tls_auth_key" and "tls_crypt_key" take it',
    _SERVER.label: '; "tls_crypt_v2_key" takes it',
}
_BEGIN = re.compile(r"-----BEGIN ([A-Za-z0-9 -]{1,60})-----")
_HEX = re.compile(r"[0-9A-Fa-f]*")
_BASE64 = re.compile(r"[0-9A-Za-z+/=]*")
_WIREGUARD = re.compile(r"\s*[A-Za-z0-9+/]{43}=\s*|(?s:.*)\bPrivateKey\s*=(?s:.*)")
"A bare key as `wg genkey` prints it, or a configuration."


def read_key(content: bytes, file: str, field: str) -> bytes | Problem:
    """The key in a file that `field` of an approval names, or what is wrong with the file."""
    kind = KINDS[field]
    expected = f"expected -----BEGIN {kind.label}----- ({kind.made_by})"
    lines = content.decode("latin-1").splitlines()
    begins = [(number, match[1]) for number, line in enumerate(lines) if (match := _BEGIN.search(line))]
    if not begins:
        found = "no key"
        if not content.strip():
            found = "an empty file"
        elif _WIREGUARD.fullmatch(content.decode("latin-1")):
            found = "a WireGuard key, perhaps the private one (then delete this copy)"
        return Place(file, 1, 1).error(f"found {found}, {expected}")
    mine = [number for number, label in begins if label == kind.label]
    if not mine:
        number, label = begins[0]
        found = _FOUND.get(label, "a private key" if "PRIVATE KEY" in label else "another kind of file")
        return Place(file, number + 1, 1).error(f"found {found}, {expected}{_USES.get(label, '')}")
    if len(mine) > 1:
        first = mine[0] + 1
        return Place(file, mine[1] + 1, 1).error(f"found a second key, expected one; the first is in line {first}")
    return _read_body(lines, mine[0], file, kind)


def _read_body(lines: list[str], begin: int, file: str, kind: _Kind) -> bytes | Problem:
    """The key between the line `begin`, counted from 0, and its end."""
    end_line = f"-----END {kind.label}-----"
    allowed, name = (_HEX, "hexadecimal") if kind.is_hex else (_BASE64, "base64")
    body: list[str] = []
    for number, line in enumerate(lines[begin + 1 :], start=begin + 2):
        text = line.strip()
        if text == end_line:
            break
        good = allowed.match(text)
        if good is not None and good.end() < len(text):
            column = line.index(text) + good.end() + 1
            return Place(file, number, column).error(f"found a character that is not {name}, expected a key in {name}")
        body.append(text)
    else:
        return Place(file, len(lines), 1).error(f"found the end of the file, expected {end_line}")
    whole = "".join(body)
    try:
        key = bytes.fromhex(whole) if kind.is_hex else base64.b64decode(whole, validate=True)
    except (ValueError, binascii.Error):
        return Place(file, begin + 2, 1).error(f"found {len(whole)} characters that are not whole {name}")
    if len(key) != kind.size:
        return Place(file, begin + 2, 1).error(f"found a key of {len(key)} bytes, expected {kind.size}: {kind.made_by}")
    return key
