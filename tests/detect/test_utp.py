"""uTP: SYNs and their answers, connections joined later, and what has only the header's form."""

import pytest

from middlebox.detect.utp import Utp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import UTP_HANDSHAKE, noise, utp


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Utp(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def test_a_syn_alone_is_possible() -> None:
    assert level(udp(UTP_HANDSHAKE[0])) is Confidence.POSSIBLE


def test_joined_later_numbers_must_acknowledge_each_other() -> None:
    def later(ids: tuple[int, int], behind: int) -> list[Message]:
        return [
            message
            for n in range(4)
            for message in (
                CLIENT(utp(1, ids[0], 9500 + n, 90 + n, noise(50, n))),
                SERVER(utp(0x21, ids[1], 91 + n, 9500 + n - behind)),
            )
        ]

    assert level(udp(*later((4712, 4711), 0))) is Confidence.CONFIRMED
    assert level(udp(*later((4711, 4712), 7))) is Confidence.CONFIRMED
    assert udp(*later((4712, 4712), 0)) is None
    assert udp(*later((4712, 4711), 5000)) is None


def test_one_way_is_probable() -> None:
    assert level(udp(*[CLIENT(utp(1, 4712, n, 90, noise(50, n))) for n in range(4)])) is Confidence.PROBABLE
    assert level(udp(*[CLIENT(utp(1, 4712, 9 * n, 90, noise(50, n))) for n in range(9)])) is None


def test_selective_acknowledgements_are_read() -> None:
    extended = bytes((0x21, 1)) + utp(0x21, 4711, 900, 1)[2:] + b"\x00\x04" + bytes(4)
    assert level(udp(UTP_HANDSHAKE[0], SERVER(extended))) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("a type that none has", utp(0x51, 1, 1, 0)),
        ("another version", utp(0x42, 1, 1, 0)),
        ("an extension that none has", b"\x41\x09" + utp(0x41, 1, 1, 0)[2:] + bytes(6)),
        ("an extension that is cut", b"\x41\x01" + utp(0x41, 1, 1, 0)[2:] + b"\x00\x08" + bytes(4)),
        ("a SYN with a payload", utp(0x41, 1, 1, 0, b"x")),
        ("too short", utp(0x41, 1, 1, 0)[:19]),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Utp(), [CLIENT(first)])) == [Opinion.NO], why
