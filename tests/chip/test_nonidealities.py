"""Every field of the non-idealities is checked at every door: Python, a change of some fields, what is read, a job."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import numpy as np
import pytest

from l2sim.chip import fabrication
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities, declared
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import ChipError, JobError
from l2sim.job import imperfections
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.mesh.mesh import Mesh
from tests.doubles import PUBLISHED

FIELDS = {name: get_args(annotation) for name, annotation in declared().items()}
NUMBERS = [name for name, (kind, _) in FIELDS.items() if kind in (int, float)]
SWITCHES = [name for name, (kind, _) in FIELDS.items() if kind is bool]
LISTS = ("curve", "curve_volts")
CHOICES = [name for name, (kind, _) in FIELDS.items() if get_origin(kind) is Literal]
NAN, INF = math.nan, math.inf

DOORS: dict[str, Callable[[str, Any], Nonidealities]] = {
    "constructor": lambda name, value: Nonidealities(**{name: value}),
    "replace": lambda name, value: msgspec.structs.replace(PRESETS["silicon"], **{name: value}),
}


def refused(name: str, value: object) -> None:
    for door in DOORS.values():
        with pytest.raises(ChipError, match=rf"nonidealities\.{name}\b") as caught:
            door(name, value)
        assert "\n" not in str(caught.value) and (repr(value) in str(caught.value) or "must" in str(caught.value))


def test_every_field_is_of_a_kind_that_is_tested() -> None:
    assert {*NUMBERS, *SWITCHES, *LISTS, *CHOICES, "devices"} == set(FIELDS) == set(Nonidealities.__struct_fields__)
    assert {"drive", "attenuators"} <= set(CHOICES)
    for name, (_, meta) in FIELDS.items():
        assert meta.description and meta.extra is not None and "unit" in meta.extra, name


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_taken_up_to_both_limits_and_not_beyond(name: str) -> None:
    kind, meta = FIELDS[name]
    for limit, outside in ((meta.ge, -INF), (meta.le, INF)):
        taken = Nonidealities(**({"drive": "voltage", "curve": (0.0, 1.0)} if name == "v_max" else {}) | {name: limit})
        assert getattr(taken, name) == limit and type(getattr(taken, name)) is kind
        refused(name, limit + math.copysign(1, outside) if kind is int else math.nextafter(limit, outside))
        refused(name, outside)
    refused(name, NAN)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ("much", "1", True, np.True_, None, 1j, [1.0], np.ones(2), {}), ids=repr)
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", NUMBERS)
def test_scalars_of_numpy_become_plain_numbers(name: str) -> None:
    kind, meta = FIELDS[name]
    inside = int(meta.le) if kind is int else min(0.5 * (meta.ge + meta.le), 1024.0)
    for scalar in (np.int64, np.uint8) if kind is int else (np.float64, np.float32, np.float16):
        taken = getattr(Nonidealities(**{name: scalar(inside)}), name)
        assert type(taken) is kind and taken == scalar(inside)


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_true_or_false(name: str) -> None:
    for value in (True, False, np.True_, np.False_):
        assert getattr(Nonidealities(**{name: value}), name) is bool(value)
    for wrong in (0, 1, "true", None, NAN):
        refused(name, wrong)


@pytest.mark.parametrize("name", LISTS)
def test_a_curve_is_a_list_of_finite_numbers(name: str) -> None:
    more: dict[str, Any] = {"curve": (0.0, 1.0)} if name == "curve_volts" else {}
    for rising in ((0.0, 1.0), [0, 1], np.array([0.0, 1.0]), (np.float32(0.0), np.int64(1))):
        taken = getattr(Nonidealities(**more | {name: rising}), name)
        assert taken == (0.0, 1.0) and {type(item) for item in taken} == {float}
    for wrong in ("01", 1.0, None, (0.0, NAN), (0.0, INF), (0.0, "1"), (0.0, True), np.ones((2, 2))):
        with pytest.raises(ChipError, match=rf"nonidealities\.{name} = .*finite numbers"):
            Nonidealities(**more | {name: wrong})


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_one_of_some(name: str) -> None:
    for wrong in ("current", "", 1, True, None, NAN):
        refused(name, wrong)


def test_the_name_of_a_file_is_a_text() -> None:
    for wrong in (1, True, None, NAN, ["a"]):
        refused("devices", wrong)


def test_a_copy_and_a_pickle_are_checked_and_the_same() -> None:
    for sheet in PRESETS.values():
        assert copy.deepcopy(sheet) == pickle.loads(pickle.dumps(sheet)) == sheet


@pytest.mark.parametrize("name", list(FIELDS))
def test_a_job_has_the_same_field_with_the_same_limits(name: str) -> None:
    kind, meta = FIELDS[name]
    rows = {field.path: field for field in jobs.describe(Job())}
    field = rows[f"nonidealities.{name}"]
    assert (field.low, field.high, field.meaning) == (meta.ge, meta.le, meta.description)
    assert field.unit == meta.extra["unit"] and field.value is None and field.when == "live"
    if name in NUMBERS:
        for limit, outside in ((meta.ge, -INF), (meta.le, INF)):
            step = math.copysign(1, outside)
            beyond = limit + int(step) if kind is int else math.nextafter(limit, outside)
            with pytest.raises(JobError, match=rf"nonidealities\.{name}"):
                Job.preset("digits", {f"nonidealities.{name}": beyond})
    value = getattr(PRESETS["silicon"], name)
    job = Job.preset("digits", {f"nonidealities.{name}": list(value) if isinstance(value, tuple) else value})
    assert imperfections.chosen(job.nonidealities) == {name: value}
    assert imperfections.effective(job, f"nonidealities.{name}") == value
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_job_whose_chip_contradicts_itself_is_refused() -> None:
    with pytest.raises(JobError, match="curve must rise or fall"):
        Job.preset("digits", {"nonidealities.drive": "voltage", "nonidealities.curve": [0.0, 1.0, -0.1]})


def test_what_a_job_leaves_out_is_that_of_its_preset() -> None:
    job = Job.preset("digits", {"nonidealities.base": "silicon", "nonidealities.stuck": 0.1})
    sheet = msgspec.structs.replace(PRESETS["silicon"], stuck=0.1)
    assert imperfections.chip_nonidealities(job) == sheet
    assert imperfections.effective(job, "nonidealities.v_max") == 6.5
    assert imperfections.effective(job, "learn.epochs") == job.learn.epochs


# ------------------------------------------------------------------------------------------------ levels of a drive

VOLTS = msgspec.structs.replace(PRESETS["silicon"], phase_bits=4)


@pytest.mark.parametrize("bits", (0, 2, 8, 16))
def test_the_levels_of_a_phase_drive_are_even(bits: int) -> None:
    sheet = Nonidealities(phase_bits=bits)
    assert sheet.step() == sheet.step(np.array([0.1, 6.0])) == (2.0 * np.pi / (2**bits - 1) if bits else 0.0)


def test_the_levels_of_a_voltage_drive_are_as_far_apart_as_its_curve_says() -> None:
    levels = VOLTS.levels()
    inside, gaps = 0.5 * (levels[1:] + levels[:-1]), np.diff(levels)
    assert [VOLTS.step(np.array(phase)) for phase in inside] == list(gaps)
    assert [VOLTS.step(phase + 2.0 * np.pi) for phase in inside] == pytest.approx(gaps)
    assert VOLTS.step(inside[:3]) == gaps[2] < VOLTS.step() == gaps.max()
    assert msgspec.structs.replace(VOLTS, phase_bits=0).step() == 0.0


def test_beyond_the_last_level_counts_the_last_step() -> None:
    short = msgspec.structs.replace(VOLTS, v_max=2.0)
    levels = short.levels()
    assert levels[-1] < 1.0 and short.step(np.array([3.0])) == short.step() == levels[-1] - levels[-2]


@pytest.mark.parametrize("value", (None, {}, {"phase_bits": 8}, "ideal", Job().nonidealities))
@pytest.mark.parametrize("kind", (CoreChip, ComplexChip, MeshChip, SvdChip))
def test_a_chip_takes_no_other_imperfections(kind: type, value: object) -> None:
    mesh = Mesh("rectangular", 4)
    first = ((1, 1), mesh) if issubclass(kind, CoreChip) else (mesh,)
    with pytest.raises(ChipError, match=r"use l2sim\.Nonidealities"):
        kind(*first, value, seed=1)


@pytest.mark.parametrize("dtype", ("int32", "float16", complex, bool, "no such"))
@pytest.mark.parametrize("kind", (CoreChip, MeshChip))
def test_a_chip_computes_in_real_numbers(kind: type, dtype: object) -> None:
    mesh = Mesh("rectangular", 4)
    first = ((1, 1), mesh) if issubclass(kind, CoreChip) else (mesh,)
    with pytest.raises(ChipError, match="float32 or float64"):
        kind(*first, Nonidealities(), seed=1, dtype=dtype)


@pytest.mark.parametrize("mesh", ("clements", None, 8, (2, 4)))
@pytest.mark.parametrize("kind", (CoreChip, ComplexChip, MeshChip, SvdChip))
def test_a_chip_takes_no_other_mesh(kind: type, mesh: object) -> None:
    first = ((1, 1), mesh) if issubclass(kind, CoreChip) else (mesh,)
    with pytest.raises(ChipError, match=r"use l2sim\.Mesh"):
        kind(*first, Nonidealities(), seed=1)


def test_the_draws_of_a_chip_are_made_again_from_its_seed() -> None:
    mesh = Mesh("rectangular", 4)
    chip = CoreChip((2, 3), mesh, PUBLISHED, seed=9, name="again")
    wanted = {part: fabrication.fabricate(9, "again", part, (6, mesh.count)) for part in "uv"}
    first = chip.oracle_fabrication()
    for key, values in fabrication.arrays(wanted).items():
        np.testing.assert_array_equal(first[key], values)
    matrix = chip.oracle_matrix("u")
    chip.nonidealities = PRESETS["ideal"]
    chip.nonidealities = PUBLISHED
    np.testing.assert_array_equal(chip.oracle_matrix("u"), matrix)
    other = CoreChip((2, 3), mesh, PUBLISHED, seed=10)
    other.refabricate(first)
    np.testing.assert_array_equal(other.oracle_matrix("u"), matrix)
    other.nonidealities = PUBLISHED  # what was put in stays
    np.testing.assert_array_equal(other.oracle_matrix("u"), matrix)


def test_the_page_of_the_chip_has_every_field_as_it_is_declared() -> None:
    """docs/chip.md: a row for each, with its meaning and unit, and the sizes of the presets it shows."""
    page = (Path(__file__).parents[2] / "docs" / "chip.md").read_text()
    for name, annotation in declared().items():
        meta = get_args(annotation)[1]
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` | ")), "")
        assert row, f"docs/chip.md does not have {name}"
        cells = [cell.strip() for cell in row.split(" | ")]
        assert cells[1:3] == [meta.description, meta.extra["unit"]], name
        for cell, preset in zip(cells[3:5], ("l2ight-2021", "silicon")):
            value = getattr(PRESETS[preset], name)
            if isinstance(value, bool):
                assert cell == ("yes" if value else "no"), name
            elif isinstance(value, int | float):
                assert float(cell) == pytest.approx(value, rel=1e-3), name
