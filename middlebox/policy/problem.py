"""What is wrong with a policy: one `Problem` per finding, all of them together in a `PolicyError`.

Rule of this file: a message says what was found, what was expected and the nearest right name, on one line.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

QUOTED_LENGTH = 60
"Characters of a found text that a message shows; more would push the explanation off the screen."


class Severity(StrEnum):
    """Whether a policy can still be used."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(slots=True, frozen=True, order=True)
class Problem:
    """One finding. Sorts by file, line and column; lines and columns count from 1."""

    file: str
    line: int
    column: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        """The finding in the form that editors and compilers share, on one line whatever names stand in it."""
        text = f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class PolicyError(Exception):
    """A policy that cannot be used, with everything that is wrong with it, sorted."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def quoted(text: str) -> str:
    """`text` in quotes, shortened, with nothing in it that a terminal could take as a command."""
    shown = text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "..."
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown) + '"'


def described(value: object) -> str:
    """How a message names a value that was found."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case date():
            return f"the date {value.isoformat()}"
        case str():
            return quoted(value)
        case list():
            return "a list"
        case _:
            return "a mapping"


def listed(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean "..."?` for the nearest known word, or nothing where none is near."""
    by_lower_case = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(word.lower(), by_lower_case, n=1)
    return f'; did you mean "{by_lower_case[nearest[0]]}"?' if nearest else ""
