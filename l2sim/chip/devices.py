"""Device tables: what light, electronics and phase shifters need, every constant with unit, range and source.

A source that says "our own" is a round number within what is published, not a measurement.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from l2sim.errors import ChipError


def _m(meaning: str, unit: str, low: float, high: float) -> Meta:
    """What is said about a constant, and its plausible range, ends included."""
    return Meta(description=meaning, ge=low, le=high, extra={"unit": unit})


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Device constants. The range of each is what is plausible, and is checked; `sources` has a line for every one."""

    title: str
    rate_hz: Annotated[float, _m("vectors a second through one core", "Hz", 1.0, 1e12)]
    bits: Annotated[int, _m("resolution of modulators and readings", "bit", 1, 16)]
    port_w: Annotated[float, _m("light of unit amplitude, per port, at the laser; in practice up to 1", "W", 0.0, 1e9)]
    reference_w: Annotated[float, _m("light of the reference at each homodyne detector", "W", 0.0, 1.0)]
    laser_efficiency: Annotated[float, _m("light out of electric power in, at the wall plug", "share", 0.001, 1.0)]
    port_loss_db: Annotated[float, _m("loss outside the mesh: coupling, modulator", "dB", 0.0, 40.0)]
    column_loss_db: Annotated[float, _m("loss of one column of MZIs", "dB", 0.0, 5.0)]
    responsivity_a_per_w: Annotated[float, _m("current of a photodetector", "A/W", 0.01, 1.25)]
    tia_a_per_rthz: Annotated[float, _m("input noise current of the amplifier", "A/Hz^0.5", 0.0, 1e-9)]
    tia_w: Annotated[float, _m("amplifier behind every detector", "W", 0.0, 0.1)]
    modulator_j: Annotated[float, _m("setting one modulator to one value", "J", 0.0, 1e-10)]
    dac_j_per_step: Annotated[float, _m("digital to analog, per conversion step: 2^bits", "J", 0.0, 1e-11)]
    adc_j_per_step: Annotated[float, _m("analog to digital, per conversion step", "J", 0.0, 1e-11)]
    other_j: Annotated[float, _m("what else a vector costs at one port, or all of it", "J", 0.0, 1e-9)]
    pi_w: Annotated[float, _m("power that holds a phase of pi, the mean of phases over a turn", "W", 0.0, 0.1)]
    settle_s: Annotated[float, _m("wait after a write, to half a step of 8 bits", "s", 0.0, 0.1)]
    write_j: Annotated[float, _m("new command to one phase shifter, with reading its gradient", "J", 0.0, 1e-6)]
    tap_j: Annotated[float, _m("one tap for one vector, summed on its detector", "J", 0.0, 1e-10)]
    memory_j_per_bit: Annotated[float, _m("moving a bit to or from memory", "J/bit", 0.0, 1e-10)]
    multiply_add_j: Annotated[float, _m("electronic multiplication and addition", "J", 0.0, 1e-10)]
    add_s: Annotated[float, _m("one step of adding partial sums", "s", 0.0, 1e-6)]
    latency_s: Annotated[float, _m("delay of converters, drivers and amplifiers", "s", 0.0, 1e-3)]
    column_m: Annotated[float, _m("length of one column", "m", 0.0, 0.05)]
    group_index: Annotated[float, _m("of the waveguides", "", 1.0, 6.0)]
    sources: dict[str, str] = {}

    def __post_init__(self) -> None:
        for item in constants(self):
            if not item.low <= item.value <= item.high:
                problem = f"cost: {item.name} = {item.value:g} {item.unit}".rstrip()
                raise ChipError(f"{problem} is not plausible; use {item.low:g} to {item.high:g}")


class Constant(NamedTuple):
    """One constant of a table, as people read it."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    meaning: str
    source: str


def constants(table: Table) -> list[Constant]:
    """Every constant of `table` with unit, plausible range, meaning and source."""
    return [
        Constant(name, getattr(table, name), unit, low, high, meaning, table.sources.get(name, ""))
        for name, (unit, low, high, meaning) in _told().items()
    ]


def _told() -> dict[str, tuple[str, float, float, str]]:
    if not _TOLD:
        for item in msgspec.structs.fields(Table):
            meta = getattr(item.type, "__metadata__", None) or (item.type,)
            if isinstance(meta[0], Meta):
                said = meta[0]
                assert said.ge is not None and said.le is not None and said.extra and said.description
                _TOLD[item.name] = str(said.extra["unit"]), said.ge, said.le, said.description
    return _TOLD


_TOLD: dict[str, tuple[str, float, float, str]] = {}


def changed(table: Table, **constants: float) -> Table:
    """`table` with other constants, which are then of the user's own. ChipError for an unknown name or odd value."""
    unknown = [name for name in constants if name not in _told()]
    if unknown:
        raise ChipError(f"cost: a table has no constant {unknown[0]}; `l2sim cost --explain` lists them")
    sources = table.sources | dict.fromkeys(constants, "set by the user")
    return msgspec.structs.replace(table, sources=sources, **constants)


def limit(name: str) -> float:
    """The upper end of what is plausible for a constant."""
    return _told()[name][2]


# ---------------------------------------------------------------------------------------------------- the tables

OWN = "a round number of our own"
PAI = (
    "Pai et al., Science 380, 398 (2023); the sum alone is known, read from the heat maps of the public data: 0.635 N "
    "TOPS/W for a product, 1 / (4.731/N + 0.0343/M) TOPS/W for a gradient"
)
HARRIS = "Harris et al., Opt. Express 22, 10487 (2014): 24.77 mW for pi, 130 kHz, 0.23 dB, 61.6 um"
LU = "Lu et al., IEEE Photon. Technol. Lett. (2015), doi 10.1109/LPT.2015.2462341: 50 uW, rise 780 us"
EDINGER = "Edinger et al., Opt. Lett. 46, 5671 (2021): 10.7 V for pi, 1.03 MHz in air, 0.33 dB"
WANG = "Wang et al., Nature 562, 101 (2018): thin-film lithium niobate at CMOS voltages, loss below 0.5 dB"
HOROWITZ = "Horowitz, ISSCC 2014, 10 (45 nm)"
MURMANN = f"{OWN}, within Murmann's ADC performance survey for some GS/s"
SETTLED = "six time constants, to half a step of 8 bits"

_ELECTRONICS: dict[str, tuple[float, str]] = {
    "rate_hz": (1e9, OWN),
    "bits": (8, "as the phases of Gu et al., L2ight, NeurIPS 2021"),
    "port_w": (1e-3, OWN),
    "reference_w": (1e-3, OWN),
    "laser_efficiency": (0.1, f"{OWN}; of lasers for interconnects, cf. Heck and Bowers, JSTQE 20, 8201012 (2014)"),
    "port_loss_db": (3.0, OWN),
    "responsivity_a_per_w": (1.0, f"{OWN}; germanium, cf. Michel et al., Nat. Photonics 4, 527 (2010)"),
    "tia_a_per_rthz": (1e-11, OWN),
    "tia_w": (3e-3, OWN),
    "modulator_j": (1e-13, f"{OWN}; cf. Miller, J. Lightwave Technol. 35, 346 (2017)"),
    "dac_j_per_step": (1e-14, OWN),
    "adc_j_per_step": (5e-14, MURMANN),
    "other_j": (0.0, "nothing that the other constants leave out"),
    "write_j": (1e-11, f"{OWN}: a converter and a driver; for a gradient, one reading of its tap"),
    "tap_j": (1e-14, f"{OWN}: 10 uW on a detector at 1 V for 1 ns"),
    "memory_j_per_bit": (3.1e-13, f"{HOROWITZ}: 20 pJ for 64 bit of a 32 KB cache"),
    "multiply_add_j": (3e-13, f"{HOROWITZ}: 8-bit product 0.2 pJ, 32-bit sum 0.1 pJ"),
    "add_s": (1e-9, f"{OWN}: a clock of 1 GHz"),
    "latency_s": (1e-8, OWN),
}


def _table(title: str, **own: tuple[float, str]) -> Table:
    every = _ELECTRONICS | own
    numbers = {name: value for name, (value, _) in every.items()}
    return Table(title=title, sources={name: source for name, (_, source) in every.items()}, **numbers)  # type: ignore[arg-type]


_SILICON = {
    "column_m": (3e-4, f"{OWN}: two shifters and two couplers, some 300 um"),
    "group_index": (4.2, f"{OWN}, of silicon wires of 450 x 220 nm"),
}


def _lumped(operations: int) -> Table:
    """The published closed forms: N e a pass and N^2 w a step, at so many operations for N^2."""
    zero = 0.0, "left out by the published closed form, or within its sum"
    own = dict.fromkeys((
        "port_w", "reference_w", "port_loss_db", "column_loss_db", "tia_a_per_rthz", "tia_w", "modulator_j",
        "dac_j_per_step", "adc_j_per_step", "pi_w", "settle_s", "tap_j", "memory_j_per_bit", "multiply_add_j", "add_s",
        "latency_s",
    ), zero)  # fmt: skip
    own |= {"other_j": (operations / 0.635 * 1e-12, PAI), "write_j": (operations * 0.0343e-12, PAI)}
    return _table(
        f"in situ backpropagation as published, a product counted as {operations} N^2 operations", **(own | _SILICON)
    )


TABLES = {
    "thermal": _table(
        "foundry silicon, doped heaters",
        column_loss_db=(0.3, f"{OWN}; {HARRIS}"), pi_w=(0.0248, HARRIS), settle_s=(8e-6, f"{SETTLED}; {HARRIS}"),
        **_SILICON,
    ),
    "suspended": _table(
        "foundry silicon, suspended heaters: little power, slow",
        column_loss_db=(0.3, OWN), pi_w=(5e-5, LU), settle_s=(2.2e-3, f"{SETTLED}; {LU}"), **_SILICON,
    ),
    "mems": _table(
        "silicon with micromechanical shifters, which hold a phase without power",
        column_loss_db=(0.4, f"{OWN}; {EDINGER}"), pi_w=(1e-9, f"{OWN}: leakage"),
        settle_s=(1e-6, f"{SETTLED}; {EDINGER}"), **_SILICON,
    ),
    "electro-optic": _table(
        "thin-film lithium niobate: settles at once, millimetres long",
        column_loss_db=(0.2, f"{OWN}; {WANG}"), pi_w=(1e-6, f"{OWN}: bias against drift"),
        settle_s=(1e-9, f"{OWN}, of the driver"), column_m=(5e-3, f"{OWN}; 2.2 V cm, {WANG}"),
        group_index=(2.3, f"{OWN}, of lithium niobate"),
    ),
    "insitu-2023": _lumped(2),
    "insitu-2023-complex": _lumped(8),
}  # fmt: skip
"""The tables a job may name in `cost.table`."""


class Digital(NamedTuple):
    """A digital baseline: `operation_j` J for one operation (a multiplication or an addition)."""

    title: str
    operation_j: float
    source: str


DIGITAL = {
    "tpu-2017": Digital("TPU v1, 8 bit, at its peak", 75 / 92e12, "Jouppi et al., ISCA 2017: 92 TOPS, 75 W"),
    "a100": Digital("A100, 8 bit, at its peak", 400 / 624e12, "NVIDIA A100 data sheet: 624 TOPS (dense), 400 W"),
    "h100": Digital("H100, 8 bit, at its peak", 700 / 1979e12, "NVIDIA H100 SXM data sheet: 1979 TOPS (dense), 700 W"),
    "arithmetic": Digital("8-bit arithmetic alone, 45 nm", 3e-13 / 2, f"{HOROWITZ}: 0.3 pJ a multiply-accumulate"),
}
"""What a photonic chip is compared with. Whole accelerators include memory; "arithmetic" has no more than an adder."""
