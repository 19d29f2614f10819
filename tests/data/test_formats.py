"""Readers of the published layouts, on small files made here: what they hold, and no damage ends in a traceback."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from l2sim.data import formats, published, sets
from l2sim.errors import DataError
from tests.places import DATA

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 7])


def batch(fine: bool = False, labels: np.ndarray = LABELS, protocol: int = 2) -> bytes:
    """A Python batch, with the byte keys that reading Python 2's pickles gives."""
    key = b"fine_labels" if fine else b"labels"
    return pickle.dumps({b"data": PIXELS.reshape(6, -1), key: labels.tolist(), b"filenames": [b"a.png"] * 6}, protocol)


def python2_batch() -> bytes:
    """A batch as Python 2 pickled the published ones."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x06M\x00\x0c\x86"
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    array += b"T" + (6 * 3072).to_bytes(4, "little") + PIXELS.tobytes() + b"tb"
    labels = b"".join(b"K" + bytes([n]) for n in LABELS)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + labels + b"eU\x0bbatch_labelU\x04testu."


def records(fine: bool = False) -> bytes:
    heads = np.stack([np.zeros(6), LABELS], 1) if fine else LABELS[:, None]
    return np.concatenate([heads.astype(np.uint8), PIXELS.reshape(6, -1)], axis=1).tobytes()


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def tar(path: Path, top: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(f"{top}/{name}")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


def png(pixels: np.ndarray, kind: str = "png") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0)).save(out, kind)
    return out.getvalue()


def tiny(count: int = 2) -> dict[str, bytes]:
    """A Tiny ImageNet of two classes."""
    image = png(RNG.integers(0, 256, (3, 64, 64), dtype=np.uint8))
    files = {f"train/n0{c}/images/n0{c}_{i}.JPEG": image for c in (1, 2) for i in range(count)}
    files |= {f"val/images/val_{i}.JPEG": image for i in range(3)}
    lines = "".join(f"val_{i}.JPEG\tn0{2 - i % 2}\t0\t0\t62\t62\n" for i in range(3))
    return files | {"val/val_annotations.txt": lines.encode(), "wnids.txt": b"n02\nn01\n"}


def mat(path: Path, compress: bool = True, **more: np.ndarray) -> Path:
    arrays = {"X": PIXELS.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [9], [2], [10], [5]], np.uint8)} | more
    scipy.io.savemat(path, arrays, do_compression=compress)
    return path


# ---------------------------------------------------------------------------------------------------------- CIFAR


CIFAR10: dict[str, Callable[[Path], Path]] = {
    "binary folder": lambda p: folder(
        p / "cifar-10-batches-bin", dict.fromkeys(("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"), records())
    ),
    "python folder": lambda p: folder(
        p / "cifar-10-batches-py",
        {"data_batch_1": python2_batch(), "data_batch_2": batch(), "test_batch": batch(protocol=5)},
    ),
    "binary archive": lambda p: tar(
        p / "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        dict.fromkeys(("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"), records()) | {"readme.html": b"x"},
    ),
    "python archive": lambda p: tar(
        p / "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        {"data_batch_1": batch(), "data_batch_2": batch(), "test_batch": batch(), "batches.meta": b"x"},
    ),
}


@pytest.mark.parametrize("layout", CIFAR10)
def test_cifar10_is_the_same_in_every_published_layout(tmp_path: Path, layout: str) -> None:
    CIFAR10[layout](tmp_path)
    found = sets.load("cifar10", tmp_path)
    np.testing.assert_array_equal(found.train_x, np.concatenate([PIXELS, PIXELS]))
    np.testing.assert_array_equal(found.test_x, PIXELS)
    assert found.train_x.dtype == np.uint8 and found.classes == 10
    assert list(found.test_y) == list(LABELS) and found.test_y.dtype == np.int64
    assert sets.load("cifar10", tmp_path, (16, 16)).test_x.shape == (6, 3, 16, 16)


@pytest.mark.parametrize("binary", [True, False])
def test_cifar100_gives_the_fine_classes(tmp_path: Path, binary: bool) -> None:
    if binary:
        folder(tmp_path / "cifar-100-binary", {"train.bin": records(True), "test.bin": records(True)})
    else:
        labels = LABELS + 90
        folder(tmp_path / "cifar-100-python", {"train": batch(True, labels), "test": batch(True, labels), "meta": b"x"})
    found = sets.load("cifar100", tmp_path)
    assert list(found.train_y) == list(LABELS if binary else LABELS + 90) and found.classes == 100
    np.testing.assert_array_equal(found.test_x, PIXELS)


def test_the_unpacked_folder_itself_may_be_named(tmp_path: Path) -> None:
    assert len(sets.load("cifar10", CIFAR10["binary folder"](tmp_path)).train_y) == 12


def test_an_image_is_resized_as_torchvision_does(tmp_path: Path) -> None:
    CIFAR10["binary folder"](tmp_path)
    made = sets.load("cifar10", tmp_path, (20, 24)).test_x
    for image, wanted in zip(made, PIXELS):
        pillow = Image.fromarray(wanted.transpose(1, 2, 0)).resize((24, 20), Image.Resampling.BILINEAR)
        assert np.abs(image.transpose(1, 2, 0).astype(int) - np.asarray(pillow)).max() <= 1  # it works in fixed point


def test_a_pickle_executes_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {marker}",)

    for held in (pickle.dumps(Evil()), pickle.dumps({b"data": Evil(), b"labels": [1]}, 2), b"cos\nsystem\n(S'x'\ntR."):
        with pytest.raises(DataError, match="which is no data") as caught:
            formats.unpickled(held, "batch")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"builtins\.eval"):
        formats.unpickled(b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.", "batch")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({b"data": PIXELS.reshape(6, -1)}, "lacks data or labels"),
        ([1, 2], "lacks data or labels"),
        ({b"data": PIXELS, b"labels": [1]}, "rows of 3072 bytes"),
        ({b"data": PIXELS.reshape(6, -1).astype(float), b"labels": [1]}, "rows of 3072 bytes"),
        ({b"data": b"no array", b"labels": [1]}, "rows of 3072 bytes"),
        ({b"data": PIXELS.reshape(6, -1), b"labels": [1, 2]}, "6 images but 2 classes"),
        ({b"data": PIXELS.reshape(6, -1), b"labels": [1] * 5 + [10]}, "class 10 where 0 to 9"),
        ({b"data": PIXELS.reshape(6, -1), b"labels": [1] * 5 + [-1]}, "class -1 where 0 to 9"),
        ({b"data": PIXELS.reshape(6, -1), b"labels": ["x"] * 6}, "lacks data or labels"),
        ({b"data": PIXELS[:0].reshape(0, 3072), b"labels": []}, "holds no images"),
    ],
)
def test_a_batch_that_is_something_else_is_named(tmp_path: Path, held: object, words: str) -> None:
    folder(tmp_path / "cifar-10-batches-py", {"data_batch_1": pickle.dumps(held), "test_batch": batch()})
    with pytest.raises(DataError) as caught:
        sets.load("cifar10", tmp_path)
    assert words in str(caught.value) and "data_batch_1" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_batches_and_damaged_archives_are_named(tmp_path: Path) -> None:
    folder(tmp_path / "a" / "cifar-10-batches-bin", {"data_batch_1.bin": records()})
    with pytest.raises(DataError, match="lacks the test images of CIFAR-10"):
        sets.load("cifar10", tmp_path / "a")
    path = CIFAR10["binary archive"](folder(tmp_path / "b", {"x": b""}))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz is a damaged archive"):
        sets.load("cifar10", tmp_path / "b")
    assert published.verify("cifar10", tmp_path / "b")[0][2] == "differs from the published file"
    assert published.verify("cifar10", tmp_path / "a")[0][2].startswith("unpacked")
    assert published.verify("cifar10", tmp_path)[0][2] == "missing"


# ------------------------------------------------------------------------------------------------ SVHN and pictures


@pytest.mark.parametrize("compress", [True, False])
def test_svhns_class_ten_is_the_digit_nought(tmp_path: Path, compress: bool) -> None:
    mat(tmp_path / "train_32x32.mat", compress)
    mat(tmp_path / "test_32x32.mat", compress)
    found = sets.load("svhn", tmp_path)
    np.testing.assert_array_equal(found.train_x, PIXELS)
    assert list(found.test_y) == [0, 1, 9, 2, 0, 5] and found.classes == 10


def test_a_mat_file_of_something_else_is_named(tmp_path: Path) -> None:
    mat(tmp_path / "test_32x32.mat")
    for more, words in (
        ({"X": PIXELS.astype(float)}, "holds X float64"),
        ({"X": PIXELS}, "where uint8 \\(32, 32, 3, N\\) is published"),
        ({"y": np.array([[11]] * 6)}, "class 11 where 0 to 9"),
        ({"y": np.array([[1]] * 5)}, "6 images but 5 classes"),
    ):
        mat(tmp_path / "train_32x32.mat", **more)
        with pytest.raises(DataError, match=words):
            sets.load("svhn", tmp_path)
    scipy.io.savemat(tmp_path / "train_32x32.mat", {"Z": 1})
    with pytest.raises(DataError, match="no whole MATLAB file"):
        sets.load("svhn", tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_tiny_imagenet_is_read_from_its_folder_or_archive(tmp_path: Path, zipped: bool) -> None:
    files = tiny()
    if zipped:
        with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
    else:
        folder(tmp_path / "tiny-imagenet-200", files)
    found = sets.load("tiny-imagenet", tmp_path)
    assert found.train_x.shape == (4, 3, 64, 64) and list(found.train_y) == [0, 0, 1, 1]
    assert list(found.test_y) == [1, 0, 1] and found.classes == 200
    with Image.open(io.BytesIO(files["val/images/val_0.JPEG"])) as image:
        np.testing.assert_array_equal(found.test_x[0], np.asarray(image).transpose(2, 0, 1))


def test_pictures_that_do_not_fit_are_named(tmp_path: Path) -> None:
    small = png(RNG.integers(0, 256, (3, 60, 64), dtype=np.uint8))
    for name, content, words in (
        ("train/n02/images/n02_0.JPEG", small, "n02_0.JPEG is 64 x 60 pixels where 64 x 64 is wanted"),
        ("train/n02/images/n02_0.JPEG", b"", "n02_0.JPEG is no whole picture"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn09\n", "names 'n09', no class of train/"),
        ("val/val_annotations.txt", b"", "holds no pictures"),
        ("val/val_annotations.txt", b"val_9.JPEG\tn01\n", "val_9.JPEG is missing or damaged"),
    ):
        path = folder(tmp_path / "tiny-imagenet-200", tiny() | {name: content})
        with pytest.raises(DataError, match=words):
            sets.load("tiny-imagenet", path)


# ------------------------------------------------------------------------------------------------------- one's own


def own_folder(path: Path, grey: bool) -> Path:
    shape = (20, 16) if grey else (3, 20, 16)
    files = {
        f"{part}/{label}/{i}.png": png(np.full(shape, 10 * i, np.uint8))
        for part, count in (("train", 4), ("test", 2))
        for label in ("cat", "dog")
        for i in range(count)
    }
    return folder(path, files | {"train/cat/notes.txt": b"no picture"})


@pytest.mark.parametrize("grey", [True, False])
def test_a_folder_of_pictures_is_a_data_set(tmp_path: Path, grey: bool) -> None:
    found = sets.load("own", own_folder(tmp_path, grey))
    assert found.train_x.shape == (8, 1 if grey else 3, 20, 16) and found.classes == 2
    assert list(found.test_y) == [0, 0, 1, 1] and found.test_x[1, 0, 0, 0] == 10


def test_an_npz_file_is_a_data_set(tmp_path: Path) -> None:
    x, y = np.linspace(0, 1, 5 * 6 * 6).reshape(5, 6, 6), np.array([0, 1, 2, 1, 0])
    np.savez(tmp_path / "mine.npz", train_x=x, train_y=y, test_x=x[:2], test_y=y[:2])
    found = sets.load("own", tmp_path / "mine.npz")
    np.testing.assert_array_equal(found.train_x[:, 0], x)
    assert found.classes == 3 and found.test_x.shape == (2, 1, 6, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_y": np.array([0, 1])}, "3 images but 2 classes"),
        ({"test_y": np.array([0, 1, 5])}, "class 5 where 0 to 2"),
        ({"train_y": np.array([0, 1, -2])}, "class -2 .*give every image a class"),
        ({"train_x": np.full((3, 4, 4), 2.0)}, "outside 0 to 1"),
        ({"train_x": np.full((3, 4, 4), np.nan)}, "outside 0 to 1"),
        ({"train_x": np.zeros((3, 4))}, "give images"),
        ({"train_y": np.zeros(3)}, "give images"),
        ({"test_x": np.zeros((3, 5, 4))}, "give both one size"),
        ({"train_x": np.array([object()])}, "no whole .npz"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, change: dict, words: str) -> None:
    x, y = np.zeros((3, 4, 4)), np.arange(3)
    arrays = {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
    np.savez(tmp_path / "mine.npz", **(arrays | change))
    with pytest.raises(DataError, match=words) as caught:
        sets.load("own", tmp_path / "mine.npz")
    assert "\n" not in str(caught.value)


def test_what_is_missing_of_ones_own_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("L2SIM_DATA", raising=False)
    np.savez(tmp_path / "part.npz", train_x=np.zeros((3, 4, 4)))
    for path, words in (
        (None, "name it with --data"),
        (tmp_path / "no.npz", "there is no"),
        (tmp_path / "part.npz", "lacks the array train_y"),
        (tmp_path, "no pictures train/CLASS"),
    ):
        with pytest.raises(DataError, match=words):
            sets.load("own", path)
    own_folder(tmp_path, True)
    (tmp_path / "test" / "bird").mkdir()
    (tmp_path / "test" / "bird" / "0.png").write_bytes(png(np.zeros((20, 16), np.uint8)))
    with pytest.raises(DataError, match="of a class that train/ lacks"):
        sets.load("own", tmp_path)


# ----------------------------------------------------------------------------------------------------------- fuzzing


def damaged(good: bytes, count: int) -> list[bytes]:
    """`good` cut at any place, with bytes flipped, with a piece left out or doubled, and noise."""
    made = [good[: int(n)] for n in np.linspace(0, len(good) - 1, count)]
    for _ in range(2 * count):
        bad = bytearray(good)
        for at in RNG.integers(0, len(good), int(RNG.integers(1, 4))):
            bad[int(at)] = int(RNG.integers(256))
        made.append(bytes(bad))
    for _ in range(count):
        a, b = sorted(RNG.integers(0, len(good), 2))
        made += [good[:a] + good[b:], good[:b] + good[a:], RNG.bytes(int(RNG.integers(1, 200)))]
    return made


def fuzz(path: Path, good: bytes, read: Callable[[], object], count: int) -> int:
    """Read every damaged version of a file: it is read, or one line names the file. How many are refused."""
    refused = 0
    for bad in damaged(good, count):
        path.write_bytes(bad)
        try:
            read()
        except DataError as error:
            refused += 1
            assert "\n" not in str(error) and path.name in str(error), error
    return refused


def test_a_damaged_pickle_is_one_line(tmp_path: Path) -> None:
    # Pixels are most of the bytes, and damage there is none to the pickle: what is around them is damaged by itself.
    good = python2_batch()
    first, last = good.index(PIXELS.tobytes()[:9]), good.index(PIXELS.tobytes()[-9:]) + 9
    heads = [bad + good[first:] for bad in damaged(good[:first], 150)]
    tails = [good[:last] + bad for bad in damaged(good[last:], 100)]
    for bad in (*damaged(good, 60), *heads, *tails, *damaged(batch(protocol=5), 60)):
        try:
            formats._cifar_batch(bad, False, 10, "batch")
        except DataError as error:
            assert "\n" not in str(error) and "batch" in str(error)


@pytest.mark.parametrize("layout", ["binary folder", "binary archive", "python archive"])
def test_damaged_cifar_is_one_line(tmp_path: Path, layout: str) -> None:
    made = CIFAR10[layout](tmp_path)
    path = made / "data_batch_1.bin" if made.is_dir() else made
    assert fuzz(path, path.read_bytes(), lambda: sets.load("cifar10", tmp_path), 25) > 25


@pytest.mark.parametrize("compress", [True, False])
def test_a_damaged_mat_file_is_one_line(tmp_path: Path, compress: bool) -> None:
    mat(tmp_path / "test_32x32.mat")
    path = mat(tmp_path / "train_32x32.mat", compress)
    assert fuzz(path, path.read_bytes(), lambda: sets.load("svhn", tmp_path), 40) > 40


def test_a_damaged_zip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tiny(1).items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    assert fuzz(path, path.read_bytes(), lambda: sets.load("tiny-imagenet", tmp_path), 25) > 25


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif"])
def test_a_damaged_picture_is_one_line(tmp_path: Path, kind: str) -> None:
    path = own_folder(tmp_path, False) / "train" / "dog" / "0.png"
    good = png(RNG.integers(0, 256, (3, 20, 16), dtype=np.uint8), kind)
    assert fuzz(path, good, lambda: formats.picture(path.read_bytes(), str(path), False), 40) > 20


def test_a_damaged_npz_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    arrays = {"train_x": PIXELS, "train_y": LABELS, "test_x": PIXELS, "test_y": LABELS}
    np.savez_compressed(path, **arrays)
    assert fuzz(path, path.read_bytes(), lambda: sets.load("own", path), 40) > 60


# ---------------------------------------------------------------------------------------------- the real thing



@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="CIFAR-10 is not on this machine")
def test_the_real_cifar10_is_read() -> None:
    found = sets.load("cifar10", DATA)
    assert found.train_x.shape[1:] == (3, 32, 32) and len(found.train_y) % 10_000 == 0 and len(found.test_y) == 10_000
    assert list(np.bincount(found.test_y)) == [1000] * 10
    mean, std = sets.moments(found.train_x)
    np.testing.assert_allclose(mean, (0.491, 0.482, 0.447), atol=0.01)
    np.testing.assert_allclose(std, (0.247, 0.243, 0.262), atol=0.01)
