"""l2sim: simulate photonic neural chips that calibrate, map and train themselves.

Importing this package is instant: every name below is loaded when it is first used.

    run(job)               the events of a job's run, one after the other
    open(folder)           a run that a folder holds, as arrays and tables
    Job, presets           what a run computes, and the jobs that have a name
    Mesh, decompose        where interferometers stand, and the phases that realise a matrix
    nearest_unitary, nearest_orthogonal    what a mesh can have of a matrix that was measured or rounded
    CoreChip, MeshChip     a grid of tensor cores and one whole mesh, with their Nonidealities
    models, load_weights   networks, and weights that were trained elsewhere
    read_responses         what was measured on a chip of one's own, for its twin

The rooms, from below: mesh, data, chip, nn, learn, job, store, flow, report, inspect, runs, sweep, study. What goes
wrong is one of l2sim.errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from l2sim._version import __version__
from l2sim.faces import lazy

if TYPE_CHECKING:
    import l2sim.job.presets as presets
    import l2sim.nn.models as models
    from l2sim import chip, data, errors, flow, inspect, job, learn, mesh, nn, report, runs, store, study, sweep
    from l2sim.chip.core_chip import CoreChip
    from l2sim.chip.mesh_chip import MeshChip
    from l2sim.chip.nonidealities import Nonidealities
    from l2sim.flow.flow import run
    from l2sim.flow.pretrained import load_weights
    from l2sim.inspect.opened import open
    from l2sim.job.job import Job
    from l2sim.learn.twin.files import read_responses
    from l2sim.mesh.decomposition import decompose
    from l2sim.mesh.mesh import Mesh
    from l2sim.mesh.orthogonal import nearest_orthogonal
    from l2sim.mesh.unitary import nearest_unitary

# In a bare checkout `kernels/` lies beside this folder instead of inside it (setup.cfg maps it when installed).
# Appending the checkout's root lets `l2sim.kernels` be found there, so a clone runs with nothing installed.
_root = Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").exists():
    __path__.append(str(_root))

__all__ = [
    "CoreChip", "Job", "Mesh", "MeshChip", "Nonidealities", "__version__", "chip", "data", "decompose", "errors",
    "flow", "inspect", "job", "learn", "load_weights", "mesh", "models", "nearest_orthogonal", "nearest_unitary", "nn",
    "open", "presets", "read_responses", "report", "run", "runs", "store", "study", "sweep",
]  # fmt: skip

ROOMS = ("chip", "data", "flow", "inspect", "job", "learn", "mesh", "nn", "report", "runs", "store", "study", "sweep")

__getattr__, __dir__ = lazy(__name__, {
    "CoreChip": "chip.core_chip", "Job": "job.job", "Mesh": "mesh.mesh", "MeshChip": "chip.mesh_chip",
    "Nonidealities": "chip.nonidealities", "decompose": "mesh.decomposition", "load_weights": "flow.pretrained",
    "open": "inspect.opened", "read_responses": "learn.twin.files", "run": "flow.flow",
    "nearest_orthogonal": "mesh.orthogonal", "nearest_unitary": "mesh.unitary",
    "models": "nn.models", "presets": "job.presets", "errors": "errors",
    **{room: room for room in ROOMS},
})  # fmt: skip
