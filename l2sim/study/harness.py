"""What all studies share: the command line, the table of rows, the page, the figure, and runs that go on where stopped.

A study is a module with one `Study`, whose `main` is `python -m l2sim.study.NAME`: it writes a table (CSV), a page
(Markdown) and a figure (PNG) to the folder `--out`.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import matplotlib
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from l2sim import files
from l2sim.backend import Array
from l2sim.errors import L2simError, RunError
from l2sim.flow import session as sessions
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight import stages
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.runs import execute
from l2sim.store import checkpoint, logs

Settings = dict[str, object]
"""Changed fields of a job, by path."""
Result = TypeVar("Result")
Row = TypeVar("Row", bound=NamedTuple)
Item = TypeVar("Item")
Key = TypeVar("Key")


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows of the named tuple `row` as CSV. A field that is a tuple fills as many columns.

    `form` is the format of floating point numbers, "" for as Python shows them; `forms` has the formats of fields that
    differ. `head` names the columns, where they are not the fields.
    """

    row: type[Row]
    form: str
    forms: Mapping[str, str] = field(default_factory=dict)
    head: Sequence[str] = ()

    def write(self, rows: Iterable[Row], path: Path) -> None:
        """Write the table anew."""
        write_csv(path, self.head or self.row._fields, map(self._cells, rows))

    def append(self, rows: Iterable[Row], path: Path) -> None:
        """Add rows at the end of the file, which is begun where it is missing."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.write((), path)
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(map(self._cells, rows))

    def read(self, path: Path) -> list[Row]:
        """The rows of a file, none where it is missing; a first line of names may be missing too."""
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.reader(file) if tuple(line) != self.row._fields]
        return msgspec.convert(lines, list[self.row], strict=False)  # type: ignore[name-defined]

    def _cells(self, row: Row) -> Iterator[object]:
        for name, value in zip(self.row._fields, row):
            form = self.forms.get(name, self.form)
            for cell in value if isinstance(value, tuple) else (value,):
                yield format(cell, form) if isinstance(cell, float) else cell


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write column names and rows as CSV, all at once."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    files.write(path, text.getvalue().encode(), durable=False)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by what they have in common, in the order in which that first comes."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def gathered(points: Iterable[Item], compute: Callable[[Item], Iterable[Row]]) -> Iterator[list[Row]]:
    """All rows so far after every point, the last of which is printed."""
    rows: list[Row] = []
    for point in points:
        rows += compute(point)
        print(*rows[-1], flush=True)
        yield rows


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of the mean of `values` (Student's t); NaN of a single one."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def markdown(head: Sequence[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """The lines of a table of a page."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def note(name: str) -> list[str]:
    """The lines of notes/NAME.md beside this file: what people wrote for a page, whatever the numbers are."""
    return (Path(__file__).parent / "notes" / f"{name}.md").read_text(encoding="utf-8").splitlines()


def plain(ax: Axes) -> None:
    """Axes with a faint grid and without a frame, for figures that do not have the style of reports."""
    ax.grid(color="0.93")
    ax.spines[["top", "right"]].set_visible(False)


# -- the study ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study(Generic[Result]):
    """A study: its files are NAME.csv, NAME.md and NAME.png, where {option} in `name` is what the command says.

    `text` is the docstring of its module. `compute` gives the results so far from the options, once or while it goes
    on, and nothing where other processes are still at it; all are written. `table` writes the rows to a path, `page`
    has lines of Markdown. `draw` is drawn in the style of reports (`styled`) at `dpi` dots an inch; `signed`: the
    picture names the program that drew it. Studies that need `runs` have an option for their folder and one for the
    data sets; `options` adds what else the command takes.
    """

    name: str
    text: str
    compute: Callable[[argparse.Namespace], Iterable[Result]]
    page: Callable[[Result], Iterable[str]]
    table: Callable[[Result, Path], None] | None = None
    draw: Callable[[Result], Figure] | None = None
    dpi: float = 110
    styled: bool = True
    signed: bool = True
    runs: bool = False
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Compute what the command line asks for, and write it. Errors of ours are said in a line (SystemExit)."""
        parser = argparse.ArgumentParser(description=self.text.partition("\n")[0])
        parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the files [docs/results]")
        if self.runs:
            parser.add_argument("--data", type=Path, default=None, help="where data sets lie [L2SIM_DATA]")
            parser.add_argument(
                "--runs", type=Path, default=Path("runs/study"), help="folder of the run folders [runs/study]"
            )
        self.options(parser)
        options = parser.parse_args(arguments)
        name, written = self.name.format(**vars(options)), False
        options.out.mkdir(parents=True, exist_ok=True)
        try:
            for result in self.compute(options):
                self.write(result, options.out / name)
                written = True
        except L2simError as error:
            parser.error(str(error))
        unfinished = "not all runs are finished; start the study again when the other process is done"
        print(options.out / f"{name}.md" if written else unfinished)

    def write(self, result: Result, place: Path) -> None:
        """Write the files of a result; `place` is their path without the ending."""
        if self.table:
            self.table(result, place.with_name(f"{place.name}.csv"))
        place.with_name(f"{place.name}.md").write_text("\n".join([*self.page(result), ""]), encoding="utf-8")
        if self.draw:
            with matplotlib.rc_context(figures.STYLE if self.styled else {}):
                sheet = self.draw(result)
            metadata = None if self.signed else {"Software": None}
            sheet.savefig(place.with_name(f"{place.name}.png"), dpi=self.dpi, metadata=metadata)


# -- runs --------------------------------------------------------------------------------------------------------------


class Stage(msgspec.Struct):
    """What a finished stage of a run reports, as far as studies want to know it."""

    name: str
    accuracy: float = float("nan")
    mapping_error: float = float("nan")
    oracle_identity_error: dict[str, float] = {}
    core_calls: int = 0
    forward_core_calls: int = 0
    weight_gradient_core_calls: int = 0
    input_gradient_core_calls: int = 0
    accumulation_steps: int = 0
    writes: int = 0
    images: int = 0
    seconds: float = 0.0


class Report(msgspec.Struct):
    """The report of a run: its stages in order."""

    stages: list[Stage]

    @property
    def by_name(self) -> dict[str, Stage]:
        """The stages by name."""
        return {stage.name: stage for stage in self.stages}


class Run(NamedTuple):
    """A run that a study needs: its job, its folder, and the checkpoint RUN[@stage] that it starts from."""

    job: Job
    out: Path
    source: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the folder has a finished run."""
        return (self.out / "report.json").exists()

    def accuracy(self) -> Array | None:
        """Test accuracy by epoch; None if the run is not finished. RunError if the folder has a run of another job."""
        if not self.finished:
            return None
        if jobs.load(self.out / "job.toml") != self.job:
            raise RunError(f"the run in {self.out} is of another job; delete it, or choose another folder with --runs")
        return self.curve("test_accuracy")

    def curve(self, name: str) -> Array:
        """A scalar of learning by epoch."""
        values: Array = np.asarray(logs.scalars(self.out)[f"learn/{name}"][2], float)
        return values

    def stages(self) -> dict[str, Stage]:
        """What the stages of the finished run report, by name."""
        return msgspec.json.decode((self.out / "report.json").read_bytes(), type=Report).by_name

    def restore(self, session: sessions.Session) -> None:
        """Put the last checkpoint into a session of the job that was just opened."""
        sessions.restore(session, checkpoint.read(self.out / "checkpoints" / "latest.safetensors")[0])


def complete(runs: Iterable[Run], data: Path | None) -> None:
    """Make every run, in order, on one thread; finished ones stay, stopped ones go on.

    One that another process is making is left to it, so that starting a study twice shares the work.
    """
    for run in runs:
        if run.accuracy() is not None:
            continue
        print(f"{run.out} ...", flush=True)
        resume = (run.out / "manifest.json").exists()
        try:
            source = None if resume else run.source
            for _ in execute.execute(run.job, run.out, data=data, threads=1, resume=resume, source=source):
                pass
        except files.Busy:
            print(f"{run.out} is being run by another process", flush=True)


def finished(runs: Mapping[Key, Run], data: Path | None) -> dict[Key, Array]:
    """Make every run; test accuracy by epoch of those that no other process is making."""
    complete(runs.values(), data)
    curves = ((key, run.accuracy()) for key, run in runs.items())
    return {key: curve for key, curve in curves if curve is not None}


def through(session: l2ight.L2ight, *names: str) -> l2ight.L2ight:
    """The session after so many more stages of the L2ight flow."""
    for name in names:
        for _ in stages.STAGES[name](session, 0):
            pass
    return session
