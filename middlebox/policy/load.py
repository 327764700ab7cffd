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
from middlebox.policy.include import Part, Parts, read_parts, repeated_names
from middlebox.policy.key_files import OTHERS_MAY_USE, read_key
from middlebox.policy.named_files import YAML_SUFFIXES, ReadFile, beside, decoded, printable, read_text, reason
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
from middlebox.policy.schema import (
    ApprovalFile,
    IncludedFile,
    PolicyFile,
    ScheduleFile,
    WaiverFile,
    validate,
    validate_included,
)
from middlebox.policy.values import WEEKDAYS, in_zone, parse_network
from middlebox.policy.yaml_positions import Document, Path, Place, read_yaml
from middlebox.verdict import Action, Verdict

__all__ = ["PolicyError", "Problem", "load_policy", "parse_policy"]

MAX_FILE_BYTES = 64 * 1024 * 1024
"Size of a policy or list file: the largest public domain lists have half of that."

TEXT_SUFFIXES = (".txt",)
"Endings of list files that hold one entry a line."

FileMode = Callable[[str], int]
"Gives the permission bits of a file named in a policy, or raises OSError."


def _private(_: str) -> int:
    """The mode of files that are in no file system."""
    return 0o600


def load_policy(path: FilePath, fields: Mapping[str, Kind] | None = None) -> Policy:
    """Read a policy file and every file it names.

    Args:
        path: The policy file. What it names is looked up beside it.
        fields: The fields conditions may name; left out: those of every detector there is.

    Raises:
        PolicyError: With every problem of the file, sorted.
    """
    source = str(path)
    try:
        text = decoded(_read_bytes(path), source)
    except (OSError, ValueError) as error:
        raise PolicyError([Place(source, 1, 1).error(f"cannot read {source}: {reason(error)}")]) from None
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
        read_file: Reads a file that the policy or what it includes names, by its path from the policy's directory.
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
    return _Reading(read_parts(document, read_file), text, read_file, fields, file_mode).policy()


class _Reading:
    """One policy being read. Every check adds to `problems`; only at the end does it count whether there are any."""

    def __init__(
        self, files: Parts, text: str, read_file: ReadFile, fields: Mapping[str, Kind], file_mode: FileMode
    ) -> None:
        self._parts = files.parts
        self._own = files.parts[-1]
        self._complete = files.complete
        self._refused = {
            (part.document.file, line, column) for part in files.parts for line, column in part.document.refused
        }
        self._file_mode = file_mode
        self._read_file = read_file
        self._fields = fields
        self._digest = hashlib.sha256(text.encode())
        for part in files.parts[:-1]:
            self._digest.update(f"\0{part.name}\0{part.text}".encode(errors="surrogatepass"))
        self._problems = list(files.problems)

    def policy(self) -> Policy:
        """The policy, if nothing is wrong with it."""
        *included, own = self._parts
        shape = validate(own.document)
        shapes = [*(validate_included(part.document) for part in included), shape]
        for one in shapes:
            self._problems += one if isinstance(one, list) else ()
        self._problems += repeated_names(self._parts)
        self._check_approvals()
        keys = self._keys()
        geoip = self._geoip()
        self._check_rules()
        lists = dict(self._lists())
        conditions = self._conditions(lists) if self._complete else []
        problems = [problem for problem in self._problems if not self._is_refused(problem)]
        problems += (problem for part in self._parts for problem in part.document.problems)
        if problems or not isinstance(shape, PolicyFile):
            raise PolicyError(problems)
        return self._assembled(shape, [one for one in shapes if not isinstance(one, list)], conditions, keys, geoip)

    def _is_refused(self, problem: Problem) -> bool:
        """Whether the problem is about a value that was already refused for what YAML makes of it."""
        return (problem.file, problem.line, problem.column) in self._refused

    def _items(self, section: str) -> Iterator[tuple[Part, Path, dict[str, object]]]:
        """The entries of a list of mappings in all files, as far as they have that shape."""
        for part in self._parts:
            for path, item in part.items(section):
                yield part, path, item

    def _check_rules(self) -> None:
        """Keys of rules and schedules that do not go together."""
        schedules = [name for part in self._parts for name in part.mapping("schedules")]
        for part in self._parts:
            self._problems += check_rules(part.document, schedules if self._complete else None)

    def _check_approvals(self) -> None:
        """Each approval says by what a tunnel is known, and in a way that fits its protocol."""
        for part, path, item in self._items("approved"):
            for key, message in approval_mistakes(item):
                place = part.document.value_place(path) if key is None else part.document.key_place((*path, key))
                self._problems.append(place.error(message))

    def _keys(self) -> dict[tuple[str, str], bytes]:
        """The content of every key file that an approval names, by the approval's name and the field."""
        keys = {}
        for part, path, item in self._items("approved"):
            for field in KEY_FIELDS:
                name = item.get(field)
                if not isinstance(name, str) or not name:
                    continue
                key = self._key(part, name, field, part.document.value_place((*path, field)))
                approval = item.get("name")
                if key is not None and isinstance(approval, str):
                    keys[approval, field] = key
        return keys

    def _key(self, part: Part, name: str, field: str, place: Place) -> bytes | None:
        """The key in one file, which nobody but its owner and group may read."""
        shown = beside(part.document.file, name)
        name = beside(part.name, name)
        try:
            content = self._read_file(name)
            mode = self._file_mode(name)
        except (OSError, ValueError) as error:
            self._problems.append(place.error(f"cannot read {printable(name)}: {reason(error)}"))
            return None
        if mode & OTHERS_MAY_USE:
            command = f"chmod 600 {shlex.quote(shown)}" if shown.isprintable() else "chmod 600 on it"
            message = f"other users may read or change {printable(name)}; run: {command}"
            self._problems.append(place.error(message))
        key = read_key(content if isinstance(content, bytes) else content.encode(), shown, field)
        if isinstance(key, Problem):
            self._problems.append(key)
            return None
        self._digest.update(f"\0{name}\0".encode(errors="surrogatepass") + hashlib.sha256(key).digest())
        return key

    def _geoip_files(self) -> dict[str, object]:
        """The databases that the policy names, by kind."""
        section = self._own.mapping("geoip")
        return {kind: section[kind] for kind in GEOIP_KINDS if kind in section}

    def _geoip(self) -> GeoDatabases:
        """The content of every database that the policy names."""
        contents = {}
        for kind, name in self._geoip_files().items():
            if not isinstance(name, str) or not name:
                continue
            place = self._own.document.value_place(("geoip", kind))
            try:
                content = self._read_file(name)
            except (OSError, ValueError) as error:
                self._problems.append(place.error(f"cannot read {printable(name)}: {reason(error)}"))
                continue
            content = content if isinstance(content, bytes) else content.encode()
            wrong = what_is_wrong(kind, content)
            if wrong is not None:
                self._problems.append(place.error(f"{printable(name)}: {wrong}"))
                continue
            self._digest.update(f"\0{name}\0".encode(errors="surrogatepass") + hashlib.sha256(content).digest())
            contents[kind] = content
        return GeoDatabases(contents.get("country"), contents.get("asn"))

    def _lists(self) -> Iterator[tuple[str, Sequence[Entry] | TextLines | None]]:
        """Every list by name, with None for those that could not be read."""
        for part in self._parts:
            for name, value in part.mapping("lists").items():
                path: Path = ("lists", name)
                place = part.document.value_place(path)
                if isinstance(value, list):
                    yield name, self._entries(part.document, value, path)
                elif isinstance(value, str):
                    yield name, self._file_entries(part, value, place)
                else:
                    message = f"{name}: found {described(value)}, expected a list or the path of a .yaml or .txt file"
                    self._problems.append(place.error(message))
                    yield name, None

    def _file_entries(self, part: Part, name: str, place: Place) -> Sequence[Entry] | TextLines | None:
        """The entries of a list file."""
        suffix = os.path.splitext(name)[1]
        if suffix not in TEXT_SUFFIXES + YAML_SUFFIXES:
            message = f"found {quoted(name)}, expected the path of a .yaml or .txt file, or a list in [brackets]"
            self._problems.append(place.error(message))
            return None
        shown = beside(part.document.file, name)
        name = beside(part.name, name)
        try:
            text = read_text(self._read_file, name, shown, place)
        except PolicyError as error:
            self._problems += error.problems
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
        names = [name for _, _, item in self._items("approved") if isinstance(name := item.get("name"), str)]
        conditions = []
        for part in self._parts:
            reader = ConditionReader(
                part.document,
                fields=self._fields,
                approvals=names,
                lists=lists,
                clients=self._clients(),
                problems=self._problems,
                geoip=self._geoip_files().keys(),
            )
            rules = part.items("rules")
            conditions += [reader.read(item["when"], (*path, "when")) for path, item in rules if "when" in item]
        return conditions

    def _clients(self) -> dict[str, tuple[Network, ...]]:
        """The client groups; those with a mistake, which has been reported, are empty."""
        found: dict[str, tuple[Network, ...]] = {}
        for part in self._parts:
            for name, networks in part.mapping("clients").items():
                try:
                    found[name] = tuple(map(parse_network, networks if isinstance(networks, list) else [networks]))
                except ValueError:
                    found[name] = ()
        return found

    def _assembled(
        self,
        shape: PolicyFile,
        shapes: list[PolicyFile | IncludedFile],
        conditions: list[Condition],
        keys: Mapping[tuple[str, str], bytes],
        geoip: GeoDatabases,
    ) -> Policy:
        """The policy of `shape`, with what stands in all `shapes`, which are those of `self._parts`."""
        fail = shape.fail
        schedules = {name: _schedule(name, schedule) for one in shapes for name, schedule in one.schedules.items()}
        rules = [
            (rule, f"{part.document.file}:{part.document.value_place(('rules', index)).line}")
            for part, one in zip(self._parts, shapes, strict=True)
            for index, rule in enumerate(one.rules)
        ]
        return Policy(
            name=shape.policy,
            rules=tuple(
                Rule(
                    name=rule.rule,
                    when=condition,
                    action=Action(rule.action),
                    why=rule.why,
                    location=location,
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
                for (rule, location), condition in zip(rules, conditions, strict=True)
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
                _approval(approval, *(keys.get((approval.name, field)) for field in KEY_FIELDS))
                for one in shapes
                for approval in one.approved
            ),
            clients={name: tuple(networks) for one in shapes for name, networks in one.clients.items()},
            schedules=schedules,
            seed=shape.seed,
            geoip=geoip,
            waivers=tuple(map(_waiver, shape.waive)),
            source=self._parts[-1].document.file,
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
