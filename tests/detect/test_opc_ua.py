"""OPC UA: types, sizes, channels."""

import pytest

from middlebox.detect.opc_ua import OpcUa
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import OPC_HELLO

MESSAGE = b"MSGF\x18\x00\x00\x00chan" + bytes(12)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(OPC_HELLO), SERVER(b"ERRF\x10\x00\x00\x00\x00\x00\x7d\x80\xff\xff\xff\xff")],
            "confirmed",
            id="refused",
        ),
        pytest.param([CLIENT(MESSAGE), SERVER(MESSAGE.replace(b"chan", b"nach"))], "probable", id="another channel"),
        pytest.param([CLIENT(b"HELX")], "no", id="another chunk type"),
        pytest.param([CLIENT(b"HELF\x04\x00\x00\x00" + bytes(8))], "no", id="smaller than its header"),
        pytest.param([CLIENT(b"HELO a.example.org\r\n")], "no", id="SMTP"),
        pytest.param([CLIENT(b"HE")], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(OpcUa, messages) == expected
