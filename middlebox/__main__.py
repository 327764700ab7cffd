"""The command line: reads arguments, calls one function, prints. The only module that exits.

Exit status: 0 fine; 1 a check failed; 2 bad input or usage; 3 the machine lacks something.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from middlebox import __version__
from middlebox.lab import cli as lab
from middlebox.policy.check import check_files
from middlebox.policy.load import load_policy
from middlebox.policy.problem import PolicyError, Severity
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.shells.errors import ShellError

app = typer.Typer(
    help="Classify traffic on a gateway, act by rules, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(lab.app, name="lab")

BAD_INPUT = 2
_INTERRUPTED = 130
"128 + SIGINT, as shells report it."
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
"What the parser of the command line raises. Its home depends on the version of Typer, which exports one kind of it."


class Format(Enum):
    """How records are printed."""

    TABLE = "table"
    JSONL = "jsonl"


class Hook(Enum):
    """Who puts the queue rule into the kernel."""

    AUTO = "auto"
    NFT = "nft"
    IPTABLES = "iptables"
    NONE = "none"


class Fail(Enum):
    """What happens to packets that the gateway cannot look at."""

    OPEN = "open"
    CLOSED = "closed"


PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy file.", show_default=False)]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"middlebox {__version__}")
        raise typer.Exit


@app.command()
def run(
    policy: PolicyPath,
    monitor: Annotated[bool, typer.Option("--monitor", help="Judge and log, pass everything.")] = False,
    events: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write events as JSON lines.")] = None,
    queue_num: Annotated[int, typer.Option(min=0, max=65535, help="Number of the kernel queue.")] = 0,
    hook: Annotated[Hook, typer.Option(help="How the kernel hook is installed; none: you do it.")] = Hook.AUTO,
    interfaces: Annotated[
        str | None, typer.Option(metavar="IN:OUT", help="Inspect only what passes between these two interfaces.")
    ] = None,
    fail: Annotated[Fail | None, typer.Option(help="Overrides the policy: no listener, queue full.")] = None,
) -> None:
    """Enforce a policy on this gateway until SIGTERM or Ctrl-C; then remove the hook."""
    from middlebox.shells.gateway import GatewayOptions, run_gateway

    summary = run_gateway(
        load_policy(policy),
        GatewayOptions(
            monitor=monitor,
            queue_num=queue_num,
            hook=hook.value,
            events=events,
            interfaces=_interface_pair(interfaces),
            fail=fail.value if fail is not None else None,
        ),
    )
    with suppress(BrokenPipeError):  # whoever read the first lines may have left
        print(summary.text(), file=sys.stderr, flush=True)


@app.command()
def replay(
    captures: Annotated[list[str], typer.Argument(metavar="CAPTURE...", help="pcap or pcapng, also .gz and .zst.")],
    policy: Annotated[Path | None, typer.Option(metavar="POLICY", help="Without it: classify only.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How flows are printed.")] = Format.TABLE,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Captures replayed side by side.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Below each table: evidence and near misses.")] = False,
) -> None:
    """Judge the packets of captures as the gateway would, and print every flow."""
    from middlebox.shells.replay_output import print_replay

    with _reader_may_leave():
        all_readable = print_replay(
            captures,
            CLASSIFY_ONLY if policy is None else load_policy(policy),
            jsonl=output is Format.JSONL,
            jobs=jobs,
            explain=explain,
            output=sys.stdout,
            errors=sys.stderr,
        )
    if not all_readable:
        raise typer.Exit(BAD_INPUT)


@app.command()
def check(policies: Annotated[list[Path], typer.Argument(metavar="POLICY...", help="Policy files.")]) -> None:
    """Validate policies; print every problem at once as file:line:column."""
    problems = check_files(policies)
    for problem in problems:
        print(problem, file=sys.stderr)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(BAD_INPUT)
    print(f"{len(policies)} {'policy' if len(policies) == 1 else 'policies'} checked, no error found")


@app.command("test")
def run_rule_tests(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Files, or folders to search.", show_default="rules/")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every case, and a table of the rules.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Rules without a match or a near miss fail.")] = False,
    output: Annotated[Format, typer.Option("--format", help="Lines for people, or JSON lines.")] = Format.TABLE,
) -> None:
    """Run the rule tests (*.test.yaml) beside the policies."""
    from middlebox.shells.rule_tests import load_all
    from middlebox.shells.rule_tests_output import print_rule_tests

    tests, problems = load_all(paths or [Path("rules")])
    for problem in problems:
        print(problem, file=sys.stderr)
    with _reader_may_leave():
        all_passed = print_rule_tests(
            tests, jsonl=output is Format.JSONL, verbose=verbose, strict=strict, output=sys.stdout
        )
    if problems:
        raise typer.Exit(BAD_INPUT)
    if not all_passed:
        raise typer.Exit(1)


@app.command()
def protocols(output: Annotated[Format, typer.Option("--format", help="Table or JSON lines.")] = Format.TABLE) -> None:
    """List every protocol name, and what recognises it."""
    from rich.console import Console

    from middlebox.detect import DETECTORS
    from middlebox.shells.measured import read_measured
    from middlebox.shells.tables import WIDE, protocol_records, protocols_table

    measured = read_measured()
    with _reader_may_leave():
        if output is Format.TABLE:
            console = Console()
            console.print(protocols_table(DETECTORS, measured, width=console.width))
            if console.width < WIDE:
                print(f"What each detector misses is shown from {WIDE} columns on, and by --format jsonl.")
            return
        for record in protocol_records(DETECTORS, measured):
            print(json.dumps(record))


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly when whoever reads standard output has had enough (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Nothing more can be printed, also not what is still buffered at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


def _interface_pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    inside, colon, outside = text.partition(":")
    if not colon or not inside or not outside or ":" in outside:
        raise typer.BadParameter(f"{text!r} is not of the form IN:OUT, for instance eth1:eth0")
    return inside, outside


def main() -> None:
    """Run the command line; turn the errors a user can cause into one line and a status."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except _UsageError as error:
        # Without arguments the help has been shown, and nothing is left to say.
        if complaint := error.format_message():
            print(f"middlebox: {complaint.rstrip('.')}; `middlebox --help` lists what there is", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except PolicyError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT)
    except ShellError as error:
        print(f"middlebox: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
