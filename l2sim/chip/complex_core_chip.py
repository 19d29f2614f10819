"""Complex tensor cores: what splitter errors, loss and single-arm drive make of the cores of `core_chip`.

The one MZI of both flows is in `kernels.cores`. Cores with phi (`l2sim.mesh.thetaphi`) have fused operations, those of
theta alone take the public path: so their noise is, to the bit, what it always was. How amplitudes are read is in
`l2sim.chip.readout`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import CPU, Array, Device, kernels
from l2sim.chip import fabrication
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import Optics, arm_parameters, fabricate_optics, splitter_parameters
from l2sim.chip.fused import blocks
from l2sim.chip.fused.descent import Sweep
from l2sim.chip.meter import Count, Meter
from l2sim.chip.nonidealities import WAVELENGTH_NM, Nonidealities, required
from l2sim.chip.parts.attenuators import Column, Interferometers
from l2sim.chip.parts.given import Given
from l2sim.chip.parts.optics import Splitters, places
from l2sim.chip.protocol import PARTS, Commands
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh, require_core

READOUTS = ("power", "two_readings", "quadrature", "field")

Passive = tuple[Array, Array]
"""Splitters (M, 4, n) and amplitudes of the arms (M, 2, n), with phi (M, 4, n), of the meshes of one part."""


def laid_out(mesh: Mesh, nonidealities: Nonidealities) -> Mesh:
    """The mesh of cores of this layout and these imperfections, which say whether MZIs have phi."""
    if not nonidealities.phi or require_core(mesh).phi:
        return mesh
    return Mesh(mesh.kind, mesh.modes, phi=True)


def passive(
    mesh: Mesh, optics: Optics, nonidealities: Nonidealities, errors: Array | None = None, arms: Array | None = None
) -> Passive:
    """What light meets between the heaters; `errors` as of `splitter_parameters` and `arms` instead of those of
    `arm_parameters` where these are not all. A core's MZI has arms beside its heaters only: two, or four with phi."""
    arms = (arm_parameters(optics, nonidealities) if arms is None else arms)[:, : 4 if mesh.phi else 2]
    return splitter_parameters(mesh.mzis, optics, nonidealities, errors), np.ascontiguousarray(arms)


def matrices(mesh: Mesh, phases: Array, parts: Passive, signs: Array, nonidealities: Nonidealities) -> Array:
    """Effective phases (M, n) and signs (M, k) to complex matrices (M, k, k)."""
    phases = phases / (1.0 + nonidealities.detuning_nm / WAVELENGTH_NM)
    out = np.empty((len(phases), mesh.modes, mesh.modes), np.result_type(phases.dtype, np.complex64))
    if mesh.phi:
        kernels.cores.with_phi(phases, mesh.phases_of, *parts, signs, mesh.mzis.top, out)
        return out
    kernels.cores.matrices(phases, *parts, nonidealities.single_arm, signs, mesh.rail, out)
    return out


class ComplexChip(CoreChip):
    """A `CoreChip` whose meshes are complex matrices. Arguments as there; it computes on the CPU only. Where MZIs have
    phi (`nonidealities.phi`, which stays as it was fabricated), its `mesh` is that of the heaters.

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
        given: Given = None,
    ) -> None:
        mesh = laid_out(mesh, required(nonidealities))
        if require_core(mesh).inner_signs:
            raise ChipError("complex cores have all signs at their outputs; use Mesh(kind, k) without inner_signs")
        if device.numbers:
            raise ChipError(f"complex cores compute on the CPU, not on {device.name}; choose the device 'cpu'")
        couplers = (shape[0] * shape[1], mesh.mzis.count)
        self._optics = {part: fabricate_optics(seed, name, part, couplers) for part in PARTS}
        self._scaled: tuple[Nonidealities, dict[str, Passive]] | None = None
        self._splitters = Splitters(seed, name, PARTS, couplers[0])
        self._mzis = Interferometers(seed, name, (couplers[0], mesh.modes))
        super().__init__(
            shape, mesh, nonidealities, seed=seed, name=name, meter=meter, dtype=dtype, readouts=readouts, given=given
        )

    def refabricate(self, arrays: dict[str, Array]) -> None:
        """Become the chip whose `oracle_fabrication` gave `arrays`."""
        optics = fabrication.replaced(self._named_optics(), arrays)
        self._optics, self._scaled = {part: optics[fabrication.optics_of(part)] for part in PARTS}, None
        self._splitters.become(arrays)
        self._mzis.become(arrays)
        super().refabricate(arrays)

    def oracle_fabrication(self) -> dict[str, Array]:
        """The unit draws of the fabrication, "part.noise_draw", also of the passive optics."""
        own = super().oracle_fabrication() | fabrication.arrays(self._named_optics())
        own |= self._splitters.arrays(self._nonidealities)
        return own | (self._mzis.arrays() if self._column is self._mzis else {})

    def _named_optics(self) -> dict[str, Optics]:
        return {fabrication.optics_of(part): optics for part, optics in self._optics.items()}

    @CoreChip.nonidealities.setter  # type: ignore[attr-defined, untyped-decorator]
    def nonidealities(self, value: Nonidealities) -> None:
        """As of `CoreChip`. ChipError where heaters would come or go: those are built."""
        if required(value).phi != self.mesh.phi:
            raise ChipError("nonidealities.phi says which heaters a chip has; fabricate another one to change it")
        CoreChip.nonidealities.fset(self, value)  # type: ignore[attr-defined]

    def fuses(self, readout: str) -> bool:
        """Whether cores have phi, and readings of this kind noise that can be drawn in aggregate."""
        return self.mesh.phi and super().fuses(readout)

    def sweep(self, part: str, *asked: Any, readout: str = "quadrature", **by_name: Any) -> Sweep:
        """As of `CoreChip`, of cores with phi and by a `readout` that `fuses`. ChipError for others."""
        self._require_phi()
        by_name["readout"] = readout
        made = super().sweep(part, *asked, **by_name)
        splitters, arms = self._passive(part)
        stretch = np.full((self._cores, 1), 1.0 / (1.0 + self._nonidealities.detuning_nm / WAVELENGTH_NM))
        optics = {"splitters": splitters, "arms": arms, "stretch": stretch}
        bias = made.on["bias"] + 0.0
        bias[:, self.mesh.phases_of[2]] += self._column.off(part, self._signs[part])  # shifters stand behind the screen
        return replace(made, on=made.on | optics | {"bias": bias}, both=readout == "field")

    def _require_phi(self) -> None:
        if not self.mesh.phi:
            raise ChipError("complex cores without phi have no fused operations; take the public path (`chip.grid`)")

    def _passes(self, rest: Commands) -> tuple[list[tuple[Array, Array]], Count]:
        """As of `CoreChip`, of cores with phi."""
        self._require_phi()
        return super()._passes(rest)

    def _passive(self, part: str) -> Passive:
        sheet = self._nonidealities
        if self._scaled is None or self._scaled[0] is not sheet:
            self._scaled = sheet, {part: self._passed_by(part, sheet) for part in PARTS}
        return self._scaled[1][part]

    def _build(self, part: str, phases: Array, signs: Array) -> Array:
        ends = self._column.ends(part, signs)
        return matrices(self.mesh, self._effective(part, phases), self._passive(part), ends, self._nonidealities)

    def _passed_by(self, part: str, sheet: Nonidealities) -> Passive:
        """`passive` of a part: as was given, or as was drawn."""
        mesh, optics, errors = self.mesh.mzis, self._optics[part], self._devices.splitters(part)
        if errors is None:
            at = places(mesh.column, mesh.top, mesh.bottom, self.mesh.phi)
            errors = self._splitters.errors(part, optics, at, sheet)
        return passive(self.mesh, optics, sheet, errors, self._devices.arms(part, arm_parameters(optics, sheet)))

    def _hung(self, sheet: Nonidealities) -> Column:
        """As of `CoreChip`; MZIs where attenuators are such."""
        if sheet.attenuators == "published":
            return super()._hung(sheet)
        return self._mzis.tune(self._attenuators, sheet, self.dtype, sheet.single_arm or sheet.phi, self._devices)

    def _grid(self) -> Array:
        """What quadratures show of the whole matrix (p k, q k): Re M = Re U diag(s) Re V* - Im U diag(s) Im V*."""
        self._require_phi()
        if self._drifts:
            self._age()
        if self._weight_grid is None:
            sigma, u, v = self._realised, self._matrix("u"), self._matrix("v")
            if np.iscomplexobj(sigma):
                u, sigma = u * sigma[:, None, :], np.ones_like(sigma.real)
            sigma = sigma.reshape(*self.shape, -1)
            parts = [[np.ascontiguousarray(a) for a in (m.real, m.imag)] for m in (u, v)]
            real, imaginary = (blocks.assemble(a, sigma, b) for a, b in zip(*parts))
            self._weight_grid = np.subtract(real, imaginary, out=real)
        return self._weight_grid

    def _passed(self, weights: Array, x: Array, kind: str) -> Array:
        """As of `CoreChip`. A quadrature that the reference does not turn needs the real part only."""
        if kind == "quadrature" and not self._nonidealities.reference_phase_std and not np.iscomplexobj(x):
            weights = np.ascontiguousarray(weights.real)
        y: Array = np.matmul(weights, x)
        return y



def perfect(shape: tuple[int, int], mesh: Mesh, **options: Any) -> CoreChip:
    """A chip without imperfections that has the heaters of `mesh`."""
    sheet = Nonidealities(phi=mesh.phi)
    return fabricated_as(sheet, "quadrature")(shape, mesh, sheet, seed=0, **options)


def fabricated_as(nonidealities: Nonidealities, readout: str) -> type[CoreChip]:
    """The chip that these imperfections and this readout need: `CoreChip`, unless something is complex."""
    return CoreChip if nonidealities.real and readout != "field" else ComplexChip
