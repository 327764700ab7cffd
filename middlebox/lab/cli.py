"""The commands `middlebox lab ...`: read arguments, run, print.

Rule of this file: what a user or a machine can cause is one line on standard error and an exit status.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from middlebox.policy.problem import PolicyError
from middlebox.shells.errors import ShellError

# What runs the lab is imported by the commands that need it: every other command of middlebox starts faster.

app = typer.Typer(help="Run scenarios with real clients and servers.", no_args_is_help=True)

_EXPECTATION_FAILED, _BAD_INPUT, _LAB_BROKEN, _INTERRUPTED = 1, 2, 3, 130

_FILE_WIDTH = 120


class DriverChoice(Enum):
    """Where the lab's hosts live."""

    AUTO = "auto"
    DOCKER = "docker"
    NETNS = "netns"


ScenarioName = Annotated[str, typer.Argument(metavar="SCENARIO", help="A name from `lab list`, or a file.")]


@app.command("list")
def list_command() -> None:
    """List the scenarios."""
    from middlebox.lab.run import list_scenarios
    from middlebox.lab.scenario import load_scenario

    with _errors_in_one_line():
        for path in list_scenarios():
            scenario = load_scenario(path)
            print(f"{scenario.scenario:20} {len(scenario.steps):3} steps  {scenario.title}")


@app.command("run")
def run_command(
    scenario: ScenarioName = "default",
    driver: Annotated[
        DriverChoice, typer.Option(help="auto: docker where an engine answers or can be started, else netns.")
    ] = DriverChoice.AUTO,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Use this policy instead.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="DIRECTORY", help="Instead of build/lab/SCENARIO.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the run's keys and configurations.")] = False,
) -> None:
    """Run a scenario; exit 1 when an expectation is not met."""
    from middlebox.lab.report import print_result
    from middlebox.lab.run import run_scenario

    console = _console()
    progress = Console(stderr=True)
    with _errors_in_one_line():
        result, directory = run_scenario(
            scenario,
            driver.value,
            policy_path=policy,
            output=output,
            keep=keep,
            say=lambda line: progress.print(f"lab: {line}", style="dim", highlight=False),
        )
        print_result(result, directory, console)
    if not result.met:
        raise typer.Exit(_EXPECTATION_FAILED)


@app.command("report")
def report_command(scenario: ScenarioName = "default") -> None:
    """Show the last result again, and write its HTML page anew."""
    from middlebox.lab.report import print_result, write_report
    from middlebox.lab.run import OUTPUT, read_result

    with _errors_in_one_line():
        directory = OUTPUT / scenario if (OUTPUT / scenario).is_dir() else Path(scenario)
        result = read_result(directory)
        write_report(result, directory / "report.html")
        print_result(result, directory, _console())
    if not result.met:
        raise typer.Exit(_EXPECTATION_FAILED)


def _console() -> Console:
    """Standard output, wide enough for the table also where it goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    from middlebox.lab.hosts import LabError

    try:
        yield
    except PolicyError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(_BAD_INPUT) from None
    except ShellError as error:
        print(f"middlebox: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_status) from None
    except LabError as error:
        print(f"middlebox: the lab does not work: {error}", file=sys.stderr)
        raise typer.Exit(_LAB_BROKEN) from None
    except KeyboardInterrupt:
        print("middlebox: interrupted; the lab is gone", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None
