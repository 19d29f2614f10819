"""Sigma as a column of attenuators realises it: one rule for cores and for the chip of any matrix.

**Published** (spec section b). An attenuator lets the share cos(alpha) of the amplitude through, alpha = arccos(share)
in [0, pi]. Its heater's phase is quantised evenly with LSB pi / (2^b - 1) and scaled by its gamma; no crosstalk. Ours:
an unknown offset, uniform over [-sigma_bias, sigma_bias), adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array, kernels, namespace
from l2sim.chip import fabrication
from l2sim.chip.fabrication import Chain, Heaters, Optics
from l2sim.chip.nonidealities import GAMMA, WAVELENGTH_NM, Nonidealities, even_step
from l2sim.chip.parts.given import Devices
from l2sim.chip.parts.heat import Heat
from l2sim.chip.parts.optics import Splitters, places
from l2sim.chip.protocol import PARTS
from l2sim.mesh.mesh import Mesh


class Column:
    """The attenuators of M cores of `heaters` (M, k), their numbers where `put` takes them."""

    def __init__(
        self, heaters: Heaters, sheet: Nonidealities, put: Callable[[Array], Array], devices: Devices
    ) -> None:
        self._sheet, ratio = sheet, 1.0 + heaters.gamma * (sheet.gamma_std / GAMMA)
        ratio, tilt = devices.attenuators(ratio, offsets(heaters, sheet))
        self._ratio = put(ratio)
        self._tilt = None if tilt is None else put(tilt)

    def realise(self, sigma: Array) -> tuple[Array, Array]:
        """`of_cores` of `sigma` (M, k)."""
        return of_cores(sigma, self._ratio, self._sheet, self._tilt)

    def command(self, wanted: Array, sigma: Array) -> tuple[Array, Array, Array]:
        """`commanded`, on a GPU."""
        return commanded(wanted, sigma, self._ratio, self._sheet, self._tilt)

    def ends(self, part: str, signs: Array) -> Array:
        """What light at the outputs of a mesh is multiplied by where `signs` (M, k) are commanded."""
        return signs

    def off(self, part: str, signs: Array) -> Array:
        """By how much the phases of these `ends` are not those of `signs`, (M, k), rad at the design wavelength."""
        return np.zeros_like(signs)

    def opened(self, matrices: Array) -> Array:
        """`matrices` (M, k, k) behind which every attenuator is commanded to be open."""
        if self._tilt is None:  # no phase, which is realised exactly
            return matrices
        light, _ = self.realise(np.ones_like(matrices[:, :, 0]))
        through: Array = matrices * light[:, None]
        return through


class Rails(NamedTuple):
    """Where the heaters of attenuators stand: a `heat.Layout`."""

    around: Array
    column: Array
    top: Array
    bottom: Array

    @classmethod
    def of(cls, modes: int) -> Rails:
        """Those of so many rails."""
        rails = np.arange(modes)
        around = np.stack((rails - 1, np.where(rails + 1 < modes, rails + 1, -1)), axis=1)
        return cls(around, np.zeros(modes, np.int64), 2 * rails, 2 * rails + 1)


class Interferometers(Column):
    """Attenuators and signs of M complex cores that are MZIs and shifters (see the module)."""

    def __init__(self, seed: int, name: str, shape: tuple[int, int]) -> None:
        self._rails, self._optics = Rails.of(shape[1]), fabrication.fabricate_optics(seed, name, "sigma", shape)
        self._shifters = {part: fabrication.fabricate(seed, name, f"{part}_signs", shape) for part in PARTS}
        self._heat, self._splitters = Heat(seed, name, {"sigma": shape}), Splitters(seed, name, ("sigma",), shape[0])

    def tune(
        self, heaters: Heaters, sheet: Nonidealities, dtype: np.dtype, single: bool, devices: Devices | None = None
    ) -> Interferometers:
        """Take these parameters, and the draws of the attenuators' heaters; `single`: of one arm."""
        own = msgspec.structs.replace(sheet, phase_bias=sheet.sigma_bias, phase_error_std=0.0, lag=0.0, leak_lag=0.0)
        self._sheet, self._single = sheet, single
        self._chain = fabrication.chain_parameters(self._rails, heaters, own, dtype)
        if devices is not None:
            self._chain = devices.chain("sigma", self._chain, own)
        self._heat.tune(self._rails, own, dtype, self._single)
        alone = msgspec.structs.replace(own, crosstalk=0.0, stuck=0.0, dead=0.0)
        self._alone = {
            part: fabrication.chain_parameters(self._rails, draws, alone, dtype)
            for part, draws in self._shifters.items()
        }
        x, y = places(self._rails.column, self._rails.top, self._rails.bottom, False)
        off = self._splitters.errors("sigma", self._optics, (x, y), sheet)
        angles = np.arctan2(*self._angles(off))
        self._left, self._right = angles[:, 0] - np.pi / 4, angles[:, 1] - np.pi / 4
        self._loss = fabrication.arm_parameters(self._optics, sheet)[:, 0]
        return self

    def _angles(self, off: Array | None) -> tuple[Array, Array]:
        """sin and cos of pi/4 + e of both splitters, (M, 2, k)."""
        mesh = Mesh("custom", len(self._rails.top))
        parts = fabrication.splitter_parameters(mesh, self._optics, self._sheet, off)
        return parts[:, 1::2], parts[:, ::2]

    def _seen(self, phases: Array, chain: Chain, alone: bool) -> Array:
        """Phases that light sees, (M, k), where `phases` are commanded."""
        if alone or self._heat.plain:
            out = np.empty_like(phases)
            kernels.chain.apply(phases, *chain, out)
        else:
            out = self._heat.phases("sigma", phases, chain)
        out /= 1.0 + self._sheet.detuning_nm / WAVELENGTH_NM
        return out

    def realise(self, sigma: Array) -> tuple[Array, Array]:
        """`of_cores` of `sigma` (M, k); what is realised is complex."""
        if self._sheet.exact_sigma:
            return of_cores(sigma, sigma, self._sheet)
        gain: Array = np.abs(sigma).max(axis=1)[:, None]
        made = gain * self.share(sigma / np.where(gain > 0, gain, 1.0))
        return made.astype(np.result_type(sigma.dtype, np.complex64)), gain

    def share(self, wanted: Array) -> Array:
        """The complex shares that are realised where shares (M, k) from -1 to 1 are wanted."""
        alpha = self._seen(np.arccos(wanted), self._chain, alone=False)
        share = np.cos(self._left + self._right) * np.cos(alpha)
        share = share + 1j * np.sin(self._right - self._left) * np.sin(alpha)
        turn = np.exp(1j * alpha) if self._single else 1.0
        lost: Array = self._loss * share * turn
        return lost

    def ends(self, part: str, signs: Array) -> Array:
        """What shifters make of `signs` (M, k): complex, of magnitude one."""
        ends: Array = np.exp(1j * self._seen(_half_turns(signs), self._alone[part], alone=True))
        return ends

    def off(self, part: str, signs: Array) -> Array:
        """By how much the phases of these `ends` are not those of `signs`, (M, k), rad at the design wavelength."""
        wanted, stretch = _half_turns(signs), 1.0 + self._sheet.detuning_nm / WAVELENGTH_NM
        off: Array = self._seen(wanted, self._alone[part], alone=True) * stretch - wanted * stretch
        return off

    def opened(self, matrices: Array) -> Array:
        """`matrices` (M, k, k) behind which every attenuator is commanded to be open."""
        light, _ = self.realise(np.ones(matrices.shape[:2], matrices.real.dtype))
        through: Array = matrices * light[:, None]
        return through

    def _draws(self) -> tuple[dict[str, Optics], dict[str, Heaters]]:
        shifters = {f"{part}_signs": own for part, own in self._shifters.items()}
        return {fabrication.optics_of("sigma"): self._optics}, shifters

    def arrays(self) -> dict[str, Array]:
        """The unit draws but for those of the attenuators' heaters, as `fabrication.arrays` has them."""
        optics, shifters = self._draws()
        return fabrication.arrays({**optics, **shifters}) | self._heat.arrays() | self._splitters.arrays(self._sheet)

    def become(self, arrays: Mapping[str, Array]) -> None:
        """Take what `arrays` gave."""
        if fabrication.drawn(fabrication.optics_of("sigma"), "arms") in arrays:
            optics, shifters = self._draws()
            optics, shifters = fabrication.replaced(optics, arrays), fabrication.replaced(shifters, arrays)
            self._optics = optics[fabrication.optics_of("sigma")]
            self._shifters = {part: shifters[f"{part}_signs"] for part in PARTS}
        self._heat.become(arrays)
        self._splitters.become(arrays)


def _half_turns(signs: Array) -> Array:
    """Phases that shifters are commanded for `signs`, rad."""
    turns: Array = np.where(signs < 0.0, signs.dtype.type(np.pi), signs.dtype.type(0.0))
    return turns


def of_grid(seed: int, name: str, shape: tuple[int, int]) -> dict[str, Array]:
    """What the fab did to MZIs and shifters of a grid of cores of the chip `name`; rows are cores."""
    draws = {f"{part}_signs": fabrication.fabricate(seed, name, f"{part}_signs", shape) for part in PARTS}
    optics = {fabrication.optics_of("sigma"): fabrication.fabricate_optics(seed, name, "sigma", shape)}
    return fabrication.arrays({**draws, **optics})


def offsets(heaters: Heaters, sheet: Nonidealities) -> Array | None:
    """What adds to the phases of attenuators (M, k), rad; None where nothing does."""
    return sheet.sigma_bias * heaters.bias if sheet.sigma_bias > 0.0 else None


def realised(
    share: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None, *, exact: bool = False
) -> Array:
    """The shares that are realised where `share`, from -1 to 1, is commanded; `ratio`: gamma of each heater over the
    nominal one; `offset` of `offsets`. In the precision of `share`, or with `exact` from the heater on in that of
    `ratio`."""
    phase = np.arccos(share)
    if sheet.phase_bits:
        lsb = even_step(sheet.phase_bits) / 2.0
        phase /= lsb
        np.rint(phase, out=phase)
        phase *= lsb
    if exact:
        phase = phase * ratio
    else:
        phase *= ratio
    if offset is not None:
        phase += offset
    return np.cos(phase, out=phase)


def of_cores(
    sigma: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None
) -> tuple[Array, Array]:
    """What attenuators and the gain behind cores make of commanded `sigma` (M, k): (realised sigma, gain (M, 1)).

    sigma = gain cos(phase), gain = max |sigma|.
    """
    across = np.abs(namespace(sigma).ascontiguousarray(sigma.T))  # a reduction along the short axis as it lies is slow
    gain: Array = across.max(axis=0)[:, None]
    if sheet.exact_sigma:
        return sigma.copy(), gain
    # A core whose sigma is all zero has no gain to divide by: its attenuators are closed.
    out = realised(sigma / np.where(gain > 0, gain, 1.0), ratio, sheet, offset)
    out *= gain
    return out, gain


def commanded(
    wanted: Array, sigma: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None
) -> tuple[Array, Array, Array]:
    """`of_cores` of `wanted` (M, k) on a GPU, in one launch; `sigma` becomes it. The third: how many of sigma changed,
    are not finite, and are not one, (3,)."""
    lsb = sigma.dtype.type(even_step(sheet.phase_bits) / 2.0 if sheet.phase_bits else 0.0)
    out, gain, tally = np.empty_like(sigma), np.empty_like(sigma[:, :1]), np.zeros_like(sigma, np.int64, shape=(3,))
    wanted = namespace(sigma).ascontiguousarray(wanted)
    tilt = ratio[:0] if offset is None else offset
    kernels.cuda.chain.attenuate(wanted, ratio, tilt, lsb, sheet.exact_sigma, sigma, out, gain, tally)
    return out, gain, tally
