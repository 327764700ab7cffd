"""Prints what `middlebox test` found: one line for each case that failed, totals, and on request every rule.

Rule of this file: a line begins with the place in the test file, as compilers write it, so that an editor jumps there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from middlebox.policy.rule_test import RuleTests
from middlebox.shells.rule_tests import Outcome, Result, Runner
from middlebox.shells.tables import printable

_MACHINE_WIDTH = 120
"Columns of a table that goes to a file or a pipe."


def print_rule_tests(tests: Sequence[RuleTests], *, jsonl: bool, verbose: bool, strict: bool, output: TextIO) -> bool:
    """Run the tests and print what came of them; False when a case failed or, with `strict`, a rule lacks one."""
    runner = Runner()
    totals: Counter[Result] = Counter()
    uncovered = 0
    for file in tests:
        outcomes = [runner.run(case) for case in file.cases]
        totals.update(outcome.result for outcome in outcomes)
        for outcome in outcomes:
            if jsonl:
                _write(output, _case_record(outcome, file))
            elif verbose or outcome.result is Result.FAILED:
                print(printable(_line(outcome)), file=output)
        for rule, lacking in file.uncovered():
            uncovered += 1
            if jsonl:
                record = {"record": "coverage", "file": file.source, "policy": file.policy.name}
                _write(output, {**record, "rule": rule.name, "lacking": lacking})
            else:
                word = "failed" if strict else "warning"
                print(printable(f"{file.source}:1:1: {word}: {rule.name} has no case that is a {lacking}"), file=output)
        if verbose and not jsonl:
            _print_rules(file, outcomes, output)
    if not jsonl:
        print(_summary(tests, totals, uncovered), file=output)
    return not totals[Result.FAILED] and not (strict and uncovered)


def _line(outcome: Outcome) -> str:
    case = outcome.case
    words = f"{case.location}: {outcome.result}: {case.rule.name}: {case.name}"
    why = outcome.found or case.because
    return f"{words}: {why}" if why else words


def _case_record(outcome: Outcome, file: RuleTests) -> dict[str, object]:
    case = outcome.case
    _, line, column = case.location.rsplit(":", 2)
    return {
        "record": "case",
        "file": file.source,
        "line": int(line),
        "column": int(column),
        "policy": file.policy.name,
        "rule": case.rule.name,
        "case": case.name,
        "kind": "match" if case.is_match else "near miss",
        "result": outcome.result.value,
        "found": outcome.found or None,
    }


def _write(output: TextIO, record: dict[str, object]) -> None:
    output.write(json.dumps(record, separators=(",", ":")) + "\n")


def _print_rules(file: RuleTests, outcomes: Sequence[Outcome], output: TextIO) -> None:
    """How many cases each rule has, of which kind, and how many failed."""
    table = Table(
        "rule", "matches", "near misses", "known misses", "failed", title=file.policy.name, title_justify="left"
    )
    for rule in file.policy.rules:
        own = [outcome for outcome in outcomes if outcome.case.rule.name == rule.name]
        kinds = Counter(outcome.case.is_match for outcome in own if not outcome.case.known_miss)
        known = sum(outcome.case.known_miss for outcome in own)
        failed = sum(outcome.result is Result.FAILED for outcome in own)
        table.add_row(rule.name, *map(str, (kinds[True], kinds[False], known, failed)))
    Console(file=output, width=None if output.isatty() else _MACHINE_WIDTH).print(table)


def _summary(tests: Sequence[RuleTests], totals: Counter[Result], uncovered: int) -> str:
    policies = f"{len(tests)} {'policy' if len(tests) == 1 else 'policies'}"
    words = f"{policies}, {totals.total()} cases: {totals[Result.PASSED]} passed"
    words += f", {totals[Result.KNOWN_MISS]} known to be missed" if totals[Result.KNOWN_MISS] else ""
    words += f", {totals[Result.FAILED]} failed" if totals[Result.FAILED] else ""
    return words + (f"; {uncovered} {'gap' if uncovered == 1 else 'gaps'} in what is tested" if uncovered else "")
