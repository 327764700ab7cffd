"""Events to JSON lines, in a file or on standard output.

The rule kept here: a reader that is slow or gone never stalls the packet queue. A thread does the writing; what it
cannot write in time is dropped and counted, in whole lines, and once there is room again the log goes on. A file that
was moved away (logrotate) or removed is made anew.
"""

import errno
import json
import os
import select
import stat
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from queue import SimpleQueue

from middlebox.events import ORDER_KEY
from middlebox.shells.errors import InputError

MAX_PENDING_BYTES = 16 * 1024 * 1024
"Lines that may wait for a slow reader before further ones are dropped."
CLOSE_SECONDS = 10.0
"How long the end of a run waits for a reader that does not read."

STANDARD_OUTPUT = "-"
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class EventLog:
    """Writes events to one target, in order.

    Args:
        target: Path of a file, which is appended to, or `-` for standard output.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self.lost = 0
        "Events dropped because the reader was slow or gone."
        self._path: str | None = None
        "Of a regular file."
        self._descriptor = self._open(target)
        self._cut_line = b""
        "What is missing from the last line in the target, after a write that stopped half-way."
        self._lines: list[bytes] = []
        self._batches: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._pending = 0
        "Events handed to the writer, whose fate is not known yet."
        self._broken = False
        self._writer = threading.Thread(target=self._write_batches, name="event log", daemon=True)
        self._writer.start()

    def write(self, events: Iterable[Mapping[str, object]]) -> None:
        """Take events; `flush` sends them on their way."""
        for event in events:
            public = {name: value for name, value in event.items() if name != ORDER_KEY}
            self._lines.append(_ENCODE(public).encode() + b"\n")

    def flush(self, *, final: bool = False) -> None:
        """Hand what was taken to the writer. Never waits.

        Args:
            final: Nothing comes after this, so the bound on what may wait does not apply.
        """
        if not self._lines:
            return
        batch, count = b"".join(self._lines), len(self._lines)
        self._lines.clear()
        with self._lock:
            if self._broken or (self._pending_bytes + len(batch) > MAX_PENDING_BYTES and not final):
                self.lost += count
                return
            self._pending_bytes += len(batch)
            self._pending += count
        self._batches.put((batch, count))

    def close(self) -> None:
        """Write what is left, as long as the reader takes it, and close the target."""
        self.flush(final=True)
        self._batches.put(None)
        self._writer.join(CLOSE_SECONDS)
        with self._lock:
            self.lost += self._pending + bool(self._cut_line)
        if not self._writer.is_alive():
            os.close(self._descriptor)

    def _open(self, target: str) -> int:
        if target == STANDARD_OUTPUT:
            if sys.stdout is None:  # `>&-`
                raise InputError("cannot write events to standard output: it is closed")
            return os.dup(sys.stdout.fileno())
        try:
            descriptor = _open_file(target)
        except OSError as error:
            reason = "nobody reads this pipe" if error.errno == errno.ENXIO else error.strerror
            raise InputError(f"cannot write events to {target}: {reason}") from None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._path = target
        return descriptor

    def _write_batches(self) -> None:
        while (item := self._batches.get()) is not None:
            batch, count = item
            lost = count if self._broken else self._write_batch(batch)
            with self._lock:
                self._pending_bytes -= len(batch)
                self._pending -= count
                self.lost += lost

    def _write_batch(self, batch: bytes) -> int:
        """Write these lines as far as possible; how many are lost."""
        if self._path is not None and not self._cut_line:
            self._follow(self._path)
        data = self._cut_line + batch
        written = 0
        try:
            while written < len(data):
                written += _write_some(self._descriptor, memoryview(data)[written:])
        except OSError as error:  # disk full, pipe closed
            self._broken = error.errno == errno.EPIPE
        # A line that was begun is kept, and finished before any other; whole lines that are left are lost.
        between_lines = data[written - 1 : written] == b"\n" if written else not self._cut_line
        end = written if between_lines else data.index(b"\n", written) + 1
        self._cut_line = data[written:end]
        return data.count(b"\n", end)

    def _follow(self, path: str) -> None:
        """Make the file anew if it is no longer at its path. Where that fails, go on with the one that is open."""
        with suppress(OSError):
            if _is_at(path, self._descriptor):
                return
            descriptor = _open_file(path)
            os.close(self._descriptor)
            self._descriptor = descriptor


def _open_file(path: str) -> int:
    # Not readable for others: events name clients. Without blocking: a pipe that nobody reads would hold up the start.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o640)
    os.set_blocking(descriptor, True)
    return descriptor


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_some(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # a standard output that someone has set to non-blocking, and its reader is slow
        select.select((), (descriptor,), ())
        return 0
