"""Complex meshes: the kernels of `couplers` and `propagate` against dense NumPy, golden data and physics."""

from __future__ import annotations

import dataclasses
from functools import cache

import numba
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from tests.assembly import wide_multiply_adds
from tests.places import INSITU
from tests.tolerances import DTYPES, kernel

reference = kernels.reference
propagate = kernels.propagate
TAU = 2 * np.pi
MESHES = ("rect_4", "rect_8", "tri_4", "tri_8")
SIZES = (1, 2, 3, 4, 5, 8, 17)
BATCHES = (0, 1, 3, 16, 17, 64, 70)


@dataclasses.dataclass
class Light:
    """M meshes with one layout, as kernels take them, beside the same as the reference does."""

    modes: int
    theta: np.ndarray
    phi: np.ndarray
    screen: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    column: np.ndarray
    errors: np.ndarray
    amplitudes: np.ndarray
    dtype: type = np.float64

    def __post_init__(self) -> None:
        self.splitters = np.full((self.meshes, 4, self.count), np.nan)
        left, right = np.ascontiguousarray(np.moveaxis(self.errors, 2, 0))
        kernels.couplers.splitters(left, right, self.splitters)
        self.factors = np.ascontiguousarray(np.swapaxes(self.amplitudes, 1, 2))
        self.elements = np.full((self.meshes, 12, self.count), np.nan, self.dtype)
        kernels.couplers.elements(self.theta, self.phi, self.splitters, self.factors, self.elements)
        self.common = (self.elements, self.top, self.bottom, self.screen)
        self.parts = (self.theta, self.phi, self.splitters, self.factors, self.top, self.bottom)

    @property
    def meshes(self) -> int:
        return len(self.theta)

    @property
    def count(self) -> int:
        return len(self.top)

    @property
    def tolerance(self) -> float:
        return kernel(self.dtype, self.modes)

    @property
    def starts(self) -> np.ndarray:
        columns = self.column.max(initial=-1) + 1
        return np.searchsorted(self.column, np.arange(columns + 1))

    def dense(self, m: int) -> tuple:
        return self.theta[m], self.phi[m], self.screen[m], self.top, self.bottom, self.errors[m], self.amplitudes[m]

    def planes(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.stack((x.real, x.imag), axis=1), self.dtype)

    def matrices(self) -> np.ndarray:
        out = np.full((self.meshes, 2, self.modes, self.modes), np.nan, self.dtype)
        propagate.matrices(*self.common, out)
        return whole(out)

    def sent(self, x: np.ndarray, reverse: bool = False) -> np.ndarray:
        field = self.planes(x)
        (propagate.backward if reverse else propagate.forward)(*self.common, field)
        return whole(field)

    def room(self) -> tuple[np.ndarray, ...]:
        return tuple(np.full((self.meshes, size), np.nan, self.dtype) for size in (self.count, self.count, self.modes))

    def adjoint(self, y: np.ndarray, g: np.ndarray) -> tuple:
        """(x, U^T g, (by theta, by phi, by screen)) of a lossless mesh."""
        field, cotangent, room = self.planes(y), self.planes(g), self.room()
        elements, top, bottom, screen = self.common
        propagate.adjoint(elements, self.splitters, top, bottom, screen, field, cotangent, *room)
        return whole(field), whole(cotangent), room

    def lossy(self, x: np.ndarray, g: np.ndarray) -> tuple:
        field, cotangent, room = self.planes(x), self.planes(g), self.room()
        before = field.copy()
        elements, top, bottom, screen = self.common
        propagate.adjoint_lossy(elements, self.splitters, top, bottom, screen, field, cotangent, *room)
        assert np.array_equal(field, before)
        return whole(cotangent), room

    def gradients(self, product: np.ndarray) -> tuple:
        room = self.room()
        elements, top, bottom, screen = self.common
        propagate.gradients(elements, self.splitters, top, bottom, screen, self.planes(product), *room)
        return room

    def tap(self, x: np.ndarray, reverse: bool) -> tuple[np.ndarray, np.ndarray]:
        """What leaves, and (M, 2, n, B) at phi and theta."""
        field = self.planes(x)
        taps = np.full((self.meshes, 2, 2, self.count, x.shape[2]), np.nan, self.dtype)
        kernels.inside.tap(*self.parts, self.screen, reverse, field, taps)
        return whole(field), taps[:, :, 0] + 1j * taps[:, :, 1]

    def trace(self, x: np.ndarray, reverse: bool) -> np.ndarray:
        out = np.full((self.meshes, 4 * (len(self.starts) - 1) + 2, 2, *x.shape[1:]), np.nan, self.dtype)
        out[:, 0] = self.planes(x)
        kernels.inside.trace(*self.parts, self.starts, self.screen, reverse, out)
        return out[:, :, 0] + 1j * out[:, :, 1]


def whole(planes: np.ndarray) -> np.ndarray:
    return planes[:, 0] + 1j * planes[:, 1]


def layout(kind: str, modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """top, bottom, column, sorted by column."""
    if kind == "rectangular":
        pairs = [(c, r, r + 1) for c in range(modes) for r in range(c % 2, modes - 1, 2)]
    elif kind == "triangular":
        pairs = [(2 * (modes - 1 - i) + j, j, j + 1) for i in range(modes - 1, 0, -1) for j in range(i)]
    else:
        strides = [1 << s for s in range(modes.bit_length() - 1)][::-1]
        pairs = [(c, r, r + d) for c, d in enumerate(strides) for r in range(modes - d) if not r & d]
    column, top, bottom = np.array(sorted(pairs), int).reshape(-1, 3).T.copy()
    return top, bottom, column


def make(
    kind: str, modes: int, meshes: int = 2, errors: float = 0.05, loss: float = 0.0, dtype: type = np.float64
) -> Light:
    draw = generator(modes, kind)
    top, bottom, column = layout(kind, modes)
    shape = (meshes, len(top))
    theta, phi = draw.uniform(-TAU, 2 * TAU, (2, *shape)).astype(dtype)
    screen = draw.uniform(0, TAU, (meshes, modes)).astype(dtype)
    amplitudes = 10 ** (-np.abs(draw.normal(0, loss, (*shape, 4))) / 20)
    return Light(modes, theta, phi, screen, top, bottom, column, draw.normal(0, errors, (*shape, 2)), amplitudes, dtype)


def waves(light: Light, batch: int, name: str) -> np.ndarray:
    z = generator(batch, name).normal(size=(2, light.meshes, light.modes, batch)).astype(light.dtype)
    return z[0] + 1j * z[1]


def close(a: np.ndarray, b: np.ndarray, light: Light, scale: float = 1.0) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=light.tolerance * scale)


# -- against the dense definitions -------------------------------------------------------------------------------------


def test_cossin() -> None:
    x = np.concatenate(
        (generator(1).uniform(-1e5, 1e5, 2000), np.linspace(-20, 20, 997), np.arange(-64, 65) * np.pi / 4)
    )
    ours = np.array([kernels.couplers.cossin(v) for v in x])
    np.testing.assert_allclose(ours, np.stack((np.cos(x), np.sin(x)), 1), rtol=0, atol=3e-16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ("rectangular", "triangular", "butterfly"))
@pytest.mark.parametrize("modes", SIZES)
def test_matrices(kind: str, modes: int, dtype: type) -> None:
    for loss in (0.0, 0.5):
        light = make(kind, modes, loss=loss, dtype=dtype)
        u = light.matrices()
        for m in range(light.meshes):
            close(u[m], reference.complex_matrix(*light.dense(m)), light)


def test_the_derivatives_of_an_element() -> None:
    light = make("rectangular", 5, loss=1.0)
    e = light.elements
    for m in range(light.meshes):
        for t in range(light.count):
            phases = (light.theta[m, t], light.phi[m, t])
            p = reference.pieces(*phases, light.errors[m, t], light.amplitudes[m, t])
            i = np.diag([1j, 0])
            ours = (e[m, 0:8:2, t] + 1j * e[m, 1:8:2, t]).reshape(2, 2)
            z = e[m, 8::2, t] + 1j * e[m, 9::2, t]
            w = light.splitters[m, 2:, t] * (1, 1j)
            close(ours, p[3] @ p[2] @ p[1] @ p[0], light)
            close(1j * np.outer(w, z), p[3] @ i @ p[2] @ p[1] @ p[0], light)
            close(ours @ i, p[3] @ p[2] @ p[1] @ i @ p[0], light)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modes", SIZES)
@pytest.mark.parametrize("batch", BATCHES)
def test_forward_and_reversed(modes: int, batch: int, dtype: type) -> None:
    light = make("rectangular", modes, loss=0.3, dtype=dtype)
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    x = waves(light, batch, "x")
    close(light.sent(x), u @ x, light, 4)
    close(light.sent(x, reverse=True), np.swapaxes(u, 1, 2) @ x, light, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ("rectangular", "triangular", "butterfly"))
@pytest.mark.parametrize("modes", (1, 2, 5, 8))
@pytest.mark.parametrize("batch", (0, 1, 5, 18, 70))
def test_gradients(kind: str, modes: int, batch: int, dtype: type) -> None:
    light = make(kind, modes, dtype=dtype)
    x, g = waves(light, batch, "x"), waves(light, batch, "g")
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    y = u @ x
    again, sent, first = light.adjoint(y, g)
    close(again, x, light, 4)
    close(sent, np.swapaxes(u, 1, 2) @ g, light, 4)
    sent_too, second = light.lossy(x, g)
    close(sent_too, sent, light, 4)
    third = light.gradients(y @ np.swapaxes(g, 1, 2))
    for m in range(light.meshes):
        for ours, wanted in zip(zip(first, second, third), reference.complex_gradients(x[m], g[m], *light.dense(m))):
            for one in ours:
                close(one[m], wanted, light, 4 * np.sqrt(max(1, batch)) * 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modes", (1, 2, 5, 8))
@pytest.mark.parametrize("batch", (0, 1, 18))
def test_gradients_with_loss(modes: int, batch: int, dtype: type) -> None:
    light = make("rectangular", modes, loss=1.0, dtype=dtype)
    x, g = waves(light, batch, "x"), waves(light, batch, "g")
    u = np.array([reference.complex_matrix(*light.dense(m)) for m in range(light.meshes)])
    sent, direct = light.lossy(x, g)
    close(sent, np.swapaxes(u, 1, 2) @ g, light, 4)
    identity = np.tile(np.eye(modes, dtype=complex), (light.meshes, 1, 1))
    back, basis = light.lossy(x @ np.swapaxes(g, 1, 2), identity)
    close(back, np.swapaxes(u, 1, 2), light)
    for m in range(light.meshes):
        for a, b, wanted in zip(direct, basis, reference.complex_gradients(x[m], g[m], *light.dense(m))):
            close(a[m], wanted, light, 8 * np.sqrt(max(1, batch)))
            close(b[m], wanted, light, 8 * np.sqrt(max(1, batch)))


@pytest.mark.parametrize("modes", (33, 70))
def test_more_modes_than_a_strip_is_wide(modes: int) -> None:
    light = make("rectangular", modes, meshes=1)
    x, g = waves(light, 3, "x"), waves(light, 3, "g")
    u = light.matrices()
    close(u @ np.conj(np.swapaxes(u, 1, 2)), np.eye(modes)[None], light)
    close(light.sent(x), u @ x, light)
    y = u @ x
    _, sent, first = light.adjoint(y, g)
    close(sent, np.swapaxes(u, 1, 2) @ g, light)
    for other in (light.lossy(x, g)[1], light.gradients(y @ np.swapaxes(g, 1, 2))):
        for a, b in zip(first, other):
            close(a, b, light)


@pytest.mark.parametrize("loss", (0.0, 0.5))
@pytest.mark.parametrize("modes", (1, 2, 5, 8))
@pytest.mark.parametrize("batch", (1, 67))
def test_fields(modes: int, batch: int, loss: float) -> None:
    light = make("triangular", modes, loss=loss)
    x = waves(light, batch, "x")
    y, taps = light.tap(x, reverse=False)
    lists = light.trace(x, reverse=False)
    for m in range(light.meshes):
        fields = reference.complex_fields(x[m], *light.dense(m))
        close(y[m], fields[-1], light)
        close(lists[m, -1], fields[-1], light)
        for t in range(light.count):
            rail, column = light.top[t], light.column[t]
            for shifter in (0, 1):
                close(taps[m, shifter, t], fields[4 * t + 1 + 2 * shifter, rail], light)
                close(lists[m, 4 * column + 1 + 2 * shifter, rail], fields[4 * t + 1 + 2 * shifter, rail], light)


# -- physics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("rectangular", "triangular", "butterfly"))
def test_unitary_reciprocal_and_conserving(kind: str) -> None:
    light = make(kind, 8)
    u = light.matrices()
    close(np.conj(np.swapaxes(u, 1, 2)) @ u, np.tile(np.eye(8), (light.meshes, 1, 1)), light)
    basis = np.tile(np.eye(8, dtype=complex), (light.meshes, 1, 1))
    close(light.sent(basis, reverse=True), np.swapaxes(u, 1, 2), light)
    x = waves(light, 5, "x")
    power = np.sum(np.abs(light.trace(x, reverse=False)) ** 2, axis=2)
    close(power, np.broadcast_to(power[:, :1], power.shape), light, 10)


def test_loss_takes_power_and_never_gives_it() -> None:
    light = make("rectangular", 8, loss=1.0)
    power = np.sum(np.abs(light.trace(waves(light, 5, "x"), reverse=False)) ** 2, axis=2)
    assert np.all(np.diff(power, axis=1) < 1e-12) and np.all(power[:, -1] < 0.9 * power[:, 0])


def test_the_adjoint_identity() -> None:
    for loss in (0.0, 0.5):
        light = make("rectangular", 7, loss=loss)
        x, g = waves(light, 9, "x"), waves(light, 9, "g")
        close(np.sum(g * light.sent(x), (1, 2)), np.sum(light.sent(g, reverse=True) * x, (1, 2)), light, 10)


@pytest.mark.parametrize("loss", (0.0, 0.5))
def test_gradients_are_what_the_taps_measure(loss: float) -> None:
    """dL/dp = -Im(a f) = (|f - i conj a|^2 - |f|^2 - |a|^2) / 2 at every shifter; with loss only the first holds."""
    light = make("rectangular", 6, loss=loss)
    x, g = waves(light, 11, "x"), waves(light, 11, "g")
    y, f = light.tap(x, reverse=False)
    a_in, a = light.tap(g, reverse=True)
    by_theta, by_phi, by_screen = light.lossy(x, g)[1]
    close(-np.sum(np.imag(a * f), 3), np.stack((by_phi, by_theta), 1), light, 10)
    close(-np.sum(np.imag(g * y), 2), by_screen, light, 10)
    if not loss:
        together = light.tap(x - 1j * np.conj(a_in), reverse=False)[1]
        measured = np.sum(np.abs(together) ** 2 - np.abs(f) ** 2 - np.abs(a) ** 2, 3) / 2
        close(measured, np.stack((by_phi, by_theta), 1), light, 20)


@pytest.mark.parametrize("loss", (0.0, 0.5))
def test_finite_differences(loss: float) -> None:
    light = make("rectangular", 5, meshes=1, loss=loss)
    x, g = waves(light, 4, "x"), waves(light, 4, "g")
    ours = light.lossy(x, g)[1] if loss else light.adjoint(light.sent(x), g)[2]
    for name, slopes in zip(("theta", "phi", "screen"), ours):
        for i in range(slopes.shape[1]):
            values = []
            for step in (1e-5, -1e-5):
                phases = getattr(light, name).copy()
                phases[0, i] += step
                values.append(np.sum(np.real(g * dataclasses.replace(light, **{name: phases}).sent(x))))
            assert abs((values[0] - values[1]) / 2e-5 - slopes[0, i]) < 1e-8


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread is all there is")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_thread_count_changes_no_bit(dtype: type) -> None:
    light = make("rectangular", 24, meshes=3, dtype=dtype)
    x, g = waves(light, 1600, "x"), waves(light, 1600, "g")
    assert propagate.NANOSECONDS * light.meshes * light.count * 1600 > kernels.threads.SMALL
    runs = []
    try:
        for threads in (1, 2):
            kernels.threads.use(threads)
            again, sent, room = light.adjoint(light.sent(x), g)
            runs.append((again, sent, *room, light.sent(g, reverse=True), *light.lossy(x, g)[1], *light.tap(x, False)))
    finally:
        kernels.threads.use(1)
    assert all(np.array_equal(a, b) for a, b in zip(*runs))


def test_the_batch_around_it_changes_no_bit_of_a_sample() -> None:
    light = make("rectangular", 8)
    x = waves(light, 200, "x")
    assert np.array_equal(light.sent(x)[:, :, 150:151], light.sent(x[:, :, 150:151]))


def test_the_hot_loops_are_vectorised() -> None:
    types, array = numba.types, numba.types.Array
    single, rails = types.float32, array(types.int64, 1, "C")
    one, two, three = (array(single, d, "C") for d in (1, 2, 3))
    count = types.int64
    hot = (
        (propagate.forward_strip, (two, rails, rails, one, three, count, count), 12),
        (propagate.matrix_strip, (two, rails, rails, one, three, count, count), 12),
        (propagate.gradient_part, (two, two, rails, rails, one, three, count, count, count, one), 40),
    )
    for function, signature, least in hot:
        assert wide_multiply_adds(function, signature) >= least, function.py_func.__name__


# -- golden data -------------------------------------------------------------------------------------------------------


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    path = INSITU / f"mesh_{name}.npz"
    if not path.exists():
        pytest.skip(f"golden data of complex meshes is not here: {path}")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def golden_mesh(name: str, variant: str) -> tuple[Light, np.ndarray, dict[str, np.ndarray]]:
    """A recorded mesh, its couplers sorted by column; the order that leads there; the file."""
    z = golden(name)
    order = np.argsort(z["column"], kind="stable")
    bent = variant in ("phase", "all")
    theta, phi = (z[p] + bent * z[f"d{p}"] for p in ("theta", "phi"))
    errors = z["bs_error"] * (variant in ("bs", "all"))
    amplitudes = np.ones((len(theta), 4))
    if variant in ("loss", "all"):
        amplitudes[:, ::2] = 10 ** (-z["loss_db"] / 20)
    rails = (z[key][order].astype(np.int64) for key in ("top", "bottom", "column"))
    light = Light(
        len(z["gamma"]), theta[order][None], phi[order][None], z["gamma"][None], *rails, errors[order][None],
        amplitudes[order][None],
    )  # fmt: skip
    return light, order, z


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("variant", ("ideal", "bs", "phase", "loss", "all"))
def test_golden_matrices_and_fields(name: str, variant: str) -> None:
    light, _, z = golden_mesh(name, variant)
    end = "" if variant == "ideal" else f"_{variant}"
    close(light.matrices()[0], z[f"matrix{end}"], light)
    x = z["x"].astype(complex)[None, :, None]
    close(light.trace(x, reverse=False)[0, :, :, 0], z[f"fields_explicit{end}"], light)
    if variant == "ideal":
        close(light.trace(x, reverse=True)[0, :, :, 0], z["fields_explicit_back"], light)


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("variant", ("ideal", "bs", "all"))
def test_golden_gradients(name: str, variant: str) -> None:
    light, order, z = golden_mesh(name, variant)
    x = z["X"].astype(complex)
    y = light.sent(x[None])[0]
    close(y, z[f"y_{variant}"], light, 10)
    g = (2 * z["w"][:, None] * np.conj(y) + np.conj(z["T"])) / x.shape[1]
    if variant == "all":
        sent, room = light.lossy(x[None], g[None])
    else:
        _, sent, room = light.adjoint(y[None], g[None])
        for a, b in zip(room, light.gradients((y @ g.T)[None])):
            close(a, b, light, 10)
    close(sent[0], z[f"gx_{variant}"], light, 10)
    for ours, key, places in zip(room, ("theta", "phi", "gamma"), (order, order, slice(None))):
        close(ours[0], z[f"g{key}_{variant}"][places], light, 10)
