"""SSH tunnels: sizes under every kind of cipher, and sessions that are none."""

import pytest

from middlebox.detect.ssh_tunnel import Sizes, SshTunnel
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.samples_clear_proxies import CONFIRMATION, FORWARD, PROMISE, SESSION, ssh_encrypted, ssh_login

CIPHERS = [
    ("chacha20-poly1305@openssh.com", "umac-64-etm@openssh.com", 8, 16),
    ("aes128-gcm@openssh.com", "hmac-sha2-256", 16, 16),
    ("aes256-ctr", "hmac-sha2-256-etm@openssh.com", 16, 32),
    ("aes128-ctr", "umac-64-etm@openssh.com", 16, 8),
]
COMMAND, ACCEPTED = 176, (9, 5)


def tcp(*messages: Message, login: tuple[Message, ...] | None = None) -> Evidence | None:
    return last_evidence(stream(SshTunnel(), (*(login or ssh_login()), *messages)))


def ask(*payloads: int) -> Message:
    return CLIENT(ssh_encrypted(*payloads))


def answer(*payloads: int) -> Message:
    return SERVER(ssh_encrypted(*payloads))


@pytest.mark.parametrize(
    ("sizes", "payload", "on_wire"),
    [
        (Sizes(8, 16, counts_length=False), 1, 28),
        (Sizes(8, 16, counts_length=False), 24, 52),
        (Sizes(8, 16, counts_length=False), 34, 60),
        (Sizes(8, 16, counts_length=False), 66, 92),
        (Sizes(16, 16, counts_length=False), 24, 52),
        (Sizes(16, 32, counts_length=True), 24, 80),
        (Sizes(16, 20, counts_length=True), 1, 36),
    ],
)
def test_sizes_on_the_wire(sizes: Sizes, payload: int, on_wire: int) -> None:
    assert sizes.on_wire(payload) == on_wire
    assert sizes.may_hold(on_wire, payload, payload)
    assert not sizes.may_hold(on_wire + 1, payload, payload)


@pytest.mark.parametrize(("cipher", "mac", "block", "tag"), CIPHERS)
def test_a_promise_without_a_session_is_probable_under_every_cipher(
    cipher: str, mac: str, block: int, tag: int
) -> None:
    login = ssh_login(cipher, mac, block=block, tag=tag)
    evidence = tcp(CLIENT(ssh_encrypted(PROMISE, block=block, tag=tag)), login=login)
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
    session = (CLIENT(ssh_encrypted(SESSION, PROMISE, block=block, tag=tag)),)
    assert tcp(*session, login=login) is None


def test_a_forwarded_connection_is_possible_until_it_is_accepted() -> None:
    evidence = tcp(ask(FORWARD))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.POSSIBLE, True)
    evidence = tcp(ask(FORWARD), *[answer(230)] * 6)
    assert evidence
    assert evidence.confidence is Confidence.POSSIBLE
    evidence = tcp(ask(FORWARD), answer(230), answer(CONFIRMATION))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, False)


def test_reverse_forwarding_needs_the_promise_too() -> None:
    evidence = tcp(ask(36), answer(1))
    assert evidence
    assert evidence.confidence is Confidence.POSSIBLE
    evidence = tcp(ask(36), ask(36), ask(PROMISE))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize("first", [(SESSION,), (SESSION, PROMISE)])
@pytest.mark.parametrize("then", [(10,), (60,), (120, 40), (2000,)])
def test_a_session_is_none_of_ours(first: tuple[int, ...], then: tuple[int, ...]) -> None:
    messages = (ask(*first), answer(230), answer(CONFIRMATION), ask(*then), answer(9, 5), ask(30), answer(44))
    assert tcp(*messages) is None


def upload(size: int) -> tuple[Message, ...]:
    return tuple(CLIENT(bytes(1448)) for _ in range(size // 1448 + 1))


def test_sshuttle_is_a_long_command_a_program_and_a_mark() -> None:
    started = (ask(SESSION, PROMISE), answer(CONFIRMATION), ask(COMMAND), answer(*ACCEPTED))
    evidence = tcp(*started, *upload(9000), answer(23))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
    assert tcp(*started, *upload(9000), answer(120)) is None
    assert tcp(*started, *upload(3000), answer(23)) is None
    assert tcp(*started, answer(23)) is None


def test_what_cannot_be_measured_is_left_alone() -> None:
    for login in (
        ssh_login(compression="zlib@openssh.com"),
        ssh_login("aes128-ctr", "hmac-of-tomorrow"),
        ssh_login()[::2],
    ):
        assert tcp(ask(PROMISE), login=login) is None
    assert list(stream(SshTunnel(), (*ssh_login(), ask(PROMISE)), midstream=True))[-1] is Opinion.NO


def test_a_login_that_fails_is_waited_for_only_so_long() -> None:
    tries = [message for _ in range(30) for message in (ask(60), answer(40))]
    assert list(stream(SshTunnel(), (*ssh_login()[:-1], *tries)))[-1] is Opinion.NO
