"""DNS over QUIC: what is offered, and whom the answer is for."""

import pytest

from middlebox.detect.doq import Doq
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.hellos import alpn, client_hello, supported_versions
from tests.detect.initials import crypto, initial, long_header
from tests.detect.samples_clear_proxies import DOQ_CLIENT, DOQ_SERVER


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Doq(), messages))


def offering(*names: bytes) -> bytes:
    hello = client_hello(alpn(*names), supported_versions(0x0304))
    return initial(crypto(0, hello).ljust(1162, b"\0"), source=b"client!!")


@pytest.mark.parametrize(
    ("names", "is_doq"),
    [((b"doq",), True), ((b"doq-i11", b"doq-i00"), True), ((b"h3",), False), ((b"h3", b"doq"), False)],
)
def test_only_doq_must_be_offered(names: tuple[bytes, ...], is_doq: bool) -> None:
    evidence = udp(CLIENT(offering(*names)))
    assert (evidence is not None) == is_doq
    assert not evidence or evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (DOQ_SERVER, Confidence.CONFIRMED),
        (long_header(2, b"another!", b"server!!"), Confidence.PROBABLE),
        (long_header(2, b"client!!", b"server!!", version=2), Confidence.PROBABLE),
        (b"\x40" + bytes(40), Confidence.PROBABLE),
        (b"\xc0", Confidence.PROBABLE),
    ],
)
def test_the_answer_must_be_addressed_to_the_client(answer: bytes, level: Confidence) -> None:
    evidence = udp(CLIENT(DOQ_CLIENT), CLIENT(DOQ_CLIENT), SERVER(answer))
    assert evidence
    assert evidence.confidence is level
