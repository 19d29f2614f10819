"""Calibration and mapping against whole runs of the reference, epoch by epoch (`legacy`, float64, k = 4)."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import PARTS, golden, golden_chip
from tolerances import TRAJECTORY

from l2sim.chip import layout
from l2sim.chip.chip import Chip
from l2sim.learn import calibrate, zeroth
from l2sim.learn.zeroth import Problem, Search, State

CALIBRATIONS = ("ic_zcd_a0_b0_", "ic_zcd_a0_b1_", "ic_zcd_a1_b1_", "ic_ztp_a0_b1_")
MAPPINGS = ("pm_zcd_a0_b1_ideal1_", "pm_zcd_a0_b1_ideal0_", "pm_zcd_a1_b1_ideal1_", "pm_ztp_a0_b1_ideal1_")
PROJECTIONS = (*MAPPINGS[:2], *MAPPINGS[2:])


class Order:
    """Gives the permutation that the reference drew."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def permutation(self, count: int) -> np.ndarray:
        assert count == self.order.size
        return self.order


def calibration(chip: Chip, **settings: object) -> tuple[Problem, Search, State]:
    task = calibrate.problem(chip)
    search = Search(legacy="calibrate", threshold=calibrate.RESTART_ABOVE, **settings)
    return task, search, zeroth.start(task, search, calibrate.zero_phases(chip))


def mapping(chip: Chip, **settings: object) -> tuple[Problem, Search, State]:
    z = golden("ic_pm_k4")
    sigma = z["noise_S_after_build"]
    chip.set_sigma(sigma)
    chip.set_signs(**{part: np.sign(z[f"ideal_delta_list_{letter}"]) for part, letter in PARTS})
    task = Problem(chip, np.ones((2, 4, 4)), z["ideal_weight"])
    search = Search(
        legacy="map", threshold=0.4, threshold_growth=1.02, error_scale=16 / (sigma**2).sum(axis=-1), **settings
    )
    phases = {part: layout.from_compact(chip.mesh, z[f"ideal_phase_{letter}"]) for part, letter in PARTS}
    return task, search, zeroth.start(task, search, phases)


def compact(chip: Chip, phases: np.ndarray) -> np.ndarray:
    return layout.to_compact(chip.mesh, phases).reshape(8, -1)


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


def follow(run: str, chip: Chip, task: Problem, search: Search, state: State) -> None:
    """Run as many epochs as the golden run has and compare every one."""
    z = {key.removeprefix(run): array for key, array in golden("ic_pm_k4").items() if key.startswith(run)}
    kept = {int(epoch): i for i, epoch in enumerate(z["kept_epochs"])}
    assert len(z["loss"]) >= 20
    for e in range(len(z["loss"])):
        order = z["orders"][e] if "orders" in z else np.arange(6)
        zeroth.METHODS[search.method](task, search, state, Order(order))
        close(state.loss.ravel(), z["loss"][e], f"loss of epoch {e + 1}")
        close(state.best.ravel(), z["best_loss"][e], f"best loss of epoch {e + 1}")
        close(state.lr.ravel(), z["lr"][e], f"lr after epoch {e + 1}")
        assert task.hardware.meter.state()["idle"]["evaluations"] / 8 == (
            z["total_step"][e] + 1 + extra(search, state, e)
        )
        if e + 1 in kept:
            close(compact(chip, state.u), z["phase_U_epochs"][kept[e + 1]], f"phases of U, epoch {e + 1}")
            close(compact(chip, state.v), z["phase_V_epochs"][kept[e + 1]], f"phases of V, epoch {e + 1}")


def extra(search: Search, state: State, epoch: int) -> float:
    return 0
