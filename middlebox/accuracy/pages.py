"""Writes what was measured: docs/accuracy.md for readers, and an HTML page with the same and the pictures inside.

The one rule: a page holds sections of text, tables and pictures; nothing is computed in a template.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from middlebox.lab.result import Interval

Cell = str | int | float | None


@dataclass(slots=True)
class Table:
    """Rows of cells under headings."""

    headings: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


@dataclass(slots=True)
class Section:
    """A heading, what it is about, and what was measured."""

    title: str
    text: str
    table: Table | None = None
    picture: str = ""
    "Name of a picture."
    details: list["Section"] = field(default_factory=list)


def share(interval: Interval | None) -> str:
    """A share with its 95 % interval, in percent."""
    if interval is None:
        return "–"  # noqa: RUF001
    return f"{_percent(interval.value)} ({_percent(interval.low)}–{_percent(interval.high)})"  # noqa: RUF001


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if 1e-6 < value < 1 else f"{100 * value:.0f} %"


def cell(value: Cell) -> str:
    """A cell as text."""
    if value is None:
        return "–"  # noqa: RUF001
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_pages(
    sections: list[Section], pictures: dict[str, str], *, markdown: Path, html: Path, facts: dict[str, str]
) -> None:
    """Write both pages; the pictures, SVG by name, stand beside the first and inside the second."""
    environment = Environment(
        loader=PackageLoader("middlebox.accuracy", "."),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    markdown.parent.mkdir(parents=True, exist_ok=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures.items():
        (markdown.parent / name).write_text(svg, encoding="utf-8")
    for path, template in ((markdown, "accuracy.md.j2"), (html, "accuracy.html.j2")):
        page = environment.get_template(template).render(sections=sections, pictures=pictures, facts=facts)
        path.write_text(page, encoding="utf-8")
