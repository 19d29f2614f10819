"""The panel of own_panel.py: the ten phases that moved most in the stage on show; a click goes to one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from l2sim.gui.base import links
from l2sim.gui.base.files import Table
from l2sim.gui.base.model import Selection
from l2sim.gui.base.panel import Panel
from l2sim.gui.base.widgets import filled, scrolling
from l2sim.gui.mesh.history import series
from pyqtgraph.Qt import QtCore, QtWidgets

SHOWN = 10
Mover = tuple[float, str, int, str, str, int]
"""Radians, layer, block, part of the core, phase, and number of the MZI."""


class Movers(Panel):
    """A line for each, farthest first."""

    what = "The ten phases whose commands moved most in the stage on show, up to its step. A click goes to the MZI."
    every = 0.5

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.text = QtWidgets.QLabel("No run is open.")
        self.text.setAlignment(QtCore.Qt.AlignmentFlag.AlignTop)
        self.text.setAccessibleName("Phases that moved most")
        links.follow(self.text, selection)
        filled(QtWidgets.QVBoxLayout(self), scrolling(self.text), margins=(8, 6, 8, 6))
        self.movers: list[Mover] = []

    def refresh(self, changed: set[str]) -> None:
        """List them anew where the step or what was recorded has changed."""
        if self.model is None or not changed & {"all", "frames", "step"}:
            return
        self.movers = sorted(self._moved(), reverse=True)[:SHOWN]
        head = f"{self.shown_stage}, up to step {self.shown_step:,}, commanded:"
        lines = [self._line(mover) for mover in self.movers] or ["nothing moved"]
        self.text.setText("<br>".join([head, *lines]))

    def table(self) -> Table | None:
        """What is listed, for Ctrl+E."""
        return ["moved (rad)", "layer", "block", "part", "phase", "MZI"], self.movers

    def _moved(self) -> Iterator[Mover]:
        """The farthest of every kind of phase of every layer."""
        begun = next((stage.first_step for stage in self.model.stages if stage.name == self.shown_stage), 0)
        for layer in self.model.layers.values():
            for (side, kind), name in series(layer):
                before, now = (self.model.frame(name, step) for step in (begun, self.shown_step))
                if kind not in ("theta", "phi") or before is None or now is None:
                    continue
                moved = np.abs(now.values.astype(float) - before.values).reshape(layer.p * layer.q, -1)
                for at in np.argsort(-moved, axis=None)[:SHOWN].tolist():
                    block, element = divmod(at, moved.shape[1])
                    if moved[block, element] > 0:
                        yield float(moved[block, element]), layer.name, block, side, kind, element

    def _line(self, mover: Mover) -> str:
        moved, layer, block, side, kind, element = mover
        where = f"{layer} block {block} {side.upper()} MZI {element}, {kind}"
        return f"{moved:.3f} rad &nbsp; <a href='{links.address(layer, block, side, element)}'>{where}</a>"
