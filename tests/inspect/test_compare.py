"""Runs beside each other: by stage and epoch, by time or joules; which fields differ; what cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2sim.inspect import axes, compare
from l2sim.inspect.run import Recorded, Stage
from l2sim.job.job import Job
from l2sim.runs.execute import execute
from l2sim.store.events import Changed, EpochEnd, Record, StageEnd
from l2sim.store.follow import Curve


@dataclass
class Told:
    """A run as its logs tell it."""

    stages: list[Stage]
    events: list[Record]
    curves: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        return max(stage.last_step or stage.first_step for stage in self.stages) if self.stages else 0

    @property
    def series(self) -> list[str]:
        return list(self.curves)

    def scalar(self, name: str) -> Curve:
        steps, values = (np.array(column, float) for column in self.curves[name])
        return Curve(steps, values, steps)


def told(**epochs: tuple[int, int]) -> Told:
    """A run of stages of so many epochs of so many steps each, every one of which costs 1 J and 2 s a step."""
    run, step = Told([], []), 0
    for name, (count, length) in epochs.items():
        ends = [step + length * (i + 1) for i in range(count)]
        run.stages.append(Stage(name, step, step + length * count, count))
        run.events += [EpochEnd(name, i + 1, end) for i, end in enumerate(ends)]
        run.events.append(StageEnd(name, {"core_calls": 10 * count * length if name != "pretrain" else 0}))
        if name != "pretrain":
            run.curves[f"{name}/energy_j"] = ends, [float(end - step) for end in ends]
            run.curves[f"{name}/chip_s"] = ends, [2.0 * (end - step) for end in ends]
        step += count * length
    return run


def place(run: Told, kind: str, step: float) -> float:
    made = axes.axis(run, kind)
    assert isinstance(made, axes.Axis), made
    return float(made.at(step))


# ---------------------------------------------------------------------------------------------------- axes


def test_every_axis_of_a_run() -> None:
    run = told(pretrain=(2, 10), calibrate=(5, 4), learn=(3, 20))
    assert place(run, axes.STEP, 33) == 33
    assert [place(run, axes.EPOCH, step) for step in (0, 5, 20, 22, 40, 70, 100)] == [0, 0.5, 2, 2.5, 7, 8.5, 10]
    assert [place(run, axes.STAGE, step) for step in (0, 10, 20, 30, 40, 100)] == [0, 0.5, 1, 1.5, 2, 3]
    assert [place(run, axes.ENERGY, step) for step in (0, 20, 24, 40, 60, 100)] == [0, 0, 4, 20, 40, 80]
    assert place(run, axes.TIME, 60) == 80
    assert [place(run, axes.CALLS, step) for step in (20, 30, 40, 70)] == [0, 100, 200, 500]


@given(
    st.lists(st.tuples(st.sampled_from(["pretrain", "calibrate", "map", "learn"]), st.integers(1, 9),
                       st.integers(1, 30)), min_size=1, max_size=4, unique_by=lambda stage: stage[0]),
    st.lists(st.floats(-10, 1200), min_size=2, max_size=20),
)  # fmt: skip
def test_an_axis_never_falls_and_leads_back(stages: list[tuple[str, int, int]], steps: list[float]) -> None:
    run = told(**{name: (count, length) for name, count, length in stages})
    for kind, made in axes.axes(run).items():
        if isinstance(made, str):
            assert kind in (axes.TIME, axes.CALLS, axes.ENERGY) and [stage[0] for stage in stages] == ["pretrain"]
            continue
        places = made.at(np.sort(steps))
        assert np.isfinite(places).all() and np.all(np.diff(places) >= 0)
        for where in places:
            assert made.at(made.step(float(where))) == pytest.approx(where, abs=1e-9)


def test_an_axis_that_a_run_lacks_says_why() -> None:
    run = told(pretrain=(2, 10))
    assert axes.axis(run, axes.ENERGY) == "no stage was billed for the chips' work yet"
    assert axes.axis(run, axes.CALLS) == "no light was sent through a core yet"
    assert axes.axis(Told([], []), axes.STAGE) == "no stage has begun yet"
    assert axes.axis(Told([Stage("learn", 0, None, 3)], []), axes.EPOCH) == "no epoch has ended yet"
    going = told(learn=(2, 10))
    going.stages, going.events = [Stage("learn", 0, None, 5)], going.events[:2]
    assert axes.axis(going, axes.CALLS) == "learn tells its core calls when it ends"


def test_the_clock_of_chips_that_drift_is_their_time() -> None:
    run = told(learn=(2, 10))
    run.curves["learn/clock_s"] = [10, 20], [3600.0, 7300.0]
    assert [place(run, axes.TIME, step) for step in (5, 20)] == [1800, 7300]
    assert "the chips' clock" in str(axes.beside(told(learn=(2, 10)), run, axes.TIME))


# --------------------------------------------------------------------------------------- another run beside


def test_runs_lie_beside_each_other_by_stage_and_epoch() -> None:
    run, other = told(pretrain=(2, 10), learn=(4, 5)), told(pretrain=(2, 30), learn=(4, 10))
    wanted_by = {axes.STEP: [10, 20, 22.5, 40], axes.EPOCH: [1, 2, 2.5, 6], axes.STAGE: [0.5, 1, 1.125, 2]}
    for kind, wanted in wanted_by.items():
        lies = axes.beside(other, run, kind)
        assert isinstance(lies, axes.Axis)
        np.testing.assert_allclose(lies.at(np.array([30, 60, 65, 100])), wanted)
    assert compare.moment(other, run, 30) == 80
    energy = axes.beside(other, run, axes.ENERGY)
    assert isinstance(energy, axes.Axis) and energy.at(100.0) == 40


def test_epochs_that_the_run_lacks_lie_beyond_its_end_or_nowhere() -> None:
    run, other = told(pretrain=(2, 10), learn=(2, 5)), told(pretrain=(4, 10), learn=(4, 5))
    lies = axes.beside(other, run, axes.STEP)
    assert isinstance(lies, axes.Axis)
    np.testing.assert_allclose(lies.at(np.array([20, 30, 40, 50, 60])), [20, np.nan, 20, 30, 40])
    assert lies.step(30.0) == 50
    assert axes.beside(told(map=(2, 2)), run, axes.EPOCH) == "the runs have no stage in common yet"


# ---------------------------------------------------------------------------------------------------- jobs


def test_other_data_and_other_shapes_are_refused_in_a_line() -> None:
    run = Job.preset("digits")
    assert compare.refusal(run, Job.preset("digits", {"nonidealities.phase_bits": 4, "learn.epochs": 3}), "b") == ""
    data = compare.refusal(run, Job.preset("digits", {"data.name": "mnist"}), "b")
    assert data == "b cannot be compared: it learns mnist, this run digits"
    wide = compare.refusal(run, Job.preset("digits", {"model.width": 0.5}), "b")
    assert "b cannot be compared: its layer" in wide and "this run's" in wide and "\n" not in wide
    other = compare.refusal(run, Job.preset("insitu-digits"), "b")
    assert "its network has the layers mesh1" in other


@dataclass
class Begun:
    """A run, as far as its job counts."""

    job: Job
    events: list[Record] = field(default_factory=list)

    def job_at(self, step: int | None) -> Job:
        return self.job


def test_the_fields_in_which_jobs_differ() -> None:
    """A preset's value and the same one set are no difference; what was changed on the way is one."""
    bits, noise = "nonidealities.phase_bits", "nonidealities.readout_noise"
    runs = [
        Begun(Job.preset("digits", {"name": "a"})),
        Begun(Job.preset("digits", {bits: 8, "learn.lr": 0.5})),
        Begun(Job.preset("digits"), [Changed("learn", 40, "step", noise, 0.02)]),
    ]
    table = compare.differences(runs)  # type: ignore[arg-type]
    assert list(table) == [noise, "learn.lr"]
    assert [one.value for one in table["learn.lr"]][1] == 0.5
    assert table[noise][2].changes == ((40, 0.02),) and table[noise][0].changes == ()
    flows = compare.differences([runs[0], Begun(Job.preset("insitu-digits"))])  # type: ignore[list-item]
    assert flows["flow"][1].value == "insitu" and flows["map.epochs"][1].value is None


# ----------------------------------------------------------------------------------------------- gradients


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "moons"
    for _ in execute(Job.preset("insitu-moons", {"learn.epochs": 2}), out, page=False):
        pass
    return out


def test_gradients_have_the_cosine_that_the_run_recorded(moons: Path) -> None:
    run = Recorded(moons)
    layer = next(iter(run.grids))
    found = compare.gradients(run, layer)
    assert isinstance(found, compare.Gradients) and found.true.shape == found.measured.shape and found.true.any()
    error = run.scalar(f"learn/oracle_gradient_error_{layer}")
    told_then = error.values[error.steps == found.step]
    assert 1 - found.cosine == pytest.approx(told_then[-1], abs=1e-6)  # frames are float32
    assert "were recorded by this step" in str(compare.gradients(run, layer, 0))
    for kind, made in axes.axes(run_model(moons)).items():
        assert isinstance(made, axes.Axis), (kind, made)
        assert np.all(np.diff(made.at(np.linspace(0, 100, 50))) >= 0)


def run_model(folder: Path) -> axes.Followed:
    from l2sim.gui.base.model import open_run

    return open_run(folder)


def test_gradients_of_cores_are_said_not_to_be_there(digits_run: Path) -> None:
    run = Recorded(digits_run)
    assert "is made of cores" in str(compare.gradients(run, next(iter(run.grids))))
