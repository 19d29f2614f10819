"""The distributions panel: phases of a layer, a figure of merit over its cores, the error of one block's weights."""

from __future__ import annotations

from math import tau
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.backend import Array
from l2sim.given import wrapped

from ..base import theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.plot import Plot, Trace, span
from ..base.widgets import filled
from ..mesh.colours import PHASE, number
from . import matrix
from .blocks import first_metric, readable

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

SEEN = {"all", "theme", "frames", "blocks", "step", "layer", "block"}
BINS = 48


class Histogram(Plot):
    """One distribution: title, axis with its unit, how many values, and a line where to look."""

    def __init__(self, title: str, unit: str) -> None:
        super().__init__(title, 5)
        self.name, self.unit = title, unit
        self.counts: Array = np.zeros(0, np.int64)
        self.edges: Array = np.zeros(0)

    def show_values(
        self, values: Array, note: str, turn: bool = False, at: float | None = None, more: str = ""
    ) -> None:
        """Count the finite `values`, over one `turn` or all they span; `at`: where the line stands; `note` where there
        are none; `more` follows the title."""
        finite = values[np.isfinite(values)]
        wrong = values.size - finite.size
        said = f", {wrong} not a number" if wrong else ""
        heading = f"{self.name} ({finite.size}{said}){more}" if values.size else self.name
        self.setAccessibleName(f"Distribution of {heading}, {self.unit}")
        self.counts, self.edges = np.zeros(0, np.int64), np.zeros(0)
        low, high = (0.0, tau) if turn else span([finite], 0.0)
        if finite.size:
            self.counts, self.edges = np.histogram(finite, BINS, (low, high))
        bars = [Trace(self.edges, self.counts, theme.now().accent, "bars")] if finite.size else []
        mark = None if at is None or not np.isfinite(at) else (at, "this block")
        ends = [(low + share * (high - low), text) for share, text in PHASE.ticks()] if turn else ()
        self.draw(bars, self.unit, heading=heading, note=note, mark=mark, ends=ends)


class Distributions(Panel):
    """Three histograms: the phases of the selected layer, its cores, and the errors of the selected block's weights."""

    sees = SEEN
    what = (
        "How phases, errors of cores and weights are spread: a histogram of each at the step on show."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.phases = Histogram("Phases", "commanded phase (rad)")
        self.cores = Histogram("Cores", "")
        self.weights = Histogram("Weight error", "realised - target")
        self.plots = (self.phases, self.cores, self.weights)
        filled(QtWidgets.QVBoxLayout(self), *((plot, 1) for plot in self.plots), spacing=2)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            for plot in self.plots:
                plot.show_values(np.zeros(0), "no run is open")

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        here, model = self.selection, self.model
        if model is None or not changed & SEEN or here.layer not in model.layers:
            return
        layer = model.layers[here.layer]
        self.phases.name = f"Phases of {here.layer}"
        self.phases.show_values(self._phases(model), "no phases were recorded yet", turn=True)
        metric = first_metric(model.metrics)
        values = model.metric(here.layer, metric, here.step) if metric else None
        self.cores.name = f"Cores of {here.layer}"
        self.cores.unit = f"{readable(metric)} · {model.badge.get(metric, '')}"
        single = layer.p * layer.q == 1
        if values is None or single:
            note = f"one {'core' if layer.sigma else 'mesh'}: there is nothing to compare it with"
            note = note if single else f"{readable(metric)} is not recorded yet"
            self.cores.show_values(np.zeros(0), note)
        else:
            flat = values.reshape(-1).astype(float)
            self.cores.show_values(flat, "", at=float(flat[min(here.block, flat.size - 1)]))
        self._weights(model)

    def _phases(self, model: RunModel) -> Array:
        """All phases of the layer, wrapped."""
        here, layer = self.selection, model.layers[self.selection.layer]
        frames = [model.frame(name, here.step) for part, name in layer.phases.items() if part != "screen"]
        phases = [wrapped(np.asarray(frame.values, float).reshape(-1)) for frame in frames if frame is not None]
        return np.concatenate(phases) if phases else np.zeros(0)

    def _weights(self, model: RunModel) -> None:
        here, layer = self.selection, model.layers[self.selection.layer]
        apart = matrix.three(model, here.layer, here.block, here.step)[2]
        self.weights.name = f"Weight error of block {here.block}" if layer.sigma else f"Matrix error of {here.layer}"
        badge = f" · {apart.badge}" if apart.badge else ""
        aim = "ideal" if layer.sigma is None else "target"
        self.weights.unit = f"realised - {aim}{badge}"
        if apart.values is None:
            self.weights.show_values(np.zeros(0), "needs a target and a realised matrix")
            return
        rms = float(np.sqrt(np.mean(apart.values**2)))
        self.weights.show_values(apart.values.reshape(-1), "", more=f": rms {number(rms)}")

    def table(self) -> Table | None:
        """Bins and counts of all three."""
        rows: list[tuple[object, ...]] = [
            (plot.name, float(a), float(b), int(n))
            for plot in self.plots
            if plot.counts.size
            for a, b, n in zip(plot.edges[:-1], plot.edges[1:], plot.counts)
        ]
        return (["distribution", "from", "to", "count"], rows) if rows else None

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(320, 460)
