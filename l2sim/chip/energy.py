"""What light, electronics and phase shifters cost: joules and seconds of what a meter counted, or of a chip on paper.

A `Table` has every constant with its source; `devices.TABLES` has those to choose from. Of one vector through a core
of k modes and c columns (`call_energy`):

    laser       k (P + r P_ref) T / eta       P per port at the laser, P_ref of the reference of a homodyne detector
    converters  k (m 2^b F + c 2^b' F')       figures of merit F and F', J per conversion step, of DAC and ADC
    ports       k (m E_modulator + c P_tia T + E_other)
    digital     k (2 b E_memory + E_multiply_add)        each value written and read once, and added to another

A port (`chip.parts.ports.Port`) sends light with m converters, one, or two of a field; its readout takes r references
and c converters: an intensity none and one; two readings, which are two vectors, and a quadrature one and one; a field
two and two. T = 1 / rate is the time of a call and what a detector integrates over. Beyond that every new command to a
phase shifter costs `write_j`, every vector `tap_j` at every tap, and all shifters hold their phases all the time
(`spent`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, NamedTuple

from l2sim.chip.devices import DIGITAL, TABLES, Constant, Digital, Table, changed, constants, limit
from l2sim.chip.meter import Counts
from l2sim.chip.parts.ports import READINGS, Port
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

__all__ = [
    "COUNTED", "DIGITAL", "OPERATIONS", "PARTS", "READOUTS", "TABLES", "Constant", "Digital", "Geometry", "Port",
    "Readout", "Spent", "Table", "blocked", "break_even", "call_energy", "call_seconds", "changed", "constants",
    "design", "efficiency", "flight_seconds", "held", "lit", "readout_noise", "seconds", "sized", "spent", "spent_by",
    "wait_seconds", "whole",
]  # fmt: skip

ELECTRON_C = 1.602176634e-19
"""Elementary charge, C."""
LIGHT_M_PER_S = 299792458.0
"""Speed of light, m/s."""

PARTS = (
    "laser", "modulator", "dac", "tia", "adc", "other", "memory", "digital", "taps", "writes", "heaters",
)  # fmt: skip
"""What energy is spent on; `heaters` is what phase shifters draw to hold their phases."""

COUNTED = (
    "core_calls", "forward_core_calls", "writes", "tap_readings", "accumulation_steps", "vectors", "settled", "loads",
)  # fmt: skip
"""The counts of a meter that cost something."""

READOUTS = ("quadrature", "power")
OPERATIONS = {"real": 2, "complex": 8}
"""Operations of one N x N product, in units of N^2: a multiplication and an addition; or those of complex numbers, four
and four. Which one the published surfaces count is not known (spec/insitu.md, section 4)."""


# -------------------------------------------------------------------------------------------- what was built


SIGNED = Port()
"""A port of real cores: signed amplitudes are sent, and read by quadratures."""
FIELDS = Port("field", complex_light=True)
"""A port of a whole mesh: fields are sent and read."""


class Geometry(NamedTuple):
    """One chip: `blocks` cores (1: a whole mesh) of `modes` ports, each with `heaters` phase shifters; light crosses
    `columns`; `whole`: light goes through one chip after the other."""

    blocks: int
    modes: int
    heaters: int
    columns: int
    whole: bool = False
    port: Port = SIGNED


def blocked(grid: tuple[int, int], mesh: Mesh, port: Port = SIGNED) -> Geometry:
    """A grid (p, q) of cores U diag(sigma) V*: all heaters of both meshes and an attenuator a port."""
    heaters, columns = 2 * mesh.count + mesh.modes, 2 * mesh.mzis.columns + 1
    return Geometry(grid[0] * grid[1], mesh.modes, heaters, columns, port=port)


def whole(mesh: Mesh, port: Port = FIELDS) -> Geometry:
    """One whole mesh: two shifters a coupler that has heaters, and the screen."""
    return Geometry(1, mesh.modes, 2 * int(mesh.active.sum()) + mesh.modes, mesh.shape[0], True, port)


# ------------------------------------------------------------------------------------------- seconds and joules


def call_seconds(table: Table) -> float:
    """Time from one vector to the next, s: 1 / rate. How long light and electronics take on top is in `wait_seconds`,
    since vectors follow each other."""
    return 1.0 / table.rate_hz


def flight_seconds(table: Table, columns: int) -> float:
    """Time of flight through `columns`, s."""
    return columns * table.column_m * table.group_index / LIGHT_M_PER_S


def wait_seconds(table: Table, columns: int) -> float:
    """From a write to the first reading that is of use, s: settling, time of flight, electronics."""
    return table.settle_s + flight_seconds(table, columns) + table.latency_s


def call_energy(table: Table, modes: int, port: Port = SIGNED) -> dict[str, float]:
    """Energy of one vector through one core of `modes` such ports, J, by part. Linear in `modes`."""
    t, reads, sends = call_seconds(table), READINGS[port.reads], 2 if port.complex_light else 1
    each = {
        "laser": (table.port_w + reads.references * table.reference_w) * t / table.laser_efficiency,
        "modulator": sends * table.modulator_j,
        "dac": sends * table.dac_j_per_step * 2.0 ** (port.dac_bits or table.bits),
        "tia": reads.converters * table.tia_w * t,
        "adc": reads.converters * table.adc_j_per_step * 2.0 ** (port.adc_bits or table.bits),
        "other": table.other_j,
        "memory": 2 * table.bits * table.memory_j_per_bit,
        "digital": table.multiply_add_j,
    }
    return {part: modes * joules for part, joules in each.items()}


class Spent(NamedTuple):
    """Energy by part (`PARTS`), J, and time, s, that something takes on the chip."""

    energy_j: dict[str, float]
    seconds: float

    @property
    def total_j(self) -> float:
        """Joules of all parts together."""
        return sum(self.energy_j.values())


def seconds(table: Table, counts: Counts | Mapping[str, int], at: Geometry, cores: int = 0) -> float:
    """How long a chip takes for `counts`, s.

    Its cores work side by side: `vectors` follow at the rate, every one of `settled` waits for the shifters, additions
    follow each other. With fewer `cores` than blocks (0: a core per block) all of that is done in rounds, and every
    block that a pass of the network needs is first written to a core (`loads`).
    """
    counted = _plain(counts)
    rounds, loads = 1, 0.0
    if cores and cores < at.blocks:
        rounds, loads = -(-at.blocks // cores), counted["loads"] / cores
    elif cores:
        loads = counted["loads"] / at.blocks
    calls = counted["vectors"] * rounds * call_seconds(table)
    waits = (counted["settled"] * rounds + loads) * wait_seconds(table, at.columns)
    return calls + waits + counted["accumulation_steps"] * table.add_s


def spent(table: Table, counts: Counts | Mapping[str, int], at: Geometry, cores: int = 0) -> Spent:
    """Energy and time of what one chip was asked to do (`chip.meter`); `cores` as in `seconds`."""
    return spent_by({"": counts}, {"": at}, table, cores)


def spent_by(
    counts: Mapping[str, Counts | Mapping[str, int]], at: Mapping[str, Geometry], table: Table, cores: int = 0
) -> Spent:
    """Energy and time of the chips of a network, by name.

    In a pass of the network they work one after the other, in a search for phases all at once; where `cores` are
    shared between all of them (0, or as many as there are blocks: they are not), always one after the other. All phase
    shifters draw their power all the time.
    """
    shared = cores if 0 < cores < sum(one.blocks for one in at.values()) else 0
    counted = {name: _plain(its) for name, its in counts.items()}
    times = [seconds(table, its, at[name], shared) for name, its in counted.items()]
    alone = [name for name, its in counted.items() if at[name].whole or its["forward_core_calls"]]
    time = sum(times) if shared or alone else max(times, default=0.0)
    energy = dict.fromkeys(PARTS, 0.0)
    for name, its in counted.items():
        for part, joules in call_energy(table, at[name].modes, at[name].port).items():
            energy[part] += its["core_calls"] * joules
        energy["taps"] += its["tap_readings"] * table.tap_j
        written = its["writes"] + (its["loads"] * at[name].heaters if shared else 0)
        energy["writes"] += written * table.write_j
    energy["heaters"] = held(at, shared) * table.pi_w * time
    return Spent(energy, time)


def held(at: Mapping[str, Geometry], cores: int = 0) -> int:
    """Phase shifters of the chips, or of `cores` that they share, as large as the largest block."""
    if 0 < cores < sum(one.blocks for one in at.values()):
        return cores * max(one.heaters for one in at.values())
    return sum(one.blocks * one.heaters for one in at.values())


_NOTHING = asdict(Counts())


def _plain(counts: Counts | Mapping[str, int]) -> Mapping[str, int]:
    return asdict(counts) if isinstance(counts, Counts) else {**_NOTHING, **counts}


# ---------------------------------------------------------------------------------------------- a chip on paper


def design(
    kind: Literal["mvm", "step"], table: Table, modes: int, batch: int = 1, operations: str = "real"
) -> Spent:
    """A rectangular mesh of N = `modes` on paper: one product with a vector ("mvm"), or one step of in situ
    backpropagation with a batch of M vectors ("step": three passes of each, then all N^2 shifters are written).

        E_mvm = N e + N^2 P_pi T           E_step = 3 M E_mvm + N^2 (w + P_pi t_wait)

    with e of `call_energy`, w of a write (spec/insitu.md, section 4, where P_pi = 0). Ports of "complex" `operations`
    send and read fields."""
    if operations not in OPERATIONS:
        raise ChipError(f"cost: operations = {operations!r} is unknown; use {' or '.join(OPERATIONS)}")
    at = Geometry(1, modes, modes * modes, modes, True, FIELDS if operations == "complex" else SIGNED)
    vectors, steps = (1, 0) if kind == "mvm" else (3 * batch, 1)
    counts = asdict(Counts(core_calls=vectors, vectors=vectors, writes=steps * at.heaters, settled=steps))
    return spent(table, counts, at)


def efficiency(
    kind: Literal["mvm", "step"], table: Table, modes: int, batch: int = 1, operations: str = "real"
) -> float:
    """Operations a joule, in 10^12 (TOPS/W), of `design`. As published, a step counts as many operations as the M
    products of its forward pass; `operations` is a convention of `OPERATIONS`."""
    joules, vectors = design(kind, table, modes, batch, operations).total_j, 1 if kind == "mvm" else batch
    return vectors * OPERATIONS[operations] * modes**2 / joules / 1e12


def lit(table: Table, modes: int) -> Table:
    """`table` with the light that a mesh of so many columns needs (`sized`); as it is where light is left out."""
    return sized(table, modes) if table.port_w > 0.0 and table.reference_w > 0.0 else table


def break_even(
    kind: Literal["mvm", "step"], table: Table, digital: Digital, batch: int = 1, operations: str = "real",
    most: int = 1024,
) -> tuple[int, int] | None:  # fmt: skip
    """The smallest and largest N up to `most` at which a mesh does more operations a joule than the baseline, its light
    paid for (`lit`). None where it never does: too small a mesh pays for its converters, too large a one for its loss.
    """
    wanted = 1e-12 / digital.operation_j
    better = [
        modes for modes in range(2, most + 1)
        if efficiency(kind, lit(table, modes), modes, batch, operations) >= wanted
    ]  # fmt: skip
    return (better[0], better[-1]) if better else None


# ------------------------------------------------------------------------------------------- noise costs energy


class Readout(NamedTuple):
    """Standard deviations of a reading, in units of what unit input amplitude gives (of its power where power is read):
    `shot`, `thermal` and `quantisation`; `transmission` is the share of the amplitude that reaches the detector."""

    shot: float
    thermal: float
    quantisation: float
    transmission: float

    @property
    def sigma(self) -> float:
        """All three together."""
        return math.sqrt(self.shot**2 + self.thermal**2 + self.quantisation**2)

    @property
    def floor(self) -> float:
        """What does not grow with the light: thermal and quantisation noise."""
        return math.hypot(self.thermal, self.quantisation)


def readout_noise(table: Table, columns: int, readout: str = "quadrature") -> Readout:
    """What the light, the loss of `columns`, the rate and the bits of `table` give as noise of a reading.

    P = `port_w` 10^(-L/10) reaches the detector at unit amplitude, L = port_loss + columns x column_loss in dB; it is
    integrated for T = 1 / rate, a noise bandwidth of B = 1 / (2 T). Responsivity R, amplifier i_n (A/Hz^0.5).

    Quadrature, by a balanced pair and a reference P_ref >> P: the current 2 R sqrt(P P_ref) x, with

        shot          sqrt(2 q R P_ref B) / (2 R sqrt(P P_ref))  =  sqrt(q / (4 R P T))
        thermal       i_n sqrt(B) / (2 R sqrt(P P_ref))
        quantisation  (2 / 2^b) / sqrt(12)                       full scale -1 to 1

    Power: the current R P |x|^2, with (at |x| = 1; the shot noise goes as |x|)

        shot          sqrt(2 q R P B) / (R P)  =  sqrt(q / (R P T))
        thermal       i_n sqrt(B) / (R P)
        quantisation  (1 / 2^b) / sqrt(12)                       full scale 0 to 1

    (shot and thermal noise: e.g. Agrawal, Fiber-Optic Communication Systems, sections 4.4 and 10.1; quantisation as of
    an even error, Bennett, Bell Syst. Tech. J. 27, 446 (1948)). These go into `Nonidealities` so: `readout_noise` =
    `sigma` of a quadrature; for power `readout_noise` = `floor`, `shot_noise` (or `tap_noise`) = `shot`. Where the
    simulated chip loses the light itself (`loss_db`), multiply them by `transmission`, for power by its square.
    ChipError where the table leaves the light out.
    """
    if readout not in READOUTS:
        raise ChipError(f"cost: readout = {readout!r} is unknown; use {' or '.join(READOUTS)}")
    if table.port_w <= 0.0 or (readout == "quadrature" and table.reference_w <= 0.0):
        raise ChipError("cost: this table leaves the light out, so noise has no value; set port_w and reference_w")
    loss = 10.0 ** (-(table.port_loss_db + columns * table.column_loss_db) / 10.0)
    power, t, r = table.port_w * loss, call_seconds(table), table.responsivity_a_per_w
    dark = table.tia_a_per_rthz * math.sqrt(1.0 / (2.0 * t))
    if readout == "quadrature":
        shot = math.sqrt(ELECTRON_C / (4.0 * r * power * t))
        return Readout(shot, dark / (2.0 * r * math.sqrt(power * table.reference_w)), _step(table, 2.0), loss**0.5)
    return Readout(math.sqrt(ELECTRON_C / (r * power * t)), dark / (r * power), _step(table, 1.0), loss**0.5)


def _step(table: Table, full_scale: float) -> float:
    return float(full_scale / 2.0**table.bits / math.sqrt(12.0))


def sized(table: Table, columns: int, readout: str = "quadrature") -> Table:
    """`table` with as much light as its bits deserve: shot and thermal noise together are the quantisation noise.

    The loss of `columns` has to be paid for here: `port_w` grows as 10^(L/10). Quadrature: s^2 = a / P with
    a = q / (4 R T) + i_n^2 B / (4 R^2 P_ref); power: s^2 = a / P + (c / P)^2 with a = q / (R T), c = i_n sqrt(B) / R.
    """
    unit = changed(table, port_w=1.0, port_loss_db=0.0, column_loss_db=0.0)
    one = readout_noise(unit, 0, readout)
    a, c, s = one.shot**2, one.thermal, one.quantisation
    if readout == "quadrature":
        power = (a + c**2) / s**2
    else:
        power = (a + math.sqrt(a**2 + 4.0 * c**2 * s**2)) / (2.0 * s**2)
    loss = 10.0 ** ((table.port_loss_db + columns * table.column_loss_db) / 10.0)
    return changed(table, port_w=min(power * loss, limit("port_w")))
