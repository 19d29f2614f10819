"""Runs beside each other: whether they can be, in which fields their jobs differ, and measured gradients beside true
ones. Where they are beside each other is in `axes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.inspect import axes
from l2sim.inspect.run import Recorded
from l2sim.job import job as jobs
from l2sim.job.imperfections import effective
from l2sim.job.job import Job
from l2sim.job.settings import FLOWS
from l2sim.nn import models
from l2sim.store.events import Changed


def refusal(run: Job, other: Job, name: str) -> str:
    """One line that says why the run `name` of another job cannot be compared with that of `run`; "" where it can. What
    is learnt and the shape of the network must agree; chip, training and flow may differ."""
    if run.data.name != other.data.name:
        return f"{name} cannot be compared: it learns {other.data.name}, this run {run.data.name}"
    here, there = network(run), network(other)
    if here == there:
        return ""
    if list(here) != list(there):
        words = [", ".join(names) or "no layers" for names in (list(there), list(here))]
        return f"{name} cannot be compared: its network has the layers {words[0]}, this run's {words[1]}"
    layer = next(one for one in here if here[one] != there[one])
    sizes = [" x ".join(map(str, shape[layer])) for shape in (there, here)]
    return f"{name} cannot be compared: its layer {layer} is {sizes[0]}, this run's {sizes[1]}"


def network(job: Job) -> dict[str, tuple[int, ...]]:
    """Outputs and inputs of every photonic layer by name, however it is made of cores; modes of a whole mesh."""
    shapes: dict[str, tuple[int, ...]] = {}

    def visit(placed: tuple[models.Placed, ...]) -> None:
        for item in placed:
            visit(item.body)
            visit(item.shortcut)
            if isinstance(item.layer, models.Mesh):
                shapes[item.name] = item.layer.modes, item.layer.modes
            elif isinstance(item.layer, models.Conv | models.Linear):
                shapes[item.name] = models.matrix_shape(item)

    visit(models.place(FLOWS[job.flow].model(job)))
    return shapes


class Held(NamedTuple):
    """What a run has in a field: its `value` as the run began, None where its flow does not use the field, and the
    values it was changed to since, each with its step."""

    value: object
    changes: tuple[tuple[int, object], ...]


def differences(runs: Sequence[Recorded]) -> dict[str, list[Held]]:
    """The fields in which the jobs of runs differ, or that were changed on the way in one of them, by path, with what
    each has there. What a preset of non-idealities gives counts as if it were set; names do not count."""
    begun = [run.job_at(-1) for run in runs]
    used = [{field.path for field in jobs.describe(job)} for job in begun]
    paths = dict.fromkeys(field.path for job in begun for field in jobs.describe(job))
    changes = [[event for event in run.events if isinstance(event, Changed)] for run in runs]
    table = {}
    for path in paths:
        has = [
            Held(
                effective(job, path) if path in known else None,
                tuple((event.step, event.value) for event in made if event.path == path),
            )
            for job, known, made in zip(begun, used, changes)
        ]
        if path != "name" and any(one != has[0] for one in has):
            table[path] = has
    return table


def moment(other: axes.Followed, run: axes.Followed, step: int) -> int:
    """The step at which another run is in the same stage and at the same epoch as `run` at `step`; its newest where it
    never is."""
    lies = axes.beside(other, run, axes.STEP)
    return other.newest if isinstance(lies, str) else min(other.newest, round(lies.step(step)))


class Gradients(NamedTuple):
    """Gradients of the phases of a mesh, theta then phi (2 n,), for the same light: the true one and as it was measured
    at `step`, and the cosine of the angle between them (NaN where one vanishes)."""

    step: int
    true: Array
    measured: Array
    cosine: float


def gradients(run: Recorded, layer: str, step: int | None = None) -> Gradients | str:
    """The gradients recorded of a mesh, newest at `step`; or one line that says why there are none."""
    if not run.grids[layer].whole:
        return f"{layer} is made of cores: true gradients are recorded of whole meshes"
    seen, true = run.gradient(layer, 0, "", step), run.oracle_gradient(layer, step)
    if seen is None or true is None:
        return f"no gradients of {layer} were recorded by this step"
    a, b = (np.concatenate([of[part] for part in ("theta", "phi")]).astype(float) for of in (true, seen))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Gradients(int(true["step"]), a, b, float(a @ b) / size if size else float("nan"))
