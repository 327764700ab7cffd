"""SSDP: first lines that only it has, and those of HTTP."""

import pytest

from middlebox.detect.ssdp import Ssdp
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, datagrams
from tests.detect.samples_ordinary_udp import SSDP_NOTIFY, SSDP_RESPONSE


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("a response of HTTP", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("an error", SSDP_RESPONSE.replace(b"200 OK", b"404 No")),
        ("a notification of SIP", b"NOTIFY sip:a@example.org SIP/2.0\r\n\r\n"),
        ("no field of its own", SSDP_NOTIFY.replace(b"NT:", b"XT:").replace(b"USN:", b"XSN:")),
        ("an older version", SSDP_NOTIFY.replace(b"HTTP/1.1", b"HTTP/0.9")),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Ssdp(), [CLIENT(first)])) == [Opinion.NO], why
