"""RDP: other protocols begin with the same units."""

import pytest

from middlebox.detect.rdp import Rdp
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import x224, x224_data


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(x224(0xE0)), SERVER(x224(0xD0))],
            "more",
            id="a request without anything, as S7 and H.323 could send it",
        ),
        pytest.param([CLIENT(x224(0xE0, b"\xc1\x02\x01\x00"))], "no", id="the selectors of S7"),
        pytest.param(
            [CLIENT(x224(0xE0, b"\x01\x00\x08\x00\x03\x00\x00\x00")), SERVER(x224(0xD0))],
            "confirmed",
            id="a server without negotiation",
        ),
        pytest.param(
            [CLIENT(x224(0xE0, b"\x01\x00\x08\x00\x03\x00\x00\x00")), SERVER(x224(0xE0))], "probable", id="two requests"
        ),
        pytest.param(
            [CLIENT(x224(0xE0, b"\x01\x00\x09\x00\x03\x00\x00\x00"))], "no", id="a structure of another length"
        ),
        pytest.param(
            [CLIENT(x224(0xE0, b"Cookie: mstshash=a\r\n")), SERVER(x224(0xD0, b"\x03\x00\x08\x00\x05\x00\x00\x00"))],
            "confirmed",
            id="the negotiation fails",
        ),
        pytest.param(
            [CLIENT(x224(0xE0, b"\x01\x00\x08\x00\x03\x00\x00\x00")[:3] + b"\xff" + x224(0xE0)[4:])],
            "no",
            id="lengths that disagree",
        ),
        pytest.param(
            [CLIENT(x224(0xE0)), SERVER(x224(0xD0)), CLIENT(x224_data(b"\x0d\x20"))],
            "more",
            id="another protocol on ISO transport",
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Rdp, messages) == expected
