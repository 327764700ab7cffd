"""Modbus: every field, and the link."""

import pytest

from middlebox.detect.modbus import Modbus
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import modbus

ASK = modbus(7, 1, b"\x03\x00\x00\x00\x02")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(ASK), SERVER(modbus(8, 1, b"\x03\x02ab"))], "possible", id="another transaction"),
        pytest.param([CLIENT(ASK), SERVER(modbus(7, 2, b"\x03\x02ab"))], "possible", id="another unit"),
        pytest.param([CLIENT(ASK), SERVER(modbus(7, 1, b"\x04\x02ab"))], "possible", id="another function"),
        pytest.param([CLIENT(modbus(7, 1, b"\x7f\x00"))], "no", id="a function that does not exist"),
        pytest.param([CLIENT(b"\x00\x07\x00\x01\x00\x06\x01\x03")], "no", id="another protocol number"),
        pytest.param([CLIENT(b"\x00\x00\x00\x54\xfeSMB")], "no", id="SMB"),
        pytest.param([CLIENT(bytes(40)), SERVER(bytes(40))], "no", id="zeros"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Modbus, messages) == expected
