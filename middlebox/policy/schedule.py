"""When a schedule is open. A stand-in for one-off windows only, until the branch with weekly hours is merged."""

from middlebox.policy.rule import Schedule


def is_open(schedule: Schedule, at: float) -> bool:
    """Whether `at`, in seconds since the epoch, lies inside."""
    return (schedule.begins is None or at >= schedule.begins) and (schedule.ends is None or at < schedule.ends)


def next_edge(schedule: Schedule, after: float) -> float:
    """The first moment after `after` at which it opens or closes; inf when there is none."""
    return min((t for t in (schedule.begins, schedule.ends) if t is not None and t > after), default=float("inf"))
