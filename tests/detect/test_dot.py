"""DNS over TLS: offers, names, and lengths of records."""

import pytest

from middlebox.detect.dot import Dot
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.hellos import (
    alpn,
    client_hello,
    numbers,
    records,
    server_hello,
    server_name,
    sized,
    supported_versions,
)
from tests.detect.samples_clear_proxies import DOT_HELLO, TLS_ANSWER

CHANGE = b"\x14\x03\x03\x00\x01\x01"
HELLO = records(client_hello(server_name(b"example.org"), supported_versions(0x0304)))
HELLO_TLS12, ANSWER_TLS12 = records(client_hello()), records(server_hello(cipher=0xC02F))


def tcp(*messages: Message) -> Evidence | None:
    return last_evidence(stream(Dot(), messages))


def data(plain: int, overhead: int = 17) -> bytes:
    """A record with so many bytes of content."""
    return b"\x17" + numbers(0x0303) + sized(bytes(plain + overhead), 2)


def tls13(*messages: Message) -> Evidence | None:
    finished = CHANGE + data(36)
    return tcp(CLIENT(HELLO), SERVER(TLS_ANSWER + CHANGE + data(900)), CLIENT(finished), *messages)


def tls12(*messages: Message, overhead: int = 24) -> Evidence | None:
    finished = CHANGE + records(bytes(40), version=0x0303)
    plain = [(who, data(int.from_bytes(size), overhead)) for who, size in messages]
    return tcp(CLIENT(HELLO_TLS12), SERVER(ANSWER_TLS12), CLIENT(finished), SERVER(finished), *plain)


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def test_the_offer_is_probable_until_it_is_answered() -> None:
    assert level(tcp(CLIENT(DOT_HELLO))) is Confidence.PROBABLE
    assert level(tcp(CLIENT(DOT_HELLO), SERVER(TLS_ANSWER))) is Confidence.CONFIRMED
    assert level(tcp(CLIENT(DOT_HELLO), SERVER(b"\x15\x03\x03\x00\x02\x02\x78"))) is Confidence.PROBABLE


def test_a_resolvers_name_without_an_offer_is_probable() -> None:
    for name, extensions, expected in (
        (b"dns.google", (), Confidence.PROBABLE),
        (b"dns.google", (alpn(b"h2"),), None),
        (b"example.org", (), None),
    ):
        hello = records(client_hello(server_name(name), *extensions, supported_versions(0x0304)))
        assert level(tcp(CLIENT(hello), SERVER(TLS_ANSWER))) is expected


QUERY, ANSWER, TICKET, CLOSE = 128 + 2, 468 + 2, 249, 2


@pytest.mark.parametrize(
    ("why", "messages", "expected"),
    [
        ("padded both ways", (CLIENT(data(QUERY)), SERVER(data(ANSWER))), Confidence.PROBABLE),
        (
            "tickets before the answer",
            (SERVER(data(TICKET)), SERVER(data(TICKET)), CLIENT(data(QUERY)), SERVER(data(ANSWER))),
            Confidence.PROBABLE,
        ),
        ("an answer without padding", (CLIENT(data(QUERY)), SERVER(data(60))), None),
        ("that ends the exchange", (CLIENT(data(QUERY)), SERVER(data(60)), CLIENT(data(CLOSE))), Confidence.PROBABLE),
        (
            "two of them",
            (CLIENT(data(QUERY)), SERVER(data(60)), CLIENT(data(QUERY)), SERVER(data(70))),
            Confidence.PROBABLE,
        ),
        ("another length of query", (CLIENT(data(QUERY + 1)), SERVER(data(ANSWER))), None),
        ("a query of many blocks", (CLIENT(data(128 * 5 + 2)), SERVER(data(ANSWER))), None),
        ("a long answer", (CLIENT(data(QUERY)), SERVER(data(5000)), CLIENT(data(CLOSE))), None),
        ("many answers", (CLIENT(data(QUERY)), *[SERVER(data(60))] * 5, CLIENT(data(CLOSE))), None),
    ],
)
def test_lengths_of_records(why: str, messages: tuple[Message, ...], expected: Confidence | None) -> None:
    assert level(tls13(*messages)) is expected, why


@pytest.mark.parametrize("overhead", [24, 16])
def test_lengths_in_tls12_depend_on_the_cipher(overhead: int) -> None:
    exchange = (CLIENT(numbers(QUERY)), SERVER(numbers(ANSWER)))
    assert level(tls12(*exchange, overhead=overhead)) is Confidence.PROBABLE
    assert level(tls12(*exchange, overhead=20)) is None
