"""Disagreements with labels, each argued once, by a person who looked at the packets (`arguments.yaml`).

The one rule: an argument corrects the label of the flows it names and of no others, and each must still be needed.
"""

from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from middlebox.accuracy.measure import Outcome
from middlebox.protocols import CATEGORY_OF


class Ruling(Enum):
    """Who is wrong."""

    LABEL = "label"
    OURS = "ours"
    OPEN = "open"
    "Neither can be shown from the packets."


@dataclass(slots=True, frozen=True)
class Argument:
    """Why we and a label differ."""

    capture: str
    "Name of the capture; `*` stands for anything."
    label: str
    said: str
    "The name that we give; `*` stands for any."
    ruling: Ruling
    truth: tuple[str, ...]
    "With `label`: the names that are right instead; none where it cannot be told."
    why: str

    def fits(self, outcome: Outcome) -> bool:
        """Whether this is about that flow."""
        return (
            outcome.flow is not None
            and fnmatchcase(outcome.capture.name, self.capture)
            and fnmatchcase(outcome.flow.label, self.label)
            and fnmatchcase(outcome.name, self.said)
        )


class Arguments:
    """All arguments; the first that fits counts."""

    def __init__(self, arguments: tuple[Argument, ...] = ()) -> None:
        self.all = arguments

    def of(self, outcome: Outcome) -> Argument | None:
        """The argument about a flow, None when nobody has argued."""
        return next((argument for argument in self.all if argument.fits(outcome)), None)


def read_arguments(path: Path) -> Arguments:
    """Read the file.

    Raises:
        ValueError: An entry lacks something or names a protocol that does not exist.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return Arguments(tuple(_argument(entry, f"{path.name}, entry {n}") for n, entry in enumerate(entries, start=1)))


def _argument(entry: object, where: str) -> Argument:
    keys = {"capture", "label", "said", "ruling", "truth", "why"}
    if not isinstance(entry, dict) or not keys - {"truth"} <= set(entry) <= keys:
        raise ValueError(f"{where}: found {entry!r}, expected a mapping with {', '.join(sorted(keys))}")
    truth = tuple(entry.get("truth") or ())
    unknown = [name for name in truth if name not in CATEGORY_OF]
    if unknown:
        raise ValueError(f"{where}: {unknown[0]!r} is not the name of a protocol")
    ruling = Ruling(entry["ruling"])
    return Argument(str(entry["capture"]), str(entry["label"]), str(entry["said"]), ruling, truth, str(entry["why"]))
