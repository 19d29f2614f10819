"""What is imperfect about a chip, as numbers with units, and cited presets of them.

These are the parameters. The fabricated chip draws unit variates once and scales them by these, so that changing a
parameter while a run goes on changes the same chip.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from l2sim.backend import Array
from l2sim.errors import ChipError

V_PI = 4.36
"""Volts for a phase of pi in the L2ight reference."""
GAMMA = math.pi / V_PI**2
"""Nominal phase per volt squared of a heater, rad/V^2."""

Share = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]


class Nonidealities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The imperfections of a chip. Order of action: see `kernels.chain`.

    phase_bits: resolution of the heater drive, bits; 0 is continuous.
    drive: "phase" quantises phi over [0, 2 pi] (as published); "voltage" quantises V over [0, v_max] and goes through
        `curve`.
    v_max: highest drive voltage, V.
    curve: phase(V) in rad, either polynomial coefficients of V^0, V^1, ... or, with `curve_volts`, measured phases at
        those voltages (interpolated linearly). Empty: gamma V^2. Must rise over [0, v_max].
    phase_bias: half range of the fixed phase error of every heater, rad: uniform over [-phase_bias, phase_bias).
    gamma_std: spread of gamma, rad/V^2: normal, cut at two sigma, fixed per heater.
    crosstalk: share of a heater's phase that reaches each of its up to six neighbours.
    stuck, dead: share of the heaters that hold a random phase, or none, whatever is commanded.
    exact_sigma: the attenuators do exactly what they are told (as published for calibration and mapping).
    readout_noise: additive noise of a quadrature reading, in units of the unit input amplitude, before the electronic
        gain; of a power reading, in units of the unit input power.
    shot_noise: noise of a power reading that grows as the amplitude, in units of the unit input power.
    reference_phase_std: spread of the reference's phase in a quadrature reading, rad, fresh for each reading of a core.
    """

    phase_bits: Annotated[int, Meta(ge=0, le=24)] = 0
    drive: str = "phase"
    v_max: Annotated[float, Meta(gt=0)] = 10.8
    curve: tuple[float, ...] = ()
    curve_volts: tuple[float, ...] = ()
    phase_bias: Annotated[float, Meta(ge=0, le=math.pi)] = 0.0
    gamma_std: NonNegative = 0.0
    crosstalk: Annotated[float, Meta(ge=0, le=0.2)] = 0.0
    stuck: Share = 0.0
    dead: Share = 0.0
    exact_sigma: bool = False
    readout_noise: NonNegative = 0.0
    shot_noise: NonNegative = 0.0
    reference_phase_std: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.drive not in ("phase", "voltage"):
            raise ChipError(f"nonidealities.drive = {self.drive!r} is unknown; use 'phase' or 'voltage'")
        if self.stuck + self.dead > 1:
            raise ChipError("nonidealities.stuck + dead exceeds 1; together they are a share of all heaters")
        if self.curve_volts and (len(self.curve) != len(self.curve_volts) or np.any(np.diff(self.curve_volts) <= 0)):
            raise ChipError("nonidealities.curve_volts must rise and be as long as nonidealities.curve")
        if self.drive == "voltage":
            volts = np.linspace(0.0, self.v_max, 257)
            if np.any(np.diff(self.phase_of(volts)) <= 0):
                raise ChipError(f"nonidealities.curve must rise over 0 to v_max = {self.v_max} V; correct one of them")

    def phase_of(self, volts: Array) -> Array:
        """Nominal phase of a heater at `volts`, rad."""
        if self.curve_volts:
            return np.interp(volts, self.curve_volts, self.curve)
        return np.polynomial.polynomial.polyval(volts, self.curve or (0.0, 0.0, GAMMA))

    def lsb(self) -> float:
        """Step of the phase quantiser, rad: 2 pi / (2^bits - 1); 0 where the drive is not quantised in phase."""
        return 2.0 * math.pi / (2**self.phase_bits - 1) if self.phase_bits and self.drive == "phase" else 0.0

    def levels(self) -> tuple[Array, Array]:
        """Phases that a voltage drive can take, and the thresholds between them, rad (both empty for a phase drive).

        The driver inverts `phase_of` and rounds the voltage, so a phase goes to the level nearest *in voltage*.
        A continuous voltage drive is a very fine one (16 bits).
        """
        if self.drive == "phase":
            return np.empty(0), np.empty(0)
        steps = 2 ** (self.phase_bits or 16) - 1
        volts = np.linspace(0.0, self.v_max, steps + 1)
        return self.phase_of(volts), self.phase_of((volts[1:] + volts[:-1]) / 2)


PRESETS = {
    "ideal": Nonidealities(),
    # Gu et al., L2ight, NeurIPS 2021 (arXiv 2110.14807), section 4.1 and its public configurations: 8-bit phases, bias
    # U[-1, 1), gamma std 0.002 on 0.1653 rad/V^2, crosstalk 0.005; readings without noise, which the paper assumes.
    "l2ight-2021": Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005),
}
