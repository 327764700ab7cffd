"""Rsync: both version lines."""

import pytest

from middlebox.detect.rsync import Rsync
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(b"@RSYNCD: 30.0\n"), SERVER(b"@RSYNCD: OK\n")], "probable", id="no version from the server"
        ),
        pytest.param([CLIENT(b"@RSYNCD: EXIT\n")], "no", id="no version"),
        pytest.param([CLIENT(b"@RSYNCD: 29\n"), SERVER(b"@RSYNCD: 31.0 md5\n")], "confirmed", id="an old client"),
        pytest.param([CLIENT(b"@RSYNC: 30.0\n")], "no", id="another word"),
        pytest.param([CLIENT(b"@RSYNCD: 3")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Rsync, messages) == expected
