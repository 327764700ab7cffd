"""TLS: real handshakes however they are cut up, what answers confirm, and what is not TLS."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT, Conversation
from middlebox.detect.tls import Tls
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
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
    tls_handshake,
)
from tests.detect.test_client_hello import SSLV2

HELLO = client_hello(server_name(b"example.org"), alpn(b"h2"), supported_versions(0x0304, 0x0303))
ANSWER = server_hello((43, numbers(0x0304)))
WARNING = b"\x15\x03\x01\x00\x02\x01\x64"
FATAL_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
APPLICATION_DATA = records(bytes(100), content_type=23, version=0x0303)
HELLO_FACTS = {
    "tls.sni": "example.org",
    "tls.client_alpns": ["h2"],
    "tls.ja4": "t13d0303h2_40b44b994229_b9a491fefe05",
    "tls.ech": False,
}


def answers(*messages: Message, segment: int = 1460, midstream: bool = False) -> list[Answer]:
    return list(stream(Tls(), messages, segment=segment, midstream=midstream))


def finding(*messages: Message, segment: int = 1460, midstream: bool = False) -> Evidence:
    evidence = last_evidence(answers(*messages, segment=segment, midstream=midstream))
    assert evidence is not None
    return evidence


@pytest.mark.parametrize("segment", [1, 7, 1460, 65536])
@pytest.mark.parametrize(
    ("version", "name", "server_alpns"),
    [(ssl.TLSVersion.TLSv1_2, "TLS 1.2", ["h2"]), (ssl.TLSVersion.TLSv1_3, "TLS 1.3", None)],
)
def test_real_handshake_is_confirmed_by_the_server_hello(
    tmp_path: Path, version: ssl.TLSVersion, name: str, server_alpns: list[str] | None, segment: int
) -> None:
    client, server, *_ = tls_handshake(tmp_path, version)
    offered = finding(client, segment=segment)
    assert (offered.confidence, offered.more) == (Confidence.PROBABLE, True)
    assert offered.reason == "a well-formed ClientHello"
    assert offered.facts["tls.sni"] == "www.example.org"
    assert offered.facts["tls.client_alpns"] == ["h2", "http/1.1"]
    assert "tls.version" not in offered.facts
    evidence = finding(client, server, segment=segment)
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("tls", Confidence.CONFIRMED, False)
    assert evidence.reason == "the ServerHello chose from what the ClientHello offered"
    assert evidence.facts["tls.version"] == name
    assert evidence.facts.get("tls.server_alpns") == server_alpns


def test_real_alert_confirms(tmp_path: Path) -> None:
    said = tls_handshake(tmp_path, ssl.TLSVersion.TLSv1_2, server_version=ssl.TLSVersion.TLSv1_3)
    evidence = finding(*said)
    assert (evidence.confidence, evidence.reason) == (Confidence.CONFIRMED, "a TLS alert answers the ClientHello")
    assert evidence.facts["tls.sni"] == "www.example.org"


def test_client_hello_gives_its_facts_with_the_first_packet() -> None:
    (evidence,) = answers(CLIENT(records(HELLO)))
    assert isinstance(evidence, Evidence)
    assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, HELLO_FACTS)


@pytest.mark.parametrize("segment", [1, 3, 1460])
@pytest.mark.parametrize("record", [1, 2, 5, 100])
def test_client_hello_over_many_records_and_segments_is_read(record: int, segment: int) -> None:
    assert finding(CLIENT(records(HELLO, size=record)), segment=segment).facts == HELLO_FACTS


def test_records_of_odd_versions_and_without_content_are_read() -> None:
    stranger = records(HELLO[:9], version=0x03FF) + b"\x16\x03\x01\0\0" + records(HELLO[9:], version=0x0300, size=50)
    assert finding(CLIENT(stranger)).facts == HELLO_FACTS


@pytest.mark.parametrize("major_version", [0, 2, 4, 15])
def test_version_of_handshake_records_is_ignored(major_version: int) -> None:
    odd = records(HELLO, version=major_version << 8 | 1)
    assert finding(CLIENT(odd)) == finding(CLIENT(records(HELLO)))


@pytest.mark.parametrize("segment", [1, 1460])
@pytest.mark.parametrize("at", [0, 1, 60])
def test_warnings_before_and_inside_the_hello_hide_nothing(at: int, segment: int) -> None:
    said = records(HELLO[:at]) + WARNING * 3 + records(HELLO[at:])
    evidence = finding(CLIENT(said), SERVER(records(ANSWER)), segment=segment)
    assert (evidence.confidence, evidence.facts["tls.sni"]) == (Confidence.CONFIRMED, "example.org")


@pytest.mark.parametrize("segment", [1, 1460])
def test_server_hello_behind_a_warning_still_tells_its_version(segment: int) -> None:
    warned = finding(CLIENT(records(HELLO)), SERVER(WARNING), segment=segment)
    assert (warned.confidence, warned.reason) == (Confidence.CONFIRMED, "a TLS alert answers the ClientHello")
    answered = finding(CLIENT(records(HELLO)), SERVER(WARNING + records(ANSWER)), segment=segment)
    assert (answered.facts["tls.version"], answered.more) == ("TLS 1.3", False)


def test_server_hello_over_many_records_confirms() -> None:
    assert finding(CLIENT(records(HELLO)), SERVER(records(ANSWER, size=7))).confidence is Confidence.CONFIRMED


def test_evidence_comes_only_when_it_changed() -> None:
    given = answers(CLIENT(records(HELLO)), CLIENT(b"early data"), SERVER(records(ANSWER)[:20]))
    assert [type(answer) for answer in given] == [Evidence, Opinion, Opinion]
    assert given[1:] == [Opinion.MORE, Opinion.MORE]


def test_client_of_tls_may_be_the_side_that_accepted_the_connection() -> None:
    evidence = finding(SERVER(records(HELLO)), CLIENT(records(ANSWER)))
    assert (evidence.confidence, evidence.facts["tls.sni"]) == (Confidence.CONFIRMED, "example.org")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(records(server_hello(cipher=0xC030)), id="cipher not offered"),
        pytest.param(records(server_hello(version=0x0305)), id="version not offered"),
        pytest.param(records(HELLO), id="another ClientHello"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\x15\x03\x03\x00\x02\x07\x28", id="alert of no known level"),
        pytest.param(b"\x15\x03\x03\x00\x03\x02\x28\x00", id="alert of three bytes"),
        pytest.param(records(b"\x0b\0\0\0"), id="certificate first"),
    ],
)
def test_answer_that_does_not_fit_ends_without_confirming(answer: bytes) -> None:
    given = answers(CLIENT(records(HELLO)), SERVER(answer))
    assert isinstance(given[0], Evidence)
    assert (given[0].confidence, given[0].facts) == (Confidence.PROBABLE, HELLO_FACTS)
    assert given[1:] == [Opinion.NO]


def test_server_hello_alone_is_probable() -> None:
    evidence = finding(SERVER(records(server_hello(alpn(b"h2")))))
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert evidence.reason == "a ServerHello without a ClientHello"
    assert evidence.facts == {"tls.version": "TLS 1.2", "tls.server_alpns": ["h2"]}
    assert answers(SERVER(records(ANSWER)), CLIENT(b"GET /"))[-1] is Opinion.NO


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (0x0300, "SSLv3"),
        (0x0301, "TLSv1"),
        (0x0302, "TLS 1.1"),
        (0x0304, "TLS 1.3"),
        (0x7F1C, "TLS 1.3 draft-28"),
        (0x03AA, "0x03aa"),
    ],
)
def test_versions_are_spelled_as_in_eve(version: int, name: str) -> None:
    evidence = finding(SERVER(records(server_hello((43, numbers(version))))))
    assert evidence.facts["tls.version"] == name


@pytest.mark.parametrize("segment", [1, 1460])
def test_sslv2_hello_is_possible_until_a_tls_server_answers(segment: int) -> None:
    evidence = finding(CLIENT(SSLV2), segment=segment)
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.POSSIBLE, True, {})
    assert evidence.reason == "an SSL 2.0 compatible hello whose lengths add up"
    answer = records(server_hello(cipher=0x002F, version=0x0301))
    evidence = finding(CLIENT(SSLV2), SERVER(answer), segment=segment)
    assert (evidence.confidence, evidence.facts) == (Confidence.CONFIRMED, {"tls.version": "TLSv1"})


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", 1, id="http"),
        pytest.param(b"\x17\x03\x03", 1, id="application data first"),
        pytest.param(b"\x16\xfe\xfd", 2, id="dtls"),
        pytest.param(b"\x16\x03\x01\x40\x01", 5, id="record longer than 2^14"),
        pytest.param(b"\x16\x03\x01\x41", 4, id="record longer than 2^14, seen early"),
        pytest.param(b"\x16\x03\x01\x00\x05\x00\x00", 6, id="HelloRequest"),
        pytest.param(b"\x16\x03\x01\x00\x01\x01\x17", 7, id="other record inside the hello"),
        pytest.param(b"\x80\x2e\x04", 3, id="SSL 2.0 ServerHello"),
        pytest.param(b"\x15\x03\x03\x00\x02\x07\x28", 7, id="alert of no known level"),
    ],
)
def test_other_traffic_is_refused_at_the_first_wrong_byte(data: bytes, needed: int) -> None:
    given = answers(CLIENT(data), segment=1)
    assert given == [Opinion.MORE] * (needed - 1) + [Opinion.NO]


def test_greeting_of_another_protocol_is_refused() -> None:
    assert answers(SERVER(b"220 mail.example.org ESMTP\r\n")) == [Opinion.NO]


def test_hello_longer_than_the_stream_shows_its_name_at_the_limit() -> None:
    huge = client_hello(server_name(b"example.org"), (21, bytes(40000)))
    given = answers(CLIENT(records(huge)))
    found = [number for number, answer in enumerate(given) if isinstance(answer, Evidence)]
    assert found == [STREAM_LIMIT // 1460]
    evidence = given[found[0]]
    assert isinstance(evidence, Evidence)
    assert evidence.reason == "the start of a very long ClientHello"
    assert evidence.facts == {"tls.sni": "example.org", "tls.ech": False}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(records(b"\1\xff\xff\xff\3\3" + bytes(32) + b"\0\xff\xfe" + bytes(20000)), id="endless ciphers"),
        pytest.param(records(b"\2\0\xff\xff\3\3" + bytes(36) + b"\xff\xd7" + bytes(20000)), id="endless ServerHello"),
        pytest.param(b"\xff\xff\1\3\1\x7f\xe6\0\0\0\x10" + bytes(20000), id="endless SSL 2.0 hello"),
    ],
)
def test_absurd_lengths_do_not_wait_beyond_the_stream_limit(data: bytes) -> None:
    given = answers(CLIENT(data))
    assert given[-1] is Opinion.NO
    assert len(given) == STREAM_LIMIT // 1460 + 1


def test_connection_joined_in_its_middle_is_probable_by_records_of_both_sides() -> None:
    evidence = finding(CLIENT(APPLICATION_DATA), SERVER(APPLICATION_DATA), midstream=True)
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.PROBABLE, False, {})
    assert evidence.reason == "both sides begin with a TLS application data record"
    assert answers(CLIENT(APPLICATION_DATA * 9), midstream=True) == [Opinion.MORE]


def test_connection_joined_in_the_middle_of_a_record_is_refused() -> None:
    assert answers(CLIENT(APPLICATION_DATA[7:]), midstream=True) == [Opinion.NO]
    assert answers(CLIENT(APPLICATION_DATA), SERVER(b"\x17\x03\x03\x50\x00"), midstream=True)[-1] is Opinion.NO


def test_download_of_longest_records_is_probable_when_joined_in_its_middle() -> None:
    bulk = records(bytes(40000), content_type=23, version=0x0303)
    evidence = finding(CLIENT(APPLICATION_DATA), SERVER(bulk), midstream=True)
    assert evidence.confidence is Confidence.PROBABLE


def test_handshake_whose_opening_was_not_seen_is_still_read() -> None:
    evidence = finding(CLIENT(records(HELLO)), SERVER(records(ANSWER)), midstream=True)
    assert evidence.confidence is Confidence.CONFIRMED


def test_flows_learn_nothing_from_each_other() -> None:
    asking, answering = Tls(), Tls()
    asked, answered = Conversation(), Conversation()
    asked.data = asked.client = records(HELLO)
    answered.data = answered.server = records(ANSWER)
    answered.from_client = False
    asking.feed(asked)
    evidence = answering.feed(answered)
    assert isinstance(evidence, Evidence)
    assert evidence.confidence is Confidence.PROBABLE


PIECES = st.sampled_from(
    [records(HELLO), records(HELLO, size=9), records(ANSWER), FATAL_ALERT, APPLICATION_DATA, SSLV2, b"\x16\x03\x01\0\0"]
)
MIXTURES = st.lists(st.one_of(PIECES, st.binary(max_size=9)))
SIDES = st.builds(lambda pieces, end: b"".join(pieces)[:end], MIXTURES, st.integers(1, 400))


@given(SIDES, SIDES, st.integers(1, 50), st.booleans())
def test_segments_never_matter(client: bytes, server: bytes, segment: int, midstream: bool) -> None:
    messages = [message for message in (CLIENT(client), SERVER(server)) if message[1]]
    whole, cut = (answers(*messages, segment=size, midstream=midstream) for size in (1 << 16, segment))
    assert last_evidence(whole) == last_evidence(cut)
    assert (whole[-1:] == [Opinion.NO]) == (cut[-1:] == [Opinion.NO])


@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans())
def test_any_bytes_are_an_answer(client: bytes, server: bytes, midstream: bool) -> None:
    messages = [CLIENT(client), SERVER(server), CLIENT(b"\x16\x03\x01" + sized(client, 2)), SERVER(b"\x80" + server)]
    for answer in answers(*messages, midstream=midstream):
        assert isinstance(answer, Evidence | Opinion)
