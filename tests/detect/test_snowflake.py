"""Snowflake: the extension that old Pion sent, and a data channel without media."""

from collections.abc import Sequence

from middlebox.detect.snowflake import Snowflake
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_classic_vpn import DTLS_ANSWER, DTLS_HELLO
from tests.detect.samples_covered import PION_ANSWER, dtls_data

RTP = SERVER(b"\x80\x60" + bytes(160))


def answers(*messages: Message) -> Sequence[Answer]:
    return list(datagrams(Snowflake(), messages))


def judge(*messages: Message) -> Evidence | None:
    return last_evidence(answers(*messages))


def exchange(rounds: int) -> list[Message]:
    return [side(dtls_data(number)) for number in range(rounds) for side in (CLIENT, SERVER)]


def test_pion_alone_is_possible() -> None:
    evidence = judge(CLIENT(DTLS_HELLO), SERVER(PION_ANSWER))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.POSSIBLE, True)


def test_pion_and_a_data_channel_are_probable_from_either_side() -> None:
    for asking, answering in ((CLIENT, SERVER), (SERVER, CLIENT)):
        evidence = judge(asking(DTLS_HELLO), answering(PION_ANSWER), *exchange(4))
        assert evidence
        assert (evidence.protocol, evidence.confidence) == ("snowflake", Confidence.PROBABLE)


def test_media_make_it_a_call() -> None:
    conversation = [CLIENT(DTLS_HELLO), SERVER(PION_ANSWER), *exchange(3), RTP, *exchange(4)]
    evidence = judge(*conversation)
    assert evidence
    assert evidence.confidence is Confidence.POSSIBLE
    assert answers(*conversation)[-1] is Opinion.NO


def test_data_one_way_is_not_enough() -> None:
    evidence = judge(CLIENT(DTLS_HELLO), SERVER(PION_ANSWER), *[SERVER(dtls_data(number)) for number in range(40)])
    assert evidence
    assert evidence.confidence is Confidence.POSSIBLE


def test_another_library_is_let_go_at_its_hello() -> None:
    assert answers(CLIENT(DTLS_HELLO), SERVER(DTLS_ANSWER))[-1] is Opinion.NO


def test_a_flow_without_a_server_hello_is_let_go() -> None:
    given = answers(*[CLIENT(DTLS_HELLO)] * 20)
    assert given[-1] is Opinion.NO
    assert len(given) <= 12


def test_a_server_hello_that_is_cut_says_nothing() -> None:
    for end in range(14, len(PION_ANSWER)):
        assert judge(CLIENT(DTLS_HELLO), SERVER(PION_ANSWER[:end])) is None, end
