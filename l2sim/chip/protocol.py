"""What a controller may do to a chip: exactly what a lab can do, and nothing else.

A `Hardware` is a grid of p x q tensor cores of size k, each W = U diag(sigma) V* built from two MZI meshes and a
column of attenuators. The simulated `Chip`, a recorded chip and a driver of a real one all stand behind this Protocol,
so every algorithm of `l2sim.learn` runs on any of them unchanged.

Shapes: grid (p, q); core size k; phases (p, q, C, k - 1) as [column, upper rail] of the mesh; B vectors per core.
Fields are columns: a core maps x (k, B) to y = W x (k, B). Amplitudes are relative to the unit input amplitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from l2sim.backend import Array
from l2sim.chip.mesh import Mesh
from l2sim.chip.meter import Meter

READOUTS = ("power", "quadrature")
"""`power`: direct detection, |y|^2. `quadrature`: balanced homodyne against a reference, signed Re(y)."""


@dataclass(frozen=True)
class Commands:
    """What both meshes of every core are told: phases (p, q, C, k - 1) in rad and signs (p, q, k), by part."""

    phases: dict[str, Array]
    signs: dict[str, Array]

    def parts(self) -> Iterator[tuple[str, Array, Array]]:
        """(part, phases, signs) of U, then of V."""
        for part in ("u", "v"):
            yield part, self.phases[part], self.signs[part]


@runtime_checkable
class Hardware(Protocol):
    """A p x q grid of k x k tensor cores as a laboratory sees it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Grid size (p, q)."""
        ...

    @property
    def mesh(self) -> Mesh:
        """The layout of the U and V meshes, known from the mask design; `mesh.modes` is the core size k."""
        ...

    @property
    def meter(self) -> Meter:
        """Counts every probe and every write."""
        ...

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts this chip has, out of `READOUTS`."""
        ...

    def set_phases(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Command nominal phases, radians, (p, q, C, k - 1); places without an MZI are ignored."""
        ...

    def set_signs(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        ...

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators and the electronic gain behind each core: any real numbers, (p, q, k)."""
        ...

    def forward(self, x: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the inputs of every core and read its outputs.

        `x`: (p, q, k, B) or anything that broadcasts to it. `cores`: optional mask (p, q); a core left out is not
        probed and reads zero. Returns (p, q, k, B): signed amplitudes, or powers for `readout="power"`.
        """
        ...

    def backward(self, y: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the outputs of every core and read its inputs: the transpose of `forward`."""
        ...


def command(hardware: Hardware, *, u: Commands | None = None, v: Commands | None = None) -> None:
    """Set the U mesh as `u` says and the V mesh as `v` says."""
    for part, commands in (("u", u), ("v", v)):
        if commands is not None:
            hardware.set_signs(**{part: commands.signs[part]})
            hardware.set_phases(**{part: commands.phases[part]})
