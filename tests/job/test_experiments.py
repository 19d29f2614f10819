"""The names of L2ight's experiments: the published scripts, written down a second time, and what is behind names."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from l2sim.errors import JobError
from l2sim.job import experiments
from l2sim.job import job as jobs
from l2sim.job.presets import PRESETS, smoked

SAMPLED = ("feedback", "column", "spatial", "data", "rad", "swat")
LARGE = [
    f"{data}-{model}-{method}"
    for data in ("cifar10", "cifar100", "svhn", "tiny-imagenet")
    for model in ("vgg8", "resnet18")
    for method in (
        "pretrain", "map", "transfer-pretrain", "transfer-map", "transfer",
        *(f"mapped-{name}" for name in SAMPLED), *(f"calibrated-{name}" for name in SAMPLED), *SAMPLED,
    )
]  # fmt: skip
CNN_L = (
    "feedback", "feedback-gtopk", "feedback-uniform", "column", "spatial", "data",
    "gradient-feedback", "gradient-column", "gradient-spatial", "gradient-column-spatial",
)  # fmt: skip
SMALL = [
    f"{data}-{rest}"
    for data in ("mnist", "fashion")
    for rest in (
        *(f"cnn-l-{method}" for method in CNN_L),
        *(f"cnn-s-{method}" for method in ("map", "l2ight", "mixedtrn", "flops")),
        *(f"{model}-{method}" for model in ("cnn-s", "cnn-l", "mlp") for method in ("feature", "forward")),
        "mlp-map",
        "mlp-dense",
    )
]
BEFORE = [
    "cifar10-resnet18-column", "cifar10-resnet18-data", "cifar10-resnet18-dense", "cifar10-resnet18-feedback",
    "cifar10-resnet18-l2ight", "cifar10-resnet18-map", "cifar10-resnet18-rad", "cifar10-resnet18-swat",
    "cifar10-resnet18-transfer", "cifar10-vgg8-column", "cifar10-vgg8-data", "cifar10-vgg8-dense",
    "cifar10-vgg8-feedback", "cifar10-vgg8-l2ight", "cifar10-vgg8-map", "cifar10-vgg8-rad", "cifar10-vgg8-snapshots",
    "cifar10-vgg8-swat", "cifar10-vgg8-transfer", "cifar100-resnet18-map", "cifar100-vgg8-map", "fashion-cnn-l-column",
    "fashion-cnn-l-data", "fashion-cnn-l-dense", "fashion-cnn-l-feedback", "fashion-cnn-l-map",
    "fashion-cnn-l-mixedtrn", "fashion-cnn-l-spatial", "mnist-cnn-s-dense", "mnist-cnn-s-flops", "mnist-cnn-s-l2ight",
    "mnist-cnn-s-map", "mnist-cnn-s-mixedtrn", "svhn-vgg8-map", "tiny-imagenet-resnet18-l2ight",
    "tiny-imagenet-resnet18-map",
]  # fmt: skip
"""Names of earlier versions."""
NAMES = ["-".join(key) for key in experiments.names()]


@pytest.mark.parametrize("name", [*LARGE, *SMALL, *BEFORE])
def test_every_published_experiment_has_its_name(name: str) -> None:
    job = jobs.load(name)
    assert job.name == name and name in NAMES and PRESETS[name].source.endswith("its scripts")


def test_the_readme_counts_them() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    assert f"DATA-MODEL-METHOD: {len(NAMES)} of them" in readme


def test_names_are_unique_and_jobs_differ_but_where_said() -> None:
    assert len(NAMES) == len(set(NAMES))
    same: dict[str, list[str]] = {}
    for name in NAMES:
        values = {key: value for key, value in PRESETS[name].values.items() if key != "name"}
        same.setdefault(json.dumps(values, sort_keys=True), []).append(name)
    alike = {frozenset(group) for group in same.values() if len(group) > 1}
    expected = set()
    for data, model in itertools.product(("cifar10", "cifar100", "svhn", "tiny-imagenet"), ("vgg8", "resnet18")):
        where = f"{data}-{model}"
        expected.add(frozenset((f"{where}-l2ight", f"{where}-calibrated-data")))
        expected.add(frozenset((f"{where}-pretrain", f"{where}-transfer-pretrain")))
        if data == "cifar100":  # its published mapping is the one that is transferred
            expected.add(frozenset((f"{where}-map", f"{where}-transfer-map")))
    assert alike == expected


def test_published_values_of_a_few() -> None:
    job = jobs.load("cifar10-resnet18-calibrated-column")
    assert (job.learn.feedback_sparsity, job.learn.column_sparsity, job.learn.data_sparsity) == (0.5, 0.5, 0.0)
    assert (job.learn.epochs, job.learn.lr, job.pretrain.epochs, job.precision) == (20, 1e-4, 200, "float32")
    job = jobs.load("svhn-vgg8-mapped-rad")
    learn = job.learn
    assert (learn.spatial_sparsity, learn.spatial_norm, learn.epochs, learn.lr) == (0.85, "exp", 50, 1e-3)
    assert job.data.name == "svhn" and job.pretrain.epochs == 200 and job.map.epochs > 0
    job = jobs.load("tiny-imagenet-vgg8-swat")
    assert job.model.input == (3, 64, 64) and (job.pretrain.epochs, job.map.epochs) == (0, 0)
    assert (job.learn.forward_sparsity, job.learn.forward_rule, job.learn.spatial_sparsity) == (0.3, "uniform", 0.6)
    job = jobs.load("cifar100-vgg8-transfer-map")
    assert (job.map.method, job.map.epochs, job.learn.epochs) == ("ztp", 400, 0)
    job = jobs.load("mnist-cnn-l-feedback-gtopk")
    assert (job.learn.feedback_rule, job.learn.feedback_sparsity, job.learn.epochs) == ("gtopk", 0.6, 100)


def test_a_smoke_of_the_matrix_meets_every_row_and_column() -> None:
    chosen = set(smoked())
    own = set(PRESETS.known) - set(NAMES)
    assert own <= chosen and chosen <= own | set(NAMES)
    keys = [key for key in experiments.names() if "-".join(key) in chosen]
    assert {(model, method) for _, model, method in keys} == {(m, way) for _, m, way in experiments.names()}
    assert {(data, model) for data, model, _ in keys} == {(data, m) for data, m, _ in experiments.names()}


def test_a_name_of_nothing_is_one_line() -> None:
    with pytest.raises(JobError, match="did you mean cifar10-vgg8-map"):
        jobs.load("cifar10-vgg8-mapp")
    with pytest.raises(JobError, match="`l2sim presets` lists them"):
        jobs.load("zzzzzzzz")
