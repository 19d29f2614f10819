"""Complex tensor cores: what splitter errors, loss and single-arm drive make of the cores of `core_chip`.

The one MZI of both flows is in `kernels.cores`. Nothing here is fused: algorithms take the public path. How amplitudes
are read is in `l2sim.chip.readout`.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import CPU, Array, Device, kernels
from l2sim.chip import fabrication
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import Optics, arm_parameters, fabricate_optics, splitter_parameters
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import WAVELENGTH_NM, Nonidealities
from l2sim.chip.protocol import PARTS
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh, require

READOUTS = ("power", "two_readings", "quadrature", "field")

Passive = tuple[Array, Array]
"""Splitters (M, 4, n) and amplitudes of both arms (M, 2, n) of the meshes of one part."""


def passive(mesh: Mesh, optics: Optics, nonidealities: Nonidealities) -> Passive:
    """What light meets between the heaters. A core's MZI has the two arms beside its heaters only."""
    arms = arm_parameters(optics, nonidealities)[:, :2]
    return splitter_parameters(mesh, optics, nonidealities), np.ascontiguousarray(arms)


def matrices(mesh: Mesh, phases: Array, parts: Passive, signs: Array, nonidealities: Nonidealities) -> Array:
    """Effective phases (M, n) and signs (M, k) to complex matrices (M, k, k)."""
    phases = phases / (1.0 + nonidealities.detuning_nm / WAVELENGTH_NM)
    out = np.empty((len(phases), mesh.modes, mesh.modes), np.result_type(phases.dtype, np.complex64))
    kernels.cores.matrices(phases, *parts, nonidealities.single_arm, signs, mesh.rail, out)
    return out


class ComplexChip(CoreChip):
    """A `CoreChip` whose meshes are complex matrices. Arguments as there; it computes on the CPU only.

    With real cores' imperfections it gives what `CoreChip` gives (a test), and has the readout `field` besides.
    """

    complex_cores = True

    def __init__(
        self,
        shape: tuple[int, int],
        mesh: Mesh,
        nonidealities: Nonidealities,
        *,
        seed: int,
        name: str = "chip",
        meter: Meter | None = None,
        dtype: DTypeLike = np.float64,
        readouts: tuple[str, ...] = READOUTS,
        device: Device = CPU,
    ) -> None:
        if require(mesh).inner_signs:
            raise ChipError("complex cores have all signs at their outputs; use Mesh(kind, k) without inner_signs")
        if device.numbers:
            raise ChipError(f"complex cores compute on the CPU, not on {device.name}; choose the device 'cpu'")
        heaters = (shape[0] * shape[1], mesh.count)
        self._optics = {part: fabricate_optics(seed, name, part, heaters) for part in PARTS}
        self._scaled: tuple[Nonidealities, dict[str, Passive]] | None = None
        super().__init__(
            shape, mesh, nonidealities, seed=seed, name=name, meter=meter, dtype=dtype, readouts=readouts
        )

    def refabricate(self, arrays: dict[str, Array]) -> None:
        """Become the chip whose `oracle_fabrication` gave `arrays`."""
        optics = fabrication.replaced(self._named_optics(), arrays)
        self._optics, self._scaled = {part: optics[fabrication.optics_of(part)] for part in PARTS}, None
        super().refabricate(arrays)

    def oracle_fabrication(self) -> dict[str, Array]:
        """The unit draws of the fabrication, "part.noise_draw", also of the passive optics."""
        return super().oracle_fabrication() | fabrication.arrays(self._named_optics())

    def _named_optics(self) -> dict[str, Optics]:
        return {fabrication.optics_of(part): optics for part, optics in self._optics.items()}

    def fuses(self, readout: str) -> bool:
        """Never: no fused operation knows complex cores."""
        return False

    def _refused(self, *arguments: object, **options: object) -> NoReturn:
        raise ChipError("complex cores have no fused operations; take the public path (`l2sim.chip.grid`)")

    sweep = descend = product = product_back = sigma_gradient = _refused

    def _build(self, part: str, phases: Array, signs: Array) -> Array:
        sheet = self._nonidealities
        if self._scaled is None or self._scaled[0] is not sheet:
            self._scaled = sheet, {part: passive(self.mesh, optics, sheet) for part, optics in self._optics.items()}
        return matrices(self.mesh, self._effective(part, phases), self._scaled[1][part], signs, sheet)

    def _passed(self, weights: Array, x: Array, kind: str) -> Array:
        """As of `CoreChip`. A quadrature that the reference does not turn needs the real part only."""
        if kind == "quadrature" and not self._nonidealities.reference_phase_std and not np.iscomplexobj(x):
            weights = np.ascontiguousarray(weights.real)
        y: Array = np.matmul(weights, x)
        return y


def fabricated_as(nonidealities: Nonidealities, *readouts: str) -> type[CoreChip]:
    """The chip that these imperfections and readouts need: `CoreChip`, unless something is complex."""
    return CoreChip if nonidealities.real and "field" not in readouts else ComplexChip
