"""`include`: one policy from several files.

Rule of this file: each file is read once, and what stands in it keeps the file's name, line and column.
"""

import os.path
from collections.abc import Iterator
from dataclasses import dataclass, field

from middlebox.policy.named_files import YAML_SUFFIXES, ReadFile, beside, read_text
from middlebox.policy.problem import PolicyError, Problem, described, quoted
from middlebox.policy.yaml_positions import Document, Path, Place, read_yaml

MAX_DEPTH = 8
"Includes inside each other. Who needs more has lost sight of the order of the rules."

MAX_FILES = 100
"Included files in one policy: each is read at every start and reload."

NAMED = {"rules": ("rule", "rule"), "approved": ("name", "approval")}
"Sections that are lists: the key of the name, and what one entry is called."
BY_KEY = {"lists": "list", "clients": "client group", "schedules": "schedule"}
"Sections that are mappings of name to thing, and what that is called."


@dataclass(slots=True, frozen=True)
class Part:
    """One file of a policy."""

    document: Document
    name: str = ""
    "Its path from the policy's directory; the policy itself needs none."
    text: str = ""

    def items(self, section: str) -> Iterator[tuple[Path, dict[str, object]]]:
        """The entries of a list of mappings, as far as they have that shape."""
        data = self.document.data
        items = data.get(section) if isinstance(data, dict) else None
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                yield (section, index), item

    def mapping(self, section: str) -> dict[str, object]:
        """A mapping of name to thing; empty if it is none."""
        data = self.document.data
        found = data.get(section) if isinstance(data, dict) else None
        return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class Parts:
    """The files of a policy in the order of their rules: what is included comes first, the policy itself last."""

    parts: list[Part] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    "False if a file is missing, so that nobody can say which names there are."


def read_parts(policy: Document, read_file: ReadFile) -> Parts:
    """The policy and all that it includes. Never raises: what cannot be read is left out and reported."""
    reader = _Reader(read_file)
    reader.add(Part(policy), (os.path.normpath(os.path.basename(policy.file)),))
    return reader.found


class _Reader:
    """Reads file after file, depth first."""

    def __init__(self, read_file: ReadFile) -> None:
        self._read_file = read_file
        self._included: dict[str, Place] = {}
        "Path to where it is included."
        self.found = Parts()

    def add(self, part: Part, above: tuple[str, ...]) -> None:
        """Read what `part` includes, then note it. `above` leads to it from the policy, both included."""
        for name, place in _entries(part.document):
            try:
                included = self._read(part, name, place, above)
            except PolicyError as error:
                self.found.problems += error.problems
                self.found.complete = False
            else:
                self.add(included, (*above, os.path.normpath(included.name)))
        self.found.parts.append(part)

    def _read(self, part: Part, entry: str, place: Place, above: tuple[str, ...]) -> Part:
        if not entry.endswith(YAML_SUFFIXES) or not entry.isprintable():
            raise PolicyError([place.error(f"include: found {quoted(entry)}, expected the path of a .yaml file")])
        name = beside(part.name, entry)
        path = os.path.normpath(name)
        if path in above:
            circle = " includes ".join((*above[above.index(path) :], path))
            raise PolicyError([place.error(f"include: a circle: {circle}")])
        if path in self._included:
            there = self._included[path].seen_from(place)
            raise PolicyError([place.error(f"include: {quoted(entry)} stands here again; it is already in {there}")])
        if len(above) > MAX_DEPTH:
            raise PolicyError([place.error(f"include: files include each other more than {MAX_DEPTH} levels deep")])
        if len(self._included) == MAX_FILES:
            raise PolicyError([place.error(f"include: found another file, expected at most {MAX_FILES} in a policy")])
        self._included[path] = place
        shown = beside(part.document.file, entry)
        text = read_text(self._read_file, name, shown, place)
        document = read_yaml(text, shown)
        if not document.readable:
            raise PolicyError(document.problems)
        if not isinstance(document.data, dict):
            found = "an empty file" if document.data is None else described(document.data)
            expected = "a mapping with rules, lists, approved, clients, schedules or include"
            problem = document.value_place(()).error(f"found {found}, expected {expected}")
            raise PolicyError([*document.problems, problem])
        return Part(document, name, text)


def _entries(document: Document) -> Iterator[tuple[str, Place]]:
    """The paths in `include`; what is no text is reported with the shape of the file."""
    data = document.data
    value = data.get("include") if isinstance(data, dict) else None
    for index, name in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(name, str) and name:
            place = document.value_place(("include", index))
            if (place.line, place.column) not in document.refused:
                yield name, place


def repeated_names(parts: list[Part]) -> Iterator[Problem]:
    """Names that two things of one kind have."""
    first: dict[tuple[str, str], Place] = {}
    for part in parts:
        for thing, name, place in _names(part):
            if (thing, name) in first:
                there = first[thing, name].seen_from(place)
                yield place.error(f"the {thing} {quoted(name)} stands here again; it is already in {there}")
            first.setdefault((thing, name), place)


def _names(part: Part) -> Iterator[tuple[str, str, Place]]:
    for section, (key, thing) in NAMED.items():
        for path, item in part.items(section):
            if isinstance(name := item.get(key), str):
                yield thing, name, part.document.value_place((*path, key))
    for section, thing in BY_KEY.items():
        for name in part.mapping(section):
            yield thing, name, part.document.key_place((section, name))
