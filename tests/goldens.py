"""Golden data of the L2ight reference: the whole set where `../shared/golden` is present, else `tests/golden`.

`L2SIM_GOLDEN=DIR` reads them from another folder. `tests/golden/make.py` wrote the small set; it holds the same arrays
under the same names, but fewer cases and epochs, so a test asks `in` and takes as many epochs as there are.
"""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path

import numpy as np

from l2sim.chip import layout
from l2sim.chip.chip import Chip
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import GAMMA, Nonidealities

HERE = Path(__file__).resolve().parent
SMALL = HERE / "golden"
WHOLE = HERE.parent.parent / "shared" / "golden" / "l2ight"
PARTS = (("u", "U"), ("v", "V"))


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of one golden file."""
    folder = Path(os.environ.get("L2SIM_GOLDEN", WHOLE))
    path = (folder if (folder / f"{name}.npz").exists() else SMALL) / f"{name}.npz"
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def golden_chip(exact_sigma: bool = True) -> Chip:
    """The 2 x 4 grid of k = 4 cores of `ic_pm_k4`, with the reference's fabrication in place of our draws."""
    z = golden("ic_pm_k4")
    mesh = Mesh("rectangular", 4, inner_signs=True)
    it = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005, exact_sigma=exact_sigma)
    chip = Chip((2, 4), mesh, it, seed=0)
    for part, letter in PARTS:
        bias, gamma = (
            mesh.gather(layout.from_compact(mesh, z[f"noise_{what}_{letter}"])).reshape(8, -1)
            for what in ("phase_bias", "noisy_gamma")
        )
        chip._heaters[part] = dataclasses.replace(chip._heaters[part], bias=bias, gamma=(gamma - GAMMA) / 0.002)
    gamma = z["noise_noisy_gamma_S"].reshape(8, -1)
    chip._attenuators = dataclasses.replace(chip._attenuators, gamma=(gamma - GAMMA) / 0.002)
    chip.nonidealities = it
    return chip
