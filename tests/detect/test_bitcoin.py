"""Bitcoin: one magic, known commands."""

import pytest

from middlebox.detect.bitcoin import Bitcoin
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import bitcoin


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(bitcoin(b"version")), SERVER(bitcoin(b"version", b"\x0b\x11\x09\x07"))],
            "probable",
            id="another network",
        ),
        pytest.param([CLIENT(bitcoin(b"frobnicate"))], "no", id="a command that does not exist"),
        pytest.param(
            [CLIENT(bitcoin(b"version").replace(b"version\x00", b"version!"))], "no", id="no zeros after the command"
        ),
        pytest.param([CLIENT(b"\xf9\xbe\xb4\xda" + bytes(30))], "no", id="another magic"),
        pytest.param([CLIENT(b"\xf9\xbe\xb4")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Bitcoin, messages) == expected
