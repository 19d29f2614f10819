"""A run that a folder holds, for somebody who looks at it in Python: `l2sim.open(folder)`.

It reads finished runs and those that go on: whatever is asked for is as new as the folder. It never writes there.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from l2sim import files, given, naming
from l2sim.backend import Array
from l2sim.errors import JobError, RunError
from l2sim.inspect.run import Recorded, Saved, Stage
from l2sim.job.grids import Grid
from l2sim.job.job import Job
from l2sim.store import results
from l2sim.store.events import Record, StageEnd
from l2sim.store.follow import Curve
from l2sim.store.gather import gather
from l2sim.store.results import Report


class Run:
    """The run in `folder`, as arrays and tables. RunError where there is none, or a damaged one."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = given.path(folder, "the folder of a run", RunError)
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise RunError(f"there is no run in {folder}: it {what}; name the folder of a run")
        try:
            self._recorded = Recorded(self.folder)
        except JobError as error:
            raise RunError(f"the run in {folder} cannot be opened: {error}") from None
        except OSError as error:
            raise RunError(f"the run in {folder} cannot be read: {error.filename}: {error.strerror}") from None

    def _now(self) -> Recorded:
        self._recorded.refresh()
        return self._recorded

    @property
    def job(self) -> Job:
        """The job, with the parameters in force now."""
        return self._now().job

    @property
    def state(self) -> str:
        """`running`, `done`, `stopped`, `failed`, `killed`, or `deleted` where the folder has gone."""
        return self._now().state

    @property
    def stages(self) -> list[Stage]:
        """The stages so far: `name`, `first_step`, `last_step` (None while it goes on) and `epochs` at most."""
        return list(self._now().stages)

    @property
    def report(self) -> Report:
        """What report.json holds (docs/formats.md): accuracies, errors and costs by stage; of an unfinished run what is
        known by now. RunError where it is damaged."""
        return gather(self.folder).report

    @property
    def events(self) -> list[Record]:
        """The rare events so far, in order: records of `l2sim.store.events`, what events.jsonl holds."""
        return list(self._now().events)

    @property
    def layers(self) -> dict[str, Grid]:
        """The hardware of every photonic layer by name, in the order of the light: `p` x `q` cores of a `mesh` of `k`
        modes, or one `whole` mesh."""
        return dict(self._recorded.grids)

    @property
    def checkpoints(self) -> list[Saved]:
        """The checkpoints that are kept, in order: `stage`, `epoch` (None at the stage's end), `step` and `path`."""
        return [saved for saved in dict.fromkeys(self._now().kept) if saved.path.exists()]

    # -- numbers -------------------------------------------------------------------------------------------------------

    def scalars(self, name: str | None = None) -> Curve | dict[str, Array]:
        """A series, such as "learn/test_accuracy": `steps` int64, `values` and `times` (s since 1970) float64, (n,).

        Without a name all of them as one table of columns `series`, `step`, `value`, `time`, (rows,) each, what
        `pandas.DataFrame` takes. RunError for a series that was not recorded.
        """
        run = self._now()
        if name is not None:
            if name not in run.series:
                raise RunError(f"{self.folder} has no series {name!r}; it has {', '.join(run.series) or 'none yet'}")
            steps, values, times = run.scalar(name)
            return Curve(steps.astype(np.int64), values.copy(), times.copy())
        curves = [run.scalar(one) for one in run.series]
        steps, values, times = (np.concatenate([np.empty(0), *columns]) for columns in zip(*curves)) if curves else (
            np.empty((3, 0))
        )  # fmt: skip
        names = np.repeat(np.array(run.series, str), [curve.steps.size for curve in curves])
        return {"series": names, "step": steps.astype(np.int64), "value": values, "time": times}

    def steps(self, layer: str) -> Array:
        """The steps at which the phases of a layer were recorded, int64, rising. RunError for a layer that is not."""
        return np.unique(np.concatenate([self._now().frames(series) for series in self._series(layer)]))

    def phases(self, layer: str, step: int | None = None) -> dict[str, Array]:
        """What a layer was commanded last, by `step` where one is given: float32, as docs/formats.md has them.

        Of p x q cores `u` and `v` (p q, n), rad, in travel order, and `sigma` (p q, k); of a whole mesh `theta` and
        `phi` (n,) and `screen` (k,), rad. Empty where nothing was recorded yet. RunError for a layer that is not.
        """
        frames = {series: self._now().frame(series, step) for series in self._series(layer)}
        return {naming.apart(series).part: frame.values.copy() for series, frame in frames.items() if frame is not None}

    def _series(self, layer: str) -> list[str]:
        if layer not in self._recorded.grids:
            raise RunError(f"{self.folder} has no layer {layer!r}; it has {', '.join(self._recorded.grids)}")
        return self._recorded.phase_series(layer)

    def to_parquet(self, path: Path | str) -> Path:
        """Write the table of all `scalars` to a Parquet file; returns its path. RunError without pyarrow, and where the
        disk refuses."""
        try:
            import pyarrow  # late: an optional package
            from pyarrow import parquet  # late: an optional package
        except ImportError:
            raise RunError('a Parquet file needs pyarrow: pip install "l2sim[cluster]"') from None
        table = self.scalars()
        assert isinstance(table, dict)
        with files.replacing(Path(path), refuse=RunError) as file:
            parquet.write_table(pyarrow.table(table), file)
        return Path(path)

    def close(self) -> None:
        """Let go of the run's files."""
        self._recorded.close()

    # -- in words ------------------------------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[str, str, str]]:
        """Stage, steps and test accuracy in words."""
        ended = [results.stage(event.result) for event in self.events if isinstance(event, StageEnd)]
        accuracies = {stage.name: stage.accuracy for stage in ended}
        rows = []
        for stage in self.stages:
            accuracy = accuracies.get(stage.name)
            last = "..." if stage.last_step is None else str(stage.last_step)
            rows.append((stage.name, f"{stage.first_step} to {last}", "" if accuracy is None else f"{accuracy:.2%}"))
        return rows

    def _title(self) -> str:
        return f"{self.job.name}, seed {self.job.seed}, {self.state}, in {self.folder}"

    def __repr__(self) -> str:
        rows = [f"  {name:10s} steps {steps:16s} {accuracy}".rstrip() for name, steps, accuracy in self._rows()]
        return "\n".join([f"Run {self._title()}", *rows])

    def _repr_html_(self) -> str:
        """The same as a table, which notebooks show."""
        heads = "".join(f"<th>{head}</th>" for head in ("stage", "steps", "test accuracy"))
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows()
        )  # fmt: skip
        return f"<p><b>Run</b> {escape(self._title())}</p><table><tr>{heads}</tr>{rows}</table>"


def open(folder: Path | str) -> Run:
    """The run that a folder holds, finished or going on, as arrays and tables; it is read, never written.

    `job`, `state`, `stages`, `report`, `events`, `layers`, `checkpoints`; `scalars(name)`, `phases(layer, step)`,
    `to_parquet(path)`. RunError where there is no run, or a damaged one.
    """
    return Run(folder)
