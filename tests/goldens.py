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
import pytest

from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.mesh import reference
from l2sim.mesh.mesh import Mesh
from tests.places import BESIDE, INSITU, ROOT

SMALL, WHOLE = ROOT / "tests" / "golden", BESIDE / "golden" / "l2ight"
PARTS = (("u", "U"), ("v", "V"))


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of one golden file."""
    folder = Path(os.environ.get("L2SIM_GOLDEN", WHOLE))
    path = (folder if (folder / f"{name}.npz").exists() else SMALL) / f"{name}.npz"
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def golden_chip(exact_sigma: bool = True) -> CoreChip:
    """The 2 x 4 grid of k = 4 cores of `ic_pm_k4`, with the reference's fabrication in place of our draws."""
    z = golden("ic_pm_k4")
    mesh = Mesh("rectangular", 4, inner_signs=True)
    it = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005, exact_sigma=exact_sigma)
    chip = CoreChip((2, 4), mesh, it, seed=0)
    for part, letter in PARTS:
        bias, gamma = (
            mesh.gather(reference.from_compact(mesh, z[f"noise_{what}_{letter}"])).reshape(8, -1)
            for what in ("phase_bias", "noisy_gamma")
        )
        chip._heaters[part] = dataclasses.replace(chip._heaters[part], bias=bias, gamma=(gamma - GAMMA) / 0.002)
    gamma = z["noise_noisy_gamma_S"].reshape(8, -1)
    chip._attenuators = dataclasses.replace(chip._attenuators, gamma=(gamma - GAMMA) / 0.002)
    chip.nonidealities = it
    return chip



SPLITTER_STD = 0.5
"""What unit draws of recorded splitters are scaled by, a power of two."""


@cache
def insitu(name: str) -> dict[str, np.ndarray]:
    """All arrays of one golden file of the in situ flow; the test is skipped where it is not here."""
    path = INSITU / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"golden data of the in situ flow is not here: {path}")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def golden_mesh(name: str, variant: str) -> tuple[MeshChip, np.ndarray, dict[str, np.ndarray]]:
    """A recorded mesh with its errors and losses as a chip; the node numbers in travel order; the file."""
    z = insitu(f"mesh_{name}")
    kind, modes = {"rect": "rectangular", "tri": "chain_cascade"}[name.partition("_")[0]], len(z["gamma"])
    chip = MeshChip(Mesh(kind, modes), Nonidealities(), 1, dtype="float64")
    order = np.lexsort((z["top"], z["column"]))
    arms = np.zeros((1, 4, len(order)))
    arms[0, ::2] = z["loss_db"][order].T
    chip._optics = dataclasses.replace(chip._optics, splitters=z["bs_error"][order].T[None] / SPLITTER_STD, arms=arms)
    bent = np.concatenate([z["dtheta"][order], z["dphi"][order], np.zeros(modes)])[None]
    chip._heaters = dataclasses.replace(chip._heaters, error=bent)
    chip.nonidealities = Nonidealities(
        splitter_error_std=SPLITTER_STD * (variant in ("bs", "all")),
        loss_db_std=float(variant in ("loss", "all")),
        phase_error_std=float(variant in ("phase", "all")),
    )
    chip.set_phases(z["theta"][order], z["phi"][order], z["gamma"])
    return chip, order, z
