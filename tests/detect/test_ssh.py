"""SSH: who speaks first, lines before the banner, what a key exchange must look like."""

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.ssh import Ssh
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples import HTTP_REQUEST, SSH_CLIENT, SSH_SERVER, key_exchange

BOTH = {
    "ssh.client.proto_version": "2.0",
    "ssh.client.software_version": "OpenSSH_9.2p1",
    "ssh.server.proto_version": "2.0",
    "ssh.server.software_version": "dropbear_2022.83",
}


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Ssh(), messages, segment=segment))


def test_one_identification_string_is_probable_with_its_facts() -> None:
    evidence = tcp(SERVER(SSH_SERVER))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert evidence.facts == {"ssh.server.proto_version": "2.0", "ssh.server.software_version": "dropbear_2022.83"}
    assert evidence.reason == "an identification string from the server"


def test_both_identification_strings_are_still_probable() -> None:
    evidence = tcp(SERVER(SSH_SERVER), CLIENT(SSH_CLIENT))
    assert evidence
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.PROBABLE, True, BOTH)


@pytest.mark.parametrize("segment", [1, 5, 1460])
@pytest.mark.parametrize("who", [CLIENT, SERVER])
def test_key_exchange_of_either_side_confirms(who: type, segment: int) -> None:
    evidence = tcp(CLIENT(SSH_CLIENT), SERVER(SSH_SERVER), who(key_exchange()), segment=segment)
    assert evidence
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.CONFIRMED, False, BOTH)


def test_client_that_does_not_wait_for_the_server_confirms_on_its_banner() -> None:
    evidence = tcp(CLIENT(SSH_CLIENT + key_exchange()), SERVER(SSH_SERVER))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize("segment", [1, 1460])
def test_server_may_send_other_lines_first(segment: int) -> None:
    banner = "Authorised use only.\r\nZugang nur f\u00fcr Befugte\nSS\r\n".encode()
    evidence = tcp(SERVER(banner + SSH_SERVER), CLIENT(SSH_CLIENT), CLIENT(key_exchange()), segment=segment)
    assert evidence
    assert (evidence.confidence, evidence.facts) == (Confidence.CONFIRMED, BOTH)


def test_lines_before_the_banner_are_searched_not_counted() -> None:
    """Eight thousand empty lines took 2 ms a packet when each was looked at."""
    server = b"\n" * 8000
    assert min(timeit.repeat(lambda: tcp(SERVER(server), segment=8000), number=1, repeat=20)) < 0.5e-3


def test_client_may_not_send_other_lines_first() -> None:
    assert next(stream(Ssh(), [CLIENT(b"hello\r\n" + SSH_CLIENT)])) is Opinion.NO


@pytest.mark.parametrize(
    ("line", "proto", "software"),
    [
        (b"SSH-1.99-Cisco-1.25\n", "1.99", "Cisco-1.25"),
        (b"SSH-2.0-\r\n", "2.0", ""),
        (b"SSH-2.0-mod_sftp caf\xe9\r\n", "2.0", "mod_sftp"),
        (b"SSH-1.5-OpenSSH_3.4\n", "1.5", "OpenSSH_3.4"),
    ],
)
def test_unusual_identification_strings_are_read(line: bytes, proto: str, software: str) -> None:
    evidence = tcp(SERVER(line))
    assert evidence
    assert evidence.facts == {"ssh.server.proto_version": proto, "ssh.server.software_version": software}


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-two-x\r\n",
        b"SSH-2.0 OpenSSH\r\n",
        b"SSH-2.0-" + b"x" * 248,
        b"SSH-2.0-x\x00",
        b"\nSSH-2.0-x\r\n",
        b"\x16\x03\x01",
        HTTP_REQUEST,
    ],
)
def test_what_is_not_an_identification_string_is_refused_at_once(data: bytes) -> None:
    assert next(stream(Ssh(), [CLIENT(data)])) is Opinion.NO


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([SERVER(b"\x4a\x00\x00\x00\x0a8.0.36\x00")], id="MySQL greeting"),
        pytest.param([SERVER(b"x\x00\r\n" + SSH_SERVER)], id="NUL before the banner"),
        pytest.param([SERVER(b"x" * 8192)], id="endless text"),
        pytest.param([SERVER(b"220 ready\r\n"), CLIENT(b"EHLO a\r\n")], id="SMTP"),
        pytest.param([SERVER(b"RFB 003.008\n"), CLIENT(b"RFB 003.008\n")], id="VNC"),
    ],
)
def test_servers_that_speak_first_are_not_ssh(messages: list[Message]) -> None:
    answers = list(stream(Ssh(), messages))
    assert answers[-1] is Opinion.NO
    assert not last_evidence(answers)


PACKET = key_exchange()


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(PACKET[:5] + b"\x15" + PACKET[6:], id="another message"),
        pytest.param(b"\x00\x00\x88\xbc" + PACKET[4:], id="too long"),
        pytest.param(b"\x00\x00\x00\x3c" + PACKET[4:], id="too short"),
        pytest.param(PACKET[:3] + bytes([PACKET[3] + 1]) + PACKET[4:], id="not whole blocks"),
        pytest.param(PACKET[:4] + b"\x03" + PACKET[5:], id="too little padding"),
        pytest.param(b"Invalid SSH identification string.\r\n", id="text"),
    ],
)
def test_what_is_not_a_key_exchange_does_not_confirm(packet: bytes) -> None:
    for messages in ([SERVER(SSH_SERVER), CLIENT(SSH_CLIENT), SERVER(packet)], [SERVER(SSH_SERVER + packet)]):
        answers = list(stream(Ssh(), [*messages, CLIENT(SSH_CLIENT + PACKET)]))
        evidence = last_evidence(answers)
        assert evidence
        assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, BOTH)
        assert answers[-1] is Opinion.NO or not evidence.more


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
def test_detector_never_raises(client: bytes, server: bytes, marked: bool) -> None:
    mark = b"SSH-2.0-" if marked else b""
    list(stream(Ssh(), [SERVER(mark + server), CLIENT(mark + client)], segment=7))
    list(stream(Ssh(), [SERVER(SSH_SERVER + server), CLIENT(SSH_CLIENT + client)]))
