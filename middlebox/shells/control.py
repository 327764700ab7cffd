"""The control socket of a running gateway: one JSON request a line, answered by JSON lines.

The rule kept here: whoever talks to the gateway never makes a packet wait. Nothing blocks, a turn is over after
`TURN_SECONDS`, what a client sends and what waits for a slow reader is bounded, and answers are made piece by piece as
they are read.

An answer is any number of records, then a last line, `{"done": true}` or `{"error": "what is wrong"}`.
"""

import errno
import json
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from middlebox.shells.errors import MachineError

Record = Mapping[str, object]
Answer = Iterator[Record | None]
"Records of an answer. None: nothing yet, and packets may have their turn."

DEFAULT_SOCKET = Path("/run/middlebox/control")

MAX_CLIENTS = 8
"Connections at a time. One more, and the one that has been silent longest is closed."
MAX_REQUEST_BYTES = 4_096
MAX_WAITING_BYTES = 64 * 1024
"Of an answer that nobody reads; the rest is made when there is room."
TURN_SECONDS = 0.002
"Time that answers may take before packets have their turn: some tens of records."
SOCKET_MODE = 0o600
MAX_PATH_BYTES = 107
"Length of a Unix socket's path (linux/un.h, UNIX_PATH_MAX with its final zero)."

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DONE = b'{"done":true}\n'


class RequestError(Exception):
    """A request that cannot be answered. `str()` of it is what the client is told."""


class Later:
    """An answer that comes when something has been done, for instance when a policy has been loaded."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    def finish(self, records: Iterable[Record], *, error: str | None = None) -> None:
        """Give the answer: records, and what is wrong after them, if anything is."""
        self.answer = iter(records) if error is None else _refused(records, error)


Handler = Callable[[Record], Answer | Later]
"Answers a request. A request that makes no sense raises RequestError, at once or when the answer is made."


class _Client:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.received = b""
        self.to_send = bytearray()
        self.answers: deque[Answer | Later] = deque()
        self.has_ended = False
        "The client has said all it wants to."
        self.is_refused = False
        "It has said too much. What comes is thrown away: to hang up would take the answer from it."

    def can_go_on(self) -> bool:
        """Whether more of an answer can be made now."""
        if not self.answers or len(self.to_send) >= MAX_WAITING_BYTES:
            return False
        first = self.answers[0]
        return not isinstance(first, Later) or first.answer is not None

    def is_done(self) -> bool:
        """Whether nothing is left to say on either side."""
        return self.has_ended and not self.answers and not self.to_send


class ControlSocket:
    """Listens on a Unix socket. To be polled for reading: `fileno` is readable when `turn` has something to do.

    Args:
        path: Where the socket is made.
        handlers: By command.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._handlers = handlers
        self._listener: socket.socket | None = None
        self._inode = 0
        self._clients: dict[int, _Client] = {}
        self._poll = select.epoll()

    def open(self) -> None:
        """Make the socket. A path that a killed gateway left behind is taken over.

        Raises:
            MachineError: Another gateway listens there, or the path cannot be used.
        """
        path = str(self.path)
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise MachineError(
                f"the control socket's path {path} is longer than {MAX_PATH_BYTES} bytes", "choose a shorter one"
            )
        self._remove_leftover()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(listener.fileno(), SOCKET_MODE)  # before it has a path, so that it never is open to others
            self.path.parent.mkdir(parents=True, exist_ok=True)
            listener.bind(path)
            listener.listen(MAX_CLIENTS)
        except OSError as error:
            listener.close()
            raise MachineError(
                f"cannot make the control socket {path} ({error.strerror})", "choose another with --control"
            ) from None
        listener.setblocking(False)
        self._inode = self.path.stat().st_ino
        self._listener = listener
        self._poll.register(listener, select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._poll.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether answers are under way that no descriptor tells of, so that `turn` must be called again soon."""
        return any(client.can_go_on() for client in self._clients.values())

    def turn(self) -> None:
        """Read requests and go on with answers, for a moment."""
        for descriptor, happened in self._poll.poll(0):
            client = self._clients.get(descriptor)
            if client is None:
                if self._listener is not None and descriptor == self._listener.fileno():
                    self._accept()
                continue
            if happened & select.EPOLLIN and not client.has_ended:
                self._read(client)
            if happened & (select.EPOLLHUP | select.EPOLLERR):
                self._drop(client)  # nobody is there to read an answer
        deadline = time.monotonic() + TURN_SECONDS
        for client in list(self._clients.values()):
            self._answer(client, deadline)
            self._send(client)
            if client.is_done():
                self._drop(client)

    def close(self) -> None:
        """Send what is ready, hang up and remove the socket, if it is still ours."""
        for client in list(self._clients.values()):
            self._send(client)
            self._drop(client)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                if self.path.stat().st_ino == self._inode:
                    self.path.unlink()
        self._poll.close()

    def _remove_leftover(self) -> None:
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                return  # `bind` says that the name is taken
        except OSError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asker:
            problem = asker.connect_ex(str(self.path))
        if problem != errno.ECONNREFUSED:
            raise MachineError(f"another gateway listens on {self.path}", "choose another with --control SOCKET")
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it has left already
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients.values())))
        self._clients[connection.fileno()] = _Client(connection)
        self._poll.register(connection, select.EPOLLIN)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        # Who has been heard last stands last in the order in which clients are closed.
        self._clients[client.connection.fileno()] = self._clients.pop(client.connection.fileno())
        if not data:
            client.has_ended = True
            self._poll.modify(client.connection, 0)
        if client.is_refused:
            return
        *lines, client.received = (client.received + data).split(b"\n")
        for line in lines:
            client.answers.append(self._begin(line))
        if len(client.received) > MAX_REQUEST_BYTES or len(client.answers) > MAX_CLIENTS:
            client.received = b""
            client.answers.append(_refused((), f"a request has at most {MAX_REQUEST_BYTES} bytes, and few may wait"))
            client.is_refused = True

    def _begin(self, line: bytes) -> Answer | Later:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _refused((), "a request is one line of JSON")
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            return _refused((), 'a request is an object such as {"command": "status"}')
        handler = self._handlers.get(request["command"])
        if handler is None:
            return _refused(
                (), f"there is no command {request['command'][:40]!r}; there are {', '.join(self._handlers)}"
            )
        try:
            return handler(request)
        except RequestError as error:
            return _refused((), str(error))

    def _answer(self, client: _Client, deadline: float) -> None:
        """Make more of a client's answers, as far as there are room and time."""
        while client.can_go_on():
            first = client.answers[0]
            answer = first.answer if isinstance(first, Later) else first
            assert answer is not None
            last = b""
            try:
                record = next(answer)
                if record is not None:
                    client.to_send += _ENCODE(record).encode() + b"\n"
            except StopIteration:
                last = _DONE
            except RequestError as error:
                last = _ENCODE({"error": str(error)}).encode() + b"\n"
            if last:
                client.answers.popleft()
                client.to_send += last
            if time.monotonic() >= deadline:
                return

    def _send(self, client: _Client) -> None:
        try:
            while client.to_send:
                del client.to_send[: client.connection.send(client.to_send)]
        except BlockingIOError:
            self._poll.modify(
                client.connection, select.EPOLLOUT if client.has_ended else select.EPOLLIN | select.EPOLLOUT
            )
        except OSError:
            self._drop(client)
        else:
            if client.connection.fileno() in self._clients:
                self._poll.modify(client.connection, 0 if client.has_ended else select.EPOLLIN)

    def _drop(self, client: _Client) -> None:
        descriptor = client.connection.fileno()
        if self._clients.pop(descriptor, None) is None:
            return
        self._poll.unregister(client.connection)
        client.connection.close()
        client.answers.clear()
        client.to_send.clear()


def _refused(records: Iterable[Record], error: str) -> Answer:
    yield from records
    raise RequestError(error)
