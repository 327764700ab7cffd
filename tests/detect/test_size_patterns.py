"""Sizes: offload undone, groups at their borders, grams in order, bursts by direction."""

import pytest

from middlebox.detect.size_patterns import GRAMS, WINDOW_PACKETS, bursts, gram_name, grams, letter, split


def test_what_an_offload_merged_is_cut_into_segments() -> None:
    assert split([517, -(2 * 1448 + 700), 80]) == [517, -1448, -1448, -700, 80]


def test_whole_segments_leave_no_rest() -> None:
    assert split([-2896]) == [-1448, -1448]


def test_a_segment_without_tcp_options_is_not_cut() -> None:
    assert split([1460, -1461]) == [1460, -1448, -13]


def test_one_huge_packet_fills_no_more_than_the_window() -> None:
    assert split([-65_000]) == [-1448] * WINDOW_PACKETS
    assert len(split([10] * 60)) == WINDOW_PACKETS
    assert split([1, -5000, 2], window=3) == [1, -1448, -1448]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 0), (160, 0), (161, 1), (600, 1), (601, 2), (1210, 2), (1211, 3), (-1, 4), (-160, 4), (-161, 5), (-1448, 7)],
)
def test_groups_begin_where_they_should(size: int, expected: int) -> None:
    assert letter(size) == expected


def test_overhead_is_taken_off_before_grouping() -> None:
    assert (letter(180), letter(180, overhead=20)) == (1, 0)
    assert letter(-10, overhead=34) == 4


def test_grams_keep_order_and_have_names() -> None:
    found = list(grams([517, -1448, 80, -255]))
    assert [gram_name(gram) for gram in found] == ["(L2,-L4,L1)", "(-L4,L1,-L2)"]
    assert all(0 <= gram < GRAMS for gram in found)
    assert list(grams([1, 2])) == []


def test_bursts_end_where_the_direction_changes() -> None:
    assert bursts([517, -1448, -1448, -700, 80]) == [517, -3596, 80]
    assert bursts([]) == []
