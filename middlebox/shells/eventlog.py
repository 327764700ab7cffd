"""Events to JSON lines, in a file or on standard output.

The rule kept here: a reader that is slow or gone never stalls the packet queue. A thread does the writing; what it
cannot write in time is dropped and counted.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from queue import SimpleQueue

from middlebox.events import ORDER_KEY
from middlebox.shells.errors import InputError

MAX_PENDING_BYTES = 16 * 1024 * 1024
"Lines that may wait for a slow reader before further ones are dropped."
CLOSE_SECONDS = 10.0
"How long the end of a run waits for a reader that does not read."

STANDARD_OUTPUT = "-"


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
        if target == STANDARD_OUTPUT:
            self._descriptor = os.dup(sys.stdout.fileno())
        else:
            try:
                # Not readable for others: events name clients.
                self._descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            except OSError as error:
                raise InputError(f"cannot write events to {target}: {error.strerror}") from None
        self._lines: list[bytes] = []
        self._batches: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._broken = False
        self._writer = threading.Thread(target=self._write_batches, name="event log", daemon=True)
        self._writer.start()

    def write(self, events: Iterable[Mapping[str, object]]) -> None:
        """Take events; `flush` sends them on their way."""
        for event in events:
            public = {name: value for name, value in event.items() if name != ORDER_KEY}
            self._lines.append(json.dumps(public, separators=(",", ":")).encode() + b"\n")

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
        self._batches.put((batch, count))

    def close(self) -> None:
        """Write what is left, as long as the reader takes it, and close the target."""
        self.flush(final=True)
        self._batches.put(None)
        self._writer.join(CLOSE_SECONDS)
        if not self._writer.is_alive():
            os.close(self._descriptor)

    def _write_batches(self) -> None:
        while (item := self._batches.get()) is not None:
            batch, count = item
            try:
                if not self._broken:
                    _write_all(self._descriptor, batch)
                    count = 0
            except OSError:  # disk full, pipe closed
                self._broken = True
            with self._lock:
                self._pending_bytes -= len(batch)
                self.lost += count


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
