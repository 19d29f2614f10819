"""What is imperfect about a chip, as numbers with units, and cited presets of them.

These are the parameters. The fabricated chip draws unit variates once and scales them by these, so that changing a
parameter while a run goes on changes the same chip. A job has the same fields (`l2sim.job.imperfections`).
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from l2sim.errors import ChipError

if TYPE_CHECKING:
    from l2sim.backend import Array

V_PI = 4.36
"""Volts for a phase of pi in the L2ight reference."""
GAMMA = math.pi / V_PI**2
"""Nominal phase per volt squared of a heater, rad/V^2."""

WAVELENGTH_NM = 1550.0
"""Design wavelength, nm."""

LOOKED_AT = 257
"""Voltages at which a polynomial is looked at, whether it turns."""
FIRST_ROW = 0.25
"""Share of the last voltage of a table below which it may begin: below its first row the phase goes as V^2, and a
quarter of the voltage is a sixteenth of the heat. Ours."""

Volts = TypeVar("Volts", float, "Array")


class Driver(NamedTuple):
    """What a voltage drive does with a command, wrapped to [0, 2 pi): entry i of `levels` and `codes` (L + 1,) between
    `thresholds` (L,) i - 1 and i, rad. `levels` are driven phases, beside the phase at 0 V; `codes` count the voltages
    from 0 V. All are empty for a drive of phases."""

    levels: Array
    thresholds: Array
    codes: Array


def _is(meaning: str, unit: str = "", low: float | None = None, high: float | None = None) -> Meta:
    """What is said about a field; the range includes its ends."""
    return Meta(description=meaning, ge=low, le=high, extra={"unit": unit})


class Nonidealities(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The imperfections of a chip. Order of action: see `kernels.chain`. Raises ChipError where a value is not one.

    Every field has its meaning, unit and range beside it. More exactly:

    drive: "phase" quantises phi over [0, 2 pi] (as published); "voltage" quantises V over [0, v_max] and goes through
        `curve`: polynomial coefficients, or with `curve_volts` phases that were measured at those voltages and are
        interpolated linearly; below the first voltage they go as V^2, as Joule's law says. Empty: gamma V^2. It must
        rise, or fall, over [0, v_max]. The phase at 0 V is passive: no heater efficiency scales it and it does not leak
        (`offset`). Commands are met modulo 2 pi, by the turn that begins at 0 V and so takes the least heat; where the
        curve does not span a turn, what is out of reach goes to the nearer end.
    phase_bias: uniform over [-phase_bias, phase_bias), fixed per heater; `phase_error_std` is normal and adds to it.
    gamma_std: normal, cut at two sigma, fixed per heater. crosstalk: to each of up to six neighbours.
    readout_noise: of a quadrature before the electronic gain; of a power reading in units of the unit input power.
    shot_noise: grows as the amplitude. reference_phase_std: fresh for each reading of a core.
    exact_sigma: the attenuators do exactly what they are told (as published for calibration and mapping).
    heat_wraps: a real heater leaks all of its heat, not what is left of it modulo 2 pi.
    phi: cores of theta and phi in every MZI, one arm each, and a screen (`l2sim.mesh.thetaphi`); `single_arm` says
        nothing about them.
    single_arm: diag(e^{2ia}, 1) for diag(e^{ia}, e^{-ia}). Whole meshes have theta and phi on the top arm always.
    loss_db: N(loss_db, loss_db_std) cut at zero; a rail that skips a column loses twice `loss_db` there, as an MZI
        without spread would.
    io_amplitude_error, io_phase_error: fresh errors of field modulators and detectors of a whole mesh, |1 + a n| and
        e^{i pi p n}; `io_input` false leaves the modulators without (simphox).
    tap_noise: noise s of a tap, I = |f|^2 + s |f| n, in units of the unit input amplitude.
    detuning_nm: wavelength minus WAVELENGTH_NM: phases go as its inverse, and the splitters' angle pi/4 + e changes by
        the share `dispersion` per nm.
    drift_std, drift_seconds: biases wander (`l2sim.chip.drift`): stationary deviation and correlation time, in seconds
        of chip time, which are core calls where a call is metered as a second.
    """

    phase_bits: Annotated[int, _is("resolution of a phase; 0 is continuous", "bit", 0, 16)] = 0
    phase_bias: Annotated[float, _is("half range of the unknown phase offsets", "rad", 0, math.pi)] = 0.0
    gamma_std: Annotated[float, _is("spread of the heater efficiencies", "rad/V^2", 0, 0.1)] = 0.0
    crosstalk: Annotated[float, _is("share of a phase that leaks to each neighbour", "share", 0, 0.2)] = 0.0
    drive: Annotated[Literal["phase", "voltage"], _is("what is quantised")] = "phase"
    v_max: Annotated[float, _is("highest heater voltage", "V", 0.1, 1000)] = 10.8
    curve: Annotated[tuple[float, ...], _is("phase(V): factors of V^0, V^1 ...; or as measured", "rad")] = ()
    curve_volts: Annotated[tuple[float, ...], _is("rising voltages at which curve was measured", "V")] = ()
    stuck: Annotated[float, _is("heaters stuck at a random phase", "share", 0, 1)] = 0.0
    dead: Annotated[float, _is("heaters that do not heat", "share", 0, 1)] = 0.0
    readout_noise: Annotated[float, _is("std of a reading, relative to unit input amplitude", "", 0, 5)] = 0.0
    shot_noise: Annotated[float, _is("std of a power reading at unit power", "", 0, 1)] = 0.0
    reference_phase_std: Annotated[float, _is("std of the homodyne reference's phase", "rad", 0, math.pi)] = 0.0
    exact_sigma: Annotated[bool, _is("sigma is realised exactly, as published")] = False
    heat_wraps: Annotated[bool, _is("a phase is taken modulo 2 pi before it leaks, as published")] = True
    single_arm: Annotated[bool, _is("one arm of an MZI of a core is heated, not both in push-pull")] = False
    splitter_error_std: Annotated[float, _is("std of the splitters' angle around pi/4", "rad", 0, 0.5)] = 0.0
    splitter_shared: Annotated[bool, _is("both splitters of an MZI have the same error")] = False
    loss_db: Annotated[float, _is("mean loss of every arm section", "dB", 0, 10)] = 0.0
    loss_db_std: Annotated[float, _is("its spread", "dB", 0, 10)] = 0.0
    phase_error_std: Annotated[float, _is("fixed errors of the phases", "rad", 0, math.pi)] = 0.0
    io_amplitude_error: Annotated[float, _is("relative error of a modulated or read field", "", 0, 1)] = 0.0
    io_phase_error: Annotated[float, _is("error of its phase", "pi rad", 0, 1)] = 0.0
    io_input: Annotated[bool, _is("modulators have these errors too, not only readings")] = True
    tap_noise: Annotated[float, _is("std of a tap's power reading at unit power", "", 0, 100)] = 0.0
    detuning_nm: Annotated[float, _is("wavelength off the design wavelength", "nm", -200, 200)] = 0.0
    dispersion: Annotated[float, _is("change of the splitters' angle per nm", "1/nm", -0.01, 0.01)] = 0.0
    drift_std: Annotated[float, _is("how far a phase offset wanders in time, std", "rad", 0, math.pi)] = 0.0
    drift_seconds: Annotated[float, _is("its correlation time in chip time", "s", 1e-9, 1e12)] = 86400.0
    step_std: Annotated[float, _is("size of a thermal step, rms over a mesh", "rad", 0, math.pi)] = 0.0
    step_seconds: Annotated[float, _is("mean chip time between thermal steps", "s", 1e-9, 1e12)] = 86400.0
    # Heaters: their curves and converters, and where their heat goes (`kernels.chain`, `l2sim.chip.parts.heat`).
    bend: Annotated[float, _is("how far the phase lags the curve at a full turn", "share", -0.3, 0.3)] = 0.0
    bend_std: Annotated[float, _is("its spread from heater to heater", "share", 0, 0.3)] = 0.0
    heater_inl: Annotated[float, _is("integral non-linearity of heaters' converters", "full scale", 0, 0.1)] = 0.0
    crosstalk_range: Annotated[float, _is("distance in which it falls by e; 0: neighbours only", "pitch", 0, 20)] = 0.0
    crosstalk_arms: Annotated[bool, _is("heat reaches both arms, and what counts is the difference")] = False
    crosstalk_pairs: Annotated[float, _is("half range of each pair's own share", "share", 0, 1)] = 0.0
    die_heat: Annotated[float, _is("std of what phases gain if all heaters hold pi", "rad", 0, 1)] = 0.0
    lag: Annotated[float, _is("share of a heater's last heat that is left when light comes", "share", 0, 1)] = 0.0
    lag_seconds: Annotated[float, _is("time in which that falls by e while the chip waits", "s", 1e-9, 1e6)] = 1e-5
    leak_lag: Annotated[float, _is("the same of what heaters leak to each other and to the die", "share", 0, 1)] = 0.0
    leak_seconds: Annotated[float, _is("time in which that falls by e", "s", 1e-9, 1e6)] = 1e-3
    # Passive optics (`l2sim.chip.parts.optics`).
    splitter_chip_std: Annotated[float, _is("std of the error that all splitters of a chip share", "rad", 0, 0.5)] = 0.0
    splitter_length: Annotated[float, _is("distance over which they are alike; 0: none", "pitch", 0, 1e3)] = 0.0
    splitter_gradient: Annotated[float, _is("std of their slope, from end to end of a mesh", "rad", 0, 0.5)] = 0.0
    # Single devices (`l2sim.chip.parts.given`), in place of what the other fields draw.
    devices: Annotated[str, _is("npz or CSV file of single heaters, splitters and arms; empty: none")] = ""
    # Attenuators and pi shifters of cores (`l2sim.chip.parts.attenuators`).
    attenuators: Annotated[
        Literal["published", "mzi"], _is("bare shares and exact signs, or MZIs and shifters as in the meshes")
    ] = "published"
    phi: Annotated[bool, _is("every MZI of a core has a phi too, as those of whole meshes have")] = False
    sigma_bias: Annotated[float, _is("half range of the attenuators' unknown phase offsets", "rad", 0, math.pi)] = 0.0
    # Ports: modulators, detectors, converters, laser (`l2sim.chip.parts.ports`).
    modulator_bits: Annotated[int, _is("resolution of modulated amplitudes; 0 is continuous", "bit", 0, 16)] = 0
    modulator_inl: Annotated[float, _is("integral non-linearity of a modulator", "full scale", 0, 0.1)] = 0.0
    adc_bits: Annotated[int, _is("resolution of readings; 0 is continuous", "bit", 0, 24)] = 0
    adc_range: Annotated[float, _is("largest reading; beyond it readings are cut", "", 0.01, 100)] = 1.0
    adc_inl: Annotated[float, _is("integral non-linearity of a reading", "full scale", 0, 0.1)] = 0.0
    gain_std: Annotated[float, _is("spread of the gains of detectors around one", "share", 0, 0.5)] = 0.0
    offset_std: Annotated[float, _is("spread of the readings of detectors in the dark", "", 0, 1)] = 0.0
    saturation: Annotated[float, _is("share that is missing from a reading at unit level", "share", 0, 0.5)] = 0.0
    intensity_noise: Annotated[float, _is("std of a power reading relative to the power", "share", 0, 0.5)] = 0.0
    laser_std: Annotated[float, _is("std of the light of every probe around its mean", "share", 0, 0.5)] = 0.0
    laser_walk: Annotated[float, _is("std by which it changes from probe to probe, a walk", "share", 0, 0.1)] = 0.0
    laser_monitor: Annotated[bool, _is("a detector beside the chip divides the laser's changes out")] = False
    reference_walk: Annotated[float, _is("std by which the reference's phase walks per probe", "rad", 0, 1)] = 0.0
    reference_level: Annotated[float, _is("amplitude of the reference of two readings", "", 0.1, 1000)] = 1.0
    tap_floor: Annotated[float, _is("std of a tap's reading in the dark, in unit powers", "", 0, 10)] = 0.0
    tap_integrates: Annotated[bool, _is("a tap reads once for a whole batch, not once a vector")] = False
    tap_share: Annotated[float, _is("power that a tap takes from its arm", "share", 0, 0.5)] = 0.0

    def __post_init__(self) -> None:
        for name, annotation in declared().items():
            value = getattr(self, name)
            plain = _checked(name, value, annotation)
            if plain is not value:
                msgspec.structs.force_setattr(self, name, plain)
        if self.phase_bits == 1:
            raise ChipError(
                "nonidealities.phase_bits = 1 leaves one phase; use 2 to 16 bit, or 0 for continuous phases"
            )
        if self.stuck + self.dead > 1:
            raise ChipError(
                "nonidealities.stuck and nonidealities.dead add up to more than all heaters; keep the sum to 1"
            )
        if self.curve_volts and (
            len(self.curve) != len(self.curve_volts) or any(b <= a for a, b in pairwise(self.curve_volts))
        ):
            raise ChipError("nonidealities.curve_volts must rise and be as long as nonidealities.curve")
        if self.drive == "voltage":
            self._check_curve()

    def _check_curve(self) -> None:
        """ChipError where the phase is not known from 0 V to the highest voltage, or turns on the way."""
        volts = [self.v_max * i / (LOOKED_AT - 1) for i in range(LOOKED_AT)]
        if self.curve_volts:
            first, last = self.curve_volts[0], self.curve_volts[-1]
            if len(self.curve_volts) < 2 or first > FIRST_ROW * last:
                raise ChipError(
                    f"nonidealities.curve_volts begins at {first:g} V, which does not say the phase at 0 V; it needs "
                    f"two rows, the first at 0 V or below {FIRST_ROW:g} of the last"
                )
            if last < self.v_max:
                raise ChipError(
                    f"nonidealities.curve_volts ends at {last:g} V, below nonidealities.v_max = {self.v_max:g} V; set "
                    f"v_max = {last:g}, or give rows up to v_max"
                )
            volts = [0.0, *(v for v in self.curve_volts if 0.0 < v < self.v_max), self.v_max]
        phases = [float(self.phase_of(v)) for v in volts]
        falls = next((high < low for low, high in pairwise(phases) if high != low), False)
        for at, (low, high) in enumerate(pairwise(phases)):
            if (low < high) if falls else (high < low):
                raise ChipError(
                    f"nonidealities.curve must rise or fall from 0 to v_max = {self.v_max:g} V, and turns at about "
                    f"{volts[at]:.3g} V; lower v_max to there or correct the curve"
                )
        if not all(map(math.isfinite, phases)) or phases[0] == phases[-1]:
            raise ChipError(f"nonidealities.curve is flat from 0 to v_max = {self.v_max:g} V; correct one of them")
        if abs(self.phase_of(self.v_max / (2 ** (self.phase_bits or 16) - 1)) - phases[0]) >= math.tau:
            raise ChipError(
                f"one step of {self.phase_bits or 16} bit over v_max = {self.v_max:g} V is more than a turn; lower "
                "nonidealities.v_max or take more bits"
            )

    def phase_of(self, volts: Volts) -> Volts:
        """Nominal phase of a heater at `volts`, rad."""
        if self.curve_volts:
            import numpy as np  # late: a job needs no arrays

            (low, high), (below, above) = self.curve_volts[:2], self.curve[:2]
            joule = (above - below) / (high * high - low * low)
            phase: Volts = np.interp(volts, self.curve_volts, self.curve)
            phase += joule * (np.minimum(volts, low) ** 2 - low * low)
            return phase
        *rest, highest = self.curve or (0.0, 0.0, GAMMA)
        phase = highest + volts * 0.0
        for factor in reversed(rest):
            phase = factor + phase * volts
        return phase

    @property
    def lossy(self) -> bool:
        """Whether light is lost on the way through a mesh."""
        return self.loss_db > 0.0 or self.loss_db_std > 0.0

    @property
    def real(self) -> bool:
        """Whether the cores of the L2ight flow are real: push-pull MZIs of exact splitters without loss."""
        splitters = self.splitter_error_std or self.splitter_chip_std or self.splitter_gradient
        shifters = self.single_arm or self.phi or self.attenuators == "mzi"
        return not (shifters or self.lossy or splitters or self.detuning_nm)

    def lsb(self) -> float:
        """Step of the phase quantiser, rad; 0 where the drive is not quantised in phase."""
        return even_step(self.phase_bits) if self.drive == "phase" else 0.0

    @property
    def offset(self) -> float:
        """Phase at 0 V of a voltage drive's heater, modulo 2 pi, rad; 0 where it begins at none."""
        return math.remainder(float(self.phase_of(0.0)), math.tau) if self.drive == "voltage" else 0.0

    @property
    def falls(self) -> bool:
        """Whether the phase falls with the voltage."""
        return self.drive == "voltage" and float(self.phase_of(self.v_max)) < float(self.phase_of(0.0))

    def step(self, phases: Array | None = None) -> float:
        """The largest distance, rad, between two neighbouring levels of a heater with any of `phases` between them (any
        shape, taken modulo 2 pi; left out: all phases of a turn). 0 for a continuous drive."""
        import numpy as np  # late: a job needs no arrays

        if self.drive == "phase" or not self.phase_bits:
            return self.lsb()
        levels = self.levels()
        if phases is None:
            return float(np.diff(levels).max())
        lowest = levels[0]
        around = lowest + np.mod(np.asarray(phases) - self.offset - lowest, math.tau)
        at = np.searchsorted(levels, around, side="right") - 1
        return float(np.diff(levels)[np.clip(at, 0, levels.size - 2)].max())

    def levels(self) -> Array:
        """Phases, rad, rising, that a voltage drive adds to that at 0 V; empty for a drive of phases."""
        import numpy as np  # late: a job needs no arrays

        return np.unique(self.driver().levels)

    def codes(self, phases: Array) -> tuple[Array, int]:
        """The voltages, in steps from 0 V, with which a voltage drive meets commanded `phases`, rad; the last step."""
        import numpy as np  # late: a job needs no arrays

        from l2sim.given import wrapped  # late: the same

        driver = self.driver()
        steps: Array = driver.codes[np.searchsorted(driver.thresholds, wrapped(phases), side="left")]
        return steps, 2 ** (self.phase_bits or 16) - 1

    def driver(self) -> Driver:
        """What a voltage drive does with a command.

        It inverts `phase_of` and rounds the voltage, so a phase goes to the level nearest *in voltage*; between the
        last level of the turn and the first one it goes to the nearer of both. Levels that are the same phase are one.
        A continuous voltage drive is a very fine one (16 bits).
        """
        import numpy as np  # late: a job needs no arrays

        if self.drive == "phase":
            return Driver(np.empty(0), np.empty(0), np.empty(0, np.int64))
        steps = 2 ** (self.phase_bits or 16) - 1
        volts = np.linspace(0.0, self.v_max, steps + 1)
        still, sense = float(self.phase_of(0.0)), -1.0 if self.falls else 1.0
        driven = sense * (self.phase_of(volts) - still)
        between = sense * (self.phase_of((volts[1:] + volts[:-1]) / 2) - still)
        codes = np.flatnonzero(np.append(True, np.diff(driven) > 0.0) & (driven < math.tau))
        driven, between = driven[codes], between[codes[1:] - 1]
        edges = np.append(between, (driven[-1] + math.tau) / 2)
        # From each edge on, in the sense in which the voltage rises, the next level holds; behind the last, the first.
        before = np.arange(codes.size)
        after = np.roll(before, -1)
        if self.falls:
            before, after = after, before
        places = np.mod(self.offset + sense * edges, math.tau)
        order = np.argsort(places, kind="stable")
        entries = np.append(before[order[0]], after[order])
        return Driver(sense * driven[entries], places[order], codes[entries])


def even_step(bits: int) -> float:
    """Distance of 2^bits levels that share a whole turn evenly, 0 and 2 pi among them, rad; 0 for 0 bits."""
    return math.tau / (2**bits - 1) if bits else 0.0


@cache
def declared() -> dict[str, object]:
    """Every field of `Nonidealities` with its annotation: `Annotated[type, Meta]` of meaning, unit and range."""
    return dict(get_type_hints(Nonidealities, include_extras=True))


def _checked(name: str, value: object, annotation: object) -> object:
    """`value` of the field `name` as a plain Python value. ChipError where it is none of its type and range."""
    try:
        plain: object = msgspec.convert(_plain(value), annotation)
    except msgspec.ValidationError:
        plain = None
    if plain is None or (isinstance(plain, tuple) and not all(map(math.isfinite, plain))):
        shown = " ".join(repr(value).split())
        raise ChipError(f"nonidealities.{name} = {shown} is wrong; use {_wanted(annotation)}")
    return plain


def _plain(value: object) -> object:
    """A scalar or an array of NumPy, or a sequence of such, as Python has them."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _wanted(annotation: object) -> str:
    """What a field may be, in words."""
    kind, meta = get_args(annotation)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is str:
        return "the name of a file"
    if meta.ge is None:
        return "True or False" if kind is bool else "finite numbers"
    unit = meta.extra["unit"]
    noun = "a whole number" if kind is int else "a number"
    return f"{noun} from {meta.ge:g} to {meta.le:g}" + (f" ({unit})" if unit else "")


_FOUNDRY = Nonidealities(
    phase_bits=8, drive="voltage", v_max=6.5, curve=(0.0, 0.0, GAMMA, 0.0, -1e-3 * GAMMA), phase_bias=math.pi,
    gamma_std=0.002, crosstalk=0.005, heat_wraps=False, splitter_error_std=0.02, loss_db=0.05, loss_db_std=0.02,
    readout_noise=0.01, tap_noise=0.01,
)
_SILICON = msgspec.structs.replace(
    _FOUNDRY, phi=True, attenuators="mzi", splitter_error_std=0.015, splitter_chip_std=0.064, dispersion=0.0045
)

PRESETS = {
    # Gu et al., L2ight, NeurIPS 2021 (arXiv 2110.14807), section 4.1 and its public configurations: 8-bit phases, bias
    # U[-1, 1), gamma std 0.002 on 0.1653 rad/V^2, crosstalk 0.005; readings without noise, which the paper assumes.
    "l2ight-2021": Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005),
    "ideal": Nonidealities(),
    # What a foundry may deliver: heaters and their spread as above, but offsets unknown altogether, an 8-bit voltage
    # over 0 to 6.5 V, a phase that lags behind V^2 as the heater grows hot, and heat that does not wrap. Splitter
    # errors of the size studied by Bandyopadhyay et al., Optica 8, 1247 (2021); 0.1 dB an MZI, within what Harris et
    # al., Opt. Express 22, 10487 (2014) measured for one heater; readings within 1 %. Round numbers of our own.
    "silicon-push-pull": _FOUNDRY,
    # The MZI that labs build: theta and phi, one heated arm each, attenuators as MZIs too. Splitters as measured in
    # directional couplers (SiEPIC_Photonics_Package, commit 445ced1): 0.09 rad between two chips, so a deviation of
    # 0.09 / sqrt(2), 0.01 to 0.02 rad within one, and 0.0040 to 0.0053 of the angle per nm, which matters off the
    # design wavelength only. An integrated driver of 8 bits.
    "silicon": _SILICON,
    # The same chip driven by a lab's instruments: 12 to 16 bits are sold; 14 is ours.
    "silicon-lab": msgspec.structs.replace(_SILICON, phase_bits=14),
}


def required(value: object) -> Nonidealities:
    """The imperfections that a chip is given. ChipError for anything else, as the section of a job of the same name."""
    if isinstance(value, Nonidealities):
        return value
    kind = f"{type(value).__module__}.{type(value).__name__}"
    cure = "use l2sim.Nonidealities(...), a preset of l2sim.chip.nonidealities.PRESETS, or chip_nonidealities(job)"
    raise ChipError(f"a chip's imperfections are no {kind}; {cure}")
