"""Lengths of TLS records: real handshakes of both versions, how bytes may be cut up, and where reading ends."""

import ssl
from pathlib import Path

import pytest

from middlebox.detect.base import STREAM_LIMIT, Conversation
from middlebox.detect.tls_records import MAX_RECORDS, Record, TlsRecords
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.hellos import client_hello, numbers, records, server_hello, sized, tls_handshake

CHANGE = b"\x14\x03\x03\x00\x01\x01"
HELLO, ANSWER = records(client_hello()), records(server_hello())


def data(length: int, content_type: int = 23) -> bytes:
    return bytes([content_type]) + numbers(0x0303) + sized(bytes(length), 2)


def read(*messages: Message, segment: int = 65536, version: str = "", midstream: bool = False) -> TlsRecords:
    talk, found = Conversation(midstream=midstream), TlsRecords()
    talk.facts = {"tls.version": version}
    for from_client, message in messages:
        for start in range(0, len(message), segment):
            piece = message[start : start + segment]
            talk.from_client, talk.data = from_client, piece
            if from_client:
                talk.client = (talk.client + piece)[:STREAM_LIMIT]
            else:
                talk.server = (talk.server + piece)[:STREAM_LIMIT]
            before = len(found.records)
            assert found.update(talk) == (len(found.records) > before)
    return found


@pytest.mark.parametrize("segment", [1, 7, 1460, 65536])
@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLS 1.2"), (ssl.TLSVersion.TLSv1_3, "TLS 1.3")]
)
def test_a_real_handshake_ends_before_the_first_data(
    tmp_path: Path, version: ssl.TLSVersion, name: str, segment: int
) -> None:
    handshake = tls_handshake(tmp_path, version)
    tickets = [record for record in read(*handshake, version=name).data if not record.from_client]
    found = read(*handshake, CLIENT(data(200)), SERVER(data(300)), segment=segment, version=name)
    assert found.is_open
    assert found.data == [*tickets, Record(True, 23, 200), Record(False, 23, 300)]
    assert not tickets or name == "TLS 1.3"


def test_nothing_is_open_before_the_clients_finished() -> None:
    found = read(CLIENT(HELLO), SERVER(ANSWER + CHANGE + data(900)), CLIENT(CHANGE), version="TLS 1.3")
    assert (found.is_open, found.data) == (False, [])


@pytest.mark.parametrize("finished", [53, 69])
def test_early_data_and_a_clients_certificate_belong_to_the_handshake(finished: int) -> None:
    early = (CLIENT(HELLO + data(400)), SERVER(ANSWER + data(800)), CLIENT(data(21) + data(900) + data(finished)))
    assert read(*early, version="TLS 1.3").data == []
    assert read(*early, CLIENT(data(53)), version="TLS 1.3").data == [Record(True, 23, 53)]


def test_a_second_client_hello_is_no_finished() -> None:
    retried = (CLIENT(HELLO), SERVER(ANSWER + CHANGE), CLIENT(CHANGE + HELLO), SERVER(ANSWER + data(900)))
    assert not read(*retried, version="TLS 1.3").is_open
    assert read(*retried, CLIENT(data(69) + data(7)), version="TLS 1.3").data == [Record(True, 23, 7)]


def test_a_resumed_handshake_in_which_the_server_finishes_first() -> None:
    finished = CHANGE + data(40, 22)
    assert read(CLIENT(HELLO), SERVER(ANSWER + finished), CLIENT(finished + data(9))).data == [Record(True, 23, 9)]


def test_data_of_a_connection_joined_in_the_middle_counts_at_once() -> None:
    assert read(CLIENT(data(9)), SERVER(data(8)), midstream=True).is_open


@pytest.mark.parametrize("wrong", [b"\x19\x03\x03\x00\x01\x01", b"\x17\x02\x03\x00\x01\x01", b"\x17\x03\x03\x48\x01"])
def test_what_is_no_record_ends_the_reading(wrong: bytes) -> None:
    found = read(CLIENT(HELLO + wrong + data(9)))
    assert (found.is_broken, found.is_full, len(found.records)) == (True, True, 1)


def test_reading_ends_at_what_detectors_may_see_but_counts_the_record_that_was_begun() -> None:
    found = read(CLIENT(HELLO + data(16_000)))
    assert (found.is_full, len(found.records)) == (False, 2)
    found = read(CLIENT(HELLO + data(10_000) + data(16_000) + data(9)))
    assert (found.is_full, [record.length for record in found.records[1:]]) == (True, [10_000, 16_000])


def test_a_thousand_empty_records_are_not_remembered() -> None:
    found = read(CLIENT(HELLO + data(0) * 1000), segment=1)
    assert (found.is_full, len(found.records)) == (True, MAX_RECORDS)
