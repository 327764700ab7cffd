"""How `middlebox check` shows what it found."""

import os
import sys
import textwrap
from collections.abc import Iterable
from typing import TextIO

from middlebox.policy.check import Checked
from middlebox.policy.lint import Finding
from middlebox.policy.problem import Problem
from middlebox.policy.rule import Waiver


def print_checked(
    checked: Checked, *, show_waived: bool, output: TextIO = sys.stdout, errors: TextIO = sys.stderr
) -> None:
    """Problems to `errors`, one a line, and the summary to `output`. On a terminal, long lines are folded at words."""
    width = os.get_terminal_size(errors.fileno()).columns if errors.isatty() else None
    for line in (*map(str, checked.problems), *_waived(checked.waived if show_waived else ())):
        print(folded(line, width), file=errors)
    print(checked.summary, file=output)


def folded(line: str, width: int | None) -> str:
    """`line` in pieces of `width` columns, all but the first indented; whole without a width."""
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _waived(waived: Iterable[tuple[Finding, Waiver]]) -> Iterable[str]:
    for finding, waiver in waived:
        problem: Problem = finding.problem
        yield f"{problem.file}:{problem.line}:{problem.column}: waived: {problem.message}: {waiver.why}"
