"""Stand-ins for a chip, and small chips for tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from l2sim.backend import Array, generator, kernels
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import READOUTS, Commands, Hardware, MeshHardware, SvdHardware
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

KINDS = (Hardware, MeshHardware, SvdHardware)
PUBLIC = frozenset(name for kind in KINDS for name in vars(kind) if not name.startswith("_"))
FUSED = {"fuses", "product", "product_back", "sigma_gradient", "descend", "sweep", "gradient", "noisy_gradient"}
FUSED |= {"rewind", "tap_sums", "xp"}

PUBLISHED = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005)


def small_chip(
    shape: tuple[int, int] = (1, 2),
    k: int = 3,
    it: Nonidealities = PUBLISHED,
    kind: str = "rectangular",
    **options: Any,
) -> CoreChip:
    """A chip for tests; the published imperfections unless told otherwise."""
    return CoreChip(shape, Mesh(kind, k), it, **({"seed": 1} | options))


def random_commands(chip: Hardware, rng: np.random.Generator) -> Commands:
    """Any phases and signs."""
    phases = {part: rng.uniform(-7, 7, (*chip.shape, *chip.mesh.shape)) * chip.mesh.mask for part in "uv"}
    return Commands(phases, {part: rng.choice([-1.0, 1.0], (*chip.shape, chip.mesh.modes)) for part in "uv"})


class Sealed:
    """A chip of which only the Protocol can be touched: anything else raises AssertionError.

    Asking for a fused operation is answered "no" (AttributeError), so algorithms take the public path.
    """

    def __init__(self, chip: Hardware | MeshHardware) -> None:
        object.__setattr__(self, "_Sealed__chip", chip)

    def __getattribute__(self, name: str) -> Any:
        if name in PUBLIC:
            return getattr(object.__getattribute__(self, "_Sealed__chip"), name)
        if name in FUSED:
            raise AttributeError(name)
        if name == "__class__":
            return Sealed
        raise AssertionError(f"hidden state {name!r} of the chip was touched")

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError(f"{name!r} of the chip was set")


class Matrices:
    """A `Hardware` whose meshes have two settings only: phases zero show `mapped` matrices, phases one `resting` ones.

    Both map part to matrices (p, q, k, k). The arithmetic of a chip without any of its optics.
    """

    def __init__(self, mapped: dict[str, np.ndarray], resting: dict[str, np.ndarray]) -> None:
        p, q, k, _ = mapped["u"].shape
        self.shape, self.mesh, self.meter, self.readouts = (p, q), Mesh("rectangular", k), Meter(), READOUTS
        self._choices = (mapped, resting)
        self._now = dict(mapped)
        self._sigma = np.ones((p, q, k))

    def commands(self, setting: int) -> Commands:
        """What commands the mapped (0) or the resting (1) setting."""
        ends = np.ones((*self.shape, self.mesh.modes))
        phases = np.full((*self.shape, *self.mesh.shape), float(setting))
        return Commands({"u": phases, "v": phases}, {"u": ends, "v": ends})

    def set_phases(self, *, u: np.ndarray | None = None, v: np.ndarray | None = None) -> None:
        for part, phases in (("u", u), ("v", v)):
            if phases is not None:
                self._now[part] = self._choices[int(phases.flat[0])][part]

    def set_signs(self, *, u: np.ndarray | None = None, v: np.ndarray | None = None) -> None:
        pass

    def set_sigma(self, sigma: np.ndarray) -> None:
        self._sigma = sigma.copy()

    def wait(self, seconds: float) -> None:
        self.meter.wait(seconds)

    def _weights(self) -> np.ndarray:
        return self._now["u"] @ (self._sigma[..., None] * self._now["v"])

    def forward(self, x: np.ndarray, *, cores: np.ndarray | None = None, readout: str = "quadrature") -> np.ndarray:
        return self._read(self._weights() @ x, cores, readout)

    def backward(self, y: np.ndarray, *, cores: np.ndarray | None = None, readout: str = "quadrature") -> np.ndarray:
        return self._read(self._weights().swapaxes(-1, -2) @ y, cores, readout)

    @staticmethod
    def _read(y: np.ndarray, cores: np.ndarray | None, readout: str) -> np.ndarray:
        if readout != "quadrature":
            raise ChipError("this double reads quadratures only")
        return y if cores is None else y * cores[:, :, None, None]


class ThinMesh:
    """The least of a whole mesh: lossless, without errors or noise, straight on the kernels."""

    def __init__(self, top: Array, bottom: Array, modes: int, dtype: Any) -> None:
        self.top, self.bottom = top.astype(np.int64), bottom.astype(np.int64)
        self.dtype = np.dtype(dtype)
        n = len(top)
        self.splitters = np.full((1, 4, n), np.sqrt(0.5))
        self.amplitudes = np.ones((1, 4, n))
        self.elements = np.empty((1, 12, n), dtype)
        self.screen = np.zeros((1, modes))

    def set_phases(self, theta: Any = None, phi: Any = None, screen: Any = None) -> None:
        args = (np.asarray(a, float)[None] for a in (theta, phi))
        kernels.couplers.elements(*args, self.splitters, self.amplitudes, self.elements)
        self.screen = np.asarray(screen, float)[None].copy()

    def planes(self, x: Array) -> Array:
        return np.ascontiguousarray(np.stack((x.real, x.imag))[None], self.dtype)

    def complex(self, planes: Array) -> Array:
        return planes[0, 0] + self.dtype.type(1) * 1j * planes[0, 1]

    def forward(self, x: Array, readout: str = "field") -> Array:
        planes = self.planes(x)
        kernels.propagate.forward(self.elements, self.top, self.bottom, self.screen, planes)
        return self.complex(planes)


def exact_gradient(hardware: ThinMesh, x: Array, g: Array) -> SimpleNamespace:
    """The gradients that a perfect measurement finds."""
    out, back = hardware.planes(hardware.forward(x)), hardware.planes(g)
    n, modes = len(hardware.top), hardware.screen.shape[1]
    theta, phi, screen = (np.empty((1, k), hardware.dtype) for k in (n, n, modes))
    kernels.propagate.adjoint(
        hardware.elements, hardware.splitters, hardware.top, hardware.bottom, hardware.screen, out, back,
        theta, phi, screen,
    )  # fmt: skip
    return SimpleNamespace(theta=theta[0], phi=phi[0], screen=screen[0], x=hardware.complex(back))


def lit_mesh(mesh: Mesh, it: Nonidealities | None = None, seed: int = 1, dtype: Any = "float64") -> MeshChip:
    """A whole mesh for tests at random phases; ideal unless told otherwise."""
    chip = MeshChip(mesh, Nonidealities() if it is None else it, seed, dtype=dtype)
    rng = generator(seed, "phases")
    chip.set_phases(*(rng.uniform(0.1, 6.0, size) for size in (mesh.count, mesh.count, mesh.modes)))
    return chip


def light(chip: Any, batch: int, name: str) -> np.ndarray:
    """Any light (N, B)."""
    z = generator(batch, name).normal(size=(2, chip.mesh.modes, batch))
    return z[0] + 1j * z[1]
