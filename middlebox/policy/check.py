"""`middlebox check`: what is wrong with policy files.

Rule of this file: it reads and reports, and decides nothing about how that is shown.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from middlebox.policy.fields import Kind
from middlebox.policy.load import load_policy
from middlebox.policy.problem import PolicyError, Problem


def check_files(paths: Iterable[Path], fields: Mapping[str, Kind] | None = None) -> list[Problem]:
    """Every problem of these policies, policy after policy in the order given; each problem once."""
    problems: dict[Problem, None] = {}
    for path in paths:
        try:
            load_policy(path, fields)
        except PolicyError as error:
            problems.update(dict.fromkeys(error.problems))
    return list(problems)
