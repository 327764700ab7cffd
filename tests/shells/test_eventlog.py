"""Events reach their reader in order, and a reader that is slow or gone stalls nothing."""

import json
import os
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
