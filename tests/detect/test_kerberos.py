"""Kerberos: types and versions of both messages."""

import pytest

from middlebox.detect.base import UDP
from middlebox.detect.kerberos import Kerberos
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import ticket_reply, ticket_request, with_long_length


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [CLIENT(ticket_request(10)), SERVER(ticket_reply(13))],
            "probable",
            id="the reply to another kind of request",
        ),
        pytest.param([CLIENT(ticket_request(10)), SERVER(ticket_reply(11))], "confirmed", id="a ticket"),
        pytest.param([CLIENT(ticket_request(10).replace(b"\x02\x01\x05", b"\x02\x01\x04"))], "no", id="version 4"),
        pytest.param(
            [CLIENT(ticket_request(10).replace(b"\x02\x01\x0a", b"\x02\x01\x0c"))], "no", id="tag and type disagree"
        ),
        pytest.param([SERVER(ticket_reply(30))], "probable", id="an error alone"),
        pytest.param([CLIENT(ticket_request(10)[:9])], "more", id="cut short"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Kerberos, messages, transport=UDP) == expected


def test_over_tcp_the_length_in_front_must_fit() -> None:
    request = with_long_length(ticket_request(10))
    assert outcome(Kerberos, [CLIENT(request)]) == "probable"
    assert outcome(Kerberos, [CLIENT(b"\x00\x00\x01\x00" + request[4:])]) == "no"
