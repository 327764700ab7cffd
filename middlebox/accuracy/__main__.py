"""`python -m middlebox.accuracy` measures the detectors and writes docs/accuracy.md, an HTML page, shipped figures."""

import json
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from middlebox import __version__
from middlebox.accuracy.arguments import read_arguments
from middlebox.accuracy.measure import Measured, measure
from middlebox.accuracy.ndpi import ask_ndpi
from middlebox.accuracy.pages import write_pages
from middlebox.accuracy.report import Findings, draw, sections, shipped_figures
from middlebox.accuracy.score import disagreements
from middlebox.accuracy.speed import slowest
from middlebox.accuracy.truth import LabelledCapture, read_descriptions, read_manifests, read_truth

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
_CAPTURE_SUFFIXES = frozenset({".pcap", ".pcapng", ".cap", ".gz", ".zst"})


def main(
    collections: Annotated[list[Path] | None, typer.Argument(help="Folders with manifest.jsonl and captures/.")] = None,
    hostile: Annotated[list[Path] | None, typer.Option(help="Folders of captures that must only not hurt.")] = None,
    ordinary: Annotated[list[Path] | None, typer.Option(help="Recordings of the traffic generator.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Captures replayed side by side.")] = 2,
    html: Annotated[Path, typer.Option(help="Where the HTML page goes.")] = ROOT / "build" / "accuracy.html",
) -> None:
    """Measure every detector on every labelled capture."""
    captures = [*read_descriptions(ROOT / "tests" / "captures", "project")]
    for directory in collections or []:
        captures += read_manifests(directory)
    arguments = read_arguments(HERE / "arguments.yaml")
    measured = _measure(captures, "captures", jobs)
    bulk = _measure([capture for directory in ordinary or [] for capture in read_truth(directory)], "ordinary", jobs)
    ndpi = ask_ndpi(captures)
    if ndpi is None:
        print("ndpiReader is not installed (apt-get install libndpi-bin): its column stays empty", file=sys.stderr)
    else:
        for outcome in measured.outcomes:
            if outcome.flow is not None:
                outcome.ndpi = ndpi.names.get(outcome.capture.name, {}).get(outcome.flow.key)
    paths = [
        path
        for directory in (ROOT / "tests" / "captures" / "hostile", *(hostile or []))
        for path in sorted(directory.rglob("*"))
        if path.suffix in _CAPTURE_SUFFIXES
    ]
    findings = Findings(measured, arguments, ndpi, slowest(paths), len(paths), bulk.outcomes)
    facts = {
        "middlebox": __version__,
        "compared with": ndpi.version if ndpi else "nothing",
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    markdown = ROOT / "docs" / "accuracy.md"
    write_pages(sections(findings), draw(findings), markdown=markdown, html=html, facts=facts)
    figures = json.dumps(shipped_figures(findings), indent=1, sort_keys=True)
    (ROOT / "middlebox" / "measured.json").write_text(f"{figures}\n", encoding="utf-8")
    unargued = [outcome for outcome in disagreements(measured.outcomes) if arguments.of(outcome) is None]
    print(f"{len(measured.outcomes)} flows compared, {len(unargued)} disagreements not argued; {markdown}, {html}")


def _measure(captures: list[LabelledCapture], what: str, jobs: int) -> Measured:
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=len(captures))
        return measure(captures, jobs=jobs, tell=lambda _: progress.advance(task))


if __name__ == "__main__":
    typer.run(main)
