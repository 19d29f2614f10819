"""What all studies share: the command line, tables, spreads, the page, figures, and runs that go on where stopped.

A study is a module with one `Study`, whose `main` is `python -m l2sim.study.NAME`. As it stands that is a quick look:
everything small, in seconds, printed, and no page is written. With `--full` it computes what the page is about and
writes a table (CSV), the page (Markdown) and figures (PNG, SVG) to the folder `--out`; stopped, the same command goes
on. With `--redraw` page and figures are written again from the table that is there, and nothing is computed.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import matplotlib
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special, stats

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
OUT = Path("docs/results")
"""Where the committed pages are."""


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


def gathered(
    points: Iterable[Item], compute: Callable[[Item], Iterable[Row]], kept: Table[Row], path: Path,
    belongs: Callable[[Row, Item], bool],
) -> list[Row]:  # fmt: skip
    """The rows of all points. They are kept in `path`: what `belongs` to a point there is not made again."""
    before, rows = kept.read(path), []
    for point in points:
        made = [row for row in before if belongs(row, point)]
        if not made:
            made = list(compute(point))
            kept.append(made, path)
            print(*made[-1], flush=True)
        rows += made
    return rows


# -- spread ------------------------------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """A mean over `number` seeds (or meshes), and the ends of its 95 % confidence interval: NaN of a single value."""

    mean: float
    low: float
    high: float
    number: int


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of the mean of `values` (Student's t); NaN of a single one."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def spread(values: Sequence[float]) -> Spread:
    """The mean of any numbers, its interval by Student's t."""
    mean, half = float(np.mean(values)), interval(values)
    return Spread(mean, mean - half, mean + half, len(values))


def share(values: Sequence[float]) -> Spread:
    """The mean of shares such as accuracies, from 0 to 1, and an interval that stays there.

    Student's t on the logit of the mean, as of proportions in surveys (StataCorp, Base Reference Manual, `proportion`:
    logit(p) +- t s / (p (1 - p)), s the standard error of p). Values that are all 0 or all 1 have no width.
    """
    mean, half = float(np.mean(values)), interval(values)
    if not 0.0 < mean < 1.0:
        return Spread(mean, mean, mean, len(values))
    low, high = special.expit(special.logit(mean) + np.array([-half, half]) / (mean * (1.0 - mean)))
    return Spread(mean, min(float(low), mean), max(float(high), mean), len(values))


def magnitude(values: Sequence[float]) -> Spread:
    """The mean of numbers above 0 such as errors, and an interval that stays there: Student's t on the logarithm of the
    mean, as of the logit in `share` (log(m) +- t s / m). Values that are all 0 have no width.
    """
    mean, half = float(np.mean(values)), interval(values)
    if not mean > 0.0:
        return Spread(mean, mean, mean, len(values))
    return Spread(mean, mean * float(np.exp(-half / mean)), mean * float(np.exp(half / mean)), len(values))


def percent(spread: Spread, digits: int = 1) -> str:
    """A share for people, in %: its mean and, in brackets, the ends of the interval."""
    mean, low, high = (f"{100 * value:.{digits}f}" for value in spread[:3])
    return mean if spread.number < 2 else f"{mean} ({low} to {high})"


def bars(
    ax: Axes, x: Sequence[float] | Array, spreads: Sequence[Spread], look: figures.Look, scale: float = 1.0, **more: Any
) -> None:
    """`scale` times the means over x, with their intervals as bars; `more` is what `errorbar` takes."""
    mean, low, high = scale * np.array([spread[:3] for spread in spreads], float).reshape(-1, 3).T
    width = np.nan_to_num(np.vstack([mean - low, high - mean]))
    ax.errorbar(x, mean, width, **{**look.line(), "capsize": 3, "elinewidth": 1.0, **more})


def listed(seeds: Iterable[int]) -> str:
    """How many seeds, and which, in words: `3 seeds (1, 2, 5)`, `10 seeds (1 to 10)`."""
    each = sorted(set(seeds))
    if len(each) == 1:
        return f"one seed ({each[0]})"
    row = each == list(range(each[0], each[-1] + 1)) and len(each) > 2
    return f"{len(each)} seeds ({f'{each[0]} to {each[-1]}' if row else ', '.join(map(str, each))})"


INTERVALS = (
    "In brackets stands the 95 % confidence interval of a mean over seeds (Student's t; of accuracies on the logit, so "
    "that it stays within 0 and 100 %, of errors on the logarithm, so that it stays above 0)."
)
"""What pages say of their intervals."""


# -- words -------------------------------------------------------------------------------------------------------------


def markdown(head: Sequence[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """The lines of a table of a page."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def note(name: str) -> list[str]:
    """The lines of notes/NAME.md beside this file: what people wrote for a page, whatever the numbers are."""
    return (Path(__file__).parent / "notes" / f"{name}.md").read_text(encoding="utf-8").splitlines()


# -- the study ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study(Generic[Result]):
    """A study: its files are NAME.csv, NAME.md and figures, where {option} in `name` is what the command says.

    `text` is the docstring of its module. `compute` gives the results from the options, None where other processes are
    still at them; where `options.full` is false, something small of the same kind (`some`, `sized`). `table` writes the
    rows to a path and `read` has the results from there; `page` has lines of Markdown. `draw` has the figures by what
    follows NAME in theirs. Studies that need `runs` have an option for their folder and one for the data sets;
    `options` adds what else the command takes.
    """

    name: str
    text: str
    compute: Callable[[argparse.Namespace], Result | None]
    page: Callable[[Result], Iterable[str]]
    table: Callable[[Result, Path], None]
    read: Callable[[Path], Result]
    draw: Mapping[str, Callable[[Result], Figure]] = field(default_factory=dict)
    runs: bool = True
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Do what the command line asks for. Errors of ours are said in a line (SystemExit)."""
        parser = self._parser()
        options = parser.parse_args(arguments)
        if not (options.full or options.redraw) and options.out != OUT:
            parser.error("--out is where --full and --redraw write; a quick look writes no page")
        name = self.name.format(**vars(options))
        if not options.full:
            options.runs = Path(tempfile.mkdtemp(prefix=f"l2sim-{name}-"))
        try:
            if options.redraw:
                self.show(self.read(options.out / f"{name}.csv"), options.out / name)
            elif options.full:
                self._full(options, name)
            else:
                self._look(options, name)
        except L2simError as error:
            parser.error(str(error))

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=self.text.partition("\n")[0])
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--full", action="store_true", help="compute all of it, and write table, page and figures")
        what.add_argument("--redraw", action="store_true", help="write page and figures again from the table in --out")
        parser.add_argument("--out", type=Path, default=OUT, help="folder of the files [docs/results]")
        if self.runs:
            parser.add_argument("--data", type=Path, default=None, help="where data sets lie [L2SIM_DATA]")
            parser.add_argument(
                "--runs", type=Path, default=Path("runs/study"), help="what is kept to go on with [runs/study]"
            )
        self.options(parser)
        return parser

    def _full(self, options: argparse.Namespace, name: str) -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        result = self.compute(options)
        if result is not None:
            self.write(result, options.out / name)
        unfinished = "not all runs are finished; start the study again when the other process is done"
        print(unfinished if result is None else options.out / f"{name}.md")

    def _look(self, options: argparse.Namespace, name: str) -> None:
        result = self.compute(options)
        assert result is not None, "no other process works in a folder that was just made"
        print(*self.page(result), "", sep="\n")
        self.pictures(result, options.runs / name)
        print(f"A quick look, of no weight; figures are in {options.runs}. --full computes what the page is about.")

    def write(self, result: Result, place: Path) -> None:
        """Write the files of a result; `place` is their path without the ending."""
        self.table(result, place.with_name(f"{place.name}.csv"))
        self.show(result, place)

    def show(self, result: Result, place: Path) -> None:
        """Write page and figures."""
        place.with_name(f"{place.name}.md").write_text("\n".join([*self.page(result), ""]), encoding="utf-8")
        self.pictures(result, place)

    def pictures(self, result: Result, place: Path) -> None:
        """Draw the figures of a result."""
        for part, draw in self.draw.items():
            with matplotlib.rc_context(figures.STYLE):
                figures.save(draw(result), place.with_name(f"{place.name}-{part}" if part else place.name))


def some(values: Sequence[Item], options: argparse.Namespace, quick: int = 1) -> Sequence[Item]:
    """All of `values`, or the first few where it is a quick look."""
    return values if options.full else values[:quick]


def sized(job: Job, options: argparse.Namespace) -> Job:
    """The job, or seconds of it (`jobs.smoke`) where it is a quick look."""
    return job if options.full else jobs.smoke(job)


# -- runs --------------------------------------------------------------------------------------------------------------


class Stage(msgspec.Struct):
    """What a finished stage of a run reports, as far as studies want to know it."""

    name: str
    accuracy: float = float("nan")
    oracle_accuracy: float = float("nan")
    oracle_mapping_error: float = float("nan")
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


def complete(runs: Iterable[Run], data: Path | None) -> bool:
    """Make every run, in order, on one thread; finished ones stay, stopped ones go on. Whether all are finished.

    One that another process is making is left to it, so that starting a study twice shares the work.
    """
    whole = True
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
            whole = False
    return whole


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
