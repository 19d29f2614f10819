"""The window's own time: how long a mesh takes from new phases to painted pixels, without a display.

`gui-mesh` is what happens ten to thirty times a second while a run is watched: values to colours, one gather, and Qt's
blit with all that is written over it, at 1200 x 800. `view` is what panning costs, where everything is drawn anew.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.measure import Bench, LeftOut, Measurement

SIZE = (1200, 800)


def needed() -> None:
    """LeftOut where Qt is not installed."""
    if importlib.util.find_spec("pyqtgraph") is None:
        raise LeftOut('it needs Qt; pip install "l2sim[gui]"')


def view(modes: int) -> tuple[Any, Any]:
    """(a mesh view of one rectangular mesh with phases that change from frame to frame, the application)."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from l2sim.gui.base.model import Frame, Layer, Part, Selection
    from l2sim.gui.mesh import values as mesh_values
    from l2sim.gui.mesh import view as mesh_view
    from l2sim.gui.window.app import start_qt

    from l2sim.job.job import Job
    from l2sim.mesh.mesh import Mesh

    application = start_qt()
    mesh = Mesh("rectangular", modes)
    rng = np.random.default_rng(0)
    frames = rng.uniform(0, 2 * np.pi, (8, 2 * mesh.count + modes)).astype(np.float32)

    class Recorded:
        """As much of a run as the view asks for."""

        part = Part(modes, mesh.column, mesh.top, mesh.bottom - mesh.top, True)
        layers = {"mesh0": Layer("mesh0", 1, 1, modes, {"": part}, None)}  # noqa: RUF012
        job, newest, badge = Job(flow="insitu"), 0, {}
        simulated = lab_eyes = False

        def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, object]:
            theta, phi, screen = np.split(frames[self.newest % 8], [mesh.count, 2 * mesh.count])
            return {"theta": theta, "phi": phi, "screen": screen, "step": self.newest}

        def frames(self, name: str) -> Any:
            return np.arange(self.newest + 1)

        def frame(self, name: str, step: int | None = None) -> Any:
            return Frame(self.newest, frames[self.newest % 8])

        def job_at(self, step: int | None) -> Job:
            return self.job

        def oracle(self, *place: object) -> None:
            return None

    selection = Selection()
    selection.layer = "mesh0"
    shown = mesh_view.MeshView(selection)
    shown.show_run(Recorded())  # type: ignore[arg-type]
    shown.show()
    # The picture alone shall have the size that is promised; offscreen windows are drawn at a fraction of pixels.
    shown.canvas.setFixedSize(*SIZE)
    shown.adjustSize()
    shown.colour(mesh_values.THETA)
    application.processEvents()
    return shown, application


def mesh(bench: Bench) -> Iterator[Measurement]:
    """Median and 95th percentile of `frame` (new phases) and `view` (panned by a pixel)."""
    needed()
    for modes in (16,) if bench.quick else (64, 256, 512):
        shown, application = view(modes)
        canvas = shown.canvas

        def frame(shown: Any = shown, canvas: Any = canvas) -> None:
            shown.model.newest += 1
            shown.refresh({"frames"})
            canvas.repaint()

        def pan(canvas: Any = canvas) -> None:
            place = canvas.view
            canvas.look(place._replace(ox=place.ox + (1 if place.ox < 40 else -1)))
            canvas.repaint()

        works: dict[str, Callable[[], None]] = {"frame": frame, "view": pan}
        pixels = canvas.image().size
        for name, seconds in bench.paired(works, 5 if bench.quick else 120).items():
            spread = {"median": statistics.median(seconds), "p95": float(np.quantile(seconds, 0.95))}
            for figure, value in spread.items():
                sizes = {"modes": modes, "pixels": pixels}
                yield Measurement("gui-mesh", f"{name} {figure}", value, 1.0, "frames/s", sizes=sizes)
        shown.close()
        application.processEvents()


CASES = (("gui-mesh", mesh),)
