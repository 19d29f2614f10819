"""Jobs: defaults, presets, TOML, overrides, and what every mistake is told."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2sim.errors import JobError
from l2sim.job import imperfections, presets
from l2sim.job import job as jobs
from l2sim.job.flows import FLOWS
from l2sim.job.imperfections import Nonidealities
from l2sim.job.job import Job
from l2sim.job.sections import Model

DIGITS = jobs.load("digits")


def test_digits_has_the_published_settings() -> None:
    assert Job() == DIGITS, "the defaults are those of the preset digits"
    assert (DIGITS.model.name, DIGITS.data.name, DIGITS.precision) == ("cnn-s", "digits", "float64")
    p, c, m, n = DIGITS.pretrain, DIGITS.calibrate, DIGITS.map, DIGITS.learn
    assert (p.epochs, p.batch, p.lr, p.lr_floor, p.weight_decay) == (100, 32, 2e-3, 2e-5, 0.01)
    assert (c.method, c.epochs, c.lr, c.decay, c.best_record, c.adaptive) == ("zcd", 400, 0.1, 0.99, True, False)
    assert (m.method, m.epochs, m.lr, m.start, m.compare) == ("zcd", 300, 0.1, "calibrated", True)
    assert (n.epochs, n.batch, n.lr, n.lr_floor, n.optimizer, n.schedule) == (30, 32, 1e-3, 1e-4, "adamw", "cosine")
    assert imperfections.chosen(DIGITS.nonidealities) == {}


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_is_valid_cited_and_survives_toml(name: str) -> None:
    job = Job.preset(name)
    assert job.name == name and jobs.load(name) == job
    assert jobs.from_toml(jobs.to_toml(job)) == job
    cited = "2110.14807" if job.flow == "l2ight" else "Science 380, 398"
    assert cited in presets.PRESETS[name].source and "\n" not in presets.PRESETS[name].about


def test_every_field_says_what_it_is() -> None:
    fields = {field.path: field for flow in FLOWS.values() for field in jobs.describe(jobs.load(flow.preset))}
    sections = jobs.sections()
    plain = len(Job.__struct_fields__) - len(sections)
    assert len(fields) == plain + sum(len(section.__struct_fields__) for section in sections.values())
    for field in fields.values():
        assert field.meaning and "\n" not in field.meaning
        free = field.path in ("name", "device", "pretrain.weights", "nonidealities.devices") or ".curve" in field.path
        assert field.range or free or isinstance(field.value, tuple)
    assert fields["nonidealities.phase_bias"][2:4] == ("rad", "0 to pi")
    assert jobs.describe(DIGITS)[0].path == "name" and fields["calibrate.lr"].range == "0 to 2 pi"
    assert fields["map.start"].range == "calibrated, ideal"


def test_the_departures_are_fields_of_the_chips_physics() -> None:
    physics = pytest.importorskip("l2sim.chip.nonidealities").Nonidealities
    assert set(Nonidealities.__struct_fields__) - {"base"} == set(physics.__struct_fields__)


def test_the_models_exist() -> None:
    models = pytest.importorskip("l2sim.nn.models")
    names = msgspec.inspect.type_info(Model).fields[0].type.type.values  # type: ignore[attr-defined]
    assert set(names) == {*models.MODELS, "custom"}


def test_settings_change_fields() -> None:
    settings = ["learn.epochs=5", "map.method=ztp", " data.name = fashion-mnist", "map.compare=false", "learn.lr=.5"]
    settings += ["map.snapshots=[20, 100]", "nonidealities.phase_bits=6", 'name="a-b"']
    job = jobs.with_overrides(DIGITS, settings)
    assert (job.learn.epochs, job.map.method, job.data.name, job.map.compare) == (5, "ztp", "fashion-mnist", False)
    assert (job.learn.lr, job.map.snapshots, job.name) == (0.5, (20, 100), "a-b")
    assert imperfections.chosen(job.nonidealities) == {"phase_bits": 6}
    assert set(jobs.differences(job, DIGITS)) == {
        *("learn.epochs", "map.method", "data.name", "map.compare", "learn.lr", "map.snapshots", "name"),
        "nonidealities.phase_bits",
    }
    assert jobs.with_overrides(DIGITS, ["learn.epochs=5", "learn.epochs=6"]).learn.epochs == 6
    assert Job.preset("digits", {"learn.epochs": 5, "learn.lr": 1}).learn.lr == 1.0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("learn.epcohs=5", "learn.epcohs; did you mean learn.epochs?"),
        ("lern.epochs=5", "did you mean learn.epochs?"),
        ("calibration.epochs=5", "did you mean calibrate.epochs?"),
        ("epochs=5", "pretrain.epochs or calibrate.epochs or map.epochs or learn.epochs"),
        ("phase_bits=5", "did you mean nonidealities.phase_bits?"),
        ("quux.zzz=5", "`l2sim presets --explain` lists every field"),
        ("learn=5", "learn is a section; set one of its fields, e.g. learn.epochs"),
        ("learn.epochs=-1", "learn.epochs = -1 is out of range; use a whole number from 0 to 1,000,000 (epochs)"),
        ("learn.epochs=ten", "is text; use a whole number"),
        ("learn.epochs=1.5", "is a number with a fraction; use a whole number"),
        ("learn.epochs=true", "learn.epochs = true is true/false; use a whole number"),
        ("learn.lr=-1e-3", "learn.lr = -0.001 is out of range; use a number from 0 to 100"),
        ("learn.lr=nan", "not a finite number"),
        ("learn.lr=inf", "not a finite number"),
        ("learn.lr=[1]", "is a list; use a number"),
        ("learn.lr={a=1}", "is a table; use a number"),
        ("learn.lr=2020-01-01", "of the wrong type; use a number"),
        ("learn.lr=", "has no value"),
        ("learn.lr", "write path=value"),
        ("=3", "write path=value"),
        ("learn.lr=1\nseed=3", "cannot be read"),
        ("learn.lr='", "cannot be read"),
        ("nonidealities.phase_bias=3.2", "out of range; use a number from 0 to pi (rad)"),
        ("nonidealities.phase_bits=1", "2 to 16 bit"),
        ("nonidealities.phase_bits=17", "0 to 16 (bit)"),
        ("nonidealities.drive=volts", "did you mean voltage?"),
        ("map.method=ZCD", "did you mean zcd? use one of zcd, ztp, zgd"),
        ("map.method=3", "is a whole number; use one of zcd, ztp, zgd"),
        ("map.compare=yes", "use true or false"),
        ("map.snapshots=[301]", "use epochs from 1 to map.epochs = 300"),
        ("map.snapshots=5", "use a list of whole numbers"),
        ("nonidealities.curve=[0, nan]", "not a finite number; use a list of numbers"),
        ("nonidealities.curve=[0, 'a']", "is a list; use a list of numbers"),
        ("learn.lr_floor=0.01", "lower the floor"),
        ("seed=-1", "0 to 2^32 - 1"),
        ("seed=99999999999999999999999", "out of range"),
        ("precision=float16", "use one of float64, float32"),
        ("name=../up", "cannot name a folder"),
        ("name=''", "cannot name a folder"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(setting: str, words: str) -> None:
    with pytest.raises(JobError) as caught:
        jobs.with_overrides(DIGITS, [setting])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_stuck_and_dead_heaters_share_the_same_heaters() -> None:
    with pytest.raises(JobError, match="add up"):
        jobs.with_overrides(DIGITS, ["nonidealities.stuck=0.6", "nonidealities.dead=0.5"])


def test_a_file_is_read_and_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "my first job.toml"
    path.write_text('[learn]\nepochs = 7\n[nonidealities]\nbase = "ideal"\n', encoding="utf-8")
    job = jobs.load(path)
    assert job.name == "my-first-job" and job.learn.epochs == 7 and job.nonidealities.base == "ideal"
    assert job.map == DIGITS.map
    path.write_text(jobs.to_toml(job), encoding="utf-8")
    assert jobs.load(str(path)) == job


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "sets nothing"),
        (b"# only a comment\n", "sets nothing"),
        (b"[learn]\nepochs = \n", "line 2"),
        (b"[learn]\nepochs = 3\nepochs = 4\n", "line 3"),
        (b"[learn]\nepochs = -1\n", "job.toml: learn.epochs = -1 is out of range"),
        (b"[lern]\nepochs = 3\n", "did you mean learn.epochs?"),
        (b"learn = 3\n", "learn is a section"),
        (b"[learn.more]\nx = 1\n", "no field learn.more"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    with pytest.raises(JobError) as caught:
        jobs.load(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="did you mean digits"):
        jobs.load("digitz")
    with pytest.raises(JobError, match=r"l2sim presets.*job\.toml"):
        jobs.load("xyzzy")
    with pytest.raises(JobError, match="there is no file"):
        jobs.load(tmp_path / "none.toml")
    with pytest.raises(JobError, match=r"is a folder.*job\.toml"):
        jobs.load(tmp_path)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_has_a_smoke_run(name: str) -> None:
    job = jobs.smoke(jobs.load(name))
    assert job.learn.epochs <= 1 and job.data.name in ("synthetic", "moons", "ring")


def test_smoke_is_short_and_needs_no_data() -> None:
    job = jobs.smoke(jobs.with_overrides(jobs.load("fashion-mlp"), ["map.snapshots=[300]"]))
    assert (job.data.name, job.model.name, job.name) == ("synthetic", "mlp", "smoke")
    assert max(job.pretrain.epochs, job.calibrate.epochs, job.map.epochs, job.learn.epochs) <= 2
    assert not job.map.compare and job.map.snapshots == ()


def test_a_job_has_the_fields_of_its_flow() -> None:
    job = jobs.from_toml('flow = "insitu"')
    assert jobs.differences(job, jobs.load("insitu-digits")) == ["name"]
    assert (job.precision, job.learn.optimizer, job.insitu.layers) == ("float32", "adam", 3)
    sections = {field.path.partition(".")[0] for field in jobs.describe(job) if "." in field.path}
    wanted = {"data", "nonidealities", "insitu", "learn", "upkeep", "cost"}
    assert sections == wanted == set(jobs.to_dict(job)) & set(jobs.sections())
    turned = jobs.with_overrides(DIGITS, ["flow=insitu", "insitu.layers=2"])
    assert turned.flow == "insitu" and turned.insitu.layers == 2 and turned.learn == DIGITS.learn


@pytest.mark.parametrize(
    ("preset", "setting", "words"),
    [
        ("digits", "insitu.modes=8", "insitu.modes belongs to flow = 'insitu', and this job's flow is 'l2ight'"),
        ("insitu-digits", "calibrate.epochs=3", "calibrate.epochs belongs to flow = 'l2ight'"),
        ("insitu-digits", "insitu.modes=9", "is too few: 10 classes of 1 port need 10 modes"),
        ("insitu-digits", "insitu.group=7", "10 classes of 7 ports need 70 modes"),
        ("insitu-digits", "insitu.modes=0", "1 to 1,024 (ports)"),
        ("insitu-moons", "insitu.group=1", ""),
        ("insitu-moons", "insitu.modes=3", "is too few: 2 classes of 2 ports need 4 modes"),
        ("digits", "data.name=moons", "points, for flow = 'insitu' only"),
        ("digits", "learn.legacy_adam=true", "belong to flow = 'insitu'"),
        ("digits", "learn.shuffle=false", "belong to flow = 'insitu'"),
        ("insitu-digits", "learn.feedback_sparsity=0.5", "belongs to flow = 'l2ight'"),
        ("insitu-fashion", "learn.optimizer=sgd", ""),
        ("insitu-digits", "insitu.scheme=analogue", "did you mean analog?"),
        ("insitu-digits", "insitu.nonlinearity=relu", "use one of abs, power, electro-optic, saturable"),
        ("insitu-digits", "flow=in-situ", "did you mean insitu?"),
    ],
)
def test_what_a_flow_cannot_do_is_told_in_one_line(preset: str, setting: str, words: str) -> None:
    if not words:
        jobs.with_overrides(jobs.load(preset), [setting])
        return
    with pytest.raises(JobError) as caught:
        jobs.with_overrides(jobs.load(preset), [setting])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_legacy_adam_wants_adam() -> None:
    with pytest.raises(JobError, match="about adam"):
        Job.preset("insitu-fashion", {"learn.legacy_adam": True, "learn.optimizer": "sgd"})
    with pytest.raises(JobError, match="too few for points"):
        Job.preset("insitu-moons", {"insitu.modes": 3, "insitu.group": 1})


def test_the_published_noise_levels_are_presets() -> None:
    for name, level in presets.NOISE.items():
        job = jobs.load(f"insitu-noise-{name}")
        assert imperfections.chosen(job.nonidealities) == {"io_input": False} | level
        assert (job.insitu.light, job.insitu.noise, job.insitu.loss) == ("matrix", "frozen", "batch-softmax")
        assert {path.partition(".")[0] for path in jobs.differences(job, jobs.load("insitu-noise"))} == {
            "name",
            "nonidealities",
        }


_NUMBERS = {f.path: f for f in jobs.describe(DIGITS) if " to " in f.range}


@given(path=st.sampled_from(sorted(_NUMBERS)), value=st.floats(allow_nan=True) | st.integers() | st.text(max_size=5))
def test_any_value_gives_a_job_that_survives_toml_or_one_line(path: str, value: float | int | str) -> None:
    try:
        job = Job.preset("digits", {path: value})
    except JobError as error:
        assert path in str(error) or "lr_floor" in str(error)
        assert "\n" not in str(error)
    else:
        assert isinstance(value, int) or math.isfinite(float(value))
        assert jobs.from_toml(jobs.to_toml(job)) == job
