"""YAML to plain data, remembering where each value stood, refusing what YAML 1.1 would silently change.

Rule of this file: nothing is ever read as something other than what its author sees. Besides duplicate keys,
that rules out `on`, `53:53`, `1.10` and `0755` without quotes, tags, anchors, aliases and merge keys (the last
three also because a few lines of them can unfold into gigabytes).
"""

import re
from dataclasses import dataclass, field
from typing import cast

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from middlebox.policy.problem import Problem, Severity, quoted

MAX_DEPTH = 40
"Mappings and lists inside each other. Conditions rarely nest deeper than four."

MAX_CHARACTERS = 1_000_000
"Size of one YAML file; PyYAML takes seconds for it. Longer lists belong into a text file."

MAX_DIGITS = 18
"Digits of a whole number: what fits into 64 bits, as every JSON reader can take."

Path = tuple[str | int, ...]
"Keys and list indexes that lead to a value, as pydantic writes them in its errors."

_TAG = "tag:yaml.org,2002:"
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(slots=True, frozen=True)
class Place:
    """Where something stands, and the characters that stand there if it is a scalar without quotes."""

    file: str
    line: int
    column: int
    written: str = ""

    def error(self, message: str) -> Problem:
        """An error at this place."""
        return Problem(self.file, self.line, self.column, Severity.ERROR, message)

    def seen_from(self, other: "Place") -> str:
        """How a message at `other` names this place: the line, and the file where it is another."""
        return f"line {self.line}" if self.file == other.file else f"{self.file}:{self.line}"


@dataclass(slots=True)
class Document:
    """One YAML file: its data, the places of its values and keys, and what was refused while reading it."""

    file: str
    data: object = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[tuple[int, int]] = field(default_factory=set)
    "Line and column of scalars that YAML would change: what they seem to be is not worth a second message."
    readable: bool = True
    "False after a syntax error: `data` says nothing then."

    def value_place(self, path: Path) -> Place:
        """The place of the value at `path`, or of the nearest thing around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path) or Place(self.file, 1, 1)

    def key_place(self, path: Path) -> Place:
        """The place of the key that `path` ends with, or of the nearest thing around it."""
        return self.keys.get(path) or self.value_place(path)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, bounded in depth and without aliases."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.found_aliases: list[tuple[yaml.Mark, str]] = []
        self.found_anchors: list[tuple[yaml.Mark, str]] = []

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = cast(yaml.Mark, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self.found_aliases.append((mark, f'YAML reads *{event.anchor} as an alias; write "*{event.anchor}"'))
            return ScalarNode(f"{_TAG}str", f"*{event.anchor}", mark, mark, style='"')
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            message = f'YAML reads &{event.anchor} as an anchor; anchors are not used here: write "&{event.anchor}"'
            self.found_anchors.append((mark, message))
        if self.depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} levels deep", problem_mark=mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read_yaml(text: str, file: str) -> Document:
    """Read one YAML document. Never raises: what is wrong stands in `Document.problems`."""
    document = Document(file)
    if len(text) > MAX_CHARACTERS:
        return _unreadable(document, 1, 1, f"{len(text)} characters of YAML, expected at most {MAX_CHARACTERS}")
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        return _unreadable(document, line, column, f"the character U+{ord(text[error.position]):04X} is not allowed")
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        return _unreadable(document, mark.line + 1, mark.column + 1, _syntax_message(error, text[mark.index :]))
    except (ValueError, OverflowError):  # "\UFFFFFFFF": PyYAML hands any number to chr()
        mark = loader.get_mark()
        return _unreadable(document, mark.line + 1, mark.column + 1, "not valid YAML: no such Unicode character")
    for mark, message in loader.found_aliases + loader.found_anchors:
        document.problems.append(Place(file, mark.line + 1, mark.column + 1).error(message))
    document.refused.update((mark.line + 1, mark.column + 1) for mark, _ in loader.found_aliases)
    if root is not None:
        document.data = _Reader(document, loader).value(root, ())
    return document


def _unreadable(document: Document, line: int, column: int, message: str) -> Document:
    document.problems.append(Place(document.file, line, column).error(message))
    document.readable = False
    return document


def _syntax_message(error: yaml.MarkedYAMLError, rest: str) -> str:
    """PyYAML's complaint, in words that say what to do where the cause is a common one."""
    problem, context = error.problem or "", error.context or ""
    if "another document" in problem:
        return "a second document begins here; write one document in each file"
    if "cannot start any token" in problem:
        if rest.startswith("\t"):
            return "YAML does not allow tabs here; indent with spaces"
        return f"YAML does not allow {quoted(rest[:1])} here; write the text in quotes"
    if context == "while scanning an alias":
        return "YAML reads * as the beginning of an alias; write the text in quotes"
    if "mapping values are not allowed" in problem:
        return "YAML does not allow a second colon here; write text that contains a colon in quotes"
    if problem.startswith("nested"):
        return problem
    return f"not valid YAML: {problem}" + (f" ({context})" if context else "")


class _Reader:
    """Turns nodes into data, noting places and refusing what would surprise."""

    def __init__(self, document: Document, loader: _Loader) -> None:
        self._document = document
        self._loader = loader
        self._constructor = SafeConstructor()

    def value(self, node: Node, path: Path) -> object:
        """The data of `node`, which stands at `path`."""
        plain = isinstance(node, ScalarNode) and node.style is None
        place = self._place(node, node.value if plain else "")
        self._document.values[path] = place
        implicit = self._loader.resolve(  # type: ignore[no-untyped-call]
            type(node), node.value if isinstance(node, ScalarNode) else None, (plain, not plain)
        )
        if node.tag != implicit:
            message = f"the tag {quoted(_short(node.tag))} is not used here; write the value without it"
            if isinstance(node, ScalarNode):
                self._refuse_scalar(place, message)
                return node.value
            self._refuse(place, message)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, implicit.removeprefix(_TAG), place)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            place = self._place(key_node)
            if key in data:
                first = self._document.keys[(*path, key)]
                self._refuse(place, f"the key {quoted(key)} stands here again; it is already in line {first.line}")
                continue
            self._document.keys[(*path, key)] = place
            data[key] = self.value(value_node, (*path, key))
        return data

    def _key(self, node: Node) -> str | None:
        """The key's text; None, and a problem, if YAML makes it anything but a text."""
        if not isinstance(node, ScalarNode):
            self._refuse(self._place(node), "found a list or mapping as a key, expected a text")
            return None
        kind = _short(node.tag)
        if kind == "merge":
            self._refuse(self._place(node), "merge keys (<<) are not used here; write the entries out")
            return None
        if kind not in ("str", "value"):
            read_as = _READ_AS.get(kind, f"what the tag {quoted(kind)} makes of it")
            message = f"YAML reads the key {node.value[:40]} as {read_as}; write {quoted(node.value)}"
            self._refuse(self._place(node), message)
            return None
        if not _is_unicode(node.value):
            self._refuse(self._place(node), _HALF_A_PAIR)
            return None
        return str(node.value)

    def _scalar(self, node: ScalarNode, kind: str, place: Place) -> object:
        """The value of a scalar; where it is refused, something that later checks can go on with."""
        text: str = node.value
        if not _is_unicode(text):
            self._refuse_scalar(place, _HALF_A_PAIR)
            return text
        quote_it = f"write {quoted(text)}"
        value: bool | int | float
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    value = self._constructor.construct_yaml_bool(node)
                    if text.lower() not in ("true", "false"):
                        word = "true" if value else "false"
                        self._refuse_scalar(place, f"YAML reads {text} as {word}; {quote_it} or {word}")
                    return value
                case "int":
                    if len(text) > MAX_DIGITS:
                        self._refuse_scalar(
                            place, f"found a number of {len(text)} digits, expected at most {MAX_DIGITS}"
                        )
                        return text
                    value = self._constructor.construct_yaml_int(node)
                    if not _PLAIN_INTEGER.fullmatch(text):
                        self._refuse_scalar(place, f"YAML reads {text} as the number {value}; {quote_it}")
                    return value
                case "float":
                    value = self._constructor.construct_yaml_float(node)
                    if repr(value) != text:
                        self._refuse_scalar(place, f"YAML reads {text} as the number {value}; {quote_it}")
                    return value
                case "timestamp":
                    return self._constructor.construct_yaml_timestamp(node)
        except (ValueError, OverflowError):
            self._refuse_scalar(place, f"YAML reads {text[:40]} as {_READ_AS[kind]}, but it is none; {quote_it}")
        return text

    def _place(self, node: Node, written: str = "") -> Place:
        mark = node.start_mark
        return Place(self._document.file, mark.line + 1, mark.column + 1, written)

    def _refuse(self, place: Place, message: str) -> None:
        self._document.problems.append(place.error(message))

    def _refuse_scalar(self, place: Place, message: str) -> None:
        self._refuse(place, message)
        self._document.refused.add((place.line, place.column))


_READ_AS = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing", "timestamp": "a date"}
"YAML 1.1 types that a plain text may turn into, in words."


_HALF_A_PAIR = "found half of a surrogate pair, expected Unicode text"


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which YAML lets through and nothing can write down again."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _short(tag: str) -> str:
    return tag.removeprefix(_TAG)
