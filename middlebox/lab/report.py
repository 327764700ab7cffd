"""A run's result for people: a table in the terminal, and one HTML page that needs nothing else.

Rule of this file: it shows a `Result` and computes nothing that is not in it.
"""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from middlebox.lab.result import Interval, Result

SHOULD = {"passed": "pass", "refused": "be refused", "reset": "be reset"}
DID = {
    "passed": "passed",
    "refused": "was refused",
    "reset": "was reset",
    "broken": "broke",
}


def write_report(result: Result, path: Path) -> None:
    """Write the HTML page."""
    environment = Environment(
        loader=PackageLoader("middlebox.lab", "."),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = share
    page = environment.get_template("report.html.j2").render(
        result=result, verdict=verdict_line(result), should=SHOULD, did=DID
    )
    path.write_text(page, encoding="utf-8")


def share(interval: Interval | None) -> str:
    """A share and its interval in percent."""
    if interval is None:
        return "–"  # noqa: RUF001
    return f"{interval.value:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def print_result(result: Result, directory: Path, console: Console) -> None:
    """Print the table, what was not as expected, and where the report is."""
    table = Table(
        title=f"{result.scenario} on {result.driver}: {result.title}", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("", no_wrap=True)
    table.add_column("What was tried", ratio=1, min_width=20)
    for column in ("Truth", "Should", "Did"):
        table.add_column(column, no_wrap=True)
    table.add_column("Seconds", justify="right", no_wrap=True)
    table.add_column("Rule that acted", no_wrap=True)
    for step in result.steps:
        table.add_row(
            mark(step.as_expected), step.what, step.truth, SHOULD[step.expected], DID[step.noticed],
            f"{step.seconds:.2f}", step.rule or "", style="" if step.as_expected else "red",
        )  # fmt: skip
    checks = Table(box=None, show_header=False, padding=(0, 1))
    for check in result.checks:
        checks.add_row(mark(check.met), check.what, f"{check.found} (expected {check.expected})")
    problems = [Text(f"{step.step}: {problem}", style="red") for step in result.steps for problem in step.problems]
    console.print(Group(table, checks, *problems))
    console.print(verdict_line(result), style="green" if result.met else "red")
    console.print(f"Report: {directory / 'report.html'}", soft_wrap=True)


def mark(good: bool) -> str:
    """A sign that reads well without colours too."""
    return "ok" if good else "NO"


def verdict_line(result: Result) -> str:
    """The whole result in one line."""
    total = len(result.steps) + len(result.checks)
    if result.met:
        return f"All {total} expectations met in {result.seconds:.0f} s."
    return f"{result.unmet} of {total} expectations not met."
