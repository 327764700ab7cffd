"""VNC: twelve bytes, digit by digit."""

import pytest

from middlebox.detect.vnc import Vnc
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([SERVER(b"RFB 003.008\n"), CLIENT(b"RFB 003.003\n")], "confirmed", id="an older client"),
        pytest.param([SERVER(b"RFB 3.8\n"), CLIENT(b"RFB 003.008\n")], "no", id="digits are missing"),
        pytest.param([SERVER(b"RFB 003.008\n"), CLIENT(b"GET / HTTP/1.1\r\n\r\n")], "probable", id="a browser"),
        pytest.param([SERVER(b"RFB 003.00")], "more", id="cut short"),
        pytest.param([SERVER(b"RFB 003.00x")], "no", id="not a digit"),
        pytest.param([SERVER(b"RTSP/1.0 200 OK\r\n")], "no", id="another R"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Vnc, messages) == expected
