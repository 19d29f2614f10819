"""The published data sets: what their files are, where they are paths, and how they are fetched and verified.

`--data` or L2SIM_DATA name the one folder looked at; without either, sets live in the user's cache and are fetched.
A file that is there is used as it is; only what is fetched must have the published checksum. Nothing is unpacked: an
archive is read as it was published, and so is the folder that someone else unpacked.

The checksums of Fashion-MNIST, CIFAR-10 and CIFAR-100 are given by their publishers. Those of MNIST, SVHN and Tiny
ImageNet give none: MNIST's and SVHN's are torchvision's, Tiny ImageNet's is the one that other readers of it share.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from l2sim.data import formats
from l2sim.errors import DataError


class File(NamedTuple):
    """One published file.

    `md5` is that of the file as served, under `served` (default: `name`); `content_md5` that of what a gzip holds,
    since others wrap the same bytes anew. `also`: other files or folders that hold the same, and the md5s of files.
    """

    name: str
    md5: str
    content_md5: str = ""
    served: str = ""
    also: dict[str, str] = {}  # noqa: RUF012

    @property
    def places(self) -> tuple[str, ...]:
        """Names it may have in a folder; later ones win."""
        return (*self.also, self.name, *([self.served] if self.served else []))


class Published(NamedTuple):
    """A set: `layout` says how its files are read, `shape` is that of an image (C, H, W)."""

    about: str
    url: str
    layout: str
    classes: int
    shape: tuple[int, int, int]
    files: tuple[File, ...]


def _idx(url: str, about: str, **md5s: tuple[str, str]) -> Published:
    names = {"train_x": "train-images-idx3-ubyte", "train_y": "train-labels-idx1-ubyte"}
    names |= {"test_x": "t10k-images-idx3-ubyte", "test_y": "t10k-labels-idx1-ubyte"}
    files = tuple(File(names[part], *both, served=f"{names[part]}.gz") for part, both in md5s.items())
    return Published(about, url, "idx", 10, (1, 28, 28), files)


_KRIZ = "https://www.cs.toronto.edu/~kriz/"

SETS: dict[str, Published] = {
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "70,000 handwritten digits, 28 x 28 (LeCun, Cortes, Burges)",
        train_x=("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        train_y=("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        test_x=("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        test_y=("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "70,000 pictures of clothes, 28 x 28 (Zalando Research)",
        train_x=("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        train_y=("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        test_x=("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        test_y=("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    ),
    "cifar10": Published(
        "60,000 small photographs in 10 classes, 32 x 32 (Krizhevsky)",
        _KRIZ,
        "cifar",
        10,
        (3, 32, 32),
        (
            File(
                "cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
                also={
                    "cifar-10-batches-py": "",
                    "cifar-10-batches-bin": "",
                    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
                },
            ),
        ),
    ),
    "cifar100": Published(
        "60,000 small photographs in 100 classes, 32 x 32 (Krizhevsky)",
        _KRIZ,
        "cifar",
        100,
        (3, 32, 32),
        (
            File(
                "cifar-100-binary.tar.gz",
                "03b5dce01913d631647c71ecec9e9cb8",
                also={
                    "cifar-100-python": "",
                    "cifar-100-binary": "",
                    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
                },
            ),
        ),
    ),
    "svhn": Published(
        "99,289 cropped house numbers, 32 x 32 (Netzer et al.)",
        "http://ufldl.stanford.edu/housenumbers/",
        "svhn",
        10,
        (3, 32, 32),
        (
            File("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            File("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        ),
    ),
    "tiny-imagenet": Published(
        "110,000 photographs in 200 classes, 64 x 64 (Stanford CS231n)",
        "http://cs231n.stanford.edu/",
        "tiny-imagenet",
        200,
        (3, 64, 64),
        (
            File(
                "tiny-imagenet-200.zip",
                "90528d7ca1a48142e341f4ef8d21d0de",
                also={"tiny-imagenet-200": ""},
            ),
        ),
    ),
}

UNPACKED = "unpacked: only the archive has a published checksum"
"""The state of a folder, which cannot be compared."""
TRIES = 3
WAIT_S = 1.0
"""Pause before the second try of a download; it doubles with every try."""
CHUNK = 1 << 16


def read(name: str, directory: Path | None = None) -> tuple[formats.Labelled, formats.Labelled]:
    """Training and test images and classes of a published set, found or fetched. Raises DataError."""
    published = get(name)
    files = locate(name, directory)
    paths = [files[file.name] for file in published.files]
    match published.layout:
        case "idx":
            return formats.idx_pair(*paths[:2]), formats.idx_pair(*paths[2:])
        case "cifar":
            return formats.cifar(paths[0], published.classes)
        case "svhn":
            return formats.svhn(paths[0]), formats.svhn(paths[1])
    return formats.tiny_imagenet(paths[0])


def get(name: str) -> Published:
    """The published set `name`. Raises DataError."""
    if name not in SETS:
        own = " (it needs no files)" if name in ("digits", "synthetic") else ""
        raise DataError(f"{name!r} is not a data set with files{own}; use one of {', '.join(SETS)}")
    return SETS[name]


# ------------------------------------------------------------------------------------------------------- finding


def folder(name: str, directory: Path | None = None) -> Path:
    """Where `fetch` puts the set: under `directory`, else L2SIM_DATA, else the user's cache."""
    root = named(directory)
    if root is None:
        import pooch  # late: only the cache needs it

        root = Path(pooch.os_cache("l2sim"))
    return root / name


def locate(name: str, directory: Path | None = None, quiet: bool = False) -> dict[str, Path]:
    """What holds each file of the set `name`. Fetches the set if no folder was named and the cache lacks it."""
    published = get(name)
    root = named(directory)
    if root is None:
        paths = _files_in(folder(name), published)
        return paths if len(paths) == len(published.files) else fetch(name, quiet=quiet)
    if not root.is_dir():
        raise DataError(f"there is no data folder {root}; {_fetch_line(name, root)}")
    for place in _places(name, root):
        paths = _files_in(place, published)
        missing = [file.places[-1] for file in published.files if file.name not in paths]
        if paths and missing:
            raise DataError(f"{place} lacks {missing[0]} of {name}; {_fetch_line(name, root)}")
        if paths:
            return paths
    first = published.files[0].places[-1]
    raise DataError(f"no {name} ({first} ...) in {root} or {root / name}; {_fetch_line(name, root)}")


def verify(name: str, directory: Path | None = None) -> list[tuple[str, Path | None, str]]:
    """File name, path and state of each file of the set `name`: `as published`, or what is wrong. Fetches nothing."""
    published = get(name)
    paths: dict[str, Path] = {}
    for place in _places(name, named(directory)):
        paths = paths or _files_in(place, published)
    return [
        (f.name, paths.get(f.name), _state(paths[f.name], f) if f.name in paths else "missing") for f in published.files
    ]


def list_sets(directory: Path | None = None) -> list[tuple[str, str, str]]:
    """Name, what it is, and where it is, of every data set a job can name."""
    rows = [("digits", "1,797 handwritten digits, 8 x 8 (UCI, Alpaydin and Kaynak)", "ships with l2sim")]
    for name, published in SETS.items():
        place = next((p for p in _places(name, named(directory)) if _files_in(p, published)), None)
        rows.append((name, published.about, str(place) if place else f"not here: l2sim data fetch {name}"))
    rows.append(("own", "your .npz file, or folder of pictures train/CLASS/..., test/CLASS/...", "named with --data"))
    return [*rows, ("synthetic", "384 noisy blobs of any size, for --smoke", "made when needed")]


def named(directory: Path | None) -> Path | None:
    """The data folder that was named, if any."""
    given = directory or os.environ.get("L2SIM_DATA")
    return Path(given) if given else None


def _places(name: str, root: Path | None) -> list[Path]:
    """Folders to look in. Some sets use the same file names, so a folder named after another set does not count."""
    if root is None:
        return [folder(name)]
    return [root / name] if root.resolve().name in set(SETS) - {name} else [root / name, root]


def _files_in(place: Path, published: Published) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for file in published.files:
        if place.name in file.also and place.is_dir():  # the unpacked folder itself was named
            paths[file.name] = place
        for name in file.places:
            if (place / name).exists():
                paths[file.name] = place / name
    return paths


def _state(path: Path, file: File) -> str:
    if path.is_dir():
        return UNPACKED
    try:
        same = _md5(path) == file.also.get(path.name, file.md5)
        if not same and file.content_md5:
            content = formats.content(path)
            same = hashlib.md5(content, usedforsecurity=False).hexdigest() == file.content_md5
    except DataError as error:
        return str(error).partition("; ")[0].removeprefix(f"{path} ")
    return "as published" if same else "differs from the published file"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch_line(name: str, root: Path) -> str:
    return f"fetch it with `l2sim data fetch {name} --data {root}`"


# ------------------------------------------------------------------------------------------------------- fetching


def fetch(name: str, directory: Path | None = None, quiet: bool = False) -> dict[str, Path]:
    """Download what is missing of the set `name` or differs from the published files; returns what holds each file.

    Each file is checked against its published md5. A failed download is tried again twice, and goes on where it broke
    off, as does a later fetch. Raises DataError.
    """
    published = get(name)
    target = folder(name, directory)
    target.mkdir(parents=True, exist_ok=True)
    paths = _files_in(target, published)
    for file in published.files:
        here = paths.get(file.name)
        if here is None or _state(here, file).startswith(("differs", "is", "cannot")):
            paths[file.name] = _download(published.url, file, target, quiet)
    return paths


def _download(url: str, file: File, folder: Path, quiet: bool) -> Path:
    """Fetch one file into `folder`. What came so far lies beside it as .part, which one process at a time adds to."""
    served = file.served or file.name
    target, part, cause = folder / served, folder / f"{served}.part", ""
    with open(part, "ab") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        if target.exists() and _md5(target) == file.md5:  # another process was faster
            part.unlink(missing_ok=True)
            return target
        for attempt in range(TRIES):
            if attempt:
                time.sleep(WAIT_S * 2 ** (attempt - 1))
            cause = _rest(url + served, out, quiet, served)
            if cause:
                continue
            if _md5(part) == file.md5:
                os.replace(part, target)
                return target
            out.truncate(0)
            cause = "what came has another checksum than the published file"
    if not part.stat().st_size:
        part.unlink()
    raise DataError(
        f"{url}{served} could not be fetched in {TRIES} tries: {cause}; try later (it goes on where it broke off), or"
        f" put the files into a folder {folder.name} and name its parent with --data"
    )


def _rest(url: str, out: BinaryIO, quiet: bool, name: str) -> str:
    """Append to `out` what it lacks of the file at `url`; returns what went wrong, if anything."""
    import requests  # late: only a download needs it

    have = out.seek(0, os.SEEK_END)
    # A compressed transfer would be unpacked on the way, and could not be gone on with.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # there is no more
                return ""
            answer.raise_for_status()
            if have and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                out.truncate(0)  # a server that cannot go on sends everything
                have = 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            with _Bar(name, quiet, have, total) as bar:
                for chunk in answer.iter_content(CHUNK):
                    out.write(chunk)
                    bar.update(len(chunk))
    except requests.HTTPError as error:
        return str(error).partition(" for url")[0]
    except requests.Timeout:
        return "the server did not answer in time"
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off" if out.tell() > have else "no connection"
    except requests.RequestException as error:
        return type(error).__name__
    finally:
        out.flush()
    return ""


class _Bar:
    """A progress bar on a terminal."""

    def __init__(self, name: str, quiet: bool, have: int, total: int) -> None:
        from rich.console import Console  # late: only a download shows a bar
        from rich.progress import (  # late
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._progress = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._task = self._progress.add_task(name, total=total or None, completed=have)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, amount: int) -> None:
        self._progress.update(self._task, advance=amount)
