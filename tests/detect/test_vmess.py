"""VMess with a clear body: noise of its lengths in front, and what is a little longer, shorter or not noise."""

import pytest

from middlebox.detect.vmess import VMess
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import CLEAR_REQUEST, CLEAR_RESPONSE, VMESS_ANSWER, VMESS_REQUEST


def tcp(*messages: Message) -> Evidence | None:
    return last_evidence(stream(VMess(), messages))


def answers(*messages: Message) -> list[Answer]:
    return list(stream(VMess(), messages))


def test_noise_in_front_of_two_halves_confirms() -> None:
    evidence = tcp(CLIENT(VMESS_REQUEST + CLEAR_REQUEST), SERVER(VMESS_ANSWER + CLEAR_RESPONSE))
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("vmess", Confidence.CONFIRMED)
    assert evidence.reason == "109 and 38 bytes of noise, as in VMess, and behind them two halves of a clear protocol"


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (VMESS_REQUEST + CLEAR_REQUEST, noise(41) + CLEAR_RESPONSE),
        (VMESS_REQUEST + CLEAR_REQUEST, noise(39) + CLEAR_RESPONSE),
        (VMESS_REQUEST + CLEAR_REQUEST, bytes(40) + CLEAR_RESPONSE),
        (VMESS_REQUEST + CLEAR_REQUEST, VMESS_ANSWER + noise(60)),
        (VMESS_REQUEST + noise(60), VMESS_ANSWER + CLEAR_RESPONSE),
        (noise(600) + CLEAR_REQUEST, VMESS_ANSWER + CLEAR_RESPONSE),
    ],
    ids=["longer", "shorter", "no-noise", "server-noise", "client-noise", "too-late"],
)
def test_other_exchanges_are_refused(client: bytes, server: bytes) -> None:
    assert answers(CLIENT(client), SERVER(server))[-1] is Opinion.NO


@pytest.mark.parametrize("client", [b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n" * 3, bytes(120)])
def test_a_client_that_is_not_noise_is_refused_at_once(client: bytes) -> None:
    assert answers(CLIENT(client)) == [Opinion.NO]


def test_an_answer_before_the_request_is_whole_ends_it() -> None:
    assert answers(CLIENT(noise(60)), SERVER(noise(10)))[-1] is Opinion.NO
    assert answers(SERVER(noise(60))) == [Opinion.NO]
