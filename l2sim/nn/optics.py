"""Layers of light: whole MZI meshes, nonlinearities, ports and powers. They mix with the electronic layers.

A field is complex, (N, B): a row a port, a column a sample. Real numbers are fields in phase, so that an electronic
layer may stand before a mesh, and what a detector reads is real, so that one may stand behind it.

Gradients of a complex array are cotangents g = dL/dRe z - i dL/dIm z, so that dL = Re sum g dz; of a real one the plain
gradient, which is their real part (Pai et al., Science 380, 398 (2023); Hughes et al., Optica 5, 864 (2018)).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from l2sim import pages
from l2sim.backend import Array, kernels, namespace
from l2sim.chip.protocol import Gradient, MeshHardware, check
from l2sim.errors import ModelError
from l2sim.nn.layers import Layer

__all__ = [
    "Abs",
    "ElectroOptic",
    "Measure",
    "MeshLayer",
    "Normalise",
    "Ports",
    "Power",
    "Saturable",
]


Measure = Callable[[MeshHardware, Array, Array], Gradient]
"""measure(hardware, x (N, B), g (N, B)): the gradients for light x sent in and cotangents g at the outputs."""


class MeshLayer(Layer):
    """A whole mesh of N modes: (F, B) -> (N, B) complex, F <= N; ports without a feature stay dark.

    `theta`, `phi` (n,) and `screen` (N,) are the commanded phases in travel order; `write` sends them to the hardware.
    The screen is trained only with `train_screen`: before |.| its gradient is zero but for noise, which Adam would
    blow up. `measure` finds the gradients by light alone.

    `by_matrix`: what the published simulation does. The mesh's matrix is read by sending the N unit vectors, the batch
    is multiplied with it electronically, and gradients are measured for the N unit vectors too:
    sum_b g_b^T dU x_b = tr(dU X G^T), the light I with the cotangents G X^T. `frozen`: the noise of every step is that
    of the first, on hardware that can `rewind` it (a simulation).
    """

    def __init__(
        self,
        hardware: MeshHardware,
        measure: Measure,
        theta: Array,
        phi: Array,
        screen: Array,
        *,
        train_screen: bool = False,
        by_matrix: bool = False,
        frozen: bool = False,
    ) -> None:
        check(hardware, MeshHardware, "set_phases", "forward")
        self.hardware, self.measure = hardware, measure
        self.theta, self.phi, self.screen = theta, phi, screen
        self.train_screen, self.by_matrix, self.frozen = train_screen, by_matrix, frozen
        if frozen and not hasattr(hardware, "rewind"):
            raise ModelError("this hardware cannot repeat its noise; use fresh noise")
        self.sent: tuple[Array, Array] | None = None
        """Light and cotangents of the last measurement."""
        self._gradients: dict[str, Array] = {}
        self.write()

    @property
    def modes(self) -> int:
        """Ports N of the mesh."""
        return self.screen.size

    def write(self) -> None:
        """Command the hardware to the present phases."""
        self.hardware.set_phases(theta=self.theta, phi=self.phi, screen=self.screen)

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = U x as the hardware reads it: light x (F, B), ports above F dark -> complex fields (N, B).

        `train` remembers the light, and U where it was read (`by_matrix`), for `backward`.
        """
        light = x  # real numbers stay so: the light of all ports is in phase
        if len(x) < self.modes:
            light = namespace(x).zeros((self.modes, x.shape[1]), x.dtype)
            light[: len(x)] = x
        if self.frozen:
            self.hardware.rewind()  # type: ignore[attr-defined]  # what is measured next goes on from there
        matrix: Array | None = None
        if self.by_matrix:
            kind = np.result_type(x, np.complex64)
            matrix = self.hardware.forward(namespace(x).eye(self.modes, dtype=kind))
        y: Array = self.hardware.forward(light) if matrix is None else matrix @ light
        if train:
            self._light, self._matrix, self._real, self._features = light, matrix, np.isrealobj(x), len(x)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Measure the gradients of the phases for cotangents dy (N, B); return those of x, U^T dy (F, B).

        These are real if x was; None unless `need_dx`. `sent` keeps what was sent in to measure.
        """
        if self._matrix is None:
            self.sent = self._light, dy
        else:
            self.sent = namespace(dy).eye(self.modes, dtype=dy.dtype), dy @ self._light.T
        measured = self.measure(self.hardware, *self.sent)
        self._gradients = {"theta": measured.theta, "phi": measured.phi}
        if self.train_screen:
            self._gradients["screen"] = measured.screen
        if not need_dx:
            return None
        dx = measured.x if self._matrix is None else self._matrix.T @ dy
        dx = dx[: self._features]
        return dx.real if self._real else dx

    def parameters(self) -> dict[str, Array]:
        """The commanded phases that are trained, rad, live: theta, phi (n,) and, if `train_screen`, screen (N,)."""
        return {"theta": self.theta, "phi": self.phi} | ({"screen": self.screen} if self.train_screen else {})

    def gradients(self) -> dict[str, Array]:
        """dL/dphase per rad that `backward` measured last, under the names of `parameters`; empty before that."""
        return self._gradients

    def buffers(self) -> dict[str, Array]:
        """The commanded screen (N,), rad, live, where it is not trained, so that a state of the network has it."""
        return {} if self.train_screen else {"screen": self.screen}


class Abs(Layer):
    """z = |y|: a detector that drives a modulator. g = dL/dz conj(y) / |y|, 0 where y is dark. (N, B), real out."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """z = |x|: fields (N, B) -> real amplitudes (N, B). `train` remembers both."""
        y = np.abs(x)
        if train:
            self._x, self._y = x, y
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Cotangents of x (N, B): Re(dy) conj(x) / |x|, 0 where x is dark."""
        tiny, error = np.finfo(self._y.dtype).tiny, dy.real
        if namespace(error) is not np or np.isrealobj(self._x) or error.dtype != self._y.dtype:
            return _conjugate(self._x, error / np.maximum(self._y, tiny))
        g = pages.empty(self._x.shape, self._x.dtype)
        light, amplitudes, error = (np.ascontiguousarray(a) for a in (self._x, self._y, error))
        kind = error.dtype
        kernels.pointwise.amplitude_back(error, light.view(kind), amplitudes, kind.type(tiny), g.view(kind))
        return g


class Power(Layer):
    """p = |y|^2: a detector. g = 2 dL/dp conj(y). (N, B), real out."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """p = |x|^2: fields (N, B) -> real powers (N, B). `train` remembers x."""
        if train:
            self._x = x
        return _power(x)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Cotangents of x (N, B): 2 Re(dy) conj(x)."""
        return _conjugate(self._x, 2 * dy.real)


class Modulation(Layer):
    """y = q(|x|^2) x: light that changes its own transmission q (complex). (N, B), complex out.

    dL = Re h dy gives g = h q + 2 Re(h q' x) conj(x), with q' = dq/d|x|^2.
    """

    def transmission(self, power: Array) -> tuple[Array, Array]:
        """q and dq/dpower at `power` (N, B)."""
        raise NotImplementedError

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = q(|x|^2) x: fields (N, B) -> (N, B). `train` remembers x, q and q'."""
        q, slope = self.transmission(_power(x))
        if train:
            self._x, self._q, self._slope = x, q, slope
        return q * x

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Cotangents of x (N, B): dy q + 2 Re(dy q' x) conj(x); its real part if x was real."""
        x = self._x
        g: Array = dy * self._q + 2 * (dy * self._slope * x).real * np.conj(x)
        return g.real if np.isrealobj(x) else g


class ElectroOptic(Modulation):
    """A share `tapped` of the power drives a modulator of the rest (Williamson et al., IEEE JSTQE 26, 7700412 (2020)):

    q(p) = i sqrt(1 - tapped) e^{-i psi} cos psi,  psi = (gain p + bias) / 2;  gain in rad per unit power, bias in rad.
    """

    def __init__(self, tapped: float = 0.1, gain: float = 0.05 * math.pi, bias: float = math.pi) -> None:
        self.tapped, self.gain, self.bias = tapped, gain, bias

    def transmission(self, power: Array) -> tuple[Array, Array]:
        """q = i sqrt(1 - tapped) e^{-i psi} cos psi and dq/dpower, both complex, at `power` (N, B)."""
        through = math.sqrt(1.0 - self.tapped)
        turned = np.exp(-1j * (self.gain * power + self.bias))  # e^{-2 i psi}
        turned = turned.astype(np.result_type(power, np.complex64), copy=False)
        return (0.5j * through) * (1.0 + turned), (0.5 * through * self.gain) * turned


class Saturable(Modulation):
    """A thin saturable absorber: q(p) = exp(-depth / 2 / (1 + p / saturation)), real.

    `depth` is the optical depth in the dark, `saturation` the power that halves it (Bao et al., Nano Research 4, 297
    (2011), eq. 1).
    """

    def __init__(self, depth: float = 1.0, saturation: float = 1.0) -> None:
        self.depth, self.saturation = depth, saturation

    def transmission(self, power: Array) -> tuple[Array, Array]:
        """q = exp(-depth / 2 / (1 + power / saturation)) and dq/dpower, both real, at `power` (N, B)."""
        left = 1.0 / (1.0 + power / self.saturation)
        q = np.exp(-0.5 * self.depth * left)
        return q, q * (0.5 * self.depth / self.saturation) * left * left


class Normalise(Layer):
    """Each sample brought to a total `power` P: y = a x / r, r^2 = sum |x|^2, a = sqrt(P). A dark one stays.

    g = a (h - Re(h^T u) conj(u)) / r with u = x / r. (N, B), fields or real numbers.
    """

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = a x / r, r the norm of each sample: (N, B) -> (N, B); a dark one stays. `train` remembers x / r and r."""
        norm = np.sqrt(_power(x).sum(axis=0))
        norm[norm == 0] = 1
        unit: Array = x / norm
        if train:
            self._unit, self._norm = unit, norm
        return self._scaled(unit)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Cotangents of x (N, B), sample by sample: a (dy - Re(dy^T u) conj(u)) / r, u = x / r."""
        along = (dy * self._unit).real.sum(axis=0)
        return self._scaled((dy - along * np.conj(self._unit)) / self._norm)

    def _scaled(self, x: Array) -> Array:
        """a x, in the precision of x."""
        return x if self.power == 1.0 else x * x.real.dtype.type(math.sqrt(self.power))


class Ports(Layer):
    """The first `out` groups of `group` ports, each group added up: (N, B) -> (out, B). The rest is dropped."""

    def __init__(self, out: int, group: int = 1) -> None:
        self.out, self.group = out, group

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The sums of the first `out` groups of ports: (N, B) -> (out, B). `train` remembers N."""
        if train:
            self._shape = x.shape
        used = x[: self.out * self.group]
        return used if self.group == 1 else used.reshape(self.out, self.group, -1).sum(axis=1)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy (out, B) at every port of its group, 0 at those that are dropped: (N, B)."""
        dx: Array = namespace(dy).zeros(self._shape, dy.dtype)
        dx[: self.out * self.group] = np.repeat(dy, self.group, axis=0)
        return dx


def _conjugate(x: Array, share: Array) -> Array:
    """share conj(x) for a real `share`, without the zeros that a complex product would multiply with."""
    if np.isrealobj(x):
        real: Array = share * x
        return real
    g = np.empty_like(x)
    np.multiply(x.real, share, out=g.real)
    np.multiply(x.imag, -share, out=g.imag)
    return g


def _power(x: Array) -> Array:
    """|x|^2, real."""
    return x * x if np.isrealobj(x) else x.real**2 + x.imag**2
