"""What the trainings share: tables of flows, a logistic regression, its cross-validation, and what is written of it.

The one rule: the same tables give the same files, byte for byte.
"""

import csv
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
FLOWS = Path(__file__).parent / "flows"
FOLDS = 5
DECIMALS = 3
"Of a weight in the shipped module: rounding hides that machines differ in a sum's last bits."


_MOST_STEPS = 25
"Newton's method takes about eight."


@dataclass(slots=True, frozen=True)
class Row:
    """One recorded flow; see training/README.md for the columns."""

    source: str
    capture: str
    destination: str
    kind: str
    label: str
    noise: int
    sizes: tuple[int, ...]


def rows() -> list[Row]:
    """All recorded flows."""
    found = []
    for path in sorted(FLOWS.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                sizes = tuple(map(int, row["sizes"].split()))
                found.append(
                    Row(
                        row["set"],
                        row["capture"],
                        row["destination"],
                        row["kind"],
                        row["label"],
                        int(row["noise"]),
                        sizes,
                    )
                )
    return found


@dataclass(slots=True, frozen=True)
class Example:
    """One flow of the training, recorded or made."""

    name: str
    "What it is counted under in the report."
    group: str
    "Capture and destination: a group is never split between training and test."
    is_wanted: bool
    weight: float
    moments: tuple[tuple[int, ...], ...]
    "Features at each moment at which the detector would ask."


def fit(
    features: np.ndarray, count: int, wanted: np.ndarray, weights: np.ndarray, *, penalty: float = 1.0
) -> np.ndarray:
    """Weights of a logistic regression with a quadratic penalty, by Newton's method.

    `features` are the numbers, below `count`, of those that hold: one row for each moment. The last one is the bias.
    """
    strength = np.full(count, penalty)
    strength[-1] = penalty / 100
    pairs = (features[:, :, None] * count + features[:, None, :]).ravel()
    width = features.shape[1]
    found = np.zeros(count)
    for _ in range(_MOST_STEPS):
        chance = 1 / (1 + np.exp(-found[features].sum(axis=1)))
        missed = np.repeat(weights * (chance - wanted), width)
        slope = np.bincount(features.ravel(), missed, count) + strength * found
        doubt = np.repeat(weights * chance * (1 - chance), width * width)
        curve = np.bincount(pairs, doubt, count * count).reshape(count, count) + np.diag(strength)
        step = np.linalg.solve(curve, slope)
        found = found - step
        if np.abs(step).max() < 10**-DECIMALS / 100:
            break
    return found


def table_of(moments: Sequence[tuple[int, ...]], count: int) -> np.ndarray:
    """The features of each moment as a row, and the bias, which is number `count`."""
    return np.array([(*features, count) for features in moments])


@dataclass(slots=True)
class Trained:
    """A model, and how it did on flows it was not trained on."""

    weights: np.ndarray
    examples: list[Example]
    scores: np.ndarray
    "The highest score that each example reached at any moment, from the fold in which it was not trained on."
    all_scores: list[list[float]]
    "The score at each moment."

    def of(self, *names: str) -> np.ndarray:
        """Scores of the examples with these names."""
        return np.array([score for one, score in zip(self.examples, self.scores, strict=True) if one.name in names])


def train(examples: list[Example], count: int) -> Trained:
    """Train on everything; score by cross-validation over groups."""
    examples = [one for one in examples if one.moments]
    moments = [features for one in examples for features in one.moments]
    owner = np.array([number for number, one in enumerate(examples) for _ in one.moments])
    table = table_of(moments, count)
    wanted = np.array([float(examples[number].is_wanted) for number in owner])
    weights = np.array([examples[number].weight for number in owner])
    fold = np.array([zlib.crc32(one.group.encode()) % FOLDS for one in examples])[owner]
    scores = np.zeros(len(moments))
    for number in range(FOLDS):
        rest = fold != number
        scores[~rest] = fit(table[rest], count + 1, wanted[rest], weights[rest])[table[~rest]].sum(axis=1)
    every: list[list[float]] = [[] for _ in examples]
    for number, score in zip(owner, scores, strict=True):
        every[number].append(float(score))
    return Trained(fit(table, count + 1, wanted, weights), examples, np.array([max(one) for one in every]), every)


def share_above(scores: np.ndarray, threshold: float) -> float:
    """The share of scores that reach the threshold."""
    return float(np.mean(scores >= threshold)) if len(scores) else 0.0


def write_module(name: str, doc: str, weights: np.ndarray, constants: dict[str, object]) -> None:
    """The model as a module of plain numbers."""
    numbers = [round(float(weight), DECIMALS) + 0.0 for weight in weights]
    lines = [f'"""{doc}\n\nWritten by `make models`: do not edit. Card: docs/models/{name}.md.\n"""\n']
    for key, value in constants.items():
        lines.append(f"{key} = {value}")
    lines += [f"BIAS = {numbers[-1]}", "WEIGHTS = ("]
    for start in range(0, len(numbers) - 1, 12):
        lines.append("    " + " ".join(f"{number}," for number in numbers[:-1][start : start + 12]))
    lines.append(")  # fmt: skip")
    path = ROOT / "middlebox" / "detect" / "models" / f"{name}.py"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_roc(name: str, wanted: np.ndarray, curves: dict[str, np.ndarray]) -> None:
    """A picture of what share of each kind of other flows is hit for what share of the wanted ones is found."""
    width, height, left, low = 520, 330, 60, 40
    least = 1e-4

    def across(share: float) -> float:
        return left + (np.log10(max(share, least)) + 4) / 4 * (width - left - 20)

    def up(share: float) -> float:
        return height - low - share * (height - low - 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for power in range(-4, 1):
        x = across(10.0**power)
        parts.append(f'<path d="M{x:.0f} 20V{height - low}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 14:.0f}" y="{height - low + 15}">{10.0**power:g}</text>')
    for tenth in range(0, 11, 2):
        y = up(tenth / 10)
        parts.append(f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 28}" y="{y + 4:.0f}">{tenth / 10:.1f}</text>')
    parts.append(f'<text x="{left}" y="{height - 8}">share of other flows that are hit (log)</text>')
    parts.append(f'<text x="14" y="{height - low}" transform="rotate(-90 14 {height - low})">share found</text>')
    thresholds = np.linspace(-6, 8, 141)
    for number, (label, scores) in enumerate(curves.items()):
        colour = ("#1b6ca8", "#c0392b", "#7f8c8d", "#27ae60", "#8e44ad")[number % 5]
        points = [f"{across(share_above(scores, one)):.1f},{up(share_above(wanted, one)):.1f}" for one in thresholds]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = height - low - 14 * (len(curves) - number)
        parts.append(f'<text x="{width - 230}" y="{y}" fill="{colour}">{label} ({len(scores)} flows)</text>')
    parts.append("</svg>")
    (ROOT / "docs" / "models" / f"{name}.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")


def write_card(name: str, text: str) -> None:
    """The model's card."""
    (ROOT / "docs" / "models" / f"{name}.md").write_text(text, encoding="utf-8")


Training = Callable[[list[Row]], None]
"Trains one model from all recorded flows and writes its files."
