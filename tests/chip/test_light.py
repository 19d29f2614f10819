"""The simulated mesh of in situ backpropagation: what its light does, its noise, its meter, its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from l2sim.backend import CPU, generator, kernels
from l2sim.chip import readout
from l2sim.chip.fused import aggregate
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import PRESETS, WAVELENGTH_NM, Nonidealities
from l2sim.chip.protocol import MeshHardware, lacks
from l2sim.chip.recorded import MeshRecorder, MeshReplay
from l2sim.errors import ChipError
from l2sim.mesh.layouts import LAYOUTS
from l2sim.mesh.mesh import NODES, Mesh
from l2sim.mesh.wiring import wiring
from tests.doubles import Sealed, light, lit_mesh
from tests.goldens import golden_mesh
from tests.tolerances import DTYPES, kernel

LOSSY = Nonidealities(splitter_error_std=0.05, loss_db=0.1, loss_db_std=0.05, phase_error_std=0.02)
meshes = st.builds(
    Mesh, st.sampled_from(sorted(LAYOUTS)), st.integers(1, 7), node=st.sampled_from(NODES)
)


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# -- what light does ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(meshes, st.booleans(), st.integers(0, 99))
def test_reciprocal_and_passive(mesh: Mesh, lossy: bool, seed: int) -> None:
    chip = lit_mesh(mesh, LOSSY if lossy else Nonidealities(splitter_error_std=0.1), seed)
    u, eye = chip.oracle_matrix(), np.eye(mesh.modes)
    close(chip.forward(eye), u)
    close(chip.backward(eye), u.T)
    largest = np.linalg.norm(u, 2)
    assert largest < 1 + 1e-12
    if not lossy:
        close(u.conj().T @ u, eye)
    x, g = light(chip, 3, "x"), light(chip, 3, "g")
    close(np.sum(g * chip.forward(x)), np.sum(chip.backward(g) * x))
    close(chip.forward(x, "power"), np.abs(u @ x) ** 2, 1e-11)
    assert lacks(chip, MeshHardware) == []


@settings(max_examples=25, deadline=None)
@given(meshes, st.booleans(), st.integers(0, 99))
def test_power_is_kept_or_lost_and_never_gained(mesh: Mesh, lossy: bool, seed: int) -> None:
    chip = lit_mesh(mesh, LOSSY if lossy else Nonidealities(splitter_error_std=0.1), seed)
    power = np.sum(np.abs(chip.oracle_fields(light(chip, 3, "x"))) ** 2, axis=1)
    if lossy:
        assert np.all(np.diff(power, axis=0) < 1e-12) and np.all(power[-1] < power[0])
    else:
        close(power, np.broadcast_to(power[:1], power.shape), 1e-11)


@settings(max_examples=25, deadline=None)
@given(meshes, st.integers(1, 20), st.booleans(), st.integers(0, 99))
def test_taps_see_the_fields_and_their_sums(mesh: Mesh, batch: int, back: bool, seed: int) -> None:
    chip = lit_mesh(mesh, LOSSY, seed)
    x = light(chip, batch, "x")
    far, taps = chip.taps(x, back)
    close(far, chip.backward(x) if back else chip.forward(x))
    again, sums = chip.tap_sums(x, back)
    close(again, far)
    for power, total in zip(taps, sums):
        close(power.sum(axis=1), total, 1e-11)
    if not back:
        fields, n = chip.oracle_fields(x), np.arange(mesh.count)
        for seen, at in ((taps.phi, 1), (taps.theta, 3)):
            close(seen, np.abs(fields[4 * mesh.column + at, mesh.top[n]]) ** 2 * mesh.active[:, None], 1e-11)
        close(taps.screen, np.abs(far) ** 2, 1e-11)


@pytest.mark.parametrize("name", ("rect_4", "rect_8", "tri_4", "tri_8"))
@pytest.mark.parametrize("variant", ("ideal", "bs", "phase", "loss", "all"))
def test_golden_matrices_and_fields(name: str, variant: str) -> None:
    chip, _, z = golden_mesh(name, variant)
    end = "" if variant == "ideal" else f"_{variant}"
    close(chip.oracle_matrix(), z[f"matrix{end}"])
    close(chip.oracle_fields(z["x"][:, None])[:, :, 0], z[f"fields_explicit{end}"])


@pytest.mark.parametrize("kind", ("rectangular", "triangular", "butterfly", "tree_cascade"))
def test_uniform_loss_is_the_same_on_every_path(kind: str) -> None:
    ideal, lossy = (lit_mesh(Mesh(kind, 6), Nonidealities(loss_db=loss)) for loss in (0.0, 0.3))
    close(lossy.oracle_matrix(), ideal.oracle_matrix() * 10 ** (-0.6 * ideal.mesh.columns / 20))


def test_wavelength_turns_splitters_and_phases() -> None:
    it = Nonidealities(detuning_nm=20.0, dispersion=0.002)
    chip, here = lit_mesh(Mesh("rectangular", 2), it), 1 + 20 / WAVELENGTH_NM
    phases = chip.oracle_phases()
    close(phases["theta"], chip.commanded["theta"] % (2 * np.pi) / here)
    bent = np.full((1, 2), 0.04 * np.pi / 4)
    mzi = (phases["theta"], phases["phi"], phases["screen"], [0], [1], bent, np.ones((1, 4)))
    close(chip.oracle_matrix(), kernels.reference.complex_matrix(*mzi))


# -- the noise chain ---------------------------------------------------------------------------------------------------


def test_without_imperfections_phases_are_what_was_commanded() -> None:
    chip = lit_mesh(Mesh("triangular", 5))
    for part, values in chip.oracle_phases().items():
        close(values, chip.commanded[part] % (2 * np.pi))


def test_every_step_of_the_chain_reaches_every_heater() -> None:
    mesh = Mesh("rectangular", 4)
    for name, value in (("phase_bits", 4), ("gamma_std", 0.01), ("phase_bias", 1.0), ("phase_error_std", 0.1)):
        chip = lit_mesh(mesh, Nonidealities(**{name: value}))
        for part, values in chip.oracle_phases().items():
            moved = values - chip.commanded[part] % (2 * np.pi)
            assert np.all(np.abs(moved) > 1e-9), (name, part)
    dead = lit_mesh(mesh, Nonidealities(dead=1.0)).oracle_phases()
    assert all(np.all(values == 0.0) for values in dead.values())


def test_heat_leaks_between_theta_and_phi() -> None:
    """One phi is heated: its theta, the phis beside it in its column, and the thetas of the column before feel it."""
    mesh = Mesh("rectangular", 6)
    heated = int(np.flatnonzero((mesh.column == 2) & (mesh.top == 2))[0])
    chip = MeshChip(mesh, Nonidealities(crosstalk=0.1), 1, dtype="float64")
    chip.set_phases(phi=np.eye(mesh.count)[heated])
    phases = chip.oracle_phases()
    warm = {(int(mesh.column[t]), int(mesh.top[t])) for t in np.flatnonzero(phases["theta"])}
    assert warm == {(2, 2), (1, 1), (1, 3)}
    warm = {(int(mesh.column[t]), int(mesh.top[t])) for t in np.flatnonzero(phases["phi"])}
    assert warm == {(2, 0), (2, 2), (2, 4)}
    close(phases["theta"][heated], 0.1)
    chip.set_phases(phi=np.zeros(mesh.count), screen=np.eye(6)[3])
    assert np.array_equal(np.flatnonzero(chip.oracle_phases()["screen"]), (2, 3, 4))


@given(meshes)
@settings(max_examples=30, deadline=None)
def test_neighbours_are_mutual(mesh: Mesh) -> None:
    around = wiring(mesh).around
    pairs = {(i, int(j)) for i, row in enumerate(around) for j in row if j >= 0}
    assert all((j, i) in pairs and i != j for i, j in pairs)


def test_heat_that_does_not_wrap() -> None:
    mesh = Mesh("rectangular", 2)
    curve = {"drive": "voltage", "crosstalk": 0.1, "gamma_std": 0.0}
    phases = []
    for wraps in (True, False):
        chip = MeshChip(mesh, Nonidealities(heat_wraps=wraps, stuck=0.0, **curve), 1, dtype="float64")
        chip._heaters.gamma[:] = 1.0
        chip.nonidealities = msgspec.structs.replace(chip.nonidealities, gamma_std=0.1)
        chip.set_phases(theta=np.full(1, 6.0))
        phases.append(chip.oracle_phases()["phi"][0])
    hot = 6.0 * (1 + 0.1 / (np.pi / 4.36**2))
    close(phases, (0.1 * (hot % (2 * np.pi)), 0.1 * hot), 1e-3)


def test_parameters_change_the_same_chip() -> None:
    mesh = Mesh("rectangular", 5)
    chip = lit_mesh(mesh, LOSSY)
    u = chip.oracle_matrix()
    chip.nonidealities = Nonidealities()
    assert np.abs(chip.oracle_matrix() - u).max() > 0.01
    chip.nonidealities = LOSSY
    assert np.array_equal(chip.oracle_matrix(), u)
    shared = msgspec.structs.replace(LOSSY, splitter_shared=True)
    chip.nonidealities = shared
    assert np.array_equal(chip._splitters[0, :2], chip._splitters[0, 2:])
    assert not np.array_equal(lit_mesh(mesh, LOSSY, seed=2).oracle_matrix(), u)


# -- readings ----------------------------------------------------------------------------------------------------------


def repeated(chip: MeshChip, operation: Any, count: int = 4000) -> np.ndarray:
    x = np.repeat(light(chip, 1, "x"), count, axis=1)
    return operation(x)


def test_noise_of_ports() -> None:
    amplitude, phase = Nonidealities(io_amplitude_error=0.05), Nonidealities(io_phase_error=0.02)
    exact = lit_mesh(Mesh("rectangular", 4))
    y = exact.forward(light(exact, 1, "x"))
    for it, part in ((amplitude, np.abs), (phase, np.angle)):
        chip = lit_mesh(Mesh("rectangular", 4), msgspec.structs.replace(it, io_input=False))
        seen = part(repeated(chip, chip.forward) / y)
        close(seen.std(axis=1), 0.05 if it is amplitude else 0.02 * np.pi, 0.003)
        close(seen.mean(axis=1), 1.0 if it is amplitude else 0.0, 0.004)
        both = lit_mesh(Mesh("rectangular", 4), it)
        spread = [np.std(repeated(some, some.forward), axis=1) for some in (both, chip)]
        assert np.all(spread[0] > 1.1 * spread[1])


@pytest.mark.parametrize("errors", (
    {"io_amplitude_error": 0.3, "io_phase_error": 0.02}, {"io_phase_error": 0.9}, {"io_amplitude_error": 0.02},
    {"readout_noise": 0.1}, {"io_amplitude_error": 0.02, "io_phase_error": 0.02, "readout_noise": 0.1},
))  # fmt: skip
def test_noise_of_ports_in_one_pass_is_that_of_its_formulas(errors: dict[str, float]) -> None:
    """The same draws, and the stream then stands in the same place."""
    sheet, rng = Nonidealities(**errors), generator(1)
    y = (rng.standard_normal((33, 70)) + 1j * rng.standard_normal((33, 70))).astype(np.complex64)
    for sent in (y, np.ascontiguousarray(y.real), y.T, y[:, :3], y[:, :0]):
        one, two = (readout.Noise(np.dtype(np.float32), CPU, 3, "ports") for _ in range(2))
        at_once = one.field(one.modulated(sent, sheet), sheet)
        wanted = readout.field(readout.modulated(sent, sheet, two.normal), sheet, two.normal)
        assert at_once.dtype == wanted.dtype and one.position() == two.position()
        close(at_once, wanted, 5e-6)
        assert np.array_equal(one.normal((3,)), two.normal((3,)))


@pytest.mark.parametrize("scheme", sorted(aggregate.WEIGHTS))
@pytest.mark.parametrize("real", (False, True))
def test_taps_without_noise_need_one_sum(scheme: str, real: bool) -> None:
    """The gradient from it is the one from both sums."""
    found = []
    for read in (None, lambda sums, *_: sums):
        chip = lit_mesh(Mesh("rectangular", 5), Nonidealities(readout_noise=0.3))
        x, g = light(chip, 20, "x"), light(chip, 20, "g")
        found.append(aggregate.gradient(chip, x.real if real else x, g, scheme, read))
    for one, two in zip(*found):
        close(one, two)


def test_tap_noise_goes_as_the_amplitude() -> None:
    chip, exact = lit_mesh(Mesh("rectangular", 4), Nonidealities(tap_noise=0.03)), lit_mesh(Mesh("rectangular", 4))
    wanted = exact.taps(light(exact, 1, "x"))[1]
    for seen, power in zip(repeated(chip, chip.taps)[1], wanted):
        z = (seen - power) / (0.03 * np.sqrt(power))
        assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02


def test_sums_of_taps_have_the_distribution_of_their_samples() -> None:
    chip = lit_mesh(Mesh("rectangular", 4), Nonidealities(tap_noise=0.1))
    x, rounds = light(chip, 5, "x"), 3000
    by_sample = np.array([np.concatenate([p.sum(axis=1) for p in chip.taps(x)[1]]) for _ in range(rounds)])
    at_once = np.array([np.concatenate(chip.tap_sums(x)[1]) for _ in range(rounds)])
    for a, b in zip(by_sample.T, at_once.T):
        assert stats.ks_2samp(a, b).pvalue > 1e-4
    close(np.corrcoef(at_once.T), np.eye(at_once.shape[1]), 0.09)


def test_noise_is_fresh_and_can_be_rewound() -> None:
    noisy = Nonidealities(tap_noise=0.1, io_phase_error=0.1, io_amplitude_error=0.1, readout_noise=0.1)
    chip = lit_mesh(Mesh("rectangular", 3), noisy)
    x = light(chip, 2, "x")
    chip.rewind()
    first, second = chip.forward(x), chip.forward(x)
    assert not np.array_equal(first, second)
    chip.rewind()
    assert np.array_equal(chip.forward(x), first)
    arrays, values = chip.state()
    wanted = chip.taps(x)
    chip.restore(arrays, values)
    assert np.array_equal(chip.taps(x)[0], wanted[0])


def test_power_noise() -> None:
    chip = lit_mesh(Mesh("rectangular", 2), Nonidealities(shot_noise=0.1, readout_noise=0.01, reference_phase_std=0.2))
    seen = repeated(chip, lambda x: chip.forward(x, "power"))
    mean = seen.mean(axis=1)
    close(seen.std(axis=1), np.sqrt(0.01 * mean + 1e-4), 0.01)


def test_the_meter_counts_passes_taps_and_writes() -> None:
    chip = MeshChip(Mesh("rectangular", 4), Nonidealities(), 1)
    x = light(chip, 5, "x")
    chip.forward(x), chip.backward(x, "power"), chip.taps(x), chip.tap_sums(x, True)
    chip.set_phases(theta=np.arange(6.0), screen=np.zeros(4))
    counts = chip.meter.state()["idle"]
    assert (counts["core_calls"], counts["tap_readings"], counts["writes"]) == (20, 10 * 16, 5)


# -- precision, records, refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_precision(dtype: type) -> None:
    exact, chip = (lit_mesh(Mesh("rectangular", 6), LOSSY, dtype=kind) for kind in (np.float64, dtype))
    for batch in (3, 40):
        x = light(exact, batch, "x")
        y, taps = chip.taps(x)
        assert y.dtype == chip.forward(x).dtype == np.result_type(dtype, np.complex64)
        assert all(power.dtype == dtype for power in taps) and chip.forward(x, "power").dtype == dtype
        close(chip.forward(x), exact.forward(x), 20 * kernel(dtype))
        close(y, exact.forward(x), 20 * kernel(dtype))


def test_a_recording_can_be_replayed(tmp_path: Path) -> None:
    for mesh in (Mesh("rectangular", 3), Mesh.of(4, [0, 1], [2, 3]), Mesh("butterfly", 4, node="crossing")):
        for dtype in DTYPES:
            chip = lit_mesh(mesh, Nonidealities(tap_noise=0.1, readout_noise=0.1), dtype=dtype)
            chip.set_phases(*(np.zeros(size) for size in (mesh.count, mesh.count, mesh.modes)))
            recorder, path = MeshRecorder(Sealed(chip)), tmp_path / "mesh.npz"
            chip.forward(np.eye(mesh.modes))  # what was written has settled
            before = chip.meter.state()["idle"]
            wanted = script(recorder)
            recorder.save(path)
            replay = MeshReplay.load(path)
            found = script(replay)
            assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]
            after = chip.meter.state()["idle"]
            assert {k: after[k] - before[k] for k in after} == replay.meter.state()["idle"]
            assert lacks(replay, MeshHardware) == [] == lacks(recorder, MeshHardware)
            assert replay.mesh == chip.mesh and replay.readouts == chip.readouts
            with pytest.raises(ChipError, match="fewer times"):
                replay.forward(np.ones((mesh.modes, 2)))
            with pytest.raises(ChipError, match="no such backward"):
                replay.backward(np.ones((mesh.modes, 2)))
            path.write_bytes(path.read_bytes()[:-30])
            with pytest.raises(ChipError, match="not a whole l2sim mesh recording"):
                MeshReplay.load(path)
    with pytest.raises(ChipError, match="does not exist"):
        MeshReplay.load(tmp_path / "none.npz")


def script(hardware: Any) -> list[np.ndarray]:
    x = np.ones((hardware.mesh.modes, 2))
    out = [hardware.forward(x), hardware.forward(1j * x, "power")]
    hardware.set_phases(theta=np.full(hardware.mesh.count, 0.3))
    field, taps = hardware.taps(x)
    back, more = hardware.taps(x, back=True)
    return [*out, field, *taps, back, *more, hardware.forward(x)]


BAD = {
    "an empty batch": (lambda c: c.forward(np.ones((4, 0))), "empty batch"),
    "wrong modes": (lambda c: c.taps(np.ones((3, 2))), r"shape \(3, 2\) does not fit"),
    "a vector": (lambda c: c.backward(np.ones(4)), "does not fit"),
    "words": (lambda c: c.forward(np.full((4, 1), "x")), "array of numbers"),
    "NaN": (lambda c: c.tap_sums(np.full((4, 1), np.nan)), "not finite"),
    "NaN in a phase": (lambda c: c.set_phases(phi=np.full(6, np.nan)), "phi holds values that are not finite"),
    "too few phases": (lambda c: c.set_phases(theta=np.ones(5)), r"theta has shape \(5,\)"),
    "a picture of phases": (lambda c: c.set_phases(theta=np.ones((4, 3))), "travel order"),
    "an unknown readout": (lambda c: c.forward(np.ones((4, 1)), "quadrature"), "no 'quadrature' readout"),
    "taps at a port": (lambda c: c.forward(np.ones((4, 1)), "tap_power"), "at its ports"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case: str) -> None:
    chip = lit_mesh(Mesh("rectangular", 4))
    before, (act, words) = chip.commanded, BAD[case]
    with pytest.raises(ChipError, match=words) as caught:
        act(chip)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(before[part], chip.commanded[part]) for part in before)


def test_a_mesh_without_taps() -> None:
    chip = MeshChip(Mesh("rectangular", 3), Nonidealities(), 1, readouts=("power",))
    with pytest.raises(ChipError, match="no power taps"):
        chip.taps(np.ones((3, 1)))
    with pytest.raises(ChipError, match="no 'field' readout"):
        chip.forward(np.ones((3, 1)))


def test_one_mode_is_one_phase() -> None:
    chip = MeshChip(Mesh("rectangular", 1), PRESETS["ideal"], 1, dtype="float64")
    chip.set_phases(screen=[0.5])
    close(chip.forward(np.ones((1, 1))), np.exp([[0.5j]]))


COLD = """
import hashlib
import numpy as np
from l2sim.chip.mesh_chip import MeshChip
from l2sim.mesh.mesh import Mesh
from l2sim.chip.nonidealities import Nonidealities

rng = np.random.default_rng(1)
for modes, batch in ((16, 8), (16, 40), (24, 40)):
    chip = MeshChip(Mesh("rectangular", modes), Nonidealities(), seed=1, dtype="float32")
    chip.set_phases(*(rng.uniform(0, 6, n).astype("f4") for n in (chip.mesh.count, chip.mesh.count, modes)))
    x, g = rng.normal(size=(2, modes, batch, 2)).astype("f4").view("c8")[..., 0]
    seen = chip.oracle_gradient(x, g)
    print(*(hashlib.sha256(a.tobytes()).hexdigest() for a in (chip.forward(x), seen.theta, seen.phi, seen.screen)))
"""


def test_a_kernel_from_the_cache_gives_the_bytes_that_it_gave_when_it_was_compiled(tmp_path: Path) -> None:
    """What is loaded was optimised once more, so that nothing may depend on how a sum of a few terms is compiled."""
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COLD]
    first, second = (subprocess.run(command, env=environ, capture_output=True, check=True).stdout for _ in range(2))
    assert len(first.split()) == 12 and first == second


@pytest.mark.parametrize("it", [Nonidealities(), Nonidealities(tap_noise=0.1)], ids=["exact", "noisy"])
def test_light_and_cotangents_of_other_shapes_are_refused(it: Nonidealities) -> None:
    chip = lit_mesh(Mesh("rectangular", 4), it)
    gradient = chip.noisy_gradient if it.tap_noise else chip.gradient
    before = chip.meter.state()
    with pytest.raises(ChipError, match="differ in shape"):
        gradient(light(chip, 6, "x"), light(chip, 5, "g"), "digital")
    assert chip.meter.state() == before
    assert gradient(light(chip, 6, "x"), light(chip, 6, "g"), "digital") is not None
    assert chip.meter.state() != before
