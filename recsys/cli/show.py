"""Output of the commands: aligned lines, or one JSON object."""

import json
import sys
from dataclasses import asdict
from typing import Any


def print_json(value: dict[str, Any]) -> None:
    """Print a dict as one JSON object."""
    sys.stdout.write(json.dumps(value, allow_nan=False, default=asdict) + "\n")


def describe(result: dict[str, Any], indent: str = "") -> str:
    """Return a dict as aligned lines, dicts within it indented."""
    lines = []
    for name, value in result.items():
        if name == "history":
            continue
        if isinstance(value, dict):
            lines.append(f"{indent}{name}\n{describe(value, indent + '  ')}")
            continue
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, int):
            value = f"{value:,}"
        lines.append(f"{indent}{name:{20 - len(indent)}s} {value}\n")
    return "".join(lines)
