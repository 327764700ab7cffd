"""The command: `sudo .venv/bin/python -m middlebox.lab.ordinary --flows 100000 --seed 1 --out DIRECTORY`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from middlebox.lab.hosts import LabError
from middlebox.lab.ordinary.run import generate
from middlebox.shells.errors import MachineError


def main(
    flows: Annotated[int, typer.Option(min=1, help="How many flows, about.")] = 5000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = 1,
    out: Annotated[Path, typer.Option(metavar="DIRECTORY", help="Where captures and truth go.")] = Path(
        "build/ordinary"
    ),
    max_gigabytes: Annotated[
        float, typer.Option(help="Begin no further round once the captures are this large.")
    ] = 4.0,
) -> None:
    """Let real programs make ordinary traffic through a gateway; record it and the truth about each flow."""
    try:
        summary = generate(flows, seed, out, max_bytes=int(max_gigabytes * 1e9))
    except (LabError, MachineError) as error:
        print(f"middlebox: {error}", file=sys.stderr)
        raise typer.Exit(3) from None
    for kind, count in summary.flows.most_common():
        print(f"{count:8} {kind}")
    megabytes = summary.bytes / 1e6
    print(f"{summary.total:8} flows in {summary.seconds:.0f} s, {megabytes:.0f} MB, {summary.lost} packets lost")


if __name__ == "__main__":
    typer.run(main)
