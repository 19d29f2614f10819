"""What is seen, as files: pictures, vectors, tables, all numbers of a step, and frames of a range of steps.

A file is made in memory and written beside its place, then renamed, so a full disk leaves no half of one and the old
one stays. Every refusal of the disk is one line that says what to do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtSvg, QtWidgets

from l2sim import files
from l2sim.errors import L2simError
from l2sim.job import job as jobs

if TYPE_CHECKING:
    from .model import RunModel

Table = tuple[list[str], Iterable[tuple[object, ...]]]
"""Column names with units, and rows."""


class ExportError(L2simError):
    """A file that cannot be written."""


class Shown(Protocol):
    """A panel, as far as it can be written to a file."""

    title: str

    def grab(self) -> QtGui.QPixmap:
        """What it shows, as pixels."""

    def svg(self, path: Path) -> None:
        """Write what it shows as vectors."""

    def table(self) -> Table | None:
        """The numbers that it shows, if any."""


def panel(shown: Shown, path: Path) -> Path:
    """Write a panel as the ending of `path` says: .png, .svg or .csv. ExportError for another one, or no table."""
    ending = path.suffix.lower()
    if ending == ".png":
        return picture(shown, path)
    if ending == ".svg":
        shown.svg(path)
        return path
    if ending == ".csv":
        numbers = shown.table()
        if numbers is None:
            raise ExportError(f"{shown.title} has no numbers to tabulate; write it as .png or .svg")
        return table(*numbers, path)
    raise ExportError(f"{path.name} ends in {ending or 'nothing'}; use .png, .svg or .csv")


def picture(widget: QtWidgets.QWidget, path: Path) -> Path:
    """What a widget shows, as PNG."""
    return write(path, png(widget.grab()))


def png(image: QtGui.QPixmap | QtGui.QImage) -> bytes:
    """An image as the content of a PNG file."""
    content = QtCore.QByteArray()
    buffer = QtCore.QBuffer(content)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(content)


def widget_svg(widget: QtWidgets.QWidget, path: Path) -> None:
    """What a widget paints, as SVG by Qt's own writer (pyqtgraph's breaks on newer versions of Qt)."""
    content = QtCore.QByteArray()
    buffer = QtCore.QBuffer(content)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    generator = QtSvg.QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setSize(widget.size())
    generator.setViewBox(widget.rect())
    generator.setTitle(getattr(widget, "title", "l2sim"))
    painter = QtGui.QPainter(generator)
    widget.render(painter, QtCore.QPoint())
    painter.end()
    write(path, bytes(content))


def table(heads: list[str], rows: Iterable[tuple[object, ...]], path: Path) -> Path:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return write(path, text.getvalue().encode())


def state(model: RunModel, step: int | None, path: Path) -> Path:
    """All that is known at a step: every frame under its series' name, every scalar curve up to it, and the job.

    `np.load(path)` has `frame/SERIES`, `frame_step/SERIES`, `steps/SERIES`, `values/SERIES`, `step` and `job` (TOML).
    """
    end = model.newest if step is None else step
    arrays: dict[str, Any] = {"step": np.int64(end), "job": np.array(jobs.to_toml(model.job))}
    for name in _frame_series(model):
        frame = model.frame(name, end)
        if frame is not None:
            arrays |= {f"frame/{name}": frame.values, f"frame_step/{name}": np.int64(frame.step)}
    for name in model.series:
        curve = model.scalar(name)
        last = int(np.searchsorted(curve.steps, end, side="right"))
        arrays |= {f"steps/{name}": curve.steps[:last], f"values/{name}": curve.values[:last]}
    content = io.BytesIO()
    np.savez(content, **arrays)
    return write(path, content.getvalue())


def frames(
    widget: QtWidgets.QWidget, folder: Path, steps: Iterable[int], show: Callable[[int], None]
) -> Iterator[tuple[int, Path]]:
    """Write a PNG of the widget at every step, numbered; `show` brings a step on. Yields after each."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(str(files.refusal(error, folder, "choose another place") or error)) from None
    for number, step in enumerate(steps):
        show(step)
        yield step, picture(widget, folder / f"frame-{number:05d}.png")


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all. ExportError where the disk refuses."""
    return files.write(path, content, refuse=ExportError)


def _frame_series(model: RunModel) -> list[str]:
    names = []
    for layer in model.layers.values():
        names += [*layer.phases.values(), *([layer.sigma] if layer.sigma else [])]
    return names
