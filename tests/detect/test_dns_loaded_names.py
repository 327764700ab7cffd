"""Many long names of one domain: which names count, and what the memory keeps."""

import pytest

from middlebox.detect.dns_loaded_names import DnsLoadedNames, Tallies
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, Message, datagrams, last_evidence
from tests.detect.sample import noise
from tests.detect.samples_clear_proxies import A, dns_query, loaded_queries


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def udp(*messages: Message, tallies: Tallies | None = None, spacing: float = 0.01) -> Confidence | None:
    return level(last_evidence(datagrams(DnsLoadedNames(tallies), messages, spacing=spacing)))


def test_levels_rise_with_the_number_of_names() -> None:
    assert udp(*loaded_queries(3)) is None
    assert udp(*loaded_queries(4)) is Confidence.POSSIBLE
    assert udp(*loaded_queries(8)) is Confidence.PROBABLE


def test_one_name_asked_often_is_nothing() -> None:
    assert udp(*loaded_queries(1) * 20) is None


def test_lookups_of_addresses_are_nothing() -> None:
    assert udp(*loaded_queries(20, A)) is None


def test_names_are_counted_over_all_flows_of_a_client() -> None:
    tallies = Tallies()
    assert [udp(message, tallies=tallies) for message in loaded_queries(8)] == [
        *[None] * 3,
        *[Confidence.POSSIBLE] * 4,
        Confidence.PROBABLE,
    ]


def test_names_that_come_seldom_are_forgotten() -> None:
    assert udp(*loaded_queries(20), spacing=160.0) is None


def test_the_memory_is_bounded() -> None:
    tallies = Tallies()
    for seed in range(1000):
        name = noise(20, seed).hex().encode()
        assert tallies.count((name, b"domain%d" % seed, b"org"), 16, 1.0)
        assert tallies.count((name, b"example", b"org"), 16, 1.0)
    assert len(tallies._domains) <= 64
    assert len(tallies._domains[b"example", b"org"].names) <= 16


@pytest.mark.parametrize(
    "labels",
    [
        (b"r3---sn-4g5ednsl", b"googlevideo", b"com"),
        (b"ec2-203-0-113-25", b"compute-1", b"amazonaws", b"com"),
        (b"this-is-a-very-long-name-of-a-tracker-and-its-campaign", b"example", b"org"),
        (b"20230601", b"_domainkey", b"example", b"org"),
        (b"7", b"113", b"0", b"203", b"zen", b"spamhaus", b"org"),
        (*(b"%x" % (number % 16) for number in range(32)), b"ip6", b"arpa"),
        (noise(20).hex().encode(), b"local"),
        (b"_" + noise(20).hex().encode(), b"_tcp", b"example", b"org"),
    ],
)
def test_ordinary_long_names_do_not_count(labels: tuple[bytes, ...]) -> None:
    assert Tallies().count(labels, 16, 0.0) is None


def test_raw_bytes_count() -> None:
    assert Tallies().count((bytes(range(0xC0, 0xF0)), b"t", b"example", b"org"), 10, 0.0)
    assert udp(CLIENT(dns_query(bytes(range(0xC0, 0xF0)), b"t", b"example", b"org"))) is None
