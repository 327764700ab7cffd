"""Noise over TCP: the first payload, both directions, a service's history, and the lengths that give a proxy away."""

import pytest

from middlebox.detect.fully_encrypted import FullyEncrypted, Service
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import exchange

PLAIN = (200, -222, 90, -3000)
"A request and an answer: noise that resembles nothing in particular."


def tcp(*messages: Message, service: Service | None = None) -> Evidence | None:
    return last_evidence(stream(FullyEncrypted(service), messages, segment=1448))


def answers(*messages: Message, midstream: bool = False) -> list[Answer]:
    return list(stream(FullyEncrypted(), messages, segment=1448, midstream=midstream))


def finding(*messages: Message, service: Service | None = None) -> tuple[str, str] | None:
    evidence = tcp(*messages, service=service)
    return (evidence.protocol, evidence.confidence.word) if evidence else None


POSSIBLE, PROBABLE = ("fully-encrypted", "possible"), ("fully-encrypted", "probable")


def test_the_first_payload_is_possible_with_its_numbers() -> None:
    (first,) = answers(CLIENT(b"\x8b\xd1\xe2\x95jjj" + noise(93)))
    assert isinstance(first, Evidence)
    assert (first.protocol, first.confidence, first.more) == ("fully-encrypted", Confidence.POSSIBLE, True)
    assert set(first.facts) == {"fully-encrypted.popcount", "fully-encrypted.printable"}
    assert 3.4 < float(str(first.facts["fully-encrypted.popcount"])) < 4.6


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + noise(500), bytes(40), b"\x05\x01\x00"]
)
def test_ordinary_first_payloads_are_refused_at_once(first: bytes) -> None:
    assert answers(CLIENT(first)) == [Opinion.NO]


def test_a_server_that_speaks_first_and_a_flow_joined_mid_way_are_refused() -> None:
    assert answers(SERVER(noise(500))) == [Opinion.NO]
    assert answers(CLIENT(noise(500)), midstream=True) == [Opinion.NO]


def test_a_payload_that_begins_with_its_length_is_no_more_than_possible() -> None:
    framed = [(True, b"\x01\xd5\x04" + noise(468)), *exchange(-903, 114, -289, 139, -289)]
    assert answers(*framed)[1:] == []
    assert finding(*framed) == POSSIBLE


def test_a_nonce_on_its_own_waits_and_the_rest_decides() -> None:
    nonce = CLIENT(b"\xffjkl\xf0jmo")  # exempt, because more than half is printable
    assert answers(nonce) == [Opinion.MORE]
    assert finding(nonce, *exchange(16, 517, -837, 80, -255, 104)) == PROBABLE
    assert answers(nonce, CLIENT(b"USER name\r\n" * 8), SERVER(b"PASS?\r\n" * 12))[-1] is Opinion.NO


def test_a_server_that_is_not_noise_ends_it() -> None:
    assert answers(CLIENT(noise(300)), SERVER(b"OK " * 100))[-1] is Opinion.NO


def test_noise_alone_stays_possible() -> None:
    assert finding(*exchange(*PLAIN)) == POSSIBLE
    assert answers(*exchange(*[(-1) ** number * (1400 - 40 * number) for number in range(30)]))[-1] is Opinion.NO


def test_an_upload_is_waited_for() -> None:
    assert finding(*exchange(16_000, -200, 300)) == POSSIBLE
    assert answers(*exchange(16_000, -200))[-1] is Opinion.MORE


# --- the service's history ----------------------------------------------------------------------------


def test_flows_to_one_service_show_together_what_one_does_not() -> None:
    service = Service()
    found = [finding(*exchange(*PLAIN, seed=seed), service=service) for seed in range(6)]
    assert found[0] == POSSIBLE
    assert found[-1] == PROBABLE
    evidence = tcp(*exchange(*PLAIN, seed=7), service=service)
    assert evidence
    assert evidence.reason.startswith(
        "the last 7 flows to this service were noise, and their bursts together like a TLS"
    )


def test_noise_in_short_messages_stays_possible_however_many_flows() -> None:
    service = Service()
    sizes = ((25, -168, 12, -389, 40, -20), (102, -19, 145, -27, 14, -58), (71, -9, 96, -300, 11, -84))
    for seed in range(24):
        assert finding(*exchange(*sizes[seed % 3], seed=seed), service=service) == POSSIBLE


def test_one_ordinary_flow_among_the_last_eight_prevents_that() -> None:
    service = Service()
    tcp(CLIENT(b"GET / HTTP/1.1\r\n\r\n"), service=service)
    found = [finding(*exchange(*PLAIN, seed=seed), service=service) for seed in range(8)]
    assert found == [POSSIBLE] * 7 + [PROBABLE], "the ordinary flow has left the last eight"


def test_flows_that_share_their_first_bytes_do_not_add_up() -> None:
    service = Service()
    for seed in range(8):
        said = [(sent, b"RC\x14\x14" + data) for sent, data in exchange(*PLAIN, seed=seed)]
        assert finding(*said, service=service) == POSSIBLE


def test_unfinished_flows_do_not_count() -> None:
    service = Service()
    for seed in range(6):
        tcp(CLIENT(noise(300, seed=seed)), service=service)
    assert finding(*exchange(*PLAIN), service=service) == POSSIBLE


# --- what lengths show --------------------------------------------------------------------------------


def test_bursts_of_a_tls_handshake_are_probable() -> None:
    evidence = tcp(*exchange(633, -903, 114, -289, 139, -289))
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("fully-encrypted", Confidence.PROBABLE, False)
    assert evidence.reason.startswith("noise both ways, in bursts like those of a TLS handshake that something")


@pytest.mark.parametrize(
    "sizes",
    [
        (758, -7297, 203, -6315, 790, -3257, 510),
        (300, -460, 110, -120, 17, -2896, 17, -16_397),
        (50, -103, 8, -8, 46, -29, 39, -3),
        (200, -222, 90, -16_000),
    ],
    ids=["random", "bittorrent", "skype", "http"],
)
def test_other_bursts_are_not(sizes: tuple[int, ...]) -> None:
    assert finding(*exchange(*sizes)) == POSSIBLE


@pytest.mark.parametrize("last", [16_383, 16_417])
def test_a_full_chunk_of_shadowsocks(last: int) -> None:
    assert finding(*exchange(200, -222, 90, -last)) == ("shadowsocks", "probable")
    assert finding(*exchange(200, -222, 90, 1 - last)) == POSSIBLE


def test_a_first_chunk_of_shadowsocks_with_its_salt() -> None:
    assert finding(*exchange(618, -16_449)) == ("shadowsocks", "probable")


def test_two_buffers_of_v2ray() -> None:
    assert finding(*exchange(280, -2048, 90, -2048)) == ("vmess", "probable")
    assert finding(*exchange(280, -2048, 90, -2047)) == POSSIBLE


def test_vmess_answer_header_on_its_own() -> None:
    assert finding(*exchange(125, 227, -38, -236, 222)) == ("vmess", "probable")
    assert finding(*exchange(125, 227, -39, -236, 222)) == POSSIBLE
    assert finding(*exchange(60, 227, -38, -236, 222)) == POSSIBLE


def test_shadowsocks_2022_with_a_client_hello_of_its_own() -> None:
    assert finding(*exchange(811, 551, -2888, 382)) == ("shadowsocks", "probable")
    assert finding(*exchange(811, 552, -9000, 900)) == POSSIBLE


def test_salts_on_their_own() -> None:
    assert finding(*exchange(32, 50, 113, -32, -270)) == ("shadowsocks", "probable")
    assert finding(*exchange(32, 50, 113, -33, -270)) == POSSIBLE
    assert finding(*exchange(32, -32, 50, -113, 90)) != ("shadowsocks", "probable"), "keys are exchanged in turn"


def test_bursts_of_obfs4_are_probable_without_the_name() -> None:
    assert finding(*exchange(5063, -5970, 641, -1167)) == PROBABLE


def test_a_bridges_table_of_lengths_gives_the_name() -> None:
    service = Service()
    found = [finding(*exchange(*sizes, seed=seed), service=service) for seed, sizes in enumerate(TABLE)]
    assert found[0] == POSSIBLE
    assert found[-1] == ("obfs4", "probable")


TABLE = (
    (807, -300, 185, -523, 878, -906),
    (350, -410, 523, -185, 1169, -878),
    (690, -700, 906, -1169, 283, -283),
)
"Handshakes whose lengths show nothing, then lengths out of six."


def test_key_exchange_and_frames_are_no_noise() -> None:
    keys = (CLIENT(noise(64)), SERVER(noise(64, seed=1)))
    said = (*keys, CLIENT(b"\x00\x50" + noise(80)), SERVER(b"\x00\x60" + noise(96)))
    assert answers(*said)[-1] is Opinion.NO


def test_compressed_files_are_noise_only_at_first() -> None:
    biased = bytes(byte & 0x7F | 0x80 * (number % 3 > 0) for number, byte in enumerate(noise(4000)))
    said = (CLIENT(noise(200)), SERVER(noise(64) + biased), *exchange(90, -16_383))
    assert finding(*said) == POSSIBLE
