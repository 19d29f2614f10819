"""Devices one by one: what is given of single heaters, couplers and arms acts, and what is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from tests.tolerances import kernel

EXACT = kernel(np.float64)
MESH = Mesh("rectangular", 4)
SHEET = Nonidealities(phase_bias=1.0, gamma_std=0.002)
VOLTS = Nonidealities(drive="voltage", v_max=6.0, phase_bits=8, gamma_std=0.002)


def core(given: Any, it: Nonidealities = SHEET, kind: type[CoreChip] = CoreChip) -> CoreChip:
    chip = kind((1, 2), MESH, it, seed=1, given=given)
    chip.set_phases(u=np.full((1, 2, *MESH.shape), 2.0), v=np.full((1, 2, *MESH.shape), 2.0))
    return chip


def phases(chip: CoreChip, part: str = "u") -> np.ndarray:
    return MESH.gather(chip.oracle_phases(part)).reshape(2, 6)


def test_heaters_one_by_one() -> None:
    rng = generator(1)
    bias, ratio, stuck = rng.uniform(-1, 1, (2, 6)), rng.uniform(0.9, 1.1, (2, 6)), np.full((2, 6), np.nan)
    stuck[1, 2] = 0.7
    chip = core({"u.bias": bias, "u.ratio": ratio, "u.stuck_at": stuck, "u.dead": [3, 11]})
    wanted = 2.0 * ratio
    wanted[0, 3] = wanted[1, 5] = 0.0
    wanted[1, 2] = 0.7
    np.testing.assert_allclose(phases(chip), wanted + bias, atol=EXACT)
    assert np.array_equal(phases(chip, "v"), phases(core(None), "v")), "what is not given is as it was drawn"
    mask = np.zeros((2, 6), bool)
    mask[0, 3] = mask[1, 5] = True
    assert np.array_equal(phases(core({"u.dead": mask})), phases(core({"u.dead": [3, 11]})))
    chip.nonidealities = msgspec.structs.replace(SHEET, phase_bias=0.0, crosstalk=0.0)
    np.testing.assert_allclose(phases(chip), wanted + bias, atol=EXACT, err_msg="given stays given")


def test_attenuators_one_by_one() -> None:
    sigma = np.array([[[1.0, 0.5, -0.2, 0.0], [0.3, 1.0, 0.1, -1.0]]])
    bias, ratio = generator(2).uniform(-0.3, 0.3, (2, 4)), np.full((2, 4), 1.05)
    wanted = np.cos(np.arccos(sigma.reshape(2, 4)) * ratio + bias)
    for kind, it in ((CoreChip, SHEET), (ComplexChip, msgspec.structs.replace(SHEET, attenuators="mzi"))):
        chip = core({"sigma.bias": bias, "sigma.ratio": ratio}, it, kind)
        chip.set_sigma(sigma)
        np.testing.assert_allclose(chip.oracle_sigma().reshape(2, 4), wanted, atol=EXACT)


def test_couplers_and_arms_of_complex_cores() -> None:
    drawn = ComplexChip((1, 2), MESH, Nonidealities(splitter_error_std=0.05, loss_db=0.2, loss_db_std=0.1), seed=1)
    draws = drawn.oracle_fabrication()
    given = {}
    for part in "uv":
        given[f"{part}.splitters"] = 0.05 * draws[f"{part}_optics.noise_splitters"]
        given[f"{part}.loss"] = np.maximum(0.2 + 0.1 * draws[f"{part}_optics.noise_arms"], 0.0)
    chip = ComplexChip((1, 2), MESH, Nonidealities(), seed=7, given=given)
    np.testing.assert_allclose(chip.oracle_weights(), drawn.oracle_weights(), atol=EXACT)


def test_a_whole_mesh_one_by_one() -> None:
    mesh = Mesh("clements", 5)
    it = Nonidealities(phase_bias=0.5, splitter_error_std=0.05, loss_db=0.2, loss_db_std=0.1, gamma_std=0.003)
    drawn = MeshChip(mesh, it, seed=1, dtype=float)
    draws = drawn.oracle_fabrication()
    given = {
        "bias": 0.5 * draws["heaters.noise_bias"][0], "ratio": 1.0 + 0.003 / GAMMA * draws["heaters.noise_gamma"][0],
        "splitters": 0.05 * draws["optics.noise_splitters"],
        "loss": np.maximum(0.2 + 0.1 * draws["optics.noise_arms"][0], 0.0),
    }  # fmt: skip
    chip = MeshChip(mesh, Nonidealities(loss_db=0.2), seed=9, dtype=float, given=given)
    rng = generator(3)
    for one in (drawn, chip):
        one.set_phases(rng.uniform(0, 6, mesh.count))
        rng = generator(3)
    np.testing.assert_allclose(chip.oracle_matrix(), drawn.oracle_matrix(), atol=EXACT)
    dead = MeshChip(mesh, Nonidealities(), seed=1, dtype=float, given={"dead": [4]})
    dead.set_phases(np.ones(10))
    assert np.flatnonzero(dead.oracle_phases()["theta"] == 0.0).tolist() == [4]


def test_each_heater_has_its_own_curve() -> None:
    volts, rng = np.linspace(0.0, 7.0, 200), generator(4)
    factor, start = rng.uniform(0.9, 1.1, (2, 6, 1)), rng.uniform(-0.3, 0.3, (2, 6, 1))
    curve = start + factor * GAMMA * volts**2 * (1 - 0.002 * volts)
    chip = core({"curve_volts": volts, "u.curve": curve}, msgspec.structs.replace(VOLTS, gamma_std=0.0))
    codes, last = VOLTS.codes(np.full(1, 2.0))
    driven = codes[0] / last * 6.0
    wanted = [[np.interp(driven, volts, curve[m, i]) for i in range(6)] for m in range(2)]
    np.testing.assert_allclose(phases(chip), wanted, atol=1e-5)
    same = core({"curve_volts": volts, "u.curve": np.tile(GAMMA * volts**2, (2, 6, 1))}, VOLTS)
    np.testing.assert_allclose(phases(same), phases(core(None, VOLTS)), atol=5e-4)


@pytest.mark.parametrize("kind", ("npz", "csv"))
def test_files(kind: str, tmp_path: Path) -> None:
    bias, dead = np.full((2, 6), 0.25), np.zeros((2, 6), bool)
    dead[1, 4] = True
    path = tmp_path / f"devices.{kind}"
    if kind == "npz":
        np.savez(path, **{"u.bias": bias, "u.dead": dead})
    else:
        rows = [f"u,{m},{i},{bias[m, i]},{int(dead[m, i])}" for m in range(2) for i in range(6)]
        path.write_text("\n".join(["part,core,heater,bias,dead", *rows, "v,0,1,,1"]) + "\n")
    chip = core(path)
    assert np.array_equal(phases(chip), phases(core({"u.bias": bias, "u.dead": dead})))
    if kind == "csv":
        assert not np.isclose(phases(chip, "v"), phases(core(None), "v")).all(axis=0)[1]
        assert np.array_equal(phases(chip, "v")[:, 2:], phases(core(None), "v")[:, 2:])


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"u.bais": np.zeros((2, 6))}, "called 'u.bais'"),
    ({"bias": np.zeros((2, 6))}, "called 'bias'"),
    ({"u.bias": np.zeros((2, 5))}, r"shape \(2, 5\); this chip takes \(2, 6\)"),
    ({"u.bias": np.full((2, 6), np.nan)}, "values that are none"),
    ({"u.ratio": np.full((2, 6), -1.0)}, "from 0 to 100"),
    ({"u.dead": [12]}, "from 0 to 11"),
    ({"u.dead": [0.5]}, "from 0 to 11"),
    ({"u.splitters": np.zeros((2, 2, 6))}, "called 'u.splitters'"),
    ({"sigma.dead": [1]}, "called 'sigma.dead'"),
    ({"u.curve": np.zeros((2, 6, 5))}, "need both"),
    ({"curve_volts": np.arange(5.0), "u.curve": np.zeros((2, 6, 4))}, "4 phases a heater for 5 V"),
    ({"curve_volts": np.arange(1.0, 6.0), "u.curve": np.zeros((2, 6, 5))}, "rise from 0"),
    ({"curve_volts": np.arange(5.0), "u.curve": np.zeros((2, 6, 5))}, "drive = 'voltage'"),
    ({"u.bias": "x"}, "u.bias of devices"),
)  # fmt: skip


@pytest.mark.parametrize("given, said", BAD)
def test_what_is_no_device_is_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ChipError, match=said) as caught:
        core(given)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    table, other = tmp_path / "a.csv", tmp_path / "a.npz"
    other.write_bytes(b"no archive")
    texts = ("part,core,heater,bias\nu,0,9,1\n", "part,core,heater,gain\nu,0,1,1\n", "part,core\nu,0\n",
             "part,core,heater,bias\nw,0,1,1\n", "part,core,heater,bias\nu,0,1,much\n")  # fmt: skip
    for text in texts:
        table.write_text(text)
        with pytest.raises(ChipError, match="holds no devices") as caught:
            core(table)
        assert "\n" not in str(caught.value)
    for path in (other, tmp_path / "none.npz"):
        with pytest.raises(ChipError, match="holds no devices"):
            core(path)
    with pytest.raises(ChipError, match="ends at 5 V"):
        core({"curve_volts": np.arange(6.0), "u.curve": np.zeros((2, 6, 6))}, VOLTS)
