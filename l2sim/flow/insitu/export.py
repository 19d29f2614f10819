"""Networks of whole meshes, written to files and read back."""

from __future__ import annotations

import msgspec

from l2sim.backend import Array
from l2sim.chip.mesh_chip import MeshChip
from l2sim.errors import RunError
from l2sim.flow.insitu.session import Insitu, fabricate
from l2sim.flow.realised import Exporter, Realised, apart, no_data
from l2sim.flow.session import kept, under
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
    arrays = session.network.state()
    for name, chip in session.chips.items():
        arrays |= {f"{name}.{key}": a for key, a in _mesh(chip).items()}
    return arrays


def realised(job: Job, spec: ModelSpec, seed: int, arrays: dict[str, Array], clock: float) -> Realised:
    """The network that `arrays` hold."""
    dark = _dark(job, spec, seed)
    fabricate(dark)
    dark.network.load({name: arrays[name] for name in dark.network.state()})
    for name, chip in dark.chips.items():
        chip.refabricate(under(arrays, f"{name}.noise."))
        dark.network.meshes[name].write()
    dark.meter.wait(clock)
    return Realised(job, dark.network, dark.chips)


EXPORTER = Exporter(session, arrays, realised)


def _mesh(chip: MeshChip) -> dict[str, Array]:
    """The arrays of one whole mesh beside its commands."""
    arrays = {"top": chip.mesh.top, "bottom": chip.mesh.bottom, "column": chip.mesh.column}
    arrays |= {f"realised.{part}": a for part, a in chip.oracle_phases().items()}
    arrays |= {f"noise.{key}": a for key, a in chip.oracle_fabrication().items()}
    return apart(arrays | {"realised.matrix": chip.oracle_matrix()})


def _dark(job: Job, spec: ModelSpec, chip_seed: int) -> Insitu:
    """A session without data, on the CPU."""
    data = no_data(spec)
    return Insitu(msgspec.structs.replace(job, device="cpu"), data, data.train_x, data.train_y, chip_seed)
