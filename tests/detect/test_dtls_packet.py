"""Records and hellos of DTLS: several in a datagram, and lengths that lie."""

import pytest

from middlebox.detect.client_hello import ClientHello
from middlebox.detect.dtls_packet import message_type, parse_hello, parse_records
from tests.detect.hellos import numbers
from tests.detect.sample import noise
from tests.detect.samples_classic_vpn import DTLS_HELLO, dtls_client_hello, dtls_message, dtls_record

FLIGHT = dtls_record(dtls_message(16, b"\0\3psk")) + dtls_record(b"\1", content_type=20, sequence=2)


def test_all_records_of_a_datagram_are_read() -> None:
    found = parse_records(FLIGHT, len(FLIGHT))
    assert [(record.content_type, record.sequence) for record in found] == [(22, 0), (20, 2)]
    assert [message_type(record) for record in found] == [16, 0]


def test_records_in_the_short_form_of_dtls13_may_follow() -> None:
    data = DTLS_HELLO + b"\x2e\x01\x02" + noise(40)
    assert len(parse_records(data, len(data))) == 1
    assert parse_records(data[len(DTLS_HELLO) :], len(data) - len(DTLS_HELLO)) == []


def test_a_capture_that_cut_the_datagram_shows_what_it_has() -> None:
    assert len(parse_records(FLIGHT[:-1], len(FLIGHT))) == 2
    assert len(parse_records(FLIGHT[:-3], len(FLIGHT))) == 1
    assert parse_records(FLIGHT[:-3], len(FLIGHT) - 3) == []


def test_a_hello_tells_ciphers_session_and_version_past_its_cookie() -> None:
    body = numbers(0xFEFD) + noise(32) + b"\2ab" + b"\5cooky" + b"\0\2\x00\xa9" + b"\1\0"
    (record,) = parse_records(message := dtls_record(dtls_message(1, body)), len(message))
    hello = parse_hello(record)
    assert hello
    assert isinstance(hello.hello, ClientHello)
    assert (hello.hello.ciphers, hello.session, hello.version) == ((0x00A9,), b"ab", 0xFEFD)


@pytest.mark.parametrize("at", range(12, 60))
@pytest.mark.parametrize("byte", [0, 0xFF])
def test_lengths_that_lie_are_answered(at: int, byte: int) -> None:
    hello = dtls_client_hello(session=b"abc")
    damaged = dtls_record(hello[:at] + bytes([byte]) + hello[at + 1 :])
    for record in parse_records(damaged, len(damaged)):
        found = parse_hello(record)
        assert found is None or len(found.session) <= 32


def test_of_a_hello_with_thousands_of_extensions_the_first_are_read() -> None:
    message = dtls_record(dtls_client_hello(*[(7, b"")] * 15_000))
    (record,) = parse_records(message, len(message))
    hello = parse_hello(record)
    assert hello
    assert isinstance(hello.hello, ClientHello)
    assert not hello.hello.complete
    assert len(hello.hello.extensions) < 400


def test_encrypted_records_hold_no_message() -> None:
    encrypted = dtls_record(dtls_client_hello(), epoch=1)
    (record,) = parse_records(encrypted, len(encrypted))
    assert message_type(record) == 0
