"""Placeholder until branch h-time is merged: take that version in a conflict."""

from middlebox.policy.rule import Schedule


def is_open(schedule: Schedule, at: float) -> bool:
    return (schedule.begins is None or at >= schedule.begins) and (schedule.ends is None or at < schedule.ends)


def next_edge(schedule: Schedule, after: float) -> float:
    return min((t for t in (schedule.begins, schedule.ends) if t is not None and t > after), default=float("inf"))
