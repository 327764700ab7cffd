"""Events reach their reader in order, and a reader that is slow or gone stalls nothing."""

import errno
import json
import os
import sys
import time

import pytest

from middlebox.events import ORDER_KEY
from middlebox.shells import eventlog
from middlebox.shells.errors import InputError
from middlebox.shells.eventlog import EventLog
from tests.shells.process import wait_until


def test_events_are_json_lines_in_order_and_are_appended(tmp_path):
    path = tmp_path / "events.jsonl"
    for run in range(2):
        log = EventLog(str(path))
        for number in range(3):
            log.write([{"event_type": "flow", "run": run, "number": number, ORDER_KEY: 5}])
        log.close()
        assert log.lost == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"event_type": "flow", "run": run, "number": n} for run in range(2) for n in range(3)]


def test_flushed_events_can_be_read_while_the_log_is_open(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(str(path))
    log.write([{"a": 1}])
    log.flush()
    wait_until(lambda: path.read_text() == '{"a":1}\n', "the event")
    log.close()


def test_file_is_not_readable_for_others(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(str(path)).close()
    assert path.stat().st_mode & 0o007 == 0


def test_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot write events to .*/missing/events\.jsonl: No such file or directory"):
        EventLog(str(tmp_path / "missing" / "events.jsonl"))


def test_slow_reader_costs_events_but_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(eventlog, "MAX_PENDING_BYTES", 200_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = EventLog(str(pipe))
    begin = time.monotonic()
    for number in range(100):  # a pipe holds 65,536 bytes
        log.write([{"number": number, "text": "x" * 10_000}])
        log.flush()
    assert time.monotonic() - begin < 1
    assert log.lost > 50
    os.set_blocking(reader, True)
    received = b""
    while received.count(b"\n") < 100 - log.lost:
        received += os.read(reader, 65536)
    log.close()
    os.close(reader)
    numbers = [json.loads(line)["number"] for line in received.splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) == 100 - log.lost


def test_reader_that_went_away_costs_events_only(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = EventLog(str(pipe))
    os.close(reader)
    log.write([{"a": 1}, {"b": 2}])
    log.flush()
    wait_until(lambda: log.lost == 2, "the loss")
    log.write([{"c": 3}])
    log.close()
    assert log.lost == 3


def test_pipe_that_nobody_reads_is_refused_at_once_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"cannot write events to .*/pipe: nobody reads this pipe"):
        EventLog(str(pipe))


def test_closed_standard_output_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="cannot write events to standard output: it is closed"):
        EventLog("-")


def test_events_that_a_stopped_reader_never_took_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(eventlog, "CLOSE_SECONDS", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = EventLog(str(pipe))
    for number in range(3):
        log.write([{"number": number, "text": "x" * 100_000}])  # more than a pipe holds
        log.flush()
    log.close()
    assert log.lost == 3
    os.close(reader)


def test_full_disk_costs_whole_events_and_the_log_goes_on_when_there_is_room(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    room = 25  # two lines of ten bytes and a half
    write = os.write

    def write_on_a_small_disk(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(eventlog.os, "write", write_on_a_small_disk)
    log = EventLog(str(path))
    log.write({"n": 100 + number} for number in range(5))
    log.flush()
    wait_until(lambda: log.lost == 2, "the loss of what was neither written nor begun")
    log.write([{"n": 105}])
    log.flush()
    wait_until(lambda: log.lost == 3, "the loss of one more")
    room = 1000
    log.write([{"n": 106}])
    log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [100, 101, 102, 106]
    assert log.lost == 3


def test_line_that_was_begun_and_never_finished_is_counted(tmp_path, monkeypatch):
    answers = [3]

    def write_once(*_: object) -> int:
        if not answers:
            raise OSError(errno.ENOSPC, "No space left on device")
        return answers.pop()

    monkeypatch.setattr(eventlog.os, "write", write_once)
    log = EventLog(str(tmp_path / "events.jsonl"))
    log.write([{"a": 1}])
    log.close()
    assert log.lost == 1


@pytest.mark.parametrize("happens", ["moved", "removed"])
def test_file_that_was_moved_away_or_removed_is_made_anew(tmp_path, happens):
    path, old = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    log = EventLog(str(path))
    log.write([{"a": 1}])
    log.flush()
    wait_until(lambda: path.read_text() == '{"a":1}\n', "the first event")
    if happens == "moved":
        path.rename(old)
    else:
        path.unlink()
    log.write([{"b": 2}])
    log.close()
    assert path.read_text() == '{"b":2}\n'
    assert happens == "removed" or old.read_text() == '{"a":1}\n'
    assert log.lost == 0


def test_log_goes_on_in_the_open_file_when_it_cannot_be_made_anew(tmp_path):
    directory, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    directory.mkdir()
    log = EventLog(str(directory / "events.jsonl"))
    directory.rename(elsewhere)
    log.write([{"a": 1}])
    log.close()
    assert (elsewhere / "events.jsonl").read_text() == '{"a":1}\n'
