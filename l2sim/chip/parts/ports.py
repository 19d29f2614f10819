"""Ports: what modulators, detectors, converters and the laser make of light that is sent and read, and what is billed.

Light x that is asked for leaves a modulator as Q_m(x), each quadrature of a field by a converter of its own, times the
root of the laser's power L. Behind the chip arrives y, in units of the unit input amplitude, before any electronic
gain. A probe, light sent once, has one L and one phase r of the reference; n are fresh normal numbers for every
reading. A port j reads

    v_j = Q[ (1 + g_j) f(a) + o_j + sigma n + rho |a| n' ],        f(a) = a (1 - saturation |a| / full scale)

    quadrature    a = L^(1/2) Re(y e^{ir})    balanced homodyne: a pair of detectors, one converter
    field         both quadratures: two such pairs
    power         a = |y|^2                   direct detection, no reference; with shot noise s |y| n'' besides
    two_readings  (P+ - P-) / 4R              P+- = |y e^{ir} +- L^(1/2) R|^2, read one after the other by one detector
                  as powers, full scale (1 + R)^2: its offset cancels, its noise and the laser's do not

g, o: fixed for each port, normal with `gain_std` and `offset_std`; those of the inputs, where light sent backwards is
read, are others. rho: `intensity_noise`, which grows with the level (one laser feeds light and reference, so that the
current goes as its power). L = (1 + laser_std n) e^w, w a walk of `laser_walk` a probe; the walk of r likewise. With a
monitor, readings are divided by L as it read it, with noise sigma. Q: cut to the range, then an even quantiser of
2^bits levels whose integral non-linearity is a fixed smooth curve,

    v + inl F (cos(psi) sin(pi u) + sin(psi) sin(2 pi u)),  u in [0, 1] along the full scale F, psi fixed for each port.

Sources: balanced and direct detection, Agrawal, Fiber-Optic Communication Systems, chapters 4 and 10; two readings for
one signed amplitude as in the measurements of Pai et al., Science 380, 398 (2023), supplement. The two harmonics of
the INL are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, generator, like
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import RunError
from l2sim.streams import Stream

Normal = Callable[[tuple[int, ...]], Array]


class Reading(NamedTuple):
    """What one readout takes: `vectors` that are sent for each, `converters` and `references` at every port, and
    whether it is `signed`."""

    vectors: int
    converters: int
    references: int
    signed: bool


READINGS = {
    "power": Reading(1, 1, 0, False),
    "two_readings": Reading(2, 1, 1, True),
    "quadrature": Reading(1, 1, 1, True),
    "field": Reading(1, 2, 2, True),
}
"""The readouts of ports, by name."""


SIDES = ("inputs", "outputs")


class Port(NamedTuple):
    """One port as it is billed (`l2sim.chip.energy`): how it `reads`, whether it sends both quadratures
    (`complex_light`), and the bits of its converters, 0 for those of the device table."""

    reads: str = "quadrature"
    complex_light: bool = False
    dac_bits: int = 0
    adc_bits: int = 0

    @classmethod
    def of(cls, sheet: Nonidealities, reads: str, complex_light: bool) -> Port:
        """The port of a chip with these imperfections."""
        return cls(reads, complex_light, sheet.modulator_bits, sheet.adc_bits)


@dataclass(frozen=True)
class Fixed:
    """Draws of M x k ports, made once: `gain` and `offset` normal, `inl` an angle. (M, k) each."""

    gain: Array
    offset: Array
    inl: Array

    @classmethod
    def drawn(cls, seed: int, name: str, side: str, shape: tuple[int, int]) -> Fixed:
        """Of the ports on one side, "outputs" or "inputs", of the chip `name`."""
        gain, offset, inl = (generator(seed, "fabrication", name, side, what) for what in ("gain", "offset", "inl"))
        return cls(gain.standard_normal(shape), offset.standard_normal(shape), inl.uniform(0.0, 2.0 * np.pi, shape))


def converted(values: Array, low: float, high: float, bits: int, inl: float, angle: Array) -> Array:
    """What a converter of the full scale `low` to `high` makes of `values`; `angle` (extends to them) of its INL."""
    if not bits and not inl:
        return values
    span = high - low
    share = np.clip((values - low) / span, 0.0, 1.0)
    if inl:
        share = share + inl * (np.cos(angle) * np.sin(np.pi * share) + np.sin(angle) * np.sin(2.0 * np.pi * share))
        share = np.clip(share, 0.0, 1.0)
    if bits:
        steps = 2.0**bits - 1.0
        share = np.rint(share * steps) / steps
    out: Array = (low + span * share).astype(values.dtype, copy=False)
    return out


class Ports:
    """The ports of the chip `name`, a `grid` of cores of `modes` (an empty one: a whole mesh), and their laser."""

    def __init__(self, seed: int, name: str, grid: tuple[int, ...], modes: int) -> None:
        self._seed, self._name, self._grid, self._shape = seed, name, grid, (math.prod(grid), modes)
        self._fixed: dict[str, Fixed] = {}
        self._laser = Stream(seed, "laser", name)
        self._light, self._phase, self._level = 0.0, 0.0, 1.0
        self._sheet = Nonidealities()
        self.plain = self.exact = True

    def tune(self, sheet: Nonidealities) -> None:
        """Have these imperfections from now on. `plain`: readings are what `l2sim.chip.readout` says, no more; `exact`:
        modulators send what is asked for."""
        self._sheet, self._level = sheet, 1.0
        self.exact = not (sheet.modulator_bits or sheet.modulator_inl)
        self.plain = self.exact and not (
            sheet.adc_bits or sheet.adc_inl or sheet.gain_std or sheet.offset_std or sheet.saturation
            or sheet.intensity_noise or sheet.laser_std or sheet.laser_walk or sheet.reference_walk
        )  # fmt: skip

    def sent(self, x: Array, back: bool) -> Array:
        """Light (..., k, B) that really enters in the next probe where x is asked for: at the inputs, or `back` at the
        outputs. Full scale of modulators is the unit amplitude, or the brightest of what is sent."""
        sheet = self._sheet
        self._next()
        if not self.exact:
            angle = self._along(self._of("outputs" if back else "inputs").inl, x)
            parts = (x.real, x.imag) if np.iscomplexobj(x) else (x,)
            full = max(1.0, *(float(np.abs(part).max()) for part in parts))
            made = [converted(part, -full, full, sheet.modulator_bits, sheet.modulator_inl, angle) for part in parts]
            x = (made[0] + 1j * made[1]).astype(x.dtype, copy=False) if len(made) == 2 else made[0]
        return x if self._level == 1.0 else x * x.dtype.type(math.sqrt(self._level))

    def special(self, kind: str) -> bool:
        """Whether readings of `kind` are more than `l2sim.chip.readout` says."""
        return kind == "two_readings" or not self.plain

    def additive(self, kind: str) -> bool:
        """Whether readings of `kind` are amplitudes with normal noise whose size does not depend on them: then sums of
        them have a known law (`CoreChip.fuses`)."""
        steady = self.plain and not self._sheet.reference_phase_std
        return steady and (kind in ("quadrature", "field") or (kind == "two_readings" and not self._sheet.shot_noise))

    def noise(self, kind: str) -> float:
        """Standard deviation of the noise of `additive` readings."""
        floor = self._sheet.readout_noise
        return floor if kind != "two_readings" else floor * math.sqrt(2.0) / (4.0 * self._sheet.reference_level)

    def behind(self, y: Array, gain: Array, kind: str, normal: Normal, back: bool) -> Array:
        """`read` of what detectors see before the electronic `gain` (..., 1, 1) that y has already, with that gain."""
        seen = self.read(y / np.where(gain == 0.0, 1.0, gain), kind, normal, back)
        out: Array = seen * (gain * gain if kind == "power" else gain)
        return out

    def read(self, y: Array, kind: str, normal: Normal, back: bool) -> Array:
        """Readings of amplitudes y (..., k, B), real or complex, of what was `sent` last: at the outputs, or at the
        inputs of light sent `back`."""
        sheet, ports = self._sheet, self._of("inputs" if back else "outputs")
        if kind == "power":
            return self._detected(np.abs(y) ** 2, ports, normal, 1.0)
        angle: Array | float = self._phase
        if sheet.reference_phase_std:
            angle = angle + sheet.reference_phase_std * normal((*y.shape[:-2], 1, y.shape[-1]))
        if np.iscomplexobj(y) or np.any(angle):
            y = y * np.exp(1j * angle)
        bright = math.sqrt(self._level)  # of the reference
        if kind == "quadrature":
            return self._detected(bright * y.real, ports, normal)
        if kind == "field":
            both: Array = 1j * self._detected(bright * y.imag, ports, normal)
            both += self._detected(bright * y.real, ports, normal)
            return both
        reference, before = sheet.reference_level, self._level
        full = (1.0 + reference) ** 2
        plus = self._detected(np.abs(y + bright * reference) ** 2, ports, normal, full)
        self._next()
        light = self._level / before
        minus = self._detected(light * np.abs(y - bright * reference) ** 2, ports, normal, full)
        two: Array = (plus - minus) / (4.0 * reference)
        return two

    def _next(self) -> None:
        """A new probe: how bright the laser is, and where the reference's phase stands."""
        sheet = self._sheet
        if sheet.laser_std or sheet.laser_walk or sheet.reference_walk:
            fresh, light, phase = (float(z) for z in self._laser.normal((3,)))
            self._light += sheet.laser_walk * light
            self._phase += sheet.reference_walk * phase
            self._level = max(1.0 + sheet.laser_std * fresh, 0.0) * math.exp(self._light)

    def _detected(self, v: Array, ports: Fixed, normal: Normal, full: float = 0.0) -> Array:
        """What a detector says of v: a quadrature, or, with a `full` scale, a power."""
        sheet = self._sheet
        level, size = full or 1.0, np.abs(v)
        noise = sheet.readout_noise * normal(v.shape) if sheet.readout_noise else 0.0
        if full and sheet.shot_noise:
            noise = noise + sheet.shot_noise * np.sqrt(size) * normal(v.shape)
        if sheet.intensity_noise:
            noise = noise + sheet.intensity_noise * size * normal(v.shape)
        if sheet.saturation:
            v = v * (1.0 - sheet.saturation * size / level)
        if sheet.gain_std:
            v = v * (1.0 + sheet.gain_std * self._along(ports.gain, v))
        if sheet.offset_std:
            v = v + sheet.offset_std * self._along(ports.offset, v)
        v = v + noise
        top = sheet.adc_range * level
        v = converted(v, 0.0 if full else -top, top, sheet.adc_bits, sheet.adc_inl, self._along(ports.inl, v))
        if sheet.laser_monitor and self._level != 1.0:
            v = v / max(self._level + sheet.readout_noise * float(self._laser.normal((1,))[0]), 0.1)
        return v

    def _of(self, side: str) -> Fixed:
        if side not in self._fixed:
            self._fixed[side] = Fixed.drawn(self._seed, self._name, side, self._shape)
        return self._fixed[side]

    def _along(self, ports: Array, light: Array) -> Array:
        """Draws (M, k) as they extend to light (p, q, k, B) of a grid of cores, or (k, B) of a mesh."""
        return like(light, ports.reshape(*self._grid, -1, 1))

    def draws(self) -> dict[str, Fixed]:
        """What was drawn when the chip was made, by side; nothing where no port shows it."""
        return {} if self.plain else {side: self._of(side) for side in SIDES}

    def become(self, draws: Mapping[str, Fixed]) -> None:
        """Have these `draws`."""
        self._fixed.update(draws)

    def state(self) -> dict[str, object]:
        """Where laser and reference stand, for a checkpoint; nothing where both are steady."""
        if not self._laser.page:
            return {}
        return {**self._laser.state(), "light": self._light, "phase": self._phase}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from a `state`. RunError for what is none."""
        self._laser.restore(state)
        light, phase = (state.get(key, 0.0) for key in ("light", "phase"))
        if not isinstance(light, int | float) or not isinstance(phase, int | float):
            raise RunError(f"the checkpoint cannot be read (laser at {light!r}, {phase!r}); use another")
        self._light, self._phase = float(light), float(phase)
