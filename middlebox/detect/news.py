"""Keeps detectors that judge all bytes anew each time from telling the engine the same thing twice.

The one rule: evidence is news when its finding differs from what was given before, `more` aside.
"""

from dataclasses import replace

from middlebox.evidence import Answer, Evidence, Opinion


def only_news(answer: Answer, given: Evidence | None) -> Answer:
    """The answer itself, or an opinion in place of evidence that repeats what was already `given`."""
    if not isinstance(answer, Evidence) or given is None or replace(answer, more=given.more) != given:
        return answer
    return Opinion.MORE if answer.more else Opinion.NO
