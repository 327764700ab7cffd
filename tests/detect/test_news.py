"""Repeated evidence turns into an opinion; everything else passes unchanged."""

from dataclasses import replace

import pytest

from middlebox.detect.news import only_news
from middlebox.evidence import Confidence, Evidence, Opinion

GIVEN = Evidence("http", Confidence.PROBABLE, "a request line", {"http.http_method": "GET"}, more=True)


@pytest.mark.parametrize("opinion", Opinion)
def test_opinions_pass(opinion: Opinion) -> None:
    assert only_news(opinion, GIVEN) is opinion


def test_first_evidence_passes() -> None:
    assert only_news(GIVEN, None) is GIVEN


@pytest.mark.parametrize(
    "changed",
    [
        replace(GIVEN, confidence=Confidence.CONFIRMED),
        replace(GIVEN, facts={}),
        replace(GIVEN, reason="another"),
        replace(GIVEN, protocol="dns"),
    ],
)
def test_changed_evidence_passes(changed: Evidence) -> None:
    assert only_news(changed, GIVEN) is changed


def test_repeated_evidence_asks_for_more_or_ends() -> None:
    assert only_news(replace(GIVEN), GIVEN) is Opinion.MORE
    assert only_news(replace(GIVEN, more=False), GIVEN) is Opinion.NO
