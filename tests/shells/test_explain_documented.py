"""docs/explain-and-diff.md shows what the commands print, to the letter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "explain-and-diff.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ (.*?)\n(.*?)```", DOCUMENT, re.DOTALL)


def test_there_is_something_shown() -> None:
    assert {command.split()[1] for command, _ in SHOWN} == {"explain", "diff"}


@pytest.mark.parametrize(("command", "printed"), SHOWN)
def test_what_is_shown_is_what_is_printed(command: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "rules").symlink_to(ROOT / "rules")
    (tmp_path / "captures").symlink_to(ROOT / "tests" / "captures")
    [policy] = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "stricter.yaml").write_text(policy, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (printed, "")
