"""YAML to a `Policy`, or everything that is wrong with it at once.

Rule of this file: a policy is used whole or not at all. Nothing in it is ignored, guessed or read as something
else; what cannot be understood is an error with file, line and column.
"""

import hashlib
import os.path
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from zoneinfo import ZoneInfo

from middlebox.detect import DETECTORS
from middlebox.policy.approval_mistakes import KEY_FIELDS, approval_mistakes
from middlebox.policy.check_rules import check_rules
from middlebox.policy.condition import ConditionReader, Entry, Lists, TextLines
from middlebox.policy.fields import Kind, known_fields
from middlebox.policy.geoip import KINDS as GEOIP_KINDS
from middlebox.policy.geoip import GeoDatabases, what_is_wrong
from middlebox.policy.key_files import OTHERS_MAY_USE, read_key
from middlebox.policy.problem import PolicyError, Problem, described, quoted
from middlebox.policy.rule import (
    Approval,
    Condition,
    FailurePolicy,
    Mode,
    Network,
    Policy,
    Residual,
    ResidualScope,
    Rule,
    Schedule,
    Waiver,
)
from middlebox.policy.schema import ApprovalFile, PolicyFile, ScheduleFile, WaiverFile, validate
from middlebox.policy.values import WEEKDAYS, in_zone, parse_network
from middlebox.policy.yaml_positions import Document, Path, Place, read_yaml
from middlebox.verdict import Action, Verdict

__all__ = ["PolicyError", "Problem", "load_policy", "parse_policy"]

MAX_FILE_BYTES = 64 * 1024 * 1024
"Size of a policy or list file: the largest public domain lists have half of that."

TEXT_SUFFIXES = (".txt",)
YAML_SUFFIXES = (".yaml", ".yml")
"Endings of list files, which say how a file is read."

ReadFile = Callable[[str], str | bytes]
"Gives the content of a file named in a policy, or raises OSError."
FileMode = Callable[[str], int]
"Gives the permission bits of a file named in a policy, or raises OSError."


def _private(_: str) -> int:
    """The mode of files that are in no file system."""
    return 0o600


def load_policy(path: FilePath, fields: Mapping[str, Kind] | None = None) -> Policy:
    """Read a policy file and every list it names.

    Args:
        path: The policy file. Lists are looked up beside it.
        fields: The fields conditions may name; left out: those of every detector there is.

    Raises:
        PolicyError: With every problem of the file, sorted.
    """
    source = str(path)
    try:
        text = _decoded(_read_bytes(path), source)
    except (OSError, ValueError) as error:
        raise PolicyError([Place(source, 1, 1).error(f"cannot read {source}: {_reason(error)}")]) from None
    return parse_policy(
        text,
        source=source,
        read_file=lambda name: _read_bytes(path.parent / name),
        file_mode=lambda name: (path.parent / name).stat().st_mode,
        fields=known_fields(DETECTORS) if fields is None else fields,
    )


def parse_policy(
    text: str, *, source: str, read_file: ReadFile, fields: Mapping[str, Kind], file_mode: FileMode = _private
) -> Policy:
    """Turn the text of a policy file into a policy.

    Args:
        text: The file's content.
        source: The file's name as it shall stand in messages.
        read_file: Reads a file that the policy names, with the name as the policy has it.
        fields: The fields conditions may name.
        file_mode: Permission bits of a key file; left out: they are in order.

    Raises:
        PolicyError: With every problem there is, sorted.
    """
    document = read_yaml(text, source)
    if not document.readable:
        raise PolicyError(document.problems)
    if not isinstance(document.data, dict):
        found = "an empty file" if document.data is None else described(document.data)
        expected = "a policy: a mapping that begins with policy: name"
        raise PolicyError([*document.problems, document.value_place(()).error(f"found {found}, expected {expected}")])
    reading = _Reading(document, text, read_file, fields, file_mode)
    return reading.policy()


class _Reading:
    """One policy being read. Every check adds to `problems`; only at the end does it count whether there are any."""

    def __init__(
        self, document: Document, text: str, read_file: ReadFile, fields: Mapping[str, Kind], file_mode: FileMode
    ) -> None:
        self._document = document
        self._file_mode = file_mode
        self._read_file = read_file
        self._fields = fields
        self._digest = hashlib.sha256(text.encode())
        self._problems: list[Problem] = []

    def policy(self) -> Policy:
        """The policy, if nothing is wrong with it."""
        shape = validate(self._document)
        if not isinstance(shape, PolicyFile):
            self._problems += shape
        self._check_names("rules", "rule")
        self._check_names("approved", "name")
        self._check_approvals()
        keys = self._keys()
        geoip = self._geoip()
        self._problems += check_rules(self._document)
        lists = dict(self._lists())
        conditions = self._conditions(lists)
        problems = self._document.problems + [problem for problem in self._problems if not self._is_refused(problem)]
        if problems or not isinstance(shape, PolicyFile):
            raise PolicyError(problems)
        return self._assembled(shape, conditions, keys, geoip)

    def _is_refused(self, problem: Problem) -> bool:
        """Whether the problem is about a value that was already refused for what YAML makes of it."""
        return problem.file == self._document.file and (problem.line, problem.column) in self._document.refused

    def _items(self, section: str) -> Iterator[tuple[Path, dict[str, object]]]:
        """The entries of a list of mappings, as far as they have that shape."""
        assert isinstance(self._document.data, dict)
        items = self._document.data.get(section)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                yield (section, index), item

    def _check_names(self, section: str, key: str) -> None:
        """No two entries have the same name."""
        first: dict[str, Place] = {}
        for path, item in self._items(section):
            name = item.get(key)
            if not isinstance(name, str):
                continue
            place = self._document.value_place((*path, key))
            if name in first:
                thing = "rule" if section == "rules" else "approval"
                message = f"the {thing} {quoted(name)} stands here again; it is already in line {first[name].line}"
                self._problems.append(place.error(message))
            first.setdefault(name, place)

    def _check_approvals(self) -> None:
        """Each approval says by what a tunnel is known, and in a way that fits its protocol."""
        for path, item in self._items("approved"):
            for key, message in approval_mistakes(item):
                place = self._document.value_place(path) if key is None else self._document.key_place((*path, key))
                self._problems.append(place.error(message))

    def _keys(self) -> dict[tuple[int, str], bytes]:
        """The content of every key file that an approval names, by the approval's number and the field."""
        keys = {}
        for path, item in self._items("approved"):
            for field in KEY_FIELDS:
                name = item.get(field)
                if not isinstance(name, str) or not name:
                    continue
                key = self._key(name, field, self._document.value_place((*path, field)))
                if key is not None:
                    keys[int(path[1]), field] = key
        return keys

    def _key(self, name: str, field: str, place: Place) -> bytes | None:
        """The key in one file, which nobody but its owner and group may read."""
        shown = os.path.join(os.path.dirname(self._document.file), name)
        try:
            content = self._read_file(name)
            mode = self._file_mode(name)
        except (OSError, ValueError) as error:
            self._problems.append(place.error(f"cannot read {_printable(name)}: {_reason(error)}"))
            return None
        if mode & OTHERS_MAY_USE:
            command = f"chmod 600 {shlex.quote(shown)}" if shown.isprintable() else "chmod 600 on it"
            message = f"other users may read or change {_printable(name)}; run: {command}"
            self._problems.append(place.error(message))
        key = read_key(content if isinstance(content, bytes) else content.encode(), shown, field)
        if isinstance(key, Problem):
            self._problems.append(key)
            return None
        self._digest.update(f"\0{name}\0".encode(errors="surrogatepass") + hashlib.sha256(key).digest())
        return key

    def _geoip_files(self) -> dict[str, object]:
        """The databases that the policy names, by kind."""
        assert isinstance(self._document.data, dict)
        section = self._document.data.get("geoip")
        return {kind: section[kind] for kind in GEOIP_KINDS if kind in section} if isinstance(section, dict) else {}

    def _geoip(self) -> GeoDatabases:
        """The content of every database that the policy names."""
        contents = {}
        for kind, name in self._geoip_files().items():
            if not isinstance(name, str) or not name:
                continue
            place = self._document.value_place(("geoip", kind))
            try:
                content = self._read_file(name)
            except (OSError, ValueError) as error:
                self._problems.append(place.error(f"cannot read {_printable(name)}: {_reason(error)}"))
                continue
            content = content if isinstance(content, bytes) else content.encode()
            wrong = what_is_wrong(kind, content)
            if wrong is not None:
                self._problems.append(place.error(f"{_printable(name)}: {wrong}"))
                continue
            self._digest.update(f"\0{name}\0".encode(errors="surrogatepass") + hashlib.sha256(content).digest())
            contents[kind] = content
        return GeoDatabases(contents.get("country"), contents.get("asn"))

    def _lists(self) -> Iterator[tuple[str, Sequence[Entry] | TextLines | None]]:
        """Every list by name, with None for those that could not be read."""
        assert isinstance(self._document.data, dict)
        sections = self._document.data.get("lists")
        for name, value in sections.items() if isinstance(sections, dict) else ():
            path: Path = ("lists", name)
            if isinstance(value, list):
                yield name, self._entries(self._document, value, path)
            elif isinstance(value, str):
                yield name, self._file_entries(value, self._document.value_place(path))
            else:
                message = f"{name}: found {described(value)}, expected a list or the path of a .yaml or .txt file"
                self._problems.append(self._document.value_place(path).error(message))
                yield name, None

    def _file_entries(self, name: str, place: Place) -> Sequence[Entry] | TextLines | None:
        """The entries of a list file."""
        suffix = os.path.splitext(name)[1]
        if suffix not in TEXT_SUFFIXES + YAML_SUFFIXES:
            message = f"found {quoted(name)}, expected the path of a .yaml or .txt file, or a list in [brackets]"
            self._problems.append(place.error(message))
            return None
        shown = os.path.join(os.path.dirname(self._document.file), name)
        try:
            content = self._read_file(name)
            text = content if isinstance(content, str) else _decoded(content, shown)
        except PolicyError as error:
            self._problems += error.problems
            return None
        except (OSError, ValueError) as error:
            self._problems.append(place.error(f"cannot read {_printable(name)}: {_reason(error)}"))
            return None
        self._digest.update(f"\0{name}\0{text}".encode(errors="surrogatepass"))
        return self._text_entries(text, shown) if suffix in TEXT_SUFFIXES else self._yaml_entries(text, shown)

    def _text_entries(self, text: str, file: str) -> TextLines | None:
        """One entry a line; # begins a comment, at the start of a line or after a space."""
        lines = TextLines(text, file)
        if not lines.values:
            self._problems.append(Place(file, 1, 1).error("found no entry, expected one a line"))
            return None
        return lines

    def _yaml_entries(self, text: str, file: str) -> tuple[Entry, ...] | None:
        """A YAML file that is one list."""
        document = read_yaml(text, file)
        self._problems += document.problems
        if not document.readable:
            return None
        if not isinstance(document.data, list):
            found = "an empty file" if document.data is None else described(document.data)
            self._problems.append(document.value_place(()).error(f"found {found}, expected a list"))
            return None
        entries = self._entries(document, document.data, ()) or ()
        kept = (entry for entry in entries if (entry.place.line, entry.place.column) not in document.refused)
        return tuple(kept) or None

    def _entries(self, document: Document, items: list[object], path: Path) -> tuple[Entry, ...] | None:
        """The items of a YAML list, which must be single values."""
        if not items:
            self._problems.append(document.value_place(path).error("found an empty list, expected at least one entry"))
            return None
        entries = []
        for index, item in enumerate(items):
            place = document.value_place((*path, index))
            if isinstance(item, list | dict) or item is None:
                self._problems.append(place.error(f"found {described(item)}, expected a single value"))
            else:
                entries.append(Entry(item, place))
        return tuple(entries) or None

    def _conditions(self, lists: Lists) -> list[Condition]:
        """The condition of every rule that has one."""
        names = [name for _, item in self._items("approved") if isinstance(name := item.get("name"), str)]
        reader = ConditionReader(
            self._document,
            fields=self._fields,
            approvals=names,
            lists=lists,
            clients=self._clients(),
            problems=self._problems,
            geoip=self._geoip_files().keys(),
        )
        return [reader.read(item["when"], (*path, "when")) for path, item in self._items("rules") if "when" in item]

    def _clients(self) -> dict[str, tuple[Network, ...]]:
        """The client groups; those with a mistake, which has been reported, are empty."""
        assert isinstance(self._document.data, dict)
        groups = self._document.data.get("clients")
        found: dict[str, tuple[Network, ...]] = {}
        for name, networks in groups.items() if isinstance(groups, dict) else ():
            try:
                found[name] = tuple(map(parse_network, networks if isinstance(networks, list) else [networks]))
            except ValueError:
                found[name] = ()
        return found

    def _assembled(
        self,
        shape: PolicyFile,
        conditions: list[Condition],
        keys: Mapping[tuple[int, str], bytes],
        geoip: GeoDatabases,
    ) -> Policy:
        fail = shape.fail
        schedules = {name: _schedule(name, schedule) for name, schedule in shape.schedules.items()}
        return Policy(
            name=shape.policy,
            rules=tuple(
                Rule(
                    name=rule.rule,
                    when=condition,
                    action=Action(rule.action),
                    why=rule.why,
                    location=f"{self._document.file}:{self._document.value_place(('rules', index)).line}",
                    during=None if rule.during is None else schedules.get(rule.during),
                    monitor=rule.mode == "monitor",
                    residual=None
                    if rule.residual is None
                    else Residual(frozenset(map(ResidualScope, rule.residual.scope)), rule.residual.seconds),
                    rate=rule.rate,
                    probability=rule.probability,
                    then=Action(rule.then or "drop"),
                    dns=None if rule.dns is None else rule.dns[0],
                    addresses=() if rule.dns is None else rule.dns[1],
                )
                for index, (rule, condition) in enumerate(zip(shape.rules, conditions, strict=True))
            ),
            default=Action(shape.default),
            mode=Mode(shape.mode),
            fail=FailurePolicy(
                no_listener_open=fail.no_listener == "open",
                queue_full_open=fail.queue_full == "open",
                undecodable=Verdict[fail.undecodable.upper()],
                internal_error=Verdict[fail.internal_error.upper()],
            ),
            home=tuple(shape.home),
            approvals=tuple(
                _approval(approval, *(keys.get((number, field)) for field in KEY_FIELDS))
                for number, approval in enumerate(shape.approved)
            ),
            clients={name: tuple(networks) for name, networks in shape.clients.items()},
            schedules=schedules,
            seed=shape.seed,
            geoip=geoip,
            waivers=tuple(map(_waiver, shape.waive)),
            source=self._document.file,
            digest=self._digest.hexdigest(),
        )


def _approval(
    shape: ApprovalFile, tls_auth_key: bytes | None, tls_crypt_key: bytes | None, tls_crypt_v2_key: bytes | None
) -> Approval:
    return Approval(
        name=shape.name,
        protocol=shape.protocol,
        public_keys=tuple(shape.public_key),
        tls_auth_key=tls_auth_key,
        tls_crypt_key=tls_crypt_key,
        tls_crypt_v2_key=tls_crypt_v2_key,
        server_name=shape.server_name,
        certificate=shape.certificate,
        server=tuple(shape.server),
        begins=shape.begins,
        until=shape.until,
        why=shape.why,
    )


def _waiver(shape: WaiverFile) -> Waiver:
    named = {"rule": shape.rule, "list": shape.list, "approval": shape.approval, "schedule": shape.schedule}
    narrowed = tuple((thing, name) for thing, name in named.items() if name is not None)
    return Waiver(shape.id, shape.why, narrowed)


def _schedule(name: str, shape: ScheduleFile) -> Schedule:
    zone = ZoneInfo(shape.timezone)
    return Schedule(
        name,
        timezone=shape.timezone,
        begins=None if shape.begins is None else in_zone(shape.begins, zone),
        ends=None if shape.until is None else in_zone(shape.until, zone),
        weekdays=None if shape.weekly is None else frozenset(WEEKDAYS.index(day) for day in shape.weekly),
        hours=shape.hours,
    )


def _read_bytes(path: FilePath) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
    return content


def _decoded(content: bytes, file: str) -> str:
    """UTF-8 to text, without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"found the byte 0x{content[error.start]:02x}, expected UTF-8 text"
        raise PolicyError([Place(file, line, column).error(message)]) from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _printable(text: str) -> str:
    return quoted(text)[1:-1]
