"""Where the named things of a policy stand, and what its lists hold: what only the linter needs to know.

Rule of this file: it reads a policy that has been loaded without an error once more, so that a policy in force need
not carry places and lists around.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from middlebox.policy.include import BY_KEY, NAMED, Part, read_parts
from middlebox.policy.named_files import beside
from middlebox.policy.yaml_positions import Document, Path, Place, read_yaml

ReadText = Callable[[str], str]
"The text of a file named in the policy; raises OSError or ValueError."


@dataclass(slots=True)
class Outline:
    """Places and uses of what a policy names."""

    file: str
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    "(section, name) to place; a waiver's name is its number."
    lists: dict[str, list[tuple[str, Place]]] = field(default_factory=dict)
    "Entries that are texts, with their places."
    list_uses: dict[str, set[str]] = field(default_factory=dict)
    "List to the keys of the tests that use it, such as `server_name|domain`."
    words: set[str] = field(default_factory=set)
    "Every text that stands in a condition."
    domains: list[tuple[str, str, Place]] = field(default_factory=list)
    "Rule, value and place of what `domain` tests name in the rule itself."
    during: set[str] = field(default_factory=set)
    "Schedules that rules name."

    def place(self, section: str, name: str) -> Place:
        """Where the thing stands; the beginning of the file if that is not known."""
        return self.places.get((section, name)) or Place(self.file, 1, 1)


def read_outline(text: str, source: str, read_text: ReadText) -> Outline:
    """The outline of a policy and of what it includes. Never raises: what cannot be read is left out."""
    outline = Outline(source)
    for part in read_parts(read_yaml(text, source), read_text).parts:
        _read(part, outline, read_text)
    return outline


def _read(part: Part, outline: Outline, read_text: ReadText) -> None:
    document = part.document
    for section, (key, _) in NAMED.items():
        for path, item in part.items(section):
            name = item.get(key)
            if isinstance(name, str):
                outline.places[section, name] = document.value_place((*path, key))
            during = item.get("during")
            if isinstance(during, str):
                outline.during.add(during)
            if section == "rules":
                _note_uses(document, (*path, "when"), item.get("when"), "", str(name), outline)
    for path, _ in part.items("waive"):
        outline.places["waive", str(path[1])] = document.value_place(path)
    for section in BY_KEY:
        for name in part.mapping(section):
            outline.places[section, name] = document.key_place((section, name))
    for name, value in part.mapping("lists").items():
        if isinstance(value, str):
            outline.lists[name] = list(_file_entries(part, value, read_text))
        else:
            outline.lists[name] = list(_entries(document, ("lists", name), value))


def _entries(document: Document, path: Path, value: object) -> Iterator[tuple[str, Place]]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str):
            yield item, document.value_place((*path, index))


def _file_entries(part: Part, name: str, read_text: ReadText) -> Iterator[tuple[str, Place]]:
    try:
        text = read_text(beside(part.name, name))
    except (OSError, ValueError):
        return
    shown = beside(part.document.file, name)
    if name.endswith(".txt"):
        for number, line in enumerate(text.split("\n"), start=1):
            entry = line.split("#")[0].strip()
            if entry:
                yield entry, Place(shown, number, line.index(entry) + 1)
    else:
        inner = read_yaml(text, shown)
        yield from _entries(inner, (), inner.data)


def _note_uses(document: Document, path: Path, value: object, key: str, rule: str, outline: Outline) -> None:
    """Walk a condition: which lists and words it uses, under which key."""
    match value:
        case dict():
            name = value.get("list")
            if isinstance(name, str):
                outline.list_uses.setdefault(name, set()).add(key)
            for inner, below in value.items():
                outline.words.add(inner)
                _note_uses(document, (*path, inner), below, key if inner == "list" else inner, rule, outline)
        case list():
            for index, item in enumerate(value):
                _note_uses(document, (*path, index), item, key, rule, outline)
        case str():
            outline.words.add(value)
            if key.endswith("|domain") and path[-1] != "list":
                outline.domains.append((rule, value, document.value_place(path)))
