"""Tables for people. Scripts read `--format jsonl` instead.

Host names, rule names and paths come from captures and files that may want to deceive whoever reads them:
nothing reaches the terminal but through `printable`, and nothing is read as markup.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from middlebox.detect.base import Detector
from middlebox.events import Event
from middlebox.policy.rule import CLASSIFY_ONLY
from middlebox.protocols import CATEGORY_OF
from middlebox.shells.replay import Replayed

_NAME_FACTS = (("tls", "sni"), ("quic", "sni"), ("http", "hostname"), ("dns", "rrname"))
"Where an event says what the client asked for; the first that is there is shown."

_CONFIDENCE_STYLES = {"confirmed": "bold", "probable": "", "possible": "dim"}
_REFUSED_STYLE, _UNKNOWN_STYLE = "bold red", "dim"
_CATEGORY_STYLES = {
    "vpn": "magenta",
    "proxy": "magenta",
    "anonymity": "magenta",
    "tunnel": "yellow",
    "encrypted-dns": "yellow",
    "unknown": _UNKNOWN_STYLE,
}

_STACKS = (
    ("client",),
    ("server", "name"),
    ("proto",),
    ("protocol",),
    ("confidence",),
    ("packets",),
    ("bytes",),
    ("verdict", "rule"),
)
"Columns of the replay table. What shares a stack stands side by side where there is room."
_JUDGEMENT = (("verdict", "rule"),)
"Columns that say nothing without a policy."
_NUMBERS = ("packets", "bytes")
_FOLDING = ("client", "server", "name", "verdict", "rule")
"Columns whose values may be longer than a line has room for."
_ANY_WIDTH = 10_000
"Wide enough to learn how wide a table would like to be."

WIDE = 120
"Columns from which the table of protocols has room for sentences."

_MAX_TALLIED = 12
"Names a line of the summary spells out; the rest are added up."

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """The text with everything that could steer a terminal written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def replay_table(flows: Sequence[Event], width: int) -> Table:
    """One row a flow: who, what, how much, and what the policy said.

    Where a line of `width` columns is too short, names stand below servers and rules below verdicts.
    """
    judged = any(_about(event)["policy"] != CLASSIFY_ONLY.name for event in flows)
    stacks = [stack for stack in _STACKS if judged or stack not in _JUDGEMENT]
    rows = [_row(event) for event in flows]
    table = _stacked(rows, [(column,) for stack in stacks for column in stack])
    if Console(width=_ANY_WIDTH).measure(table).maximum > width:
        table = _stacked(rows, stacks)
    return table


def _row(event: Event) -> dict[str, Text]:
    about, counts = _about(event), event["flow"]
    assert isinstance(counts, Mapping)
    return {
        "client": _text(endpoint(event["src_ip"], event["src_port"])),
        "server": _text(endpoint(event["dest_ip"], event["dest_port"])),
        "name": _text(server_name(event)),
        "proto": _text(event["proto"]),
        "protocol": _text(about["protocol"], _CATEGORY_STYLES.get(str(about["category"]), "")),
        "confidence": _text(about["confidence"], _CONFIDENCE_STYLES.get(str(about["confidence"]), "")),
        "packets": _text(counts["pkts_toserver"] + counts["pkts_toclient"]),
        "bytes": _text(human_bytes(counts["bytes_toserver"] + counts["bytes_toclient"])),
        "verdict": _text(about["verdict"], "" if about["verdict"] == "pass" else _REFUSED_STYLE),
        "rule": _text(about["rule"]),
    }


def _stacked(rows: Iterable[Mapping[str, Text]], stacks: Sequence[tuple[str, ...]]) -> Table:
    """A table whose columns each show one or more values, one below the other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for stack in stacks:
        table.add_column(
            "\n".join(stack),
            justify="right" if stack[0] in _NUMBERS else "left",
            overflow="fold",
            no_wrap=stack[0] not in _FOLDING,
        )
    for row in rows:
        table.add_row(*(Text("\n").join(row[column] for column in stack if row[column]) for stack in stacks))
    return table


def explanation(flows: Sequence[Event]) -> list[str]:
    """For each flow what every detector saw and which rules nearly matched, line by line."""
    lines = []
    for event in flows:
        about = _about(event)
        client = endpoint(event["src_ip"], event["src_port"])
        server = endpoint(event["dest_ip"], event["dest_port"])
        lines.append(f"{client} > {server} {event['proto']}: {about['protocol']}, {about['verdict']}")
        evidence, near_misses = about["evidence"], about["near_misses"]
        assert isinstance(evidence, Sequence)
        assert isinstance(near_misses, Sequence)
        for sighting in evidence:
            lines.append(f"  packet {sighting['packet']}, detector {sighting['detector']}: {sighting['reason']}")
        for miss in near_misses:
            lines.append(f"  rule {miss['rule']} did not match: {miss['because']}")
    return [printable(line) for line in lines]


class Summary:
    """Adds up replayed captures into the lines below their tables."""

    def __init__(self) -> None:
        self._captures = 0
        self._packets = 0
        self._protocols: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._undecodable: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._judged = False

    def add(self, result: Replayed) -> None:
        """Count one capture."""
        self._captures += not result.unreadable
        self._packets += result.packets
        self._undecodable += result.undecodable
        self._skipped += result.skipped
        for event in result.flows:
            about = _about(event)
            self._protocols[str(about["protocol"])] += 1
            self._verdicts[str(about["verdict"])] += 1
            self._judged |= about["policy"] != CLASSIFY_ONLY.name

    def text(self) -> str:
        """Captures, packets and flows; then flows by protocol and by verdict; then what was left out."""
        flows = self._protocols.total()
        lines = [f"{_many(self._captures, 'capture')}, {_many(self._packets, 'packet')}, {_many(flows, 'flow')}"]
        if flows:
            lines[0] += f": {tally(self._protocols)}"
        if self._judged:
            lines.append(f"verdicts: {tally(self._verdicts)}")
        if self._undecodable:
            lines.append(f"undecodable: {tally(self._undecodable)}")
        if self._skipped:
            lines.append(f"not IP: {tally(self._skipped)}")
        return printable("; ".join(lines))


def protocol_records(
    detectors: Iterable[type[Detector]], measured: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    """Every protocol name with its category, what was measured of it, and what each detector that reports it needs."""
    reporting: dict[str, list[type[Detector]]] = {}
    for detector in detectors:
        for protocol in detector.protocols:
            reporting.setdefault(protocol, []).append(detector)
    return [
        {
            "protocol": protocol,
            "category": category,
            "measured": (measured or {}).get(protocol),
            "detectors": [
                {
                    "detector": detector.name,
                    "packets_needed": detector.packets_needed,
                    "reaches": detector.reaches.word,
                    "misses": detector.misses,
                }
                for detector in reporting.get(protocol, ())
            ],
        }
        for protocol, category in CATEGORY_OF.items()
    ]


def protocols_table(
    detectors: Iterable[type[Detector]], measured: Mapping[str, object] | None = None, *, width: int = WIDE
) -> Table:
    """The same for people: a row for each protocol and detector; names that nothing reports yet are dim.

    What a detector misses is a sentence, for which a terminal narrower than `WIDE` has no room.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("protocol", no_wrap=True)
    table.add_column("category", no_wrap=True)
    table.add_column("detector", no_wrap=True)
    table.add_column("packets", justify="right", no_wrap=True)
    table.add_column("reaches", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("recall", justify="right", no_wrap=True)
    is_wide = width >= WIDE
    if is_wide:
        table.add_column("misses")
    for record in protocol_records(detectors, measured):
        protocol, category, found = record["protocol"], record["category"], record["detectors"]
        assert isinstance(found, list)
        if not found:
            table.add_row(_text(protocol, _UNKNOWN_STYLE), _text(category, _UNKNOWN_STYLE))
        for detector in found:
            table.add_row(
                _text(protocol, _CATEGORY_STYLES.get(str(category), "")),
                _text(category),
                _text(detector["detector"]),
                _text(detector["packets_needed"]),
                _text(detector["reaches"]),
                *_figures(record["measured"], str(detector["reaches"])),
                *([_text(detector["misses"])] if is_wide else []),
            )
    return table


def _figures(measured: object, level: str) -> tuple[Text, Text]:
    """How often the name was right at the detector's level, and how many flows were recognised."""
    if not isinstance(measured, Mapping):
        return Text(), Text()
    precision, recall = measured["precision"].get(level), measured["recall"]
    right = f"{precision['right']}/{precision['of']}" if precision else ""
    return _text(right), _text(f"{recall['recognised']}/{recall['of']}" if recall["of"] else "")


def _about(event: Event) -> Mapping[str, object]:
    about = event["middlebox"]
    assert isinstance(about, Mapping)
    return about


def _text(value: object, style: str = "") -> Text:
    return Text("" if value is None else printable(str(value)), style=style)


def endpoint(address: object, port: object) -> str:
    """Address and port as a person writes them."""
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if ipaddress.ip_address(str(address)).version == 6 else f"{address}:{port}"


def server_name(event: Event) -> object:
    """What the client asked for by name; None where it did not show."""
    for section, key in _NAME_FACTS:
        facts = event.get(section)
        if isinstance(facts, Mapping) and facts.get(key):
            return facts[key]
    return None


def human_bytes(count: int) -> str:
    """An amount of bytes to three digits or so, with its unit."""
    amount = float(count)
    for unit in _BYTE_UNITS:
        if amount < 1000 or unit == _BYTE_UNITS[-1]:
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def tally(counter: Counter[str]) -> str:
    """Names with their counts, the most frequent first; of many names the rest is added up."""
    shown = [f"{name} {count:,}" for name, count in counter.most_common(_MAX_TALLIED)]
    others = len(counter) - len(shown)
    if others:
        rest = counter.total() - sum(count for _, count in counter.most_common(_MAX_TALLIED))
        shown.append(f"{_many(others, 'other')} {rest:,}")
    return ", ".join(shown)
