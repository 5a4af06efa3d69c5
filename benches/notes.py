"""Notes of a study: a file of JSON lines, written as they come and read back."""

import json
import sys
from pathlib import Path
from typing import Any

Note = dict[str, Any]


def read(path: Path) -> list[Note]:
    """Return the notes of a file, none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write(path: Path, notes: list[Note], said: str) -> None:
    """Add notes to a file, and say on stderr which and how good their lists were."""
    with open(path, "a") as file:
        file.writelines(json.dumps(note) + "\n" for note in notes)
    found = ", ".join(f"{note['ndcg']:.4f}" for note in notes)
    sys.stderr.write(f"{said}: ndcg {found}\n")
