"""Which layer costs a run its accuracy: the network tried with each layer made ideal in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from l2sim.backend import Array
from l2sim.chip import nonidealities
from l2sim.chip.complex_core_chip import perfect
from l2sim.chip.mesh_chip import MeshChip
from l2sim.errors import RunError
from l2sim.flow import session as sessions
from l2sim.flow import training
from l2sim.flow.insitu.session import Insitu
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.registry import FLOWS
from l2sim.inspect.run import Recorded
from l2sim.learn.search import mapping
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.weights import ElectronicWeight
from l2sim.store import checkpoint as checkpoints

SAMPLES = 2000
"""Test samples that a network is tried with."""


class Tried(msgspec.Struct, frozen=True):
    """Test accuracy (0 to 1) of a network with `layer` ideal, and what that is more than as it is."""

    layer: str
    accuracy: float
    gain: float


class Layers(msgspec.Struct, frozen=True):
    """The rows of what was tried, at the end of `stage`, with how many test samples."""

    stage: str
    step: int
    samples: int
    rows: list[Tried]


def layers(folder: Path, data: Path | None = None, step: int | None = None) -> Layers:
    """Test accuracy of the run's network as it is and with each layer made ideal (`tried`), at the last checkpoint, or,
    where a step is named, at the end of its stage. RunError where the run has no network on its chips then."""
    run = Recorded(folder)
    if not run.simulated:
        raise RunError(f"{folder} has no oracle, its chip is not simulated: no layer of it can be made ideal")
    stage, path = _saved(run, step)
    saved, _ = checkpoints.read(path)
    session = FLOWS[run.job.flow].open(run.job_at(-1), data)
    sessions.restore(session, saved)
    whole = session.data
    session.data = replace(whole, test_x=whole.test_x[:SAMPLES], test_y=whole.test_y[:SAMPLES])
    return Layers(stage, saved.step, int(session.data.test_y.size), tried(session))


def tried(session: L2ight | Insitu) -> list[Tried]:
    """Accuracy and gain as it is, with each layer ideal in turn, the one that gains most first, and with all.

    Ideal is a layer of cores that computes the electronic weight it was mapped from, or, where weights were not
    pretrained, what ideal meshes make of its sigma; and a whole mesh without imperfections, commanded alike.
    """

    def accuracy(ideal: list[str]) -> float:
        with ExitStack() as stack:
            for one in ideal:
                stack.enter_context(_ideal(session, one))
            return float(training.scores(session, session.network, validate=False)["accuracy"])

    names = list(session.chips)
    first, last = accuracy([]), accuracy(names)
    each = sorted(((name, accuracy([name])) for name in names), key=lambda row: -row[1])
    return [Tried(name, score, score - first) for name, score in (("as it is", first), *each, ("all of them", last))]


def _saved(run: Recorded, step: int | None) -> tuple[str, Path]:
    """The stage that `step` belongs to and its checkpoint: the last one, or the newest."""
    stage, folder = run.stage_at(step), run.folder / "checkpoints"
    if stage in ("", "pretrain", "calibrate"):
        when = f"in {stage}" if stage else "before the first stage"
        raise RunError(f"there is no network on the chips {when}; choose a step of deploy, map or learn")
    kept = folder / f"{stage}.safetensors"
    return stage, kept if step is not None and kept.exists() else folder / "latest.safetensors"


@contextmanager
def _ideal(session: L2ight | Insitu, name: str) -> Iterator[None]:
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
    assert isinstance(session, L2ight)
    leaf = network.convs.get(name) or network.linears[name]
    weight = leaf.weight
    assert isinstance(weight, PhotonicWeight)
    leaf.weight = ElectronicWeight(_wanted(session, name, weight))
    try:
        yield
    finally:
        leaf.weight = weight


def _wanted(session: L2ight, name: str, weight: PhotonicWeight) -> Array:
    """The matrix (out, in) that a layer of cores shall be."""
    electronic, job = session.electronic.weights[name], session.job.pretrain
    assert isinstance(electronic, ElectronicWeight)
    if job.epochs or job.weights:
        return electronic.matrix
    chip, target = session.chips[name], session.aims[name]
    ideal = perfect(chip.shape, chip.mesh, name=name, dtype=chip.dtype)
    mapping.deploy(ideal, target)
    ideal.set_sigma(weight.sigma)
    blocks = ideal.oracle_weights().real
    p, q, k, _ = blocks.shape
    whole: Array = blocks.swapaxes(1, 2).reshape(p * k, q * k)
    return whole[: weight.out_features, : weight.in_features]
