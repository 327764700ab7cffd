"""Diameter: both identifiers."""

import pytest

from middlebox.detect.diameter import Diameter
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import diameter


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(diameter(0x80)), SERVER(diameter(0, hop=1))], "probable", id="another hop-by-hop identifier"
        ),
        pytest.param([CLIENT(diameter(0x80)), SERVER(diameter(0x80))], "probable", id="two requests"),
        pytest.param([CLIENT(diameter(0x81))], "no", id="a reserved flag"),
        pytest.param(
            [CLIENT(diameter(0x80)[:25] + b"\xff" + diameter(0x80)[26:])], "no", id="an attribute that is too long"
        ),
        pytest.param([CLIENT(diameter(0))], "more", id="an answer alone"),
        pytest.param([CLIENT(b"\x01\x00\x00\x16" + diameter(0x80)[4:])], "no", id="no whole words"),
        pytest.param([SERVER(diameter(0x80)), CLIENT(diameter(0))], "confirmed", id="the server asks"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Diameter, messages) == expected
