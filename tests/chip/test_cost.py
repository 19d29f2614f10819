"""What metered work costs: by hand, by the published closed forms and their maps, by Monte-Carlo."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.chip import energy, grid
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Counts, Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts.ports import READINGS
from l2sim.chip.protocol import Commands
from l2sim.cli import main as cli
from l2sim.errors import ChipError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.learn.insitu import measure
from l2sim.mesh.mesh import Mesh
from l2sim.report import bill
from l2sim.runs import execute
from l2sim.store import logs
from l2sim.study import scaling
from tests import goldens

THERMAL, PAPER = energy.TABLES["thermal"], energy.TABLES["insitu-2023"]
ROUND = energy.changed(
    THERMAL, rate_hz=1e9, bits=4, port_w=1e-3, reference_w=1e-3, laser_efficiency=0.1, tia_w=1e-3, modulator_j=1e-12,
    dac_j_per_step=1e-13, adc_j_per_step=1e-13, memory_j_per_bit=1e-13, multiply_add_j=1e-13, pi_w=0.01,
    settle_s=1e-5, write_j=1e-12, tap_j=1e-14, add_s=1e-9, latency_s=0.0, column_m=0.0,
)  # fmt: skip
"""A table to reckon with by hand: a port costs 20 + 1 + 1.6 + 1 + 1.6 + 0.8 + 0.1 = 26.1 pJ a vector."""


# -- the tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", energy.TABLES)
def test_every_constant_has_a_unit_a_range_and_a_source(name: str) -> None:
    told = energy.constants(energy.TABLES[name])
    assert len(told) == len(energy.Table.__struct_fields__) - 2
    for it in told:
        assert it.meaning and it.source and it.low <= it.value <= it.high
        assert it.unit or it.name == "group_index"
        if "_per_" not in it.name and it.unit not in ("", "share", "bit"):
            assert it.unit.lower() == it.name.rpartition("_")[2]
    assert all(it.source for it in energy.DIGITAL.values())


@pytest.mark.parametrize("values", ({"bits": 0}, {"rate_hz": -1.0}, {"laser_efficiency": 2.0}, {"settle": 1.0}))
def test_a_table_refuses_what_is_not_plausible(values: dict[str, float]) -> None:
    with pytest.raises(ChipError) as caught:
        energy.changed(THERMAL, **values)
    assert next(iter(values)) in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_user_changes_is_told_as_theirs() -> None:
    changed = energy.changed(THERMAL, bits=6)
    assert changed.bits == 6 and changed.sources["bits"] == "set by the user" != THERMAL.sources["bits"]


# -- joules and seconds ------------------------------------------------------------------------------------------------


def test_a_call_costs_what_a_hand_calculation_says() -> None:
    found = energy.call_energy(ROUND, 1)
    wanted = {
        "laser": 20e-12, "modulator": 1e-12, "dac": 1.6e-12, "tia": 1e-12, "adc": 1.6e-12, "other": 0.0,
        "memory": 0.8e-12, "digital": 0.1e-12,
    }  # fmt: skip
    assert found == pytest.approx(wanted)
    assert sum(energy.call_energy(ROUND, 7).values()) == pytest.approx(7 * 26.1e-12)


@pytest.mark.parametrize(
    ("port", "changes"),
    [
        (energy.FIELDS, {"laser": 30e-12, "modulator": 2e-12, "dac": 3.2e-12, "tia": 2e-12, "adc": 3.2e-12}),
        (energy.Port("power"), {"laser": 10e-12}),
        (energy.Port("two_readings"), {}),
        (energy.Port("quadrature", False, 5, 3), {"dac": 3.2e-12, "adc": 0.8e-12}),
        (energy.Port("quadrature", True), {"modulator": 2e-12, "dac": 3.2e-12}),
    ],
)  # fmt: skip
def test_a_port_costs_what_its_readout_and_its_converters_take(port: energy.Port, changes: dict[str, float]) -> None:
    """Converters each way, amplifiers and references, by hand from those of `ROUND` with one of each."""
    found = energy.call_energy(ROUND, 1, port)
    assert found == pytest.approx(energy.call_energy(ROUND, 1) | changes)


def test_complex_operations_pay_for_both_quadratures() -> None:
    """Four times the operations are not four times the efficiency: ports have two converters each way."""
    real, whole = (energy.efficiency("mvm", energy.TABLES["mems"], 64, operations=kind) for kind in ("real", "complex"))
    assert 2.0 < whole / real < 3.9


def test_a_product_of_a_grid_takes_its_joules_and_seconds() -> None:
    """2 x 3 cores of k = 4, 5 vectors: 30 core calls side by side, two additions a vector, 6 x 16 heaters on."""
    chip = CoreChip((2, 3), Mesh("rectangular", 4), Nonidealities(), seed=1)
    grid.product(chip, np.ones((12, 5)))
    at = energy.blocked(chip.shape, chip.mesh)
    assert at == (6, 4, 2 * 6 + 4, 2 * 4 + 1, False, energy.SIGNED)
    found = energy.spent(ROUND, chip.meter.stages["idle"], at)
    assert found.seconds == pytest.approx(5e-9 + 10e-9)
    assert found.energy_j["heaters"] == pytest.approx(6 * 16 * 0.01 * 15e-9)
    assert found.total_j - found.energy_j["heaters"] == pytest.approx(30 * 4 * 26.1e-12)
    chip.set_sigma(np.full((2, 3, 4), 0.5))
    grid.product(chip, np.ones((12, 5)))
    later = energy.spent(ROUND, chip.meter.stages["idle"], at)
    assert later.seconds == pytest.approx(30e-9 + 1e-5) and later.energy_j["writes"] == pytest.approx(24e-12)


def test_time_of_flight_adds_to_a_wait() -> None:
    table = energy.changed(ROUND, column_m=3e-4, group_index=4.0, latency_s=1e-8)
    assert energy.flight_seconds(table, 10) == pytest.approx(10 * 3e-4 * 4.0 / 299792458.0)
    assert energy.wait_seconds(table, 10) == pytest.approx(1e-5 + 1e-8 + energy.flight_seconds(table, 10))
    assert energy.call_seconds(table) == 1e-9


counted = st.builds(
    Counts,
    **{  # type: ignore[arg-type]
        name: st.integers(0, 10**6)
        for name in ("core_calls", "writes", "accumulation_steps", "tap_readings", "vectors", "settled", "loads")
    },
    forward_core_calls=st.integers(0, 1),
)
geometries = st.builds(
    energy.Geometry, st.integers(1, 50), st.integers(2, 32), st.integers(1, 500), st.integers(1, 99), st.just(False),
    st.builds(energy.Port, st.sampled_from(sorted(READINGS)), st.booleans(), st.integers(0, 16), st.integers(0, 16)),
)  # fmt: skip
tables = st.sampled_from(list(energy.TABLES.values()))


@settings(max_examples=60, deadline=None)
@given(tables, counted, geometries)
def test_twice_as_much_of_everything_costs_twice(table: energy.Table, counts: Counts, at: energy.Geometry) -> None:
    once = energy.spent(table, counts, at)
    twice = energy.spent(table, {name: 2 * number for name, number in asdict(counts).items()}, at)
    assert twice.seconds == pytest.approx(2 * once.seconds)
    assert twice.energy_j == pytest.approx({part: 2 * joules for part, joules in once.energy_j.items()})
    assert once.total_j == pytest.approx(sum(once.energy_j.values())) and set(once.energy_j) == set(energy.PARTS)


@settings(max_examples=60, deadline=None)
@given(tables, counted, geometries, st.sampled_from(("core_calls", "writes", "tap_readings", "vectors", "settled")))
def test_more_work_never_costs_less(table: energy.Table, counts: Counts, at: energy.Geometry, what: str) -> None:
    once, more = (energy.spent(table, asdict(counts) | {what: getattr(counts, what) + n}, at) for n in (0, 7))
    assert more.seconds >= once.seconds and all(more.energy_j[part] >= once.energy_j[part] for part in energy.PARTS)


@settings(max_examples=60, deadline=None)
@given(counted, counted, geometries, geometries)
def test_chips_add_up(one: Counts, two: Counts, at: energy.Geometry, there: energy.Geometry) -> None:
    """Energy is that of both, and heaters burn as long as either works; passes follow each other, searches do not."""
    parts = [energy.spent(THERMAL, *its) for its in ((one, at), (two, there))]
    both = energy.spent_by({"a": one, "b": two}, {"a": at, "b": there}, THERMAL)
    for part in energy.PARTS[:-1]:
        assert both.energy_j[part] == pytest.approx(sum(its.energy_j[part] for its in parts))
    passing = one.forward_core_calls or two.forward_core_calls
    assert both.seconds == pytest.approx((sum if passing else max)(its.seconds for its in parts))
    held = at.blocks * at.heaters + there.blocks * there.heaters
    assert both.energy_j["heaters"] == pytest.approx(THERMAL.pi_w * held * both.seconds)


@settings(max_examples=60, deadline=None)
@given(counted, geometries)
def test_shared_cores_cost_time_and_writes(counts: Counts, at: energy.Geometry) -> None:
    own = energy.spent(THERMAL, counts, at)
    assert energy.spent(THERMAL, counts, at, at.blocks) == energy.spent(THERMAL, counts, at, at.blocks + 9) == own
    shared = [energy.spent(THERMAL, counts, at, cores) for cores in range(1, at.blocks)]
    for fewer, more in itertools.pairwise([*shared, own]):
        assert fewer.seconds >= more.seconds or fewer.seconds == pytest.approx(more.seconds)
    for its in shared:
        rewritten = counts.loads * at.heaters * THERMAL.write_j
        assert its.energy_j["writes"] == pytest.approx(own.energy_j["writes"] + rewritten)
        assert its.energy_j["adc"] == own.energy_j["adc"]


def test_one_core_for_a_grid_by_hand() -> None:
    """Six blocks on two cores: three rounds of loading, settling and sending; two cores of heaters are on."""
    chip = CoreChip((2, 3), Mesh("rectangular", 4), Nonidealities(), seed=1)
    grid.product(chip, np.ones((12, 5)))
    at = energy.blocked(chip.shape, chip.mesh)
    found = energy.spent(ROUND, chip.meter.stages["idle"], at, cores=2)
    assert found.seconds == pytest.approx(3 * 5e-9 + 3 * 1e-5 + 10e-9)
    assert found.energy_j["writes"] == pytest.approx(6 * 16 * 1e-12)
    assert found.energy_j["heaters"] == pytest.approx(2 * 16 * 0.01 * found.seconds)


def test_block_columns_are_probed_side_by_side() -> None:
    """Feature sampling sends every block column its own vectors: the time is that of the longest, on either path."""
    chip = CoreChip((1, 2), Mesh("rectangular", 3), Nonidealities(), seed=1)
    zero = {part: np.zeros((1, 2, *chip.mesh.shape)) for part in "uv"}
    here = Commands(zero, {part: np.ones((1, 2, 3)) for part in "uv"})
    vectors = np.array([[True, True, True, False], [True, False, False, False]])
    for noise in (0.0, 1e-9):  # noisy readings take the public path
        chip.nonidealities = Nonidealities(readout_noise=noise)
        meter = chip.meter = Meter()
        grid.sigma_gradient(chip, np.ones((6, 4)), np.ones((3, 4)), here, here, np.ones((1, 2, 3)), vectors=vectors)
        assert (meter.stages["idle"].vectors, meter.stages["idle"].core_calls) == (2 * 3, 2 * 4)


def test_a_part_of_a_meter_counts_for_the_whole() -> None:
    meter = Meter()
    mesh = Mesh("rectangular", 3)
    one, two = (CoreChip((1, 1), mesh, Nonidealities(), seed=1, meter=meter.of(name)) for name in "ab")
    with meter.stage("learn"), meter.during("forward"):
        one.forward(np.ones((1, 1, 3, 2)))
        two.forward(np.ones((1, 1, 3, 5)))
    assert [meter.of(name).state()["learn"]["forward_core_calls"] for name in "ab"] == [2, 5]
    assert meter.state()["learn"]["core_calls"] == 7 and meter.of("a") is one.meter
    other = Meter()
    other.restore(meter.state(), {name: part.state() for name, part in meter.parts.items()})
    assert other.state() == meter.state() and other.of("b").state() == two.meter.state()
    other.restore(meter.state())  # a checkpoint of an older l2sim
    assert other.state() == meter.state()


# -- the published surfaces --------------------------------------------------------------------------------------------


def test_the_published_closed_forms() -> None:
    """0.635 N and 1 / (4.731/N + 0.0343/M) TOPS/W; the latter's 4.731 is 3 / 0.635 to 0.14 %."""
    for n, m in itertools.product((4, 16, 64, 256), (1, 20, 255)):
        assert energy.efficiency("mvm", PAPER, n, m) == pytest.approx(0.635 * n, rel=1e-12)
        assert energy.efficiency("step", PAPER, n, m) == pytest.approx(1 / (4.731 / n + 0.0343 / m), rel=2e-3)
        for kind in ("mvm", "step"):  # whichever operations are meant, the surfaces are these
            same = energy.efficiency(kind, energy.TABLES["insitu-2023-complex"], n, m, operations="complex")  # type: ignore[arg-type]
            assert same == pytest.approx(energy.efficiency(kind, PAPER, n, m))  # type: ignore[arg-type]
    with pytest.raises(ChipError, match="use real or complex"):
        energy.efficiency("mvm", PAPER, 4, operations="whole")


@pytest.mark.parametrize(("version", "e", "w"), (("final", 0.635, 0.0343), ("prev", 0.73659, 0.03438)))
def test_the_published_maps(version: str, e: float, w: float) -> None:
    """Every cell of the digitised maps within one of its 256 colours; those at the last colour are that or more."""
    z = goldens.insitu("energy_maps")
    table = energy.changed(PAPER, other_j=2e-12 / e, write_j=2e-12 * w)
    for kind, name, most in zip(("mvm", "step"), ("mvm", "vjp"), z[f"sat_{version}"].tolist()):
        seen = z[f"{name}_{version}"] * 256 / most
        made = np.array([[energy.efficiency(kind, table, n, m) for m in z["M"].tolist()] for n in z["N"].tolist()])  # type: ignore[arg-type]
        full = seen > 255
        assert np.abs(made * 256 / most - seen)[~full].max() < 1.0
        assert (made * 256 / most)[full].min() > 255.0 and 0.0 < full.mean() < 0.1


def test_a_measured_step_costs_what_the_closed_form_says() -> None:
    """One in situ gradient of M vectors and one update of every phase, as metered: 3 M N e + N^2 w."""
    n, m = 6, 5
    chip = MeshChip(Mesh("rectangular", n), Nonidealities(), 1)
    draw = np.random.default_rng(1)
    x, g = draw.normal(size=(2, n, m)) + 1j * draw.normal(size=(2, n, m))
    measure(chip, x, g, "digital")
    chip.set_phases(*(np.ones(size) for size in (chip.mesh.count, chip.mesh.count, n)))
    found = energy.spent(PAPER, chip.meter.stages["idle"], energy.whole(chip.mesh))
    assert found.total_j == pytest.approx(energy.design("step", PAPER, n, m).total_j)
    assert energy.whole(chip.mesh) == (1, n, n * n, n, True, energy.FIELDS)


# -- noise costs energy ------------------------------------------------------------------------------------------------


DIM = energy.changed(
    THERMAL, rate_hz=1e9, bits=6, port_w=1e-5, reference_w=1e-3, port_loss_db=1.0, column_loss_db=0.2,
    responsivity_a_per_w=0.8, tia_a_per_rthz=1e-11,
)  # fmt: skip
"""Some 15,000 electrons a reading, which can be counted one by one."""


def test_noise_of_a_quadrature_is_that_of_counted_electrons() -> None:
    """Two photodiodes behind a coupler of signal and reference count Poisson electrons for 1 ns; then an amplifier."""
    draw, columns, count = np.random.default_rng(7), 16, 400_000
    told = energy.readout_noise(DIM, columns)
    t, r, q = 1e-9, 0.8, 1.602176634e-19
    power = 1e-5 * 10 ** (-(1.0 + columns * 0.2) / 10)
    x = 0.3
    fields = np.sqrt(1e-3 / 2) + np.array([1, -1]) * x * np.sqrt(power / 2)
    electrons = draw.poisson(r * fields[:, None] ** 2 * t / q, (2, count))
    unit = 2 * r * np.sqrt(power * 1e-3) * t / q  # electrons' difference at x = 1
    seen = (electrons[0] - electrons[1]) / unit
    assert seen.mean() == pytest.approx(x, abs=1e-3)
    assert seen.std() == pytest.approx(told.shot, rel=0.02)
    thermal = draw.normal(size=count) * 1e-11 * np.sqrt(1 / (2 * t)) / (q / t) / unit
    assert thermal.std() == pytest.approx(told.thermal, rel=0.02)
    step = 2 / 2**6
    whole = draw.uniform(-1, 1, count)
    assert (np.round(whole / step) * step - whole).std() == pytest.approx(told.quantisation, rel=0.02)
    assert told.sigma == pytest.approx(np.hypot(np.hypot(told.shot, told.thermal), told.quantisation))
    assert told.transmission == pytest.approx(np.sqrt(power / 1e-5))


def test_noise_of_a_power_is_that_of_counted_electrons() -> None:
    draw, columns = np.random.default_rng(8), 3
    told = energy.readout_noise(DIM, columns, "power")
    mean = 0.8 * 1e-5 * 10 ** (-(1.0 + columns * 0.2) / 10) * 1e-9 / 1.602176634e-19
    for amplitude in (1.0, 0.5):
        electrons = draw.poisson(mean * amplitude**2, 200_000)
        assert electrons.std() / mean == pytest.approx(told.shot * amplitude, rel=0.02)
    assert told.quantisation == pytest.approx(1 / 64 / np.sqrt(12))
    assert told.floor == pytest.approx(np.hypot(told.thermal, told.quantisation))


@pytest.mark.parametrize("readout", energy.READOUTS)
def test_noise_falls_with_light_and_time_and_grows_with_loss(readout: str) -> None:
    sigma = energy.readout_noise(DIM, 16, readout).sigma
    for better in ({"port_w": 2e-5}, {"rate_hz": 5e8}, {"column_loss_db": 0.1}, {"bits": 7}, {"tia_a_per_rthz": 0.0}):
        assert energy.readout_noise(energy.changed(DIM, **better), 16, readout).sigma < sigma
    assert energy.readout_noise(DIM, 17, readout).sigma > sigma


@pytest.mark.parametrize("readout", energy.READOUTS)
def test_light_sized_to_the_bits(readout: str) -> None:
    """Shot and thermal noise are then as large as quantisation; ten decibels more loss need ten times the light."""
    for columns in (1, 20, 70):
        noise = energy.readout_noise(energy.sized(DIM, columns, readout), columns, readout)
        assert np.hypot(noise.shot, noise.thermal) == pytest.approx(noise.quantisation)
    one, two = (energy.sized(DIM, columns, readout).port_w for columns in (10, 60))
    assert two == pytest.approx(10 * one)


def test_noise_without_light_is_refused() -> None:
    with pytest.raises(ChipError, match="leaves the light out"):
        energy.readout_noise(PAPER, 4)
    with pytest.raises(ChipError, match="use quadrature or power"):
        energy.readout_noise(THERMAL, 4, "field")


# -- runs, commands and the study --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the L2ight flow whose blocks share three cores."""
    out = tmp_path_factory.mktemp("cost") / "run"
    job = Job.preset("digits", {"chip.cores": 3, "cost.table": "mems", "model.width": 0.5})
    for _ in execute.execute(jobs.smoke(job), out, threads=1):
        pass
    return out


def test_a_run_says_what_it_cost(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert "energy_j" not in stages["pretrain"], "no chip was asked"
    for name in ("deploy", "calibrate", "map", "learn"):
        told = stages[name]
        assert told["energy_j"]["total"] == pytest.approx(sum(told["energy_j"].values()) / 2) and "chip_s" not in told
        counts = [its["counts"] for its in told["by_chip"].values()]
        for what in ("core_calls", "writes", "vectors", "settled", "loads"):
            assert sum(its.get(what, 0) for its in counts) == told[what]
    assert report["test_cost"]["chip_seconds"] > 0
    for stage in ("calibrate", "map", "learn"):
        seen = {what: logs.scalars(run)[f"{stage}/{what}"][2] for what in ("energy_j", "chip_s")}
        assert np.all(np.diff(seen["energy_j"]) >= 0) and 0 < seen["chip_s"][-1] <= stages[stage]["chip_seconds"]
    page = (run / "report.html").read_text()
    for words in ("Energy and time on the chips", "3 cores shared in time", "energy of these calls"):
        assert words in page


def test_bills_of_a_run_by_other_tables(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    own = {it.stage: it for it in bill.read(report)}
    for stage in report["stages"][1:]:
        assert own[stage["name"]].spent.total_j == pytest.approx(stage["energy_j"]["total"])
        assert own[stage["name"]].spent.seconds == pytest.approx(stage["chip_seconds"])
    hot = {it.stage: it.spent for it in bill.read(report, energy.TABLES["thermal"])}
    alone = {it.stage: it.spent for it in bill.read(report, cores=0)}
    learn = own["learn"]
    assert sum(learn.passes_j.values()) == pytest.approx(
        sum(learn.spent.energy_j[part] for part in energy.call_energy(energy.TABLES["mems"], 9))
    ), "every core call of learning belongs to a pass"
    assert hot["map"].energy_j["heaters"] > 1e3 * own["map"].spent.energy_j["heaters"]
    assert alone["learn"].seconds < own["learn"].spent.seconds
    for stage in report["stages"]:
        stage.pop("by_chip", None)
    assert bill.read(report | {"test_cost": {}}) == [], "reports of an older l2sim say nothing"


def l2sim(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["cost", *args])
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


def test_the_command_shows_runs_and_meshes_on_paper(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = l2sim(capsys, str(run))
    assert code == 0 and "holding phases, J" in out and "testing" in out
    code, out, _ = l2sim(capsys, "--table", "insitu-2023", "--modes", "4,64", "--batch", "255")
    assert code == 0 and "40.6" in out and "better than H100" in out
    code, out, _ = l2sim(capsys, "--explain")
    assert code == 0 and "Opt. Express 22, 10487" in out and "A/Hz^0.5" in out


@pytest.mark.parametrize(
    ("args", "words"),
    (
        (("--table", "gold"), "use thermal, suspended"), (("--set", "bits"), "write NAME=NUMBER"),
        (("--set", "bit=6"), "no constant bit"), (("--bits", "40"), "use 1 to 16"),
        (("--rate", "nan"), "not plausible"), (("--modes", "4,x"), "whole numbers from 2 to 4096"),
        (("--modes", "1"), "whole numbers"),
        (("no/such/run",), "not a run folder"), (("--cores", "4"), "name its folder"),
        (("RUN", "--batch", "4"), "meshes on paper"), (("--batch", "0"), "--batch"),
    ),
)  # fmt: skip
def test_bad_input_gets_one_line(
    args: tuple[str, ...], words: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = l2sim(capsys, *(str(run) if word == "RUN" else word for word in args))
    assert code == 2 and words in err and err.count("\n") == 1 and not out


def test_break_even() -> None:
    """At 0.635 N TOPS/W a product is better than 10 TOPS/W from N = 16 on; loss ends that, heaters forbid it."""
    ten = energy.Digital("ten", 1e-13, "")
    assert energy.break_even("mvm", PAPER, ten, most=40) == (16, 40)
    assert energy.break_even("mvm", THERMAL, ten, most=40) is None
    first, last = energy.break_even("mvm", energy.TABLES["electro-optic"], energy.DIGITAL["a100"], most=200) or (0, 0)
    assert 2 < first < 64 < last < 200


def test_scaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "MOST", 64)
    scaling.STUDY.main(["--full", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"scaling.csv", "scaling.md"} | {
        f"scaling{part}.{end}" for part in ("", "-parts", "-times", "-power", "-surface") for end in ("png", "svg")
    }
    found = {(it.table, it.modes): it for it in scaling.table()}
    for modes in scaling.SIZES:
        paper = found[scaling.PUBLISHED, modes]
        assert paper.product_tops_per_w == pytest.approx(0.635 * modes)
        assert paper.step_tops_per_w == pytest.approx(1 / (4.731 / modes + 0.0343 / scaling.BATCH), rel=2e-3)
    best = max(scaling.SIZES, key=lambda modes: found["electro-optic", modes].product_tops_per_w)
    assert 32 < best < 128, "what loss costs overtakes what a larger mesh gains"
