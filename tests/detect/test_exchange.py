"""What detectors of ordinary protocols share: dismissal by the first byte, roles, patience, and no repetition."""

from typing import ClassVar

import pytest

from middlebox.detect.base import UDP
from middlebox.detect.exchange import Exchange, begins_with, both
from middlebox.evidence import Answer, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, stream
from tests.detect.exchanges import is_settled, outcome


class Toy(Exchange):
    """`?` and any letters from the client, `!` and any letters from the server."""

    name: ClassVar[str] = "toy"
    protocols: ClassVar[tuple[str, ...]] = ("telnet",)
    client_begins: ClassVar[bytes] = b"?"
    server_begins: ClassVar[bytes] = b"!"
    patience: ClassVar[int] = 100

    def judge(self, client: bytes, server: bytes) -> Answer:
        return self.weigh(
            begins_with(client, b"?question"), begins_with(server, b"!answer"), question="q", answer="a", link="both"
        )


QUESTION, ANSWER = b"?question", b"!answer"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(QUESTION), SERVER(ANSWER)], "confirmed", id="both"),
        pytest.param([SERVER(ANSWER), CLIENT(QUESTION)], "confirmed", id="the server first"),
        pytest.param([CLIENT(QUESTION)], "probable", id="one side"),
        pytest.param([CLIENT(b"?ques")], "more", id="cut short"),
        pytest.param([CLIENT(b"x?question")], "no", id="another first byte"),
        pytest.param([SERVER(b"x!answer")], "no", id="another first byte of the server"),
        pytest.param([CLIENT(ANSWER), SERVER(QUESTION)], "no", id="roles exchanged"),
    ],
)
@pytest.mark.parametrize("segment", [1, 1460])
def test_question_and_answer(messages: list[Message], expected: str, segment: int) -> None:
    assert outcome(Toy, messages, segment=segment) == expected


def test_a_flow_joined_mid_way_may_have_its_roles_exchanged() -> None:
    messages = [CLIENT(ANSWER), SERVER(QUESTION)]
    assert outcome(Toy, messages, midstream=True) == "confirmed"
    assert outcome(Toy, [CLIENT(b"x")], midstream=True) == "no"


def test_foreign_bytes_are_dismissed_without_a_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "judge", lambda *_: pytest.fail("judged"))
    for message in (CLIENT(b"\x16\x03\x01"), SERVER(b"220 ready")):
        assert outcome(Toy, [message]) == "no"
        assert outcome(Toy, [message], midstream=True) == "no"


def test_patience_ends_with_the_same_evidence_and_without_telling_it_twice() -> None:
    answers = list(stream(Toy(), [CLIENT(QUESTION + b"x" * 200)], segment=10))
    assert [type(answer) for answer in answers if answer is not Opinion.MORE] == [Evidence, Opinion]
    assert answers[-1] is Opinion.NO
    assert is_settled(Toy, [CLIENT(QUESTION + b"x" * 200)])
    assert not is_settled(Toy, [CLIENT(QUESTION + b"x" * 20)])


@pytest.mark.parametrize("messages", [[CLIENT(QUESTION), SERVER(ANSWER)], [SERVER(ANSWER), CLIENT(QUESTION)],
                                      [CLIENT(ANSWER), SERVER(QUESTION)]])  # fmt: skip
def test_datagrams_are_judged_in_either_role(messages: list[Message]) -> None:
    assert outcome(Toy, messages, transport=UDP) == "confirmed"


def test_the_newest_datagram_of_each_side_counts() -> None:
    assert outcome(Toy, [CLIENT(b"?quest"), CLIENT(QUESTION), SERVER(ANSWER)], transport=UDP) == "confirmed"


def test_datagrams_without_an_answer_end_soon() -> None:
    answers = list(datagrams(Toy(), [CLIENT(QUESTION)] * 20))
    assert answers[-1] is Opinion.NO
    assert len(answers) < 10


def test_fits_are_three_valued() -> None:
    assert [both(True, True), both(True, None), both(None, None), both(None, False)] == [True, None, None, False]
    assert [begins_with(data, b"ab") for data in (b"", b"a", b"ab", b"abc", b"b")] == [None, None, True, True, False]
