"""Networks of whole meshes, written to files and read back."""

from __future__ import annotations

import msgspec

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.mesh_chip import MeshChip
from l2sim.errors import RunError
from l2sim.flow.insitu.session import Insitu, fabricate
from l2sim.flow.realised import Exporter, Realised, apart, no_data
from l2sim.flow.session import kept
from l2sim.job.job import Job
from l2sim.nn.models import ModelSpec
from l2sim.store.events import Checkpoint


def session(job: Job, saved: Checkpoint) -> Insitu:
    """The session of a checkpoint, without its data, on the CPU. RunError where its model was not kept."""
    model = saved.values.get("model")
    if model is None:
        raise RunError("that run was made by an l2sim that did not keep its model; run it again")
    values = kept(saved.values)
    dark = _dark(job, msgspec.convert(model, ModelSpec), values.chip_seed)
    dark.take(saved.arrays, saved.values)
    dark.meter.restore(values.meter)
    return dark


def arrays(session: Insitu) -> dict[str, Array]:
    """The arrays of the network and of its meshes."""
    arrays = {_at_rest(key, session): a for key, a in session.network.state().items()}
    for name, chip in session.chips.items():
        arrays |= {naming.name(name, key): a for key, a in _mesh(chip).items()}
    return arrays


def realised(job: Job, spec: ModelSpec, seed: int, arrays: dict[str, Array], clock: float) -> Realised:
    """The network that `arrays` hold."""
    dark = _dark(job, spec, seed)
    fabricate(dark)
    dark.network.load({key: arrays[_at_rest(key, dark)] for key in dark.network.state()})
    for name, chip in dark.chips.items():
        chip.refabricate(naming.of_layer(arrays, name))
        dark.network.meshes[name].write()
    dark.meter.wait(clock)
    return Realised(job, dark.network, dark.chips)


EXPORTER = Exporter(session, arrays, realised)


def _mesh(chip: MeshChip) -> dict[str, Array]:
    """The arrays of one whole mesh beside its commands."""
    rails = {"top": chip.mesh.top, "bottom": chip.mesh.bottom, "column": chip.mesh.column}
    arrays = {naming.name("couplers", kind): a for kind, a in rails.items()}
    arrays |= {naming.name(part, "realised"): a for part, a in chip.oracle_phases().items()}
    return apart(arrays | chip.oracle_fabrication() | {naming.name("matrix", "realised"): chip.oracle_matrix()})


def _at_rest(key: str, session: Insitu) -> str:
    """What the array `key` of the network is called in a file: of the meshes all are phases."""
    return naming.name(key, "phases") if key.rpartition(".")[0] in session.chips else key


def _dark(job: Job, spec: ModelSpec, chip_seed: int) -> Insitu:
    """A session without data, on the CPU."""
    data = no_data(spec)
    return Insitu(msgspec.structs.replace(job, device="cpu"), data, data.train_x, data.train_y, chip_seed)
