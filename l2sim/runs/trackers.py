"""The places where runs are shown. Each imports its package when it is opened, in the thread that feeds it."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from l2sim.errors import RunError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from tensorboardX.event_file_writer import EventsWriter

T = TypeVar("T")

EXPERIMENT = "l2sim"
"""Where MLflow files runs, unless MLFLOW_EXPERIMENT_NAME says otherwise."""
_AT_ONCE = 100, 1000
"""Parameters, and metrics, that MLflow takes in one request."""


class Row(NamedTuple):
    """Metrics of one moment: `rank` 0 of a mini-batch, 1 of an epoch, 2 of a finished stage, at `step` and `time`."""

    step: int
    rank: int
    time: float
    values: dict[str, float]


class Run(NamedTuple):
    """What is tracked: the run folder, its settings by dotted path, and the tracker's id of it ("": none yet)."""

    out: Path
    settings: dict[str, object]
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


class Mlflow:
    """An MLflow server, database or folder."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def open(self, run: Run) -> str:
        """Begin or go on with `run`; returns its id here."""
        # No telemetry of MLflow's; folders, which it has left to themselves; and no minutes of trying a dead server.
        for name, value in {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        }.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param  # late: an optional package
        from mlflow.tracking import MlflowClient  # late: an optional package

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client: MlflowClient = MlflowClient(tracking_uri=self._uri)
        self._id = run.id
        if run.id:
            self._client.update_run(run.id, status="RUNNING")
            return run.id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=run.out.name).info.run_id
        for some in _parts([Param(key, str(value)) for key, value in run.settings.items()], _AT_ONCE[0]):
            self._client.log_batch(self._id, params=some)
        return self._id

    def write(self, rows: Sequence[Row]) -> None:
        """Show these metrics, and do not return before they are safe."""
        from mlflow.entities import Metric  # late: an optional package

        metrics = [
            Metric(name, value, int(1000 * row.time), row.step) for row in rows for name, value in row.values.items()
        ]
        for some in _parts(metrics, _AT_ONCE[1]):
            self._client.log_batch(self._id, metrics=some)

    def keep(self, files: Sequence[Path]) -> None:
        """Store the files of a finished run."""
        for path in files:
            self._client.log_artifact(self._id, str(path))

    def close(self, state: str) -> None:
        """The run is over: done, stopped or failed."""
        self._client.set_terminated(self._id, {"done": "FINISHED", "stopped": "KILLED"}.get(state, "FAILED"))


class TensorBoard:
    """A folder that TensorBoard reads, with one folder for every run."""

    def __init__(self, folder: str) -> None:
        self._top = Path(folder)

    def open(self, run: Run) -> str:
        """Begin or go on with `run`; returns its id here."""
        from tensorboardX.event_file_writer import EventsWriter  # late: an optional package

        name = run.id if run.id and (self._top / run.id).is_dir() else self._claim(run.out.name)
        # The plain writer: the one with a thread of its own would print the traceback of a full disk.
        self._folder = self._top / name
        # A name of its own, which sorts by time: a file of the same second would be written over, or read first.
        self._writer: EventsWriter = EventsWriter(str(self._folder / "events"), f".{time.time_ns()}")
        if not run.id:
            rows = "".join(f"\n| {key} | {value} |" for key, value in run.settings.items())
            self._text("job", f"| setting | value |\n|---|---|{rows}")
        self._writer.flush()
        return name

    def write(self, rows: Sequence[Row]) -> None:
        """Show these metrics, and do not return before they are safe."""
        from tensorboardX.proto.event_pb2 import Event  # late: an optional package
        from tensorboardX.proto.summary_pb2 import Summary  # late: an optional package

        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
            self._writer.write_event(Event(wall_time=row.time, step=row.step, summary=Summary(value=values)))
        self._writer.flush()

    def keep(self, files: Sequence[Path]) -> None:
        """Store the files of a finished run."""
        for path in files:
            shutil.copyfile(path, self._folder / path.name)

    def close(self, state: str) -> None:
        """The run is over: done, stopped or failed."""
        self._text("state", state)
        self._writer.close()

    def _claim(self, wanted: str) -> str:
        """Make a folder of that name, or with a number behind it where another run has it."""
        number, name = 1, wanted
        while True:
            try:
                (self._top / name).mkdir(parents=True)
                return name
            except FileExistsError:
                if self._top.exists() and not self._top.is_dir():
                    raise
                number += 1
                name = f"{wanted}-{number}"

    def _text(self, name: str, words: str) -> None:
        from tensorboardX.proto.event_pb2 import Event  # late: an optional package
        from tensorboardX.summary import text  # late: an optional package

        self._writer.write_event(Event(summary=text(name, words)))


class Wandb:
    """A project of Weights & Biases; with WANDB_MODE=offline a folder `wandb` in the run folder, for `wandb sync`."""

    def __init__(self, project: str) -> None:
        self._entity, _, self._project = project.rpartition("/")

    def open(self, run: Run) -> str:
        """Begin or go on with `run`; returns its id here."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # late: an optional package

        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise RunError("nobody is logged in, use `wandb login` or WANDB_MODE=offline")
        known = run.id or uuid.uuid4().hex[:8]
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, init_timeout=30,
            x_disable_meta=True, x_disable_stats=True,
        )  # fmt: skip
        self._wandb: ModuleType = wandb
        self._run = wandb.init(
            project=self._project, entity=self._entity or None, id=known, resume="allow", name=run.out.name,
            dir=os.environ.get("WANDB_DIR", str(run.out)), config=run.settings, settings=settings, reinit="create_new",
        )  # fmt: skip
        return known

    def write(self, rows: Sequence[Row]) -> None:
        """Show these metrics, and do not return before they are safe."""
        for row in rows:
            self._run.log(row.values, step=row.step)

    def keep(self, files: Sequence[Path]) -> None:
        """Store the files of a finished run."""
        artifact = self._wandb.Artifact(f"run-{self._run.id}", type="run")
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, state: str) -> None:
        """The run is over: done, stopped or failed."""
        self._run.finish(exit_code=0 if state == "done" else 1)


def _parts(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
