"""TNS: a descriptor, and an answer of the listener."""

import pytest

from middlebox.detect.oracle import Oracle
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import TNS_DESCRIPTOR, tns


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(tns(1, bytes(300)))], "no", id="no descriptor"),
        pytest.param([CLIENT(tns(6, TNS_DESCRIPTOR))], "no", id="another type"),
        pytest.param([CLIENT(tns(1, TNS_DESCRIPTOR)), SERVER(tns(4, b"(ERR=1)"))], "confirmed", id="refused"),
        pytest.param(
            [CLIENT(tns(1, TNS_DESCRIPTOR)), SERVER(tns(6, bytes(8)))], "probable", id="data is no answer to CONNECT"
        ),
        pytest.param(
            [CLIENT(tns(1, TNS_DESCRIPTOR)[:2] + b"\x12\x34" + tns(1, TNS_DESCRIPTOR)[4:])],
            "no",
            id="a checksum, which nobody sends",
        ),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Oracle, messages) == expected
