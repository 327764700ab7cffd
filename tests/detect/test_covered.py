"""Other proxies inside TLS: each of their lengths must fit, and ordinary sessions must not."""

import pytest

from middlebox.detect.anytls import AnyTls
from middlebox.detect.base import Detector
from middlebox.detect.shadowtls import ShadowTls
from middlebox.detect.tls_tunnel import TlsTunnel
from middlebox.detect.tls_websocket import TlsWebSocket
from middlebox.detect.tor import Tor
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, Message, last_evidence, stream
from tests.detect.covers import data, handshake, handshake12, record, session
from tests.detect.samples_covered import ANYTLS, SOCKS, SSH, TOR, TROJAN, WEB_SOCKET_DOWNLOAD

ORDINARY: list[tuple[int, ...]] = [
    (98, -3200),
    (517, -2400, 520, -1800, 517, -900),
    (105, *[-16384] * 6),
    (64, 88, -31, -9, 357, -1800, 9, 74, -900),
    (64, 354, 424, -40, -9, -1800),
    (430, -129, 6, 80, -2, -60, 6, 64, -2, -30),
    (-52, 24, -40, 64, -80, 80, -1200),
    (16, -20, 300, -1200),
    (11, -514, 300, -900),
    TROJAN,
]


def judge(kind: type[Detector], messages: tuple[Message, ...]) -> Evidence | None:
    return last_evidence(stream(kind(), messages))


@pytest.mark.parametrize("kind", [AnyTls, ShadowTls, TlsTunnel, TlsWebSocket, Tor])
def test_ordinary_sessions_are_none(kind: type[Detector]) -> None:
    for sizes in ORDINARY:
        assert judge(kind, session(*sizes)) is None, sizes
        assert judge(kind, handshake12() + data(sizes, 24)) is None, sizes


@pytest.mark.parametrize("kind", [AnyTls, ShadowTls, TlsTunnel, TlsWebSocket, Tor])
def test_one_request_settles_it(kind: type[Detector]) -> None:
    answers = list(stream(kind(), session(517, -1200, 520, -1200)))
    assert answers[-1] is Opinion.NO
    assert len(answers) <= 6


def test_anytls_needs_every_length() -> None:
    assert judge(AnyTls, session(*ANYTLS)) is not None
    assert judge(AnyTls, session(64, 301, -10, 458, -253)) is not None
    for sizes in ((65, *ANYTLS[1:]), (64, 99, *ANYTLS[2:]), (64, 354, 501, -10), (64, 354, 424, -40)):
        assert judge(AnyTls, session(*sizes)) is None, sizes
    assert judge(AnyTls, session(*ANYTLS[:3])) is None


def test_anytls_behind_session_tickets() -> None:
    assert judge(AnyTls, session(-74, -74, *ANYTLS)) is not None


@pytest.mark.parametrize(
    ("why", "server", "finished", "is_shadowtls"),
    [
        ("SHA-256", (27, 499, 100, 57), 53, True),
        ("SHA-384", (27, 499, 100, 73), 69, True),
        ("a genuine handshake", (23, 495, 96, 53), 53, False),
        ("another hash on each side", (27, 499, 100, 73), 53, False),
        ("all messages in one record", (650,), 53, False),
        ("EncryptedExtensions with the Finished of a resumption", (59,), 53, False),
        ("a client that sends early data", (27, 499, 100, 57), 300, False),
    ],
)
def test_shadowtls_adds_four_bytes(why: str, server: tuple[int, ...], finished: int, is_shadowtls: bool) -> None:
    messages = handshake(server=server, finished=finished) + data((300, -900))
    assert (judge(ShadowTls, messages) is not None) == is_shadowtls, why


def test_tor_needs_cells_from_both_sides() -> None:
    assert judge(Tor, session(*TOR)) is not None
    assert judge(Tor, session(-57, -57, *TOR)) is not None
    assert judge(Tor, session(*TOR[:4])) is None
    assert judge(Tor, session(11, -2037, 514, 514, 514, 1028)) is None
    assert judge(Tor, session(12, *TOR[1:])) is None
    assert judge(Tor, session(11, -2037, 1028, -514, 1029, -514)) is None


def test_tor_with_a_name_that_it_makes_up_needs_fewer_cells() -> None:
    for name, is_tor in ((b"www.k2fgcqd7v5x.com", True), (b"www.example1.com", False), (b"k2fgcqd7v5x.com", False)):
        evidence = judge(Tor, handshake(name=name) + data(TOR[:4]))
        assert (evidence is not None) == is_tor, name


def test_tor_under_tls12_with_either_cipher() -> None:
    for overhead in (24, 16):
        evidence = judge(Tor, handshake12() + data(TOR, overhead))
        assert evidence, overhead
        assert evidence.facts == {"tor.versions": 3}


def test_ssh_packets_must_be_whole_blocks() -> None:
    evidence = judge(TlsTunnel, session(*SSH))
    assert evidence
    assert evidence.facts == {"tls-tunnel.inner": "ssh"}
    assert judge(TlsTunnel, session(-250, -42, 41, -1080, 1536, 1208, -1600)) is not None
    assert judge(TlsTunnel, session(41, -42, 1535, -1080, 48)) is None
    assert judge(TlsTunnel, session(41, -42, 1536, -1081, 48)) is None
    assert judge(TlsTunnel, session(41, -42, 1536, -1080, 56)) is None


def test_socks_messages_must_follow_each_other() -> None:
    evidence = judge(TlsTunnel, session(*SOCKS))
    assert evidence
    assert evidence.facts == {"tls-tunnel.inner": "socks5"}
    assert judge(TlsTunnel, session(-249, -249, 4, -2, 10, -22)) is not None
    for sizes in ((5, -2, 19, -10), (3, -3, 19, -10), (3, -2, 9, -10), (3, -2, 19, -11), (3, 19, -10, -2)):
        assert judge(TlsTunnel, session(*sizes)) is None, sizes


def test_websocket_needs_a_bare_upgrade_and_a_transfer() -> None:
    assert judge(TlsWebSocket, session(*WEB_SOCKET_DOWNLOAD)) is not None
    assert judge(TlsWebSocket, session(-249, 188, -249, -129, 34, *[7116] * 2)) is not None
    apart = (6, 46, 8, 196, 6, 27, -2, -38, -4, -145, -2, -22)
    assert judge(TlsWebSocket, session(189, -129, *apart)) is not None
    for why, sizes in (
        ("headers of one side only", (189, -129, *apart[:-1])),
        ("headers of the wrong length", (189, -129, *(8 if size == 6 else size for size in apart))),
        ("a browser's request", (430, -129, 255, *[-2052] * 8)),
        ("a server that tells its name", (186, -170, 255, *[-2052] * 8)),
        ("no answer in between", (186, 255, -129, *[-2052] * 8)),
        ("a server that goes on by itself", (186, -129, *[-2052] * 8)),
        ("short messages", (186, -129, *[60, -2000] * 50)),
    ):
        assert judge(TlsWebSocket, session(*sizes)) is None, why


def test_a_server_that_speaks_first_in_tls_1_2_answers_no_upgrade() -> None:
    """Session tickets are handshake messages there: what comes first is HTTP/2's settings."""
    download = (177, -129, 34, *[-16_384] * 2)
    assert judge(TlsWebSocket, handshake12() + data(download, 24)) is not None
    assert judge(TlsWebSocket, handshake12() + data((-40, *download), 24)) is None


def test_cells_are_counted_whatever_the_segments_are() -> None:
    messages = (*handshake(), CLIENT(record(28)), *data(TOR[1:]))
    for segment in (1, 100, 1 << 16):
        evidence = last_evidence(stream(Tor(), messages, segment=segment))
        assert evidence
        assert evidence.confidence is Confidence.PROBABLE
