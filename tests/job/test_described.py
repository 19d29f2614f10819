"""Models of jobs: published and described ones, narrowed ones, for the pictures at hand; what does not fit is told."""

from __future__ import annotations

import json
import pickle
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.cli import main as cli
from l2sim.data.sets import DataSet
from l2sim.errors import DataError, JobError, ModelError, RunError
from l2sim.flow import flow
from l2sim.job import job as jobs
from l2sim.job import model as described
from l2sim.job.job import Job
from l2sim.nn import models, network
from l2sim.runs.execute import execute
from l2sim.store import checkpoint as checkpoints
from l2sim.store.events import Done, StageDone
from tests.places import EXAMPLES

SHORT = {"pretrain.epochs": 1, "calibrate.epochs": 2, "map.epochs": 2, "map.compare": False, "learn.epochs": 1}
SHORT |= {"calibrate.polish": 1, "map.polish": 1}
DENSE = [{"type": "Flatten"}, {"type": "Linear", "out": 10, "k": 4}]


def job(**more: Any) -> Job:
    return Job.preset("digits", SHORT | {path.replace("__", "."): value for path, value in more.items()})


def custom(layers: list[dict[str, Any]], size: tuple[int, ...] = (1, 8, 8), **more: Any) -> Job:
    return job(model__name="custom", model__input=list(size), model__layers=layers, **more)


@pytest.mark.parametrize(
    ("name", "usual", "convs"),
    [("vgg11", 9_231_114, 8), ("vgg13", 9_416_010, 10), ("vgg16", 14_728_266, 13), ("vgg19", 20_040_522, 16)],
)
def test_vgg_has_the_usual_layers(name: str, usual: int, convs: int) -> None:
    """The CIFAR variants' parameters, less the biases of convolutions and of the last layer."""
    layers, total = models.count(models.get(name))
    assert sum(key.startswith("conv") for key in layers) == convs
    biases = sum(count.parameters // 2 for key, count in layers.items() if key.startswith("bn"))
    assert total.parameters == usual - biases - 10


def test_resnet34_has_the_usual_parameters() -> None:
    # torchvision's CIFAR variant: 21,282,122 with the 10 biases of its last layer
    assert models.count(models.get("resnet34")).total.parameters == 21_282_112


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_can_be_narrowed_and_trains(name: str) -> None:
    spec = models.get(name, 3, width=0.03)
    net = network.build(spec, network.electronic(generator(0)))
    images = generator(1).random((4, *spec.input))
    logits = net.forward(images, train=True, rng=generator(2))
    net.backward(np.ones_like(logits))
    assert logits.shape == (3, 4) and all(np.isfinite(a).all() for a in net.gradients().values())


def test_the_pictures_decide_channels_and_classes() -> None:
    spec = described.model(job(), 7, 3)
    assert spec.input == (3, 16, 16) and spec.classes == 7
    spec = described.model(job(model__input=[1, 20, 24]), 10, 1)
    assert spec.input == (1, 20, 24)
    assert described.of_cores(jobs.load("cifar10-vgg8-map")) == models.get("vgg8")
    assert described.of_cores(jobs.load("tiny-imagenet-resnet18-map")).input == (3, 64, 64)
    assert described.of_cores(jobs.load("tiny-imagenet-resnet18-map")).classes == 200
    assert described.of_cores(custom(DENSE)).classes == 10


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: job(model__name="custom"), JobError, "needs model.layers and model.input"),
        (lambda: job(model__layers=DENSE), JobError, "describes a custom model, not cnn-s"),
        (lambda: custom(DENSE, model__width=0.5), JobError, "model.width narrows published models"),
        (lambda: job(model__input=[8, 8]), JobError, r"is no picture; use \[channels"),
        (lambda: job(model__input=[1, 0, 8]), JobError, "is no picture"),
        (lambda: custom([{"type": "Linnear", "out": 10}]), JobError, r"Invalid value 'Linnear' - at `layers\[0\]"),
        (lambda: custom([{"type": "Linear", "out": 10, "kk": 3}]), JobError, "unknown field `kk`"),
        (lambda: described.model(custom(DENSE[1:]), 10, 1), ModelError, "fc1: .*put Flatten before it"),
        (lambda: described.model(custom(DENSE), 7, 1), ModelError, r"end with Linear\(out=7\)"),
        (lambda: described.model(custom([DENSE[0], DENSE[1] | {"k": 65}]), 10, 1), ModelError, "k = 65 does not fit"),
        (lambda: described.model(custom(DENSE, (3, 8, 8)), 10, 1), JobError, "has 3 channels but digits has 1"),
        (lambda: job(data__name="own", data__pad=65), JobError, "0 to 64"),
        (lambda: Job.preset("insitu-digits", {"data.name": "cifar10"}), JobError, "in colour"),
    ],
)
def test_what_does_not_fit_is_one_line(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_data_set_from_python_trains_with_augmentation_and_is_the_same_twice() -> None:
    images = generator(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    own = DataSet(images[:32], np.arange(32) % 4, images[32:], np.arange(8) % 4, 4)
    layers = [{"type": "Flatten"}, {"type": "Linear", "out": 4, "k": 4}]
    whole = custom(layers, (3, 8, 8), data__name="own", data__pad=1, data__flip=True, data__normalise=True)
    ends = [next(e for e in flow.run(whole, own) if isinstance(e, Done)).report for _ in range(2)]
    told = [[{k: v for k, v in stage.items() if k != "seconds"} for stage in end["stages"]] for end in ends]
    assert told[0] == told[1] and len(told[0]) == 5
    wrong = DataSet(images[:, :1], np.arange(40) % 4, images[:8, :1], np.arange(8) % 4, 4)
    with pytest.raises(JobError, match="has 3 channels but own has 1"):
        list(flow.run(whole, wrong))
    with pytest.raises(DataError, match="in colour"):
        list(flow.run(Job.preset("insitu-digits"), own))


SMOKE = ["mnist-cnn-s-flops", "mnist-cnn-s-mixedtrn", "fashion-cnn-l-data", "cifar10-vgg8-swat"]


@pytest.mark.parametrize("name", [*SMOKE, "tiny-imagenet-resnet18-l2ight", "cifar100-vgg8-map"])
def test_the_experiments_have_smoke_runs(name: str) -> None:
    short = jobs.smoke(jobs.load(name))
    done = [event for event in flow.run(short) if isinstance(event, StageDone)]
    assert [event.stage for event in done] == ["pretrain", "deploy", "calibrate", "map", "learn"]
    assert all(np.isfinite(event.result.get("accuracy", 0.0)) for event in done)


def published_cifar(top: Path, classes: int, count: int = 40) -> Path:
    """A CIFAR of random pictures in the layout of its publisher."""
    fine = classes == 100
    folder = top / ("cifar-100-python" if fine else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    for name in ("train", "test") if fine else ("data_batch_1", "test_batch"):
        pictures = generator(1, name).integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = {b"fine_labels" if fine else b"labels": [i % classes for i in range(count)]}
        (folder / name).write_bytes(pickle.dumps({b"data": pictures} | labels, 2))
    return top


def test_a_network_of_cifar100_is_transferred_to_cifar10(tmp_path: Path) -> None:
    """The two presets of the published transfer, short, on files in the published layouts."""
    published_cifar(published_cifar(tmp_path, 100), 10)
    first, second = (
        jobs.with_overrides(jobs.smoke(jobs.load(preset)), [f"data.name='{data}'", "model.input=[3,32,32]"])
        for preset, data in (("cifar100-vgg8-map", "cifar100"), ("cifar10-vgg8-transfer", "cifar10"))
    )
    list(execute(first, tmp_path / "first", data=tmp_path))
    list(execute(second, tmp_path / "second", data=tmp_path, source=f"{tmp_path / 'first'}@map"))
    before, after = (
        checkpoints.read(tmp_path / where)[0].arrays
        for where in ("first/checkpoints/map.safetensors", "second/checkpoints/learn.safetensors")
    )
    last = "fc1.sigma.photonic" if "fc1.sigma.photonic" in before else "fc2.sigma.photonic"
    assert before[last].shape[0] > after[last].shape[0] == 2, "ten classes on cores of nine"
    for part in ("u", "v"):  # what lies below stays on the phases that it was mapped to
        for name in ("conv1", "conv3"):
            np.testing.assert_array_equal(before[f"{name}.{part}.mapped_phases"], after[f"{name}.{part}.mapped_phases"])
    told = json.loads((tmp_path / "second" / "report.json").read_text())
    assert told["stages"][-1]["name"] == "learn" and 0 <= told["stages"][-1]["accuracy"] <= 1
    with pytest.raises(RunError, match="100 classes and this one has 10"):
        list(execute(jobs.with_overrides(second, ["learn.new_classifier=false"]), tmp_path / "third", data=tmp_path,
                     source=f"{tmp_path / 'first'}@map"))  # fmt: skip


def test_the_models_command(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            cli.main(["models", *arguments])
        seen = capsys.readouterr()
        return seen.out + seen.err

    assert "48,586" in shown() and "1,253,178" in shown()
    layers = shown("cnn-l", "cifar10-vgg8-map", str(EXAMPLES / "residual.toml"))
    assert "1,432" in layers and "437,274" in layers and "block1.conv2" in layers
    assert "did you mean vgg8?" in shown("vgg")


@pytest.mark.parametrize("name", ["own_network.py", "own_data.py"])
def test_the_examples_describe_jobs_that_run(name: str) -> None:
    made = runpy.run_path(str(EXAMPLES / name))
    whole = Job.preset("digits", {"data.name": "synthetic"} | made["own"] | SHORT)
    events = list(flow.run(whole, made.get("data")))
    assert isinstance(events[-1], Done)
    file = jobs.load(EXAMPLES / "residual.toml")
    assert name != "own_network.py" or [*map(type, file.model.layers)] == [*map(type, whole.model.layers)]
