"""TLS inside TLS: which lengths are a handshake's, which only look like it, and what a service's history adds."""

import pytest

from middlebox.detect.tls_in_tls import Service, TlsInTls
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import Message, last_evidence, stream
from tests.detect.covers import data, handshake, handshake12, session
from tests.detect.samples_covered import GRPC, TROJAN, VISION, WEB_SOCKET

ORDINARY = session(98, -3200)
"One request and its answer."
NEAR = session(594, -1800, 111, -255, 230, -3000)
"A Finished with random padding."
MERGED = session(552, -838, 184, -255, -2048)
"A Finished and a request in one record, and a ticket in front of the response."


def judge(messages: tuple[Message, ...], service: Service | None = None, **options: int) -> Evidence | None:
    return last_evidence(stream(TlsInTls(service), messages, **options))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("one request", (98, -3200)),
        ("a small request, a small answer", (98, -400, 98, -400, 98, -400)),
        ("keep-alive with requests of a browser", (517, -2400, 520, -1800, 517, -900)),
        ("a download", (105, *[-16384] * 6)),
        ("an upload", (300, -600, 16384, 16384, -50)),
        ("HTTP/2 whose later requests are short", (64, 88, -31, -9, 357, -1800, 9, 74, -900)),
        ("HTTP/2 that acknowledges settings with its request", (64, 9, 357, -9, -1800, 80, 80, -5000)),
        ("a WebSocket application", (430, -129, 6, 80, -2, -60, 6, 64, -2, -30)),
        ("IMAP", (-52, 24, -40, 64, -80, 80, -1200)),
        ("SMTP with a message", (-40, 20, -120, 60, -30, 34, -14, 6, -37, 9000, -30)),
        ("DNS over TLS", (130, -470, 130, -470, 130, -470, 130, -470)),
        ("a REST interface: the answer is too short for a flight", (600, -200, 80, -200)),
        ("the flight is too long", (594, -9500, 80, -255)),
        ("the hello is too short", (150, -2000, 80, -255)),
        ("the hello is too long", (2700, -2000, 80, -255)),
        ("the server finishes", (-594, 836, -80)),
        ("minimal requests after a POST", (318, -6130, 64, -2203, 64, -1847)),
        ("tickets of the cover are no flight", (167, -281, -281, -148, 64, -255, 105)),
        ("only two of XTLS Vision's lengths", (1381, -4495, 1000, -700)),
    ],
)
def test_ordinary_sessions_are_none(name: str, sizes: tuple[int, ...]) -> None:
    assert judge(session(*sizes)) is None, name
    assert judge(session(*sizes), segment=100) is None, name


@pytest.mark.parametrize("finished", [64, 74, 80])
def test_each_length_of_a_finished_of_tls13_counts(finished: int) -> None:
    for follows in ((98,), (-255, 105), (-574, 105), (-255, -255, 105), (-62, 105), (-255, -2)):
        answers = list(stream(TlsInTls(), session(280, -1800, finished, *follows)))
        evidence = last_evidence(answers)
        assert evidence, follows
        assert (evidence.protocol, evidence.confidence) == ("tls-in-tls", Confidence.PROBABLE)
        assert f"280, 1800 and {finished} bytes" in evidence.reason
        assert last_evidence(answers[:-1]) is None
    for follows in ((), (-255,), (-1400, 105), (-403, 105), (12,), (-40, 105)):
        assert judge(session(280, -1800, finished, *follows)) is None, follows


@pytest.mark.parametrize("finished", [85, 93, 118, 126])
def test_each_length_of_a_finished_of_tls12_counts(finished: int) -> None:
    for follows in ((98,), (-51, 105), (-113, 105), (-242, 105)):
        assert judge(session(180, -1800, finished, *follows)) is not None, follows
    for follows in ((-150, 105), (-400, 105)):
        assert judge(session(180, -1800, finished, *follows)) is None, follows


def test_the_customary_hello_needs_nothing_more() -> None:
    assert judge(session(517, -1800, 80)) is not None
    assert judge(session(516, -1800, 80)) is None


def test_lengths_between_do_not_count_alone() -> None:
    assert judge(NEAR) is None
    for near in (58, 63, 79, 127):
        assert judge(session(280, -1800, near, -255, 105)) is None, near


def test_a_surplus_that_both_messages_share_counts() -> None:
    assert judge(session(517 + 34, -1800, 80 + 34, -290, 140)) is not None
    assert judge(session(517 + 34, -1800, 80 + 30, -290, 140)) is None
    assert judge(session(517 + 61, -1800, 80 + 61, -290, 140)) is None


def test_in_http2_only_a_shared_surplus_counts() -> None:
    assert judge(session(*GRPC)) is not None
    assert judge(session(*(280 if size == 534 else size for size in GRPC))) is None
    streams = (64, 54, -33, -22, 9, -42, 125, -13, -13, -150, 15, -12)
    assert judge(session(*streams, 517 + 43, -13, -13, -780, 80 + 22, -13, -280, 799)) is not None
    assert judge(session(*streams, 517 + 43, -13, -13, -780, 80 + 15, -13, -280, 799)) is None
    assert judge(session(*streams, 517 + 22, -13, -13, -780, 80 + 9, -13, -280, 799)) is None


def test_under_tls12_only_a_shared_surplus_counts() -> None:
    assert judge(handshake12() + data((538, -1800, 85, 120), 24)) is not None
    assert judge(handshake12() + data((300, -1800, 85, 120), 24)) is None


def test_a_long_exchange_before_is_none_of_a_proxy() -> None:
    assert judge(session(188, -129, 280, -1800, 80, -255, 105)) is not None
    assert judge(session(188, -1290, 280, -1800, 80, -255, 105)) is None
    assert judge(session(2100, -129, 280, -1800, 80, -255, 105)) is None


def test_session_tickets_of_the_cover_do_not_disturb() -> None:
    header, hello, *rest = 77, 517, *TROJAN[1:]
    assert judge(session(-57, -57, header + hello, *rest)) is not None
    assert judge(session(header, -57, hello, *rest)) is not None
    assert judge(session(header, hello, -57, *rest)) is not None


def test_a_handshake_behind_too_many_turns_is_not_waited_for() -> None:
    turns = (98, -300) * 6
    assert list(stream(TlsInTls(), session(*turns, *TROJAN)))[-1] is Opinion.NO


def test_a_flow_is_let_go_early() -> None:
    for sizes, packets in (((105, *[-16384] * 6), 13), ((98, -300) * 6, 15)):
        answers = list(stream(TlsInTls(), session(*sizes)))
        assert answers[-1] is Opinion.NO
        assert len(answers) <= packets


def test_padding_of_both_sides_is_vision() -> None:
    evidence = judge(session(*VISION))
    assert evidence
    assert "XTLS Vision" in evidence.reason


def test_a_handshake_in_one_flow_tells_of_the_next_ones() -> None:
    service = Service()
    assert judge(ORDINARY, service) is None
    assert judge(session(*TROJAN), service) is not None
    evidence = judge(ORDINARY, service)
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
    assert evidence.reason == "1 of the last 2 flows to this server carried a TLS handshake inside TLS"


def test_one_handshake_among_many_flows_is_forgotten() -> None:
    service = Service()
    judge(session(*TROJAN), service)
    named = [judge(ORDINARY, service) is not None for _ in range(10)]
    assert named == [True] * 6 + [False] * 4


@pytest.mark.parametrize("near", [NEAR, MERGED])
def test_near_lengths_count_when_they_come_twice(near: tuple[Message, ...]) -> None:
    service = Service()
    assert judge(near, service) is None
    assert judge(ORDINARY, service) is None
    assert judge(near, service) is None
    assert judge(ORDINARY, service) is not None


def test_a_request_without_a_ticket_in_the_answer_is_not_even_weak() -> None:
    service = Service()
    for _ in range(2):
        judge(session(552, -838, 184, -2048), service)
    assert judge(ORDINARY, service) is None


def test_another_service_knows_nothing() -> None:
    judge(session(*TROJAN), Service())
    assert judge(ORDINARY, Service()) is None


def test_a_flow_without_data_is_no_part_of_the_history() -> None:
    service = Service()
    judge(session(*TROJAN), service)
    for _ in range(10):
        judge(handshake(), service)
    assert judge(ORDINARY, service) is not None


def test_flows_that_are_open_at_the_same_time_tell_each_other_nothing_yet() -> None:
    service = Service()
    first, second = stream(TlsInTls(service), session(*WEB_SOCKET)), stream(TlsInTls(service), ORDINARY)
    assert last_evidence(second) is None
    assert last_evidence(first) is not None


def test_a_flow_joined_in_its_middle_is_left_alone() -> None:
    assert list(stream(TlsInTls(), data(TROJAN), midstream=True))[-1:] in ([], [Opinion.NO])
