"""Stand-ins for a chip, and small chips for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2sim.chip.chip import Chip
from l2sim.chip.mesh import Mesh
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import READOUTS, Commands, Hardware
from l2sim.errors import ChipError

PUBLIC = frozenset(name for name in vars(Hardware) if not name.startswith("_"))
FUSED = frozenset({"fuses", "product", "product_back", "sigma_gradient", "sweep"})

PUBLISHED = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005)


def small_chip(
    shape: tuple[int, int] = (1, 2),
    k: int = 3,
    it: Nonidealities = PUBLISHED,
    kind: str = "rectangular",
    **options: Any,
) -> Chip:
    """A chip for tests; the published imperfections unless told otherwise."""
    return Chip(shape, Mesh(kind, k), it, **({"seed": 1} | options))


def random_commands(chip: Hardware, rng: np.random.Generator) -> Commands:
    """Any phases and signs."""
    phases = {part: rng.uniform(-7, 7, (*chip.shape, *chip.mesh.shape)) * chip.mesh.mask for part in "uv"}
    return Commands(phases, {part: rng.choice([-1.0, 1.0], (*chip.shape, chip.mesh.modes)) for part in "uv"})


class Sealed:
    """A chip of which only the Protocol can be touched: anything else raises AssertionError.

    Asking for a fused operation is answered "no" (AttributeError), so algorithms take the public path.
    """

    def __init__(self, chip: Hardware) -> None:
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
