"""Sequence numbers of ESP and AH: what counts as an advance, and where headers do not add up."""

import pytest

from middlebox.detect.esp_packet import MAX_STEP, Associations, Judge, Position, parse_ah, parse_esp
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.samples_classic_vpn import ah, esp, ip4


def test_only_small_steps_forward_advance() -> None:
    known = Associations()
    for sequence, is_expected, advances in ((10, True, 0), (11, True, 1), (11, True, 1), (9, True, 1), (13, True, 2)):
        assert known.add(Position(300, sequence), from_client=True) is is_expected
        assert known.advances == [0, advances]
    assert not known.add(Position(300, 14 + MAX_STEP), from_client=True)
    assert not known.add(Position(300, 13 - MAX_STEP - 1), from_client=True)
    assert known.both == 0


def test_many_associations_are_bounded_and_one_that_advances_counts() -> None:
    known = Associations()
    for spi in range(1000, 1100):
        known.add(Position(spi, 1), from_client=True)
    assert len(known.indices(from_client=True)) == 8
    known.add(Position(1099, 2), from_client=True)
    assert known.advances == [0, 1]


@pytest.mark.parametrize("wrong", [esp(255, 1), esp(300, 0), esp(300, 1, 21), esp(300, 1, 16), b"\0\0\1"])
def test_what_cannot_be_esp(wrong: bytes) -> None:
    assert parse_esp(wrong, len(wrong)) is None


def test_esp_of_which_only_the_header_was_captured() -> None:
    assert parse_esp(esp(300, 7)[:8], 120) == Position(300, 7)


def test_ah_tells_what_follows_and_where() -> None:
    packet = ah(300, 7, ip4())
    assert parse_ah(packet, len(packet)) == (Position(300, 7), 4, 24)


@pytest.mark.parametrize("wrong", [b"\4\4\0\1", b"\4\1\0\0", b"\4\xff\0\0"])
def test_ah_whose_length_or_reserved_bytes_are_wrong(wrong: bytes) -> None:
    packet = wrong + ah(300, 7, ip4())[4:]
    assert parse_ah(packet, len(packet)) is None


def test_a_protocol_number_alone_is_possible_and_a_header_makes_it_probable() -> None:
    judge = Judge("ESP")
    first, second = judge.judge(None, from_client=True), judge.judge(Position(300, 1), from_client=True)
    assert isinstance(first, Evidence)
    assert isinstance(second, Evidence)
    assert (first.confidence, second.confidence) == (Confidence.POSSIBLE, Confidence.PROBABLE)


def test_one_direction_is_not_waited_for_for_ever() -> None:
    judge = Judge("ESP")
    given = [judge.judge(Position(300, number), from_client=True) for number in range(1, 13)]
    assert given[1:] == [Opinion.MORE] * 10 + [Opinion.NO]
