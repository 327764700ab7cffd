"""Memcached: answers that fit the command."""

import pytest

from middlebox.detect.memcached import Memcached
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"get key\r\n"), SERVER(b"STORED\r\n")], "no", id="the answer to another command"),
        pytest.param([CLIENT(b"get key\r\n"), SERVER(b"VALUE key 0 5\r\n")], "confirmed", id="found"),
        pytest.param([CLIENT(b"get key\r\n"), SERVER(b"$-1\r\n")], "no", id="Redis"),
        pytest.param([CLIENT(b"version\r\n"), SERVER(b"VERSION 1.6\r\n")], "confirmed", id="version"),
        pytest.param([CLIENT(b"stats\r\n"), SERVER(b"HTTP/1.1 400 Bad Request\r\n")], "no", id="an HTTP server"),
        pytest.param(
            [
                CLIENT(b"\x80\x0b" + bytes(10) + b"opaq" + bytes(8)),
                SERVER(b"\x81\x0b" + bytes(10) + b"quap" + bytes(8)),
            ],
            "no",
            id="another opaque value",
        ),
        pytest.param(
            [CLIENT(b"\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10" + bytes(60))], "no", id="a hello of SSL 2"
        ),
        pytest.param(
            [CLIENT(b"\x80\x01\x00\x01\x00\x00\x00\x04ping" + bytes(13)), SERVER(b"\x80\x01\x00\x02" + bytes(20))],
            "no",
            id="Thrift",
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Memcached, messages) == expected
