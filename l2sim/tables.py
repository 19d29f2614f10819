"""Tables of numbers as people and programs write them: CSV with one number a row, under a line that names the columns.

Taken is what spreadsheets and scripts write: a byte order mark, UTF-16, blank lines, lines that begin with #, columns
in any order, commas, semicolons or tabs between them, and decimal commas where commas do not separate columns.
Everything that could mean two things, or that is no number, is refused with its line and column.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from l2sim.errors import ChipError, L2simError

__all__ = ["Row", "rows"]

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Row(NamedTuple):
    """One line of a table: its cells by column, and what its errors are called."""

    path: str
    line: int
    cells: dict[str, str]
    separator: str
    refuse: type[L2simError]

    def problem(self, column: str, why: str) -> L2simError:
        """The error that says what is wrong with a cell."""
        return self.refuse(f"{self.path}, line {self.line}, column {column}: {why}")

    def number(self, column: str) -> float:
        """A finite number."""
        cell = self.cells[column]
        if not NUMBER.fullmatch(cell):
            raise self.problem(column, f"{cell!r} is not a number" if cell else "the number is missing")
        if "," in cell and self.separator == ",":
            raise self.problem(column, f"{cell!r} has a decimal comma where commas separate columns; use points")
        value = float(cell.replace(",", "."))
        if abs(value) == float("inf"):
            raise self.problem(column, f"{cell!r} is too large")
        return value

    def whole(self, column: str, below: int | None = None) -> int:
        """A whole number from 0, `below` a limit where there is one; 3, 3.0 and 3e0 are the same."""
        value = self.number(column)
        if value < 0 or value != int(value) or (below is not None and value >= below):
            allowed = "a whole number from 0" if below is None else f"a whole number from 0 to {below - 1}"
            raise self.problem(column, f"{self.cells[column]!r} must be {allowed}")
        return int(value)


def rows(path: str | Path, columns: Sequence[str], refuse: type[L2simError] = ChipError) -> Iterator[Row]:
    """The rows of a table that has exactly `columns`. Raises `refuse` for any other file, naming line and column."""
    lines = _lines(path, refuse)
    first = next(((number, text) for number, text in lines if text), None)
    head = f"{path} must begin with a line that names the columns {', '.join(columns)}"
    if first is None:
        raise refuse(f"{head}; it is empty")
    separator = next((mark for mark in (";", "\t", ",") if mark in first[1]), ",")
    names = _names(f"{path}, line {first[0]}", _cells(first[1], separator), columns, head, refuse)
    points = ""  # which decimal mark was seen first, and where
    for number, text in lines:
        if number <= first[0] or not text:
            continue
        cells = [cell.strip() for cell in _cells(text, separator)]
        if len(cells) < len(names) or any(cells[len(names) :]):
            raise refuse(f"{path}, line {number}: {text!r} has {len(cells)} cells, and the table {len(names)} columns")
        row = Row(str(path), number, dict(zip(names, cells)), separator, refuse)
        for name, cell in row.cells.items():
            mark = next((mark for mark in ".," if mark in cell and NUMBER.fullmatch(cell)), "")
            if mark and points and mark != points:
                raise row.problem(name, f"{cell!r} has a decimal {MARKS[mark]} and others above have a {MARKS[points]}")
            points = points or mark
        yield row


MARKS = {".": "point", ",": "comma"}


def _names(where: str, cells: list[str], columns: Sequence[str], head: str, refuse: type[L2simError]) -> list[str]:
    """The names of the columns, all of `columns` and no others, in the order of the table."""
    names = [name.strip().lower() for name in cells]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if names.count(name) > 1:
            raise refuse(f"{where}: the column {name!r} is there twice; leave one")
        if name not in columns:
            raise refuse(f"{where}: there is no column {name!r} in this table; {head}")
    missing = [name for name in columns if name not in names]
    if missing:
        raise refuse(f"{where}: the column {missing[0]!r} is missing; {head}")
    return names


def _lines(path: str | Path, refuse: type[L2simError]) -> list[tuple[int, str]]:
    """Numbered lines, those of comments empty."""
    try:
        content = Path(path).read_bytes()
        text = content.decode(WIDE.get(content[:2], "utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(f"{path} cannot be read ({type(error).__name__}); give a table as CSV") from None
    if "\0" in text:
        raise refuse(f"{path} is no text; give a table as CSV")
    lines = ((number, line.strip(" \r")) for number, line in enumerate(io.StringIO(text, newline=None), 1))
    kept = ((number, line.strip("\n").strip()) for number, line in lines)
    return [(number, "" if line.startswith("#") or not line.strip(",;\t ") else line) for number, line in kept]


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])
