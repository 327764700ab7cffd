"""Git: lengths in hexadecimal digits."""

import pytest

from middlebox.detect.git import Git
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"0005git-upload-pack /x\x00")], "no", id="a length shorter than its line"),
        pytest.param([CLIENT(b"00zzgit-upload-pack /x\x00")], "no", id="no number"),
        pytest.param(
            [CLIENT(b"0031git-upload-pack /x.git\x00host=git.example.org\x00"), SERVER(b"000eversion 2\n")],
            "confirmed",
            id="protocol 2",
        ),
        pytest.param(
            [CLIENT(b"0031git-upload-pack /x.git\x00host=git.example.org\x00"), SERVER(b"0020ERR no such repository")],
            "confirmed",
            id="an error",
        ),
        pytest.param(
            [CLIENT(b"0031git-upload-pack /x.git\x00host=git.example.org\x00"), SERVER(b"HTTP/1.1 400")],
            "probable",
            id="an HTTP server",
        ),
        pytest.param([CLIENT(b"0031"), SERVER(b"0")], "more", id="cut short"),
        pytest.param([SERVER(b"000eversion 2\n")], "no", id="the answer alone"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Git, messages) == expected
