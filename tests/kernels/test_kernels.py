"""Every kernel against its slow NumPy definition in `kernels.reference`."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from l2sim.backend import generator, kernels
from l2sim.chip.fabrication import chain_parameters, fabricate
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import ChipError
from l2sim.given import wrapped
from l2sim.mesh.mesh import KINDS, Mesh, matrix
from l2sim.mesh.orthogonal import decompose
from tests.tolerances import DTYPES, kernel

TAU = 2 * np.pi
RULES = {"zcd": kernels.descent.ZCD, "ztp": kernels.descent.ZTP}


def run_chain(mesh: Mesh, it: Nonidealities, phases: np.ndarray, dtype: type, seed: int = 1) -> tuple:
    """What the kernel makes of phases (M, C, k - 1), and the fabrication that it used, as mesh arrays in float64."""
    heaters = fabricate(seed, "test", "u", (len(phases), mesh.count))
    chain = chain_parameters(mesh, heaters, it, np.dtype(dtype))
    flat = mesh.gather(phases).astype(dtype)
    out = np.full_like(flat, np.nan)
    kernels.chain.apply(flat, *chain, out)
    ratio, fixed, bias = (mesh.scatter(a.astype(float)) for a in chain[:3])
    return mesh.scatter(out), {"ratio": ratio, "fixed": fixed, "bias": bias}


# -- the noise chain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", (0, 4, 8))
@pytest.mark.parametrize(
    "it",
    (
        {},
        {"crosstalk": 0.005},
        {"gamma_std": 0.002},
        {"phase_bias": np.pi},
        {"stuck": 0.3, "dead": 0.2},
        {"gamma_std": 0.002, "crosstalk": 0.05, "phase_bias": 1.0, "stuck": 0.2, "dead": 0.1},
    ),
    ids=lambda it: "+".join(it) or "nothing",
)
def test_chain(kind: str, bits: int, it: dict[str, float]) -> None:
    for k in (2, 5, 8):
        mesh = Mesh(kind, k)
        phases = generator(bits, k).uniform(-20, 20, (7, *mesh.shape))
        ours, made = run_chain(mesh, Nonidealities(phase_bits=bits, **it), phases, np.float64)
        theirs = kernels.reference.chain(phases, mesh.mask, bits=bits, factor=it.get("crosstalk", 0.0), **made)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_chain_in_single_precision() -> None:
    mesh = Mesh("rectangular", 6)
    phases = generator(1).uniform(0.1, 6, (50, *mesh.shape)).astype(np.float32)
    it = Nonidealities(phase_bits=8, gamma_std=0.002, crosstalk=0.005, phase_bias=1.0)
    ours, made = run_chain(mesh, it, phases, np.float32)
    assert ours.dtype == np.float32
    theirs = kernels.reference.chain(phases.astype(float), mesh.mask, bits=8, factor=0.005, **made)
    far = np.abs(ours - theirs) > kernel(np.float32)
    assert far.mean() < 1e-3, "only a phase between two levels may fall on the other side"


def test_crosstalk_too_small_to_publish_is_left_out() -> None:
    mesh = Mesh("rectangular", 4)
    phases = generator(1).uniform(0, 6, (3, *mesh.shape)) * mesh.mask
    assert np.array_equal(run_chain(mesh, Nonidealities(crosstalk=1e-5), phases, np.float64)[0], phases)
    assert not np.array_equal(run_chain(mesh, Nonidealities(crosstalk=1.1e-5), phases, np.float64)[0], phases)


@pytest.mark.parametrize(
    "drive",
    (
        {"v_max": 10.8},
        {"v_max": 6.5, "phase_bits": 4},
        {"v_max": 3.0, "curve": (0.1, 0.2, 0.5, 0.01)},
        {"v_max": 5.0, "curve": (0.0, 1.0, 3.5, 7.0), "curve_volts": (0.0, 2.0, 4.0, 5.0)},
    ),
)
def test_voltage_drive_takes_the_nearest_voltage(drive: dict) -> None:
    it = Nonidealities(**({"phase_bits": 6, "drive": "voltage"} | drive))
    mesh = Mesh("rectangular", 5)
    phases = generator(2).uniform(-10, 10, (40, *mesh.shape))
    ours, _ = run_chain(mesh, it, phases, np.float64)
    volts = np.linspace(0, it.v_max, 2**it.phase_bits)
    fine = np.linspace(0, it.v_max, 2_000_001)
    # The driver's inverse: the voltage of a phase beside that at 0 V, modulo a turn, by searching a fine grid.
    still = it.phase_of(0.0)
    around = np.mod(phases[:, mesh.mask] - still, TAU)
    volts = volts[it.phase_of(volts) - still < TAU]
    wanted = fine[np.searchsorted(it.phase_of(fine) - still, around).clip(max=fine.size - 1)]
    nearest = np.abs(wanted[..., None] - volts).argmin(axis=-1)
    # Behind the last level the turn closes: the first one is as far from there as the phase says.
    nearest[around > (it.phase_of(volts[-1]) - still + TAU) / 2] = 0
    np.testing.assert_allclose(ours[:, mesh.mask], it.phase_of(volts)[nearest], rtol=0, atol=1e-9)
    assert np.unique(nearest).size > 10


def test_continuous_voltage_drive_is_very_fine() -> None:
    mesh = Mesh("rectangular", 4)
    phases = generator(2).uniform(0, TAU, (9, *mesh.shape)) * mesh.mask
    ours, _ = run_chain(mesh, Nonidealities(drive="voltage"), phases, np.float64)
    np.testing.assert_allclose(ours, phases, rtol=0, atol=5e-4)


@settings(deadline=None)
@given(st.floats(-1e3, 1e3), st.integers(2, 12))
def test_a_quantised_phase_is_a_level_at_most_half_a_step_away(phase: float, bits: int) -> None:
    it = Nonidealities(phase_bits=bits)
    none = np.empty(0)
    driven = kernels.chain.drive(phase, 1.0, np.nan, it.lsb(), none, none, False)
    turned = wrapped(phase)
    assert abs(driven - turned) <= it.lsb() / 2 + 1e-12
    assert abs(driven / it.lsb() - round(driven / it.lsb())) < 1e-9
    assert kernels.chain.drive(driven, 1.0, np.nan, it.lsb(), none, none, False) in (driven, 0.0)


def test_ties_of_the_quantisers() -> None:
    """Half a level goes to the even one; a phase on the threshold between two voltages to the lower one."""
    none, lsb = np.empty(0), 0.5
    driven = [kernels.chain.drive(lsb * half, 1.0, np.nan, lsb, none, none, False) for half in (0.5, 1.5, 2.5, 3.5)]
    assert driven == [0.0, 1.0, 1.0, 2.0]
    levels, thresholds = np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.5])
    assert kernels.chain.drive(0.5, 1.0, np.nan, 0.0, levels, thresholds, False) == 0.0
    assert kernels.chain.drive(np.nextafter(0.5, 1), 1.0, np.nan, 0.0, levels, thresholds, False) == 1.0


# -- matrices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 3, 4, 5, 8, 17, 64))
def test_matrices(kind: str, k: int, dtype: type) -> None:
    mesh, rng = Mesh(kind, k), generator(k)
    phases = rng.uniform(-10, 10, (3, *mesh.shape)).astype(dtype)
    signs = rng.choice([-1.0, 1.0], (3, k)).astype(dtype)
    ours = matrix(mesh, phases, signs)
    assert ours.dtype == dtype
    for one, p, s in zip(ours, phases, signs):
        np.testing.assert_allclose(one, kernels.reference.matrix(p, mesh.mask, s), rtol=0, atol=kernel(dtype, k))
        np.testing.assert_allclose(one @ one.T, np.eye(k), rtol=0, atol=kernel(dtype, k))


def test_flip_carries_a_sign_through_the_mesh() -> None:
    mesh, rng = Mesh("rectangular", 5), generator(1)
    phases, flip = rng.uniform(0, 6, (4, mesh.count)), rng.choice([-1.0, 1.0], (4, mesh.count))
    ours = np.empty((4, 5, 5))
    kernels.mesh.matrices(phases, flip, np.ones((4, 5)), mesh.rail, ours)
    assert np.array_equal(ours, matrix(mesh, mesh.scatter(phases * flip)))


def orthogonal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Haar orthogonal matrices, determinants of both signs."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 16), st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.booleans())
def test_decompose_and_back(k: int, kind: str, seed: int, inner_signs: bool) -> None:
    mesh = Mesh(kind, k, inner_signs)
    q = orthogonal(generator(seed), 2, 3, k, k)
    kept = q.copy()
    phases, signs = decompose(mesh, q)
    assert phases.shape == (2, 3, *mesh.shape) and np.all(np.abs(signs) == 1)
    assert np.all(phases[..., ~mesh.mask] == 0) and np.array_equal(q, kept)
    np.testing.assert_allclose(matrix(mesh, phases, signs), q, rtol=0, atol=kernel(np.float64, k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (31, 64))
def test_large_decompositions(kind: str, k: int, dtype: type) -> None:
    mesh, q = Mesh(kind, k), orthogonal(generator(k), 2, k, k).astype(dtype)
    phases, signs = decompose(mesh, q)
    assert phases.dtype == signs.dtype == dtype
    np.testing.assert_allclose(matrix(mesh, phases, signs), q, rtol=0, atol=kernel(dtype, k))


def special_matrices(k: int) -> Iterator[np.ndarray]:
    rng = generator(k)
    yield np.eye(k)
    yield -np.eye(k)
    yield np.eye(k)[::-1]
    for _ in range(4):
        yield np.eye(k)[rng.permutation(k)]
        yield np.diag(rng.choice([-1.0, 1.0], k))
        yield np.eye(k)[rng.permutation(k)] * rng.choice([-1.0, 1.0], k)
    for column in (0, k - 1):
        yield np.eye(k) * np.where(np.arange(k) == column, -1.0, 1.0)
    q = orthogonal(rng, k, k)
    yield q * np.where(np.arange(k) == 0, -np.sign(np.linalg.det(q)), 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 3, 4, 5, 9, 16))
def test_special_decompositions(kind: str, k: int) -> None:
    matrices = np.stack(list(special_matrices(k)))
    assert np.linalg.det(matrices[-1]) < 0
    for mesh in (Mesh(kind, k), Mesh(kind, k, inner_signs=True)):
        np.testing.assert_allclose(matrix(mesh, *decompose(mesh, matrices)), matrices, rtol=0, atol=1e-12)


def test_only_orthogonal_matrices_of_the_right_size_decompose() -> None:
    mesh = Mesh("rectangular", 4)
    for bad in (np.zeros((4, 4)), 1.01 * np.eye(4), np.full((4, 4), np.nan)):
        with pytest.raises(ChipError, match=r"orthogonal|not finite"):
            decompose(mesh, bad)
    for bad in (np.eye(5), np.ones(4)):
        with pytest.raises(ChipError, match="do not fit"):
            decompose(mesh, bad)
    with pytest.raises(ChipError, match="do not fit"):
        matrix(mesh, np.zeros((4, 4)))
    assert decompose(mesh, np.zeros((0, 4, 4)))[0].shape == (0, 4, 3)


@pytest.mark.parametrize("kind, k", (("rectangular", 1), ("rectangular", 65), ("butterfly", 4)))
def test_meshes_that_no_real_core_has(kind: str, k: int) -> None:
    mesh = Mesh(kind, k)
    with pytest.raises(ChipError, match="a real core"):
        matrix(mesh, np.zeros(mesh.shape))
    with pytest.raises(ChipError, match="a real core"):
        decompose(mesh, np.eye(k))


# -- the descent -------------------------------------------------------------------------------------------------------


class Descent:
    """A random problem for the descent kernel, and the same for the reference."""

    def __init__(self, kind: str, part: str, k: int, dtype: type, it: Nonidealities, cores: int = 3) -> None:
        rng = generator(7, kind, part, k)
        self.mesh, self.part, self.dtype, self.it = Mesh(kind, k), part, dtype, it
        heaters = fabricate(3, "sweep", part, (cores, self.mesh.count))
        self.chain = chain_parameters(self.mesh, heaters, it, np.dtype(dtype))
        self.phases = rng.uniform(0, 6, (cores, self.mesh.count)).astype(dtype)
        self.signs = rng.choice([-1.0, 1.0], (cores, k))
        self.sigma, self.gain = rng.uniform(0.2, 1.5, (2, cores, k))
        self.other = orthogonal(rng, cores, k, k)
        self.target = rng.normal(size=(cores, k, k))
        self.order = rng.permutation(self.mesh.count)
        self.lr = rng.uniform(0.05, 0.4, cores).astype(dtype)

    def loss(self, core: int, phases: np.ndarray) -> float:
        """By the definitions, in float64."""
        ratio, fixed, bias = (self.mesh.scatter(a[core].astype(float)) for a in self.chain[:3])
        effective = kernels.reference.chain(
            self.mesh.scatter(phases), self.mesh.mask, bits=self.it.phase_bits, ratio=ratio,
            factor=self.it.crosstalk, bias=bias, fixed=fixed,
        )  # fmt: skip
        moving = kernels.reference.matrix(effective, self.mesh.mask, self.signs[core])
        u, v = (moving, self.other[core]) if self.part == "u" else (self.other[core], moving)
        return kernels.reference.loss(u, self.sigma[core], v, self.gain[core], self.target[core])

    def run(self, rule: str, **options: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The kernel: (phases, losses, writes)."""
        if self.part == "u":
            start, rows, target = self.sigma[..., None] * self.other * self.gain[:, None], self.signs, self.target
        else:
            start = self.sigma[..., None] * self.other.swapaxes(1, 2) * self.signs[:, :, None]
            rows, target = self.gain, self.target.swapaxes(1, 2)
        start, rows, target = (np.ascontiguousarray(a, self.dtype) for a in (start, rows, target))
        cores, k = len(start), self.mesh.modes
        phases, losses = self.phases.copy(), np.full(cores, np.nan, self.dtype)
        carry, writes = np.zeros(cores, bool), np.zeros(cores, np.int64)
        flip = np.ones_like(phases)
        quiet, variates = np.zeros(cores, self.dtype), np.empty((0, 2 * self.mesh.count, 2), self.dtype)
        amplitudes = np.zeros((cores, k), self.dtype), quiet, quiet
        kernels.descent.descend(
            RULES[rule], phases, losses, carry, self.lr, self.order, self.chain, flip, self.mesh.rail,
            self.part == "v", start, rows, target, False, amplitudes, variates, writes,
        )  # fmt: skip
        return phases, losses, writes


PUBLISHED = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005)
COARSE = Nonidealities(phase_bits=4, phase_bias=3.0, gamma_std=0.01, crosstalk=0.1, stuck=0.1, dead=0.1)


@pytest.mark.parametrize("it", (Nonidealities(), PUBLISHED, COARSE), ids=("ideal", "published", "coarse"))
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", ("u", "v"))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 3, 4, 5))
def test_descent(k: int, kind: str, part: str, rule: str, it: Nonidealities) -> None:
    problem = Descent(kind, part, k, np.float64, it)
    phases, losses, writes = problem.run(rule)
    for core in range(3):
        start = problem.loss(core, problem.phases[core])
        wanted, loss = kernels.reference.descend(
            rule, lambda p, core=core: problem.loss(core, p), problem.phases[core], problem.order,
            problem.lr[core], start,
        )  # fmt: skip
        np.testing.assert_allclose(phases[core], wanted, rtol=0, atol=1e-12)
        assert losses[core] == pytest.approx(loss, abs=1e-12) == problem.loss(core, phases[core])
        assert rule == "zcd" or loss <= start
        n = problem.mesh.count
        assert (n <= writes[core] <= 2 * n) if rule == "zcd" else (2 * n <= writes[core] <= 3 * n)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", ("u", "v"))
@pytest.mark.parametrize("kind", KINDS)
def test_descent_in_single_precision(kind: str, part: str, rule: str) -> None:
    """Rounding may flip a close decision, so the loss is what must be right, and most phases."""
    problem, double = (Descent(kind, part, 5, dtype, PUBLISHED, cores=20) for dtype in DTYPES)
    phases, losses, _ = problem.run(rule)
    assert phases.dtype == losses.dtype == np.float32
    truth = [problem.loss(core, phases[core].astype(float)) for core in range(20)]
    same = np.abs(phases - double.run(rule)[0]) < 1e-4
    assert same.all(axis=1).mean() >= 0.7
    good = np.isclose(losses, truth, rtol=0, atol=kernel(np.float32))
    assert good.mean() >= 0.8, "only a quantiser tie may move a loss"


def test_a_step_too_small_to_change_a_level_ties() -> None:
    """ZCD takes minus on a tie, ZTP the first of (minus, stay, plus)."""
    for rule in RULES:
        problem = Descent("rectangular", "u", 4, np.float64, Nonidealities(phase_bits=4))
        lsb = problem.it.lsb()
        problem.phases = np.round(problem.phases / lsb) * lsb
        problem.lr[:] = lsb / 10
        before = [problem.loss(core, problem.phases[core]) for core in range(3)]
        phases, losses, _ = problem.run(rule)
        np.testing.assert_allclose(phases, problem.phases - lsb / 10, atol=1e-12)
        np.testing.assert_allclose(losses, before, atol=1e-12)


# -- readout noise in aggregate ----------------------------------------------------------------------------------------


def test_aggregate_noise_has_the_distribution_of_a_draw_per_output() -> None:
    rng, k, readings = generator(11), 4, 40_000
    residual = rng.normal(size=(k, k)) * [0.0, 0.02, 0.3, 1.0]  # columns that noise drowns, and others
    amplitudes = np.array([0.05, 0.1, 0.02, 0.2])
    columns, total = (residual**2).sum(axis=0), (residual**2).sum()
    direct = ((residual + amplitudes * rng.standard_normal((readings, k, k))) ** 2).sum(axis=(1, 2))
    least = amplitudes.min()
    rest = (amplitudes**2 / least**2 * rng.chisquare(k - 1, (readings, k))).sum(axis=1)
    variates = np.column_stack([rng.standard_normal((readings, k)), rest])
    read = kernels.descent.reading
    ours = np.array([read(total, columns, amplitudes, least, v) for v in variates])
    mean = total + k * (amplitudes**2).sum()
    variance = (4 * amplitudes**2 * columns + 2 * k * amplitudes**4).sum()
    for sample in (ours, direct):
        assert sample.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / readings))
        assert sample.var() == pytest.approx(variance, rel=0.04)
    assert stats.ks_2samp(ours, direct).pvalue > 1e-3
    assert stats.ks_2samp(ours, direct * 1.02).pvalue < 1e-3, "the test can tell"


def test_aggregate_noise_of_one_amplitude_is_that_of_the_whole_residual() -> None:
    rng, k, readings, a = generator(12), 3, 40_000, 0.2
    residual = rng.normal(size=(k, k)) * 0.2
    seen = np.array([1.0, 0.0, 1.0])  # the light of one input is dark
    total, dark = (residual**2).sum(), (residual[:, 1] ** 2).sum()
    direct = ((residual + a * seen * rng.standard_normal((readings, k, k))) ** 2).sum(axis=(1, 2))
    drawn = np.column_stack([rng.standard_normal(readings), rng.chisquare(2 * k - 1, readings)])
    ours = np.array([kernels.descent.even_reading(total, dark, a, v) for v in drawn])
    assert stats.ks_2samp(ours, direct).pvalue > 1e-3
    assert stats.ks_2samp(ours, direct * 1.02).pvalue < 1e-3, "the test can tell"


# -- threads -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_depend_on_the_number_of_threads(kind: str, dtype: type) -> None:
    mesh, rng = Mesh(kind, 6), generator(5)
    phases = rng.uniform(-9, 9, (37, *mesh.shape)).astype(dtype)
    q = orthogonal(rng, 37, 6, 6).astype(dtype)
    problem = Descent(kind, "v", 5, dtype, PUBLISHED, cores=37)

    def everything() -> list[np.ndarray]:
        return [
            run_chain(mesh, PUBLISHED, phases, dtype)[0], matrix(mesh, phases), *decompose(mesh, q),
            *problem.run("zcd"), *problem.run("ztp"),
        ]  # fmt: skip

    before, results = kernels.threads.count(), []
    try:
        for count in (1, 2):
            kernels.threads.use(count)
            results.append(everything())
    finally:
        kernels.threads.use(before)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
