"""Weights from elsewhere and networks for elsewhere: names, layouts, round trips, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.errors import ModelError, RunError
from l2sim.flow import export, flow, pretrained
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.nn import models, network
from l2sim.nn.network import Network
from l2sim.runs import execute
from l2sim.store import tensors
from l2sim.store.events import Noted, StageDone, Warned

RNG = np.random.default_rng(8)


def net(spec: models.ModelSpec, seed: int = 0) -> Network:
    return network.build(spec, network.electronic(generator(seed)))


def norm(prefix: str, channels: int) -> dict[str, np.ndarray]:
    held = {end: RNG.normal(size=channels).astype(np.float32) for end in ("weight", "bias", "running_mean")}
    held |= {"running_var": RNG.uniform(0.5, 2, channels).astype(np.float32), "num_batches_tracked": np.array(7)}
    return {f"{prefix}.{end}": a for end, a in held.items()}


def conv(prefix: str, out: int, across: int, kernel: int = 3) -> dict[str, np.ndarray]:
    return {f"{prefix}.weight": RNG.normal(size=(out, across, kernel, kernel)).astype(np.float32)}


def torch_resnet18(width: int = 4, classes: int = 1000, stem: int = 7) -> dict[str, np.ndarray]:
    """A state dict with torchvision's names and layouts."""
    held = conv("conv1", width, 3, stem) | norm("bn1", width)
    before = width
    for stage, times in enumerate((1, 2, 4, 8), 1):
        channels = width * times
        for block in range(2):
            at = f"layer{stage}.{block}"
            held |= conv(f"{at}.conv1", channels, before) | norm(f"{at}.bn1", channels)
            held |= conv(f"{at}.conv2", channels, channels) | norm(f"{at}.bn2", channels)
            if block == 0 and stage > 1:
                held |= conv(f"{at}.downsample.0", channels, before, 1) | norm(f"{at}.downsample.1", channels)
            before = channels
    held["fc.weight"] = RNG.normal(size=(classes, before)).astype(np.float32)
    held["fc.bias"] = RNG.normal(size=classes).astype(np.float32)
    return held


NARROW = models.get("resnet18", 10, width=1 / 16)


# ------------------------------------------------------------------------------------------------- from elsewhere


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_imagenets_resnet_fits_the_small_image_stem(tmp_path: Path, ending: str) -> None:
    theirs = torch_resnet18()
    tensors.write(tmp_path / f"resnet{ending}", theirs, {"format": "pt"})
    ours = net(NARROW)
    before = ours.state()
    places, notes = pretrained.load_weights(tmp_path / f"resnet{ending}", ours)
    state = ours.state()
    middle = theirs["conv1.weight"][:, :, 2:5, 2:5].reshape(4, -1)
    np.testing.assert_array_equal(state["conv1.weight"], middle)
    np.testing.assert_array_equal(state["block3.conv1.weight"], theirs["layer2.0.conv1.weight"].reshape(8, -1))
    np.testing.assert_array_equal(
        state["block3.shortcut.conv1.weight"], theirs["layer2.0.downsample.0.weight"].reshape(8, 4)
    )
    np.testing.assert_array_equal(state["block8.bn2.running_var"], theirs["layer4.1.bn2.running_var"])
    np.testing.assert_array_equal(state["block5.shortcut.bn1.bias"], theirs["layer3.0.downsample.1.bias"])
    np.testing.assert_array_equal(state["fc1.weight"], before["fc1.weight"])
    assert "block3.shortcut.conv1 is layer2.0.downsample.0" in places and "bn1 is bn1" in places
    assert [note.partition(" ")[2] for note in notes] == [
        "is cut from 7 x 7 to its middle 3 x 3",
        "has 1000 classes where 10 are wanted: fc1 starts anew",
    ]
    assert all((state[name] != before[name]).any() for name in state if name != "fc1.weight")


def test_a_deep_resnet_keeps_its_order() -> None:
    """layer3.10 comes behind layer3.9, and a file may list its arrays in any order."""
    spec = models.get("resnet34", 10, width=1 / 64)
    own = {name: RNG.normal(size=a.shape) for name, a in net(spec).state().items()}
    theirs = {}
    for name, array in own.items():
        at, _, end = name.rpartition(".")
        number = int(at.partition(".")[0].removeprefix("block")) - 1 if at.startswith("block") else -1
        first = np.cumsum([0, 3, 4, 6])
        stage = int(np.searchsorted(first, number, "right"))
        inner = at.partition(".")[2].replace("shortcut.conv1", "downsample.0").replace("shortcut.bn1", "downsample.1")
        renamed = f"layer{stage}.{number - first[stage - 1]}.{inner}" if number >= 0 else at.replace("fc1", "fc")
        kernel = 1 if "downsample.0" in inner else 3
        theirs[f"{renamed}.{end}"] = array.reshape(len(array), -1, kernel, kernel) if "conv" in at else array
    fitted = pretrained.fit(spec, dict(sorted(theirs.items())))
    assert not fitted.notes
    for name, array in own.items():
        np.testing.assert_array_equal(fitted.arrays[name], array)


def test_the_bias_before_a_batch_norm_goes_into_its_mean() -> None:
    """torchvision's VGG has it: the network computes what theirs would."""
    spec = models.ModelSpec(
        "own", (1, 4, 4), 3, (models.Conv(2, 3, 1, 1), models.BatchNorm(), models.Flatten(), models.Linear(3, k=4))
    )
    theirs = conv("features.0", 2, 1) | {"features.0.bias": np.array([0.5, -2.0])} | norm("features.1", 2)
    theirs |= {"classifier.weight": RNG.normal(size=(3, 32)), "classifier.bias": np.zeros(3)}
    fitted = pretrained.fit(spec, theirs)
    assert not fitted.notes
    ours, plain = net(spec), net(spec)
    ours.load(fitted.arrays)
    plain.load(fitted.arrays | {"bn1.running_mean": theirs["features.1.running_mean"].astype(float)})
    x = RNG.normal(size=(5, 1, 4, 4))
    scale = theirs["features.1.weight"] / np.sqrt(theirs["features.1.running_var"] + 1e-5)
    shift = np.repeat(scale * theirs["features.0.bias"], 16)
    np.testing.assert_allclose(
        ours.forward(x), plain.forward(x) + (theirs["classifier.weight"] @ shift)[:, None], rtol=1e-6, atol=1e-6
    )
    theirs["classifier.bias"] = np.ones(3)
    with pytest.raises(ModelError, match=r"classifier\.bias has no place"):
        pretrained.fit(spec, theirs)
    fitted = pretrained.fit(models.biased(spec), theirs)
    np.testing.assert_array_equal(fitted.arrays["fc1.bias"], np.ones(3))


def test_half_precision_is_read(tmp_path: Path) -> None:
    """bfloat16 is the upper half of a float32, float16 NumPy's own."""
    x = RNG.normal(size=(3, 4)).astype(np.float32)
    head = {"a": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}}
    head |= {"b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]}}
    text = json.dumps(head).encode()
    raw = (x.view(np.uint32) >> 16).astype("<u2").tobytes() + x[0].astype("<f2").tobytes()
    (tmp_path / "half.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw)
    arrays, _ = tensors.read(tmp_path / "half.safetensors")
    np.testing.assert_allclose(arrays["a"], x, rtol=2**-7)
    np.testing.assert_allclose(arrays["b"], x[0], rtol=2**-10)


def spoiled(**more: np.ndarray | None) -> dict[str, np.ndarray]:
    theirs = torch_resnet18(stem=3, classes=10)
    renamed = {name.replace("__", "."): a for name, a in more.items()}
    return {name: a for name, a in (theirs | renamed).items() if a is not None}


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (spoiled(conv1__weight=np.full((4, 3, 3, 3), np.nan)), "conv1.weight holds NaN"),
        (spoiled(bn1__running_var=np.full(4, np.inf)), "bn1.running_var holds NaN or infinity"),
        (spoiled(conv1__weight=np.ones((4, 3, 3, 3), int)), "not numbers with a fraction"),
        (spoiled(conv1__weight=np.ones((4, 3, 4, 4))), r"shape \(4, 3, 4, 4\) but conv1 needs \(4, 3, 3, 3\)"),
        (spoiled(fc__weight=np.ones((10, 33))), r"shape \(10, 33\) but fc1 needs \(10, 32\)"),
        (spoiled(bn1__bias=np.ones(5)), r"bn1.bias has shape \(5,\) but bn1 needs \(4,\)"),
        (spoiled(fc__weight=None), "holds 0 of kind dense layer where the model has 1"),
        (spoiled(layer1__0__bn2__bias=None), "holds 19 of kind batch norm where the model has 20"),
        (spoiled(more__weight=np.ones((4, 4, 3, 3))), "holds 21 of kind convolution"),
        ({}, "holds 0 of kind"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, theirs: dict, words: str) -> None:
    np.savez(tmp_path / "w.npz", **theirs)
    ours = net(NARROW)
    before = ours.state()
    with pytest.raises(ModelError, match=words) as caught:
        pretrained.load_weights(tmp_path / "w.npz", ours)
    assert "w.npz" in str(caught.value) and "\n" not in str(caught.value)
    for name, a in ours.state().items():
        np.testing.assert_array_equal(a, before[name])


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_a_damaged_file_is_one_line(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"w{ending}"
    tensors.write(path, {"fc1.weight": np.ones((2, 3)), "bn1.bias": np.ones(3, np.float32)}, {"a": "b"})
    good = path.read_bytes()
    assert tensors.read(path)[1] == {"a": "b"}
    bad = [good[:n] for n in range(0, len(good), 7)]
    for at in range(len(good)):
        bad.append(good[:at] + bytes([good[at] ^ int(RNG.integers(1, 256))]) + good[at + 1 :])
    refused = 0
    for held in bad:
        path.write_bytes(held)
        try:
            tensors.read(path)
        except ModelError as error:
            refused += 1
            assert path.name in str(error) and "\n" not in str(error)
    assert refused > len(good) // 7


def test_files_that_are_not_read_say_what_to_do(tmp_path: Path) -> None:
    for name, words in (("w.pt", "save_file"), ("w.txt", "give .safetensors"), ("w.npz", "cannot be read")):
        with pytest.raises(ModelError, match=words):
            tensors.read(tmp_path / name)


# ------------------------------------------------------------------------------------------------- a run with them


TINY = {"calibrate.epochs": 2, "map.epochs": 2, "calibrate.polish": 1, "map.polish": 1, "map.compare": False}


def tiny(**more: object) -> Job:
    values = {path.replace("__", "."): value for path, value in more.items()}
    return Job.preset("digits", TINY | {"data.name": "synthetic", "learn.epochs": 1} | values)


def test_a_run_starts_from_weights_and_skips_their_training(tmp_path: Path) -> None:
    trained = net(models.cnn_s(), seed=5)
    tensors.write(tmp_path / "w.npz", trained.state(), {})
    path = str(tmp_path / "w.npz")
    events = list(flow.run(tiny(pretrain__weights=path, pretrain__epochs=0)))
    kept = next(e for e in events if getattr(e, "stage", "") == "pretrain" and hasattr(e, "arrays"))
    np.testing.assert_array_equal(kept.arrays["fc1.weight.electronic"], trained.state()["fc1.weight"])
    done = next(e for e in events if isinstance(e, StageDone) and e.stage == "pretrain")
    assert 0 <= done.result["accuracy"] <= 1


def test_a_classifier_of_other_classes_needs_training(tmp_path: Path) -> None:
    tensors.write(tmp_path / "w.npz", net(models.cnn_s(7)).state(), {})
    path = str(tmp_path / "w.npz")
    with pytest.raises(ModelError, match=r"has 7 classes where 10 are wanted.*pretrain\.epochs"):
        list(flow.run(tiny(pretrain__weights=path, pretrain__epochs=0)))
    events = []
    for event in flow.run(tiny(pretrain__weights=path, pretrain__epochs=1)):
        events.append(event)
        if isinstance(event, StageDone):
            break
    assert [e.message for e in events if isinstance(e, Warned) and e.stage == "pretrain"] == [
        f"{path}: fc1.weight has 7 classes where 10 are wanted: fc1 starts anew"
    ]
    assert f"{path}: conv1 is conv1" in [e.message for e in events if isinstance(e, Noted)]


# --------------------------------------------------------------------------------------------------- for elsewhere


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    list(execute.execute(tiny(pretrain__epochs=1, data__normalise=True), out))
    return out


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_a_network_is_exported_and_computes_the_same_when_read_back(run: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"net{ending}"
    export.write(str(run), path)
    back = export.load(path)
    job, session, _ = export.restored(str(run))
    images = RNG.integers(0, 256, (9, 1, 16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(back.network.forward(images), session.network.forward(images))
    assert back.job == job and set(back.chips) == set(session.chips)
    for name, chip in back.chips.items():
        np.testing.assert_array_equal(chip.oracle_weights(), session.chips[name].oracle_weights())
        assert chip.meter.state()["idle"]["core_calls"] > 0


def test_the_exported_weights_are_the_whole_network_in_pytorchs_layout(run: Path, tmp_path: Path) -> None:
    """They fit an electronic network, which then computes what the chips compute."""
    export.write(f"{run}@map", tmp_path / "net.npz")
    arrays, texts = tensors.read(tmp_path / "net.npz")
    assert arrays["conv1.weight"].shape == (8, 1, 3, 3) and arrays["fc1.weight"].shape == (10, 96)
    about = json.loads(texts["l2sim"])
    assert about["stage"] == "map" and about["format"] == "l2sim-network"
    back = export.load(tmp_path / "net.npz")
    electronic = net(back.network.spec)
    assert not pretrained.load_weights(tmp_path / "net.npz", electronic, new_classifier=False).changes
    images = RNG.integers(0, 256, (9, 1, 16, 16), dtype=np.uint8)
    np.testing.assert_allclose(electronic.forward(images), back.network.forward(images), atol=1e-9)
    np.testing.assert_allclose(arrays["fc1.sigma.scale"], np.abs(arrays["fc1.sigma.commanded"]).max(-1))
    realised = arrays["fc1.u.realised"] * arrays["fc1.sigma.realised"][:, :, None] @ arrays["fc1.v.realised"]
    np.testing.assert_allclose(realised.swapaxes(1, 2).reshape(18, 99)[:10, :96], arrays["fc1.weight"], atol=1e-12)


def test_a_chip_read_back_has_the_noise_of_the_file(run: Path, tmp_path: Path) -> None:
    """Not that of its seed: the file is all there is."""
    path = tmp_path / "net.npz"
    export.write(str(run), path)
    arrays, texts = tensors.read(path)
    arrays["conv1.u.noise_bias"] = arrays["conv1.u.noise_bias"] + 0.1
    tensors.write(path, arrays, texts)
    one, two = export.load(path).chips["conv1"], export.restored(str(run))[1].chips["conv1"]
    assert np.abs(one.oracle_phases("u") - two.oracle_phases("u")).max() > 0.05
    np.testing.assert_array_equal(one.oracle_matrix("v"), two.oracle_matrix("v"))


def test_complex_cores_are_exported_too(tmp_path: Path) -> None:
    job = tiny(pretrain__epochs=1, nonidealities__base="silicon", chip__readout="field", model__width=0.2)
    out = tmp_path / "run"
    list(execute.execute(jobs.with_overrides(job, ["model.width=0.2"]), out))
    export.write(str(out), tmp_path / "net.safetensors")
    arrays, _ = tensors.read(tmp_path / "net.safetensors")
    assert arrays["conv1.u.realised_imag"].any()
    back = export.load(tmp_path / "net.safetensors")
    session = export.restored(str(out))[1]
    for name, chip in back.chips.items():
        np.testing.assert_allclose(chip.oracle_weights(), session.chips[name].oracle_weights(), atol=1e-12)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short in situ run on imperfect meshes that read without noise."""
    out = tmp_path_factory.mktemp("runs") / "meshes"
    more = ["insitu.modes=11", "insitu.layers=2", "insitu.nonlinearity='saturable'", "nonidealities.phase_bias=3.1",
            "nonidealities.splitter_error_std=0.05", "nonidealities.loss_db=0.1", "nonidealities.crosstalk=0.01",
            "nonidealities.stuck=0.05"]  # fmt: skip
    list(execute.execute(jobs.with_overrides(jobs.smoke(Job.preset("insitu-digits")), more), out))
    return out


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_a_network_of_whole_meshes_is_exported_and_computes_the_same(
    meshes: Path, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"net{ending}"
    export.write(str(meshes), path)
    back = export.load(path)
    session = export.restored(str(meshes))[1]
    light = RNG.random((5, *session.network.spec.input)).astype("f4")
    np.testing.assert_array_equal(back.network.forward(light), session.network.forward(light))
    report = json.loads((meshes / "report.json").read_text())
    assert json.loads(tensors.read(path)[1]["l2sim"])["stage"] == report["stages"][-1]["name"] == "learn"
    assert set(back.chips) == {"mesh1", "mesh2"} and back.job.flow == "insitu"


def test_the_exported_phases_make_the_exported_matrix(tmp_path: Path) -> None:
    """MZIs put together rail by rail from what the light sees alone, without splitter errors and loss."""
    job = jobs.with_overrides(jobs.smoke(Job.preset("insitu-digits")), ["nonidealities.phase_bias=3.1",
                              "insitu.modes=10", "insitu.layers=1"])  # fmt: skip
    list(execute.execute(job, tmp_path / "run"))
    export.write(str(tmp_path / "run"), tmp_path / "net.npz")
    held, _ = tensors.read(tmp_path / "net.npz")
    matrix = np.eye(10, dtype=complex)
    splitter = np.array([[1, 1j], [1j, 1]]) / np.sqrt(2)
    for top, bottom, theta, phi in zip(*(held[f"mesh1.couplers.{key}"] for key in ("top", "bottom")),
                                       *(held[f"mesh1.{key}.realised"] for key in ("theta", "phi"))):  # fmt: skip
        node = splitter @ np.diag([np.exp(1j * theta), 1]) @ splitter @ np.diag([np.exp(1j * phi), 1])
        matrix[[top, bottom]] = node @ matrix[[top, bottom]]
    matrix *= np.exp(1j * held["mesh1.screen.realised"])[:, None]
    seen = held["mesh1.matrix.realised"] + 1j * held["mesh1.matrix.realised_imag"]
    np.testing.assert_allclose(matrix, seen, atol=1e-5)
    assert np.abs(held["mesh1.theta.realised"] - held["mesh1.theta.phases"]).max() > 0.1


def test_a_mesh_read_back_has_the_noise_of_the_file(meshes: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    export.write(str(meshes), path)
    arrays, texts = tensors.read(path)
    arrays["mesh1.optics.noise_splitters"] = arrays["mesh1.optics.noise_splitters"] + 1.0
    tensors.write(path, arrays, texts)
    back, session = export.load(path), export.restored(str(meshes))[1]
    same = [np.allclose(back.chips[name].oracle_matrix(), session.chips[name].oracle_matrix()) for name in back.chips]
    assert same == [False, True]
    for name in ("mesh2.theta.phases", "mesh1.heaters.noise_bias"):
        tensors.write(path, {key: a for key, a in arrays.items() if key != name}, texts)
        with pytest.raises(ModelError, match="written by `l2sim export`"):
            export.load(path)


def test_what_cannot_be_exported_or_read_back_is_one_line(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.npz"
    for source, words in (
        (f"{run}@pretrain", "no chips yet"),
        (f"{run}@nowhere", "there is no stage 'nowhere'"),
        (str(tmp_path), "not a run folder"),
    ):
        with pytest.raises(RunError, match=words):
            export.write(source, out)
    with pytest.raises(ModelError, match="no ending"):
        export.write(str(run), tmp_path / "net.txt")
    tensors.write(out, {"a": np.ones(2)}, {})
    with pytest.raises(ModelError, match="no network written by `l2sim export`"):
        export.load(out)
    export.write(str(run), out)
    arrays, texts = tensors.read(out)
    for name in ("conv1.sigma.commanded", "conv1.u.phases", "bn1.bias", "fc1.v.noise_gamma"):
        tensors.write(out, {key: a for key, a in arrays.items() if key != name}, texts)
        with pytest.raises(ModelError, match="written by `l2sim export`"):
            export.load(out)
