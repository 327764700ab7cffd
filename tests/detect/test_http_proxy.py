"""HTTP proxies: what a CONNECT's answer means, and when a whole URL means a proxy."""

import pytest

from middlebox.detect.http_proxy import HttpProxy
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples_clear_proxies import CHROME_HELLO, CONNECT, CONNECTED, OK, PROXY_GET


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(HttpProxy(), messages, segment=segment))


@pytest.mark.parametrize("segment", [1, 1460])
def test_what_the_tunnel_carries_is_named(segment: int) -> None:
    for inner, name in ((CLIENT(CHROME_HELLO), "tls"), (SERVER(b"SSH-2.0-OpenSSH_9.2\r\n"), "ssh")):
        evidence = tcp(CLIENT(CONNECT), SERVER(CONNECTED), inner, segment=segment)
        assert evidence
        assert (evidence.protocol, evidence.confidence) == ("http-connect", Confidence.CONFIRMED)
        assert (evidence.facts, evidence.more) == ({"http_proxy.inner": name}, False)


def test_content_without_a_name_is_not_waited_for() -> None:
    answers = list(
        stream(HttpProxy(), [CLIENT(CONNECT), SERVER(CONNECTED), SERVER(b"220 mail ESMTP\r\n"), CLIENT(b"x")])
    )
    assert len(answers) == 3


def test_a_proxy_that_wants_a_password_is_one() -> None:
    answer = SERVER(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    for request in (CONNECT, PROXY_GET.replace(b"Proxy-Connection: Keep-Alive\r\n", b"")):
        evidence = tcp(CLIENT(request), answer)
        assert evidence
        assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize("status", [b"403 Forbidden", b"405 Method Not Allowed", b"501 Not Implemented"])
def test_a_refused_tunnel_is_not_confirmed(status: bytes) -> None:
    evidence = tcp(CLIENT(CONNECT), SERVER(b"HTTP/1.1 " + status + b"\r\n\r\n"))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


def test_a_whole_url_alone_stays_probable() -> None:
    evidence = tcp(CLIENT(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n"), SERVER(OK))
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("http-proxy", Confidence.PROBABLE, False)


def test_a_proxys_own_header_in_the_answer_confirms() -> None:
    answer = b"HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\n\r\n"
    evidence = tcp(CLIENT(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n"), SERVER(answer))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\nProxy-Connection: keep-alive\r\n\r\n",
        b"GET /http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"CONNECT example.org HTTP/1.1\r\n\r\n",
        b"OPTIONS rtsp://192.0.2.1/ HTTP/1.1\r\n\r\n",
    ],
)
def test_requests_to_a_server_are_none_of_ours(request_: bytes) -> None:
    assert tcp(CLIENT(request_), SERVER(b"HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\n\r\n")) is None


def test_junk_before_the_version_is_forgiven() -> None:
    evidence = tcp(CLIENT(b"CONNECT mail.example.org:25 / HTTP/1.0\r\n\r\n"), SERVER(CONNECTED))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
