"""Replay: order, time, separation of captures, processes, and what happens to those that fail."""

import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from middlebox import engine
from middlebox.events import Event
from middlebox.policy.rule import CLASSIFY_ONLY, Policy
from middlebox.shells.replay import Replayed, replay, replay_capture, replay_in_processes
from middlebox.shells.replay_output import print_replay
from tests.shells.capture_files import CLIENT, SERVER, Record, esp_packet, packed_gzip, pcap, udp_packet

NOON = 1_700_000_000.0

WriteCapture = Callable[..., str]


@pytest.fixture
def capture(tmp_path: Path) -> WriteCapture:
    def write(name: str, records: list[Record], *, cut: int = 0) -> str:
        path = tmp_path / name
        data = pcap(records)
        path.write_bytes(data[: len(data) - cut])
        return str(path)

    return write


def request(port: int) -> bytes:
    return udp_packet(b"question", client_port=port)


def response(port: int) -> bytes:
    return udp_packet(b"answer!", client=SERVER, client_port=9000, server=CLIENT, server_port=port)


def ports(flows: list[Event]) -> list[object]:
    return [event["src_port"] for event in flows]


def test_flows_come_in_the_order_of_their_first_packets(capture: WriteCapture) -> None:
    records = [(NOON, request(1)), (NOON + 1, request(2)), (NOON + 2, request(3))]
    # Flows 2 and 3 fall silent and end long before flow 1 does.
    records += [(NOON + seconds, request(1)) for seconds in range(10, 1000, 10)]
    result = replay_capture(capture("long.pcap", [*records, (NOON + 1000, request(4))]))
    assert ports(result.flows) == [1, 2, 3, 4]
    assert result.packets == len(records) + 1


def test_flow_carries_the_capture_as_given_and_no_private_key(capture: WriteCapture) -> None:
    path = capture("one.pcap", [(NOON, request(1)), (NOON + 0.25, response(1))])
    [event] = replay_capture(path).flows
    about, counts = event["middlebox"], event["flow"]
    assert isinstance(about, dict)
    assert isinstance(counts, dict)
    assert about["capture"] == path
    assert [key for key in event if key.startswith("_")] == []
    assert (event["src_ip"], event["dest_ip"]) == (CLIENT, SERVER)
    assert (counts["pkts_toserver"], counts["pkts_toclient"]) == (1, 1)
    assert counts["start"] == "2023-11-14T22:13:20.000000+00:00"
    assert counts["end"] == "2023-11-14T22:13:20.250000+00:00"


def test_flows_never_cross_captures(capture: WriteCapture) -> None:
    first = capture("first.pcap", [(NOON, request(1))])
    second = capture("second.pcap", [(NOON + 0.1, response(1))])
    results = list(replay([first, second, first]))
    assert [result.capture for result in results] == [first, second, first]
    assert [event["src_ip"] for result in results for event in result.flows] == [CLIENT, SERVER, CLIENT]


def test_clock_never_goes_backwards(capture: WriteCapture) -> None:
    path = capture("back.pcap", [(NOON + 5, request(1)), (NOON + 6, request(1)), (NOON, request(1))])
    [event] = replay_capture(path).flows
    assert event["flow"] == {
        "pkts_toserver": 3,
        "pkts_toclient": 0,
        "bytes_toserver": 3 * len(request(1)),
        "bytes_toclient": 0,
        "start": "2023-11-14T22:13:25.000000+00:00",
        "end": "2023-11-14T22:13:26.000000+00:00",
    }


def test_transport_without_ports_has_null_ports(capture: WriteCapture) -> None:
    [event] = replay_capture(capture("esp.pcap", [(NOON, esp_packet())])).flows
    assert (event["proto"], event["src_port"], event["dest_port"]) == ("ESP", None, None)


def test_cut_capture_gives_its_flows_and_a_problem(capture: WriteCapture) -> None:
    path = capture("cut.pcap", [(NOON, request(1)), (NOON, request(2))], cut=3)
    result = replay_capture(path)
    assert ports(result.flows) == [1]
    assert not result.unreadable
    [problem] = result.problems
    assert problem.startswith(f"{path}: ends at byte ")


def test_unreadable_capture_does_not_stop_the_others(capture: WriteCapture, tmp_path: Path) -> None:
    good, missing = capture("good.pcap", [(NOON, request(1))]), str(tmp_path / "missing.pcap")
    results = list(replay([missing, good]))
    assert [result.unreadable for result in results] == [True, False]
    assert results[0].problems == [f"{missing}: No such file or directory"]
    assert ports(results[1].flows) == [1]


def test_undecodable_packets_and_skipped_frames_are_counted(capture: WriteCapture) -> None:
    path = capture("odd.pcap", [(NOON, b"\x45\x00"), (NOON, request(1))])
    for result in replay([path, path]):  # the second time as the first: nothing is carried over
        assert result.undecodable == {"IPv4 header cut short": 1}
        assert result.packets == 2
        assert result.problems == []


def test_bug_of_ours_is_one_line_with_the_capture(capture: WriteCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(raw: bytes) -> None:
        raise ZeroDivisionError("made up")

    monkeypatch.setattr(engine, "decode", fail)
    path = capture("some.pcap", [(NOON + minute * 100, request(1)) for minute in range(4)])
    result = replay_capture(path)
    assert result.problems == [f"{path}: a packet failed in our own code: ZeroDivisionError: made up"]


def test_progress_adds_up_to_the_size_of_the_files(capture: WriteCapture) -> None:
    paths = [capture(f"{n}.pcap", [(NOON + second, request(n)) for second in range(50)]) for n in (1, 2, 3)]
    for jobs in (1, 2):
        steps: list[int] = []
        list(replay(paths, jobs=jobs, advance=steps.append))
        assert sum(steps) == sum(Path(path).stat().st_size for path in paths)
        assert all(steps)


# --- processes ----------------------------------------------------------------------------------------------


def test_jobs_change_neither_results_nor_their_order(capture: WriteCapture, tmp_path: Path) -> None:
    # The first is the longest, so that others finish before it.
    paths = [
        capture(f"{n}.pcap", [(NOON + i / 100, request(i % 50 + 1)) for i in range(5000 if n == 0 else n)])
        for n in range(12)
    ]
    paths.insert(3, str(tmp_path / "missing.pcap"))
    assert list(replay(paths, jobs=3)) == list(replay(paths))


def _fail_on_demand(path: str, policy: Policy) -> Replayed:
    if path == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "exits":
        os._exit(7)
    if path == "raises":
        raise MemoryError("too much")
    if path == "hangs":
        time.sleep(1000)
    return Replayed(path)


def test_dead_worker_costs_only_its_capture_which_is_named() -> None:
    paths = ["a", "dies", "b", "exits", "raises", "c", "d"]
    results = list(replay_in_processes(paths, CLASSIFY_ONLY, jobs=2, replay_one=_fail_on_demand))
    assert [result.capture for result in results] == paths
    assert [problem for result in results for problem in result.problems] == [
        "dies: the process that replayed it failed (signal SIGKILL)",
        "exits: the process that replayed it failed (exit status 7)",
        "raises: the process that replayed it failed (MemoryError: too much)",
    ]
    assert [result.capture for result in results if result.unreadable] == ["dies", "exits", "raises"]


def test_no_process_is_left_when_the_reader_stops_early() -> None:
    results = replay_in_processes(["a", "hangs", "b"], CLASSIFY_ONLY, jobs=2, replay_one=_fail_on_demand)
    assert next(results).capture == "a"
    assert multiprocessing.active_children()
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


# --- printing -----------------------------------------------------------------------------------------------


def printed(paths: list[str], *, jsonl: bool, explain: bool = False, jobs: int = 1) -> tuple[bool, str, str]:
    output, errors = io.StringIO(), io.StringIO()
    all_readable = print_replay(
        paths, CLASSIFY_ONLY, jsonl=jsonl, jobs=jobs, explain=explain, output=output, errors=errors
    )
    return all_readable, output.getvalue(), errors.getvalue()


def test_json_lines_are_one_flow_each_and_nothing_else(capture: WriteCapture, tmp_path: Path) -> None:
    paths = [capture(f"{n}.pcap", [(NOON, request(n)), (NOON, request(n + 10))]) for n in (1, 2)]
    all_readable, output, errors = printed(paths, jsonl=True)
    events = [json.loads(line) for line in output.splitlines()]
    assert [event["event_type"] for event in events] == ["flow"] * 4
    assert [event["src_port"] for event in events] == [1, 11, 2, 12]
    assert [event["middlebox"]["capture"] for event in events] == [paths[0], paths[0], paths[1], paths[1]]
    assert all_readable
    assert errors == ""


def test_problems_go_to_standard_error_one_line_each(capture: WriteCapture, tmp_path: Path) -> None:
    garbage = tmp_path / "note\n.txt"
    garbage.write_text("hello, world")
    cut = capture("cut.pcap", [(NOON, request(1)), (NOON, request(2))], cut=1)
    for jsonl in (True, False):
        all_readable, output, errors = printed([str(garbage), cut], jsonl=jsonl)
        assert not all_readable
        first, second = errors.splitlines()
        assert "note\\n.txt: is no capture: begins with 68 65 6c 6c 6f 2c 20 77; expected pcap" in first
        assert second.startswith(f"{cut}: ends at byte ")
        assert "9000" in output


def test_cut_capture_alone_counts_as_readable(capture: WriteCapture) -> None:
    assert printed([capture("cut.pcap", [(NOON, request(1))], cut=1)], jsonl=True)[0]


def test_compressed_capture_prints_the_same_flows(capture: WriteCapture) -> None:
    path = Path(capture("plain.pcap", [(NOON, request(1)), (NOON, response(1))]))
    plain = printed([str(path)], jsonl=True)
    path.write_bytes(packed_gzip(path.read_bytes()))
    assert printed([str(path)], jsonl=True) == plain


def test_table_ends_with_a_summary(capture: WriteCapture) -> None:
    path = capture("some.pcap", [(NOON, request(1)), (NOON, response(1)), (NOON, b"\x45")])
    _, output, _ = printed([path], jsonl=False)
    assert output.splitlines()[0] == path
    assert output.splitlines()[-1] == "1 capture, 3 packets, 1 flow: unknown 1; undecodable: IPv4 header cut short 1"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_leaves_problems_readable_on_a_terminal(
    capture: WriteCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    path = capture("cut.pcap", [(NOON, request(1)), (NOON, request(2))], cut=1)
    output, errors = io.StringIO(), _Terminal()
    print_replay([path], CLASSIFY_ONLY, jsonl=True, jobs=1, explain=False, output=output, errors=errors)
    assert len(output.getvalue().splitlines()) == 1
    assert f"{path}: ends at byte " in errors.getvalue()
    assert "\x1b[" in errors.getvalue()  # the bar was drawn
