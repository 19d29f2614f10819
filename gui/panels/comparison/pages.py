"""What is drawn of runs beside each other: curves along one axis, maps of light, measured over true gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.inspect import axes, compare

from ...base import fields, painting, theme
from ...base.plot import Plot, span
from ...base.plot import Trace as Drawn
from ...base.widgets import filled
from .. import quantities
from ..chart import Chart, Legend
from ..curves import Trace
from ..envelope import Band, Flag, Line, View

if TYPE_CHECKING:
    from ...base.model import RunModel

MEMORY = 0.95
"""Of the average drawn over dense curves: some twenty values."""
FEW = 4000
"""Dots of a scatter up to which all are drawn; of more an even selection is, and the cosine is of all of them."""


class Side(NamedTuple):
    """One of the runs: where its steps lie, which of them is on show, and its colour."""

    model: RunModel
    axis: axes.Axis
    step: int
    colour: str

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.model.folder.name)


class CurvesPage(QtWidgets.QWidget):
    """One curve of every run, a colour each, along one axis; the stages are those of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.legend, self.chart = Legend(), Chart(foot=True)
        self.chart.named = True
        self.chart.setAccessibleName("Curves of all runs")
        filled(QtWidgets.QVBoxLayout(self), self.legend, (self.chart, 1), spacing=0)

    def show_sides(self, sides: Sequence[Side], quantity: quantities.Quantity | None, kind: str) -> None:
        """Draw the series of one kind, e.g. test_loss, of a quantity of other runs."""
        if not sides or quantity is None:
            self.chart.draw([])
            self.legend.show_entries([("", False, "no values yet")])
            return
        ends = [float(side.axis.at(side.model.newest)) for side in sides]
        right = max((end for end in ends if np.isfinite(end)), default=1.0) or 1.0
        lines: list[Line] = []
        words = []
        for side in sides:
            own, value = self._of(side, quantity, kind, right)
            lines += own
            words.append((side.colour, False, side.name + ("" if value is None else f" {value:.4g}")))
        self._frame(sides[0])
        self.chart.look(_around(lines, right), quantity.log)
        self.chart.draw(lines)
        self.chart.stand(float(sides[0].axis.at(sides[0].step)))
        self.legend.show_entries(words)

    def _of(
        self, side: Side, quantity: quantities.Quantity, kind: str, right: float
    ) -> tuple[list[Line], float | None]:
        """The curves of a run, and the value of the one that goes on at the step on show."""
        lines: list[Line] = []
        begun: tuple[float, float] | None = None
        columns = max(50, int(self.chart.room().width()))
        names = quantities.matching(quantity, side.model.series)
        for name in (name for name in names if name.rpartition("/")[2] == kind):
            trace = Trace(name, side.colour, MEMORY, False)
            trace.update(side.model.scalar(name))
            low, high = side.axis.step(0.0), side.axis.step(right)
            lines += [line._replace(x=side.axis.at(line.x)) for line in trace.lines(low, high, columns, quantity.log)]
            value = trace.at(side.step)
            if value is not None and (begun is None or trace.curve.steps[0] >= begun[0]):
                begun = float(trace.curve.steps[0]), value
        return lines, begun[1] if begun else None

    def _frame(self, first: Side) -> None:
        """Stages and changes of the first run, and what goes to the right."""
        at, model = first.axis.at, first.model
        ends = [(stage, np.inf if stage.last_step is None else stage.last_step) for stage in model.stages]
        bands = [Band(float(at(s.first_step)), float(at(end)), s.name, i % 2) for i, (s, end) in enumerate(ends)]
        self.chart.stages(bands)
        self.chart.mark([Flag(float(at(step)), words) for step, words in fields.changes(model.events)])
        self.chart.along(axes.LABELS[first.axis.kind])


def _around(lines: Sequence[Line], right: float) -> View:
    """What is seen so that all lines are."""
    return View(-0.01 * right, 1.01 * right, *span([line.y for line in lines], 0.1))


class LightPage(QtWidgets.QWidget):
    """The power of light in a mesh, a column a run and a row a kind of light: along the columns of the mesh to the
    right, its rails downwards. The runs of a row share their scale."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[tuple[str, dict[str, Array]]] = []
        """(run, power (2 C + 1, N) by kind of light)."""
        self.said = ""
        self.setMinimumHeight(80)
        self.setAccessibleName("Light of all runs")

    def show_sides(self, sides: Sequence[Side], layer: str, block: int, port: int) -> None:
        """Draw the light of other runs."""
        self.maps = []
        for side in sides:
            its = side.model.layers.get(layer)
            has = its is not None and block < its.p * its.q
            lit = side.model.field(layer, block, port, side.step) if has else None
            self.maps.append((side.name, lit.power if lit is not None else {}))
        lacking = [name for name, power in self.maps if not power]
        self.said = f"no light of {layer} known in {', '.join(lacking)}" if lacking else ""
        self.setAccessibleDescription(self.said)
        self.update()

    @property
    def kinds(self) -> list[str]:
        """The kinds of light that any of the runs has."""
        return list(dict.fromkeys(kind for _, power in self.maps for kind in power))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        tall = painter.fontMetrics().height()
        table = pg.colormap.get("viridis").getLookupTable(nPts=256)
        room = 12 + max((painter.fontMetrics().horizontalAdvance(kind) for kind in self.kinds), default=0)
        wide = (self.width() - room - 4) / max(1, len(self.maps))
        high = (self.height() - 2 * tall - 6) / max(1, len(self.kinds))
        painter.setPen(QtGui.QColor(now.text))
        for column, (name, power) in enumerate(self.maps):
            left = room + column * wide
            painter.drawText(QtCore.QRectF(left, 2, wide - 8, tall), painting.CENTRE, name)
            for row, kind in enumerate(self.kinds):
                area = QtCore.QRectF(left, tall + 4 + row * high, wide - 8, high - 6)
                if column == 0:
                    painter.drawText(QtCore.QRectF(4, area.top(), room - 10, area.height()), painting.RIGHT, kind)
                if kind in power:
                    most = max(float(np.nanmax(other[kind])) for _, other in self.maps if kind in other) or 1.0
                    self._map(painter, area, power[kind] / most, table)
        painter.setPen(QtGui.QColor(now.faint))
        words = self.said or "power, dark: none, bright: the most of the row; columns to the right, rails downwards"
        painter.drawText(QtCore.QRectF(0, self.height() - tall - 2, self.width(), tall), painting.CENTRE, words)
        painter.end()

    @staticmethod
    def _map(painter: QtGui.QPainter, area: QtCore.QRectF, share: Array, table: Array) -> None:
        places = np.clip(np.nan_to_num(share.T) * 255, 0, 255).astype(np.uint8)
        pixels = np.ascontiguousarray(table[places][..., :3].astype(np.uint8))
        rows, columns = places.shape
        image = QtGui.QImage(pixels.tobytes(), columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888)
        painter.drawImage(area, image)


class GradientsPage(QtWidgets.QWidget):
    """Measured gradients over true ones, a dot a phase, with the cosine between them; the line is where both agree."""

    def __init__(self) -> None:
        super().__init__()
        self.plot = Plot("Measured over true gradients")
        self.legend = Legend()
        filled(QtWidgets.QVBoxLayout(self), self.legend, (self.plot, 1), spacing=0)

    def show_sides(self, sides: Sequence[Side], layer: str) -> None:
        """Draw the gradients of other runs; who has none says why in the legend."""
        words: list[tuple[str, bool, str]] = []
        drawn: list[Drawn] = []
        for side in sides:
            pair = compare.gradients(side.model, layer, side.step)
            if isinstance(pair, str):
                words.append((side.colour, False, f"{side.name}: {pair}"))
                continue
            words.append((side.colour, False, f"{side.name} cosine {pair.cosine:.4f} at step {pair.step:,}"))
            every = -(-len(pair.true) // FEW)
            drawn.append(Drawn(pair.true[::every], pair.measured[::every], side.colour, "dots"))
        if drawn:
            ends = np.array(span([dots.x for dots in drawn], 0.0))
            drawn.append(Drawn(ends, ends, theme.now().faint))
        self.plot.draw(drawn, "true (oracle)", "measured")
        self.legend.show_entries(words or [("", False, "no runs")])
