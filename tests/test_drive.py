"""What heaters are driven with, against what the chip's own drive does with the same commands."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.devices import TABLES
from l2sim.chip.nonidealities import GAMMA, PRESETS, V_PI, Nonidealities
from l2sim.given import wrapped
from l2sim.inspect.drive import command, drive, words

DRIVES = {
    "silicon": PRESETS["silicon"],
    "coarse": Nonidealities(drive="voltage", phase_bits=5, v_max=7.0),
    "falls": Nonidealities(drive="voltage", phase_bits=6, v_max=6.0, curve=(1.0, 0.0, -GAMMA)),
    "short": Nonidealities(drive="voltage", phase_bits=6, v_max=4.0),
    "continuous": Nonidealities(drive="voltage", v_max=10.8),
}


def phases() -> np.ndarray:
    return generator(3, "phases").uniform(-20.0, 20.0, 300)


@pytest.mark.parametrize("name", DRIVES)
def test_the_volts_give_the_very_level_that_the_chip_takes(name: str) -> None:
    imperfect = DRIVES[name]
    driven, driver = drive(phases(), imperfect, 0.025), imperfect.driver()
    level = driver.levels[np.searchsorted(driver.thresholds, wrapped(phases()), side="left")]
    assert driven.volts is not None and driven.room is not None
    there = wrapped(imperfect.phase_of(driven.volts))
    apart = np.abs(np.exp(1j * there) - np.exp(1j * (level + imperfect.offset)))
    assert apart.max() < 1e-9
    np.testing.assert_allclose(driven.volts + driven.room, imperfect.v_max)
    assert driven.room.min() >= 0.0


@pytest.mark.parametrize("name", ("silicon", "coarse", "falls", "short"))
def test_codes_are_steps_of_the_converter_from_no_volts_to_v_max(name: str) -> None:
    imperfect = DRIVES[name]
    driven = drive(phases(), imperfect, 0.025)
    assert driven.code is not None and driven.volts is not None
    assert driven.last == 2**imperfect.phase_bits - 1
    assert driven.code.min() >= 0 and driven.code.max() <= driven.last
    np.testing.assert_allclose(driven.volts, driven.code / driven.last * imperfect.v_max)


def test_no_other_code_is_nearer_in_voltage() -> None:
    imperfect = DRIVES["coarse"]
    wanted = np.linspace(0.01, 5.5, 200)  # below the last level of the turn
    driven = drive(wanted, imperfect, 0.025)
    exact = np.sqrt(wanted / GAMMA)
    every = np.arange(32) * imperfect.v_max / 31
    nearest = np.abs(exact[:, None] - every).argmin(axis=1)
    np.testing.assert_array_equal(driven.code, nearest)


def test_a_drive_of_phases_has_levels_and_no_volts() -> None:
    driven = drive([0.0, math.pi, -0.001], PRESETS["l2ight-2021"], 0.025)
    assert driven.volts is None and driven.room is None
    assert driven.code is not None and driven.code.tolist() == [0.0, 128.0, 255.0] and driven.last == 255
    assert words(driven, 1) == "code 128 of 255 · no volts: the drive is one of phases · 25 mW"
    still = drive([1.0], Nonidealities(), 0.025)
    assert still.code is None and words(still, 0).startswith("no steps: continuous · no volts")


def test_a_phase_of_pi_takes_what_the_table_of_devices_says() -> None:
    for table in TABLES.values():
        for imperfect in (Nonidealities(), DRIVES["continuous"]):
            power = drive([math.pi], imperfect, table.pi_w).milliwatts
            np.testing.assert_allclose(power, 1e3 * table.pi_w, rtol=2e-3)
    driven = drive([math.pi], DRIVES["continuous"], 1.0)
    assert driven.volts is not None and driven.code is None
    np.testing.assert_allclose(driven.volts, V_PI, atol=2e-4)


def test_phases_are_told_modulo_a_turn_with_the_turns_apart() -> None:
    driven = drive([-7.5431, 1.0, 14.0], Nonidealities(), 0.025)
    assert driven.turns.tolist() == [-2.0, 0.0, 2.0]
    np.testing.assert_allclose(driven.phase + 2 * math.pi * driven.turns, [-7.5431, 1.0, 14.0])
    assert command(-7.5431) == "5.0233 rad = 1.599 π (-2 turns)"
    assert command(1.0) == "1.0000 rad = 0.318 π"
    assert command(7.0).endswith("(+1 turn)")
    assert command(-1e-17) == "0.0000 rad = 0.000 π"


def test_what_is_commanded_beyond_reach_stands_at_v_max() -> None:
    driven = drive([2.7], DRIVES["short"], 0.025)  # the curve ends at GAMMA 16 = 2.64 rad
    assert driven.room is not None and driven.room[0] == 0.0
    assert "at V_max" in words(driven, 0)


def test_a_command_that_is_no_number_drives_nothing() -> None:
    for imperfect in (DRIVES["silicon"], PRESETS["l2ight-2021"]):
        driven = drive([float("nan"), float("inf"), 1.0], imperfect, 0.025)
        for values in (driven.phase, driven.turns, driven.code, driven.milliwatts):
            assert values is not None and np.isnan(values[:2]).all() and np.isfinite(values[2])
        assert words(driven, 0) == "" and words(driven, 2)
    assert command(float("nan")) == "nan (no number)"
