"""BitTorrent: torrents, transactions, and dictionaries of other programs."""

import pytest

from middlebox.detect.bittorrent import BitTorrent
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence, stream
from tests.detect.samples_ordinary_udp import DHT_QUERY, TRACKER_REQUEST, TRACKER_RESPONSE, noise, peer


@pytest.mark.parametrize("segment", [1, 7, 1460])
def test_handshakes_must_name_one_torrent(segment: int) -> None:
    same = last_evidence(stream(BitTorrent(), [SERVER(peer(2)), CLIENT(peer(1))], segment=segment))
    assert same
    assert same.reason == "both peers' handshakes name the same torrent"
    other = peer(2)[:28] + noise(20, 6) + peer(2)[48:]
    answers = list(stream(BitTorrent(), [CLIENT(peer(1)), SERVER(other)], segment=segment))
    assert answers[-1] is Opinion.NO


def test_a_torrent_of_both_versions_has_two_hashes() -> None:
    offer = peer(1)[:27] + b"\x10" + peer(1)[28:]
    other = peer(2)[:28] + noise(20, 6) + peer(2)[48:]
    evidence = last_evidence(stream(BitTorrent(), [CLIENT(offer), SERVER(other)]))
    assert evidence
    assert evidence.reason == "both peers' handshakes, one of which offers the torrent's other hash"


def test_encrypted_peers_are_not_told() -> None:
    assert list(stream(BitTorrent(), [CLIENT(noise(300, 4))])) == [Opinion.NO]


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("no kind", DHT_QUERY.replace(b"1:y1:q", b"1:x1:q")),
        ("no transaction", DHT_QUERY.replace(b"1:t2:aa", b"1:s2:aa")),
        ("no end", DHT_QUERY[:-1]),
        ("a transaction without a length", DHT_QUERY.replace(b"1:t2:aa", b"1:t:aaa")),
        ("another dictionary", b"d3:foo3:bare"),
        ("another action", TRACKER_REQUEST[:11] + b"\x01" + TRACKER_REQUEST[12:]),
        ("a response that nobody asked for", TRACKER_RESPONSE),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(BitTorrent(), [CLIENT(first)])) == [Opinion.NO], why


def test_other_transactions_link_nothing() -> None:
    evidence = last_evidence(datagrams(BitTorrent(), [CLIENT(TRACKER_REQUEST), SERVER(bytes(16))]))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE
