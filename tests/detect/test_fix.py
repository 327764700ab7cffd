"""FIX: three fields in order."""

import pytest

from middlebox.detect.fix import Fix
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"8=FIX.4.4\x0135=A\x019=65\x01")], "no", id="another order"),
        pytest.param([CLIENT(b"8=FIX.4.4|9=65|35=A|")], "no", id="another separator"),
        pytest.param([CLIENT(b"8=FIX.4.4\x019=6")], "more", id="cut short"),
        pytest.param([CLIENT(b"800 hello world, this is a line\r\n")], "no", id="text"),
        pytest.param(
            [CLIENT(b"8=FIX.4.4\x019=65\x0135=A\x01"), SERVER(b"HTTP/1.1 400")], "probable", id="an HTTP server"
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Fix, messages) == expected
