"""Prints what pyproject.toml requires to run the package and the lab, one requirement a line, for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["lab"]))
