"""The control socket by itself, with handlers of the test's own; with a gateway behind it, see test_policy_changes."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from middlebox.shells import control
from middlebox.shells.control import Answer, ControlSocket, Later, Record, RequestError
from middlebox.shells.control_client import ask, request
from middlebox.shells.errors import InputError, MachineError


class Served:
    """A control socket that another thread takes turns of, as the gateway's loop does."""

    def __init__(self, path: Path) -> None:
        self.later = Later()
        self.longest_turn = 0.0
        self.socket = ControlSocket(
            path,
            {"count": self._count, "scan": self._scan, "wait": self._wait, "fail": self._fail, "broken": self._broken},
        )
        self.socket.open()
        self._running = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._running:
            begin = time.thread_time()
            self.socket.turn()
            self.longest_turn = max(self.longest_turn, time.thread_time() - begin)
            time.sleep(0 if self.socket.is_waiting else 0.001)

    def close(self) -> None:
        self._running = False
        self._thread.join()
        self.socket.close()

    def _count(self, request: Record) -> Answer:
        for number in range(int(str(request["to"]))):
            yield {"number": number, "padding": "x" * 1000}

    def _scan(self, _request: Record) -> Answer:
        for _ in range(100_000):
            yield None
        yield {"found": 1}

    def _wait(self, _request: Record) -> Later:
        return self.later

    def _fail(self, _request: Record) -> Answer:
        raise RequestError("not like that")

    def _broken(self, _request: Record) -> Answer:
        yield {"first": 1}
        raise RequestError("half-way")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "control")
    yield made
    made.close()


def raw(path: Path, data: bytes) -> bytes:
    """Send bytes, end, and read everything that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
        return answer


def test_records_and_then_done(served: Served) -> None:
    answer = raw(served.socket.path, b'{"command": "count", "to": 2}\n')
    assert [sorted(json.loads(line)) for line in answer.splitlines()] == [["number", "padding"]] * 2 + [["done"]]


def test_several_requests_are_answered_in_their_order(served: Served) -> None:
    lines = raw(served.socket.path, b'{"command": "scan"}\n{"command": "count", "to": 1}\n{"command": "fail"}\n')
    assert [next(iter(json.loads(line))) for line in lines.splitlines()] == ["found", "done", "number", "done", "error"]


def test_client_reads_long_answers(served: Served) -> None:
    assert [record["number"] for record in ask(served.socket.path, {"command": "count", "to": 3000})] == [*range(3000)]


def test_error_of_a_request(served: Served) -> None:
    with pytest.raises(InputError, match=r"^not like that$"):
        list(ask(served.socket.path, {"command": "fail"}))
    assert request(served.socket.path, {"command": "fail"}) == {"error": "not like that"}
    with pytest.raises(InputError, match="half-way"):
        list(ask(served.socket.path, {"command": "broken"}))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "a request is one line of JSON"),
        (b"{\n", "a request is one line of JSON"),
        (b"\xff\n", "a request is one line of JSON"),
        (b"[" * 4000 + b"\n", "a request is one line of JSON"),
        (b"[]\n", 'a request is an object such as {"command": "status"}'),
        (b'{"command": 3}\n', 'a request is an object such as {"command": "status"}'),
        (b'{"command": "stop"}\n', "there is no command 'stop'; there are count, scan, wait, fail, broken"),
        (b"x" * 10_000, "a request has at most 4096 bytes, and few may wait"),
        (b'{"command": "scan"}\n' * 200, "a request has at most 4096 bytes, and few may wait"),
    ],
)
def test_what_is_no_request_is_refused(served: Served, line: bytes, error: str) -> None:
    *_, last = raw(served.socket.path, line).splitlines()
    assert json.loads(last) == {"error": error}


def test_answer_that_comes_later(served: Served) -> None:
    threading.Timer(0.2, served.later.finish, [[{"a": 1}]]).start()
    begin = time.monotonic()
    assert list(ask(served.socket.path, {"command": "wait"})) == [{"a": 1}]
    assert time.monotonic() - begin > 0.15


def test_answer_that_comes_later_and_is_an_error(served: Served) -> None:
    served.later.finish([{"problem": "p"}], error="refused")
    answer = ask(served.socket.path, {"command": "wait"})
    assert next(answer) == {"problem": "p"}
    with pytest.raises(InputError, match="refused"):
        next(answer)


def test_reader_that_does_not_read_costs_neither_time_nor_memory(served: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.connect(str(served.socket.path))
        slow.sendall(b'{"command": "count", "to": 1000000000}\n')
        time.sleep(0.3)
        assert list(ask(served.socket.path, {"command": "count", "to": 1}))
        [waiting] = [client for client in served.socket._clients.values() if client.answers]
        assert len(waiting.to_send) < control.MAX_WAITING_BYTES + 2_000
        assert not served.socket.is_waiting
    assert list(ask(served.socket.path, {"command": "count", "to": 1}))
    assert served.longest_turn < 10 * control.TURN_SECONDS


def test_long_search_is_cut_into_turns(served: Served) -> None:
    assert list(ask(served.socket.path, {"command": "scan"})) == [{"found": 1}]
    assert served.longest_turn < 10 * control.TURN_SECONDS


def test_one_client_too_many_closes_the_longest_silent(served: Served) -> None:
    with ExitStack() as clients:

        def connect() -> socket.socket:
            made = clients.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            made.settimeout(5)
            made.connect(str(served.socket.path))
            return made

        def speak(client: socket.socket) -> None:
            client.sendall(b'{"command": "fail"}\n')
            assert client.recv(1000) == b'{"error":"not like that"}\n'

        first, silent, *_ = [connect() for _ in range(control.MAX_CLIENTS)]
        speak(first)
        speak(connect())
        assert silent.recv(1000) == b""
        speak(first)


def test_client_that_hangs_up_is_forgotten(served: Served) -> None:
    for line in (b"", b'{"command": "wait"}\n', b'{"command": "count", "to": 1000000}\n'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(served.socket.path))
            client.sendall(line)
            time.sleep(0.05)
    deadline = time.monotonic() + 5
    while served.socket._clients:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_its_owner_may_talk_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control"
    before = os.umask(0)
    try:
        made = ControlSocket(path, {})
        made.open()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made.close()
    assert not path.exists()


def test_path_of_a_killed_gateway_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
        left.listen()
    made = ControlSocket(path, {})
    made.open()
    with pytest.raises(MachineError, match=r"another gateway listens on .*: choose another with --control SOCKET"):
        ControlSocket(path, {}).open()
    made.close()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("file", "Address already in use"),
        ("file/control", "Not a directory|File exists"),
        ("x" * 110, "longer than 107"),
    ],
)
def test_path_that_cannot_be_used_is_named(tmp_path: Path, name: str, error: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(MachineError, match=error):
        ControlSocket(tmp_path / name, {}).open()
    assert (tmp_path / "file").read_text() == "precious"


def test_no_gateway_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        MachineError, match=r"no gateway runs here: nothing listens on .*: sudo middlebox run POLICY"
    ) as no:
        list(ask(tmp_path / "control", {"command": "status"}))
    assert no.value.exit_status == 3
