"""Every kernel for GPUs, in Numba's simulator where there is none, against slow definitions or the CPU's kernels."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip.fabrication import chain_parameters, fabricate
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts import heat
from l2sim.learn.twin import identify as twin
from l2sim.mesh.mesh import KINDS, Mesh
from tests.device import host, put, xp
from tests.doubles import small_chip
from tests.kernels.test_kernels import COARSE, PUBLISHED, RULES, Descent, orthogonal
from tests.kernels.test_propagate import Light, make, waves, whole
from tests.tolerances import DTYPES, kernel

cuda, reference = kernels.cuda, kernels.reference
VOLTS = Nonidealities(drive="voltage", phase_bits=5, v_max=6.0, gamma_std=0.01, crosstalk=0.02, stuck=0.2)


def both(
    family: str, name: str, *args: Any, only: tuple[int, ...] = (), stay: tuple[int, ...] = (), atol: float = 1e-12
) -> None:
    """Call the kernel on both sides with copies of the same arguments; afterwards all arrays must agree.

    `only` names the arguments to compare, for kernels that lay out the others differently; those in `stay` are
    taken from the host.
    """
    sides = [[np.copy(a) if isinstance(a, np.ndarray) else a for a in args] for _ in range(2)]
    getattr(getattr(kernels, family), name)(*sides[0])
    there = [a if i in stay else put(a) for i, a in enumerate(sides[1])]
    getattr(getattr(cuda, family), name)(*there)
    for i, (a, b) in enumerate(zip(sides[0], there)):
        if isinstance(a, np.ndarray) and (not only or i in only):
            np.testing.assert_allclose(host(b), a, rtol=0, atol=atol, err_msg=f"{family}.{name}, argument {i}")


# -- meshes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("it", (Nonidealities(), COARSE, VOLTS), ids=("ideal", "coarse", "volts"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_chain(it: Nonidealities, dtype: type) -> None:
    mesh = Mesh("rectangular", 4)
    chain = chain_parameters(mesh, fabricate(1, "test", "u", (3, mesh.count)), it, np.dtype(dtype))
    phases = generator(1).uniform(-20, 20, (3, mesh.count)).astype(dtype)
    both("chain", "apply", phases, *chain, np.zeros_like(phases), atol=kernel(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("base", (Nonidealities(crosstalk=0.01), COARSE, VOLTS), ids=("ideal", "coarse", "volts"))
def test_heat(base: Nonidealities, dtype: type) -> None:
    mesh, number = Mesh("rectangular", 4), np.dtype(dtype)
    for more in ({"bend_std": 0.05, "heater_inl": 0.01}, {"crosstalk_range": 1.0, "crosstalk_pairs": 0.5}):
        it = msgspec.structs.replace(base, die_heat=0.01, **more)
        chain = chain_parameters(mesh, fabricate(1, "test", "u", (3, mesh.count)), it, number)
        warm = heat.parameters(mesh, heat.fabricate(1, "test", "u", (3, mesh.count)), it, number, False)
        phases = generator(1).uniform(-20, 20, (3, mesh.count)).astype(dtype)
        there = put(phases), tuple(put(a) for a in chain), tuple(tuple(put(a) for a in part) for part in warm)
        for a, b in zip(heat.warmth(phases, chain, warm), heat.warmth(*there)):
            np.testing.assert_allclose(host(b), a, rtol=0, atol=kernel(dtype, 3))


def test_chain_by_its_definition() -> None:
    mesh, it = Mesh("triangular", 4), COARSE
    chain = chain_parameters(mesh, fabricate(1, "test", "u", (3, mesh.count)), it, np.dtype(float))
    phases, out = generator(1).uniform(-20, 20, (3, mesh.count)), put(np.zeros((3, mesh.count)))
    cuda.chain.apply(put(phases), *(put(a) for a in chain), out)
    ratio, fixed, bias = (mesh.scatter(a) for a in chain[:3])
    wanted = reference.chain(
        mesh.scatter(phases), mesh.mask, bits=it.phase_bits, factor=it.crosstalk, ratio=ratio, fixed=fixed, bias=bias
    )
    np.testing.assert_allclose(mesh.scatter(host(out)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 5))
def test_matrices(kind: str, k: int, dtype: type) -> None:
    mesh, rng = Mesh(kind, k), generator(k)
    phases = rng.uniform(-6, 6, (2, mesh.count)).astype(dtype)
    signs, out = rng.choice([-1.0, 1.0], (2, k)).astype(dtype), put(np.zeros((2, k, k), dtype))
    cuda.mesh.matrices(put(phases), put(np.ones_like(phases)), put(signs), put(mesh.rail), out)
    for m in range(2):
        wanted = reference.matrix(mesh.scatter(phases[m]), mesh.mask, signs[m])
        np.testing.assert_allclose(host(out)[m], wanted, rtol=0, atol=kernel(dtype, k))


# -- the descent -------------------------------------------------------------------------------------------------------


def swept(problem: Descent, rule: str, **changes: Any) -> tuple:
    """What both kernels make of a problem: ((phases, losses, writes) of the CPU, the same of the GPU)."""
    kept: list[Any] = []

    class Noted:
        @staticmethod
        def descend(*args: Any) -> None:
            names = ("carry", "noisy", "amplitudes", "variates", "loss")
            places = dict(zip(names, (3, 13, 14, 15, 2)))
            args = tuple(changes.get(names[list(places.values()).index(i)], a) if i in places.values() else a
                         for i, a in enumerate(args))  # fmt: skip
            for side in (np.copy, put):
                one = [
                    tuple(side(b) if isinstance(b, np.ndarray) else b for b in a) if isinstance(a, tuple)
                    else side(a) if isinstance(a, np.ndarray) and i != 8 else a
                    for i, a in enumerate(args)
                ]  # fmt: skip
                (kernels.descent if side is np.copy else cuda.descent).descend(*one)
                kept.append(tuple(host(one[i]) for i in (1, 2, 16)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Descent.run.__globals__, "kernels", type("K", (), {"descent": Noted}))
        problem.run(rule)
    return kept[0], kept[1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", ("u", "v"))
@pytest.mark.parametrize("kind, k", (("rectangular", 2), ("rectangular", 3), ("triangular", 4)))
def test_descent(kind: str, k: int, part: str, rule: str) -> None:
    problem = Descent(kind, part, k, np.float64, COARSE)
    cpu, gpu = swept(problem, rule)
    assert np.array_equal(gpu[2], cpu[2]), "writes"
    for core in range(3):
        wanted, loss = reference.descend(
            rule, lambda p, core=core: problem.loss(core, p), problem.phases[core], problem.order,
            problem.lr[core], problem.loss(core, problem.phases[core]),
        )  # fmt: skip
        np.testing.assert_allclose(gpu[0][core], wanted, rtol=0, atol=1e-12)
        assert gpu[1][core] == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize("even", (False, True))
@pytest.mark.parametrize("part", ("u", "v"))
def test_noisy_descent(part: str, even: bool) -> None:
    problem = Descent("rectangular", part, 3, np.float64, PUBLISHED)
    rng = generator(5, part)
    amplitudes = np.full((3, 3), 0.1) if even else rng.uniform(0.01, 0.1, (3, 3))
    changes = {
        "noisy": True, "loss": np.full(3, 0.3), "amplitudes": (amplitudes, amplitudes.min(axis=1), np.full(3, 0.01)),
        "variates": np.abs(rng.normal(size=(3, 2 * problem.mesh.count, 2 if even else 4))),
    }  # fmt: skip
    for rule in RULES:
        for a, b in zip(*swept(problem, rule, **changes)):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)


def test_descent_with_kept_losses_and_in_single_precision() -> None:
    changes = {"carry": np.array([True, False, True]), "loss": np.full(3, 0.05)}
    for a, b in zip(*swept(Descent("rectangular", "u", 3, np.float64, PUBLISHED), "ztp", **changes)):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)
    cpu, gpu = swept(Descent("rectangular", "v", 3, np.float32, PUBLISHED), "zcd")
    assert gpu[0].dtype == gpu[1].dtype == np.float32
    np.testing.assert_allclose(gpu[0], cpu[0], rtol=0, atol=1e-5)


def test_large_meshes_share_the_memory_of_a_block_or_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.descent, "REGISTERS", 2)  # columns beside the threads, not in them
    monkeypatch.setattr(cuda.descent, "SHARED_BYTES", 100)  # walls in the device's memory
    cuda.descent.kernel.cache_clear()
    for a, b in zip(*swept(Descent("rectangular", "v", 3, np.float64, COARSE), "zcd")):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)
    cuda.descent.kernel.cache_clear()


def test_blocks_leave_few_threads_idle_and_cores_read_from_banks_of_their_own() -> None:
    assert [cuda.descent.beside(k) for k in (4, 8, 9, 16, 24, 32, 33)] == [8, 4, 7, 2, 4, 1, 1]
    for k in range(2, 33):
        cores = cuda.descent.beside(k)
        threads = 32 * -(-cores * k // 32)
        assert threads <= 128 and (cores * k >= 27 / 32 * threads or k > 16), k
        # Banks of the first of two numbers that the cores of a warp read at once.
        place = (cuda.descent.wall(Mesh("rectangular", k).rail, k)[1] | 1) * 2
        for first in range(0, cores * k, 32):
            there = {thread // k for thread in range(first, min(first + 32, cores * k))}
            assert len({core * place % 32 for core in there}) == len(there), k


def test_what_is_counted_in_32_bits_is_refused_beyond() -> None:
    assert cuda.launch.narrow((1 << 32) - 1) == (1 << 32) - 1
    with pytest.raises(OverflowError, match="4,294,967,296 values in one launch"):
        cuda.launch.narrow(1 << 32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", (2, 3, 9, 16))
def test_the_wall_of_bricks_is_the_mesh(kind: str, k: int) -> None:
    mesh = Mesh(kind, k)
    slots, count = cuda.descent.wall(mesh.rail, k)
    assert np.unique(slots).size == mesh.count and slots.max() < count and np.array_equal(slots % (k - 1), mesh.rail)
    angles = generator(k).uniform(0, 6, mesh.count)
    u = np.eye(k)
    # In the kernel's order: a pair of columns after the other, in each the even rails first.
    for s in sorted(range(count), key=lambda s: (s // (k - 1), s % (k - 1) % 2)):
        if s in slots:
            a, r = angles[np.flatnonzero(slots == s)[0]], s % (k - 1)
            u[r : r + 2] = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ u[r : r + 2]
    np.testing.assert_allclose(u, reference.matrix(mesh.scatter(angles), mesh.mask), rtol=0, atol=1e-12)


# -- grids, windows, normalisation -------------------------------------------------------------------------------------


def test_blocks() -> None:
    rng = generator(1)
    (p, q), k = (2, 3), 3
    u, v = orthogonal(rng, p * q, k, k), orthogonal(rng, p * q, k, k)
    sigma, out = rng.normal(size=(p, q, k)), put(np.zeros((p * k, q * k)))
    cuda.blocks.assemble(put(u), put(sigma), put(v), (0,) * k, out)
    wanted = ((u * sigma.reshape(-1, 1, k)) @ v).reshape(p, q, k, k)
    np.testing.assert_allclose(host(out).reshape(p, k, q, k).transpose(0, 2, 1, 3), wanted, rtol=0, atol=1e-14)
    grid, found = rng.normal(size=(p * k, q * k)), put(np.zeros((p, q, k)))
    cuda.blocks.project(put(u), put(grid), put(v), (0,) * k, found)
    pieces = grid.reshape(p, k, q, k).transpose(0, 2, 1, 3).reshape(-1, k, k)
    wanted = np.einsum("mil,mij,mjl->ml", u, pieces, v).reshape(p, q, k)
    np.testing.assert_allclose(host(found), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kernel_, stride, padding", ((3, 1, 1), (2, 2, 0), (3, 2, 1), (3, 1, 0)))
def test_windows(kernel_: int, stride: int, padding: int) -> None:
    rng, shape = generator(kernel_, stride), (2, 4, 5, 2)
    x = rng.integers(-3, 4, shape).astype(float)  # with ties, for the pooling
    h, w = ((n + 2 * padding - kernel_) // stride + 1 for n in shape[1:3])
    window = kernel_, stride, padding
    columns = rng.normal(size=(2 * kernel_**2, h * w * 2))
    both("im2col", "im2col", x, *window, h, w, np.zeros_like(columns))
    both("im2col", "col2im", columns, *window, h, w, np.zeros_like(x))
    x[0, 0, 0, 0] = np.nan
    out, winner = np.zeros((2, h, w, 2)), np.zeros((2, h, w, 2), np.uint8)
    both("im2col", "max_pool", x, *window, out, winner)
    kernels.im2col.max_pool(x, *window, out, winner)
    both("im2col", "max_pool_back", rng.normal(size=out.shape), winner, *window, np.zeros_like(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", (None, 0.7))
def test_normalisation(limit: float | None, dtype: type) -> None:
    """As the CPU's kernels, and the running statistics that `BatchNorm` keeps there."""
    rng, cpu = generator(2), kernels.pointwise
    x, dy = (rng.normal(1, 2, (3, 17)).astype(dtype) for _ in range(2))
    weight, bias, running, other = (rng.uniform(0.5, 1, 3).astype(dtype) for _ in range(4))
    mean, var, inverse, y, dx = (np.zeros(shape, dtype) for shape in (3, 3, 3, (3, 17), (3, 17)))
    cut = () if limit is None else (dtype(limit),)
    getattr(cpu, "normalise_clip" if cut else "normalise")(x, weight, bias, 1e-5, *cut, mean, var, inverse, y)
    low, high = (dtype(0.0), dtype(limit)) if cut else (dtype(-np.inf), dtype(np.inf))
    there = [put(np.copy(a)) for a in (x, weight, bias, running, other)]
    found = [put(np.zeros_like(a)) for a in (mean, inverse, y)]
    cuda.pointwise.normalise(*there[:3], 1e-5, low, high, 0.1, *there[3:], *found)
    wanted = mean, inverse, y, 0.9 * running + 0.1 * mean, 0.9 * other + 0.1 * var * 17 / 16
    for a, b in zip((*found, *there[3:]), wanted):
        np.testing.assert_allclose(host(a), b, rtol=0, atol=kernel(dtype))
    own = [np.zeros(3, dtype), np.zeros(3, dtype), dx]
    if cut:
        cpu.normalise_clip_back(dy, x, weight, bias, mean, inverse, *cut, *own)
    else:
        cpu.normalise_back(dy, x, weight, mean, inverse, *own)
    for need in (np.zeros_like(x), np.zeros((0, 0), dtype)):
        theirs = [put(np.zeros(3, dtype)), put(np.zeros(3, dtype)), put(need)]
        given = put(dy), put(x), put(weight), put(bias), put(mean), put(inverse)
        cuda.pointwise.normalise_back(*given, low, high, *theirs)
        for a, b in zip(theirs, own if need.size else own[:2]):
            np.testing.assert_allclose(host(a), b, rtol=0, atol=kernel(dtype, 8))
    both("pointwise", "affine_clip", x, mean, weight, bias, low, high, np.zeros_like(x), atol=kernel(dtype))


def test_clipping() -> None:
    x = generator(3).normal(3, 3, (2, 9))
    x[0, 0] = np.nan
    both("pointwise", "clip", x, np.float64(6.0), np.zeros_like(x))
    y = np.clip(x, 0, 6)
    both("pointwise", "clip_back", x, y, np.float64(6.0), np.zeros_like(x))


# -- complex meshes ----------------------------------------------------------------------------------------------------


class There:
    """The same light on the device."""

    def __init__(self, light: Light) -> None:
        self.light = light
        self.elements, self.splitters = put(light.elements), put(light.splitters)
        self.mesh = self.elements, light.top, light.bottom, put(light.screen)

    def sent(self, x: np.ndarray, reverse: bool = False) -> np.ndarray:
        field = put(self.light.planes(x))
        (cuda.propagate.backward if reverse else cuda.propagate.forward)(*self.mesh, field)
        return whole(host(field))

    def slopes(self, name: str, *fields: np.ndarray) -> tuple:
        planes = [put(self.light.planes(x)) for x in fields]
        room = [put(np.full_like(a, np.nan)) for a in self.light.room()]
        elements, *rest = self.mesh
        getattr(cuda.propagate, name)(elements, self.splitters, *rest, *planes, *room)
        return [whole(host(a)) for a in planes], [host(a) for a in room]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, modes, loss", (("rectangular", 4, 0.0), ("triangular", 3, 0.5), ("triangular", 1, 0.0)))
def test_elements_and_matrices(kind: str, modes: int, loss: float, dtype: type) -> None:
    light = make(kind, modes, loss=loss, dtype=dtype)
    left, right = (np.ascontiguousarray(a) for a in np.moveaxis(light.errors, 2, 0))
    both("couplers", "splitters", left, right, np.zeros_like(light.splitters), atol=1e-15)
    both(
        "couplers", "elements", light.theta, light.phi, light.splitters, light.factors, np.zeros_like(light.elements),
        atol=light.tolerance,
    )  # fmt: skip
    out = put(np.full((2, 2, modes, modes), np.nan, dtype))
    cuda.propagate.matrices(*There(light).mesh, out)
    for m in range(2):
        wanted = reference.complex_matrix(*light.dense(m))
        np.testing.assert_allclose(whole(host(out))[m], wanted, rtol=0, atol=light.tolerance)


@pytest.mark.parametrize("batch", (0, 1, 7))
def test_forward_and_reversed(batch: int) -> None:
    light = make("rectangular", 4, loss=0.3)
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    x = waves(light, batch, "x")
    np.testing.assert_allclose(There(light).sent(x), u @ x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(There(light).sent(x, reverse=True), np.swapaxes(u, 1, 2) @ x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind, modes, batch", (("rectangular", 4, 7), ("triangular", 3, 1), ("rectangular", 2, 0)))
def test_gradients(kind: str, modes: int, batch: int) -> None:
    light = make(kind, modes)
    x, g = waves(light, batch, "x"), waves(light, batch, "g")
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    (again, sent), first = There(light).slopes("adjoint", u @ x, g)
    np.testing.assert_allclose(again, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sent, np.swapaxes(u, 1, 2) @ g, rtol=0, atol=1e-12)
    (kept, _), second = There(light).slopes("adjoint_lossy", x, g)
    assert np.array_equal(kept, x)
    _, third = There(light).slopes("gradients", u @ x @ np.swapaxes(g, 1, 2))
    for m in range(light.meshes):
        for ours, wanted in zip(zip(first, second, third), reference.complex_gradients(x[m], g[m], *light.dense(m))):
            for one in ours:
                np.testing.assert_allclose(one[m], wanted, rtol=0, atol=1e-11)


def test_couplers_without_a_common_rail_stand_in_one_column() -> None:
    for kind in ("rectangular", "triangular", "butterfly"):
        mesh = Mesh(kind, 8)
        starts = cuda.propagate.levels(mesh.top, mesh.bottom)
        assert starts[0] == 0 and starts[-1] == mesh.count and starts.size <= mesh.columns + 1
        for first, last in pairwise(starts):
            rails = np.concatenate([mesh.top[first:last], mesh.bottom[first:last]])
            assert np.unique(rails).size == rails.size


def test_a_strip_fits_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.propagate, "WIDE", 32)
    monkeypatch.setattr(cuda.propagate, "NARROW", 4)
    capacity = cuda.propagate.capacity
    assert capacity(64, 4096, 5, 4) == (64, 32), "all of a warp side by side"
    assert capacity(64, 512, 5, 4) == (64, 4), "a smaller batch is spread over more blocks"
    assert capacity(1024, 4096, 5, 4) == (1024, 2) and capacity(1024, 4096, 2, 8) == (1024, 2)
    assert capacity(4096, 4096, 5, 8) == (4096, 0), "it lies in the device's memory"


@pytest.mark.parametrize("reverse", (False, True))
def test_meshes_too_large_for_a_block(reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.propagate, "SHARED_BYTES", 100)
    light = make("rectangular", 3)
    x, g = waves(light, 3, "x"), waves(light, 3, "g")
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    u = np.swapaxes(u, 1, 2) if reverse else u
    np.testing.assert_allclose(There(light).sent(x, reverse), u @ x, rtol=0, atol=1e-12)
    planes, mesh = light.planes(x), (light.top, light.bottom, light.screen)
    sums = (np.zeros((2, light.count)) for _ in range(2))
    both(
        "powers", "powers", light.elements, light.splitters, light.factors, *mesh, reverse, planes, *sums,
        stay=(3, 4), atol=1e-11,
    )  # fmt: skip
    if not reverse:
        (again, _), slopes = There(light).slopes("adjoint", u @ x, g)
        np.testing.assert_allclose(again, x, rtol=0, atol=1e-12)
        for m in range(light.meshes):
            for ours, wanted in zip(slopes, reference.complex_gradients(x[m], g[m], *light.dense(m))):
                np.testing.assert_allclose(ours[m], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "kind, modes, bytes_", (("rectangular", 3, 1 << 15), ("triangular", 4, 1 << 15), ("rectangular", 3, 100))
)
def test_gradients_with_loss(kind: str, modes: int, bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of strips in what a block shares, and of such as do not fit there."""
    monkeypatch.setattr(cuda.propagate, "SHARED_BYTES", bytes_)
    light = make(kind, modes, loss=1.0)
    x, g = waves(light, 5, "x"), waves(light, 5, "g")
    (kept, sent), slopes = There(light).slopes("adjoint_lossy", x, g)
    assert np.array_equal(kept, x)
    for m in range(light.meshes):
        np.testing.assert_allclose(sent[m], reference.complex_matrix(*light.dense(m)).T @ g[m], rtol=0, atol=1e-12)
        for ours, wanted in zip(slopes, reference.complex_gradients(x[m], g[m], *light.dense(m))):
            np.testing.assert_allclose(ours[m], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("reverse", (False, True))
def test_inside(reverse: bool) -> None:
    light = make("triangular", 3, loss=0.5)
    x = light.planes(waves(light, 3, "x"))
    both("inside", "tap", *light.parts, light.screen, reverse, x, np.zeros((2, 2, 2, light.count, 3)), stay=(4, 5))
    out = np.zeros((2, 4 * (len(light.starts) - 1) + 2, 2, 3, 3))
    out[:, 0] = x
    both("inside", "trace", *light.parts, light.starts, light.screen, reverse, out, stay=(4, 5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, modes, batch", (("rectangular", 3, 7), ("triangular", 3, 1)))
def test_powers(kind: str, modes: int, batch: int, dtype: type) -> None:
    light = make(kind, modes, loss=0.5, dtype=dtype)
    x, mesh = light.planes(waves(light, batch, "x")), (light.top, light.bottom, light.screen)
    for reverse in (False, True):
        sums = (np.zeros((2, light.count)) for _ in range(2))
        both(
            "powers", "powers", light.elements, light.splitters, light.factors, *mesh, reverse, x, *sums,
            stay=(3, 4), atol=10 * light.tolerance,
        )  # fmt: skip
    seen = (np.zeros((2, light.count, batch), dtype) for _ in range(2))
    both("powers", "each", light.elements, light.factors, *mesh, x, *seen, stay=(2, 3), atol=light.tolerance)


# -- twins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wraps, power", ((True, False), (False, True)))
def test_twins(wraps: bool, power: bool) -> None:
    """Normal equations and responses of two cores, two settings of their own each."""
    mesh, rng, cores, settings, k = Mesh("rectangular", 3), generator(11), 2, 2, 3
    d, width = 2 * mesh.count, 4
    told = rng.uniform(0, 6, (cores, settings, d)), rng.choice([-1.0, 1.0], (cores, settings, k))
    light = rng.normal(size=(settings, k, width))
    seen = rng.normal(size=(cores, settings, k, width)).astype(np.float32)
    known = rng.normal(1, 0.1, (cores, d)), rng.uniform(-3, 3, (cores, d)), rng.uniform(0, 0.03, cores)
    out = np.zeros((cores, 2 * d + 1, 2 * d + 1)), np.zeros((cores, 2 * d + 1)), np.zeros(cores)
    layout = mesh.around, wraps, mesh.rail
    # In the precision that the fit takes: numbers of the normal matrix are up to 5e4.
    both("twin", "normal", *told, light.astype(np.float32), seen, power, *known, *layout, *out, atol=0.05)
    both("twin", "responses", *told, np.ones((1, k)), light, *known, *layout, np.zeros(seen.shape))


def test_a_twin_is_fitted_on_the_device_as_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same way; the host's fast one ends within a tenth of a standard deviation of it."""
    sheet = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005, readout_noise=0.01)
    chip = small_chip((1, 2), 2, sheet)
    probes = twin.measure(chip, *twin.settings(chip.mesh, twin.Drive.of(sheet), generator(1), 3))
    start = twin.blank(2, chip.mesh)
    start.bias[:] = twin.begin(chip.mesh, sheet, probes)
    known = chip.mesh, twin.Drive.of(sheet), sheet, probes, start
    fast = twin.fit(*known)
    monkeypatch.setattr("l2sim.learn.twin.fit._whole", lambda probes: False)
    ours, theirs = (twin.fit(*known, xp=side) for side in (xp, np))
    assert (
        np.abs(fast.bias - theirs.bias) < 0.1 * theirs.spread[:, : fast.bias[0].size].reshape(fast.bias.shape)
    ).all()
    assert ours.identified.all() and theirs.identified.all()
    np.testing.assert_allclose(ours.bias, theirs.bias, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.spread, theirs.spread, rtol=1e-3)


def test_a_kernel_refuses_arrays_of_the_host() -> None:
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match="host"):
        cuda.pointwise.clip(x, 1.0, put(x))


@pytest.mark.parametrize(
    "family, names",
    (
        ("blocks", ("assemble", "project")),
        ("chain", ("apply",)),
        ("couplers", ("splitters", "elements")),
        ("draws", ("normal", "add", "readings")),
        ("im2col", ("im2col", "col2im", "max_pool", "max_pool_back")),
        ("inside", ("tap", "trace")),
        ("mesh", ("matrices",)),
        ("noisy", ("add_grams", "masked_grams", "add")),
        ("pointwise", ("affine_clip", "clip", "clip_back")),
        ("powers", ("powers", "each")),
        ("propagate", ("forward", "backward", "matrices", "adjoint", "gradients", "adjoint_lossy")),
        ("descent", ("descend",)),
        ("twin", ("normal", "responses")),
    ),
)
def test_both_sides_take_the_same_arguments(family: str, names: tuple[str, ...]) -> None:
    for name in names:
        ours = getattr(getattr(cuda, family), name)
        theirs = getattr(getattr(kernels, family), name)
        arguments = [list(inspect.signature(getattr(f, "py_func", f)).parameters) for f in (ours, theirs)]
        assert arguments[0] == arguments[1], f"{family}.{name}"
