"""What a tunnel carries, by its first bytes."""

import pytest

from middlebox.detect.inner import name_of


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "tls"),
        (b"\x16\x03\x01\x52\x00\x01", None),
        (b"SSH-2.0-x\r\n", "ssh"),
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"GETAWAY", None),
        (b"HTTP/1.1 200 OK\r\n", "http"),
        (b"\x05\x01\x00", "socks5"),
        (b"\x05\x01\x00\x05", None),
        (b"RFB 003.008\n", None),
        (b"", None),
    ],
)
def test_only_plain_beginnings_have_a_name(data: bytes, name: str | None) -> None:
    assert name_of(data) == name
