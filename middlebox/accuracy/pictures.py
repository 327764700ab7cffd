"""The pictures of the accuracy pages, as SVG: what is taken for what, how precise, how early."""

import io
from collections import Counter
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from middlebox.accuracy.measure import LEVELS, Outcome
from middlebox.accuracy.score import ProtocolScore
from middlebox.protocols import CATEGORIES

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"
"Told apart by everybody (Okabe and Ito)."


def _svg(figure: Figure) -> str:
    """The figure as text, the same on every run."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "middlebox", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue()


def confusion(outcomes: Sequence[Outcome]) -> str:
    """Kinds that labels state against categories that we give, shares of each row."""
    kinds = [kind for kind in (*CATEGORIES[:-1], "vpn-service", "unknown") if _of_kind(outcomes, kind)]
    counts = {kind: Counter(outcome.category for outcome in _of_kind(outcomes, kind)) for kind in kinds}
    figure = Figure(figsize=(8, 0.6 * len(kinds) + 1.6))
    axes = figure.subplots()
    shares = [[counts[kind][category] / counts[kind].total() for category in CATEGORIES] for kind in kinds]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(CATEGORIES)), CATEGORIES, rotation=20)
    axes.set_yticks(range(len(kinds)), [f"{kind} ({counts[kind].total()})" for kind in kinds])
    axes.set_xlabel("what we say")
    axes.set_ylabel("what the label says (flows)")
    for row, kind in enumerate(kinds):
        for column, category in enumerate(CATEGORIES):
            if count := counts[kind][category]:
                colour = "white" if shares[row][column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    return _svg(figure)


def _of_kind(outcomes: Sequence[Outcome], kind: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.flow is not None and outcome.flow.kind == kind]


def precision_and_recall(scores: Sequence[ProtocolScore]) -> str:
    """Recall of every protocol beside ndpiReader's, with 95 % intervals."""
    shown = [score for score in scores if score.recall is not None][::-1]
    figure = Figure(figsize=(8, 0.19 * len(shown) + 1))
    axes = figure.subplots()
    for at, score in enumerate(shown):
        for interval, colour, shift in ((score.recall, _BLUE, 0.15), (score.ndpi_recall, _ORANGE, -0.15)):
            if interval is not None:
                axes.plot([interval.low, interval.high], [at + shift] * 2, color=colour, linewidth=1)
                axes.plot(interval.value, at + shift, "o", color=colour, markersize=3)
    axes.set_yticks(range(len(shown)), [f"{score.name} ({score.labelled})" for score in shown], fontsize=7)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-1, len(shown))
    axes.set_xlabel("recall with 95 % interval (blue: middlebox, orange: ndpiReader)")
    axes.grid(axis="x", color=_GREY, alpha=0.3)
    return _svg(figure)


def packets_to_verdict(outcomes: Sequence[Outcome]) -> str:
    """Share of flows named by a right name after so many payload packets, by level."""
    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    for level, colour in zip(LEVELS, (_GREY, _ORANGE, _BLUE), strict=True):
        packets = sorted(outcome.payload_packets for outcome in outcomes if outcome.is_right and outcome.level == level)
        if packets:
            heights = [(at + 1) / len(packets) for at in range(len(packets))]
            axes.step(packets, heights, where="post", color=colour, label=f"{level} ({len(packets)} flows)")
    axes.set_xscale("log")
    axes.set_xlabel("payload packets until the final name stood")
    axes.set_ylabel("share of rightly named flows")
    axes.legend()
    return _svg(figure)
