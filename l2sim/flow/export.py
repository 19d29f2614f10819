"""A network as its chips realise it, in one file for other programs, and back.

Of every photonic layer, by its name (p x q cores of k modes):

    NAME.weight            what the chip computes, in PyTorch's layout; with the batch norms, the whole network
    NAME.phases.u, .v      commanded phases (p, q, columns, k - 1), rad; NAME.signs.u, .v (p, q, k)
    NAME.sigma             commanded sigma (p, q, k); NAME.scale (p, q) the electronic gain of every core, max |sigma|
    NAME.rest.u, .v        phases of the calibrated pseudo-identities, NAME.rest_signs.u, .v their signs, if there are
    NAME.realised.u, .v    the true matrices (p, q, k, k), and NAME.realised.sigma: what a lab cannot know; of complex
                           cores the real part, and .imag beside it
    NAME.noise.PART.DRAW   unit draws of the fabrication, which the non-idealities of the job scale
    NAME.weight, .bias, .running_mean, .running_var   of a batch norm

Of every whole mesh of the in situ flow (n couplers, N rails), in travel order:

    NAME.theta, .phi, .screen   commanded phases (n,), (n,), (N,), rad
    NAME.top, .bottom, .column  the rails (n,) that a coupler couples, and its column
    NAME.realised.theta, ...    the phases that the light sees, and NAME.realised.matrix (N, N), .imag beside it
    NAME.noise.PART.DRAW        as above

The text "l2sim" holds as JSON: format, version, stage, epoch, seed of the chips, job and model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from l2sim import backend
from l2sim.backend import Array, generator, host
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.protocol import PARTS, Commands
from l2sim.data import sets
from l2sim.errors import ModelError, RunError
from l2sim.flow.insitu import session as insitu
from l2sim.flow.insitu.session import Insitu
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.session import under
from l2sim.job import job as jobs
from l2sim.job import model as described
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.nn import network
from l2sim.nn.models import ModelSpec
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store import checkpoint as checkpoints
from l2sim.store import source as sources
from l2sim.store import tensors
from l2sim.store.events import Checkpoint, stages

FORMAT, VERSION = "l2sim-network", 1


class Realised(NamedTuple):
    """A network that was read back: it runs on chips fabricated and commanded as they were."""

    job: Job
    network: Network
    chips: Mapping[str, CoreChip | MeshChip]


def write(source: str, out: Path) -> None:
    """Write the network of RUN[@stage[:epoch]], by default of its last finished stage. Raises RunError, ModelError."""
    job, saved = _checkpoint(source)
    session = _session(job, saved)
    net = session.network
    if isinstance(session, Insitu):
        arrays = net.state()
        made = {name: _mesh(chip) for name, chip in session.chips.items()}
    else:
        arrays = {key: a for key, a in net.state().items() if key.rpartition(".")[0] not in net.weights}
        made = {name: _layer(session, name, chip) for name, chip in session.chips.items()}
    arrays |= {f"{name}.{key}": a for name, held in made.items() for key, a in held.items()}
    arrays = {key: host(a) for key, a in arrays.items()}
    about = {
        "format": FORMAT, "version": VERSION, "stage": saved.stage, "epoch": saved.epoch, "seed": session.chip_seed,
        "job": jobs.to_dict(job), "model": msgspec.to_builtins(net.spec), "clock": session.meter.clock,
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
        job = jobs.from_dict(about["job"])
        spec = msgspec.convert(about["model"], ModelSpec)
        if job.flow == "insitu":
            dark = _dark(job, spec, int(about["seed"]))
            found = _of_meshes(job, dark, arrays)
            dark.meter.wait(about.get("clock", 0.0))
            return found
        session = _empty(job, spec, int(about["seed"]))
        session.chips = l2ight.fabricate(session, chip_nonidealities(job), session.meter)
        net = network.build(spec, _commanded(session.chips, arrays, job), session.electronic.dtype)
        net.load({name: arrays[name] for name in net.state()})
        session.meter.wait(about.get("clock", 0.0))
    except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path} is no network written by `l2sim export`: it {what}; write it again") from None
    return Realised(job, net, session.chips)


def _layer(session: L2ight, name: str, chip: CoreChip) -> dict[str, Array]:
    """The arrays of one layer, as they were when the checkpoint was taken."""
    weight = session.network.weights[name]
    assert isinstance(weight, PhotonicWeight)
    chip.set_sigma(weight.sigma)
    held, _ = chip.state()
    mesh, grid = chip.mesh, chip.shape
    found = {"sigma": weight.sigma.copy(), "scale": np.abs(weight.sigma).max(axis=-1)}
    for part in PARTS:
        found[f"phases.{part}"] = mesh.scatter(held[f"phases.{part}"]).reshape(*grid, *mesh.shape)
        found[f"signs.{part}"] = held[f"signs.{part}"].reshape(*grid, -1)
        found[f"realised.{part}"] = chip.oracle_matrix(part)
    found["realised.sigma"] = chip.oracle_sigma()
    if name in session.rest:
        for part, phases, signs in session.rest[name].parts():
            found |= {f"rest.{part}": phases, f"rest_signs.{part}": signs}
    found |= {f"noise.{key}": a for key, a in chip.oracle_fabrication().items()}
    p, q = grid
    whole = chip.oracle_weights().swapaxes(1, 2).reshape(p * mesh.modes, q * mesh.modes)
    matrix = whole[: weight.out_features, : weight.in_features]
    conv = session.network.convs.get(name)
    found["weight"] = matrix if conv is None else matrix.reshape(len(matrix), -1, conv.kernel, conv.kernel)
    return _apart(found)


def _apart(found: dict[str, Array]) -> dict[str, Array]:
    """Real and imaginary parts, which files of arrays do not have in one."""
    found |= {f"{key}.imag": a.imag for key, a in found.items() if np.iscomplexobj(a)}
    return {key: a.real for key, a in found.items()}


def _mesh(chip: MeshChip) -> dict[str, Array]:
    """The arrays of one whole mesh beside its commands."""
    mesh = chip.mesh
    found = {"top": mesh.top, "bottom": mesh.bottom, "column": mesh.column}
    found |= {f"realised.{part}": a for part, a in chip.oracle_phases().items()}
    found |= {f"noise.{key}": a for key, a in chip.oracle_fabrication().items()}
    return _apart(found | {"realised.matrix": chip.oracle_matrix()})


def _of_meshes(job: Job, session: Insitu, arrays: dict[str, Array]) -> Realised:
    """The network of whole meshes that `arrays` hold."""
    insitu.fabricate(session)
    session.network.load({name: arrays[name] for name in session.network.state()})
    for name, chip in session.chips.items():
        chip.refabricate(under(arrays, f"{name}.noise."))
        session.network.meshes[name].write()
    return Realised(job, session.network, session.chips)


def _commanded(chips: dict[str, CoreChip], arrays: dict[str, Array], job: Job) -> network.MakeWeight:
    """What makes the weights of a network whose chips are commanded as `arrays` say."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        chip, held = chips[name], under(arrays, f"{name}.")
        chip.refabricate(under(held, "noise."))
        mapped = _commands(held, "phases", "signs")
        rest = _commands(held, "rest", "rest_signs") if "rest.u" in held else mapped
        chip.set_phases(**mapped.phases)
        chip.set_signs(**mapped.signs)
        readout = "field" if job.chip.readout == "field" else "quadrature"
        weight = PhotonicWeight(chip, out_features, in_features, mapped, rest, held["sigma"].copy(), readout)
        weight.write()
        arrays[f"{name}.sigma"] = held["sigma"]
        return weight

    return make


def _commands(held: dict[str, Array], phases: str, signs: str) -> Commands:
    return Commands(*({part: held[f"{what}.{part}"] for part in PARTS} for what in (phases, signs)))


def _session(job: Job, saved: Checkpoint) -> L2ight | Insitu:
    """The session of a checkpoint, without its data."""
    values: dict[str, Any] = saved.values
    held = values.get("model")
    if job.flow == "insitu":
        if held is None:
            raise RunError("that run was made by an l2sim that did not keep its model; run it again")
        light = _dark(job, msgspec.convert(held, ModelSpec), values["chip_seed"])
        light.take(saved.arrays, saved.values)
        light.meter.restore(values["meter"])
        return light
    if held is None:
        matrices = [a for a in under(saved.arrays, "electronic/").values() if a.ndim == 2]
        spec = described.model(job, len(matrices[-1]))
    else:
        spec = msgspec.convert(held, ModelSpec)
    session = _empty(job, spec, values["chip_seed"])
    session.take(saved.arrays, saved.values)
    session.meter.restore(values["meter"])
    if not session.chips:
        raise RunError(f"the checkpoint of {saved.stage} has no chips yet; export from deploy on")
    return session


def _empty(job: Job, spec: ModelSpec, chip_seed: int) -> L2ight:
    """A session without data on the CPU."""
    none = np.empty(0)
    nothing = sets.DataSet(none, none, none, none, spec.classes)
    make = network.electronic(generator(0, "export"), backend.float_type(job.precision))
    electronic = network.build(spec, make, backend.float_type(job.precision))
    return L2ight(job, nothing, none, none, chip_seed, electronic=electronic)


def _dark(job: Job, spec: ModelSpec, chip_seed: int) -> Insitu:
    """A session of the in situ flow without data, on the CPU."""
    none = np.empty((0, *spec.input))
    nothing = sets.DataSet(none, none, none, none, spec.classes)
    return Insitu(msgspec.structs.replace(job, device="cpu"), nothing, none, none, chip_seed)


def _checkpoint(text: str) -> tuple[Job, Checkpoint]:
    """Job and checkpoint of RUN[@stage[:epoch]]."""
    source = sources.parse(text)
    if not (source.folder / "job.toml").is_file():
        raise RunError(f"{source.folder} is not a run folder (it has no job.toml); name one")
    job = jobs.load(source.folder / "job.toml")
    return job, checkpoints.read(sources.checkpoint(source, stages(job))[1])[0]
