"""Which keys of a rule or schedule belong together: errors that the shape of a file cannot express.

Rule of this file: a key that would be ignored is an error.
"""

from collections.abc import Collection, Iterator
from datetime import date
from zoneinfo import ZoneInfo

from middlebox.policy.problem import Problem, described, listed, quoted, suggestion
from middlebox.policy.values import in_zone, parse_moment, parse_timezone
from middlebox.policy.yaml_positions import Document, Path

_BELONGS_TO = {"rate": "throttle", "probability": "sample", "then": "sample", "dns": "dns"}
"Keys of a rule that one action takes and no other."
_NEEDED = {
    "throttle": ("rate", "write rate: 128kbit/s, or what it shall be"),
    "sample": ("probability", "write probability: 0.26, or what it shall be"),
    "dns": ("dns", "write dns: nxdomain, refused or {address: ...}"),
}
"Keys that an action cannot do without."
_RESIDUAL_ACTIONS = ("drop", "reset", "reject", "sample")
"A residual repeats a refusal, so only what refuses may have one."


def check_rules(document: Document, known: Collection[str] | None) -> Iterator[Problem]:
    """What is wrong with the rules and schedules of a policy file, besides their shape.

    Args:
        document: The file.
        known: The schedules of the whole policy; None if a file is missing that may hold some.
    """
    data = document.data
    if not isinstance(data, dict):
        return
    schedules = data.get("schedules")
    for name, schedule in schedules.items() if isinstance(schedules, dict) else ():
        if isinstance(schedule, dict):
            yield from _schedule(document, ("schedules", name), schedule)
    rules = data.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            yield from _rule(document, ("rules", index), rule)
            during = rule.get("during")
            if isinstance(during, str) and known is not None and during not in known:
                hint = suggestion(during, known) or (
                    f"; schedules: {', '.join(known)}" if known else '; this policy has no "schedules"'
                )
                place = document.value_place(("rules", index, "during"))
                yield place.error(f"during: {quoted(during)} is not a schedule of this policy{hint}")
    waivers = data.get("waive")
    for index, waiver in enumerate(waivers if isinstance(waivers, list) else ()):
        if isinstance(waiver, dict) and isinstance(why := waiver.get("why"), str) and not why.strip():
            yield document.value_place(("waive", index, "why")).error('why: found "", expected a reason')


def _rule(document: Document, path: Path, rule: dict[str, object]) -> Iterator[Problem]:
    action = rule.get("action")
    if not isinstance(action, str):
        return
    if action in _NEEDED and _NEEDED[action][0] not in rule:
        key, hint = _NEEDED[action]
        yield document.value_place((*path, "action")).error(f'action: {action} needs "{key}"; {hint}')
    for key, owner in _BELONGS_TO.items():
        if key in rule and action != owner:
            message = f'"{key}" is for the action {owner}, and this rule has {quoted(action)}'
            yield document.key_place((*path, key)).error(message)
    residual = rule.get("residual")
    if residual is not None and action not in _RESIDUAL_ACTIONS:
        message = f'"residual" is for {listed(_RESIDUAL_ACTIONS)}, which refuse, and this rule has {quoted(action)}'
        yield document.key_place((*path, "residual")).error(message)
    if isinstance(residual, dict):
        scope = residual.get("scope")
        named = scope if isinstance(scope, list) else [scope]
        if "server_port" in named and "server" not in named:
            message = 'scope: server_port without server would refuse that port of every server; add "server"'
            yield document.value_place((*path, "residual", "scope")).error(message)
    if action == "log" and rule.get("mode") == "monitor":
        yield document.key_place((*path, "mode")).error('"mode" is for actions that decide; log only records anyway')


def _schedule(document: Document, path: Path, schedule: dict[str, object]) -> Iterator[Problem]:
    if not any(key in schedule for key in ("from", "until", "weekly", "hours")):
        message = "this schedule says no time; give it from, until, weekly or hours"
        yield document.value_place(path).error(message)
    begins, until = schedule.get("from"), schedule.get("until")
    if not isinstance(begins, date | str) or not isinstance(until, date | str):
        return
    try:
        zone = ZoneInfo(parse_timezone(schedule.get("timezone", "UTC")))
        empty = in_zone(parse_moment(until), zone) <= in_zone(parse_moment(begins), zone)
    except (ValueError, OverflowError):
        return  # reported with the shape
    if empty:
        message = f"until: found {described(until)}, expected a moment after from ({begins})"
        yield document.value_place((*path, "until")).error(message)
