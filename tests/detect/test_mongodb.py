"""MongoDB: the reply names the request."""

import pytest

from middlebox.detect.mongodb import Mongodb
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import mongodb


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(mongodb(5, 0)), SERVER(mongodb(99, 6))], "probable", id="the reply to another request"),
        pytest.param([CLIENT(mongodb(5, 5))], "no", id="a request that responds to something"),
        pytest.param([CLIENT(mongodb(5, 0, 2099))], "no", id="an operation that does not exist"),
        pytest.param([CLIENT(b"\x08\x00\x00\x00" + mongodb(5, 0)[4:])], "no", id="shorter than its header"),
        pytest.param([CLIENT(mongodb(5, 0)[:10]), SERVER(mongodb(9, 5))], "no", id="a reply to half a header"),
        pytest.param([CLIENT(mongodb(5, 0xFFFFFFFF)), SERVER(mongodb(9, 5, 2012))], "confirmed", id="compressed"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Mongodb, messages) == expected
