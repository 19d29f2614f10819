"""What writes and reads a network as its chips realise it: what `l2sim.flow.export` needs of a flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.data.sets import DataSet
from l2sim.flow.session import Session
from l2sim.job.job import Job
from l2sim.nn.models import ModelSpec
from l2sim.nn.network import Network
from l2sim.store.events import Checkpoint

S = TypeVar("S", bound=Session)


class Realised(NamedTuple):
    """A network that was read back: it runs on chips fabricated and commanded as they were."""

    job: Job
    network: Network
    chips: Mapping[str, CoreChip | MeshChip]


class Exporter(NamedTuple, Generic[S]):
    """`session(job, checkpoint)`: the session as a checkpoint left it, without its data; RunError where that holds no
    chips. `arrays(session)`: what a file holds. `realised(job, model, seed of the chips, arrays, clock)`: the network
    of a file; `clock` is the chips' time, s."""

    session: Callable[[Job, Checkpoint], S]
    arrays: Callable[[S], dict[str, Array]]
    realised: Callable[[Job, ModelSpec, int, dict[str, Array], float], Realised]


def no_data(spec: ModelSpec) -> DataSet:
    """A data set without samples, for sessions that need none."""
    none = np.empty((0, *spec.input))
    return DataSet(none, none, none, none, spec.classes)


def apart(arrays: dict[str, Array]) -> dict[str, Array]:
    """Real and imaginary parts, which files of arrays do not have in one."""
    imaginary = {naming.imaginary(key): a.imag for key, a in arrays.items() if np.iscomplexobj(a)}
    return {key: a.real for key, a in (arrays | imaginary).items()}
