"""Calibration and mapping against whole runs of the reference, epoch by epoch (`legacy`, float64, k = 4)."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.chip.core_chip import CoreChip
from l2sim.learn.search import calibrate, zeroth
from l2sim.learn.search.zeroth import Problem, Search, State
from l2sim.mesh import reference
from tests.goldens import PARTS, golden, golden_chip
from tests.tolerances import TRAJECTORY

CALIBRATIONS = ("ic_zcd_a0_b0_", "ic_zcd_a0_b1_", "ic_zcd_a1_b1_", "ic_ztp_a0_b1_")
MAPPINGS = ("pm_zcd_a0_b1_ideal1_", "pm_zcd_a0_b1_ideal0_", "pm_zcd_a1_b1_ideal1_", "pm_ztp_a0_b1_ideal1_")


class Order:
    """Gives the permutation that the reference drew."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def permutation(self, count: int) -> np.ndarray:
        assert count == self.order.size
        return self.order


def calibration(chip: CoreChip, **settings: object) -> tuple[Problem, Search, State]:
    task = calibrate.problem(chip, probe=np.linspace(0.1, 1.0, chip.mesh.modes))  # as published
    search = Search(legacy="calibrate", threshold=calibrate.RESTART_ABOVE, **settings)
    return task, search, zeroth.start(task, search, calibrate.zero_phases(chip))


def mapping(chip: CoreChip, **settings: object) -> tuple[Problem, Search, State]:
    z = golden("ic_pm_k4")
    sigma = z["noise_S_after_build"]
    chip.set_sigma(sigma)
    chip.set_signs(**{part: np.sign(z[f"ideal_delta_list_{letter}"]) for part, letter in PARTS})
    task = Problem(chip, np.ones((2, 4, 4)), z["ideal_weight"])
    search = Search(
        legacy="map", threshold=0.4, threshold_growth=1.02, error_scale=16 / (sigma**2).sum(axis=-1), **settings
    )
    phases = {part: reference.from_compact(chip.mesh, z[f"ideal_phase_{letter}"]) for part, letter in PARTS}
    return task, search, zeroth.start(task, search, phases)


def compact(chip: CoreChip, phases: np.ndarray) -> np.ndarray:
    return reference.to_compact(chip.mesh, phases).reshape(8, -1)


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


def follow(run: str, chip: CoreChip, task: Problem, search: Search, state: State) -> None:
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
        if not (search.adaptive and search.legacy == "calibrate"):
            # Ours counts the first reading too; and one for every calibration restart, which the reference does not.
            assert task.hardware.meter.state()["idle"]["evaluations"] == 8 * (z["total_step"][e] + 1)
        if e + 1 in kept:
            close(compact(chip, state.u), z["phase_U_epochs"][kept[e + 1]], f"phases of U, epoch {e + 1}")
            close(compact(chip, state.v), z["phase_V_epochs"][kept[e + 1]], f"phases of V, epoch {e + 1}")


def options(run: str) -> dict[str, object]:
    _, method, adaptive, best = run.split("_")[:4]
    return {"method": method, "adaptive": adaptive == "a1", "best_record": best == "b1"}


@pytest.mark.parametrize("run", CALIBRATIONS)
def test_calibration(run: str) -> None:
    z, chip = golden("ic_pm_k4"), golden_chip()
    task, search, state = calibration(chip, shuffle=True, **options(run))
    follow(run, chip, task, search, state)
    if f"{run}end_best_U" in z:
        close(compact(chip, state.u), z[f"{run}end_phase_U"], "last phases of U")
        close(compact(chip, state.v), z[f"{run}end_phase_V"], "last phases of V")
        rest = calibrate.pseudo_identities(chip, state)
        chip.set_signs(**rest.signs)
        chip.set_phases(**rest.phases)
        for part, letter in PARTS:
            close(chip.oracle_matrix(part), z[f"{run}I_{letter}"], f"I_{letter}")
            close(chip.oracle_matrix(part).reshape(8, 4, 4), z[f"{run}end_best_{letter}"], f"best {letter}")


@pytest.mark.parametrize("run", MAPPINGS)
def test_mapping(run: str) -> None:
    z, chip = golden("ic_pm_k4"), golden_chip()
    task, search, state = mapping(chip, **options(run))
    follow(run, chip, task, search, state)
    if f"{run}end_loss" in z:
        close(state.best.ravel(), z[f"{run}preosp_best_loss"], "best loss before the projection")
        close(compact(chip, state.best_u), z[f"{run}preosp_best_phase_U"], "best phases of U")
        close(compact(chip, state.best_v), z[f"{run}preosp_best_phase_V"], "best phases of V")


@pytest.mark.parametrize("best", (0, 1))
@pytest.mark.parametrize("stage", ("ic", "pm"))
def test_gradient_descent(stage: str, best: int) -> None:
    z, chip, key = golden("zgd"), golden_chip(), f"k4_{stage}_zgd_b{best}_"
    problem, lr = (calibration, 1.0) if stage == "ic" else (mapping, 0.1)
    task, search, state = problem(chip, method="zgd", lr=lr, best_record=bool(best))
    perturbations = iter(z["k4_perturb"])

    def draw() -> tuple[np.ndarray, np.ndarray]:
        u, v = next(perturbations).reshape(2, 2, 4, 6)
        return reference.from_compact(chip.mesh, u), reference.from_compact(chip.mesh, v)

    for e in range(len(z[f"{key}loss"])):
        zeroth.gradient_steps(task, search, state, draw)
        zeroth._next_epoch(task, search, state)
        close(state.loss.ravel(), z[f"{key}loss"][e], f"loss of epoch {e + 1}")
        close(state.best.ravel(), z[f"{key}best_loss"][e], f"best loss of epoch {e + 1}")
        close(compact(chip, state.u), z[f"{key}phase_U"][e], f"phases of U, epoch {e + 1}")
        close(compact(chip, state.v), z[f"{key}phase_V"][e], f"phases of V, epoch {e + 1}")
        close(state.lr.ravel(), z[f"{key}lr"][e], f"lr after epoch {e + 1}")
    assert next(perturbations, None) is None
    projection = 3 if stage == "pm" else 0
    assert chip.meter.state()["idle"]["evaluations"] == 8 * (z[f"{key}total_step"][0] - projection + 1)
    if stage == "pm":
        close(compact(chip, state.best_u), z[f"{key}commit_phase_U"].reshape(8, 6), "committed phases of U")
        close(compact(chip, state.best_v), z[f"{key}commit_phase_V"].reshape(8, 6), "committed phases of V")
    elif best:  # Without a best record the reference never updates its V (spec section m, 5).
        chip.set_phases(u=state.best_u, v=state.best_v)
        for part, letter in PARTS:
            close(chip.oracle_matrix(part), z[f"{key}I_{letter}"], f"I_{letter}")


def legacy_projection(
    u: np.ndarray, v: np.ndarray, weight: np.ndarray, i_u: np.ndarray | None = None, i_v: np.ndarray | None = None
) -> np.ndarray:
    """The reference's sigma (M, k): diag(U' W V'), or diag(I_U' V W' U I_V) with its pseudo-identities (spec d)."""
    if i_u is None or i_v is None:
        return np.einsum("maj,mab,mjb->mj", u, weight, v)
    return np.einsum("maj,mab,mcb,mcd,mdj->mj", i_u, v, weight, u, i_v, optimize=True)


@pytest.mark.parametrize("run", MAPPINGS)
def test_projection_and_commit(run: str) -> None:
    z = {key.removeprefix(run): array for key, array in golden("ic_pm_k4").items() if key.startswith(run)}
    if "end_best_S" not in z:
        pytest.skip("not in the small golden set")
    chip, signs = golden_chip(), {p: np.sign(golden("ic_pm_k4")[f"ideal_delta_list_{letter}"]) for p, letter in PARTS}
    chip.set_signs(**signs)
    commands = {p: reference.from_compact(chip.mesh, z[f"commit_phase_{letter}"]) for p, letter in PARTS}
    chip.set_phases(**commands)
    u, v = (chip.oracle_matrix(part).reshape(8, 4, 4) for part in "uv")
    target, sigma = z["preosp_target"], z["preosp_best_S"]

    def loss(s: np.ndarray) -> np.ndarray:
        return (((u * s[:, None, :]) @ v - target) ** 2).mean(axis=(1, 2))

    close(loss(sigma), z["preosp_best_loss"], "loss before the projection")
    ideal = run.endswith("ideal1_")
    projected = legacy_projection(u, v, target, *(() if ideal else (z["preosp_I_U"], z["preosp_I_V"])))
    projected = np.where((loss(projected) < loss(sigma))[:, None], projected, sigma)
    close(projected, z["end_best_S"], "projected sigma")
    close(loss(projected), z["end_best_loss"], "loss after the projection")
    assert (z["end_best_loss"] < z["preosp_best_loss"]).all()

    committed = golden_chip(exact_sigma=False)
    committed.set_signs(**signs)
    committed.set_phases(**commands)
    committed.set_sigma(projected.reshape(2, 4, 4))
    for part, letter in PARTS:
        close(committed.oracle_matrix(part), z[f"synced_{letter}"], f"synced {letter}")
    close(committed.oracle_sigma(), z["synced_S"], "synced sigma")
    close(committed.oracle_weights(), z["synced_weight"], "synced weight")
    close(committed.forward(np.eye(4)[None, None]), z["synced_weight"], "what light sees")


def test_noisy_forward_before_mapping() -> None:
    """The reference's phase-mode forward, from which mapping takes its sigma."""
    z, chip = golden("ic_pm_k4"), golden_chip(exact_sigma=False)
    chip.set_signs(**{part: np.sign(z[f"ideal_delta_list_{letter}"]) for part, letter in PARTS})
    chip.set_phases(**{p: reference.from_compact(chip.mesh, z[f"ideal_phase_{letter}"]) for p, letter in PARTS})
    chip.set_sigma(z["ideal_S"])
    close(chip.oracle_sigma(), z["noise_S_after_build"], "sigma")
    for part, letter in PARTS:
        close(chip.oracle_matrix(part), z[f"noise_{letter}_after_build"], letter)
