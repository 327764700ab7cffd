"""`middlebox check`: what is wrong with policy files, and what is no good idea.

Rule of this file: it reads and reports, and decides nothing about how that is shown.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from publicsuffixlist import PublicSuffixList

from middlebox.detect import DETECTORS
from middlebox.policy.fields import Kind
from middlebox.policy.lint import Finding, Probe, Report, lint
from middlebox.policy.load import load_policy
from middlebox.policy.outline import read_outline
from middlebox.policy.problem import PolicyError, Problem, Severity
from middlebox.policy.rule import Waiver
from middlebox.policy.rule_test import SUFFIX, load_rule_tests


@dataclass(slots=True)
class Checked:
    """What was found in some policies."""

    policies: int = 0
    tests: int = 0
    "Rule tests (`*.test.yaml`), which are read for errors only."
    problems: dict[Problem, None] = field(default_factory=dict)
    "Errors, warnings and notes, policy after policy in the order given; each once."
    waived: list[tuple[Finding, Waiver]] = field(default_factory=list)

    def count(self, severity: Severity) -> int:
        """How many problems are this bad."""
        return sum(problem.severity is severity for problem in self.problems)

    @property
    def summary(self) -> str:
        """One line."""
        parts = [f"{self.policies} {'policy' if self.policies == 1 else 'policies'}"] if self.policies else []
        if self.tests:
            parts.append(_counted(self.tests, "rule test"))
        policies = f"{' and '.join(parts)} checked"
        errors, warnings = self.count(Severity.ERROR), self.count(Severity.WARNING)
        waived = f" ({len(self.waived)} waived)" if self.waived else ""
        return f"{policies}: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}{waived}"


def check_files(paths: Iterable[Path], fields: Mapping[str, Kind] | None = None) -> list[Problem]:
    """Every error of these policies, policy after policy in the order given; each problem once."""
    problems: dict[Problem, None] = {}
    for path in paths:
        try:
            load_policy(path, fields)
        except PolicyError as error:
            problems.update(dict.fromkeys(error.problems))
    return list(problems)


def lint_files(paths: Iterable[Path], *, now: float, probe: Probe | None = None) -> Checked:
    """Errors of these policies and rule tests, and the warnings about policies that have none.

    Args:
        paths: Policy files.
        now: Policy time in seconds since the epoch.
        probe: Asks this machine for kernel features; None: not to be asked.
    """
    checked = Checked()
    for path in paths:
        try:
            if path.name.endswith(SUFFIX):
                checked.tests += 1
                load_rule_tests(path)
                continue
            checked.policies += 1
            report = _lint_file(path, now, probe)
        except PolicyError as error:
            checked.problems.update(dict.fromkeys(error.problems))
            continue
        checked.problems.update((finding.problem, None) for finding in report.findings)
        checked.waived += report.waived
    return checked


def _lint_file(path: Path, now: float, probe: Probe | None) -> Report:
    policy = load_policy(path)

    def read_text(name: str) -> str:
        return (path.parent / name).read_text(encoding="utf-8-sig")

    outline = read_outline(path.read_text(encoding="utf-8-sig"), str(path), read_text)
    return lint(policy, outline, now=now, detectors=DETECTORS, is_public_suffix=public_suffixes(), probe=probe)


@cache
def public_suffixes() -> Callable[[str], bool]:
    """Tells whether a domain is a public suffix of the ICANN section: `com` and `co.uk`, but not `github.io`."""
    known = PublicSuffixList(only_icann=True, accept_unknown=False)
    return lambda domain: known.is_public(domain)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
