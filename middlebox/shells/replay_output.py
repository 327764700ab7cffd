"""Prints what `replay` finds: a table a capture and a summary, or one JSON object a flow.

Standard output carries records only; everything that went wrong is one line on standard error, and a capture
that fails never keeps the others from being printed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn

from middlebox.policy.rule import Policy
from middlebox.shells.replay import Replayed, replay
from middlebox.shells.tables import Summary, explanation, printable, replay_table

ONLY_TASK = TaskID(0)
"Of the progress bar."

MACHINE_WIDTH = 120
"Columns of a table that goes to a file or a pipe."


def print_replay(
    captures: Sequence[str],
    policy: Policy,
    *,
    jsonl: bool,
    jobs: int,
    explain: bool,
    output: TextIO,
    errors: TextIO,
) -> bool:
    """Replay captures and print the flows; False when any capture could not be read at all."""
    console = Console(file=output, width=None if output.isatty() else MACHINE_WIDTH)
    summary = Summary()
    all_readable = True
    with progress_bar(captures, errors) as progress:
        for result in replay(captures, policy, jobs=jobs, advance=lambda count: progress.advance(ONLY_TASK, count)):
            progress.stop()  # takes the bar off the terminal while records are printed
            for problem in result.problems:
                print(printable(problem), file=errors)
            all_readable = all_readable and not result.unreadable
            if jsonl:
                _print_jsonl(result, output)
            else:
                summary.add(result)
                _print_table(result, console, explain=explain)
            progress.start()
    if not jsonl:
        print(summary.text(), file=output)
    return all_readable


def progress_bar(captures: Sequence[str], errors: TextIO, *, rounds: int = 1) -> Progress:
    """A bar over the bytes of all captures, each read `rounds` times, shown only where standard error is a terminal."""
    progress = Progress(
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(file=errors),
        transient=True,
        disable=not errors.isatty(),
    )
    progress.add_task("", total=rounds * sum(map(_size, captures)))
    return progress


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # reading it will say why


def _print_jsonl(result: Replayed, output: TextIO) -> None:
    for event in result.flows:
        output.write(json.dumps(event, separators=(",", ":")) + "\n")


def _print_table(result: Replayed, console: Console, *, explain: bool) -> None:
    if not result.flows:
        return
    console.print(printable(result.capture), style="bold", markup=False, highlight=False)
    console.print(replay_table(result.flows, console.width))
    if explain:
        for line in explanation(result.flows):
            print(line, file=console.file)
