"""`middlebox explain`: finds the flow that is meant, in a capture or in a running gateway, and says all about it.

Names come from the wire and from files that may want to deceive whoever reads them: every line goes through
`printable`, and nothing is read as markup.
"""

import difflib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console

from middlebox.events import Event
from middlebox.flow import Flow
from middlebox.policy.explain import explain_flow
from middlebox.policy.match import Matcher
from middlebox.policy.rule import Policy
from middlebox.shells.errors import InputError
from middlebox.shells.replay import replay_capture
from middlebox.shells.replay_output import MACHINE_WIDTH, ONLY_TASK, progress_bar
from middlebox.shells.tables import endpoint, human_bytes, printable, server_name

_FLOWS_LISTED = 200
"Flows that a list shows; the rest are counted."
_SUGGESTIONS = 3
"Flows named when none fits."
_PARTS_SHOWN = 4
"Parts of a condition up to which those that hold are shown of a rule that did not match, too."
_INDENT = "  "
_MARKS = {"yes": "yes", "no": "no", "unknown": "?"}


# --- a capture --------------------------------------------------------------------------------------


def print_explanation(
    capture: str, policy: Policy, wanted: str | None, *, jsonl: bool, output: TextIO, errors: TextIO
) -> None:
    """Replay a capture and explain the flow that is meant; list them where it is not clear which.

    Raises:
        InputError: The capture cannot be read, or no flow or several are meant.
    """
    flows: list[Flow] = []
    with progress_bar([capture], errors) as progress:
        result = replay_capture(capture, policy, lambda count: progress.advance(ONLY_TASK, count), flows.append)
    if result.unreadable and not flows:
        raise InputError(printable("; ".join(result.problems)))
    for problem in result.problems:
        print(printable(problem), file=errors)
    flows.sort(key=lambda flow: flow.order)
    if not flows:
        raise InputError(f"{printable(capture)} holds no flow")
    if wanted is None and len(flows) > 1:
        _print_list(result.flows, range(len(flows)), capture, policy, jsonl=jsonl, output=output)
        return
    fitting = [0] if wanted is None else select(result.flows, wanted)
    if len(fitting) > 1:
        _print_list(result.flows, fitting, capture, policy, jsonl=jsonl, output=output)
        raise InputError(f"{len(fitting):,} flows fit {printable(str(wanted))}; name one by its number")
    if not fitting:
        raise InputError(_none_fits(result.flows, str(wanted), capture))
    [index] = fitting
    flow = flows[index]
    # The flow's last packet, not the moment at which its silence was noticed: what stood then was its policy.
    matcher = Matcher(policy)
    matcher.activate(flow.last_seen)
    explanation = explain_flow(flow, policy, matcher, flow.last_seen)
    said = explanation.as_dict()
    _named(said, number=index + 1, capture=capture)
    print_explained(said, jsonl=jsonl, output=output)


def _named(said: dict[str, object], *, number: int, capture: str) -> None:
    about = _mapping(_mapping(said["flow"])["middlebox"])
    assert isinstance(about, dict)
    about["capture"] = capture
    said["number"] = number


def select(flows: Sequence[Event], wanted: str) -> list[int]:
    """Indexes of the flows that `wanted` may mean: a number from 1, a flow id, or ends of it."""
    if wanted.isascii() and wanted.isdigit():
        number = int(wanted)
        if 1 <= number <= len(flows):
            return [number - 1]
        return [index for index, event in enumerate(flows) if event["flow_id"] == number]
    part = re.sub(r"\s*>\s*", ">", wanted.strip()).lower()
    if not part:
        return []
    # 203.0.113.2 does not mean 203.0.113.20, nor :119 the port 1194.
    before = r"(?<![0-9a-z.:])" if part[0].isalnum() else ""
    after = r"(?![0-9a-z])" if part[-1].isalnum() else ""
    pattern = re.compile(before + re.escape(part) + after)
    return [index for index, event in enumerate(flows) if pattern.search(_label(event))]


def _label(event: Mapping[str, object]) -> str:
    client = endpoint(event["src_ip"], event["src_port"])
    return f"{client}>{endpoint(event['dest_ip'], event['dest_port'])}".lower()


def _none_fits(flows: Sequence[Event], wanted: str, capture: str) -> str:
    """What to say, with the nearest there are."""
    numbers = {_label(event): index for index, event in reversed(list(enumerate(flows, start=1)))}
    numbers |= {end: number for label, number in reversed(numbers.items()) for end in label.split(">")}
    near: dict[int, str] = {}
    for name in difflib.get_close_matches(wanted.lower(), numbers, n=_SUGGESTIONS, cutoff=0.6):
        near.setdefault(numbers[name], name)
    hint = f"; did you mean {' or '.join(f'{name} (flow {number})' for number, name in near.items())}?" if near else ""
    range_ = f"its {len(flows):,} flows are numbered from 1" if len(flows) > 1 else "it holds one flow, number 1"
    return printable(f"no flow of {capture} fits {wanted}{hint or f'; {range_}'}")


def _print_list(
    flows: Sequence[Event], indexes: Sequence[int], capture: str, policy: Policy, *, jsonl: bool, output: TextIO
) -> None:
    if jsonl:
        for index in indexes:
            output.write(json.dumps({"number": index + 1, **flows[index]}, separators=(",", ":")) + "\n")
        return
    rows = [(str(index + 1), *_row(flows[index])) for index in indexes[:_FLOWS_LISTED]]
    number_width, who_width, name_width = (max(len(row[column]) for row in rows) for column in range(3))
    for number, who, name, verdict in rows:
        print(f"{number:>{number_width}}  {who:<{who_width}}  {name:<{name_width}}  {verdict}", file=output)
    if len(indexes) > len(rows):
        print(f"... and {len(indexes) - len(rows):,} more", file=output)
    command = f"middlebox explain {capture} {rows[0][0]} --policy {policy.source}"
    print(printable(f"Explain one by its number: {command}"), file=output)


def _row(event: Event) -> tuple[str, str, str]:
    """Who, what, and what was decided."""
    about = _mapping(event["middlebox"])
    name = " ".join(str(word) for word in (about["protocol"], about["confidence"]) if word)
    rule = f" ({about['rule']})" if about["rule"] else ""
    return printable(_who(event)), printable(name), printable(f"{about['verdict']}{rule}")


# --- a running gateway ------------------------------------------------------------------------------


def print_live_explanation(wanted: str, control: Path | None, *, jsonl: bool, output: TextIO) -> None:
    """Ask a running gateway about one of its flows.

    Raises:
        ShellError: No gateway answers, or it knows no such flow.
    """
    from middlebox.shells.control_client import DEFAULT_SOCKET, request

    said = request(DEFAULT_SOCKET if control is None else control, {"command": "explain", "flow": wanted})
    if "error" in said:
        raise InputError(printable(str(said["error"])))
    print_explained(said, jsonl=jsonl, output=output)


# --- the words --------------------------------------------------------------------------------------


def print_explained(said: Mapping[str, object], *, jsonl: bool, output: TextIO) -> None:
    """Print what `Explanation.as_dict` gives, with `number` beside it where the flow has one."""
    if jsonl:
        output.write(json.dumps(said, separators=(",", ":")) + "\n")
        return
    width = Console(file=output, width=None if output.isatty() else MACHINE_WIDTH).width
    for line in explained_lines(said, width):
        print(line, file=output)


def explained_lines(said: Mapping[str, object], width: int) -> list[str]:
    """The explanation for a person, no line longer than `width` where words allow."""
    lines: list[str] = []
    for text in _lines(said):
        indent = len(text) - len(text.lstrip(" "))
        # What does not fit goes on under the first word after the marks.
        lines += textwrap.wrap(
            printable(text),
            max(width, 20),
            subsequent_indent=" " * (indent + 2),
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]
    return lines


def _lines(said: Mapping[str, object]) -> Iterator[str]:
    event = _mapping(said["flow"])
    yield from _about_flow(event, said)
    yield ""
    yield "WHAT THE DETECTORS SAW"
    yield from _sightings(event, _sequence(said["unfinished"]))
    yield ""
    yield "DECISION"
    yield f"{_INDENT}{said['decision']}"
    rules = [_mapping(rule) for rule in _sequence(said["rules"])]
    left_out = _mapping(said["rules_left_out"])
    if rules or any(left_out.values()):
        yield ""
        yield "RULES, IN THE ORDER IN WHICH THEY ARE TRIED"
        for rule in rules:
            yield from _rule(rule)
        yield from _left_out(left_out)
    if approvals := _sequence(said["approvals"]):
        yield ""
        yield "APPROVALS"
        for approval in approvals:
            yield f"{_INDENT}{approval}"
    if changes := [_mapping(change) for change in _sequence(said["changes"])]:
        yield ""
        yield "WHAT WOULD HAVE CHANGED IT"
        for change in changes:
            yield f"{_INDENT}- {change['text']}"
            for line in str(change["snippet"]).splitlines():
                yield f"{_INDENT * 3}{line}"


def _about_flow(event: Mapping[str, object], said: Mapping[str, object]) -> Iterator[str]:
    about, counts = _mapping(event["middlebox"]), _mapping(event["flow"])
    where = f" of {about['capture']}" if about.get("capture") else ""
    number = f"Flow {said['number']}" if "number" in said else "Flow"
    yield f"{number}{where} (id {event['flow_id']}), judged by the policy {about['policy']}"
    yield f"{_INDENT}{_who(event)}"
    start, end = _clock(counts["start"]), _clock(counts["end"])
    until = end[11:] if start[:10] == end[:10] else end
    yield f"{_INDENT}{start} to {until} UTC"
    yield f"{_INDENT}{_amount(counts, 'toserver')} to the server, {_amount(counts, 'toclient')} to the client"
    yield ""
    yield "WHAT IT IS"
    if about["confidence"] is None:
        yield f"{_INDENT}unknown: no detector recognised it"
    else:
        yield f"{_INDENT}{about['protocol']} ({about['category']}), {about['confidence']}"
    if (name := server_name(dict(event))) is not None:
        yield f"{_INDENT}it asks for the name {name}"


def _amount(counts: Mapping[str, object], direction: str) -> str:
    packets, octets = int(str(counts[f"pkts_{direction}"])), int(str(counts[f"bytes_{direction}"]))
    return f"{packets:,} {'packet' if packets == 1 else 'packets'} ({human_bytes(octets)})"


def _sightings(event: Mapping[str, object], unfinished: Sequence[object]) -> Iterator[str]:
    about = _mapping(event["middlebox"])
    evidence = [_mapping(one) for one in _sequence(about["evidence"])]
    for one in evidence:
        name = one["detector"] if one["detector"] == one["protocol"] else f"{one['detector']}: {one['protocol']}"
        yield f"{_INDENT}packet {one['packet']}  {name}, {one['confidence']}: {one['reason']}"
    if not evidence:
        yield f"{_INDENT}nothing that any of them knows"
    looked = f"after {about['inspected_packets']} packets ({about['inspected_bytes']:,} bytes of payload)"
    if unfinished:
        yield f"{_INDENT}not finished {looked}: {_several(unfinished)}"
    else:
        yield f"{_INDENT}nothing more was looked for {looked}"


def _several(names: Sequence[object]) -> str:
    shown = ", ".join(map(str, names[:8]))
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _rule(rule: Mapping[str, object]) -> Iterator[str]:
    note = str(rule["note"])
    if rule["outcome"] == "unreached" and rule["would_match"] == "yes":
        note += ", but it would have matched"
    yield f"{_INDENT}{rule['number']:>3} {rule['rule']} ({rule['action']}): {note}"
    parts = [_mapping(part) for part in _sequence(rule["parts"])]
    if rule["outcome"] == "unreached":
        return
    is_short = rule["outcome"] != "failed" or len(parts) <= _PARTS_SHOWN
    shown = parts if is_short else [part for part in parts if part["truth"] != "yes"]
    for part in shown:
        yield from _part(part, 3)
    if len(shown) < len(parts):
        yield f"{_INDENT * 3}yes  the other {len(parts) - len(shown)} parts"


def _part(part: Mapping[str, object], depth: int) -> Iterator[str]:
    """One part of a condition; inner ones below it, further in."""
    mark = f"{_INDENT * depth}{_MARKS[str(part['truth'])]:<3}  "
    inner = [_mapping(one) for one in _sequence(part["parts"])]
    match part["kind"]:
        case "test":
            yield f"{mark}{part['field']} is {part['found']}; asked: {part['asked']}"
            return
        case "any":
            yield f"{mark}at least one of"
        case "all":
            yield f"{mark}all of"
        case _:
            yield f"{mark}not"
    for one in inner:
        yield from _part(one, depth + 1)


def _left_out(left_out: Mapping[str, object]) -> Iterator[str]:
    failed, unreached = int(str(left_out["failed"])), int(str(left_out["unreached"]))
    if failed:
        near = int(str(left_out["near"]))
        nearness = f"{near:,} of them in a single part" if near else "none near"
        yield f"{_INDENT}{failed:,} {'rule' if failed == 1 else 'rules'} more did not match, {nearness}"
    if unreached:
        rules = "rule more was" if unreached == 1 else "rules more were"
        yield f"{_INDENT}{unreached:,} {rules} never reached"


def _who(event: Mapping[str, object]) -> str:
    client = endpoint(event["src_ip"], event["src_port"])
    return f"{client} > {endpoint(event['dest_ip'], event['dest_port'])} {event['proto']}"


def _clock(moment: object) -> str:
    """An event's timestamp without its zone, to the millisecond."""
    return str(moment).replace("T", " ")[:23]


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _sequence(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value
