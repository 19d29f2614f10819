"""The file of a sweep: what it plans, point by point, and the one line for everything that is wrong with it."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.errors import JobError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.sweep import plan as sweep_plan
from l2sim.sweep import share
from l2sim.sweep.cluster import Section


def plan(text: str, folder: Path, name: str = "sweep.toml") -> sweep_plan.Plan:
    (folder / name).write_text(text)
    return sweep_plan.load(folder / name)


def test_a_grid_is_every_combination_and_the_last_field_changes_fastest(tmp_path: Path) -> None:
    it = plan('job = "digits"\nsmoke = true\n[grid]\nseed = [1, 2]\n"nonidealities.phase_bits" = [6, 8, 0]\n', tmp_path)
    assert len(it) == 6
    assert [tuple(it.values(index).values()) for index in range(6)] == [*itertools.product([1, 2], [6, 8, 0])]
    assert it[4] == jobs.with_overrides(jobs.smoke(jobs.load("digits")), ["seed=2", "nonidealities.phase_bits=8"])


def test_fields_may_be_written_in_any_of_tomls_ways(tmp_path: Path) -> None:
    ways = ('[grid]\n"learn.lr" = [1, 2]\n', "[grid]\nlearn.lr = [1, 2]\n", "[grid.learn]\nlr = [1, 2]\n")
    digests = {plan(way, tmp_path).digest for way in ways}
    assert [plan(way, tmp_path)[1].learn.lr for way in ways] == [2.0, 2.0, 2.0]
    assert len(digests) == 1


def test_the_cluster_is_no_part_of_what_is_compared(tmp_path: Path) -> None:
    text = "[grid]\nseed = [1]\n"
    it = plan(text + "[cluster]\nkind = 'local'\nworkers = 2\nshared = false\n", tmp_path)
    assert it.cluster == Section("local", 2, False) and it.digest == plan(text, tmp_path).digest


def test_lists_go_side_by_side_and_multiply_with_the_rest(tmp_path: Path) -> None:
    it = plan('[list]\n"pretrain.lr" = [1, 2]\n"learn.lr" = [3, 4]\n[grid]\nseed = [1, 2, 3]\n', tmp_path)
    assert [tuple(it.values(i).values()) for i in range(len(it))] == [
        (lr, fast, seed) for lr, fast in ((1, 3), (2, 4)) for seed in (1, 2, 3)
    ]


def test_the_job_is_a_preset_a_file_beside_or_a_section(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[learn]\nepochs = 3\n")
    for job in ('job = "mine.toml"\n', "[job.learn]\nepochs = 3\n"):
        assert plan(job + "[grid]\nseed = [1, 2]\n", tmp_path)[1].learn.epochs == 3
    assert plan('job = "insitu-moons"\n[grid]\nseed = [1, 2]\n', tmp_path)[0].flow == "insitu"
    for overrides in ('overrides = ["learn.epochs=7"]\n[grid]\n', '[overrides]\n"learn.epochs" = 7\n[grid]\n'):
        assert plan(overrides + "seed = [1]\n", tmp_path)[0].learn.epochs == 7


def test_latin_samples_meet_every_nth_of_every_range_once(tmp_path: Path) -> None:
    it = plan(
        "[latin]\nsamples = 40\n"
        '"learn.lr" = {low = 1e-4, high = 1e-2, log = true}\n"nonidealities.gamma_std" = {low = 0, high = 0.01}\n',
        tmp_path,
    )
    lr, gamma = np.array([list(it.values(index).values()) for index in range(40)]).T
    for shares in (np.log(lr / 1e-4) / np.log(100), gamma / 0.01):
        assert sorted(np.floor(40 * shares).astype(int)) == [*range(40)]
    assert abs(np.corrcoef(lr, gamma)[0, 1]) < 0.5


def test_random_samples_are_drawn_by_number_and_whole_where_the_field_is(tmp_path: Path) -> None:
    text = "[random]\nsamples = {}\ndraw = {}\ncalibrate.epochs = {{low = 1, high = 3}}\nmap.method = ['zcd', 'ztp']\n"
    first, longer, other = (plan(text.format(*told), tmp_path) for told in ((30, 0), (60, 0), (30, 1)))
    assert [first.values(i) for i in range(30)] == [longer.values(i) for i in range(30)]
    assert [first.values(i) for i in range(30)] != [other.values(i) for i in range(30)]
    assert {first[i].calibrate.epochs for i in range(30)} == {1, 2, 3}
    assert {first[i].map.method for i in range(30)} == {"zcd", "ztp"}


def test_a_varied_job_is_the_job_made_from_the_beginning(tmp_path: Path) -> None:
    base = jobs.load("digits")
    values: dict[str, Any] = {"seed": 3, "nonidealities.phase_bits": 6, "map.snapshots": [20], "learn.lr": 1}
    made = jobs.varied(base, {path: jobs.field(path, value) for path, value in values.items()})
    assert made == Job.preset("digits", values) == jobs.from_dict(jobs.to_dict(made))
    it = plan('[grid]\nflow = ["l2ight", "insitu"]\n', tmp_path)
    assert [job.flow for job in it] == ["l2ight", "insitu"]


def test_names_are_stable_readable_and_tell_jobs_apart(tmp_path: Path) -> None:
    text = "[grid]\nseed = [1, 2, 1]\n"
    one, two = plan(text, tmp_path), plan(text, tmp_path)
    names = [one.name(index) for index in range(3)]
    assert names == [two.name(index) for index in range(3)] and len(set(names)) == 3
    assert names[0].startswith("0-") and names[0][2:] == names[2][2:] != names[1][2:]
    assert sweep_plan.plan(one.source).digest == one.digest


@pytest.mark.parametrize("text, line", (
    ("[grid]\nseed = 3\n", "[grid] seed = 3 is not a list; write seed = [3]"),
    ("[grid]\nseed = []\n", "[grid] seed = [] has no values"),
    ("[grid]\nsede = [1]\n", "[grid] there is no field sede; did you mean seed?"),
    ("[grid]\n'nonidealities.fase_bits' = [1]\n", "did you mean nonidealities.phase_bits?"),
    ("[grid]\nseed = [1, -1]\n", "[grid] seed = -1 is out of range"),
    ("[grid]\n'map.method' = ['zcd', 'ztq']\n", "[grid] map.method = 'ztq' is unknown; did you mean ztp?"),
    ("[grid]\n'map.epochs' = [10, 5]\n'map.snapshots' = [[], [7]]\n",
     "point 3 (map.epochs = 5, map.snapshots = (7,)): map.snapshots has epoch 7"),
    ("[grid]\n'insitu.modes' = [8]\n", "point 0 (insitu.modes = 8): insitu.modes belongs to flow = 'insitu'"),
    ("[grd]\nseed = [1]\n", "a sweep has no grd; did you mean grid?"),
    ("job = 'digts'\n[grid]\nseed = [1]\n", "there is no preset 'digts'; did you mean digits?"),
    ("job = 3\n[grid]\nseed = [1]\n", "job = 3 is no job"),
    ("smoke = 1\n[grid]\nseed = [1]\n", "smoke = 1 is neither true nor false"),
    ("threads = 0\n[grid]\nseed = [1]\n", "threads = 0 is no whole number from 1 to"),
    ("job = 'digits'\n", "nothing varies; give it a section such as [grid]"),
    ("[list]\nseed = [1, 2]\n'learn.lr' = [1]\n", "[list] its lists go side by side, but their lengths differ"),
    ("[grid]\nseed = [1]\n[list]\nseed = [2]\n", "seed varies twice"),
    ("[random]\nseed = [1]\n", "[random] says not how many; write samples = 100"),
    ("[latin]\nsamples = 3\n'learn.lr' = {low = 0, high = 1, log = true}\n", "low must be below high and above 0"),
    ("[latin]\nsamples = 3\n'learn.lr' = {low = 1}\n", "learn.lr = {'low': 1} is no range; write {low = 1e-4"),
    ("[latin]\nsamples = 3\n'learn.lr' = {low = 1, high = 999}\n", "[latin] learn.lr = 999 is out of range"),
    ("[latin]\nsamples = 3\n'map.method' = {low = 'zcd', high = 'ztp'}\n", "map.method is no number"),
    (f"[grid]\nseed = {[*range(3000)]}\n'learn.epochs' = {[*range(4000)]}\n", "there are 12,000,000 points"),
    ("[cluster]\nkind = 'slrum'\n[grid]\nseed = [1]\n", "[cluster] kind = 'slrum': use one of local, slurm"),
    ("[cluster]\nworkers = 0\n[grid]\nseed = [1]\n", "[cluster] workers = 0: use a whole number from 1"),
    ("[cluster]\nworkers = true\n[grid]\nseed = [1]\n", "[cluster] workers = True: use a whole number from 1"),
    ("[cluster]\nqueue = 'a'\n[grid]\nseed = [1]\n", "[cluster] has no queue"),
    ("[grid\n", "is not valid TOML"),
))  # fmt: skip
def test_every_mistake_has_its_line(text: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        plan(text, tmp_path).check()
    assert line in str(caught.value) and "\n" not in str(caught.value)
    if not line.startswith("point"):
        assert str(tmp_path / "sweep.toml") in str(caught.value)


def test_a_plan_of_a_hundred_thousand_points_is_small(tmp_path: Path) -> None:
    tracemalloc.start()
    it = plan(
        "[grid]\nseed = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n[latin]\nsamples = 10000\n'learn.lr' = {low = 1, high = 2}\n",
        tmp_path,
    )
    assert len(it) == 100_000 and it[99_999].seed == 10
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.parametrize("text, stages", (
    ("[grid]\n'learn.lr' = [1, 2]\n", ("map",)),
    ("[grid]\nseed = [1, 2]\n", ()),
    ("[grid]\nseed = [1, 2]\n'learn.lr' = [1, 2]\n", ("map",)),
    ("[grid]\nseed = [1, 2]\n'map.lr' = [0.1, 0.2]\n'learn.lr' = [1, 2]\n", ("calibrate", "map")),
    ("[grid]\nseed = [1, 2]\n'nonidealities.gamma_std' = [0.001, 0.002]\n", ("pretrain",)),
    ("[list]\nseed = [1, 1]\n'learn.lr' = [1, 2]\n", ("map",)),
    ("[list]\nseed = [1, 2]\n'learn.lr' = [1, 2]\n", ()),
    ("[grid]\n'learn.new_classifier' = [true, false]\n", ("pretrain",)),
    ("job = 'insitu-digits'\n[grid]\n'learn.lr' = [1, 2]\n", ()),
))  # fmt: skip
def test_stages_are_shared_where_points_agree_up_to_them(text: str, stages: tuple[str, ...], tmp_path: Path) -> None:
    it = plan(text, tmp_path)
    assert share.stages(it) == stages
    for stage in stages:
        assert len({share.key(job, stage) for job in it}) < len(it)


def test_a_key_is_about_the_content_of_a_file_of_weights(tmp_path: Path) -> None:
    keys = set()
    for number in range(2):
        (tmp_path / f"{number}.npz").write_bytes(bytes([number]))
        job = Job.preset("digits", {"pretrain.weights": str(tmp_path / f"{number}.npz")})
        keys.add(share.key(job, "map"))
    assert len(keys) == 2
    with pytest.raises(JobError, match="cannot be read"):
        share.key(Job.preset("digits", {"pretrain.weights": "nowhere.npz"}), "map")
