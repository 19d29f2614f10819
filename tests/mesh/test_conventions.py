"""Every convention of docs/words.md, pinned by hand and by golden data of the reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import GAMMA, PRESETS, Nonidealities
from l2sim.mesh import reference
from l2sim.mesh.mesh import KINDS, Mesh, matrix
from l2sim.mesh.orthogonal import decompose
from tests.doubles import small_chip
from tests.goldens import golden
from tests.tolerances import TRAJECTORY, kernel

STYLES = {"clements": "rectangular", "reck": "triangular"}
EXACT = kernel(np.float64)


def one_mzi(mesh: Mesh, column: int, rail: int, phase: float) -> np.ndarray:
    phases = np.zeros(mesh.shape)
    phases[column, rail] = phase
    return phases


@pytest.mark.parametrize("kind", KINDS)
def test_an_mzi_is_a_givens_rotation_of_its_two_rails(kind: str) -> None:
    mesh, phi = Mesh(kind, 4), 0.3
    for column, rail in zip(mesh.column, mesh.rail):
        wanted = np.eye(4)
        wanted[rail : rail + 2, rail : rail + 2] = [[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]]
        np.testing.assert_allclose(matrix(mesh, one_mzi(mesh, column, rail, phi)), wanted, atol=EXACT)


def test_column_zero_is_nearest_the_input_and_signs_stand_at_the_output() -> None:
    mesh = Mesh("rectangular", 3)
    first, second = one_mzi(mesh, 0, 0, 0.4), one_mzi(mesh, 1, 1, 0.7)
    signs = np.array([1.0, -1.0, -1.0])
    wanted = np.diag(signs) @ matrix(mesh, second) @ matrix(mesh, first)
    np.testing.assert_allclose(matrix(mesh, first + second, signs), wanted, atol=EXACT)
    assert np.abs(matrix(mesh, first + second) - matrix(mesh, first) @ matrix(mesh, second)).max() > 0.1


def test_places_of_the_mzis() -> None:
    assert Mesh("rectangular", 4).mask.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert Mesh("rectangular", 5).mask.astype(int).tolist() == [
        *([1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0])
    ]
    triangle = [[0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert Mesh("triangular", 4).mask.astype(int).tolist() == triangle
    for kind in KINDS:
        for k in (2, 3, 7, 16, 64):
            mesh = Mesh(kind, k)
            assert mesh.mask.sum() == mesh.count == k * (k - 1) // 2
            assert np.all(np.diff(mesh.column * k + mesh.rail) > 0), "travel order is column by column, from the top"


def test_a_core_is_u_sigma_v_on_columns() -> None:
    chip = small_chip((2, 2), 4)
    rng = generator(3)
    chip.set_phases(**{part: rng.uniform(0, 6, (2, 2, *chip.mesh.shape)) for part in "uv"})
    chip.set_sigma(rng.normal(size=(2, 2, 4)))
    x = rng.normal(size=(2, 2, 4, 5))
    u, s, v = chip.oracle_matrix("u"), chip.oracle_sigma(), chip.oracle_matrix("v")
    for i in range(2):
        for j in range(2):
            wanted = u[i, j] @ np.diag(s[i, j]) @ v[i, j] @ x[i, j]
            np.testing.assert_allclose(chip.forward(x)[i, j], wanted, atol=EXACT)


def test_a_grid_is_a_block_matrix() -> None:
    matrix = generator(4).normal(size=(5, 7))
    cut = grid.blocks(matrix, 3)
    assert cut.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(cut[1, 2][:2, :1], matrix[3:, 6:])
    assert not cut[1, 2][2].any() and not cut[1, 2][:, 1:].any(), "padded with zeros"
    chip = small_chip((2, 3), 3, PRESETS["ideal"])
    whole = chip.oracle_weights().transpose(0, 2, 1, 3).reshape(6, 9)
    np.testing.assert_allclose(grid.product(chip, np.eye(9)), whole, atol=EXACT)
    np.testing.assert_allclose(grid.product_back(chip, np.eye(6)), whole.T, atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_crosstalk_reaches_the_six_heaters_around(kind: str) -> None:
    mesh = Mesh(kind, 6)
    place = {(c, r): i for i, (c, r) in enumerate(zip(mesh.column, mesh.rail))}
    for (c, r), i in place.items():
        near = {(c, r - 2), (c, r + 2), (c - 1, r - 1), (c - 1, r + 1), (c + 1, r - 1), (c + 1, r + 1)}
        assert {n for n in mesh.around[i] if n >= 0} == {place[at] for at in near if at in place}
        assert (mesh.around[i] >= 0).sum() == len({at for at in near if at in place})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 3, 4, 5, 8, 9, 33))
def test_converters_lose_nothing(kind: str, k: int) -> None:
    mesh = Mesh(kind, k)
    phases = generator(k).normal(size=(2, 3, *mesh.shape)) * mesh.mask
    compact = reference.to_compact(mesh, phases)
    assert compact.shape == (2, 3, mesh.count) and np.unique(compact).size == compact.size
    assert np.array_equal(reference.from_compact(mesh, compact), phases)
    assert np.array_equal(reference.from_cells(mesh, reference.to_cells(mesh, phases)), phases)
    assert np.array_equal(mesh.scatter(mesh.gather(phases)), phases)


@pytest.mark.parametrize("style, table", (("rectangular", "checker"), ("triangular", "triangle")))
def test_golden_layout(style: str, table: str) -> None:
    found = 0
    for k in (2, 3, 4, 5, 8, 9):
        mesh = Mesh(style, k)
        numbers = reference.from_compact(mesh, np.arange(1.0, mesh.count + 1))
        assert np.array_equal(reference.to_cells(mesh, numbers), golden("layout")[f"{table}_k{k}"])
        found += 1
    assert found == 6


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("k", (2, 3, 4, 5, 8, 9, 16))
def test_golden_unitary(style: str, k: int) -> None:
    z = golden("unitary")
    if f"rec_{style}_k{k}_phase" not in z:
        pytest.skip("not in the small golden set")
    legacy, ours = Mesh(STYLES[style], k, inner_signs=True), Mesh(STYLES[style], k)
    made = {what: z[f"rec_{style}_k{k}_{what}"] for what in ("phase", "delta", "phimat", "U")}
    phases = reference.from_compact(legacy, made["phase"])
    assert np.array_equal(reference.to_cells(legacy, phases), made["phimat"])
    np.testing.assert_allclose(matrix(legacy, phases, made["delta"]), made["U"], atol=EXACT)
    for choice in ("rand", "special"):
        q, compact, delta, table = (
            z[f"dec_{style}_k{k}_{choice}_{what}"] for what in ("Q", "phase", "delta", "phimat")
        )
        phases, signs = decompose(legacy, q)
        np.testing.assert_allclose(reference.to_compact(legacy, phases), compact, atol=TRAJECTORY)
        np.testing.assert_allclose(reference.to_cells(legacy, phases), table, atol=TRAJECTORY)
        np.testing.assert_allclose(signs, delta, atol=EXACT)
        for mesh in (legacy, ours):
            np.testing.assert_allclose(matrix(mesh, *decompose(mesh, q)), q, atol=EXACT)


def heaters(chip: CoreChip, part: str, **draws: np.ndarray) -> None:
    chip._heaters[part] = dataclasses.replace(chip._heaters[part], **draws)


def test_golden_crosstalk() -> None:
    z = golden("quantizer_crosstalk")
    ks = [k for k in (2, 3, 4, 5, 8, 9, 16) if f"ct_k{k}_in" in z]
    assert len(ks) >= 4
    for k in ks:
        chip = small_chip((1, 5), k, Nonidealities(crosstalk=0.005))
        phases = reference.from_compact(chip.mesh, z[f"ct_k{k}_in"])[None]
        # The filter alone does not wrap but the chain does; the filter is linear, so whole turns are filtered apart.
        turns = reference.from_compact(chip.mesh, np.floor(z[f"ct_k{k}_in"] / (2 * np.pi)) * (2 * np.pi))[None]
        chip.set_phases(u=phases)
        seen = reference.to_compact(chip.mesh, chip.oracle_phases("u"))[0]
        around, filtered = chip.mesh.around, chip.mesh.gather(turns)[0].copy()
        for row, lost in zip(filtered, chip.mesh.gather(turns)[0]):
            row += 0.005 * np.where(around >= 0, lost[around], 0.0).sum(axis=1)
        back = reference.to_compact(chip.mesh, chip.mesh.scatter(filtered))
        np.testing.assert_allclose(seen + back, z[f"ct_k{k}_out"], atol=EXACT)
    taps = z["ct_filter5"].reshape(5, 3)
    assert taps.tolist() == [[0, 0.005, 0], [0.005, 0, 0.005], [0, 1, 0], [0.005, 0, 0.005], [0, 0.005, 0]]


def rectangle_cases() -> list[str]:
    return sorted(
        key[:-4] for key in golden("quantizer_crosstalk") if key.startswith("q_rect") and key.endswith("_out")
    )


def diagonal_cases() -> list[str]:
    return sorted(
        key[:-4] for key in golden("quantizer_crosstalk") if key.startswith("q_diag") and key.endswith("_out")
    )


def settings(case: str) -> tuple[int, Nonidealities]:
    k, bits, g, c = (part[1:] for part in case.split("_")[2:])
    # The reference calls 16 bits and more continuous.
    bits = 0 if int(bits) >= 16 else int(bits)
    return int(k), Nonidealities(phase_bits=bits, gamma_std=float(g), crosstalk=float(c))


def test_golden_chain_of_meshes() -> None:
    z = golden("quantizer_crosstalk")
    cases = rectangle_cases()
    assert len(cases) >= 24
    for case in cases:
        k, it = settings(case)
        chip = small_chip((1, 5), k, it)
        if it.gamma_std:
            drawn = (z[f"{case}_noisygamma"] - z["gamma"]) / it.gamma_std
            heaters(chip, "u", gamma=chip.mesh.gather(reference.from_compact(chip.mesh, drawn)))
            chip.nonidealities = it
        chip.set_phases(u=reference.from_compact(chip.mesh, z["_".join(case.split("_")[:3]) + "_in"])[None])
        seen = reference.to_compact(chip.mesh, chip.oracle_phases("u"))[0]
        np.testing.assert_allclose(seen, z[f"{case}_out"], atol=EXACT, err_msg=case)


def test_golden_chain_of_attenuators() -> None:
    """The reference folds any phase; ours starts from sigma, so phases go in as sigma = cos(phase) at gain one."""
    z = golden("quantizer_crosstalk")
    cases = diagonal_cases()
    assert len(cases) >= 24
    for case in cases:
        _, it = settings(case)
        phases = z["_".join(case.split("_")[:3]) + "_in"]
        rows, modes = phases.shape
        # A core more than the phases need: its first attenuator is fully open, which makes the gain exactly one.
        mesh = Mesh("rectangular", modes + 1)
        chip = CoreChip((1, rows), mesh, it, seed=1)
        gamma = np.zeros((rows, modes + 1))
        if it.gamma_std:
            gamma[:, 1:] = (z[f"{case}_noisygamma"] - z["gamma"]) / it.gamma_std
        chip._attenuators = dataclasses.replace(chip._attenuators, gamma=gamma)
        chip.nonidealities = it
        chip.set_sigma(np.concatenate([np.ones((rows, 1)), np.cos(phases)], axis=1)[None])
        # Unquantised phases beyond pi, which the reference does not fold, are none that a sigma can ask for.
        real = (np.mod(phases, 2 * np.pi) <= np.pi) | (it.phase_bits > 0)
        realised, wanted = chip.oracle_sigma()[0, :, 1:], np.cos(z[f"{case}_out"])
        np.testing.assert_allclose(realised[real], wanted[real], atol=EXACT, err_msg=case)
        assert real.mean() > 0.3
    assert pytest.approx(GAMMA, rel=1e-12) == float(z["gamma"])
