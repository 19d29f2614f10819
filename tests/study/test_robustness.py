"""Robustness: sensitivities are derivatives, errors grow as first-order theory says, intervals cover, maps go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.flow.insitu import session as insitu
from l2sim.job.job import Job
from l2sim.mesh import mesh as meshes
from l2sim.mesh.mesh import Mesh
from l2sim.study import harness, mapping_quality, mesh_errors, robustness, sensitivity

TINY: dict[str, Any] = {"data.name": "synthetic", "insitu.modes": 16, "insitu.layers": 2, "learn.epochs": 1}


# -- sensitivities -----------------------------------------------------------------------------------------------------


def test_the_sensitivity_of_the_loss_is_its_derivative_by_every_phase() -> None:
    session = insitu.open_session(Job.preset("insitu-digits", TINY | {"precision": "float64"}), None)
    insitu.fabricate(session)
    x, y = session.data.test_x[:5], session.data.test_y[:5]
    found = sensitivity.of_loss(session.network, session.objective, x, y)

    def losses() -> np.ndarray:
        logits = session.network.forward(x)
        return np.array([session.objective(logits[:, b : b + 1], y[b : b + 1])[0] for b in range(5)])

    step = 1e-5
    for name, by in found.items():
        chip = session.chips[name]
        for kind, slopes in zip(("theta", "phi"), by):
            for heater in (0, 7, chip.mesh.count - 1):
                phases, seen = chip.commanded[kind], []
                for sign in (1, -1):
                    turned = phases.copy()
                    turned[heater] += sign * step
                    chip.set_phases(**{kind: turned})
                    seen.append(losses())
                chip.set_phases(**{kind: phases})
                slope = (seen[0] - seen[1]) / (2 * step)
                assert slopes[heater] == pytest.approx(np.sqrt(np.mean(slope**2)), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", ["rectangular", "triangular"])
def test_the_sensitivity_of_a_core_is_the_derivative_of_its_matrix(kind: str) -> None:
    mesh, rng = Mesh(kind, 5), generator(1, "core")
    u, v = (mesh.scatter(rng.uniform(0, 2 * np.pi, mesh.count)) for _ in range(2))
    sigma = rng.normal(size=5)

    def matrix(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (meshes.matrix(mesh, u) * sigma) @ meshes.matrix(mesh, v)

    step = 1e-6
    for heater in range(mesh.count):
        shift = mesh.scatter(step * np.eye(mesh.count)[heater])
        by_u = (matrix(u + shift, v) - matrix(u - shift, v)) / (2 * step)
        by_v = (matrix(u, v + shift) - matrix(u, v - shift)) / (2 * step)
        for found, by in zip(sensitivity.of_core(mesh, u, sigma, v), (by_u, by_v)):
            assert found[heater] == pytest.approx(np.linalg.norm(by) / np.linalg.norm(matrix(u, v)), rel=1e-6, abs=1e-8)


def test_every_coupler_of_a_mesh_of_equal_singular_values_counts_alike() -> None:
    mesh, rng = Mesh("rectangular", 6), generator(2, "core")
    u, v = (mesh.scatter(rng.uniform(0, 2 * np.pi, mesh.count)) for _ in range(2))
    for part in sensitivity.of_core(mesh, u, np.ones(6), v):
        np.testing.assert_allclose(part, np.sqrt(2 / 6), rtol=1e-12)


# -- errors over N -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "corrected"), sorted(mesh_errors.CLOSED))
def test_small_errors_grow_with_the_mesh_as_first_order_theory_says(kind: str, corrected: bool) -> None:
    for modes in (6, 17):
        errors = [mesh_errors.matrix_error(kind, corrected, modes, seed) for seed in range(16)]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(mesh_errors.CLOSED[kind, corrected](modes), rel=0.2)


def test_gradients_measured_on_the_chip_are_exact_whatever_its_phases_and_couplers_are() -> None:
    for kind in ("phase", "coupler"):
        assert mesh_errors.gradient_error(kind, False, 8, 1) < 1e-12
    assert mesh_errors.gradient_error("loss", True, 8, 1) < 0.2 * mesh_errors.gradient_error("loss", False, 8, 1)


def test_known_couplers_are_corrected_where_none_is_clipped() -> None:
    assert mesh_errors.matrix_error("coupler", True, 4, 1) < 1e-9 < mesh_errors.matrix_error("coupler", False, 4, 1)


def test_the_study_of_errors_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mesh_errors.table
    monkeypatch.setattr(mesh_errors, "table", lambda *_: whole((4, 16), 2))
    mesh_errors.STUDY.main(["--full", "--out", str(tmp_path)])
    rows = (tmp_path / "mesh-errors.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * (len(mesh_errors.CLOSED) + 1 + len(mesh_errors.GRADIENTS))
    assert "| gradient | couplers off by 0.03 rad | no | exact | exact |" in (tmp_path / "mesh-errors.md").read_text()
    assert (tmp_path / "mesh-errors.png").stat().st_size > 10_000


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_interval_covers_the_mean_nineteen_times_of_twenty(count: int) -> None:
    draws = generator(3, "interval", count).normal(1.0, 2.0, size=(800, count))
    covered = np.mean([abs(row.mean() - 1.0) <= harness.interval(row.tolist()) for row in draws])
    assert covered == pytest.approx(0.95, abs=0.025)


def test_one_seed_has_no_interval() -> None:
    assert np.isnan(harness.interval([1.0])) and harness.interval([2.0, 2.0]) == 0.0


@pytest.mark.parametrize(("mean", "concentration"), [(0.9, 12.0), (0.5, 4.0), (0.97, 60.0)])
def test_the_interval_of_a_share_covers_its_mean_and_stays_within_nothing_and_all(
    mean: float, concentration: float
) -> None:
    a, b = mean * concentration, (1.0 - mean) * concentration
    covered = 0
    for row in generator(3, "share", str(mean)).beta(a, b, size=(800, 10)):
        spread = harness.share(row.tolist())
        assert 0.0 <= spread.low <= spread.mean <= spread.high <= 1.0
        covered += spread.low <= mean <= spread.high
    assert covered / 800 == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.8])
def test_the_interval_of_a_magnitude_covers_its_mean_and_stays_above_nothing(sigma: float) -> None:
    covered = 0
    for row in generator(3, "magnitude", str(sigma)).lognormal(0.0, sigma, size=(800, 10)):
        spread = harness.magnitude(row.tolist())
        assert 0.0 < spread.low <= spread.mean <= spread.high
        covered += spread.low <= np.exp(sigma**2 / 2) <= spread.high
    assert covered / 800 == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("values", [[0.0, 0.0], [2.0, 2.0], [1e-14, 3e-14]])
def test_the_interval_of_extreme_magnitudes_is_one(values: list[float]) -> None:
    spread = harness.magnitude(values)
    assert 0.0 <= spread.low <= spread.mean <= spread.high < np.inf


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [0.0, 0.0], [0.3, 0.3, 0.3], [0.01, 0.99, 1.0]])
def test_the_interval_of_extreme_shares_is_one(values: list[float]) -> None:
    spread = harness.share(values)
    assert 0.0 <= spread.low <= spread.mean <= spread.high <= 1.0


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_study_without_full_is_a_quick_look_that_writes_no_page(tmp_path: Path, capsys: Any) -> None:
    before = sorted(path.stat().st_mtime_ns for path in harness.OUT.glob("*"))
    mesh_errors.STUDY.main([])
    said = capsys.readouterr().out
    assert "# Errors over the size of a mesh" in said and "A quick look" in said
    assert sorted(path.stat().st_mtime_ns for path in harness.OUT.glob("*")) == before
    with pytest.raises(SystemExit):
        mesh_errors.STUDY.main(["--out", str(tmp_path)])
    assert "a quick look writes no page" in capsys.readouterr().err and not list(tmp_path.iterdir())


# -- maps --------------------------------------------------------------------------------------------------------------


def test_a_map_takes_the_seeds_together_and_keeps_its_other_fields_apart() -> None:
    it = robustness.Map("digits", {}, {"nonidealities.phase_bits": [4, 8], "learn.lr": [0.1]}, 2)
    rows = [
        ({"nonidealities.phase_bits": bits, "learn.lr": 0.1, "seed": seed}, {"learn.accuracy": bits / 10 + seed / 100})
        for bits in (4, 8) for seed in (1, 2)
    ]  # fmt: skip
    first, second = robustness.summary(it, rows)
    assert first.values == {"nonidealities.phase_bits": 4, "learn.lr": 0.1} and first.seeds == 2
    assert list(first.metrics) == ["accuracy"] and first.metrics["accuracy"][0] == pytest.approx(0.415)
    assert second.metrics["accuracy"][0] == pytest.approx(0.815)
    assert tuple(first.metrics["accuracy"]) == pytest.approx(tuple(harness.share([0.41, 0.42])))
    assert robustness.shown("accuracy", first.metrics["accuracy"]) == harness.percent(harness.share([0.41, 0.42]))


def test_the_maps_of_the_documentation_are_jobs() -> None:
    for it in robustness.MAPS:
        plan = robustness.planned(it)
        assert len(plan) == it.seeds * np.prod([len(values) for values in it.grid.values()])


def test_a_map_is_made_by_one_command_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ["insitu-digits", "--grid", "nonidealities.tap_noise=[0, 5]", "--seeds", "2", "--name", "taps"]
    for path, value in TINY.items():
        told += ["--set", f"{path}={value}"]
    told += ["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    robustness.STUDY.main(told)
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    pictures = {f"taps{part}.{end}" for part in ("", "-errors") for end in ("png", "svg")}
    assert set(made) == {"taps.csv", "taps.md"} | pictures
    rows = [line.split(",") for line in made["taps.csv"].decode().splitlines()]
    assert rows[0] == ["preset", "nonidealities.tap_noise", "metric", "seeds", "mean", "low_95", "high_95"]
    errors = {float(row[1]): float(row[4]) for row in rows[1:] if row[2] == "gradient_error"}
    assert errors[0.0] < 1e-6 < 0.01 < errors[5.0]
    monkeypatch.setattr(robustness, "Local", None)  # nothing is left to run
    robustness.STUDY.main(told)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == made


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (["digits", "--grid", "learn.epochs=3"], "is no field with values; write"),
        (["digits", "--grid", "nonsense=[1]"], "there is no field nonsense"),
        (["digits", "--grid", "learn.lr=[-1]"], "learn.lr = -1 is out of range"),
        (["digits", "--grid", "learn.lr=[1]", "--set", "map.method=zzz"], "map.method = 'zzz' is unknown"),
        (["digits"], "a map is presets over a grid"),
        (["--grid", "learn.lr=[1]"], "a map is presets over a grid"),
        (["digitz", "--grid", "learn.lr=[1]"], "there is no preset 'digitz'; did you mean digits?"),
        (["digits", "--grid", "insitu.modes=[8]"], "insitu.modes belongs to flow = 'insitu'"),
    ],
)
def test_a_bad_map_is_told_in_one_line(told: list[str], line: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        robustness.STUDY.main([*told, "--full", "--out", str(tmp_path), "--runs", str(tmp_path)])
    said = capsys.readouterr().err
    assert line in said and "Traceback" not in said


# -- mapping quality ---------------------------------------------------------------------------------------------------


def test_learning_starts_from_every_snapshot_of_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_quality, "SEEDS", (1,))
    monkeypatch.setattr(mapping_quality, "SNAPSHOTS", (1, 3))
    short = {"calibrate.epochs": 2, "calibrate.polish": 0, "map.epochs": 4, "map.polish": 0, "map.compare": False}
    monkeypatch.setattr(mapping_quality, "SETUP", short | {"pretrain.epochs": 2, "learn.epochs": 1})
    options = ["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    mapping_quality.STUDY.main(options)
    rows = [line.split(",") for line in (tmp_path / "out" / "mapping-quality.csv").read_text().splitlines()[1:]]
    assert [int(row[1]) for row in rows] == [0, 1, 3]
    errors = [float(row[2]) for row in rows]
    assert errors[1] > errors[2] > errors[0] > 0
    monkeypatch.setattr(harness.execute, "execute", None)
    mapping_quality.STUDY.main(options)
