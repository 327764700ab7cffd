"""simple-obfs: both plays, their halves, and real WebSockets and TLS sessions that come close."""

import pytest

from middlebox.detect.simple_obfs import SimpleObfs
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.hellos import client_hello, records
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import (
    NAME,
    OBFS_CIPHERS,
    OBFS_HELLO,
    OBFS_REQUEST,
    OBFS_RESPONSE,
    OBFS_SERVER_HELLO,
    WEBSOCKET_RESPONSE,
    with_session_id,
)

HTTP = {"simple-obfs.mode": "http"}


def tcp(*messages: Message) -> Evidence | None:
    return last_evidence(stream(SimpleObfs(), messages))


def answers(*messages: Message) -> list[Answer]:
    return list(stream(SimpleObfs(), messages))


def level(*messages: Message) -> Confidence | None:
    evidence = tcp(*messages)
    return evidence.confidence if evidence else None


def test_http_request_is_probable_and_the_false_accept_confirms() -> None:
    first, second = answers(CLIENT(OBFS_REQUEST), SERVER(OBFS_RESPONSE))
    assert isinstance(first, Evidence)
    assert isinstance(second, Evidence)
    assert (first.confidence, first.facts, first.more) == (Confidence.PROBABLE, HTTP, True)
    assert (second.confidence, second.facts, second.more) == (Confidence.CONFIRMED, HTTP, False)


def test_a_true_accept_confirms_nothing() -> None:
    assert level(CLIENT(OBFS_REQUEST), SERVER(WEBSOCKET_RESPONSE)) is Confidence.PROBABLE
    assert answers(CLIENT(OBFS_REQUEST), SERVER(WEBSOCKET_RESPONSE))[-1] is Opinion.NO


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket\r\n", b""),
        (b"curl/7.43.1", b"Mozilla/5.0"),
        (b"Connection: Upgrade", b"Sec-WebSocket-Version: 13\r\nConnection: Upgrade"),
        (b"AAECAwQFBgcICQoLDA0ODw==", b"short=="),
    ],
)
def test_other_upgrades_are_refused(old: bytes, new: bytes) -> None:
    assert old in OBFS_REQUEST
    assert tcp(CLIENT(OBFS_REQUEST.replace(old, new)), SERVER(OBFS_RESPONSE)) is None


def test_a_clients_that_capitalises_differently_is_seen() -> None:
    request = OBFS_REQUEST.replace(b"Sec-WebSocket-Key", b"Sec-Websocket-Key")  # Go's spelling
    assert level(CLIENT(request), SERVER(OBFS_RESPONSE)) is Confidence.CONFIRMED


def test_an_error_in_place_of_the_upgrade_ends_it() -> None:
    assert answers(CLIENT(OBFS_REQUEST), SERVER(b"HTTP/1.1 400 Bad Request\r\n\r\n"))[-1] is Opinion.NO


def test_headers_without_an_end_are_not_waited_for_for_ever() -> None:
    assert answers(CLIENT(b"GET / HTTP/1.1\r\nA: " + b"a" * 2000))[-1] is Opinion.NO


def test_tls_hello_is_probable_and_the_impossible_finished_confirms() -> None:
    evidence = tcp(CLIENT(OBFS_HELLO), SERVER(OBFS_SERVER_HELLO))
    assert evidence
    assert (evidence.confidence, evidence.facts) == (Confidence.CONFIRMED, {"simple-obfs.mode": "tls"})
    assert evidence.reason == "the server resumes a session with a Finished of 179 bytes, which has 32"
    assert level(CLIENT(OBFS_HELLO)) is Confidence.PROBABLE


def test_a_server_that_truly_resumes_is_not_confirmed() -> None:
    resumed = OBFS_SERVER_HELLO.replace(records(noise(179), version=0x0303), records(noise(32), version=0x0303))
    assert level(CLIENT(OBFS_HELLO), SERVER(resumed)) is Confidence.PROBABLE


@pytest.mark.parametrize("place", [2, 5, 50, 76, 96, 101])
def test_a_server_that_answers_otherwise_is_not_confirmed(place: int) -> None:
    answer = bytearray(OBFS_SERVER_HELLO)
    answer[place] ^= 1
    assert level(CLIENT(OBFS_HELLO), SERVER(bytes(answer))) is Confidence.PROBABLE


@pytest.mark.parametrize(
    "hello",
    [
        client_hello(NAME, (35, noise(200)), (23, b""), ciphers=OBFS_CIPHERS),
        client_hello((35, b""), NAME, (23, b""), ciphers=OBFS_CIPHERS),
        client_hello((35, noise(200)), (23, b""), NAME, ciphers=OBFS_CIPHERS),
        client_hello((35, noise(200)), NAME, (23, b""), ciphers=[0x1301, *OBFS_CIPHERS[1:]]),
    ],
    ids=["name-first", "empty-ticket", "no-name-second", "other-ciphers"],
)
def test_other_hellos_are_refused(hello: bytes) -> None:
    assert tcp(CLIENT(records(with_session_id(hello))), SERVER(OBFS_SERVER_HELLO)) is None


def test_hello_cut_anywhere_waits_or_refuses() -> None:
    for end in range(6, len(OBFS_HELLO)):
        evidence = tcp(CLIENT(OBFS_HELLO[:end]))
        assert evidence is None or evidence.confidence is Confidence.PROBABLE
