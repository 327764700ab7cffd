"""What `middlebox status`, `flows`, `reload` and `top` do: ask a running gateway over its control socket, and print.

The rule kept here: what a gateway says is shown as it is or refused in one line; nobody waits for ever.
"""

import json
import select
import socket
import sys
import termios
import tty
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from middlebox.shells.control import DEFAULT_SOCKET, Record
from middlebox.shells.errors import InputError, MachineError
from middlebox.shells.tables import printable, replay_table

__all__ = ["DEFAULT_SOCKET", "ask", "print_flows", "print_status", "reload_policy", "request", "show_top"]

ANSWER_SECONDS = 10.0
"A gateway answers between two packets; a stopped one does not."
RELOAD_SECONDS = 600.0
"Loading the largest lists takes some ten seconds; a busy machine may need longer."
REFRESH_SECONDS = 1.0
PIPE_WIDTH = 120
"Columns where standard output is no terminal."
TOP_LINES_BESIDE = 14
"Lines of `top` that are not flows."


class _RefusedError(Exception):
    """The gateway's answer ended with an error."""


def ask(path: Path, request: Record, seconds: float = ANSWER_SECONDS) -> Iterator[Record]:
    """The records with which the gateway answers.

    Raises:
        MachineError: No gateway runs here, or it does not answer.
        InputError: The gateway refuses the request, and says why.
    """
    try:
        yield from _records(path, request, seconds)
    except _RefusedError as refusal:
        raise InputError(printable(str(refusal))) from None


def request(path: Path, request: Record) -> Record:
    """The first record of an answer, or `{"error": why}`.

    Raises:
        MachineError: No gateway runs here, or it does not answer.
    """
    try:
        return next(_records(path, request, ANSWER_SECONDS), {})
    except _RefusedError as refusal:
        return {"error": str(refusal)}


def _records(path: Path, request: Record, seconds: float) -> Iterator[Record]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                for line in answer:
                    record = json.loads(line)
                    if "done" in record:
                        return
                    if "error" in record:
                        raise _RefusedError(record["error"])
                    yield record
        except (FileNotFoundError, ConnectionRefusedError):
            raise MachineError(
                f"no gateway runs here: nothing listens on {path}", "sudo middlebox run POLICY"
            ) from None
        except PermissionError:
            raise MachineError(f"no right to talk to the gateway on {path}", "ask as root, with sudo") from None
        except TimeoutError:
            raise MachineError(f"the gateway on {path} does not answer", "see whether it is stopped") from None
        except OSError as error:
            raise MachineError(
                f"cannot talk to a gateway on {path} ({error.strerror or error})", "choose another"
            ) from None
        raise MachineError(f"the gateway on {path} hung up before its answer was complete", "see whether it still runs")


def print_status(path: Path, *, jsonl: bool, output: TextIO) -> None:
    """Print what the gateway says of itself."""
    for status in ask(path, {"command": "status"}):
        print(json.dumps(status) if jsonl else "\n".join(status_lines(status)), file=output)


def status_lines(status: Record) -> list[str]:
    """The gateway's state for a person."""
    stats = _mapping(status["stats"])
    undecodable = _counter(stats["undecodable"]).total()
    internal = int(str(stats["internal_errors"])) + int(str(status["faults"]))
    edge = status["next_edge"]
    opened = status["open_schedules"]
    assert isinstance(opened, list)
    lines = {
        "policy": f"{status['policy']} ({status['mode']}), {_many(status['rules'], 'rule')}, epoch {status['epoch']}",
        "file": f"{status['source'] or 'none'}, digest {str(status['digest'])[:12] or 'none'}",
        "time": f"{_moment(status['policy_time'])}{' (simulated)' if status['clock'] == 'simulated' else ''}",
        "schedules": f"{', '.join(opened) or 'none'} open; "
        + ("nothing will change by time" if edge is None else f"next change {_moment(edge)}"),
        "running": f"for {_duration(status['seconds'])}, process {status['pid']}, hook {status['hook']}, "
        f"queue {status['queue']}",
        "flows": f"{stats['flows_active']:,} open, {stats['flows']:,} in all, {stats['flows_evicted']:,} evicted",
        "verdicts": _tally(stats["verdicts"]),
        "by rule": _tally(stats["rules"]),
        "packets": f"{status['inspected_packets']:,} inspected, {status['queue_waiting']:,} waiting",
        "lost": f"{status['kernel_drops']:,} to a full queue, {status['user_drops']:,} to a full buffer, "
        f"{_many(status['events_lost'], 'event')}",
        "errors": f"{internal:,} internal, {undecodable:,} undecodable packets",
    }
    width = max(map(len, lines))
    return [printable(f"{name:<{width}}  {text}") for name, text in lines.items()]


def print_flows(
    path: Path, *, protocol: str | None, verdict: str | None, limit: int | None, jsonl: bool, output: TextIO
) -> None:
    """Print the open flows, the latest first."""
    flows = ask(path, _flows_request(protocol, verdict, limit))
    if jsonl:
        for flow in flows:
            print(json.dumps(flow, separators=(",", ":")), file=output)
        return
    found = [dict(flow) for flow in flows]
    if not found:
        print("no open flow" if protocol is None and verdict is None else "no open flow fits", file=output)
        return
    console = Console(file=output, width=None if output.isatty() else PIPE_WIDTH)
    console.print(replay_table(found, console.width))
    print(f"{_many(len(found), 'open flow')}, the latest first", file=output)


def _flows_request(protocol: str | None, verdict: str | None, limit: int | None) -> Record:
    asked = {"protocol": protocol, "verdict": verdict, "limit": limit}
    return {"command": "flows", **{name: value for name, value in asked.items() if value is not None}}


def reload_policy(path: Path, *, jsonl: bool, output: TextIO, errors: TextIO) -> bool:
    """Make the gateway load its policy again, and print what came of it; False when it refused the policy."""
    try:
        for record in _records(path, {"command": "reload"}, RELOAD_SECONDS):
            if jsonl:
                print(json.dumps(record), file=output)
            elif "problem" in record:
                print(printable(str(record["problem"])), file=errors)
            else:
                print(printable(f"policy {record['policy']} reloaded, epoch {record['epoch']}"), file=output)
    except _RefusedError as refusal:
        print(printable(f"middlebox: {refusal}"), file=errors)
        return False
    return True


def show_top(path: Path, *, keys: TextIO = sys.stdin) -> None:
    """Show state and latest flows, anew every second, until q or Ctrl-C."""
    console = Console()
    picture = _picture(path, console)
    with _single_keys(keys) as is_terminal, Live(picture, console=console, screen=console.is_terminal) as live:
        while True:
            if is_terminal:
                if select.select((keys,), (), (), REFRESH_SECONDS)[0] and keys.read(1) in ("q", "Q", ""):
                    return
            else:
                select.select((), (), (), REFRESH_SECONDS)
            live.update(_picture(path, console), refresh=True)


def _picture(path: Path, console: Console) -> RenderableType:
    status = next(ask(path, {"command": "status"}))
    room = max(1, console.height - TOP_LINES_BESIDE)
    flows = [dict(flow) for flow in ask(path, _flows_request(None, None, room))]
    lines = Text("\n".join(status_lines(status)), no_wrap=True, overflow="ellipsis")
    table: RenderableType = replay_table(flows, console.width) if flows else Text("\nno open flow")
    return Group(lines, table, Text("q ends", style="dim"))


@contextmanager
def _single_keys(keys: TextIO) -> Iterator[bool]:
    """Get keys as they are pressed; False where nobody can press any."""
    if not keys.isatty():
        yield False
        return
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield True
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _tally(value: object) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in _counter(value).most_common()) or "none"


def _counter(value: object) -> Counter[str]:
    return Counter({name: int(str(count)) for name, count in _mapping(value).items()})


def _many(count: object, thing: str) -> str:
    number = int(str(count))
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _moment(value: object) -> str:
    """An event's timestamp to the second."""
    return f"{str(value)[:19].replace('T', ' ')} UTC"


def _duration(value: object) -> str:
    seconds = int(float(str(value)))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
