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

WAVELENGTH_NM = 1550.0
"""Design wavelength, nm."""

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
    heat_wraps: a driven phase is taken modulo 2 pi before it leaks to its neighbours (as published); a real heater
        leaks all of its heat.
    single_arm: one arm of each MZI of a tensor core is heated instead of both in push and pull: diag(e^{2ia}, 1) for
        diag(e^{ia}, e^{-ia}). Whole meshes have theta and phi on the top arm always.
    splitter_error_std: error of every splitter, rad: pi/4 + N(0, std); `splitter_shared`: both of an MZI have the same.
    loss_db, loss_db_std: loss of every arm section, dB, N(loss_db, loss_db_std) cut at zero; a rail that skips a column
        loses twice `loss_db` there, as an MZI without spread would.
    phase_error_std: fixed phase error of every heater, rad, normal; adds to `phase_bias`.
    io_amplitude_error, io_phase_error: fresh errors of field modulators and detectors of a whole mesh, |1 + a n| and
        e^{i pi p n} (p in units of pi); `io_input` false leaves the modulators without (simphox).
    tap_noise: noise s of a tap, I = |f|^2 + s |f| n, in units of the unit input amplitude.
    detuning_nm: wavelength minus the design wavelength WAVELENGTH_NM, nm: phases go as its inverse, and the splitters'
        angle pi/4 + e changes by the share `dispersion` per nm.
    drift_std, drift_seconds: biases wander (`l2sim.chip.drift`): stationary deviation, rad, and correlation time, in
        seconds of chip time, which are core calls where a call is metered as a second.
    step_std, step_seconds: size of a thermal step, rad (rms over heaters), and the mean time between steps, s.
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
    heat_wraps: bool = True
    single_arm: bool = False
    splitter_error_std: NonNegative = 0.0
    splitter_shared: bool = False
    loss_db: NonNegative = 0.0
    loss_db_std: NonNegative = 0.0
    phase_error_std: NonNegative = 0.0
    io_amplitude_error: NonNegative = 0.0
    io_phase_error: NonNegative = 0.0
    io_input: bool = True
    tap_noise: NonNegative = 0.0
    detuning_nm: Annotated[float, Meta(ge=-200, le=200)] = 0.0
    dispersion: Annotated[float, Meta(ge=-0.01, le=0.01)] = 0.0
    drift_std: NonNegative = 0.0
    drift_seconds: Annotated[float, Meta(gt=0)] = 86400.0
    step_std: NonNegative = 0.0
    step_seconds: Annotated[float, Meta(gt=0)] = 86400.0

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

    @property
    def lossy(self) -> bool:
        """Whether light is lost on the way through a mesh."""
        return self.loss_db > 0.0 or self.loss_db_std > 0.0

    @property
    def real(self) -> bool:
        """Whether the cores of the L2ight flow are real: push-pull MZIs of exact splitters without loss."""
        return not (self.single_arm or self.lossy or self.splitter_error_std or self.detuning_nm)

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
    # What a foundry may deliver: heaters and their spread as above, but offsets unknown altogether, an 8-bit voltage
    # over 0 to 6.5 V, a phase that lags behind V^2 as the heater grows hot, and heat that does not wrap. Splitter
    # errors of the size studied by Bandyopadhyay et al., Optica 8, 1247 (2021); 0.1 dB an MZI, within what Harris et
    # al., Opt. Express 22, 10487 (2014) measured for one heater; readings within 1 %. Round numbers of our own.
    "silicon": Nonidealities(
        phase_bits=8, drive="voltage", v_max=6.5, curve=(0.0, 0.0, GAMMA, 0.0, -1e-3 * GAMMA), phase_bias=math.pi,
        gamma_std=0.002, crosstalk=0.005, heat_wraps=False, splitter_error_std=0.02, loss_db=0.05, loss_db_std=0.02,
        readout_noise=0.01, tap_noise=0.01,
    ),
}
