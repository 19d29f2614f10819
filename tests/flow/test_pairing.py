"""Layers of files that are called otherwise: right, or refused with the ways that fit; never another network."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2sim.backend import Array, generator
from l2sim.cli import main as cli
from l2sim.errors import ModelError
from l2sim.flow import export, pretrained
from l2sim.job.job import Job
from l2sim.nn import models, network, specs
from l2sim.runs import execute
from l2sim.store import checkpoint, tensors

HIDDEN = (specs.Linear(out=64, k=8), specs.ReLU())
SPEC = specs.ModelSpec("custom", (1, 8, 8), 10, (specs.Flatten(), *HIDDEN, *HIDDEN, *HIDDEN, specs.Linear(out=10, k=8)))
"""A perceptron of four layers: three equal ones of 64 x 64, then 10 x 64."""
SHAPES = ((64, 64), (64, 64), (64, 64), (10, 64))
OURS = ("fc1", "fc2", "fc3", "fc4")
ORDERLESS = (
    ("fc_in", "fc_mid", "fc_last", "head"),
    ("layers.input", "layers.h", "layers.g", "layers.output"),
    ("a", "b", "c", "d"),
    ("stem", "body", "neck", "head"),
    ("enc.0", "enc.1", "dec.0", "dec.1"),
    ("input", "0", "1", "output"),
    ("first.linear", "second.linear", "third.linear", "classifier"),
    ("w1a", "w1b", "w2a", "out"),
    ("lin1.0", "lin2.0", "lin1.1", "out"),
    ("net2.0", "net1.0", "net1.2", "net3.0"),
    ("n0", "n01", "n000", "n1"),
)
NUMBERED = (
    ("net.1", "net.3", "net.5", "net.7"),
    ("fc8", "fc9", "fc10", "head"),
    ("layers.0.linear", "layers.1.linear", "layers.2.linear", "head"),
    ("model.9", "model.10", "model.100", "model.101"),
    ("blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2"),
)


def drawn(names: tuple[str, ...], seed: int = 5) -> dict[str, Array]:
    """Weights of the four layers, `names` in the order of the light."""
    rng = generator(seed, "weights")
    return {f"{name}.weight": rng.normal(size=shape) for name, shape in zip(names, SHAPES)}


def right(fitted: pretrained.Fitted, arrays: dict[str, Array], names: tuple[str, ...]) -> bool:
    """Whether the network computes what the file's does."""
    return all(np.array_equal(fitted.arrays[f"{o}.weight"], arrays[f"{t}.weight"]) for o, t in zip(OURS, names))


def written(path: Path, arrays: dict[str, Array]) -> tuple[dict[str, Array], bool]:
    tensors.write(path, arrays, {})
    return tensors.read(path)[0], path.suffix == ".npz"


@pytest.mark.parametrize("names", ORDERLESS, ids="-".join)
def test_a_file_without_an_order_is_refused_with_the_ways_that_fit(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays, ordered = written(tmp_path / "w.safetensors", drawn(names))
    with pytest.raises(ModelError, match=r"a safetensors file keeps no order: .*; or .*--weights-map"):
        pretrained.fit(SPEC, arrays, ordered)


@pytest.mark.parametrize("names", (*ORDERLESS, *NUMBERED), ids="-".join)
def test_the_order_of_an_npz_file_counts(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays, ordered = written(tmp_path / "w.npz", drawn(names))
    assert right(pretrained.fit(SPEC, arrays, ordered), arrays, names)


@pytest.mark.parametrize("names", NUMBERED, ids="-".join)
@pytest.mark.parametrize("seed", range(3))
def test_names_that_differ_in_numbers_tell_the_order(names: tuple[str, ...], seed: int) -> None:
    arrays = drawn(names)
    shuffled = {name: arrays[name] for name in generator(seed).permutation(list(arrays)).tolist()}
    assert right(pretrained.fit(SPEC, shuffled), arrays, names)


def test_numbers_against_the_order_of_an_npz_file_are_refused() -> None:
    arrays = drawn(("net.5", "net.3", "net.1", "net.7"))
    with pytest.raises(ModelError, match="its order and its numbers differ"):
        pretrained.fit(SPEC, arrays, ordered=True)


HALVES = (
    ("up3", "up2", "up1", "head"),
    ("net.up_3", "net.up_2", "net.up_1", "net.out"),
    ("decoder3.conv", "decoder2.conv", "decoder1.conv", "head"),
    ("Dec-1", "Dec-2", "Dec-3", "head"),
    ("enc1.conv", "enc2.conv", "enc3.conv", "head"),
    ("unet.downConv1", "unet.downConv2", "unet.downConv3", "head"),
)
"""Halves that people number by resolution: their numbers rise or fall with depth, as the author liked."""
NO_HALVES = (
    ("decoder.1", "decoder.3", "decoder.5", "head"),
    ("group1", "group2", "group3", "head"),
    ("up.0.conv", "up.1.conv", "up.2.conv", "head"),
    ("up1.conv1", "up1.conv2", "up1.conv3", "head"),
)


@pytest.mark.parametrize("names", HALVES, ids="-".join)
def test_numbers_of_halves_tell_no_order(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Falling and rising ones, in a file without an order; shapes, a map or the order of a file tell it."""
    for lights in (names, (*names[2::-1], names[3])):
        arrays = drawn(lights)
        with pytest.raises(ModelError, match=r"may fall with depth: .*; or .*--weights-map"):
            pretrained.fit(SPEC, dict(sorted(arrays.items())))
        lines = [f"{theirs} = {ours}" for ours, theirs in zip(OURS, lights)]
        assert right(pretrained.fit(SPEC, arrays, False, lines), arrays, lights)
        try:
            assert right(pretrained.fit(SPEC, arrays, ordered=True), arrays, lights)
        except ModelError as refused:
            assert "its order and its numbers differ" in str(refused) and "--weights-map" in str(refused)
            assert lights[0] > lights[1]


@pytest.mark.parametrize("names", NO_HALVES, ids="-".join)
def test_numbers_of_frameworks_tell_it_whatever_the_list_is_called(names: tuple[str, ...]) -> None:
    arrays = drawn(names)
    assert right(pretrained.fit(SPEC, dict(sorted(arrays.items()))), arrays, names)


def test_own_names_count_whatever_the_order_and_are_said(tmp_path: Path) -> None:
    arrays = drawn(OURS)
    tensors.write(tmp_path / "w.npz", dict(reversed(arrays.items())), {})
    net = network.build(SPEC, network.electronic(generator(1)))
    said = pretrained.load_weights(tmp_path / "w.npz", net)
    assert said.places == [f"{name} is {name}" for name in OURS] and not said.changes
    np.testing.assert_array_equal(net.state()["fc2.weight"], arrays["fc2.weight"])


def test_shapes_decide_whatever_the_names() -> None:
    sizes = (64, 48, 32, 10)
    layers = [layer for size in sizes for layer in (specs.Linear(out=size, k=8), specs.ReLU())][:-1]
    spec = specs.ModelSpec("custom", (1, 8, 8), 10, (specs.Flatten(), *layers))
    for names in itertools.permutations(("z", "y", "x", "w")):
        rng = generator(1)
        theirs = {f"{n}.weight": rng.normal(size=(o, i)) for n, o, i in zip(names, sizes, (64, *sizes))}
        fitted = pretrained.fit(spec, dict(sorted(theirs.items())))
        assert right(fitted, theirs, names) and fitted.places == dict(zip(OURS, names))


@pytest.mark.parametrize("names", ORDERLESS, ids="-".join)
def test_a_map_decides(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = drawn(names)
    lines = [f"{theirs} = {ours}" for ours, theirs in zip(OURS, names)]
    assert right(pretrained.fit(SPEC, dict(sorted(arrays.items())), False, lines), arrays, names)
    some = [line for line in lines if not line.endswith(("fc3", "fc4"))]  # what is left then fits in one way
    assert right(pretrained.fit(SPEC, dict(sorted(arrays.items())), False, some), arrays, names)


WORDS = st.text("ab01.", min_size=1, max_size=4)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(range(4)), st.lists(WORDS, min_size=4, max_size=4, unique=True))
def test_any_names_in_any_order_are_right_or_refused(order: list[int], names: list[str]) -> None:
    """Names of numbers count upwards in the order of the light, as frameworks name them; others mean nothing."""
    names = [f"n{name}" for name in names]
    digits = names[:3]
    arrays = drawn(tuple(names))
    shuffled = {f"{names[i]}.weight": arrays[f"{names[i]}.weight"] for i in order}
    try:
        fitted = pretrained.fit(SPEC, shuffled)
    except ModelError:
        return
    assert right(fitted, arrays, tuple(names)) or len({re.sub(r"\d+", "#", name) for name in digits}) < 3


def test_what_went_where_is_always_said(tmp_path: Path) -> None:
    tensors.write(tmp_path / "w.safetensors", drawn(("net.1", "net.3", "net.5", "head")), {})
    net = network.build(SPEC, network.electronic(generator(1)))
    said = pretrained.load_weights(tmp_path / "w.safetensors", net)
    assert said.places == ["fc1 is net.1", "fc2 is net.3", "fc3 is net.5", "fc4 is head"]


# ------------------------------------------------------------------------------------------- what has no place


NAMES = ("net.1", "net.3", "net.5", "net.7")
STRAY = {
    "a layer norm": {"norm.weight": np.ones(64), "norm.bias": np.zeros(64)},
    "slopes of a PReLU": {"act.weight": np.full(1, 0.25)},
    "one slope a channel": {"act.weight": np.full(64, 0.25)},
    "a kernel of one dimension": {"conv.weight": np.ones((4, 1, 3))},
    "an embedding without a layer": {"embedding": np.ones((10, 64))},
    "a position": {"net.pos": np.ones(64)},
    "a scale": {"net.1.scale": np.ones(64)},
    "a batch norm that the model lacks": {f"bn.{e}": np.ones(64) for e in pretrained.NORM},
    "one dense layer more": {"extra.weight": np.ones((64, 64))},
    "a kernel of three dimensions": {"conv.weight": np.ones((4, 1, 3, 3, 3))},
}


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
def test_an_array_that_no_layer_takes_is_refused_unless_it_is_to_be_left_out(stray: dict[str, Array]) -> None:
    arrays = drawn(NAMES)
    with pytest.raises(ModelError) as caught:
        pretrained.fit(SPEC, arrays | stray)
    assert "\n" not in str(caught.value)
    groups = {name.rpartition(".")[0] for name in stray if name.rpartition(".")[2] in pretrained.NORM} - {""}
    if groups and "net.1" not in groups:
        assert right(pretrained.fit(SPEC, arrays | stray, False, [f"{g} =" for g in groups]), arrays, NAMES)


def test_one_array_is_left_out_by_its_own_name() -> None:
    arrays = drawn(NAMES) | {"step": np.zeros(()), "net.1.weight_mask": np.ones((64, 64))}
    for name in ("step", "net.1.weight_mask"):
        with pytest.raises(ModelError, match=f'"{name}" = ""'):
            pretrained.fit(SPEC, {key: a for key, a in arrays.items() if key in (*drawn(NAMES), name)})
    assert right(pretrained.fit(SPEC, arrays, False, ["step =", "net.1.weight_mask ="]), arrays, NAMES)


def test_statistics_on_a_dense_layer_are_refused() -> None:
    for end in ("running_mean", "running_var", "num_batches_tracked"):
        with pytest.raises(ModelError, match=f"{end} belongs to no layer|holds 3 of kind"):
            pretrained.fit(SPEC, drawn(NAMES) | {f"net.1.{end}": np.ones(64)})


@pytest.mark.parametrize("size", (3, 5, 7))
@pytest.mark.parametrize("ordered", (False, True))
def test_a_first_convolution_like_a_later_one_is_told_from_it(size: int, ordered: bool) -> None:
    layers = (specs.Conv(3, 3, 1, 1), specs.ReLU(), specs.Conv(3, 3, 1, 1), specs.Flatten(), specs.Linear(4, k=4))
    rng = generator(4)
    theirs = {f"features.{i}.weight": rng.normal(size=(3, 3, n, n)) for i, n in ((0, size), (2, 3))}
    theirs["classifier.weight"] = rng.normal(size=(4, 192))
    fitted = pretrained.fit(specs.ModelSpec("custom", (3, 8, 8), 4, layers), theirs, ordered)
    assert fitted.places == {"conv1": "features.0", "conv2": "features.2", "fc1": "classifier"}


def test_counters_of_batch_norms_are_no_weights() -> None:
    layers = (specs.Conv(2, 3, 1, 1), specs.BatchNorm(), specs.Flatten(), specs.Linear(3, k=4))
    spec = specs.ModelSpec("custom", (1, 4, 4), 3, layers)
    arrays = {"conv.weight": np.ones((2, 1, 3, 3)), "fc.weight": np.ones((3, 32))}
    arrays |= {f"bn.{end}": np.ones(2) for end in pretrained.NORM} | {"bn.num_batches_tracked": np.array(7)}
    assert pretrained.fit(spec, arrays).places == {"conv1": "conv", "bn1": "bn", "fc1": "fc"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["fc_in"], "is no line of a weights map"),
        (["= fc1"], "is no line of a weights map"),
        (["nothing = fc1"], "names 'nothing', which the file lacks; it has fc_in"),
        (["fc_in = fc9"], "names the layer 'fc9'; this network has fc1, fc2"),
        (["fc_in = fc1", "fc_mid = fc1"], "names 'fc1' twice"),
        (["fc_in = fc1", "fc_in = fc2"], "names 'fc_in' twice"),
        (["head = fc1"], "layers like fc2 need"),
    ],
)
def test_a_map_that_is_wrong_is_one_line(lines: list[str], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        pretrained.fit(SPEC, drawn(ORDERLESS[0]), False, lines)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- biases


BIASED = models.biased(SPEC)


def with_biases(names: tuple[str, ...]) -> dict[str, Array]:
    rng = generator(8, "bias")
    return drawn(names) | {f"{name}.bias": rng.normal(size=shape[0]) for name, shape in zip(names, SHAPES)}


def test_biases_are_read_and_the_network_computes_what_theirs_does() -> None:
    arrays = with_biases(NAMES)
    fitted = pretrained.fit(BIASED, arrays)
    net = network.build(BIASED, network.electronic(generator(1)))
    net.load(fitted.arrays)
    images = generator(2).random((5, 1, 8, 8))
    x = images.reshape(5, -1).T
    for name in NAMES[:-1]:
        x = np.maximum(arrays[f"{name}.weight"] @ x + arrays[f"{name}.bias"][:, None], 0)
    wanted = arrays[f"{NAMES[-1]}.weight"] @ x + arrays[f"{NAMES[-1]}.bias"][:, None]
    np.testing.assert_allclose(net.forward(images), wanted, atol=1e-10)


def test_biases_without_a_place_are_refused_with_the_cure() -> None:
    with pytest.raises(ModelError, match=r"net.1.bias has no place: fc1 has no bias; model.bias=true"):
        pretrained.fit(SPEC, with_biases(NAMES))
    zero = drawn(NAMES) | {"net.1.bias": np.zeros(64)}
    assert not pretrained.fit(SPEC, zero).notes
    with pytest.raises(ModelError, match=r"net.1.bias has shape \(3,\) but fc1 needs \(64,\)"):
        pretrained.fit(BIASED, with_biases(NAMES) | {"net.1.bias": np.ones(3)})


def test_a_layer_without_a_bias_begins_at_zero_and_says_so() -> None:
    fitted = pretrained.fit(BIASED, drawn(NAMES))
    assert not fitted.arrays["fc2.bias"].any() and "net.3 has no bias: that of fc2 begins at zero" in fitted.notes


@pytest.mark.parametrize("name", ["mlp", "cnn-s", "vgg8", "resnet18"])
def test_layers_before_a_batch_norm_have_no_bias(name: str) -> None:
    spec = models.biased(models.get(name, 10, width=0.05))
    net = network.build(spec, network.electronic(generator(1)))
    biases = {key for key in net.parameters() if key.endswith(".bias") and "bn" not in key}
    assert biases == ({"fc1.bias", "fc2.bias", "fc3.bias"} if name == "mlp" else {"fc1.bias"})
    more = models.count(spec).total.parameters - models.count(models.get(name, 10, width=0.05)).total.parameters
    assert more == sum(net.parameters()[key].size for key in biases)


def test_gradients_of_biases_are_those_of_differences() -> None:
    layers = (specs.Conv(3, 3, 1, 1, k=4, bias=True), specs.ReLU(), specs.Flatten(), specs.Linear(4, k=4, bias=True))
    net = network.build(specs.ModelSpec("own", (2, 4, 4), 4, layers), network.electronic(generator(3)))
    images, aim = generator(4).normal(size=(6, 2, 4, 4)), generator(5).normal(size=(4, 6))
    net.forward(images, train=True, rng=generator(6))
    net.backward(aim)
    assert set(net.parameters()) == {"conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"}
    for name in ("conv1.bias", "fc1.bias"):
        values, gradient = net.parameters()[name], net.gradients()[name]
        for i in range(len(values)):
            sides = []
            for step in (1e-6, -1e-6):
                values[i] += step
                sides.append(float((net.forward(images) * aim).sum()))
                values[i] -= step
            assert gradient[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-8)


# ------------------------------------------------------------------------------------------------ a run with them


TINY = {
    "data.name": "synthetic", "calibrate.epochs": 2, "map.epochs": 2, "calibrate.polish": 1, "map.polish": 1,
    "map.compare": False, "model.name": "mlp", "model.bias": True, "pretrain.epochs": 1, "learn.epochs": 1,
}  # fmt: skip


def test_biases_are_trained_on_the_chip_kept_and_exported(tmp_path: Path) -> None:
    job = Job.preset("digits", TINY)
    list(execute.execute(job, tmp_path / "run"))
    told = [checkpoint.read(tmp_path / f"run/checkpoints/{stage}.safetensors")[0].arrays for stage in ("map", "learn")]
    pretrained_, mapped, learnt = (
        told[0]["fc1.bias.electronic"], told[0]["fc1.bias.photonic"], told[1]["fc1.bias.photonic"]
    )  # fmt: skip
    assert pretrained_.any() and np.array_equal(pretrained_, mapped) and not np.array_equal(mapped, learnt)
    export.write(str(tmp_path / "run"), tmp_path / "net.npz")
    back = export.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(back.network.parameters()["fc1.bias"], learnt)
    again = network.build(back.network.spec, network.electronic(generator(1)))
    said = pretrained.load_weights(tmp_path / "net.npz", again, new_classifier=False)
    assert said.places[0] == "fc1 is fc1" and not said.changes
    images = generator(7).random((4, *back.network.spec.input))
    np.testing.assert_allclose(again.forward(images), back.network.forward(images), atol=1e-9)


def test_the_command_line_takes_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = generator(3)
    names = ("stem", "body", "head")
    arrays = {
        f"{name}.weight": rng.normal(size=shape) / 10
        for name, shape in zip(names, ((64, 784), (64, 64), (10, 64)))
    } | {"norm.weight": np.ones(64)}
    tensors.write(tmp_path / "w.safetensors", arrays, {})
    (tmp_path / "map.toml").write_text('"stem" = "fc1"\nbody = "fc2"\nnorm = ""\n')
    line = ["run", "fashion-mlp", "--smoke", "--quiet", "--weights", str(tmp_path / "w.safetensors")]
    with pytest.raises(SystemExit) as ended:
        cli.main([*line, "--out", str(tmp_path / "a")])
    assert ended.value.code == 2 and "norm.weight belongs to no layer" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main([*line, "--weights-map", str(tmp_path / "map.toml"), "--out", str(tmp_path / "b")])
    assert not ended.value.code, capsys.readouterr().err
    kept = checkpoint.read(tmp_path / "b/checkpoints/pretrain.safetensors")[0].arrays
    np.testing.assert_array_equal(kept["fc2.weight.electronic"], arrays["body.weight"])
    wrong = ("stem = 3", "stem is no text"), ("stem", "cannot be read"), ('x = "fc1"', "which the file lacks")
    for text, words in wrong:
        (tmp_path / "map.toml").write_text(text)
        with pytest.raises(SystemExit) as ended:
            cli.main([*line, "--weights-map", str(tmp_path / "map.toml"), "--out", str(tmp_path / "c")])
        assert ended.value.code == 2 and words in capsys.readouterr().err
