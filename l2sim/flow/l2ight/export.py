"""Networks on grids of tensor cores, written to files and read back."""

from __future__ import annotations

import msgspec
import numpy as np

from l2sim import backend, naming
from l2sim.backend import Array, generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.protocol import PARTS, Commands
from l2sim.errors import RunError
from l2sim.flow.l2ight.session import L2ight, fabricate
from l2sim.flow.realised import Exporter, Realised, apart, no_data
from l2sim.flow.session import kept
from l2sim.job import model as described
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.nn import network
from l2sim.nn.models import ModelSpec
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store.events import Checkpoint


def session(job: Job, saved: Checkpoint) -> L2ight:
    """The session of a checkpoint, without its data. RunError where it has no chips yet."""
    values, model = kept(saved.values), saved.values.get("model")
    if model is None:
        matrices = [a for a in naming.of_kind(saved.arrays, "electronic").values() if a.ndim == 2]
        spec = described.model(job, len(matrices[-1]))
    else:
        spec = msgspec.convert(model, ModelSpec)
    session = _empty(job, spec, values.chip_seed)
    session.take(saved.arrays, saved.values)
    session.meter.restore(values.meter)
    if not session.chips:
        raise RunError(f"the checkpoint of {saved.stage} has no chips yet; export from deploy on")
    return session


def arrays(session: L2ight) -> dict[str, Array]:
    """The arrays of the network but for its photonic layers, and those of these layers as they are realised."""
    cores = {naming.name(name, "sigma") for name in session.chips}
    arrays = {key: a for key, a in session.network.state().items() if key not in cores}
    for name, chip in session.chips.items():
        arrays |= {naming.name(name, key): a for key, a in _layer(session, name, chip).items()}
    return arrays


def realised(job: Job, spec: ModelSpec, seed: int, arrays: dict[str, Array], clock: float) -> Realised:
    """The network that `arrays` hold."""
    session = _empty(job, spec, seed)
    session.chips = fabricate(session, chip_nonidealities(session.job), session.meter)
    net = network.build(spec, _commanded(session.chips, arrays, job), session.electronic.dtype)
    net.load({name: arrays[name] for name in net.state()})
    session.meter.wait(clock)
    return Realised(job, net, session.chips)


EXPORTER = Exporter(session, arrays, realised)


def _layer(session: L2ight, name: str, chip: CoreChip) -> dict[str, Array]:
    """The arrays of one layer, as they were when the checkpoint was taken."""
    weight = session.network.weights[name]
    assert isinstance(weight, PhotonicWeight)
    chip.set_sigma(weight.sigma)
    state, _ = chip.state()
    mesh, grid = chip.mesh, chip.shape
    arrays = {naming.name("sigma", "commanded"): weight.sigma.copy()}
    arrays[naming.name("sigma", "scale")] = np.abs(weight.sigma).max(axis=-1)
    for part in PARTS:
        own, ends = naming.name(part, "phases"), naming.name(part, "signs")
        arrays |= {own: mesh.scatter(state[own]).reshape(*grid, *mesh.shape), ends: state[ends].reshape(*grid, -1)}
        arrays[naming.name(part, "realised")] = chip.oracle_matrix(part)
    arrays[naming.name("sigma", "realised")] = chip.oracle_sigma()
    if name in session.rest:
        for part, phases, signs in session.rest[name].parts():
            arrays |= {naming.name(part, "rest_phases"): phases, naming.name(part, "rest_signs"): signs}
    arrays |= chip.oracle_fabrication()
    p, q = grid
    whole = chip.oracle_weights().swapaxes(1, 2).reshape(p * mesh.modes, q * mesh.modes)
    matrix = whole[: weight.out_features, : weight.in_features]
    conv = session.network.convs.get(name)
    arrays["weight"] = matrix if conv is None else matrix.reshape(len(matrix), -1, conv.kernel, conv.kernel)
    return apart(arrays)


def _commanded(chips: dict[str, CoreChip], arrays: dict[str, Array], job: Job) -> network.MakeWeight:
    """What makes the weights of a network whose chips are commanded as `arrays` say."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        chip, own = chips[name], naming.of_layer(arrays, name)
        chip.refabricate(own)
        mapped, sigma = _commands(own, "phases", "signs"), own[naming.name("sigma", "commanded")]
        rest = _commands(own, "rest_phases", "rest_signs") if naming.name("u", "rest_phases") in own else mapped
        chip.set_phases(**mapped.phases)
        chip.set_signs(**mapped.signs)
        weight = PhotonicWeight(chip, out_features, in_features, mapped, rest, sigma.copy(), job.chip.readout)
        weight.write()
        arrays[naming.name(name, "sigma")] = sigma  # as the network calls it
        return weight

    return make


def _commands(arrays: dict[str, Array], phases: str, signs: str) -> Commands:
    return Commands(*({part: arrays[naming.name(part, what)] for part in PARTS} for what in (phases, signs)))


def _empty(job: Job, spec: ModelSpec, chip_seed: int) -> L2ight:
    """A session without data, on the CPU."""
    dtype, data = backend.float_type(job.precision), no_data(spec)
    electronic = network.build(spec, network.electronic(generator(0, "export"), dtype), dtype)
    return L2ight(job, data, data.train_x, data.train_y, chip_seed, electronic=electronic)
