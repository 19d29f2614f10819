"""Readers of the published layouts: IDX, CIFAR's Python and binary batches, MATLAB files, folders of pictures, .npz.

Each gives images (N, C, H, W) uint8 and classes (N,) int64, and checks all it reads: whatever a file holds, the answer
is arrays that fit together or one DataError that names it. Nothing in a file is ever executed.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import tarfile
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import Array
from l2sim.errors import DataError

Size = tuple[int, int]
"""Height and width of an image, pixels."""
Labelled = tuple[Array, Array]

CURE = "fetch the set again with `l2sim data fetch`, or point --data to good files"
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
LARGEST = 1 << 22
"""Pixels of a picture: a damaged one may claim any size."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def content(path: Path) -> bytes:
    """What a plain or gzipped file holds. Raises DataError if it cannot be read."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except DAMAGED:
        raise DataError(f"{path} is a damaged gzip file; {CURE}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; {CURE}") from None


def checked(x: Array, y: Array, classes: int, where: object, cure: str = CURE) -> Labelled:
    """Images and classes that fit together. `where` names them in the error."""
    if len(x) != len(y):
        raise DataError(f"{where} has {len(x)} images but {len(y)} classes; {cure}")
    if not len(x):
        raise DataError(f"{where} holds no images; {cure}")
    if y.min() < 0 or y.max() >= classes:
        odd = y.min() if y.min() < 0 else y.max()
        raise DataError(f"{where} has class {odd} where 0 to {classes - 1} are known; {cure}")
    return np.ascontiguousarray(x), y.astype(np.int64)


# ------------------------------------------------------------------------------------------------------------ IDX


def idx_pair(images: Path, labels: Path) -> Labelled:
    """A set of MNIST's kind: two IDX files, plain or gzipped, classes 0 to 9."""
    x, y = idx(images, 3), idx(labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images} has {len(x)} images but {labels} has {len(y)} classes; {CURE}")
    return checked(x[:, None], y, 10, labels)


def idx(path: Path, axes: int) -> Array:
    """The uint8 array of an IDX file with `axes` axes: magic 00 00 08 axes, a size per axis, then the bytes."""
    raw = content(path)
    head = 4 + 4 * axes
    if raw[:4] != bytes((0, 0, 8, axes)):
        what = "images" if axes == 3 else "classes"
        start = raw[:4].hex() or "nothing"
        raise DataError(f"{path} is not an IDX file of {what} (it starts with {start}); {CURE}")
    shape = np.frombuffer(raw[4:head].ljust(4 * axes, b"\0"), ">u4").tolist()
    wanted = head + math.prod(shape)
    if len(raw) != wanted or 0 in shape:
        state = "is truncated" if len(raw) < wanted else "is too long or empty"
        raise DataError(f"{path} {state}: {len(raw)} bytes where its header says {wanted}; {CURE}")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


# ---------------------------------------------------------------------------------------------------------- CIFAR

PIXELS = 3 * 32 * 32


def cifar(path: Path, classes: int) -> tuple[Labelled, Labelled]:
    """CIFAR-10 or CIFAR-100 (fine classes) from the unpacked folder or the archive, as Python or as binary batches."""
    parts = _members(path)
    fine = classes > 10
    train = [n for n in sorted(parts) if (n in ("train", "train.bin") if fine else n.startswith("data_batch_"))]
    test = [n for n in parts if n in (("test", "test.bin") if fine else ("test_batch", "test_batch.bin"))]
    for what, names in (("training", train), ("test", test)):
        if not names:
            raise DataError(f"{path} lacks the {what} images of CIFAR-{classes}; {CURE}")
    made = []
    for names in (train, test):
        read = [_cifar_batch(parts[n], n.endswith(".bin"), classes, f"{path}/{n}") for n in names]
        made.append((np.concatenate([x for x, _ in read]), np.concatenate([y for _, y in read])))
    return made[0], made[1]


def _members(path: Path) -> dict[str, bytes]:
    """The batches of a folder or a tar archive, by file name."""
    try:
        if path.is_dir():
            return {file.name: file.read_bytes() for file in path.iterdir() if _batch(file.name)}
        with tarfile.open(path) as archive:
            files = [item for item in archive if item.isfile() and _batch(Path(item.name).name)]
            return {Path(item.name).name: archive.extractfile(item).read() for item in files}  # type: ignore[union-attr]
    except (*DAMAGED, ValueError):
        raise DataError(f"{path} is a damaged archive; {CURE}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; {CURE}") from None


def _batch(name: str) -> bool:
    return name.removesuffix(".bin") in ("train", "test", "test_batch") or name.startswith("data_batch_")


def _cifar_batch(raw: bytes, binary: bool, classes: int, where: str) -> Labelled:
    """One batch. Binary: records of one label byte (CIFAR-100: coarse, then fine) and the pixels of three planes."""
    if binary:
        labels = 2 if classes > 10 else 1
        if not raw or len(raw) % (labels + PIXELS):
            raise DataError(f"{where} is truncated or no batch: {len(raw)} bytes are not records of {labels + PIXELS}")
        records = np.frombuffer(raw, np.uint8).reshape(-1, labels + PIXELS)
        return checked(records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1], classes, where)
    table = unpickled(raw, where)
    key = "fine_labels" if classes > 10 else "labels"
    try:
        named = {k.decode() if isinstance(k, bytes) else k: v for k, v in table.items()}
        x, y = named["data"], np.array(named[key], np.int64)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"{where} is no batch of CIFAR-{classes}: it lacks data or {key}; {CURE}") from None
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != PIXELS or y.ndim != 1:
        raise DataError(f"{where} does not hold rows of {PIXELS} bytes and a class each; {CURE}")
    return checked(x.reshape(-1, 3, 32, 32), y, classes, where)


class _Plain(pickle._Unpickler):
    """Builds numbers, text, lists, dictionaries and plain arrays, and nothing else.

    The one written in Python: the one in C allocates whatever size a damaged file asks for.
    """

    def find_class(self, module: str, name: str) -> object:
        place = module.replace("numpy.core", "numpy._core")
        if (place, name) == ("numpy._core.multiarray", "_reconstruct"):
            return _empty
        if (place, name) == ("numpy._core.numeric", "_frombuffer"):
            return _filled
        if (place, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return np.ndarray if name == "ndarray" else np.dtype
        if (place, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, *_: text.encode("latin1") if isinstance(text, str) else text
        raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no data")


def _empty(kind: object, shape: object, code: object) -> Array:
    """What an array begins as before its state is set."""
    return np.empty(0, np.uint8)


def _filled(raw: bytes, kind: DTypeLike, shape: tuple[int, ...], order: Literal["C", "F"]) -> Array:
    """A whole array, as newer pickles write it."""
    return np.frombuffer(bytes(raw), kind).reshape(shape, order=order)


def unpickled(raw: bytes, where: str) -> Any:
    """What a pickle of plain data and arrays holds; nothing in it is executed. Raises DataError."""
    try:
        return _Plain(io.BytesIO(raw), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{where} is not read: {str(error)[:80] or 'it is damaged'}; {CURE}") from None
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(f"{where} is damaged ({type(error).__name__}); {CURE}") from None


# --------------------------------------------------------------------------------------------------------- MATLAB


def svhn(path: Path) -> Labelled:
    """A file of SVHN's cropped digits: X (32, 32, 3, N) uint8 and y (N, 1), where class 10 is the digit 0."""
    import scipy.io  # late: it takes a second, and only SVHN needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = scipy.io.loadmat(path, variable_names=["X", "y"])
        x, y = table["X"], table["y"].ravel().astype(np.int64)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'it is truncated'}; {CURE}") from None
    except Exception as error:  # a damaged file raises anything
        raise DataError(f"{path} is no whole MATLAB file of X and y ({type(error).__name__}); {CURE}") from None
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3):
        raise DataError(f"{path} holds X {x.dtype} {x.shape} where uint8 (32, 32, 3, N) is published; {CURE}")
    return checked(x.transpose(3, 2, 0, 1), np.where(y == 10, 0, y), 10, path)


# ------------------------------------------------------------------------------------------------------- pictures


class Tree:
    """Files below a folder or inside a zip archive, by path with '/'."""

    def __init__(self, path: Path, top: str = "") -> None:
        self.path, self._zip = path, None
        try:
            if path.is_dir():
                self.names = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
            else:
                self._zip = zipfile.ZipFile(path)
                self.names = sorted(n.removeprefix(top) for n in self._zip.namelist() if n.startswith(top))
            self._top = top if self._zip else ""
        except (*DAMAGED, ValueError, NotImplementedError):
            raise DataError(f"{path} is a damaged archive; {CURE}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}; {CURE}") from None

    def read(self, name: str) -> bytes:
        """The bytes of one file."""
        try:
            return self._zip.read(self._top + name) if self._zip else (self.path / name).read_bytes()
        except (*DAMAGED, KeyError, OSError, RuntimeError, NotImplementedError):
            raise DataError(f"{self.path}/{name} is missing or damaged; {CURE}") from None


def picture(raw: bytes, where: str, grey: bool) -> Array:
    """A picture file as (C, H, W) uint8: one channel if `grey`, else three."""
    from PIL import Image  # late: only pictures in files need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw)) as image:
                if image.width * image.height > LARGEST:
                    raise DataError(f"{where} is {image.width} x {image.height} pixels, which is too large; {CURE}")
                seen = np.asarray(image.convert("L" if grey else "RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged picture raises anything
        raise DataError(f"{where} is no whole picture ({type(error).__name__}); {CURE}") from None
    return seen[None] if grey else seen.transpose(2, 0, 1)


def pictures(tree: Tree, names: list[str], size: Size | None, grey: bool = False) -> Array:
    """Pictures as (N, C, H, W), decoded on all cores; all must be of `size`, or, where it is None, of one size."""
    if not names:
        raise DataError(f"{tree.path} holds no pictures; {CURE}")

    def one(name: str) -> Array:
        return picture(tree.read(name), f"{tree.path}/{name}", grey)

    first = one(names[0])
    size = size or (first.shape[1], first.shape[2])
    out = np.empty((len(names), len(first), *size), np.uint8)

    def put(at: int) -> None:
        seen = one(names[at])
        if seen.shape[1:] != size:
            actual, wanted = (f"{w} x {h}" for h, w in (seen.shape[1:], size))
            raise DataError(f"{tree.path}/{names[at]} is {actual} pixels where {wanted} is wanted; {CURE}")
        out[at] = seen

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(put, range(len(names))):
            pass
    return out


def tiny_imagenet(path: Path) -> tuple[Labelled, Labelled]:
    """Tiny ImageNet from its folder or zip archive. Classes in the order of their names; validation serves as test."""
    tree = Tree(path, "tiny-imagenet-200/")
    train = [n for n in tree.names if n.startswith("train/") and n.lower().endswith(PICTURES)]
    known = {name: i for i, name in enumerate(sorted({n.split("/")[1] for n in train}))}
    if not 1 <= len(known) <= 200:
        raise DataError(f"{path} has {len(known)} classes in train/ where at most 200 are published; {CURE}")
    lines = tree.read("val/val_annotations.txt").decode("utf-8", "replace").splitlines()
    pairs = [line.split("\t")[:2] for line in lines if line.strip()]
    odd = [pair for pair in pairs if len(pair) != 2 or pair[1] not in known]
    if odd:
        raise DataError(f"{path}/val/val_annotations.txt names {odd[0][-1][:40]!r}, no class of train/; {CURE}")
    classes = np.array([known[n.split("/")[1]] for n in train])
    val = np.array([known[label] for _, label in pairs], int)
    here = pictures(tree, train, (64, 64)), classes
    there = pictures(tree, [f"val/images/{name}" for name, _ in pairs], (64, 64)), val
    return checked(*here, 200, f"{path}/train"), checked(*there, 200, f"{path}/val")


# ------------------------------------------------------------------------------------------------------- your own


def own(path: Path) -> tuple[Labelled, Labelled, int]:
    """A set of one's own and its number of classes: a .npz file, or a folder of pictures.

    The file holds train_x, test_x (N, H, W) or (N, C, H, W), uint8 or floats in [0, 1], and train_y, test_y (N,),
    classes from 0. The folder holds train/CLASS/... and test/CLASS/..., classes in the order of their names.
    """
    if path.is_dir():
        return _own_folder(Tree(path))
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("train_x", "train_y", "test_x", "test_y")}
    except FileNotFoundError:
        raise DataError(f"there is no {path}; name your .npz file or folder of pictures with --data") from None
    except KeyError as error:
        name = str(error).split()[0].strip("'\"")
        raise DataError(f"{path} lacks the array {name}; it needs train_x, train_y, test_x and test_y") from None
    except Exception as error:  # a damaged file raises anything
        raise DataError(f"{path} is no whole .npz file of arrays ({type(error).__name__}); write it again") from None
    y = arrays["train_y"]
    classes = int(y.max()) + 1 if y.size and y.dtype.kind in "iu" else 1
    train, test = (_own_arrays(arrays[f"{k}_x"], arrays[f"{k}_y"], classes, f"{path}: {k}") for k in ("train", "test"))
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(f"{path}: train_x is {train[0].shape[1:]} but test_x {test[0].shape[1:]}; give both one size")
    return train, test, classes


def _own_arrays(x: Array, y: Array, classes: int, where: str) -> Labelled:
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or 0 in x.shape or y.ndim != 1 or y.dtype.kind not in "iu":
        problem = f"{where}_x is {x.dtype} {x.shape} and {where}_y {y.dtype} {y.shape}"
        raise DataError(f"{problem}; give images (N, H, W) or (N, C, H, W) and whole numbers (N,)")
    if x.dtype != np.uint8:
        x = x.astype(float)
        if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
            raise DataError(f"{where}_x has values outside 0 to 1; scale it, or give bytes (uint8)")
    return checked(x, y.astype(np.int64), classes, where, "give every image a class, from 0 on, as in training")


def _own_folder(tree: Tree) -> tuple[Labelled, Labelled, int]:
    split = {part: [n for n in tree.names if _classed(n, part)] for part in ("train", "test")}
    for part, names in split.items():
        if not names:
            raise DataError(f"{tree.path} has no pictures {part}/CLASS/...; sort them into such folders")
    known = {name: i for i, name in enumerate(sorted({n.split("/")[1] for n in split["train"]}))}
    for name in split["test"]:
        if name.split("/")[1] not in known:
            raise DataError(f"{tree.path}/{name} is of a class that train/ lacks; give it pictures to learn from")
    grey = _is_grey(tree, split["train"][0])
    size: Size | None = None
    made = []
    for names in split.values():
        x = pictures(tree, names, size, grey)
        size = (x.shape[2], x.shape[3])
        made.append(checked(x, np.array([known[n.split("/")[1]] for n in names]), len(known), tree.path))
    return made[0], made[1], len(known)


def _classed(name: str, part: str) -> bool:
    return name.startswith(f"{part}/") and name.count("/") >= 2 and name.lower().endswith(PICTURES)


def _is_grey(tree: Tree, name: str) -> bool:
    """Whether a picture has one channel."""
    from PIL import Image  # late: only pictures in files need it

    try:
        with Image.open(io.BytesIO(tree.read(name))) as image:
            return image.mode in ("1", "L", "I;16")
    except Exception:
        return False  # the reader says what is wrong with it

