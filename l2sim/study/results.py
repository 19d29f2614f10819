"""Where the results of a study go: the folder, and the table of its points."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def folder(text: str, arguments: list[str] | None) -> Path:
    """The folder `--out` of a study without other options, made where it is missing; `text` is its docstring."""
    parser = argparse.ArgumentParser(description=text.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    return out


def write(path: Path, rows: Sequence[Any], exact: int, digits: int) -> None:
    """Named tuples of one kind as CSV: `exact` fields as they are, the numbers behind to so many significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0]._fields)
        writer.writerows((*row[:exact], *(f"{value:.{digits}g}" for value in row[exact:])) for row in rows)
