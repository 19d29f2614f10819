"""Curves of heaters, phase over voltage, as a lab has them: with an offset, and measured from the first volts on."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.errors import ChipError
from l2sim.inspect import attainable, chips, diagnose
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin.whole import by_taps
from l2sim.learn.twin.whole import fit as mesh_fit
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose

TURN = 2.0 * np.pi


@pytest.mark.parametrize("offset", (0.0, 1.3, -6.2, 3.2, 100.0, -100.0), ids="at {}".format)
def test_a_heater_that_spans_a_turn_reaches_every_phase_wherever_it_begins(offset: float) -> None:
    """12 bits over 8 V span 10.6 rad: an error of some 3e-6."""
    mesh = Mesh("rectangular", 8)
    sheet = Nonidealities(drive="voltage", curve=(offset, 0.0, GAMMA), v_max=8.0, phase_bits=12)
    errors = []
    for seed in range(10):
        wanted = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
        phases, signs = decompose(mesh, wanted)
        chip = CoreChip((1, 1), mesh, sheet, seed=1)
        chip.set_phases(u=phases[None, None])
        chip.set_signs(u=signs[None, None])
        errors.append(np.linalg.norm(chip.oracle_matrix("u").reshape(8, 8) - wanted) ** 2 / 8)
    assert np.median(errors) < 1e-4


def test_a_table_from_a_tenth_of_a_volt_on_is_taken_or_the_missing_row_is_named() -> None:
    volts = np.arange(1, 31) / 10.0
    phases = 5.17 * (volts / 3.0) ** 2
    try:
        sheet = Nonidealities(drive="voltage", curve=tuple(phases), curve_volts=tuple(volts), v_max=3.0)
    except ChipError as refused:
        assert re.search(r"0\.1|(?<![\d.])0 V", str(refused)), refused
    else:
        assert (np.diff(sheet.phase_of(np.linspace(0.0, 3.0, 61))) > 0.0).all()


# ------------------------------------------------------------------------------------------------ a slow reference


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far phases are from each other modulo a turn, rad."""
    return np.abs((one - other + np.pi) % TURN - np.pi)


def best(sheet: Nonidealities, commands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How near a heater can come to each of `commands` with the voltages of one turn from 0 V, by trying all of them;
    and how far off the level nearest *in voltage* may be: as far as the phase half way between the two around it."""
    volts = np.linspace(0.0, sheet.v_max, 2 ** (sheet.phase_bits or 16))
    phases, between = sheet.phase_of(volts), sheet.phase_of((volts[1:] + volts[:-1]) / 2)
    turn = np.abs(phases - phases[0]) < TURN
    off = distance(commands[:, None], phases[turn][None]).min(axis=1)
    step = np.maximum(np.abs(between - phases[:-1]), np.abs(between - phases[1:]))[turn[1:]]
    driven = np.abs(phases - phases[0])[turn]
    wanted = np.mod((-1.0 if sheet.falls else 1.0) * (commands - phases[0]), TURN)
    around = np.searchsorted(driven, wanted, side="right") - 1  # of levels that are one phase the last one
    inside = around < driven.size - 1
    return off, np.where(inside, step[np.minimum(around, max(step.size - 1, 0))] if step.size else 0.0, 0.0)


def seen_by_light(sheet: Nonidealities, commands: np.ndarray, dtype: str = "float64") -> np.ndarray:
    """The phases that light sees of the heaters of one core that are told `commands` (6,)."""
    mesh = Mesh("rectangular", 4)
    chip = CoreChip((1, 1), mesh, sheet, seed=1, dtype=dtype)
    chip.set_phases(u=mesh.scatter(commands)[None, None])
    return mesh.gather(chip.oracle_phases("u"))[0, 0]


offsets = st.one_of(st.sampled_from((0.0, 1.3, -6.2, np.pi, TURN, -TURN, 100.0, -100.0)), st.floats(-50.0, 50.0))
commands_of_heaters = st.lists(
    st.one_of(st.floats(-20.0, 20.0), st.sampled_from((0.0, TURN, -1e-17, 6.2829, np.pi))), min_size=6, max_size=6
)


@given(
    offset=offsets,
    turns=st.floats(0.05, 5.0),
    power=st.sampled_from((1, 2, 3)),
    falls=st.booleans(),
    bits=st.integers(0, 16),
    commands=commands_of_heaters,
)
def test_polynomials_come_as_near_as_any_level_does(
    offset: float, turns: float, power: int, falls: bool, bits: int, commands: list[float]
) -> None:
    """Spans of a part of a turn, of just one and of several; rising and falling; wherever the phase begins."""
    assume(bits != 1 and (turns < 2.0 or bits == 0 or bits > 3))
    curve = (offset, *[0.0] * (power - 1), (-1.0 if falls else 1.0) * TURN * turns / 7.0**power)
    sheet = Nonidealities(drive="voltage", curve=curve, v_max=7.0, phase_bits=bits)
    off, slack = best(sheet, np.array(commands))
    apart = distance(seen_by_light(sheet, np.array(commands)), np.array(commands))
    assert (apart <= np.maximum(off, slack) + 1e-9).all()


@given(
    rows=st.integers(2, 40),
    first=st.sampled_from((0.0, 0.02, 0.1, 0.25)),
    offset=offsets,
    turns=st.floats(0.2, 3.0),
    falls=st.booleans(),
    flat=st.booleans(),
    bits=st.integers(5, 14),
    commands=commands_of_heaters,
)
def test_tables_come_as_near_as_any_level_does(
    rows: int, first: float, offset: float, turns: float, falls: bool, flat: bool, bits: int, commands: list[float]
) -> None:
    """From 0 V or a little later, with flat parts, falling, and of fewer than a turn."""
    volts = np.linspace(first, 1.0, rows) * 3.0
    phases = TURN * turns * (volts / 3.0) ** 2
    if flat:
        phases[: rows // 3] = phases[0]
    phases = offset + (-phases if falls else phases)
    sheet = Nonidealities(drive="voltage", curve=tuple(phases), curve_volts=tuple(volts), v_max=3.0, phase_bits=bits)
    off, slack = best(sheet, np.array(commands))
    apart = distance(seen_by_light(sheet, np.array(commands)), np.array(commands))
    assert (apart <= np.maximum(off, slack) + 1e-9).all()


@pytest.mark.parametrize(
    "values, words",
    (
        ({"curve": (0.0, 1.0, -0.1), "v_max": 10.0}, "turns at about 5"),
        ({"curve": (0.0, -1.0, 0.1), "v_max": 10.0}, "turns at about 5"),
        ({"curve": (2.0,)}, "flat"),
        ({"curve": (0.0, 1e300), "v_max": 1e3}, "more than a turn"),
        ({"curve": (0.0, 0.0, GAMMA), "v_max": 1e3, "phase_bits": 4}, "more than a turn"),
        ({"curve": (0.0, 1.0), "curve_volts": (0.0, 1.0)}, "ends at 1 V, below nonidealities.v_max = 10.8 V; set"),
        ({"curve": (0.5, 1.0, 9.0), "curve_volts": (1.0, 2.0, 3.0), "v_max": 3.0}, "begins at 1 V"),
        ({"curve": (1.0,), "curve_volts": (3.0,), "v_max": 3.0}, "two rows"),
        ({"curve": (0.0, 2.0, 1.0), "curve_volts": (0.0, 1.5, 3.0), "v_max": 3.0}, "turns at about 1.5 V"),
        ({"curve": (0.0, 2.0), "curve_volts": (3.0, 0.0), "v_max": 3.0}, "must rise"),
        ({"curve": (0.0, 2.0, 3.0), "curve_volts": (0.0, 3.0), "v_max": 3.0}, "as long as"),
    ),
)
def test_curves_that_no_driver_can_use_are_refused_with_the_reason(values: dict, words: str) -> None:
    with pytest.raises(ChipError, match=words) as refused:
        Nonidealities(drive="voltage", **values)
    assert "\n" not in str(refused.value)


# --------------------------------------------------------------------------------------------------- every path

SHEETS = {
    "rising": {"curve": (1.3, 0.0, GAMMA), "v_max": 8.0},
    "falling": {"curve": (-6.2, 0.0, -GAMMA), "v_max": 8.0},
    "table": {
        "curve": tuple(2.0 + 7.0 * (np.arange(1, 31) / 30) ** 2),
        "curve_volts": tuple(np.arange(1, 31) / 10),
        "v_max": 3.0,
    },
}


def sheet_of(name: str, **other: float) -> Nonidealities:
    return Nonidealities(drive="voltage", phase_bits=12, **SHEETS[name], **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SHEETS)
def test_a_whole_mesh_in_single_precision_meets_its_target(name: str) -> None:
    mesh, target = Mesh("rectangular", 6), unitary.haar_matrix(np.random.default_rng(1), 6)
    chip = MeshChip(mesh, sheet_of(name), seed=1)
    chip.set_phases(*unitary.decompose(mesh, target))
    assert np.abs(chip.oracle_matrix() - target).max() < 0.01


@pytest.mark.parametrize("name", SHEETS)
def test_the_parts_of_a_phase_sum_to_it(name: str) -> None:
    """What the inspector says of a heater: nothing is clipped, and the phase at 0 V is no error of rounding."""
    sheet, mesh = sheet_of(name, gamma_std=0.002, crosstalk=0.005, phase_bias=0.3), Mesh("rectangular", 4)
    chip = CoreChip((1, 1), mesh, sheet, seed=1)
    told = generator(1).uniform(0.0, TURN, mesh.count)
    chip.set_phases(u=mesh.scatter(told)[None, None])
    parts = chips.terms(told, mesh, chips.heaters_of(chip, "u"), sheet)
    actual = mesh.gather(chip.oracle_phases("u"))[0, 0]
    assert distance(told + sum(parts.values()), actual).max() < 1e-9
    assert np.abs(parts["quantisation"]).max() < 0.01 and not parts["clipping"].any()
    power, top = diagnose.electrical(told, sheet)
    assert (power >= 0.0).all() and not top.any()


@pytest.mark.parametrize("name", SHEETS)
def test_the_observer_carries_phases_back_through_the_chain(name: str) -> None:
    sheet, mesh = sheet_of(name, gamma_std=0.002, crosstalk=0.005, phase_bias=3.0), Mesh("rectangular", 4)
    chip = CoreChip((1, 1), mesh, sheet, seed=1)
    wanted = generator(2).uniform(0.5, TURN - 0.5, mesh.count)
    told = attainable.Drive.of(chip, "u").commands(wanted)
    chip.set_phases(u=mesh.scatter(told)[None, None])
    off = distance(mesh.gather(chip.oracle_phases("u"))[0, 0], wanted)
    assert np.median(off) < 0.01 and off.max() < 0.2, "between the top of a weak heater and a turn nothing is reached"


def test_a_dead_heater_keeps_the_phase_at_no_volt() -> None:
    assert distance(seen_by_light(sheet_of("rising", dead=1.0), np.ones(6)), np.full(6, 1.3)).max() < 1e-12


@pytest.mark.parametrize("offset", (0.0, 1.3, -6.2, 100.0))
@pytest.mark.parametrize("bias", (0.2, np.pi))
def test_twins_of_cores_know_where_their_heaters_begin(offset: float, bias: float) -> None:
    mesh = Mesh("rectangular", 4)
    sheet = Nonidealities(
        drive="voltage", phase_bits=12, curve=(offset, 0.0, GAMMA), v_max=8.0, phase_bias=bias, gamma_std=0.002,
        crosstalk=0.005, readout_noise=1e-3,
    )  # fmt: skip
    chip = CoreChip((1, 1), mesh, sheet, seed=2)
    known = twin.identify(chip, sheet, lambda *names: generator(3, *names))
    assert known.identified.all()
    off = known.bias[0] - np.concatenate([chip.oracle_offsets(part)[0] for part in ("u", "v")])
    assert np.median(distance(2.0 * off, np.zeros(off.size))) < 0.05


@pytest.mark.parametrize("offset", (0.0, 1.3, 100.0))
def test_twins_of_whole_meshes_know_where_their_heaters_begin(offset: float) -> None:
    mesh, target = Mesh("rectangular", 4), unitary.haar_matrix(np.random.default_rng(5), 4)
    sheet = Nonidealities(
        drive="voltage", phase_bits=12, curve=(offset, 0.0, GAMMA), v_max=8.0, phase_bias=np.pi, gamma_std=0.002,
        crosstalk=0.005, tap_noise=1e-3,
    )  # fmt: skip
    chip = MeshChip(mesh, sheet, seed=2, dtype="float64")
    known = by_taps.identify(chip, sheet, generator(4))
    assert known.identified
    chip.set_phases(*mesh_fit.program(mesh, twin.Drive.of(sheet), known, target))
    assert mesh_fit.row_error(target, chip.oracle_matrix()) < 1e-3


def test_twins_refuse_heaters_whose_phase_falls() -> None:
    with pytest.raises(ChipError, match="falls"):
        twin.Drive.of(sheet_of("falling"))
