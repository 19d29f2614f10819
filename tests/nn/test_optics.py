"""Layers of light: golden networks, finite differences, and how descriptions of them fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from l2sim.backend import Array, generator
from l2sim.chip import readout
from l2sim.data import as_light
from l2sim.errors import ModelError
from l2sim.nn import losses, models, network, optics, optim
from l2sim.nn.layers import Layer
from l2sim.nn.models import ModelSpec
from tests import goldens
from tests.doubles import ThinMesh, exact_gradient
from tests.places import DATA
from tests.tolerances import kernel

DTYPES = (np.float32, np.float64)


def meshes(seed: int, dtype: Any, by_matrix: bool = False) -> network.MakeMesh:
    def make(name: str, spec: models.Mesh) -> optics.MeshLayer:
        pairs = [(c, r, r + 1) for c in range(spec.modes) for r in range(c % 2, spec.modes - 1, 2)]
        top, bottom = np.array(pairs, np.int64).reshape(-1, 3).T[1:]
        rng = generator(seed, name)
        theta, phi, screen = (rng.uniform(0, 6, n).astype(dtype) for n in (len(top), len(top), spec.modes))
        hardware = ThinMesh(top, bottom, spec.modes, dtype)
        return optics.MeshLayer(
            hardware, exact_gradient, theta, phi, screen, train_screen=spec.screen, by_matrix=by_matrix
        )

    return make


def build(spec: ModelSpec, seed: int = 1, dtype: Any = np.float64, by_matrix: bool = False) -> network.Network:
    weights = network.electronic(generator(seed, "weights"), dtype)
    return network.build(spec, weights, dtype, meshes(seed, dtype, by_matrix))


def published(z: dict[str, np.ndarray]) -> network.Network:
    """The golden network of three meshes of 64 modes, as recorded."""
    order = np.argsort(z["column"], kind="stable")

    def make(name: str, spec: models.Mesh) -> optics.MeshLayer:
        at = int(name[-1]) - 1
        hardware = ThinMesh(z["top"][order], z["bottom"][order], 64, np.float64)
        phases = z[f"theta{at}"][order], z[f"phi{at}"][order], z[f"gamma{at}"].copy()
        return optics.MeshLayer(hardware, exact_gradient, *phases, train_screen=spec.screen)

    return network.build(models.onn(), network.electronic(generator(0)), np.float64, make)


@pytest.mark.parametrize("name", ["digits", "mnist_fourier", "fashion_fourier"])
@pytest.mark.parametrize("by_matrix", [False, True])
def test_the_published_network(name: str, by_matrix: bool) -> None:
    z = goldens.insitu("net3x64")
    if f"{name}_x" not in z:
        pytest.skip(f"no {name} here")
    order = np.argsort(z["column"], kind="stable")
    net = published(z)
    for layer in net.meshes.values():
        layer.by_matrix = by_matrix
    labels = z[f"{name}_label"].astype(np.int64)
    logits = net.forward(z[f"{name}_x"], train=True)
    scale = np.abs(z[f"{name}_power"]).max()
    np.testing.assert_allclose(logits, z[f"{name}_power"][:, :10].T, rtol=0, atol=1e-12 * scale)
    loss, dlogits = losses.cross_entropy(logits, labels)
    assert loss / 10 == pytest.approx(float(z[f"{name}_loss"]), rel=1e-12)  # the notebook's mean runs over classes too
    net.backward(dlogits / 10)
    for at, layer in enumerate(net.meshes.values()):
        for ours, theirs in (("theta", "gtheta"), ("phi", "gphi")):
            wanted = z[f"{name}_{theirs}{at}"][order]
            atol = 1e-12 * max(1.0, np.abs(wanted).max())
            np.testing.assert_allclose(layer.gradients()[ours], wanted, rtol=0, atol=atol)
        assert "screen" not in layer.parameters() and np.abs(z[f"{name}_ggamma{at}"]).max() < 1e-12


def test_ten_steps_of_the_published_training() -> None:
    z = goldens.insitu("net3x64")
    if "adam10_losses" not in z:
        pytest.skip("no recorded steps here")
    if not (DATA / "mnist").is_dir():
        pytest.skip(f"no MNIST in {DATA}")
    data = as_light.dataset("mnist", "fourier", 64, DATA)
    order = np.argsort(z["column"], kind="stable")
    net = published(z)
    state = optim.start("adam", net.parameters())
    for number, wanted in enumerate(z["adam10_losses"]):
        batch = slice(512 * number, 512 * (number + 1))
        loss, dlogits = losses.cross_entropy(net.forward(data.train_x[batch], train=True), data.train_y[batch])
        assert loss / 10 == pytest.approx(float(wanted), rel=1e-12)
        net.backward(dlogits / 10)
        optim.step(state, net.parameters(), net.gradients(), lr=1e-3)
        for layer in net.meshes.values():
            layer.write()
    for at, layer in enumerate(net.meshes.values()):
        for ours, part in ((layer.theta, "theta"), (layer.phi, "phi")):
            np.testing.assert_allclose(ours, z[f"adam10_{part}{at}"][order], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layer, complex_in",
    [
        (optics.Abs(), True),
        (optics.Abs(), False),
        (optics.Power(), True),
        (optics.Power(), False),
        (optics.ElectroOptic(), True),
        (optics.ElectroOptic(0.3, 1.1, 0.4), False),
        (optics.Saturable(), True),
        (optics.Saturable(2.0, 0.3), False),
        (optics.Normalise(), True),
        (optics.Normalise(), False),
        (optics.Normalise(100.0), True),
        (optics.Normalise(0.3), False),
        (optics.ElectroOptic(0.1, 0.05 * np.pi, 0.0), True),
        (optics.Ports(2), True),
        (optics.Ports(2, 2), False),
    ],
    ids=lambda v: type(v).__name__ if hasattr(v, "forward") else ("light" if v else "real"),
)
def test_a_layers_gradient_is_that_of_finite_differences(layer: Layer, complex_in: bool) -> None:
    rng = generator(1, "layer")
    x = rng.standard_normal((5, 7)) + (1j * rng.standard_normal((5, 7)) if complex_in else 0)
    y = layer.forward(x, train=True)
    h = rng.standard_normal(y.shape) + (1j * rng.standard_normal(y.shape) if np.iscomplexobj(y) else 0)
    g = layer.backward(h)
    assert g is not None and np.iscomplexobj(g) == complex_in
    step = rng.standard_normal(x.shape) + (1j * rng.standard_normal(x.shape) if complex_in else 0)
    eps = 1e-6
    moved = (h * (layer.forward(x + eps * step) - layer.forward(x - eps * step))).real.sum() / (2 * eps)
    assert (g * step).real.sum() == pytest.approx(moved, rel=1e-7, abs=1e-8)
    for kind in (np.complex64, np.float32):
        if complex_in == np.issubdtype(kind, np.complexfloating):
            small = layer.forward(x.astype(kind), train=True)
            back = layer.backward(small)
            assert back is not None and back.dtype == kind and small.real.dtype == np.float32


def test_dark_ports_have_no_gradient() -> None:
    dark = np.zeros((3, 2), complex)
    for layer in (optics.Abs(), optics.Normalise(), optics.Power(), optics.Saturable()):
        y = layer.forward(dark, train=True)
        g = layer.backward(np.ones_like(y))
        assert np.isfinite(y).all() and g is not None and np.isfinite(g).all()
    assert not np.any(optics.Abs().forward(dark))


def spec(name: str) -> ModelSpec:
    if name == "mixed":
        light = (models.Mesh(6), models.Saturable(), models.Normalise(), models.Mesh(6, screen=True), models.Abs())
        return ModelSpec(name, (5,), 2, (models.Linear(4, k=4), *light, models.Linear(2, k=4)))
    if name == "residual":
        body = (models.Mesh(5, screen=True), models.ElectroOptic())
        return ModelSpec(name, (5,), 2, (models.Residual(body), models.Power(), models.Ports(2, 2)))
    return models.onn(3, (4,), 5, 2, nonlinearity=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_amplitudes_is_the_formula_bit_for_bit(dtype: Any) -> None:
    rng, layer = generator(5, "amplitudes"), optics.Abs()
    x = readout.complex_of(*rng.standard_normal((2, 7, 33)).astype(dtype))
    x[2], x[3, 4] = 0.0, np.nan
    dy = rng.standard_normal(x.shape).astype(dtype)
    y = layer.forward(x, train=True)
    share = dy / np.maximum(y, np.finfo(dtype).tiny)
    found = layer.backward(dy)
    assert found is not None and found.dtype == x.dtype
    np.testing.assert_array_equal(found.real, x.real * share)
    np.testing.assert_array_equal(found.imag, x.imag * -share)


@pytest.mark.parametrize("name", ["abs", "power", "electro-optic", "saturable", "mixed", "residual"])
@pytest.mark.parametrize("objective", losses.OBJECTIVES)
def test_a_networks_gradient_is_that_of_finite_differences(name: str, objective: str) -> None:
    described = spec(name)
    net = build(described)
    rng = generator(2, "data")
    x = rng.standard_normal((9, *described.input))
    if name != "mixed":
        x = x + 1j * rng.standard_normal(x.shape)
    labels = rng.integers(0, described.classes, 9)

    def loss() -> tuple[float, Array]:
        for layer in net.meshes.values():
            layer.write()
        return losses.OBJECTIVES[objective](net.forward(x, train=True), labels)

    net.backward(loss()[1])
    gradients = {key: g.copy() for key, g in net.gradients().items()}
    assert set(gradients) == set(net.parameters())
    for key, p in net.parameters().items():
        step = rng.standard_normal(p.shape)
        values = []
        for sign in (1, -1):
            p += sign * 1e-6 * step
            values.append(loss()[0])
            p -= sign * 1e-6 * step
        assert (gradients[key] * step).sum() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8), key


def test_the_matrix_way_gives_the_same_gradients() -> None:
    x = generator(3).standard_normal((8, 4)) + 0j
    found = []
    for by_matrix in (False, True):
        net = build(models.onn(3, (4,), 5, 2), by_matrix=by_matrix)
        _, g = losses.cross_entropy(net.forward(x, train=True), np.arange(8) % 3)
        net.backward(g)
        found.append(net.gradients())
    for key in found[0]:
        np.testing.assert_allclose(found[0][key], found[1][key], atol=1e-13)


def test_float32_stays_float32_and_agrees() -> None:
    x = (generator(3).standard_normal((8, 4)) + 0j).astype(np.complex64)
    one, two = (build(models.onn(3, (4,), 5, 2), dtype=dtype) for dtype in DTYPES)
    a, b = (net.forward(x, train=True) for net in (one, two))
    assert a.dtype == np.float32 and b.dtype == np.float64
    np.testing.assert_allclose(a, b, atol=20 * kernel(np.float32))
    one.backward(losses.cross_entropy(a, np.arange(8) % 3)[1])
    assert all(g.dtype == np.float32 for g in one.gradients().values())


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_network_learns(optimiser: str) -> None:
    rng = generator(4, "learn")
    labels = np.arange(60) % 3
    x = (np.eye(3)[labels] + 0.2 * rng.standard_normal((60, 3))) + 0j
    net = build(models.onn(3, (3,), 5, 2))
    state = optim.start(optimiser, net.parameters())
    first = None
    for _ in range(60):
        logits = net.forward(x, train=True)
        loss, g = losses.cross_entropy(logits, labels)
        first = loss if first is None else first
        net.backward(g)
        optim.step(state, net.parameters(), net.gradients(), lr=0.1 if optimiser == "sgd" else 0.05)
        for layer in net.meshes.values():
            layer.write()
    assert loss < 0.6 * first and losses.accuracy(logits, labels) > 0.9


def test_the_screen_is_a_parameter_only_where_it_matters() -> None:
    blind, seeing = (build(models.onn(3, (4,), 5, 2, nonlinearity=n)) for n in ("abs", "electro-optic"))
    assert not [p for p in blind.parameters() if p.endswith("screen")]
    assert [p for p in seeing.parameters() if p.endswith("screen")] == ["mesh1.screen", "mesh2.screen"]
    state = blind.state()
    assert state["mesh1.screen"].shape == (5,)
    build(models.onn(3, (4,), 5, 2), seed=9).load(state)


def test_counts() -> None:
    counts = models.count(models.onn())
    assert counts.layers["mesh2"].mzis == 2016 and counts.total.parameters == 3 * 2 * 2016


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ((models.Mesh(4),), "5 features do not fit 4 modes"),
        ((models.Mesh(6), models.Power(), models.Ports(2, 4)), "2 groups of 4 ports need 8 but there are 6"),
        ((models.Mesh(6), models.Linear(2)), "Linear reads no light; put Abs before it"),
        ((models.Mesh(6), models.ReLU(), models.Power(), models.Ports(2)), "ReLU reads no light"),
        ((models.Mesh(6), models.Ports(2)), "the last layer gives light"),
        ((models.Mesh(0),), "modes = 0 is too small"),
        ((models.Mesh(6), models.ElectroOptic(tapped=1.0)), "tapped = 1.0"),
        ((models.Mesh(6), models.Saturable(saturation=0.0)), "saturation = 0.0"),
        ((models.Mesh(6), models.Power()), "the last layer gives (6,)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(layers: tuple, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        models.place(ModelSpec("odd", (5,), 2, layers))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_light_needs_features_and_hardware() -> None:
    with pytest.raises(ModelError, match="put Flatten before it"):
        models.place(ModelSpec("odd", (1, 2, 2), 2, (models.Mesh(4), models.Power(), models.Ports(2))))
    with pytest.raises(ModelError, match="needs hardware"):
        network.build(models.onn(), network.electronic(generator(1)))
    with pytest.raises(ModelError, match="labels run"):
        losses.batch_softmax(np.ones((2, 1)), np.array([2]))

