"""AMQP: versions, and what answers."""

import pytest

from middlebox.detect.amqp import Amqp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(b"AMQP\x00\x00\x09\x01"), SERVER(b"AMQP\x00\x00\x09\x01")],
            "confirmed",
            id="the server wants another version",
        ),
        pytest.param([CLIENT(b"AMQP\x07\x07\x07\x07")], "no", id="a version that does not exist"),
        pytest.param(
            [CLIENT(b"AMQP\x00\x00\x09\x01"), SERVER(b"\x01\x00\x00\x00\x00\x01\xbe\x00\x0a\x00\x0b")],
            "probable",
            id="another method",
        ),
        pytest.param([CLIENT(b"AMQP\x00\x00\x09\x01"), SERVER(b"\x01\x00\x01")], "probable", id="another channel"),
        pytest.param([CLIENT(b"AMQX")], "no", id="another name"),
        pytest.param([CLIENT(b"AMQP\x00")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Amqp, messages) == expected
