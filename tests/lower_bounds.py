"""Print what the packages need at least, as pip's constraints: the oldest versions promised."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
for requirement in project["dependencies"]:
    name, bound = requirement.split(">=")
    sys.stdout.write(f"{name}=={bound}\n")
