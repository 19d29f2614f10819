"""Trackers: readers of the event stream that show a run in MLflow, TensorBoard or Weights & Biases.

    l2sim run digits --track mlflow:http://localhost:5000 --track tensorboard:tb --track wandb:PROJECT

A tracker gets the job as parameters, scalars with their steps as metrics, and at the end the report and the best
checkpoint (`runs/trackers.py`). It works in a thread of its own behind a queue: one that is slow, unreachable or full
costs a line and never the run, whose folder has everything anyway. What it calls the run, and how far it got, is kept
in the folder, so that a resumed run goes on there.
"""

from __future__ import annotations

import json
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from l2sim import files
from l2sim.store.events import Done, Epoch, Event, StageDone, Step

EVERY = 0.1
"""Seconds between the epochs that are passed on, and between the mini-batches; the last epoch of a stage always is."""
GATHER = 0.5
"""Seconds for which a tracker gathers rows, to hand them on together."""
FULL = 10_000
"""Rows that wait for a tracker at most; what it is too slow for is left out."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for its trackers; a twelfth of it where the run was stopped."""
FILE = "track.json"


class Row(NamedTuple):
    """Metrics of one moment: `rank` 0 of a mini-batch, 1 of an epoch, 2 of a finished stage, at `step` and `time`."""

    step: int
    rank: int
    time: float
    values: dict[str, float]


class Run(NamedTuple):
    """What is tracked: the run folder, its settings by dotted path, and the tracker's id of it ("": none yet)."""

    out: Path
    settings: dict[str, Any]
    id: str


class Sink(Protocol):
    """A place where runs are shown. Whatever it raises ends the tracking, not the run."""

    def open(self, run: Run) -> str:
        """Begin or go on with `run`; returns its id here."""

    def write(self, rows: Sequence[Row]) -> None:
        """Show these metrics, and do not return before they are safe."""

    def keep(self, files: Sequence[Path]) -> None:
        """Store the files of a finished run."""

    def close(self, state: str) -> None:
        """The run is over: done, stopped or failed."""


PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "wandb": "wandb"}
"""The kinds of trackers, and the package that each needs."""


def warn(line: str) -> None:
    """One line on standard error."""
    print(f"l2sim: warning: {line}", file=sys.stderr, flush=True)


def readers(specs: Iterable[str], say: Callable[[str], None] = warn) -> list[Tracker]:
    """A tracker for each of `specs`, such as "tensorboard:DIR". What cannot be tracked is said, and left out."""
    found = []
    for spec in dict.fromkeys(specs):
        kind, _, place = spec.partition(":")
        if kind not in PACKAGES or not place:
            say(f"--track {_public(spec)} names no tracker, use mlflow:URI, tensorboard:DIR or wandb:PROJECT; {_ON}")
        elif find_spec(PACKAGES[kind]) is None:
            say(f"--track {kind} needs {PACKAGES[kind]}, get it with `pip install 'l2sim[track]'`; {_ON}")
        else:
            found.append(Tracker(spec, say))
    return found


def kept(out: Path) -> list[str]:
    """The trackers that the run in `out` had before."""
    return list(_kept(out))


def follow(events: Iterable[Event], trackers: Sequence[Tracker], out: Path) -> Iterator[Event]:
    """Pass on `events` of the run in the folder `out`, which is written before this sees them, and track them."""
    if not trackers:
        yield from events
        return
    state, book, last = "failed", _Book(out), 0
    rows = _Rows()
    try:
        for event in events:
            for tracker in trackers:
                tracker.begin(book)  # once: the folder is there when the first event is
            for row in rows.of(event):
                last = row.step
                for tracker in trackers:
                    tracker.put(row)
            if isinstance(event, Done):
                state = "done"
                for tracker in trackers:
                    tracker.put([*(out / name for name in ("report.html", "report.json", "job.toml")),
                                 *_best(out, event.report)])  # fmt: skip
            yield event
    except (KeyboardInterrupt, GeneratorExit):
        state = "stopped"
        raise
    finally:
        if isinstance(events, Generator):
            events.close()  # the folder is as it stays, whatever the trackers take
        for tracker in trackers:
            tracker.put(state)
        until = time.monotonic() + (PATIENCE if state == "done" else PATIENCE / 12)
        for tracker in trackers:
            tracker.wait(until, last)


class Tracker:
    """One place where a run is shown, fed from a queue by a thread."""

    def __init__(self, spec: str, say: Callable[[str], None]) -> None:
        self.spec = spec
        self._say = say
        self._queue: queue.SimpleQueue[Row | list[Path] | str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._over = False

    def begin(self, book: _Book) -> None:
        """Start, if it has not."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, args=(book,), name=f"track {self.spec}", daemon=True)
            self._thread.start()

    def put(self, item: Row | list[Path] | str) -> None:
        """Pass on a row, files, or the state in which the run ended."""
        if self._over or (isinstance(item, Row) and self._queue.qsize() > FULL):
            return
        self._queue.put(item)

    def wait(self, until: float, step: int) -> None:
        """Wait until all was passed on, or until that moment; `step` is the run's last."""
        if self._thread is None:
            return
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self._thread.is_alive() and not self._over:
            self._over = True
            self._say(f"{_public(self.spec)} takes no more, its run ends before step {step}; the run folder has all")

    def _work(self, book: _Book) -> None:
        """Until the run ends or something fails."""
        try:
            sink = _sink(self.spec)
            known, sent = book.of(self.spec)
            known = sink.open(Run(book.out, book.settings(), known))
            book.write(self.spec, known, sent)
            while True:
                items = self._gathered()
                rows = [item for item in items if isinstance(item, Row) and item[:2] > sent]
                if rows:
                    sink.write(rows)
                    sent = rows[-1][:2]
                    book.write(self.spec, known, sent)
                for item in items:
                    if isinstance(item, list):
                        sink.keep([path for path in item if path.exists()])
                    elif isinstance(item, str):
                        sink.close(item)
                        return
        except BaseException as error:  # whatever a package does is no reason to end a run
            if not self._over:
                self._over = True
                self._say(f"{_public(self.spec)}: {_line(error)}; {_ON}")

    def _gathered(self) -> list[Row | list[Path] | str]:
        """What comes within a while, at least one item; at once where the run ends."""
        until = time.monotonic() + GATHER
        items = [self._queue.get()]
        while not isinstance(items[-1], str) and (left := until - time.monotonic()) > 0:
            try:
                items.append(self._queue.get(timeout=left))
            except queue.Empty:
                break
        return items


class _Rows:
    """The rows of events, thinned out in time."""

    def __init__(self) -> None:
        self._step = 0
        self._next = [0.0, 0.0]
        self._waiting: Row | None = None

    def of(self, event: Event) -> Iterator[Row]:
        if isinstance(event, Step | Epoch):
            rank, now = int(isinstance(event, Epoch)), time.monotonic()
            self._step = event.step
            passes = now >= self._next[rank]
            if not passes and not rank:
                return
            values = {f"{event.stage}/{name}": float(value) for name, value in event.scalars.items()}
            row = Row(event.step, rank, time.time(), values)
            if rank:
                self._waiting = None if passes else row
            if passes:
                self._next[rank] = now + EVERY
                yield row
        elif isinstance(event, StageDone):
            if self._waiting is not None:
                yield self._waiting
            self._waiting = None
            values = {f"result/{event.stage}/{name}": value for name, value in _numbers(event.result)}
            yield Row(self._step, 2, time.time(), values)


def _numbers(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers among nested values, by path."""
    for name, value in values.items():
        if isinstance(value, dict) and name != "by_chip":  # as many as there are layers
            yield from _numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield above + str(name), float(value)


def _best(out: Path, report: dict[str, Any]) -> list[Path]:
    """The checkpoint with the lowest loss of validation; without validation the last: the test set chooses nothing."""
    there = [(stage, out / "checkpoints" / f"{stage['name']}.safetensors") for stage in report["stages"]]
    there = [(stage, path) for stage, path in there if path.exists() and "loss" in stage]
    judged = [(stage["validation_loss"], path) for stage, path in there if stage.get("validation_loss") is not None]
    return [min(judged)[1]] if judged else [path for _, path in there[-1:]]


class _Book:
    """`track.json`: by tracker its id of the run, and how far it was told."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._lock = threading.Lock()

    def settings(self) -> dict[str, Any]:
        """The resolved job, by dotted path."""
        from l2sim.job import job as jobs

        job = jobs.to_dict(jobs.load(self.out / "job.toml"))
        flat: dict[str, Any] = {}
        for key, value in job.items():
            flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
        return flat

    def of(self, spec: str) -> tuple[str, tuple[int, int]]:
        """Id and how far, of a tracker."""
        entry = _kept(self.out).get(_public(spec), {})
        return entry.get("id", ""), (entry.get("step", -1), entry.get("rank", 0))

    def write(self, spec: str, known: str, sent: tuple[int, int]) -> None:
        with self._lock:
            entries = _kept(self.out) | {_public(spec): {"id": known, "step": sent[0], "rank": sent[1]}}
            text = json.dumps({"version": 1, "trackers": entries}, indent=2) + "\n"
            files.write(self.out / FILE, text.encode(), durable=False)


def _kept(out: Path) -> dict[str, dict[str, Any]]:
    try:
        entries: dict[str, dict[str, Any]] = json.loads((out / FILE).read_text())["trackers"]
        return {spec: dict(entry) for spec, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # never tracked, or damaged: a tracked run is begun anew


_ON = "the run goes on without it"


def _public(text: str) -> str:
    """Without the password that a URI may hold."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def _line(error: BaseException) -> str:
    """What went wrong, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    if "Max retries exceeded" in words:
        return "the server cannot be reached"
    return _public(words if len(words) <= 200 else words[:197] + "...")


def _sink(spec: str) -> Sink:
    from l2sim.runs import trackers

    kind, _, place = spec.partition(":")
    kinds: dict[str, Callable[[str], Sink]] = {
        "mlflow": trackers.Mlflow, "tensorboard": trackers.TensorBoard, "wandb": trackers.Wandb,
    }  # fmt: skip
    return kinds[kind](place)
