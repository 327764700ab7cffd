"""RTSP: not HTTP."""

import pytest

from middlebox.detect.rtsp import Rtsp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"GET rtsp://x/ HTTP/1.1\r\n")], "no", id="a request of HTTP"),
        pytest.param([CLIENT(b"OPTIONS * RTSP/1.0\r\n"), SERVER(b"RTSP/1.0 200 OK\r\n")], "confirmed", id="no address"),
        pytest.param(
            [CLIENT(b"OPTIONS * RTSP/1.0\r\n"), SERVER(b"HTTP/1.1 400 Bad Request\r\n")],
            "probable",
            id="an HTTP server",
        ),
        pytest.param([CLIENT(b"OPTIONS sip:a@b SIP/2.0\r\n")], "no", id="SIP"),
        pytest.param([CLIENT(b"PLAY rtsp://x/")], "more", id="cut short"),
        pytest.param([SERVER(b"RTSP/1.0 200 OK\r\n")], "probable", id="the answer alone"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Rtsp, messages) == expected
