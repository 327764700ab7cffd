"""MQTT: name, level and reserved bits."""

import pytest

from middlebox.detect.mqtt import Mqtt
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import MQTT_CONNECT


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00")], "no", id="a level that does not exist"),
        pytest.param([CLIENT(b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00")], "no", id="the reserved flag"),
        pytest.param(
            [CLIENT(b"\x10\x0c\x00\x04MQTT\x84\x02\x00\x3c\x00\x00"), SERVER(b"\x20\x02\x00\x00")],
            "confirmed",
            id="a bridge",
        ),
        pytest.param(
            [CLIENT(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00"), SERVER(b"\x20\x02\x00\x05")],
            "confirmed",
            id="MQTT 3.1, refused",
        ),
        pytest.param([CLIENT(MQTT_CONNECT), SERVER(b"\x20\x02\x00\x30")], "probable", id="a code that does not exist"),
        pytest.param([CLIENT(MQTT_CONNECT), SERVER(b"\x30\x02\x00\x00")], "probable", id="another packet"),
        pytest.param([CLIENT(b"\x10\xff\xff\xff\xff\x01")], "no", id="a length without end"),
        pytest.param([SERVER(b"\x20\x02\x00\x00")], "more", id="CONNACK alone is two small numbers"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Mqtt, messages) == expected
