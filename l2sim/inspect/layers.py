"""Which layer costs a run its accuracy: the network tried with each layer made ideal in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from l2sim.backend import Array
from l2sim.chip import nonidealities
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import RunError
from l2sim.flow import session as sessions
from l2sim.flow import training
from l2sim.flow.registry import FLOWS
from l2sim.inspect.run import Recorded
from l2sim.learn.search import mapping
from l2sim.nn.weights import ElectronicWeight
from l2sim.store import checkpoint as checkpoints

SAMPLES = 2000
"""Test samples that a network is tried with."""


def layers(folder: Path, data: Path | None = None, step: int | None = None) -> dict[str, Any]:
    """Test accuracy of the run's network as it is and with each layer made ideal (`tried`), at the last checkpoint, or,
    where a step is named, at the end of its stage. RunError where the run has no network on its chips then."""
    run = Recorded(folder)
    if not run.simulated:
        raise RunError(f"{folder} has no oracle, its chip is not simulated: no layer of it can be made ideal")
    stage, path = _saved(run, step)
    saved, _ = checkpoints.read(path)
    session = FLOWS[run.job.flow].open(run.job_at(-1), data)
    sessions.restore(session, saved)
    held = session.data
    session.data = replace(held, test_x=held.test_x[:SAMPLES], test_y=held.test_y[:SAMPLES])
    return {"stage": stage, "step": saved.step, "samples": int(session.data.test_y.size), "rows": tried(session)}


def tried(session: Any) -> list[dict[str, Any]]:
    """Accuracy and gain as it is, with each layer ideal in turn, the one that gains most first, and with all.

    Ideal is a layer of cores that computes the electronic weight it was mapped from, or, where weights were not
    pretrained, what ideal meshes make of its sigma; and a whole mesh without imperfections, commanded alike.
    """

    def row(name: str, ideal: list[str]) -> dict[str, Any]:
        with ExitStack() as stack:
            for one in ideal:
                stack.enter_context(_ideal(session, one))
            score = training.scores(session, session.network, validate=False)["accuracy"]
        return {"layer": name, "accuracy": score}

    names = list(session.chips)
    first, last = row("as it is", []), row("all of them", names)
    rows = [first, *sorted((row(name, [name]) for name in names), key=lambda it: -it["accuracy"]), last]
    return [it | {"gain": it["accuracy"] - first["accuracy"]} for it in rows]


def _saved(run: Recorded, step: int | None) -> tuple[str, Path]:
    """The stage that `step` belongs to and its checkpoint: the last one, or the newest."""
    stage, folder = run.stage_at(step), run.folder / "checkpoints"
    if stage in ("", "pretrain", "calibrate"):
        when = f"in {stage}" if stage else "before the first stage"
        raise RunError(f"there is no network on the chips {when}; choose a step of deploy, map or learn")
    kept = folder / f"{stage}.safetensors"
    return stage, kept if step is not None and kept.exists() else folder / "latest.safetensors"


@contextmanager
def _ideal(session: Any, name: str) -> Iterator[None]:
    """One layer of a session made ideal for a while."""
    chip, network = session.chips[name], session.network
    if isinstance(chip, MeshChip):
        before = chip.nonidealities
        chip.nonidealities = nonidealities.PRESETS["ideal"]
        try:
            yield
        finally:
            chip.nonidealities = before
        return
    leaf = network.convs.get(name) or network.linears[name]
    weight = leaf.weight
    leaf.weight = ElectronicWeight(_wanted(session, name, weight))
    try:
        yield
    finally:
        leaf.weight = weight


def _wanted(session: Any, name: str, weight: Any) -> Array:
    """The matrix (out, in) that a layer of cores shall be."""
    electronic, job = session.electronic.weights[name].matrix, session.job.pretrain
    if job.epochs or job.weights:
        return electronic
    chip, target = session.chips[name], session.aims[name]
    ideal = CoreChip(chip.shape, chip.mesh, Nonidealities(), seed=0, name=name, dtype=chip.dtype)
    mapping.deploy(ideal, target)
    ideal.set_sigma(weight.sigma)
    p, q, k, _ = ideal.oracle_weights().shape
    whole = ideal.oracle_weights().swapaxes(1, 2).reshape(p * k, q * k)
    return whole[: weight.out_features, : weight.in_features]
