"""In situ training in JAX, compiled: whole meshes as scans over their columns.

"JAX": each mesh's matrix by a scan over N unit vectors, the batch multiplied with it, gradients by autodiff: the
fastest form we found. "JAX, measured": as published (Pai et al., Science 380, 398 (2023)), gradients from powers: the
batch goes through every coupler forward, its cotangents backward, and both interfering forward again.

A coupler is B(pi/4) diag(e^{i theta}, 1) B(pi/4) diag(e^{i phi}, 1), B(a) = [[cos a, i sin a], [i sin a, cos a]].
Columns are worked in twos, the second one shifted by a rail; its pair that would wrap around passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh

Way = Callable[[], object]
Phases = Any
"""(theta, phi), (M, N / 2, 2, N / 2): meshes, twos of columns, which of both, pairs of rails."""


def _rails(n: int, which: int) -> tuple[np.ndarray, np.ndarray]:
    """Tops of the pairs of a column (N / 2,), and each rail's partner (N,); in the second column both ends pass."""
    tops = np.arange(which, n, 2)
    partner = np.arange(n)
    pairs = tops[tops + 1 < n]
    partner[pairs], partner[pairs + 1] = pairs + 1, pairs
    return tops, partner


def _column(theta: Any, phi: Any, field: Any, which: int) -> Any:
    """Light (N, B) through one column: what stays on a rail and what comes over from its partner."""
    _, partner = _rails(len(field), which)
    t, p = jnp.exp(1j * theta), jnp.exp(1j * phi)
    stays = jnp.roll(jnp.stack([p * (t - 1), 1 - t], 1).ravel() / 2, which)
    comes = jnp.roll(jnp.stack([1j * (t + 1), 1j * p * (t + 1)], 1).ravel() / 2, which)
    alone = partner == np.arange(len(field))
    stays, comes = jnp.where(alone, 1.0, stays), jnp.where(alone, 0.0, comes)
    return stays[:, None] * field + comes[:, None] * field[partner]


def _two(field: Any, column: Any) -> Any:
    """Light (N, B) through two columns."""
    for which in (0, 1):
        field = _column(column[0][which], column[1][which], field, which)
    return field


def through(theta: Any, phi: Any, x: Any) -> Any:
    """Light (N, B) through a mesh."""
    return jax.lax.scan(lambda field, column: (_two(field, column), None), x, (theta, phi))[0]


def _loss(logits: Any, labels: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits, 0), labels[None], 0))


def _forward(theta: Any, phi: Any, x: Any, mesh: Callable[..., Any]) -> Any:
    """Meshes with |.| between them; the powers of the last outputs."""
    for i in range(len(theta)):
        x = mesh(theta[i], phi[i], x)
        if i + 1 < len(theta):
            x = jnp.abs(x).astype(x.dtype)
    return _power(x)


def _power(x: Any) -> Any:
    return x.real**2 + x.imag**2


def _by_matrix(theta: Any, phi: Any, x: Any) -> Any:
    return through(theta, phi, jnp.eye(len(x), dtype=x.dtype)) @ x


@jax.custom_vjp
def measured(theta: Any, phi: Any, x: Any) -> Any:
    """`through`, whose gradients are read by power taps."""
    return through(theta, phi, x)


def _taps(theta: Any, phi: Any, x: Any) -> Any:
    """The powers at each theta and each phi, summed over the batch, of all columns in twos."""

    def two(field: Any, column: Any) -> Any:
        seen = []
        for which in (0, 1):
            tops, partner = _rails(len(field), which)
            top, bottom = field[tops], field[partner[tops]]
            inside = jnp.exp(1j * column[1][which])[:, None] * top + 1j * bottom
            seen.append((_power(inside).sum(-1) / 2, _power(top).sum(-1)))
            field = _column(column[0][which], column[1][which], field, which)
        return field, [jnp.stack(pair) for pair in zip(*seen)]

    return jax.lax.scan(two, x, (theta, phi))[1]


def _keep(theta: Any, phi: Any, x: Any) -> Any:
    return through(theta, phi, x), (theta, phi, x)


def _measure(kept: Any, cotangent: Any) -> Any:
    """dL/dp = (|f - i conj a|^2 - |f|^2 - |a|^2) / 2 summed over the batch; a runs back, U^T g."""
    theta, phi, x = kept
    _, pull = jax.vjp(lambda light: through(theta, phi, light), x)
    (back,) = pull(cotangent)
    sent = -1j * jnp.conj(back)
    light, returned, both = (_taps(theta, phi, field) for field in (x, sent, x + sent))
    found = [(s - f - a) / 2 for s, f, a in zip(both, light, returned)]
    last = jnp.ones_like(found[0]).at[:, 1, -1].set(0.0)  # what passes has no phases
    return found[0] * last, found[1] * last, back


measured.defvjp(_keep, _measure)


def _stepper(mesh: Callable[..., Any], phases: Phases, x: Any, labels: Any) -> Way:
    """step(): forward, gradients, Adam."""

    @jax.jit
    def step(phases: Phases, first: Phases, second: Phases, count: Any) -> Any:
        slopes = jax.grad(lambda p: _loss(_forward(*p, x, mesh), labels))(phases)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slopes)
        one, two = 1 - 0.9**count, 1 - 0.999**count
        phases = jax.tree.map(lambda p, m, v: p - 2e-3 * (m / one) / (jnp.sqrt(v / two) + 1e-8), phases, first, second)
        return phases, first, second

    zeros = jax.tree.map(jnp.zeros_like, phases)
    state = [phases, zeros, zeros, 1.0]

    def run() -> None:
        state[:3] = step(*state)
        state[3] += 1.0
        jax.block_until_ready(state[0])

    return run


def _dense(mesh: Mesh, values: np.ndarray) -> np.ndarray:
    """Travel order (n,) to (N / 2, 2, N / 2)."""
    out = np.zeros((mesh.modes // 2, 2, mesh.modes // 2), np.float32)
    out[mesh.column // 2, mesh.column % 2, mesh.top // 2] = values
    return out


def in_situ(modes: int, layers: int, batch: int) -> dict[str, Way]:
    """Steps of `layers` meshes on complex light, both ways."""
    rng, mesh = np.random.default_rng(0), Mesh("rectangular", modes)
    settings = [unitary.haar(mesh, rng) for _ in range(layers)]
    phases = tuple(
        jnp.asarray(np.stack([_dense(mesh, getattr(one, part)) for one in settings])) for part in ("theta", "phi")
    )
    x = jnp.asarray(rng.standard_normal((modes, batch)) + 1j * rng.standard_normal((modes, batch)), jnp.complex64)
    labels = jnp.asarray(rng.integers(0, min(10, modes), batch))
    _agree(mesh, settings[0], phases, x, labels)
    return {"JAX": _stepper(_by_matrix, phases, x, labels), "JAX, measured": _stepper(measured, phases, x, labels)}


def _agree(mesh: Mesh, first: unitary.Settings, phases: Phases, x: Any, labels: Any) -> None:
    """Raise AssertionError where a mesh is not ours, or both ways do not give the same gradient."""
    ours = unitary.matrix(mesh, first._replace(screen=np.zeros(mesh.modes)))
    theirs = through(phases[0][0], phases[1][0], jnp.eye(mesh.modes, dtype=jnp.complex64))
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    one, two = (
        jax.grad(lambda p, way=way: _loss(_forward(*p, x, way), labels))(phases) for way in (_by_matrix, measured)
    )
    for a, b in zip(one, two):
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(a).max())
