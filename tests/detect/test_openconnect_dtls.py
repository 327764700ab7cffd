"""The DTLS channel of AnyConnect: what shows that its keys come from elsewhere, and ordinary DTLS that looks alike."""

import pytest

from middlebox.detect.openconnect_dtls import DtlsMemory, OpenconnectDtls
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_classic_vpn import (
    DTLS_ANSWER,
    DTLS_HELLO,
    OPENCONNECT_ANSWER,
    OPENCONNECT_HELLO,
    OPENCONNECT_KEY,
    SESSION,
    dtls_client_hello,
    dtls_message,
    dtls_record,
    dtls_server_hello,
)

CERTIFICATE = dtls_record(dtls_message(11, bytes(40), 2), sequence=1)
RESUMED = (
    CLIENT(dtls_record(dtls_client_hello(session=SESSION, ciphers=(0xC02F, 0x00FF)))),
    SERVER(dtls_record(dtls_server_hello(session=SESSION))),
)


def finding(*messages: Message, memory: DtlsMemory | None = None) -> Evidence | None:
    return last_evidence(datagrams(OpenconnectDtls(memory), messages))


def level(*messages: Message, memory: DtlsMemory | None = None) -> Confidence | None:
    evidence = finding(*messages, memory=memory)
    return evidence.confidence if evidence else None


def test_ordinary_handshakes_are_not_it() -> None:
    assert finding(CLIENT(DTLS_HELLO), SERVER(DTLS_ANSWER + CERTIFICATE)) is None


def test_a_key_exchange_with_another_identity_confirms_nothing() -> None:
    other = dtls_record(dtls_message(16, b"\x00\x06sensor", 1), sequence=1)
    exchange = (CLIENT(OPENCONNECT_HELLO), SERVER(OPENCONNECT_ANSWER))
    assert level(*exchange, CLIENT(other)) is Confidence.PROBABLE
    assert level(*exchange, CLIENT(OPENCONNECT_KEY)) is Confidence.CONFIRMED


@pytest.mark.parametrize("session", [b"", SESSION[:16]])
def test_preshared_keys_without_a_whole_session_id_are_ordinary(session: bytes) -> None:
    hello = dtls_record(dtls_client_hello(session=session, ciphers=(0x00A9, 0xC0A8)))
    assert finding(CLIENT(hello), SERVER(OPENCONNECT_ANSWER), CLIENT(OPENCONNECT_KEY)) is None


def test_a_session_that_these_hosts_have_begun_may_be_resumed() -> None:
    memory = DtlsMemory()
    assert level(*RESUMED, memory=memory) is Confidence.PROBABLE
    finding(CLIENT(dtls_record(dtls_client_hello(session=SESSION))), SERVER(CERTIFICATE), memory=memory)
    assert level(*RESUMED, memory=memory) is None


def test_a_choice_of_ciphers_is_no_sign_of_a_resumed_tunnel() -> None:
    several = CLIENT(dtls_record(dtls_client_hello(session=SESSION)))
    assert level(several, RESUMED[1]) is None


def test_the_application_id_needs_its_answer() -> None:
    hello = CLIENT(dtls_record(dtls_client_hello((48018, SESSION), session=SESSION)))
    assert level(hello) is Confidence.PROBABLE
    assert level(hello, SERVER(DTLS_ANSWER)) is Confidence.CONFIRMED


def test_the_oldest_version_counts_at_any_time() -> None:
    data = dtls_record(bytes(60), content_type=23, epoch=1, version=0x0100)
    assert level(CLIENT(data)) is Confidence.PROBABLE
    assert level(CLIENT(data), CLIENT(data)) is Confidence.PROBABLE
    assert level(CLIENT(data), SERVER(data)) is Confidence.CONFIRMED
