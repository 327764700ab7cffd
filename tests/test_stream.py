"""TCP bytes in order: however a text is cut, shuffled and repeated, it comes out once and unchanged."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from middlebox.stream import MAX_HELD_SEGMENTS, StreamSide

LIMIT = 16 * 1024
WHOLE = 1 << 32


def push(side: StreamSide, sequence: int, payload: bytes) -> bytes:
    return side.push(sequence % WHOLE, payload, len(payload))


def opened(start: int = 0, limit: int = LIMIT) -> StreamSide:
    """A side whose first byte of data has the number `start`."""
    side = StreamSide(limit)
    side.open((start - 1) % WHOLE)
    return side


def test_segments_in_order_are_delivered_at_once() -> None:
    side = opened(100)
    assert [push(side, 100, b"ab"), push(side, 102, b"cd")] == [b"ab", b"cd"]


def test_a_segment_out_of_order_waits_for_the_gap() -> None:
    side = opened(100)
    assert push(side, 102, b"cd") == b""
    assert push(side, 104, b"ef") == b""
    assert push(side, 100, b"ab") == b"abcdef"


def test_a_retransmission_is_delivered_once() -> None:
    side = opened(100)
    assert push(side, 100, b"abcd") == b"abcd"
    assert push(side, 100, b"abcd") == b""
    assert push(side, 102, b"cdef") == b"ef"


def test_first_bytes_win_over_a_retransmission_with_other_bytes() -> None:
    side = opened(0)
    assert push(side, 0, b"abcd") == b"abcd"
    assert push(side, 0, b"XXXXef") == b"ef"


def test_first_bytes_win_among_held_segments() -> None:
    side = opened(0)
    push(side, 4, b"efgh")
    push(side, 2, b"XXXXXXXXij")
    assert push(side, 0, b"ab") == b"abXXefghXXij"


def test_a_segment_in_order_wins_over_held_bytes_as_in_linux() -> None:
    # Held bytes were shown to nobody yet. Linux (tcp_data_queue, tcp_ofo_queue) also keeps the one in order.
    side = opened(0)
    push(side, 2, b"cd")
    assert push(side, 0, b"abXXe") == b"abXXe"


def test_a_side_that_was_never_opened_starts_at_what_it_sees() -> None:
    side = StreamSide(LIMIT)
    assert push(side, 5_000, b"abc") == b"abc"
    assert push(side, 5_003, b"d") == b"d"


def test_the_number_of_the_syn_counts_only_once() -> None:
    side = StreamSide(LIMIT)
    side.open(10)
    side.open(99)
    assert push(side, 11, b"abc") == b"abc"


def test_nothing_is_delivered_beyond_the_limit() -> None:
    side = opened(0, limit=5)
    delivered = [push(side, 0, b"abc"), push(side, 3, b"defgh"), push(side, 8, b"i")]
    assert delivered == [b"abc", b"de", b""]


def test_an_old_segment_from_before_the_start_is_ignored() -> None:
    side = opened(1_000)
    assert push(side, 999, b"\0") == b"", "a keep-alive probe (RFC 9293 section 3.8.4)"
    assert push(side, 500, b"x" * 100) == b""
    assert push(side, 1_000, b"ab") == b"ab"


def test_a_segment_far_outside_the_window_is_ignored() -> None:
    side = opened(0)
    assert push(side, 1 << 20, b"not ours") == b""
    assert push(side, 1 << 30, b"not ours") == b""
    assert push(side, 0, b"ab") == b"ab"
    assert not side.broken


def test_a_segment_cut_in_the_capture_is_the_last_that_counts() -> None:
    side = opened(0)
    assert side.push(0, b"abc", 10) == b"abc"
    assert side.broken
    assert push(side, 10, b"k") == b""


def test_a_cut_segment_that_its_retransmission_completes_is_left_out_while_held() -> None:
    side = opened(0)
    assert side.push(2, b"c", 3) == b""
    assert push(side, 2, b"cde") == b""
    assert push(side, 0, b"ab") == b"abcde"


def test_a_gap_that_is_never_filled_delivers_nothing_and_stays_bounded() -> None:
    side = opened(0)
    for number in range(10_000):
        push(side, 2 + number, b"x" * 1_460)
    assert len(side._held) <= MAX_HELD_SEGMENTS
    assert sum(map(len, side._held.values())) <= 64 * 1024


def test_a_lost_first_segment_of_a_full_window_still_comes_into_order() -> None:
    # Sixty-four kilobytes are in flight (Linux' initial window after slow start), the first segment was lost.
    side = opened(0)
    for number in range(1, 46):
        push(side, 1_460 * number, b"x" * 1_460)
    assert push(side, 0, b"y" * 1_460)[:1_461] == b"y" * 1_460 + b"x"


def test_bytes_that_could_never_be_delivered_are_not_held() -> None:
    side = opened(0, limit=1_000)
    for number in range(1, 45):
        push(side, 1_460 * number, b"x" * 1_460)
    assert sum(map(len, side._held.values())) <= 1_000


def test_segments_beyond_the_limit_do_not_break_the_side() -> None:
    # An offloaded window of three packets, the first of them lost: what matters is only what comes before the limit.
    side = opened(0)
    push(side, 20_000, b"x" * 45_000)
    push(side, 1_460, b"y" * 18_540)
    push(side, 65_000, b"z" * 30_000)
    assert not side.broken
    assert push(side, 0, b"a" * 1_460) == b"a" * 1_460 + b"y" * (LIMIT - 1_460)


def test_the_wrap_around_of_sequence_numbers_is_no_gap() -> None:
    side = opened(WHOLE - 2)
    assert push(side, 2, b"ef") == b""
    assert push(side, WHOLE - 2, b"abcd") == b"abcdef"


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A text, and segments of it that overlap, repeat and come in any order but leave nothing out."""
    text = draw(st.binary(min_size=1, max_size=300))
    edges = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=20))})
    segments = [(start, text[start:end]) for start, end in pairwise(edges)]
    for start, length in draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, 80)), max_size=20)):
        segments.append((start, text[start : start + length]))
    return text, draw(st.permutations(segments))


@given(deliveries(), st.one_of(st.integers(0, WHOLE - 1), st.integers(WHOLE - 300, WHOLE - 1)))
def test_any_cutting_shuffling_and_repeating_delivers_exactly_the_text(
    delivery: tuple[bytes, list[tuple[int, bytes]]], start: int
) -> None:
    text, segments = delivery
    side = opened(start)
    delivered = b"".join(push(side, start + offset, payload) for offset, payload in segments)
    assert delivered == text
    assert not side.broken


@given(deliveries(), st.integers(1, 100))
def test_the_limit_cuts_the_text_and_nothing_else(delivery: tuple[bytes, list[tuple[int, bytes]]], limit: int) -> None:
    text, segments = delivery
    side = opened(0, limit=limit)
    assert b"".join(push(side, offset, payload) for offset, payload in segments) == text[:limit]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=60), st.integers(0, 20)), max_size=60),
    st.integers(0, WHOLE - 1),
)
def test_every_delivered_byte_was_sent_at_its_place_and_memory_stays_bounded(
    segments: list[tuple[int, bytes, int]], start: int
) -> None:
    side = opened(start, limit=200)
    delivered = b""
    sent: dict[int, set[int]] = {}
    for offset, payload, missing in segments:
        for position, byte in enumerate(payload, start=offset):
            sent.setdefault(position, set()).add(byte)
        delivered += side.push((start + offset) % WHOLE, payload, len(payload) + missing)
        assert len(side._held) <= MAX_HELD_SEGMENTS
        assert sum(map(len, side._held.values())) <= 64 * 1024
    assert len(delivered) <= 200
    assert all(byte in sent[position] for position, byte in enumerate(delivered))
