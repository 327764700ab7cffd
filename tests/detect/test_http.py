"""HTTP: requests in pieces, where the host comes from, what links, and what is only like HTTP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT
from middlebox.detect.http import Http
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples import HTTP2_PREFACE, HTTP2_SETTINGS, HTTP_REQUEST, HTTP_RESPONSE


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Http(), messages, segment=segment))


def facts_of(request: bytes) -> dict[str, object]:
    evidence = tcp(CLIENT(request))
    assert evidence
    return dict(evidence.facts)


def test_request_alone_is_probable_with_its_host_at_once() -> None:
    answers = list(stream(Http(), [CLIENT(HTTP_REQUEST)]))
    assert len(answers) == 1
    assert isinstance(answers[0], Evidence)
    assert (answers[0].confidence, answers[0].more) == (Confidence.PROBABLE, True)
    assert answers[0].facts == {"http.http_method": "GET", "http.hostname": "www.example.org"}


@pytest.mark.parametrize("segment", [1, 3, 1460])
def test_status_line_confirms_however_it_is_cut(segment: int) -> None:
    evidence = tcp(CLIENT(HTTP_REQUEST), SERVER(HTTP_RESPONSE), segment=segment)
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.facts == {"http.http_method": "GET", "http.hostname": "www.example.org", "http.status": 200}
    assert evidence.reason == "a status line answers the request line"


def test_nothing_but_method_host_and_status_leaves_the_detector() -> None:
    evidence = tcp(CLIENT(HTTP_REQUEST), SERVER(HTTP_RESPONSE))
    assert "secret" not in repr(evidence)
    assert "token" not in repr(evidence)


@pytest.mark.parametrize(
    ("request_bytes", "host"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: Example.ORG.\r\n\r\n", "example.org", id="case and closing dot"),
        pytest.param(b"GET / HTTP/1.1\nhOsT:\texample.org  \n\n", "example.org", id="bare line feeds"),
        pytest.param(b"\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test", id="empty line first"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: [2001:DB8::1]:8080\r\n\r\n", "2001:db8::1", id="IPv6 with port"),
        pytest.param(
            b"GET http://u:p@Real.test:81/x HTTP/1.1\r\nHost: b.test\r\n\r\n", "real.test", id="absolute target"
        ),
        pytest.param(b"CONNECT real.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n", "real.test", id="CONNECT"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "a.test", id="first of two"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", None, id="none"),
        pytest.param(b"POST / HTTP/1.1\r\nX: y\r\n\r\nx\r\nHost: body.test\r\n", None, id="in the body only"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: not complete", None, id="incomplete line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", None, id="not a host name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: \r\n\r\n", None, id="empty"),
    ],
)
def test_host_comes_from_target_or_header(request_bytes: bytes, host: str | None) -> None:
    assert facts_of(request_bytes).get("http.hostname") == host


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "VERSION-CONTROL", "M-SEARCH", "RPC_IN_DATA", "CONNECT", "PRI"])
def test_any_method_word_is_accepted(method: str) -> None:
    assert facts_of(f"{method} example.test:1 HTTP/1.1\r\n".encode())["http.http_method"] == method


def test_target_may_hold_spaces_and_utf8() -> None:
    assert facts_of("GET /a b/\u00e9 HTTP/1.1\r\n".encode()) == {"http.http_method": "GET"}


@pytest.mark.parametrize(
    "data",
    [
        b"OPTIONS rtsp://192.0.2.1/ RTSP/1.0\r\n",
        b"INVITE sip:a@example.org SIP/2.0\r\n",
        b"SOURCE /mount ICE/1.0\r\n",
        b"GET /\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET  HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO client.example.org\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\x00/ HTTP/1.1\r\n",
        b"GET /" + b"a" * STREAM_LIMIT,
        b"A" * 40,
    ],
)
def test_other_first_lines_are_refused_at_once(data: bytes) -> None:
    assert next(stream(Http(), [CLIENT(data)], segment=STREAM_LIMIT + 100)) is Opinion.NO


def test_request_line_in_pieces_asks_for_more() -> None:
    answers = list(stream(Http(), [CLIENT(b"GET /index HTTP/1.1\r")], segment=1))
    assert set(answers) == {Opinion.MORE}


@pytest.mark.parametrize(
    "answer", [b"ICY 200 OK\r\n", b"SSH-2.0-x\r\n", b"RTSP/1.0 200 OK\r\n", b"HTTP/1.1 0", b"\x00"]
)
def test_answer_without_status_line_does_not_confirm(answer: bytes) -> None:
    answers = list(stream(Http(), [CLIENT(HTTP_REQUEST), SERVER(answer)]))
    assert answers[-1] is Opinion.NO


def test_answer_before_the_request_ends_waits_for_the_host() -> None:
    start, rest = HTTP_REQUEST[:30], HTTP_REQUEST[30:]
    answers = list(stream(Http(), [CLIENT(start), SERVER(b"HTTP/1.1 408 Timeout\r\n\r\n"), CLIENT(rest)]))
    early, late = answers[1:]
    assert isinstance(early, Evidence)
    assert isinstance(late, Evidence)
    assert (early.confidence, early.more, early.facts.get("http.hostname")) == (Confidence.CONFIRMED, True, None)
    assert (late.more, late.facts["http.hostname"]) == (False, "www.example.org")


def test_response_captured_before_its_request_is_kept_for_it() -> None:
    answers = list(stream(Http(), [SERVER(HTTP_RESPONSE), CLIENT(HTTP_REQUEST)]))
    assert isinstance(answers[0], Evidence)
    assert (answers[0].confidence, answers[0].more) == (Confidence.PROBABLE, True)
    evidence = last_evidence(answers)
    assert evidence
    assert (evidence.confidence, evidence.facts["http.status"]) == (Confidence.CONFIRMED, 200)


def test_other_server_that_speaks_first_is_refused_at_once() -> None:
    assert next(stream(Http(), [SERVER(b"220 mail.example.org ESMTP\r\n")])) is Opinion.NO


def test_http2_preface_is_probable_and_settings_confirm() -> None:
    preface = tcp(CLIENT(HTTP2_PREFACE))
    assert preface
    assert (preface.confidence, preface.more) == (Confidence.PROBABLE, True)
    evidence = tcp(CLIENT(HTTP2_PREFACE + HTTP2_SETTINGS), SERVER(HTTP2_SETTINGS), segment=1)
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("http", Confidence.CONFIRMED)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"\x00\x00\x05\x04" + bytes(5), b"\x00" * 9])
def test_http2_preface_answered_otherwise_does_not_confirm(answer: bytes) -> None:
    assert list(stream(Http(), [CLIENT(HTTP2_PREFACE), SERVER(answer)]))[-1] is Opinion.NO


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=200))
def test_detector_never_raises(client: bytes, server: bytes) -> None:
    list(stream(Http(), [CLIENT(b"GET " + client), SERVER(b"HTTP/1." + server)], segment=9))


def test_a_response_without_its_request_is_probable_and_not_waited_for_long() -> None:
    body = b"x" * 4000
    for side in (CLIENT, SERVER):
        answers = list(stream(Http(), [side(b"HTTP/1.1 404 Not Found\r\n\r\n" + body)], segment=1000))
        evidence = last_evidence(answers)
        assert evidence is not None
        assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, {"http.status": 404})
        assert len(answers) <= 3


def test_roles_that_a_late_start_exchanged_are_set_right() -> None:
    evidence = last_evidence(stream(Http(), [CLIENT(HTTP_RESPONSE), SERVER(HTTP_REQUEST)], midstream=True))
    assert evidence is not None
    assert evidence.confidence is Confidence.CONFIRMED
