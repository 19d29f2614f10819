"""Data sets: the digits that ship with l2sim, MNIST and Fashion-MNIST from a folder or fetched, and a synthetic one.

Images are (N, C, H, W) float64 in [0, 1], classes int64. There is no normalisation and no augmentation, as published.
`--data` or L2SIM_DATA name the one folder looked at; without either, sets live in the user's cache and are fetched.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, generator
from l2sim.errors import DataError

Size = tuple[int, int]
"""Height and width of an image, pixels."""


@dataclass(frozen=True)
class DataSet:
    """`train_x`, `test_x`: (N, C, H, W) float64 in [0, 1]; `train_y`, `test_y`: (N,) int64 in 0 .. classes - 1."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: int


class IdxFile(NamedTuple):
    """One published file: the md5 of the gzip as served, and of what it holds (others wrap the same bytes anew)."""

    name: str
    md5: str
    content_md5: str


class IdxSet(NamedTuple):
    """A set in the four IDX files of MNIST: training and test images and classes."""

    about: str
    url: str
    train_x: IdxFile
    train_y: IdxFile
    test_x: IdxFile
    test_y: IdxFile

    @property
    def files(self) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
        return self.train_x, self.train_y, self.test_x, self.test_y


SETS: dict[str, IdxSet] = {
    "mnist": IdxSet(
        "70,000 handwritten digits, 28 x 28 (LeCun, Cortes, Burges)",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        IdxFile("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        IdxFile("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        IdxFile("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        IdxFile("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    ),
    "fashion-mnist": IdxSet(
        "70,000 pictures of clothes, 28 x 28 (Zalando Research)",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        IdxFile("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        IdxFile("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        IdxFile("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        IdxFile("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    ),
}

DIGITS = Path(__file__).with_name("digits.csv.gz")
TRIES = 3
WAIT_S = 1.0
"""Pause before the second try of a download; it doubles with every try."""

_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)


# --------------------------------------------------------------------------------------------------- loading


def load(name: str, directory: Path | None = None, image_size: Size = (28, 28), channels: int = 1) -> DataSet:
    """The data set `name` with images of `image_size` (H, W).

    `directory` holds the files of MNIST-like sets; without it they are looked for as the module says and fetched.
    Raises DataError for an unknown, missing, damaged or unfitting set.
    """
    if name == "synthetic":
        return _synthetic(image_size, channels)
    if channels != 1:
        raise DataError(f"{name} is grey and the model wants {channels} channels; choose a model with one channel")
    if name == "digits":
        return _digits(image_size)
    published = _published(name)
    paths = locate(name, directory)
    train_x, train_y = _pair(paths[published.train_x.name], paths[published.train_y.name], image_size)
    test_x, test_y = _pair(paths[published.test_x.name], paths[published.test_y.name], image_size)
    return DataSet(train_x, train_y, test_x, test_y, 10)


def hold_out(data: DataSet, share: float, rng: np.random.Generator) -> tuple[DataSet, Array, Array]:
    """`data` without a random `share` of its training images, and those images and classes, kept for choosing."""
    count = round(share * len(data.train_y))
    order = rng.permutation(len(data.train_y))
    kept, out = np.sort(order[count:]), np.sort(order[:count])
    smaller = replace(data, train_x=data.train_x[kept], train_y=data.train_y[kept])
    return smaller, data.train_x[out], data.train_y[out]


def batches(count: int, size: int, rng: np.random.Generator | None = None) -> Iterator[Array]:
    """Indices of mini-batches of `size` over `count` images, in order or shuffled by `rng`; the last may be smaller."""
    order = np.arange(count) if rng is None else rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def resize(images: Array, size: Size) -> Array:
    """Bilinear resize of (N, H, W) to `size`, in float64.

    Pixel centres are aligned at half integers (`align_corners=False`). Shrinking widens the triangle filter against
    aliasing, as Pillow's and torchvision's `Resize` do; enlarging is plain interpolation with clamped borders.
    """
    if images.shape[1:] == size:
        return images.astype(float)
    rows, columns = (_triangle(old, new) for old, new in zip(images.shape[1:], size))
    out = np.empty((len(images), *size))
    for start in range(0, len(images), 4096):  # in parts: a float64 copy of all of MNIST is 0.4 GB
        part = slice(start, start + 4096)
        out[part] = rows @ images[part].astype(float) @ columns.T
    return out


def _triangle(old: int, new: int) -> Array:
    """The (new, old) matrix that resizes one axis; rows sum to one."""
    scale = old / new
    centres = (np.arange(new)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


def _digits(image_size: Size) -> DataSet:
    try:
        with gzip.open(DIGITS, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    except (OSError, ValueError, *_DAMAGED) as error:
        raise DataError(f"{DIGITS} is missing or damaged ({error}); reinstall l2sim") from None
    images = resize(table[:, :64].reshape(-1, 8, 8) / 16.0, image_size)[:, None]
    # The split is prescribed by NumPy's legacy generator, whose stream is frozen for ever; the object is local.
    order = np.random.RandomState(0).permutation(len(table))
    train, test = order[:1437], order[1437:]
    return DataSet(images[train], table[train, 64], images[test], table[test, 64], 10)


def _synthetic(image_size: Size, channels: int, train: int = 256, test: int = 128) -> DataSet:
    """Ten classes of noisy blobs around the image's centre: learnable, always the same, made in milliseconds."""
    rng = generator(0, "data", "synthetic")
    y = rng.permutation(np.arange(train + test) % 10)
    angle = 2 * math.pi * y / 10
    height, width = image_size
    row = (0.5 + 0.3 * np.sin(angle))[:, None, None] - (np.arange(height)[:, None] + 0.5) / height
    column = (0.5 + 0.3 * np.cos(angle))[:, None, None] - (np.arange(width) + 0.5) / width
    blob = np.exp(-(row**2 + column**2) / 0.02)[:, None]
    x = np.clip(blob + 0.1 * rng.standard_normal((train + test, channels, height, width)), 0, 1)
    return DataSet(x[:train], y[:train], x[train:], y[train:], 10)


# ------------------------------------------------------------------------------------------------- IDX files


def _pair(images: Path, labels: Path, image_size: Size) -> tuple[Array, Array]:
    x, y = _read_idx(images, 3), _read_idx(labels, 1)
    if len(x) != len(y):
        raise DataError(f"{images} has {len(x)} images but {labels} has {len(y)} classes; {_CURE}")
    if y.max() > 9:
        raise DataError(f"{labels} has class {y.max()} beyond 9; {_CURE}")
    return resize(x, image_size)[:, None] / 255.0, y.astype(np.int64)


_CURE = "fetch the set again with `l2sim data fetch`, or point --data to good files"


def _content(path: Path) -> bytes:
    """What a plain or gzipped file holds. Raises DataError if it cannot be read."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except _DAMAGED:
        raise DataError(f"{path} is a damaged gzip file; {_CURE}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; {_CURE}") from None


def _read_idx(path: Path, axes: int) -> Array:
    """The uint8 array of an IDX file with `axes` axes: magic 00 00 08 axes, a size per axis, then the bytes."""
    content = _content(path)
    head = 4 + 4 * axes
    if content[:4] != bytes((0, 0, 8, axes)):
        what = "images" if axes == 3 else "classes"
        start = content[:4].hex() or "nothing"
        raise DataError(f"{path} is not an IDX file of {what} (it starts with {start}); {_CURE}")
    shape = np.frombuffer(content[4:head].ljust(4 * axes, b"\0"), ">u4").tolist()
    wanted = head + math.prod(shape)
    if len(content) != wanted or 0 in shape:
        state = "is truncated" if len(content) < wanted else "is too long or empty"
        raise DataError(f"{path} {state}: {len(content)} bytes where its header says {wanted}; {_CURE}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


# ---------------------------------------------------------------------------------------- finding and fetching


def folder(name: str, directory: Path | None = None) -> Path:
    """Where `fetch` puts the set: under `directory`, else L2SIM_DATA, else the user's cache."""
    root = _root(directory)
    if root is None:
        import pooch

        root = Path(pooch.os_cache("l2sim"))
    return root / name


def locate(name: str, directory: Path | None = None, quiet: bool = False) -> dict[str, Path]:
    """The file of each part of the set `name`. Fetches the set if no folder was named and the cache lacks it."""
    published = _published(name)
    root = _root(directory)
    if root is None:
        found = _files_in(folder(name), published)
        return found if len(found) == len(published.files) else fetch(name, quiet=quiet)
    if not root.is_dir():
        raise DataError(f"there is no data folder {root}; {_fetch_line(name, root)}")
    for place in _places(name, root):
        found = _files_in(place, published)
        missing = [file.name for file in published.files if file.name not in found]
        if found and missing:
            raise DataError(f"{place} lacks {missing[0]}.gz of {name}; {_fetch_line(name, root)}")
        if found:
            return found
    files = f"{published.train_x.name}.gz ..."
    raise DataError(f"no {name} ({files}) in {root} or {root / name}; {_fetch_line(name, root)}")


def fetch(name: str, directory: Path | None = None, quiet: bool = False) -> dict[str, Path]:
    """Download what is missing of the set `name` or differs from the published files; returns the file of each part.

    Each file is checked against its published md5; a failed download is tried again twice. Raises DataError.
    """
    published = _published(name)
    target = folder(name, directory)
    target.mkdir(parents=True, exist_ok=True)
    found = _files_in(target, published)
    for file in published.files:
        if file.name not in found or _state(found[file.name], file) != "as published":
            found[file.name] = _download(f"{published.url}{file.name}.gz", file, target, quiet)
    return found


def verify(name: str, directory: Path | None = None) -> list[tuple[str, Path | None, str]]:
    """File name, path and state of each part of the set `name`: `as published`, or what is wrong. Fetches nothing."""
    published = _published(name)
    found: dict[str, Path] = {}
    for place in _places(name, _root(directory)):
        found = found or _files_in(place, published)
    return [
        (f.name, found.get(f.name), _state(found[f.name], f) if f.name in found else "missing") for f in published.files
    ]


def list_sets(directory: Path | None = None) -> list[tuple[str, str, str]]:
    """Name, what it is, and where it is, of every data set a job can name."""
    rows = [("digits", "1,797 handwritten digits, 8 x 8 (UCI, Alpaydin and Kaynak)", "ships with l2sim")]
    for name, published in SETS.items():
        place = next((p for p in _places(name, _root(directory)) if _files_in(p, published)), None)
        rows.append((name, published.about, str(place) if place else f"not here: l2sim data fetch {name}"))
    return [*rows, ("synthetic", "384 noisy blobs of any size, for --smoke", "made when needed")]


def _published(name: str) -> IdxSet:
    if name not in SETS:
        own = " (it needs no files)" if name in ("digits", "synthetic") else ""
        raise DataError(f"{name!r} is not a data set with files{own}; use one of {', '.join(SETS)}")
    return SETS[name]


def _root(directory: Path | None) -> Path | None:
    named = directory or os.environ.get("L2SIM_DATA")
    return Path(named) if named else None


def _places(name: str, root: Path | None) -> list[Path]:
    """Folders to look in. All sets use the same file names, so a folder named after another set does not count."""
    if root is None:
        return [folder(name)]
    return [root / name] if root.resolve().name in set(SETS) - {name} else [root / name, root]


def _files_in(place: Path, published: IdxSet) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in published.files:
        for path in (place / file.name, place / f"{file.name}.gz"):  # the gzipped one wins
            if path.is_file():
                found[file.name] = path
    return found


def _state(path: Path, file: IdxFile) -> str:
    try:
        content = _content(path)
    except DataError as error:
        return str(error).partition("; ")[0].removeprefix(f"{path} ")
    same = hashlib.md5(content, usedforsecurity=False).hexdigest() == file.content_md5
    return "as published" if same else "differs from the published file"


def _fetch_line(name: str, root: Path) -> str:
    return f"fetch it with `l2sim data fetch {name} --data {root}`"


class _Bar:
    """What pooch wants of a progress bar, drawn by rich on a terminal."""

    total = 0

    def __init__(self, name: str, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._progress = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._task = self._progress.add_task(name)
        self._progress.start()

    def update(self, amount: int) -> None:
        self._progress.update(self._task, total=self.total, advance=amount)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()


def _download(url: str, file: IdxFile, target: Path, quiet: bool) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    for attempt in range(TRIES):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        bar = _Bar(file.name, quiet)
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=65536, timeout=30)
        try:
            return Path(pooch.retrieve(url, f"md5:{file.md5}", f"{file.name}.gz", target, downloader=downloader))
        except requests.HTTPError as error:
            cause = str(error).partition(" for url")[0]
        except requests.Timeout:
            cause = "the server did not answer in time"
        except requests.ConnectionError:
            cause = "no connection"
        except requests.RequestException as error:
            cause = type(error).__name__
        except ValueError:  # pooch's word for a wrong checksum; it keeps nothing of the download
            cause = "what came has another checksum than the published file"
        finally:
            bar.close()
    raise DataError(
        f"{url} could not be fetched in {TRIES} tries: {cause}; try later, or put the four files into a folder"
        f" {target.name} and name its parent with --data"
    )
