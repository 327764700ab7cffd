"""Lengths that the buffers and headers of one proxy leave in a flow of noise: pure functions over sizes.

The one rule: a length counts only where its program would put it, and to the byte.
"""

from collections.abc import Sequence

from middlebox.detect.size_patterns import LARGEST_SEGMENT_BYTES
from middlebox.evidence import Confidence, Evidence

_LONGEST_CHUNK = 0x3FFF
"The longest payload of a Shadowsocks AEAD chunk (SIP004); shadowsocks-libev reads as much at a time without AEAD, too."
_CHUNK_OVERHEAD = 2 + 16 + 16
"Length, its tag, the payload's tag."
_SHADOWSOCKS_WRITES = frozenset(
    {_LONGEST_CHUNK + salt for salt in (0, 8, 12, 16)}
    | {_LONGEST_CHUNK + _CHUNK_OVERHEAD + salt for salt in (0, 16, 24, 32)}
)
"A full chunk, alone or behind the salt or nonce with which a direction begins."
_V2RAY_WRITE, _V2RAY_WRITES_NEEDED = 2_048, 2
"V2Ray moves data in buffers of this size (common/buf/buffer.go), and a VMess chunk fills one."
_VMESS_ANSWER_BYTES = 2 + 16 + 4 + 16
"VMess's answer header: its length and tag, four bytes and a tag. sing-box sends it on its own (sing-vmess)."
_VMESS_REQUESTS = range(16 + 18 + 8 + 38 + 4 + 16, 16 + 18 + 8 + 41 + 256 + 15 + 4 + 16 + 1)
"Authentication, length, nonce, then with a tag: the header's fixed part, an address, padding and a checksum."
_SHADOWSOCKS_HELLO = 517 + _CHUNK_OVERHEAD
"""The ClientHello that most libraries fill up to 517 bytes, in a chunk of its own. sing-box sends the request header of
Shadowsocks 2022 (SIP022) before it, as a packet of its own."""
_SHADOWSOCKS_2022_REQUESTS = range(16 + 27 + 7 + 2 + 16, 32 + 27 + 259 + 2 + 900 + 16 + 1)
"Salt, fixed header with a tag, then with a tag: an address and up to 900 bytes of padding (SIP022 section 3.1.3)."

_SALTS = frozenset({8, 12, 16, 24, 32})
"Nonces and salts of Shadowsocks' stream ciphers and AEAD; pproxy sends them as packets of their own."


def find_proxy_writes(sizes: Sequence[int]) -> Evidence | None:
    """Evidence from what was written at once: packets of one side up to the first that is not a full segment."""
    full = max(map(abs, sizes))
    written, of_v2ray, sign = 0, 0, 0
    for size in sizes:
        written = written + abs(size) if sign == (size > 0) else abs(size)
        sign = size > 0
        if abs(size) == full and full <= LARGEST_SEGMENT_BYTES:
            continue
        if written in _SHADOWSOCKS_WRITES:
            reason = f"noise both ways, and a write of {written} bytes: a full chunk of Shadowsocks"
            return Evidence("shadowsocks", Confidence.PROBABLE, reason)
        of_v2ray += written == _V2RAY_WRITE
        written = 0
    if of_v2ray < _V2RAY_WRITES_NEEDED:
        return None
    reason = f"noise both ways, and {of_v2ray} writes of {_V2RAY_WRITE} bytes: V2Ray's buffers"
    return Evidence("vmess", Confidence.PROBABLE, reason)


def find_proxy_headers(sizes: Sequence[int]) -> Evidence | None:
    """Evidence from the first packets of each side. `sizes` must hold one of the server's."""
    answer = next(-size for size in sizes if size < 0)
    if sizes[0] in _VMESS_REQUESTS and answer == _VMESS_ANSWER_BYTES:
        reason = f"the client begins with {sizes[0]} bytes of noise, the server with {answer}: VMess's answer header"
        return Evidence("vmess", Confidence.PROBABLE, reason)
    if sizes[0] in _SALTS and sizes[1] > 0 and answer == sizes[0]:
        reason = f"each side begins with {answer} bytes of noise on their own, as with Shadowsocks' salts in pproxy"
        return Evidence("shadowsocks", Confidence.PROBABLE, reason)
    if sizes[0] in _SHADOWSOCKS_2022_REQUESTS and sizes[1] == _SHADOWSOCKS_HELLO:
        reason = f"{sizes[0]} bytes of noise, then {sizes[1]}: a ClientHello of 517 in a Shadowsocks chunk"
        return Evidence("shadowsocks", Confidence.PROBABLE, reason)
    return None
