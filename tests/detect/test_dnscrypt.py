"""DNSCrypt: nonces and certificates, and what only looks like them."""

import pytest

from middlebox.detect.dnscrypt import DnsCrypt
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.sample import noise, with_length
from tests.detect.samples_clear_proxies import (
    DNSCRYPT_CERTIFICATE,
    DNSCRYPT_CERTIFICATE_QUERY,
    DNSCRYPT_QUERY,
    DNSCRYPT_RESPONSE,
    dns_query,
    dns_reply,
)


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def udp(*messages: Message) -> Confidence | None:
    return level(last_evidence(datagrams(DnsCrypt(), messages)))


def test_a_certificate_confirms_the_query_for_it() -> None:
    assert udp(CLIENT(DNSCRYPT_CERTIFICATE_QUERY)) is Confidence.PROBABLE
    assert udp(CLIENT(DNSCRYPT_CERTIFICATE_QUERY), SERVER(DNSCRYPT_CERTIFICATE)) is Confidence.CONFIRMED
    assert udp(SERVER(DNSCRYPT_CERTIFICATE)) is Confidence.PROBABLE


def test_a_provider_may_choose_its_own_name() -> None:
    query = dns_query(b"2", b"securedns", b"example", b"org")
    assert udp(CLIENT(query)) is None
    assert udp(CLIENT(query), SERVER(dns_reply(query, b"DNSC\0\x01\0\0" + noise(116)))) is Confidence.CONFIRMED
    assert udp(CLIENT(query), SERVER(dns_reply(query, b"v=DNSC1"))) is None


def test_the_response_must_repeat_the_nonce() -> None:
    assert udp(CLIENT(DNSCRYPT_QUERY)) is None
    assert udp(CLIENT(DNSCRYPT_QUERY), CLIENT(noise(512, 5)), SERVER(DNSCRYPT_RESPONSE)) is Confidence.CONFIRMED
    assert udp(CLIENT(noise(512, 5)), SERVER(DNSCRYPT_RESPONSE)) is Confidence.PROBABLE
    assert udp(CLIENT(DNSCRYPT_QUERY), SERVER(b"q" + DNSCRYPT_RESPONSE[1:])) is None
    assert udp(CLIENT(DNSCRYPT_QUERY), SERVER(DNSCRYPT_RESPONSE[:19])) is Confidence.PROBABLE


def test_an_anonymised_query_has_its_nonce_behind_the_server() -> None:
    query = b"\xff" * 8 + b"\0\0" + bytes(10) + b"\xff\xff\xc0\x00\x02\x07\x01\xbb" + DNSCRYPT_QUERY
    assert udp(CLIENT(query), SERVER(DNSCRYPT_RESPONSE)) is Confidence.CONFIRMED


def test_noise_is_given_up_soon() -> None:
    assert list(datagrams(DnsCrypt(), [CLIENT(noise(100))])) == [Opinion.NO]
    assert len(list(datagrams(DnsCrypt(), [CLIENT(noise(512, seed)) for seed in range(9)]))) == 4


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (with_length(noise(511)), with_length(DNSCRYPT_RESPONSE)),
        (with_length(noise(64)), with_length(DNSCRYPT_RESPONSE)),
        (with_length(noise(512, 5)), with_length(DNSCRYPT_RESPONSE)),
        (with_length(DNSCRYPT_QUERY), with_length(noise(200))),
    ],
)
def test_over_tcp_lengths_mark_and_nonce_must_fit(asked: bytes, answered: bytes) -> None:
    assert list(stream(DnsCrypt(), [CLIENT(asked), SERVER(answered)]))[-1] is Opinion.NO
