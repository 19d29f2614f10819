"""What the detectors behind a core or whole mesh read while light enters one of its inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.chip.mesh_chip import MeshChip
from l2sim.inspect.diagnose import Place


class Reading(NamedTuple):
    """One reading of every output, `values` (N,), in units of what enters; `floor` the spread of readings in the dark,
    as the data sheet of the job has it; `full`, the full scale of the converters (`energy.readout_noise`)."""

    values: Array
    floor: float
    full: float


def reading(at: Place, port: int, readout: str) -> Reading:
    """Send unit light into input `port` and read every output once. Only what a lab can do is done to the chip, so
    that it is made again even where nobody is to know what is true of it."""
    chip = at.run.rebuilt.made(at.layer, at.core, at.step, at.imperfect)
    light = np.zeros((at.run.grids[at.layer].mesh.modes, 1))
    light[port] = 1.0
    gain = 1.0  # of the electronics behind the detectors of a core, which bring its weights to their size
    if not isinstance(chip, MeshChip):
        gain = float(np.abs(at.commands("sigma")["sigma"]).max())
    full = gain ** (2 if readout == "power" else 1)
    values = at.on_bench(chip).read(light, readout)[:, 0]
    return Reading(values, at.imperfect.readout_noise * full, full)
