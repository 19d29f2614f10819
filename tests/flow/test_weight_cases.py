"""Files of weights from elsewhere: number types that are not read, and files that are large."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from l2sim.errors import ModelError
from l2sim.flow import pretrained
from l2sim.nn import specs
from l2sim.store import tensors

HIDDEN = (specs.Linear(out=64, k=8), specs.ReLU())
SPEC = specs.ModelSpec("custom", (1, 8, 8), 10, (specs.Flatten(), *HIDDEN, *HIDDEN, *HIDDEN, specs.Linear(out=10, k=8)))
"""A perceptron of four layers: three equal ones of 64 x 64, then 10 x 64."""


def layers(names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Weights of the four layers, `names` in the order of the light."""
    rng = np.random.default_rng(5)
    shapes = ((64, 64), (64, 64), (64, 64), (10, 64))
    return {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in zip(names, shapes)}


def stored(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays as they come out of a file that was written with them."""
    tensors.write(path, arrays, {})
    return tensors.read(path)[0]


def test_layers_whose_names_tell_the_order_are_taken_in_it(tmp_path: Path) -> None:
    names = ("net.1", "net.3", "net.5", "net.7")
    arrays = stored(tmp_path / "w.safetensors", layers(names))
    fitted = pretrained.fit(SPEC, arrays)
    for number, name in enumerate(names, 1):
        assert np.array_equal(fitted.arrays[f"fc{number}.weight"], arrays[f"{name}.weight"])


# --------------------------------------------------------------------------------------------- what is read


def header(path: Path, kind: str, shape: list[int], size: int) -> Path:
    """A safetensors file of one array of `size` bytes, all zero, which take no room on the disk."""
    text = json.dumps({"fc.weight": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    return path


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a whole file with tensors of 8-bit floats is called damaged (KeyError)"
)
@pytest.mark.parametrize("kind", ("F8_E4M3", "F8_E5M2"))
def test_floats_of_8_bits_are_read_or_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = header(tmp_path / "f8.safetensors", kind, [2, 2], 4)
    try:
        arrays, _ = tensors.read(path)
    except ModelError as refused:
        assert kind in str(refused) and "damaged" not in str(refused)
    else:
        assert arrays["fc.weight"].shape == (2, 2) and not arrays["fc.weight"].any()


@pytest.mark.parametrize("name", ("model.safetensors.index.json", "net.onnx"))
def test_shards_and_onnx_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=rf"{name} is no file of arrays that is read here"):
        tensors.read(tmp_path / name)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a file is read whole into memory instead of being mapped into it"
)
def test_a_large_file_takes_no_memory_of_its_own_size(tmp_path: Path) -> None:
    size = 1 << 25
    path = header(tmp_path / "large.safetensors", "F32", [size // 4], size)
    tracemalloc.start()
    try:
        arrays, _ = tensors.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert arrays["fc.weight"].nbytes == size
    assert peak < size // 4
