"""The console's reader of a run's events: bars on a terminal, plain lines elsewhere, and the table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from l2sim.errors import RunError
from l2sim.store import results
from l2sim.store.events import Done, Epoch, Event, Noted, StageDone, StageStarted, Step, Trouble, Warned
from l2sim.store.results import StageResult

if TYPE_CHECKING:
    from l2sim.runs.compiling import Compiling

WIDTH = 140
"""Characters of tables that go to a file or a pipe, which have no width of their own."""


class _Screen(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # the command line decides how to end; rich would exit with 1


def screen() -> Console:
    """Where tables and progress go: standard output."""
    return _Screen(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)


def watch(events: Iterable[Event], quiet: bool = False) -> dict[str, object]:
    """Show a run while it happens and return its report. `quiet` shows nothing.

    Raises RunError if the events end without a report, and whatever the run raises.
    """
    if quiet:
        return _finished(events)
    console = screen()
    return _bars(events, console) if console.is_terminal else _lines(events)


def summary(report: dict[str, object], console: Console) -> None:
    """Print the report as a table, one row per stage."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="underline")
    table.add_column("stage")
    for heading in ("accuracy", "oracle", "error", "evaluations", "core calls", "seconds"):
        table.add_column(heading, justify="right")
    for stage in results.stages(report):
        table.add_row(
            stage.name,
            *("" if value is None else f"{100 * value:.2f} %" for value in (stage.accuracy, stage.oracle_accuracy)),
            _error(stage),
            *("" if count is None else f"{count:,}" for count in (stage.evaluations, stage.core_calls)),
            "" if stage.seconds is None else f"{stage.seconds:.1f}",
        )
    console.print(table)


def _finished(events: Iterable[Event]) -> dict[str, object]:
    report = None
    for event in events:
        if isinstance(event, Done):
            report = event.report
    if report is None:
        raise RunError("the run ended without a report; go on with --resume")
    return report


def _lines(events: Iterable[Event]) -> dict[str, object]:
    """One line per beginning and end of a stage, and one more where it had to wait for the compiler."""
    from l2sim.runs.compiling import Compiling  # late: it loads Numba, which whoever runs nothing need not wait for

    def printed() -> Iterator[Event]:
        for event in events:
            if isinstance(event, StageStarted):
                print(f"{event.stage}: {_extent(event)}", flush=True)
            elif isinstance(event, StageDone):
                if compiled := compiling.taken():
                    print(f"{event.stage}: {compiled}", flush=True)
                print(f"{event.stage}: {_outcome(event)}", flush=True)
            elif isinstance(event, Noted):
                print(f"{event.stage}: {event.message}", flush=True)
            elif isinstance(event, Warned):
                print(f"warning: {event.stage}: {event.message}", flush=True)
            elif isinstance(event, Trouble):
                print(_trouble(event), flush=True)
            yield event

    with Compiling() as compiling:
        return _finished(printed())


class _Note(TextColumn):
    """What is said of a stage; of one that waits for the compiler, what that is at."""

    def __init__(self, compiling: Compiling) -> None:
        super().__init__("{task.fields[note]}")
        self._compiling = compiling

    def render(self, task: Task) -> Text:
        now = "" if task.finished else self._compiling.now()
        return Text(now) if now else super().render(task)


def _bars(events: Iterable[Event], console: Console) -> dict[str, object]:
    """A bar per stage with rate, time left and the latest values, or what is being compiled."""
    from l2sim.runs.compiling import Compiling  # late: as above

    compiling = Compiling()
    columns = (
        SpinnerColumn(finished_text="*"),
        TextColumn("{task.description:<9}"),
        BarColumn(24, finished_style="green"),
        MofNCompleteColumn(),
        _Note(compiling),
    )

    def shown() -> Iterator[Event]:
        task, done, began = TaskID(0), 0, 0.0
        for event in events:
            if isinstance(event, StageStarted):
                done, began = event.done, time.monotonic()
                task = progress.add_task(event.stage, total=max(event.epochs, 1), completed=done, note="")
            elif isinstance(event, Step):
                progress.update(task, note=_note(event.scalars))
            elif isinstance(event, Epoch):
                rate = (event.epoch - done) / max(time.monotonic() - began, 1e-9)
                rest = (event.epochs - event.epoch) / rate if rate > 0 else 0.0
                note = f"{_rate(rate)}  {left(rest)}  {_note(event.scalars)}"
                progress.update(task, completed=event.epoch, total=max(event.epochs, 1), note=note)
            elif isinstance(event, StageDone):
                if compiled := compiling.taken():
                    console.print(f"{event.stage}: {compiled}", markup=False)
                total = progress.tasks[-1].total
                progress.update(task, completed=total, note=_outcome(event))
            elif isinstance(event, Noted):
                console.print(f"{event.stage}: {event.message}", markup=False)
            elif isinstance(event, Warned):
                console.print(f"warning: {event.stage}: {event.message}", markup=False)
            elif isinstance(event, Trouble):
                console.print(_trouble(event), markup=False)
            yield event

    with compiling, Progress(*columns, console=console, refresh_per_second=8) as progress:
        return _finished(shown())


# --------------------------------------------------------------------------------------------- numbers in words


def _rate(rate: float) -> str:
    return f"{rate:.3g} epochs/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.3g} s/epoch"


def left(seconds: float) -> str:
    """A time that is left, in words."""
    if seconds < 60:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 120 else f"{minutes / 60:.1f} h left"


def _note(scalars: dict[str, float]) -> str:
    """The three values that say most."""
    first = [name for name in ("test_loss", "test_accuracy", "loss", "accuracy") if name in scalars]
    names = first + [name for name in scalars if name not in first]
    return "  ".join(f"{name} {_value(name, scalars[name])}" for name in names[:3])


def _value(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.3g}"


def _trouble(event: Trouble) -> str:
    return f"warning: {event.stage}, step {event.step}: {event.kind}: {event.message}"


def _extent(event: StageStarted) -> str:
    if event.epochs <= 1:
        return "started"
    return f"{event.epochs} epochs" + (f", {event.done} of them done before" if event.done else "")


def _outcome(event: StageDone) -> str:
    result = results.stage(event.result)
    parts = (_accuracy(result), _error(result), f"{result.seconds or 0.0:.1f} s")
    return ", ".join(part for part in parts if part)


def _accuracy(stage: StageResult) -> str:
    if stage.accuracy is None:
        return ""
    oracle = "" if stage.oracle_accuracy is None else f" (oracle {100 * stage.oracle_accuracy:.2f} %)"
    return f"accuracy {100 * stage.accuracy:.2f} %{oracle}"


def _error(stage: StageResult) -> str:
    """The error that the stage is about; for a calibration the worse of U and V."""
    identity = [error for error in stage.oracle_identity_error.values() if error is not None]
    if identity:
        return f"identity {max(identity):.4f}"
    hidden = "oracle mapping", stage.oracle_mapping_error
    errors = hidden, ("calibration", stage.calibration_loss), ("loss", stage.loss)
    return next((f"{word} {value:.4g}" for word, value in errors if value is not None), "")
