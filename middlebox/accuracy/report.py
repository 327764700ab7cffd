"""Turns what was measured into the sections of the accuracy pages, and into the figures that the package ships."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from middlebox.accuracy import pictures
from middlebox.accuracy.arguments import Arguments
from middlebox.accuracy.measure import (
    LEVELS,
    REFUSED_KINDS,
    SETTLED_BYTES,
    SETTLED_PACKETS,
    Measured,
    Outcome,
)
from middlebox.accuracy.ndpi import Ndpi
from middlebox.accuracy.pages import Cell, Section, Table, share
from middlebox.accuracy.score import (
    LONG_FLOW_PACKETS,
    Collateral,
    PairScore,
    ProtocolScore,
    disagreements,
    effective,
    score_collateral,
    score_pairs,
    score_protocols,
    share_of,
)
from middlebox.accuracy.speed import ROUNDS, Worst
from middlebox.accuracy.truth import Trust
from middlebox.lab.result import wilson_interval
from middlebox.protocols import CATEGORY_OF

CONFUSION, RECALL, EARLY = "accuracy-confusion.svg", "accuracy-recall.svg", "accuracy-packets.svg"
_SHOWN_DETECTORS = 12


@dataclass(slots=True)
class Findings:
    """Everything the pages are made of."""

    measured: Measured
    arguments: Arguments
    ndpi: Ndpi | None
    worst: list[Worst]
    hostile_captures: int
    bulk: list[Outcome]
    "Ordinary flows of the lab's traffic generator; empty where none were recorded."


def draw(findings: Findings) -> dict[str, str]:
    """The pictures, by file name."""
    outcomes = findings.measured.outcomes
    return {
        CONFUSION: pictures.confusion(outcomes),
        RECALL: pictures.precision_and_recall(score_protocols(outcomes, findings.arguments)),
        EARLY: pictures.packets_to_verdict(outcomes),
    }


def sections(findings: Findings) -> list[Section]:
    """The pages' content."""
    outcomes, arguments = findings.measured.outcomes, findings.arguments
    scores = score_protocols(outcomes, arguments)
    made = [
        _reading(findings),
        _bars(findings, scores),
        Section(
            "What is taken for what", "Rows are what labels say, columns what we say, flows counted.", None, CONFUSION
        ),
        _protocols(scores),
        Section(
            "Recall beside ndpiReader",
            "Each dot is a share of the labelled flows, each line its 95 % interval.",
            None,
            RECALL,
        ),
        _pairs(outcomes),
        Section("How early", _early_text(scores), None, EARLY),
        _collateral(findings),
        _bulk(findings.bulk),
        _settling(outcomes),
        _speed(findings),
        _published(),
        _disagreements(outcomes, arguments),
    ]
    return [section for section in made if section is not None]


def shipped_figures(findings: Findings) -> dict[str, Any]:
    """Measured precision and recall by protocol, for `middlebox protocols`."""
    figures: dict[str, Any] = {}
    for score in score_protocols(findings.measured.outcomes, findings.arguments):
        figures[score.name] = {
            "precision": {
                level: {"right": counts.right, "of": counts.right + counts.wrong}
                for level, counts in score.levels.items()
                if counts.right + counts.wrong
            },
            "recall": {"recognised": score.recognised, "of": score.labelled},
        }
    return figures


def _reading(findings: Findings) -> Section:
    measured = findings.measured
    collections = Counter(outcome.capture.collection for outcome in measured.outcomes)
    told = ", ".join(f"{name}: {count} flows" for name, count in sorted(collections.items()))
    return Section(
        "How to read this",
        f"{measured.captures} captures with {measured.packets} packets were replayed ({told}). Labels of recordings of the "
        "lab are ground truth: whoever recorded them started the programs. Labels of public captures are opinions, often "
        "nDPI's own, so ndpiReader's recall there is partly agreement with itself. Where we and a label differ, the last "
        "section says who is wrong and why; precision and recall are counted after those corrections, and flows whose "
        "label says too little (`Google`) are left out. A flow counts as recognised when its final name is one of those "
        f"that are right for it. {len(measured.unseen)} labelled flows never show a decodable packet and are left out.",
    )


def _bars(findings: Findings, scores: Sequence[ProtocolScore]) -> Section:
    outcomes, arguments = findings.measured.outcomes, findings.arguments
    truth = [outcome for outcome in outcomes if outcome.capture.trust is Trust.TRUTH]
    pairs = score_pairs(truth)
    long_flows = [o for o in _tunnels(truth, arguments) if o.data_packets >= LONG_FLOW_PACKETS]
    opinion = [o for o in _tunnels(outcomes, arguments) if o.capture.trust is Trust.OPINION]
    collateral = score_collateral(outcomes, arguments)
    wrong = sum(score.levels["confirmed"].wrong for score in scores)
    right = sum(score.levels["confirmed"].right for score in scores)
    settled = share_of([o for o in outcomes if o.is_ordinary], lambda o: o.is_settled_early)
    rows: list[tuple[Cell, ...]] = [
        (
            "Pairs of real programs with a flow under a right name",
            f"{sum(p.recognised > 0 for p in pairs)} of {len(pairs)}",
            "all",
        ),
        (
            f"Their flows with {LONG_FLOW_PACKETS} or more data packets, at least probable",
            share(share_of(long_flows, lambda o: _is_named(o, arguments) and o.level in LEVELS[1:])),
            "90 %",
        ),
        (
            "Public VPN, proxy, anonymity and tunnel flows, recall",
            share(share_of(opinion, lambda o: _is_named(o, arguments))),
            "97 %",
        ),
        ("Precision of confirmed names", f"{right} right, {wrong} wrong", "none wrong"),
        (
            "Ordinary flows called a confirmed VPN, proxy or anonymity network",
            f"{len(collateral.confirmed)} of {collateral.flows}",
            "0",
        ),
        (
            "Ordinary flows called a probable one",
            f"{len(collateral.probable)} of {collateral.flows} (at most {collateral.upper_bound(len(collateral.probable)):.2%} with 95 % confidence)",
            "0.1 %",
        ),
        (f"Ordinary flows settled by packet {SETTLED_PACKETS} or {SETTLED_BYTES // 1024} KiB", share(settled), "95 %"),
    ]
    return Section("The bars", "What was promised, and what was measured.", Table(("What", "Measured", "Bar"), rows))


def _tunnels(outcomes: Sequence[Outcome], arguments: Arguments) -> list[Outcome]:
    """Flows whose label, as far as it stands up, is a VPN, a proxy, an anonymity network or a tunnel."""
    return [
        outcome
        for outcome in outcomes
        if outcome.flow is not None and outcome.flow.kind in REFUSED_KINDS and effective(outcome, arguments)
    ]


def _is_named(outcome: Outcome, arguments: Arguments) -> bool:
    return outcome.name in (effective(outcome, arguments) or ())


def _protocols(scores: Sequence[ProtocolScore]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for score in scores:
        levels = [
            f"{counts.right}/{counts.wrong}" + (f" (+{counts.unjudged})" if counts.unjudged else "")
            for counts in (score.levels[level] for level in reversed(LEVELS))
        ]
        confirmed = score.levels["confirmed"]
        rows.append(
            (
                score.name, CATEGORY_OF[score.name], *levels, score.missed, score.true_negatives, share(confirmed.precision),
                share(score.recall), share(score.ndpi_recall), score.packets_median, score.packets_worst,
            )
        )  # fmt: skip
    return Section(
        "Protocols",
        "Of the flows called by a name at a level: right/wrong (in brackets, flows whose label says too little). Then the "
        "flows of that protocol called otherwise (false negatives), flows of others not called so (true negatives), the "
        "precision of `confirmed`, recall at any level, ndpiReader's recall on the same flows, and payload packets to "
        "`confirmed`, median and worst.",
        Table(
            (
                "Protocol", "Category", "confirmed", "probable", "possible", "missed", "others", "Precision", "Recall",
                "nDPI's recall", "Packets", "Worst",
            ),
            rows,
        ),
    )  # fmt: skip


def _pairs(outcomes: Sequence[Outcome]) -> Section:
    pairs = score_pairs([outcome for outcome in outcomes if outcome.capture.trust is Trust.TRUTH])
    rows = [_pair_row(pair) for pair in pairs]
    return Section(
        "Real programs",
        "Every recording of a VPN, proxy or tunnel with ground truth: flows under a right name and their levels, long flows "
        f"({LONG_FLOW_PACKETS} or more data packets) at least probable, what we call its flows, what ndpiReader calls them.",
        Table(
            ("Recording", "Flows", "Right", "confirmed", "probable", "Long flows", "We say", "ndpiReader says"), rows
        ),
    )


def _pair_row(pair: PairScore) -> tuple[Cell, ...]:
    long_flows = f"{pair.long_recognised} of {pair.long_flows}" if pair.long_flows else None
    return pair.name, pair.flows, pair.recognised, pair.confirmed, pair.probable, long_flows, pair.said, pair.ndpi


def _early_text(scores: Sequence[ProtocolScore]) -> str:
    packets = [count for score in scores if CATEGORY_OF[score.name] != "ordinary" for count in score.payload_packets]
    if not packets:
        return "No flow was confirmed."
    packets.sort()
    return (
        f"Payload packets until a VPN, proxy or tunnel was confirmed: median {packets[len(packets) // 2]}, "
        f"95 % within {packets[int(len(packets) * 0.95)]}, worst {packets[-1]}, over {len(packets)} flows."
    )


def _collateral(findings: Findings) -> Section:
    rows: list[tuple[Cell, ...]] = []
    by_collection: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in (*findings.measured.outcomes, *findings.bulk):
        by_collection[outcome.capture.collection].append(outcome)
    for name, of_collection in sorted(by_collection.items()):
        collateral = score_collateral(of_collection, findings.arguments)
        if collateral.flows:
            rows.append((name, *_collateral_row(collateral)))
    return Section(
        "Ordinary traffic",
        "Flows that are ordinary, and how many of them were called a VPN, proxy or anonymity network at each level, with the "
        "95 % upper bound of the true share (rule of three where none was seen); and TCP flows whose final name is the "
        "five-rule verdict of USENIX Security 2023. Traffic that programs make in a lab is not an internet provider's: these "
        "shares hold for what was measured.",
        Table(
            (
                "Collection",
                "Flows",
                "Named",
                "confirmed",
                "at most",
                "probable",
                "at most",
                "possible",
                "Five rules",
                "of TCP",
            ),
            rows,
        ),
    )


def _bulk(outcomes: Sequence[Outcome]) -> Section | None:
    """What the generator's flows were called, by what they truly are."""
    if not outcomes:
        return None
    called: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        if outcome.category in REFUSED_KINDS - {"encrypted-dns"} and outcome.flow is not None:
            called[outcome.name, outcome.level or ""][outcome.flow.label] += 1
    tls = sum("tls" in outcome.names_seen for outcome in outcomes)
    rows: list[tuple[Cell, ...]] = [
        (name, level, labels.total(), share(wilson_interval(labels.total(), len(outcomes))), _top(labels))
        for (name, level), labels in sorted(called.items(), key=lambda item: -item[1].total())
    ]
    kinds = Counter(outcome.flow.label for outcome in outcomes if outcome.flow is not None)
    return Section(
        "Ordinary traffic in bulk",
        f"{len(outcomes)} flows of {len(kinds)} kinds that real programs made in the lab (`make ordinary`), {tls} of them over TLS. "
        "Each name that is a VPN, proxy, anonymity network or tunnel, how often it was given, and to what. The kinds "
        f"`custom-*` and `file-*` ({sum(count for kind, count in kinds.items() if kind.startswith(('custom-', 'file-')))} flows) "
        "are made to look random: they are what the five rules of USENIX Security 2023 cannot tell from a proxy.",
        Table(("Name", "Level", "Flows", "Share", "Truly"), rows),
    )


def _top(counts: Counter[str]) -> str:
    return ", ".join(f"{label} {count}" for label, count in counts.most_common(5))


def _collateral_row(found: Collateral) -> tuple[Cell, ...]:
    return (
        found.flows, found.named,
        len(found.confirmed), f"{found.upper_bound(len(found.confirmed)):.4%}",
        len(found.probable), f"{found.upper_bound(len(found.probable)):.4%}",
        len(found.possible), found.five_rules, found.tcp,
    )  # fmt: skip


def _settling(outcomes: Sequence[Outcome]) -> Section:
    ordinary = [outcome for outcome in outcomes if outcome.is_ordinary]
    both = share_of(ordinary, lambda o: o.inspected_packets <= SETTLED_PACKETS and o.inspected_bytes <= SETTLED_BYTES)
    late = [outcome for outcome in ordinary if not outcome.is_settled_early]
    rows: list[tuple[Cell, ...]] = list(Counter(outcome.name for outcome in late).most_common(12))
    return Section(
        "How soon ordinary flows are left alone",
        f"Of {len(ordinary)} ordinary flows {share(share_of(ordinary, lambda o: o.is_settled_early))} were settled by their "
        f"packet {SETTLED_PACKETS} (of any kind, handshakes and acknowledgements counted) or before {SETTLED_BYTES // 1024} KiB "
        f"of payload were looked at; {share(both)} kept both. Those that did not, by what they are called:",
        Table(("Name", "Flows"), rows),
    )


def _speed(findings: Findings) -> Section | None:
    if not findings.worst:
        return None
    rows: list[tuple[Cell, ...]] = [
        (worst.detector, round(worst.microseconds), worst.payload_bytes, worst.capture)
        for worst in findings.worst[:_SHOWN_DETECTORS]
    ]
    return Section(
        "The slowest packets",
        f"{findings.hostile_captures} hostile and malformed captures were replayed, and each detector's slowest packet noted, the "
        f"fastest of {ROUNDS} replays. The bar is 1,000 microseconds. The slowest detectors:",
        Table(("Detector", "Microseconds", "Payload bytes", "Capture"), rows),
    )


def _published() -> Section:
    entries = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    keys = ("method", "ours", "packets", "recall", "false_positives", "of", "source")
    rows: list[tuple[Cell, ...]] = [tuple(entry[key] for key in keys) for entry in entries]
    return Section(
        "What others published",
        "Rates are rates of something: the column says of what. None of these populations is ours.",
        Table(("Method", "Our name", "Packets", "Recall", "False positives", "Of", "Source"), rows),
    )


def _disagreements(outcomes: Sequence[Outcome], arguments: Arguments) -> Section:
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for outcome in disagreements(outcomes):
        assert outcome.flow is not None
        argument = arguments.of(outcome)
        ruling, why = (argument.ruling.value, argument.why) if argument else ("not argued", outcome.reason)
        said = f"{outcome.name} {outcome.level or ''}".strip()
        counts[outcome.capture.name, outcome.flow.label, said, ruling, why] += 1
    rows: list[tuple[Cell, ...]] = [
        (capture, label, said, count, ruling, why)
        for (capture, label, said, ruling, why), count in sorted(counts.items())
    ]
    return Section(
        "Where we and a label differ",
        "Every flow that we call otherwise than its label, and every VPN, proxy or tunnel that we miss. `label`: the label is "
        "wrong, counted as such above. `ours`: we are wrong. `open`: the packets do not tell.",
        Table(("Capture", "Label", "We say", "Flows", "Wrong is", "Why"), rows),
    )
