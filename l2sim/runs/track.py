"""Trackers: readers of the event stream that show a run in MLflow, TensorBoard or Weights & Biases.

    l2sim run digits --track mlflow:http://localhost:5000 --track tensorboard:tb --track wandb:PROJECT

A tracker gets the job as parameters, scalars with their steps as metrics, and at the end the report and the best
checkpoint. It works in a thread of its own behind a queue: one that is slow, unreachable or full
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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from l2sim import files
from l2sim.job import job as jobs
from l2sim.runs.trackers import Mlflow, Row, Run, Sink, TensorBoard, Wandb
from l2sim.store import results
from l2sim.store.door import parsed
from l2sim.store.events import Done, Epoch, Event, StageDone, Step
from l2sim.store.source import file_of

EVERY = 0.1
"""Seconds between the epochs that are passed on, and between the mini-batches; the last epoch of a stage always is."""
GATHER = 0.5
"""Seconds for which a tracker gathers rows, to hand them on together."""
FULL = 10_000
"""Rows that wait for a tracker at most; what it is too slow for is left out."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for its trackers; a twelfth of it where the run was stopped."""
FILE = "track.json"
"""Where a run folder keeps its trackers."""


class Place(msgspec.Struct, frozen=True):
    """What `track.json` says of a tracker: its id of the run, and the step and rank up to which it was told."""

    id: str = ""
    step: int = -1
    rank: int = 0


class _Places(msgspec.Struct):
    """What `track.json` holds: places by KIND:PLACE."""

    version: int
    trackers: dict[str, Place]


PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "wandb": "wandb"}
"""The kinds of trackers, and the package that each needs."""


def warn(line: str) -> None:
    """One line on standard error."""
    print(f"l2sim: warning: {line}", file=sys.stderr, flush=True)


def readers(specs: Iterable[str], say: Callable[[str], None] = warn) -> list[Tracker]:
    """A tracker for each of `specs`, such as "tensorboard:DIR". What cannot be tracked is said, and left out."""
    trackers = []
    for spec in dict.fromkeys(specs):
        kind, _, place = spec.partition(":")
        if kind not in PACKAGES or not place:
            say(f"--track {_public(spec)} names no tracker, use mlflow:URI, tensorboard:DIR or wandb:PROJECT; {_ON}")
        elif find_spec(PACKAGES[kind]) is None:
            say(f"--track {kind} needs {PACKAGES[kind]}, get it with `pip install 'l2sim[track]'`; {_ON}")
        else:
            trackers.append(Tracker(spec, say))
    return trackers


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
            place = book.of(self.spec)
            sent = place.step, place.rank
            known = sink.open(Run(book.out, book.settings(), place.id))
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


def _numbers(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers among nested values, by path."""
    for name, value in values.items():
        if isinstance(value, dict) and name != "by_chip":  # as many as there are layers
            yield from _numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield above + str(name), float(value)


def _best(out: Path, report: Mapping[str, object]) -> list[Path]:
    """The checkpoint with the lowest loss of validation; without validation the last: the test set chooses nothing."""
    there = [(stage, file_of(out, stage.name)) for stage in results.stages(report) if stage.loss is not None]
    there = [(stage, path) for stage, path in there if path.exists()]
    judged = [(stage.validation_loss, path) for stage, path in there if stage.validation_loss is not None]
    return [min(judged)[1]] if judged else [path for _, path in there[-1:]]


class _Book:
    """`track.json` of a run folder, which the threads of all its trackers write."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._lock = threading.Lock()

    def settings(self) -> dict[str, object]:
        """The resolved job, by dotted path."""
        flat: dict[str, object] = {}
        for key, value in jobs.to_dict(jobs.load(self.out / "job.toml")).items():
            flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
        return flat

    def of(self, spec: str) -> Place:
        """How far a tracker is."""
        return _kept(self.out).get(_public(spec), Place())

    def write(self, spec: str, known: str, sent: tuple[int, int]) -> None:
        """Note the id of the run that a tracker knows, and how far it was told."""
        with self._lock:
            places = _Places(1, _kept(self.out) | {_public(spec): Place(known, *sent)})
            text = json.dumps(msgspec.to_builtins(places), indent=2) + "\n"
            files.write(self.out / FILE, text.encode(), durable=False)


def _kept(out: Path) -> dict[str, Place]:
    try:
        return parsed((out / FILE).read_bytes(), _Places).trackers
    except (OSError, ValueError):
        return {}  # never tracked, or damaged: a tracked run is begun anew


_ON = "the run goes on without it"


def _public(text: str) -> str:
    """Without the password that a URI may hold."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def _line(error: BaseException) -> str:
    """What went wrong, in one line."""
    if _unreachable(error):
        return "the server cannot be reached"
    words = " ".join(str(error).split()) or type(error).__name__
    return _public(words if len(words) <= 200 else words[:197] + "...")


def _unreachable(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is a server's that does not answer."""
    while error is not None:
        kind = type(error)
        if kind.__module__.partition(".")[0] == "urllib3" and kind.__name__ == "MaxRetryError":
            return True
        error = error.__cause__ or error.__context__
    return False


SINKS: dict[str, Callable[[str], Sink]] = {"mlflow": Mlflow, "tensorboard": TensorBoard, "wandb": Wandb}
"""What shows runs, by kind."""


def _sink(spec: str) -> Sink:
    kind, _, place = spec.partition(":")
    return SINKS[kind](place)
