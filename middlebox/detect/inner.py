"""What a clear tunnel carries, told by the first bytes that come out of it.

The one rule: only the name of a protocol leaves this file, and only when its first bytes leave no doubt.
"""

import re

TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04][\x00-\x48]")
"Content type, version, and the high byte of a length that is allowed (RFC 8446 section 5.1, RFC 5246 section 6.2.3)."
_HTTP_REQUEST = re.compile(rb"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH|CONNECT|PRI) \S")
_HTTP_RESPONSE = re.compile(rb"HTTP/1\.[01] \d\d\d ")
_SOCKS5_GREETING = re.compile(rb"\x05[\x01-\x03][\x00-\x02]")


def name_of(data: bytes) -> str | None:
    """The protocol that begins with `data`, None when that is not plain."""
    if TLS_RECORD.match(data):
        return "tls"
    if data.startswith(b"SSH-"):
        return "ssh"
    if _HTTP_REQUEST.match(data) or _HTTP_RESPONSE.match(data):
        return "http"
    if _SOCKS5_GREETING.match(data) and len(data) == 2 + data[1]:
        return "socks5"
    return None
