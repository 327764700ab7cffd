"""Requests and answers over datagrams: who must say what, what is told once, and when it ends."""

from typing import ClassVar

from middlebox.detect.datagram_exchange import DatagramExchange, Seen
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams


class Toy(DatagramExchange):
    """`?n` asks, `!n` answers, `-` says nothing by itself."""

    name: ClassVar[str] = "toy"
    protocols: ClassVar[tuple[str, ...]] = ("ntp",)
    client_begins: ClassVar[bytes] = b"?!-"
    repeats: ClassVar[str] = "number"

    def read(self, message: bytes) -> Seen | None:
        """See the class."""
        kinds = {
            b"?": Seen("a question", asks=message[1:]),
            b"!": Seen("an answer", answers=message[1:]),
            b"-": Seen("a dash", asks=message[1:], confidence=None),
        }
        return kinds.get(message[:1]) if len(message) == 2 else None


def answers(*messages: tuple[bool, bytes]) -> list[object]:
    return [answer.reason if isinstance(answer, Evidence) else answer for answer in datagrams(Toy(), messages)]


LINKED = "an answer answers a request of the other side and repeats its number"


def test_an_answer_links_from_either_side() -> None:
    assert answers(CLIENT(b"?1"), SERVER(b"!1")) == ["a question, well-formed", LINKED]
    assert answers(SERVER(b"?1"), CLIENT(b"!1")) == ["a question, well-formed", LINKED]
    assert answers(CLIENT(b"?1"), CLIENT(b"?2"), SERVER(b"!1"))[-1] == LINKED


def test_what_does_not_fit_links_nothing() -> None:
    assert answers(CLIENT(b"?1"), SERVER(b"!2"))[1:] == [Opinion.MORE]
    assert answers(CLIENT(b"?1"), CLIENT(b"!1"))[1:] == [Opinion.MORE]
    assert answers(SERVER(b"!1"), CLIENT(b"?1"))[1:] == [Opinion.MORE]


def test_a_form_that_others_have_is_only_remembered() -> None:
    assert answers(CLIENT(b"-1"), SERVER(b"!1")) == [Opinion.MORE, LINKED]


def test_other_messages_end_it_at_once_or_after_a_few() -> None:
    assert answers(CLIENT(b"x1")) == [Opinion.NO]
    assert answers(CLIENT(b"?12")) == [Opinion.NO]
    assert answers(CLIENT(b"?1"), *[SERVER(b"x1")] * 9)[1:] == [Opinion.MORE] * 3 + [Opinion.NO]


def test_questions_without_an_answer_end_it() -> None:
    assert answers(*[CLIENT(b"?1")] * 9)[1:] == [Opinion.MORE] * 5 + [Opinion.NO]


def test_nothing_more_is_promised_where_nothing_can_be_confirmed() -> None:
    class OneWay(Toy):
        reaches: ClassVar[Confidence] = Confidence.PROBABLE

    evidence = next(datagrams(OneWay(), [CLIENT(b"?1")]))
    assert isinstance(evidence, Evidence)
    assert not evidence.more
