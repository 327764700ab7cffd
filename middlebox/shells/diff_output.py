"""`middlebox diff`: what a change of policy would have done, for people and as JSON lines.

Names come from captures and files that may want to deceive whoever reads them: every line goes through `printable`.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console

from middlebox.policy.rule import Policy
from middlebox.shells.diff import Difference, Example, Group, Kind, Side, compare
from middlebox.shells.replay_output import MACHINE_WIDTH, ONLY_TASK, progress_bar
from middlebox.shells.tables import endpoint, printable, server_name, tally


def print_diff(
    old: Policy, new: Policy, captures: Sequence[str], *, jsonl: bool, jobs: int, output: TextIO, errors: TextIO
) -> Difference:
    """Replay captures by both policies and print what differs."""
    with progress_bar(captures, errors, rounds=2) as progress:
        difference = compare(old, new, captures, jobs=jobs, advance=lambda count: progress.advance(ONLY_TASK, count))
    for problem in difference.problems:
        print(printable(problem), file=errors)
    if jsonl:
        for group in difference.groups:
            output.write(json.dumps(_record(group), separators=(",", ":")) + "\n")
        output.write(json.dumps(_summary_record(difference), separators=(",", ":")) + "\n")
        return difference
    width = Console(file=output, width=None if output.isatty() else MACHINE_WIDTH).width
    for line in diff_lines(old, new, difference, width):
        print(line, file=output)
    return difference


def diff_lines(old: Policy, new: Policy, difference: Difference, width: int) -> list[str]:
    """The groups, most worrying first, and a summary."""
    lines: list[str] = []
    for text in _lines(old, new, difference):
        indent = len(text) - len(text.lstrip(" "))
        lines += textwrap.wrap(
            printable(text),
            max(width, 20),
            subsequent_indent=" " * (indent + 2),
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]
    return lines


def _lines(old: Policy, new: Policy, difference: Difference) -> Iterator[str]:
    if old.mode is not new.mode:
        yield (
            f"Of the two policies one enforces and one only monitors (old: {old.mode.value}, new: {new.mode.value}); "
            "the verdicts are compared as if both enforced."
        )
        yield ""
    for group in difference.groups:
        share = "all" if group.ordinary == group.flows else f"{group.ordinary:,}"
        ordinary = f", {share} of them ordinary traffic" if group.ordinary else ""
        yield f"{group.kind.value.upper()}: {_flows(group.flows)}{ordinary}"
        yield f"  {_said(group.old)} -> {_said(group.new)}"
        yield f"  {tally(group.protocols)}"
        for example in group.examples:
            yield f"    {_example(example)}"
        if group.flows > len(group.examples):
            yield f"    and {group.flows - len(group.examples):,} more"
        yield ""
    yield summary(difference)


def summary(difference: Difference) -> str:
    """One line: how many flows change, and how."""
    same = difference.count(Kind.SAME)
    under = f"{_flows(same)} {'keeps its' if same == 1 else 'keep their'} verdict by another rule" if same else ""
    if not difference.changed:
        return f"no verdict of {_flows(difference.flows)} changes" + (f"; {under}" if under else "")
    parts = []
    if refused := difference.count(Kind.REFUSED):
        parts.append(f"{refused:,} newly refused ({difference.ordinary_refused:,} of them ordinary)")
    if freed := difference.count(Kind.FREED):
        parts.append(f"{freed:,} freed")
    if otherwise := difference.count(Kind.OTHERWISE):
        parts.append(f"{otherwise:,} treated otherwise")
    verb = "changes" if difference.changed == 1 else "change"
    text = f"{difference.changed:,} of {_flows(difference.flows)} {verb}: {', '.join(parts)}"
    return text + (f"; {under}" if under else "")


def _flows(count: int) -> str:
    return f"{count:,} flow" if count == 1 else f"{count:,} flows"


def _said(side: Side) -> str:
    return f"{side.verdict} ({side.rule if side.rule is not None else 'no rule'})"


def _example(example: Example) -> str:
    event = example.event
    about = event["middlebox"]
    assert isinstance(about, Mapping)
    ends = f"{endpoint(event['src_ip'], event['src_port'])} > {endpoint(event['dest_ip'], event['dest_port'])}"
    name = server_name(event)
    words = (ends, event["proto"], about["protocol"], about["confidence"], name)
    return f"{' '.join(str(word) for word in words if word is not None)} ({example.capture}, flow {example.number})"


def _record(group: Group) -> dict[str, object]:
    return {
        "event_type": "diff",
        "change": group.kind.value,
        "old": {"verdict": group.old.verdict, "rule": group.old.rule},
        "new": {"verdict": group.new.verdict, "rule": group.new.rule},
        "flows": group.flows,
        "ordinary": group.ordinary,
        "protocols": dict(group.protocols.most_common()),
        "examples": [
            {"capture": example.capture, "number": example.number, "flow": example.event} for example in group.examples
        ],
    }


def _summary_record(difference: Difference) -> dict[str, object]:
    return {
        "event_type": "diff_summary",
        "captures": difference.captures,
        "flows": difference.flows,
        "changed": difference.changed,
        "newly_refused": difference.count(Kind.REFUSED),
        "ordinary_newly_refused": difference.ordinary_refused,
        "freed": difference.count(Kind.FREED),
        "treated_otherwise": difference.count(Kind.OTHERWISE),
        "other_rule": difference.count(Kind.SAME),
    }
