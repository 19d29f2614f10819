"""Programming of one core whose twin knows more than biases, ratios and crosstalk, or that has stuck heaters.

From the phases of the narrow closed form, Levenberg-Marquardt over all driven phases, sigma with them, finds what the
real part of the wider twin needs; then levels are chosen jointly, as for all cores (`kernels.twin.settle`). Other
heaters make good for stuck ones as far as they can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.learn.twin import least_squares
from l2sim.learn.twin.fit import Drive, Twin
from l2sim.learn.twin.model import LATER, Core, Layout, Seen
from l2sim.learn.twin.wide import begun
from l2sim.mesh.mesh import Mesh

STEPS, PASSES = 25, 3
"""Steps at most, and times that levels are chosen."""
ENOUGH = 1e-6
"""Share of the weight's power by which a step has to lower the error."""


class Look:
    """A core at driven phases: the best sigma for a weight, and what moving phases does that sigma cannot make good."""

    def __init__(self, mesh: Mesh, drive: Drive, twin: Twin, signs: Sequence[Array], weight: Array) -> None:
        self.mesh, self.drive, self.signs, self.weight = mesh, drive, signs, weight
        self._blank = Seen(
            np.zeros((1, 2 * mesh.count)), np.zeros((1, mesh.modes)), np.ones(1), np.eye(mesh.modes)[None],
            np.zeros((1, mesh.modes, mesh.modes)), np.ones((1, mesh.modes, mesh.modes)), False, np.zeros(1, int),
        )  # fmt: skip
        self._core = Core(mesh, drive, self._blank)
        self.x = begun(self._core, twin, 0)
        self._passive = self._core.passive(self.x)

    def core(self, q: Array) -> Core:
        """The model at driven phases (2 n,)."""
        return Core(self.mesh, self.drive, self._blank._replace(q=q[None]))

    def free(self, q: Array, core: Core) -> tuple[Array, Array]:
        """What each sigma makes (k, k k) at the phases of `core`, and the best sigma (k,)."""
        k = self.mesh.modes
        phases = core.phases(self.x)[0]
        out = np.empty((k, k, k), np.float32)
        one = np.eye(k) * self.signs[1]
        kernels.twin_wide.answers(
            np.repeat(phases, k, axis=0), self._passive, one,
            np.repeat(self._blank.light, k, axis=0).astype(np.float32), self.mesh.rail, False, out,
        )  # fmt: skip
        made = (self.signs[0][:, None] * out).reshape(k, -1).astype(float)
        return made, np.linalg.lstsq(made.T, self.weight.ravel(), rcond=None)[0]

    def slopes(self, q: Array, core: Core, free: Array, sigma: Array) -> tuple[Array, Array]:
        """J (2 n, k k) by driven phases, and the residual (k k,)."""
        k, n2 = self.mesh.modes, 2 * self.mesh.count
        shape = (1, k, k * k)
        by_mzi = np.empty((1, n2, *shape[::2]), np.float32)
        rest = [np.empty((k, *shape[::2]), np.float32) for _ in range(2)]
        phases = core.phases(self.x)[0]
        kernels.twin_wide.derivatives(
            phases, self._passive, (sigma * self.signs[1])[None], self._blank.light.astype(np.float32), self.mesh.rail,
            False, np.empty((1, k, k), np.float32), by_mzi, *rest,
        )  # fmt: skip
        by = (self.signs[0][:, None] * by_mzi[0, :, 0].reshape(n2, k, k)).reshape(n2, -1).astype(float)
        by = self.warmth(q, core)[:, None] * (by + core.coupling(self.x).T @ by)
        basis = np.linalg.qr(free.T)[0]
        return by - (by @ basis) @ basis.T, sigma @ free - self.weight.ravel()

    def warmth(self, q: Array, core: Core) -> Array:
        """Derivatives (2 n,) of heat by driven phases."""
        at, u = core.layout, q / 2.0
        curves = self.x[at["curves"]].reshape(2, -1) + self.x[at["bend"]][:, None]
        made: Array = self.x[at["ratio"]] + 0.5 * curves[0] * np.cos(u) + curves[1] * np.cos(2.0 * u)
        return made

    def gram(self, q: Array) -> tuple[Array, float, Array, Array]:
        """The best sigma (k,) at q, the error it leaves, J J' and J r."""
        core = self.core(q)
        free, sigma = self.free(q, core)
        by, rest = self.slopes(q, core, free, sigma)
        return sigma, float(rest @ rest), by @ by.T, by @ rest


def weight_of(
    mesh: Mesh, drive: Drive, twin: Twin, q: Array, signs: Sequence[Array], share: Array
) -> Array:
    """The real part of the weight (k, k) of one core `twin` at driven phases (2 n,), signs (k,), and shares (k,) of its
    attenuators."""
    look = Look(mesh, drive, twin, signs, np.zeros((mesh.modes, mesh.modes)))
    free = look.free(q, look.core(q))[0]
    made: Array = (share @ free).reshape(mesh.modes, mesh.modes)
    return made


def program(
    mesh: Mesh, drive: Drive, twin: Twin, q: Array, signs: Sequence[Array], weight: Array, tops: Array
) -> tuple[Array, Array, float]:
    """Driven phases (2 n,), sigma (k,) and error |W(q, sigma) - W|^2 of one core `twin` for a weight (k, k), from
    phases `q` (2 n,) with signs (k,) of U and V; levels up to `tops` (2 n,)."""
    look, unit = Look(mesh, drive, twin, signs, weight), ENOUGH * max(float((weight**2).sum()), 1e-30)

    def looked(at: Array, _: Array) -> tuple[Array, least_squares.Normal]:
        _, error, table, slope = look.gram(at[0])
        table += 1e-6 * np.trace(table) / len(table) * np.eye(len(table))
        return np.array([error / unit]), lambda _: (table[None] / unit, -slope[None] / unit)

    nothing = np.zeros((1, q.size))
    ended = least_squares.minimise(
        looked, q[None], nothing, nothing, STEPS, least=1e-4, enough=1.0, within=(0.0, drive.top)
    )
    q = ended.x[0]
    here = look.gram(q)
    if not drive.levels.size:
        return q, here[0], here[1]
    best_q, best = q, (here[0], np.inf)
    for turn in range(PASSES):
        q = q.copy()
        if turn == 0:
            kernels.twin.nearest_plane(q, *here[2:], drive.levels, tops)
        kernels.twin.descend(q, *here[2:], drive.levels, tops)
        here = look.gram(q)
        if here[1] < best[1]:
            best_q, best = q, here[:2]
    return best_q, *best


def behind_ports(mesh: Mesh, twin: Twin, read: Array, gain: Array) -> Array:
    """Amplitudes (M, k, k) behind cores by readings of quadratures, with the electronic `gain` (M,) in both: what twins
    know of detectors and modulators is taken off."""
    out = read.copy()
    layout = Layout(mesh, 0)
    for core in np.flatnonzero(twin.wide):
        x = np.zeros(layout.size)
        x[layout.indices(LATER)] = twin.more[core]
        scale = gain[core] if gain[core] > 0.0 else 1.0
        v = (read[core] / scale - x[layout["offsets"]][:, None]) / (1.0 + x[layout["gains"]][:, None])
        v *= 1.0 + x[layout["saturation"]] * np.abs(v)
        out[core] = scale * v * np.exp(-x[layout["inputs"]])
    return out
