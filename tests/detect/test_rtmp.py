"""RTMP: sizes alone prove nothing."""

import pytest

from middlebox.detect.rtmp import Rtmp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import RTMP_ANSWER, RTMP_HELLO


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(RTMP_HELLO), SERVER(RTMP_ANSWER[:-1])], "more", id="the echo is cut short"),
        pytest.param(
            [CLIENT(RTMP_HELLO), SERVER(RTMP_ANSWER[:-1] + b"?")], "more", id="the echo is wrong in its last byte"
        ),
        pytest.param(
            [CLIENT(RTMP_HELLO + bytes(1536) + b"\x03" + bytes(40)), SERVER(RTMP_ANSWER[:1537])],
            "no",
            id="no connect after the handshake",
        ),
        pytest.param([CLIENT(b"\x03\x00\x00\x16\x11\xe0" + bytes(16))], "no", id="TPKT"),
        pytest.param([CLIENT(RTMP_HELLO[:700]), SERVER(b"\x03")], "no", id="a server that does not wait"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Rtmp, messages) == expected
