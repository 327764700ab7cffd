"""XMPP: the namespace of streams."""

import pytest

from middlebox.detect.xmpp import Xmpp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome

OPEN = b"<stream:stream to='x' xmlns:stream='http://etherx.jabber.org/streams'>"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(b"<?xml version='1.0'?><stream:stream xmlns='urn:other'>" + b" " * 1200)],
            "no",
            id="another namespace",
        ),
        pytest.param([CLIENT(b"<?xml version='1.0'?><soap:Envelope>" + b" " * 1200)], "no", id="SOAP"),
        pytest.param([CLIENT(b"<html>")], "no", id="HTML"),
        pytest.param([CLIENT(b"<?xml version='1.0'?><str")], "more", id="cut short"),
        pytest.param([CLIENT(OPEN), SERVER(b"<html>")], "probable", id="a web server answers"),
        pytest.param(
            [CLIENT(OPEN), SERVER(b"<?xml version='1.0'?>" + OPEN)], "confirmed", id="XML declarations may be left out"
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Xmpp, messages) == expected
