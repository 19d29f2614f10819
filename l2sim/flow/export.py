"""A network as its chips realise it, in one file for other programs, and back.

Of every photonic layer, by its name (p x q cores of k modes):

    NAME.weight             what the chip computes, in PyTorch's layout; with biases and batch norms, the whole network
    NAME.bias               the electronic bias (out,) of a layer that has one
    NAME.u.phases           commanded phases (p, q, columns, k - 1), rad; NAME.u.signs (p, q, k); and the same of v
    NAME.sigma.commanded    commanded sigma (p, q, k); NAME.sigma.scale (p, q) the electronic gain of every core
    NAME.u.rest_phases      phases of the calibrated pseudo-identities, NAME.u.rest_signs their signs, if there are
    NAME.u.realised         the true matrices (p, q, k, k), and NAME.sigma.realised: what a lab cannot know; of complex
                            cores the real part, and NAME.u.realised_imag beside it
    NAME.PART.noise_DRAW    unit draws of the fabrication, which the non-idealities of the job scale
    NAME.weight, .bias, .running_mean, .running_var   of a batch norm

Of every whole mesh of the in situ flow (n couplers, N rails), in travel order:

    NAME.theta.phases           commanded phases (n,), rad; so NAME.phi.phases (n,) and NAME.screen.phases (N,)
    NAME.couplers.top, .bottom, .column   the rails (n,) that a coupler couples, and its column
    NAME.theta.realised, ...    the phases that the light sees, and NAME.matrix.realised (N, N), realised_imag beside it
    NAME.PART.noise_DRAW        as above

The text "l2sim" holds as JSON: format, version, stage, epoch, seed of the chips, job and model.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from l2sim import naming
from l2sim.backend import host
from l2sim.errors import ModelError, RunError
from l2sim.flow.realised import Exporter, Realised
from l2sim.flow.registry import FLOWS
from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.nn.models import ModelSpec
from l2sim.store import checkpoint as checkpoints
from l2sim.store import source as sources
from l2sim.store import tensors
from l2sim.store.events import Checkpoint, stages

FORMAT, VERSION = "l2sim-network", 2


class About(msgspec.Struct, frozen=True):
    """What the text of a file says, when it is of this version."""

    job: dict[str, object]
    model: ModelSpec
    seed: int
    clock: float = 0.0


def restored(text: str) -> tuple[Job, Session, Checkpoint]:
    """The job of RUN[@stage[:epoch]], its session, without data, and its checkpoint. Raises RunError."""
    source = sources.parse(text)
    if not (source.folder / "job.toml").is_file():
        raise RunError(f"{source.folder} is not a run folder (it has no job.toml); name one")
    job = jobs.load(source.folder / "job.toml")
    saved, _ = checkpoints.read(sources.checkpoint(source, stages(job))[1])
    return job, _exporter(job).session(job, saved), saved


def write(source: str, out: Path) -> None:
    """Write the network of RUN[@stage[:epoch]], by default of its last finished stage. Raises RunError, ModelError."""
    job, session, saved = restored(source)
    arrays = {key: host(a) for key, a in _exporter(job).arrays(session).items()}
    about = {
        "format": FORMAT, "version": VERSION, "stage": saved.stage, "epoch": saved.epoch, "seed": session.chip_seed,
        "job": jobs.to_dict(job), "model": msgspec.to_builtins(session.network.spec), "clock": session.meter.clock,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    tensors.write(out, arrays, {"l2sim": json.dumps(about)})


def load(path: Path) -> Realised:
    """The network that `write` wrote. Raises ModelError where the file is no such network or does not fit."""
    arrays, texts = tensors.read(path)
    try:
        about = json.loads(texts["l2sim"])
        if about["format"] != FORMAT or about["version"] > VERSION:
            raise ModelError(f"{path} is of format {about['format']} {about['version']}; read it with a newer l2sim")
        if about["version"] == 1:
            arrays = naming.translated(arrays, naming.of_export_1)
        known = msgspec.convert(about, About)
        job = jobs.from_dict(known.job)
        return _exporter(job).realised(job, known.model, known.seed, arrays, known.clock)
    except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path} is no network written by `l2sim export`: it {what}; write it again") from None


def _exporter(job: Job) -> Exporter[Session]:
    exporter = FLOWS[job.flow].export
    if exporter is None:
        raise RunError(f"networks of flow = {job.flow!r} are not exported; it has no exporter")
    return exporter
