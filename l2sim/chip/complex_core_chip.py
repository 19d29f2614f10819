"""Complex tensor cores: what splitter errors, loss and single-arm drive make of the cores of `core_chip`.

The one MZI of both flows is in `kernels.cores`. Nothing here is fused: algorithms take the public path. Readings of a
complex amplitude y, with n standard normal, the reference's phase r fresh for each vector through a core:

    quadrature  Re(y e^{i r}) + sigma n       field  y e^{i r} + sigma (n + i n')       power  |y|^2 + s |y| n + sigma n
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

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
from l2sim.mesh.mesh import Mesh

READOUTS = ("power", "quadrature", "field")

Passive = tuple[Array, Array]
"""Splitters (M, 4, n) and amplitudes of both arms (M, 2, n) of the meshes of one part."""


def passive(mesh: Mesh, optics: Optics, nonidealities: Nonidealities) -> Passive:
    """What light meets between the heaters. A core's MZI has the two arms beside its heaters only."""
    arms = arm_parameters(optics, nonidealities)[:, :2]
    return splitter_parameters(mesh, optics, nonidealities), np.ascontiguousarray(arms)


def matrices(mesh: Mesh, phases: Array, parts: Passive, signs: Array, nonidealities: Nonidealities) -> Array:
    """Effective phases (M, n) and signs (M, k) to complex matrices (M, k, k)."""
    it = nonidealities
    phases = phases / (1.0 + it.detuning_nm / WAVELENGTH_NM)
    out = np.empty((len(phases), mesh.modes, mesh.modes), np.result_type(phases.dtype, np.complex64))
    kernels.cores.matrices(phases, *parts, it.single_arm, signs, mesh.rail, out)
    return out


def read(
    weights: Array,
    x: Array,
    gain: Array,
    readout: str,
    nonidealities: Nonidealities,
    normal: Callable[[tuple[int, ...]], Array],
) -> Array:
    """Readings of W x: `weights` (p, q, k, k), `x` broadcasts to (p, q, k, B), `gain` (p, q, 1, 1) scales the noise."""
    it = nonidealities
    if readout == "quadrature" and not it.reference_phase_std and not np.iscomplexobj(x):
        y = np.matmul(np.ascontiguousarray(weights.real), x)
    else:
        y = np.matmul(weights, x)
    if readout == "power":
        amplitude = np.abs(y)
        y = amplitude**2
        if it.shot_noise:
            y = y + gain * amplitude * (it.shot_noise * normal(y.shape))
        return y + gain * gain * (it.readout_noise * normal(y.shape)) if it.readout_noise else y
    if it.reference_phase_std:
        y = y * np.exp(1j * it.reference_phase_std * normal((*y.shape[:2], 1, y.shape[3])))
    if readout == "quadrature":
        y = y.real
        return y + gain * (it.readout_noise * normal(y.shape)) if it.readout_noise else y
    y = y.astype(np.result_type(y.dtype, np.complex64), copy=False)
    if it.readout_noise:
        y = y + gain * (it.readout_noise * (normal(y.shape) + 1j * normal(y.shape)))
    return y


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
        if mesh.inner_signs:
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
        made = fabrication.replaced(self._draws(), arrays)
        self._optics, self._scaled = {part: made[f"{part} optics"] for part in PARTS}, None
        super().refabricate(arrays)

    def _draws(self) -> dict[str, Any]:
        return super()._draws() | {f"{part} optics": held for part, held in self._optics.items()}

    def fuses(self, readout: str) -> bool:
        """Never: no fused operation knows complex cores."""
        return False

    def _refused(self, *arguments: Any, **options: Any) -> NoReturn:
        raise ChipError("complex cores have no fused operations; take the public path (`l2sim.chip.grid`)")

    descend = product = product_back = sigma_gradient = _refused

    def _build(self, part: str, phases: Array, signs: Array) -> Array:
        it = self._nonidealities
        if self._scaled is None or self._scaled[0] is not it:
            self._scaled = it, {part: passive(self.mesh, optics, it) for part, optics in self._optics.items()}
        return matrices(self.mesh, self._effective(part, phases), self._scaled[1][part], signs, it)

    def _probe(self, weights: Array, x: Array, cores: Array | None, readout: str) -> Array:
        if readout not in self.readouts:
            raise ChipError(f"this chip has no {readout!r} readout; it has {', '.join(self.readouts)}")
        (p, q), k = self.shape, self.mesh.modes
        if x.ndim != 4 or x.shape[2] != k or x.shape[0] not in (1, p) or x.shape[1] not in (1, q):
            raise ChipError(f"light of shape {x.shape} does not fit this chip; send ({p}, {q}, {k}, B) or what extends")
        y = read(weights, x, self._scale.reshape(p, q, 1, 1), readout, self._nonidealities, self._normal)
        if cores is not None:
            y = np.where(cores[:, :, None, None], y, 0.0)
        self._sent(y.shape[3], cores)
        kind = np.result_type(self.dtype, np.complex64) if readout == "field" else self.dtype
        return y.astype(kind, copy=False)


def fabricated_as(nonidealities: Nonidealities, readout: str) -> type[CoreChip]:
    """The chip that these imperfections and this readout need: `CoreChip`, unless something is complex."""
    return CoreChip if nonidealities.real and readout != "field" else ComplexChip
