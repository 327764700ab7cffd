"""SMB: replies name the request, sessions are granted or refused."""

import pytest

from middlebox.detect.smb import Smb
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import SESSION_REQUEST, smb1, smb2


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(smb2(0, 0)), SERVER(smb2(0, 0))], "probable", id="two requests"),
        pytest.param([CLIENT(smb2(0, 0, 4)), SERVER(smb2(0, 1, 5))], "probable", id="another number"),
        pytest.param([CLIENT(smb1(0x72, 0x18)), SERVER(smb1(0x73, 0x98))], "probable", id="another command"),
        pytest.param([CLIENT(smb2(0x77, 0))], "no", id="a command that does not exist"),
        pytest.param([CLIENT(smb2(0, 0).replace(b"\x40\x00", b"\x41\x00", 1))], "no", id="a header of another size"),
        pytest.param([CLIENT(b"\x00\x00\x00\x10" + smb2(0, 0)[4:])], "no", id="a frame shorter than the header"),
        pytest.param(
            [CLIENT(SESSION_REQUEST), SERVER(b"\x83\x00\x00\x01\x82")], "confirmed", id="the session is refused"
        ),
        pytest.param([CLIENT(SESSION_REQUEST), SERVER(b"\x82\x00\x00\x07")], "probable", id="a grant with contents"),
        pytest.param([CLIENT(SESSION_REQUEST), SERVER(smb2(0, 1))], "probable", id="no answer to the session request"),
        pytest.param([CLIENT(b"\x00\x00\x00\x54\xfeSMX")], "no", id="another mark"),
        pytest.param([CLIENT(smb2(0, 0)[:20])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Smb, messages) == expected


@pytest.mark.parametrize(("reply", "version"), [(smb1(0x72, 0x98), "1"), (smb2(0, 1, 0), "2")])
def test_the_version_is_the_one_that_the_server_chose(reply: bytes, version: str) -> None:
    evidence = last_evidence(stream(Smb(), [CLIENT(smb1(0x72, 0x18)), SERVER(reply)]))
    assert evidence
    assert evidence.facts == {"smb.version": version}
