"""Scrambled OpenVPN: opcodes under any mask, opcodes under any substitution, and near misses of sizes and bits."""

import pytest

from middlebox.detect.openvpn_patterns import OpenVpnPatterns
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_openvpn_wireguard import SCRAMBLED, SUBSTITUTED, scrambled


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(OpenVpnPatterns(), messages))


@pytest.mark.parametrize("mask", [1, 0x74, 0x80, 0xFF])
def test_any_mask_is_seen_at_the_fourth_packet(mask: int) -> None:
    masked = [(side, bytes((data[0] ^ 0x74 ^ mask,)) + data[1:]) for side, data in SCRAMBLED]
    evidence = udp(*masked[:4])
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("openvpn", Confidence.PROBABLE, False)
    assert udp(*masked[:3]) is None


def test_without_a_mask_it_is_left_to_the_detector_that_reads_it() -> None:
    assert list(datagrams(OpenVpnPatterns(), [CLIENT(scrambled(7, 14, mask=0))])) == [Opinion.NO]


def test_a_repeated_reset_is_passed_over() -> None:
    assert udp(SCRAMBLED[0], SCRAMBLED[0], *SCRAMBLED[:4])


def test_substituted_opcodes_need_a_longer_look() -> None:
    evidence = udp(*SUBSTITUTED)
    assert evidence
    assert evidence.reason == "first bytes repeat like opcodes, and resets and acknowledgements have OpenVPN's sizes"
    assert udp(*SUBSTITUTED[:11]) is None


@pytest.mark.parametrize(
    ("why", "at", "message"),
    [
        ("a reset of another size", 0, CLIENT(scrambled(7, 85))),
        ("an answer of another size", 1, SERVER(scrambled(8, 97))),
        ("an answer from the same side", 1, CLIENT(scrambled(8, 98))),
        ("the first byte of the reset again", 1, SERVER(scrambled(7, 98))),
        ("a bit that no opcode has", 1, SERVER(scrambled(8, 98, mask=0x75))),
        ("an acknowledgement of another size", 3, SERVER(scrambled(5, 95))),
        ("an opcode that no handshake has", 3, SERVER(scrambled(3, 94))),
    ],
)
def test_one_thing_wrong_and_it_is_nothing(why: str, at: int, message: Message) -> None:
    messages = [*SCRAMBLED[:at], message, *SCRAMBLED[at + 1 : 4]]
    assert udp(*messages) is None, why


def test_substitution_needs_sizes_and_both_kinds() -> None:
    resets = SUBSTITUTED[:2]
    short = tuple((side, data[:120]) for side, data in SUBSTITUTED[2:])
    assert udp(*resets, *short * 2) is None
    again = (*SUBSTITUTED[:6], SUBSTITUTED[0], *SUBSTITUTED[7:])
    assert udp(*again) is None
