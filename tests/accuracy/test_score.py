"""Counting right and wrong."""

from pathlib import Path

import pytest

from middlebox.accuracy.arguments import Argument, Arguments, Ruling, read_arguments
from middlebox.accuracy.score import disagreements, score_collateral, score_pairs, score_protocols
from tests.accuracy.outcomes import flow, said

NONE = Arguments()
HTTP = flow("http", "ordinary", ("http",))
VAGUE = flow("Google", "ordinary", None)


def test_right_wrong_missed_and_unjudged_are_told_apart() -> None:
    outcomes = [
        said(flow(), "openvpn", "confirmed", payload_packets=2),
        said(flow(), "openvpn", "probable"),
        said(flow()),
        said(HTTP, "openvpn", "confirmed"),
        said(VAGUE, "openvpn", "possible"),
        said(None, "openvpn", "confirmed"),
    ]
    score = {score.name: score for score in score_protocols(outcomes, NONE)}["openvpn"]
    confirmed, probable, possible = (score.levels[level] for level in ("confirmed", "probable", "possible"))
    assert (confirmed.right, confirmed.wrong, confirmed.unjudged) == (1, 1, 1)
    assert (probable.right, probable.wrong) == (1, 0)
    assert (possible.right, possible.wrong, possible.unjudged) == (0, 0, 1)
    assert (score.labelled, score.recognised, score.missed, score.true_negatives) == (3, 2, 1, 0)
    assert (score.packets_median, score.packets_worst) == (2, 2)
    assert confirmed.precision is not None
    assert confirmed.precision.value == 0.5


def test_a_carriers_name_for_what_it_carries_is_missed_but_not_untrue() -> None:
    (tls, openconnect) = sorted(
        score_protocols([said(flow("anyconnect", "vpn", ("openconnect",)), "tls", "confirmed")], NONE),
        key=lambda score: score.name,
        reverse=True,
    )
    assert (tls.name, tls.levels["confirmed"].wrong, tls.levels["confirmed"].unjudged) == ("tls", 0, 1)
    assert (openconnect.name, openconnect.missed) == ("openconnect", 1)


def test_an_argument_corrects_a_label() -> None:
    wrong_label = Argument("lab/*", "http", "openvpn", Ruling.LABEL, ("openvpn",), "it answers a reset")
    outcomes = [said(HTTP, "openvpn", "confirmed")]
    (score,) = score_protocols(outcomes, Arguments((wrong_label,)))
    assert (score.name, score.levels["confirmed"].right, score.levels["confirmed"].wrong) == ("openvpn", 1, 0)
    assert score_collateral(outcomes, Arguments((wrong_label,))).flows == 0
    ours = Argument("lab/*", "http", "openvpn", Ruling.OURS, (), "a bug")
    assert len(score_collateral(outcomes, Arguments((ours,))).confirmed) == 1


def test_collateral_counts_refused_categories_by_level() -> None:
    outcomes = [
        said(HTTP, "http", "confirmed", inspected_packets=40, inspected_bytes=20_000),
        said(HTTP, "openvpn", "confirmed"),
        said(VAGUE, "tor", "probable"),
        said(VAGUE, "fully-encrypted", "possible"),
        said(HTTP, "ssh-tunnel", "probable"),
        said(flow(), "openvpn", "confirmed"),
    ]
    found = score_collateral(outcomes, NONE)
    assert (found.flows, found.named, found.five_rules, found.settled_early) == (5, 5, 0, 4)
    assert [len(found.confirmed), len(found.probable), len(found.possible)] == [1, 1, 1]
    assert found.upper_bound(0) == pytest.approx(3 / 5)
    over_tcp = said(VAGUE, "fully-encrypted", "possible")
    over_tcp.ends = "192.0.2.2:40000 > 198.51.100.2:7000 TCP"
    assert score_collateral([over_tcp], NONE).five_rules == 1  # the five rules are about TCP
    assert 0.2 < found.upper_bound(1) < 1


def test_a_pair_counts_its_long_flows() -> None:
    outcomes = [
        said(flow(), "openvpn", "probable", data_packets=25),
        said(flow(), "openvpn", "possible", data_packets=25),
        said(flow(), data_packets=24),
    ]
    (pair,) = score_pairs(outcomes)
    assert (pair.flows, pair.recognised, pair.confirmed, pair.probable) == (3, 2, 0, 1)
    assert (pair.long_flows, pair.long_recognised) == (2, 1)


def test_what_differs_from_its_label_is_a_disagreement() -> None:
    agreed = [
        said(flow(), "openvpn", "confirmed"),
        said(HTTP),
        said(VAGUE, "http", "confirmed"),
        said(None, "tor", "probable"),
    ]
    differing = [said(flow()), said(HTTP, "smtp", "possible"), said(VAGUE, "tor", "probable")]
    assert disagreements([*agreed, *differing]) == differing


@pytest.mark.parametrize(
    "text",
    ["- {capture: x}", "- nothing", "- {capture: x, label: y, said: z, ruling: label, truth: [opnvpn], why: w}"],
)
def test_a_broken_argument_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "arguments.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"arguments\.yaml, entry 1: "):
        read_arguments(path)
