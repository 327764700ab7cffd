"""The command line: reads arguments, calls one function, prints. The only module that exits.

Exit status: 0 fine; 1 a check failed; 2 bad input or usage; 3 the machine lacks something.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from middlebox import __version__
from middlebox.lab import cli as lab
from middlebox.policy.load import load_policy
from middlebox.policy.problem import PolicyError, Problem, Severity
from middlebox.policy.rule import CLASSIFY_ONLY, Policy
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


class ExplainFormat(Enum):
    """How an explanation is printed."""

    TEXT = "text"
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
    control: Annotated[
        Path | None, typer.Option(metavar="SOCKET", help="Where it listens to `middlebox status` and the like.")
    ] = None,
    clock: Annotated[
        str | None, typer.Option(metavar="TIME", help="Simulate the policy's clock: 2016-03-03T08:00+08:00.")
    ] = None,
    clock_speed: Annotated[
        float, typer.Option(metavar="N", help="Seconds of the simulated clock in a second; 10080: a week a minute.")
    ] = 1.0,
) -> None:
    """Enforce a policy on this gateway until SIGTERM or Ctrl-C; then remove the hook. SIGHUP loads the policy again."""
    from middlebox.shells.clock import PolicyClock, parse_clock
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
            control=control,
            clock=PolicyClock(None if clock is None else parse_clock(clock), clock_speed),
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


ControlPath = Annotated[
    Path, typer.Option("--control", metavar="SOCKET", help="The control socket of the running gateway.")
]
_DEFAULT_SOCKET = Path("/run/middlebox/control")


@app.command()
def status(
    control: ControlPath = _DEFAULT_SOCKET,
    output: Annotated[Format, typer.Option("--format", help="Table or JSON lines.")] = Format.TABLE,
) -> None:
    """Say how the running gateway is: policy, schedules, flows, verdicts, losses."""
    from middlebox.shells.control_client import print_status

    with _reader_may_leave():
        print_status(control, jsonl=output is Format.JSONL, output=sys.stdout)


@app.command()
def flows(
    control: ControlPath = _DEFAULT_SOCKET,
    protocol: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this protocol.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="NAME", help="Only with this verdict: pass, drop, ...")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="The latest N.")] = None,
    output: Annotated[Format, typer.Option("--format", help="Table or JSON lines.")] = Format.TABLE,
) -> None:
    """List the open flows of the running gateway, the latest first."""
    from middlebox.shells.control_client import print_flows

    with _reader_may_leave():
        print_flows(
            control,
            protocol=protocol,
            verdict=verdict,
            limit=limit,
            jsonl=output is Format.JSONL,
            output=sys.stdout,
        )


@app.command()
def reload(
    control: ControlPath = _DEFAULT_SOCKET,
    output: Annotated[Format, typer.Option("--format", help="Table or JSON lines.")] = Format.TABLE,
) -> None:
    """Make the running gateway load its policy again; a policy with errors leaves the old one in force."""
    from middlebox.shells.control_client import reload_policy

    if not reload_policy(control, jsonl=output is Format.JSONL, output=sys.stdout, errors=sys.stderr):
        raise typer.Exit(BAD_INPUT)


@app.command()
def top(control: ControlPath = _DEFAULT_SOCKET) -> None:
    """Watch the running gateway: its state and latest flows, anew every second; q ends."""
    from middlebox.shells.control_client import show_top

    show_top(control)


@app.command()
def explain(
    capture: Annotated[
        str | None, typer.Argument(metavar="CAPTURE", show_default=False, help="pcap or pcapng.")
    ] = None,
    flow: Annotated[
        str | None,
        typer.Argument(
            metavar="FLOW", show_default=False, help="Its number, its flow_id, or its ends: 203.0.113.20:1194, :1194."
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="POLICY", help="The policy it is judged by.")] = None,
    live: Annotated[str | None, typer.Option(metavar="FLOW", help="A flow of the running gateway.")] = None,
    control: Annotated[Path | None, typer.Option(metavar="SOCKET", help="The gateway's control socket.")] = None,
    output: Annotated[ExplainFormat, typer.Option("--format", help="Text or JSON lines.")] = ExplainFormat.TEXT,
) -> None:
    """Say of one flow what was seen, which rules were tried, and what would have changed the verdict."""
    from middlebox.shells.explain_output import print_explanation, print_live_explanation

    jsonl = output is ExplainFormat.JSONL
    with _reader_may_leave():
        if live is not None:
            if capture is not None or policy is not None:
                raise typer.BadParameter("--live asks the running gateway; leave out the capture and the policy")
            print_live_explanation(live, control, jsonl=jsonl, output=sys.stdout)
            return
        if capture is None:
            raise typer.BadParameter("name a capture, or a flow of the running gateway with --live FLOW")
        if policy is None:
            raise typer.BadParameter("name the policy that the flow is judged by: --policy POLICY")
        print_explanation(capture, load_policy(policy), flow, jsonl=jsonl, output=sys.stdout, errors=sys.stderr)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A policy file.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another one.", show_default=False)],
    captures: Annotated[list[str], typer.Argument(metavar="CAPTURE...", help="pcap or pcapng, also .gz and .zst.")],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 when a flow is judged otherwise.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="How groups of flows are printed.")] = Format.TABLE,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes that replay.")] = 1,
) -> None:
    """Show which flows of captures a change of policy would treat in another way."""
    from middlebox.shells.diff_output import print_diff

    policies: list[Policy] = []
    problems: list[Problem] = []
    for path in (old, new):
        try:
            policies.append(load_policy(path))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    before, after = policies
    with _reader_may_leave():
        difference = print_diff(
            before, after, captures, jsonl=output is Format.JSONL, jobs=jobs, output=sys.stdout, errors=sys.stderr
        )
    if not difference.all_readable:
        raise typer.Exit(BAD_INPUT)
    if exit_code and difference.by_change:
        raise typer.Exit(1)


@app.command()
def check(
    policies: Annotated[list[Path], typer.Argument(metavar="POLICY...", help="Policy files.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count: exit status 1.")] = False,
    show_waived: Annotated[bool, typer.Option("--show-waived", help="List the waived warnings, too.")] = False,
) -> None:
    """Validate policies; print every problem at once as file:line:column, errors and warnings."""
    from middlebox.policy.check import lint_files
    from middlebox.shells.check_output import print_checked
    from middlebox.shells.features import kernel_probe

    checked = lint_files(policies, now=time.time(), probe=kernel_probe())
    print_checked(checked, show_waived=show_waived, output=sys.stdout, errors=sys.stderr)
    if checked.count(Severity.ERROR):
        raise typer.Exit(BAD_INPUT)
    if strict and checked.count(Severity.WARNING):
        raise typer.Exit(1)


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
