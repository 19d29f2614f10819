"""What accuracy costs: noise of a reading and joules come from the same table, and energies are those of the meter."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import energy
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import ChipError
from l2sim.flow import oracle
from l2sim.learn.insitu import measure
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.unitary import haar
from l2sim.study import harness
from l2sim.study import noise_energy as study


def test_chips_can_have_the_noise_of_every_row_of_the_page() -> None:
    """One bit at the full scale of a wide mesh is more than the unit of a reading."""
    rows, _ = study.read(Path(__file__).parents[2] / "docs/results/noise-energy.csv")
    most = max(row.sigma for row in rows)
    assert most > 2.0 and Nonidealities(readout_noise=most).readout_noise == most


# -- light that measures -----------------------------------------------------------------------------------------------


def mesh(noise: float, batch: int = 200) -> tuple[MeshChip, np.ndarray, np.ndarray]:
    """A Haar random chip of 8 modes whose taps and fields are read with noise, light, and small cotangents."""
    draw = generator(1, "noise energy")
    chip = MeshChip(Mesh("rectangular", 8), Nonidealities(tap_noise=noise, readout_noise=noise), 1, dtype="float64")
    chip.set_phases(*haar(chip.mesh, draw))
    z = draw.normal(size=(4, 8, batch))
    return chip, z[0] + 1j * z[1], 1e-4 * (z[2] + 1j * z[3])


@pytest.mark.parametrize("scheme", ["digital", "analog"])
def test_without_noise_the_gradient_is_the_same_however_strong_the_light(scheme: str) -> None:
    chip, x, g = mesh(0.0)
    true = chip.oracle_gradient(x, g)
    for scale in ("row", "peak", "none"):
        for seen, wanted in zip(measure(chip, x, g, scheme, scale=scale), true):
            np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)


def test_cotangents_as_strong_as_the_data_drown_less_in_noise_than_a_dim_batch() -> None:
    errors = {}
    for scale in ("row", "peak", "none"):
        chip, x, g = mesh(0.03)
        true = np.concatenate(chip.oracle_gradient(x, g)[:2])
        errors[scale] = oracle.gradient_error(true, np.concatenate(measure(chip, x, g, "analog", scale=scale)[:2]))
    assert errors["peak"] < 0.1 * errors["row"] < errors["none"]


def test_light_of_an_unknown_strength_and_none_at_all() -> None:
    chip, x, g = mesh(0.0)
    with pytest.raises(ChipError, match="scale 'bright' is unknown; use one of row, peak, none"):
        measure(chip, x, g, scale="bright")
    dark = measure(chip, 0 * x, g, "analog", scale="peak")
    assert not np.any(dark.theta) and np.all(np.isfinite(dark.x))
    assert not np.any(measure(chip, x, 0 * g, "analog", scale="peak").x)


# -- noise and energy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("bits", [3, 8])
def test_the_noise_that_networks_are_trained_with_is_that_of_the_devices_that_are_paid_for(
    bits: int, loss: float
) -> None:
    for modes in (16, 64):
        table = study.table_of(bits, modes, loss)
        assert 2.5 * energy.readout_noise(table, modes).sigma == pytest.approx(study.sigma(bits, 2.5), rel=1e-9)
    assert study.sigma(0, 2.5) == study.tap_noise(0.0) == 0.0


def test_a_tap_sees_its_share_of_the_electrons_of_a_reading() -> None:
    table = energy.changed(study.table_of(6, 32, 0.1), tia_a_per_rthz=0.0)
    field = energy.readout_noise(table, 32).shot
    power = energy.readout_noise(energy.changed(table, port_w=study.TAP_SHARE * table.port_w), 32, "power").shot
    assert study.tap_noise(math.sqrt(2.0) * field) == pytest.approx(power, rel=1e-9)


def test_more_bits_and_more_loss_cost_more() -> None:
    for modes in (16, 256):
        by_bits = [study.inference_j(bits, modes, 0.1) for bits in (2, 5, 8)]
        by_loss = [study.training_j(5, modes, loss, 5120, 512) for loss in (0.0, 0.1, 0.3)]
        assert by_bits == sorted(by_bits) and by_loss == sorted(by_loss)
    lights = [study.table_of(5, 64, loss).port_w for loss in (0.0, 0.2)]
    assert lights[1] / lights[0] == pytest.approx(10 ** (0.2 * 64 / 10))


def test_without_loss_an_inference_costs_as_much_as_it_has_modes() -> None:
    joules = [energy.design("mvm", study.table_of(6, modes, 0.0), modes).energy_j for modes in (16, 256)]
    for part in ("laser", "adc", "tia"):
        assert joules[1][part] / joules[0][part] == pytest.approx(16.0)


def test_the_fewest_bits_that_are_enough() -> None:
    def row(bits: int, accuracy: float, trained: str = "without") -> study.Row:
        return study.Row(16, trained, bits, 4, 0.0, accuracy, 0.0, 1, (), ())

    found = [row(0, 0.9), row(8, 0.899), row(5, 0.892), row(4, 0.85), row(4, 0.895, "with"), row(3, 0.2)]
    assert study.enough(found, 16) == 4 and study.enough(found, 16, ("without",)) == 5
    assert study.enough(found[:1] + found[-1:], 16) == 0 and study.enough(found, 32) == 0


# -- the study ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PRESET", "insitu-digits")
    monkeypatch.setattr(study, "SIZES", (16,))
    monkeypatch.setattr(study, "SEEDS", (1, 2))
    monkeypatch.setattr(study, "LEARNT", (3,))
    monkeypatch.setattr(study, "TESTED", (2, 9))
    monkeypatch.setattr(study, "SETUP", study.SETUP | {"learn.epochs": 2, "insitu.features": "fourier"})
    study.full_scale.cache_clear()


def test_the_study_trains_and_tests_once_and_writes_its_page(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    study.STUDY.main(options)
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"noise-energy.csv", "noise-energy.md"} | {
        f"noise-energy{part}.{end}" for part in ("", "-causes", "-joules", "-modes") for end in ("png", "svg")
    }
    rows = [line.split(",") for line in made["noise-energy.csv"].decode().splitlines()[1:]]
    assert [row[:4] for row in rows] == [["16", *it] for it in (
        ["without", "0", "2"], ["without", "2", "2"], ["without", "9", "2"], ["with", "3", "1"], ["with", "3", "2"],
    )]  # fmt: skip
    accuracy = [float(row[5]) for row in rows]
    assert accuracy[1] < accuracy[2] == pytest.approx(accuracy[0], abs=0.05)
    assert [int(row[7]) for row in rows] == [2, 2, 2, 1, 1]
    half, whole = (np.array(row[-4:], float) for row in rows[-2:])
    np.testing.assert_allclose(whole, 2 * half, rtol=0.01)
    monkeypatch.setattr(harness.execute, "execute", None)  # nothing is trained ...
    monkeypatch.setattr(study.insitu, "open_session", None)  # ... or tested again
    study.STUDY.main(options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == made
    counted_as_by_the_meter(tmp_path / "runs")


def counted_as_by_the_meter(folder: Path) -> None:
    """What `training_j` counts on paper is what the chips of a run were asked to do."""
    it = study.job(16, 3, 1, study.full_scale(16, None))
    report: dict[str, Any] = json.loads((folder / "noise-energy-16-3-1" / "report.json").read_text())
    learn = next(stage for stage in report["stages"] if stage["name"] == "learn")
    images, at = learn["core_calls"] // (4 * 3), energy.whole(Mesh("rectangular", 16))
    assert learn["core_calls"] == 4 * 3 * images and images % it.learn.epochs == 0
    assert learn["tap_readings"] == 2 * 3 * images * at.heaters
    steps = it.learn.epochs * -(-images // it.learn.epochs // it.learn.batch)
    assert learn["writes"] == pytest.approx(3 * steps * 2 * 120, rel=0.01)
