"""Data sets: the shipped digits, the resize, the IDX reader's errors, and fetching from a server on loopback."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2sim.data import published, sets
from l2sim.errors import DataError
from tests.places import DATA


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def small_set(name: str = "mnist") -> dict[str, bytes]:
    """Contents of the four files of a set of 12 training and 10 test images."""
    rng = np.random.default_rng(3)
    contents = (
        idx(rng.integers(0, 256, (12, 28, 28))),
        idx(np.arange(12) % 10),
        idx(rng.integers(0, 256, (10, 28, 28))),
        idx(np.arange(10)),
    )
    return {file.name: content for file, content in zip(published.SETS[name].files, contents)}


def write(folder: Path, files: dict[str, bytes], zipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path, held = (f"{name}.gz", gzip.compress(content, mtime=0)) if zipped else (name, content)
        (folder / path).write_bytes(held)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the machine's data folder nor its cache plays a part."""
    monkeypatch.delenv("L2SIM_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(published, "WAIT_S", 0.0)
    monkeypatch.setattr(published, "CHUNK", 100)  # what broke off inside of a chunk is lost


# ------------------------------------------------------------------------------------------------ shipped and made


def test_digits_are_the_published_ones_in_the_prescribed_split() -> None:
    digits = sets.load("digits", None, (8, 8))
    assert digits.train_x.shape == (1437, 1, 8, 8) and digits.test_x.shape == (360, 1, 8, 8)
    assert digits.train_x.dtype == np.float64 and digits.train_y.dtype == np.int64 and digits.classes == 10
    assert digits.train_x.min() == 0 and digits.train_x.max() == 1
    # The first line of the published file is a 0 whose first row is 0 0 5 13 9 1 0 0.
    order = np.random.RandomState(0).permutation(1797)
    both = np.concatenate([digits.train_x, digits.test_x])
    first = int(np.flatnonzero(order == 0)[0])
    np.testing.assert_array_equal(both[first, 0, 0] * 16, [0, 0, 5, 13, 9, 1, 0, 0])
    assert np.concatenate([digits.train_y, digits.test_y])[first] == 0
    counts = np.bincount(np.concatenate([digits.train_y, digits.test_y]))
    np.testing.assert_array_equal(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_digits_are_enlarged_by_clamped_interpolation() -> None:
    small, large = sets.load("digits", None, (8, 8)).test_x, sets.load("digits", None, (16, 16)).test_x
    # Twice the size: output pixel 2 i + 1 is 3/4 of pixel i and 1/4 of pixel i + 1; the borders repeat.
    padded = np.pad(small[:, 0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    even, odd = 0.25 * padded[:, :-2] + 0.75 * padded[:, 1:-1], 0.75 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    rows = np.stack([even, odd], 2).reshape(-1, 16, 10)
    even, odd = (
        0.25 * rows[..., :-2] + 0.75 * rows[..., 1:-1],
        0.75 * rows[..., 1:-1] + 0.25 * rows[..., 2:],
    )
    np.testing.assert_allclose(large[:, 0], np.stack([even, odd], 3).reshape(-1, 16, 16), atol=1e-14)


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (10, 40), (1, 1), (64, 9)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((3, 28, 28)).astype(np.float32)
    expected = [np.asarray(Image.fromarray(i).resize(size[::-1], Image.Resampling.BILINEAR)) for i in images]
    np.testing.assert_allclose(sets.resize(images, size), expected, atol=2e-6)


def test_synthetic_has_the_shape_asked_for_and_can_be_learned() -> None:
    made = sets.load("synthetic", None, (16, 12), channels=3)
    assert made.train_x.shape[1:] == (3, 16, 12) and made.train_x.min() >= 0 and made.train_x.max() <= 1
    np.testing.assert_array_equal(made.train_x, sets.load("synthetic", None, (16, 12), channels=3).train_x)
    centres = np.stack([made.train_x[made.train_y == c].mean(0) for c in range(10)])
    distance = ((made.test_x[:, None] - centres) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == made.test_y).mean() > 0.95


def test_hold_out_takes_a_share_of_the_training_images_only() -> None:
    whole = sets.load("synthetic", None, (4, 4))
    rest, x, y = sets.hold_out(whole, 0.25, np.random.default_rng(0))
    assert len(y) == 64 and len(rest.train_y) == 192 and rest.test_x is whole.test_x
    back = {image.tobytes() for image in np.concatenate([rest.train_x, x])}
    assert back == {image.tobytes() for image in whole.train_x}


def test_batches_cover_every_image_once() -> None:
    assert [list(b) for b in sets.batches(5, 2)] == [[0, 1], [2, 3], [4]]
    shuffled = np.concatenate(list(sets.batches(100, 7, np.random.default_rng(1))))
    assert sorted(shuffled) == list(range(100)) and list(shuffled) != list(range(100))


# ----------------------------------------------------------------------------------------------------- IDX files


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_load_from_the_folder_or_below_it(tmp_path: Path, below: bool, zipped: bool) -> None:
    files = small_set()
    write(tmp_path / "mnist" if below else tmp_path, files, zipped)
    found = sets.load("mnist", tmp_path, (28, 28))
    raw = np.frombuffer(files["train-images-idx3-ubyte"][16:], np.uint8).reshape(12, 1, 28, 28)
    np.testing.assert_allclose(found.train_x, raw / 255, atol=1e-15)
    assert list(found.test_y) == list(range(10)) and found.test_y.dtype == np.int64
    assert sets.load("mnist", tmp_path, (16, 16)).test_x.shape == (10, 1, 16, 16)


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mnist", small_set())
    monkeypatch.setenv("L2SIM_DATA", str(tmp_path))
    assert len(sets.load("mnist").train_y) == 12
    assert str(tmp_path / "mnist") in {where for _, _, where in published.list_sets()}


def test_a_folder_of_another_set_is_not_mistaken(tmp_path: Path) -> None:
    write(tmp_path / "mnist", small_set())
    assert len(sets.load("mnist", tmp_path / "mnist").train_y) == 12
    with pytest.raises(DataError, match="no fashion-mnist"):
        sets.load("fashion-mnist", tmp_path / "mnist")


def _labels_beyond(files: dict[str, bytes]) -> None:
    files["train-labels-idx1-ubyte"] = idx(np.arange(12))


def _fewer_labels(files: dict[str, bytes]) -> None:
    files["train-labels-idx1-ubyte"] = idx(np.arange(9))


def _truncated(files: dict[str, bytes]) -> None:
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:-100]


def _head_only(files: dict[str, bytes]) -> None:
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:9]


def _too_long(files: dict[str, bytes]) -> None:
    files["t10k-images-idx3-ubyte"] += b"more"


def _bad_magic(files: dict[str, bytes]) -> None:
    files["t10k-labels-idx1-ubyte"] = b"<html>not found</html>"


def _empty(files: dict[str, bytes]) -> None:
    files["t10k-labels-idx1-ubyte"] = b""


def _no_images(files: dict[str, bytes]) -> None:
    files["t10k-images-idx3-ubyte"] = idx(np.zeros((0, 28, 28)))


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (_labels_beyond, "train-labels", "class 11"),
        (_fewer_labels, "train-images", "12 images but"),
        (_truncated, "train-images", "is truncated"),
        (_head_only, "train-images", "is truncated"),
        (_too_long, "t10k-images", "too long"),
        (_bad_magic, "t10k-labels", "not an IDX file of classes"),
        (_empty, "t10k-labels", "starts with nothing"),
        (_no_images, "t10k-images", "empty"),
    ],
)
def test_a_spoiled_file_is_named_with_the_cure(tmp_path: Path, spoil, file: str, words: str) -> None:
    files = small_set()
    spoil(files)
    write(tmp_path, files)
    with pytest.raises(DataError) as caught:
        sets.load("mnist", tmp_path)
    message = str(caught.value)
    assert file in message and words in message and "data fetch" in message and "\n" not in message


@pytest.mark.parametrize("cut", [5, 40, 400, -3])
def test_a_damaged_gzip_is_named(tmp_path: Path, cut: int) -> None:
    write(tmp_path, small_set())
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is a damaged gzip file"):
        sets.load("mnist", tmp_path)
    assert next(state for _, _, state in published.verify("mnist", tmp_path)) == "is a damaged gzip file"


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    write(tmp_path, small_set())
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            sets.load("mnist", tmp_path, (2, 2))  # a flip in the gzip's time stamp is harmless
        except DataError as error:
            assert "train-labels" in str(error)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no mnist .* `l2sim data fetch mnist --data"):
        sets.load("mnist", tmp_path)
    with pytest.raises(DataError, match="there is no data folder"):
        sets.load("mnist", tmp_path / "nowhere")
    write(tmp_path / "mnist", small_set())
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"lacks t10k-labels-idx1-ubyte\.gz"):
        sets.load("mnist", tmp_path)
    with pytest.raises(DataError, match="not a data set with files"):
        sets.load("imagenet", tmp_path)


# ------------------------------------------------------------------------------------------------------ fetching


class Server:
    """An HTTP server on loopback. `answers` holds the status codes of the next requests; 200 when it runs out.

    `cuts` says after how many bytes the next answers break off; `ranges` whether it can go on where one broke off.
    """

    def __init__(self, files: dict[str, bytes], ranges: bool = True) -> None:
        self.files, self.answers, self.asked = files, list[int](), list[str]()
        self.cuts, self.starts, self.ranges = list[int](), list[int](), ranges
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                outer.asked.append(name)
                status = outer.answers.pop(0) if outer.answers else 200
                body, start = outer.files[name] if status == 200 else b"try later", 0
                asked = self.headers.get("Range")
                if asked and outer.ranges and status == 200:
                    start = int(asked.removeprefix("bytes=").removesuffix("-"))
                    status = 206 if start < len(body) else 416
                self.send_response(status)
                outer.starts.append(start)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:] if status in (200, 206) else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.cuts.pop(0)] if outer.cuts else body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mnist/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves a small set under the name mnist, published checksums included."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    contents = small_set()
    served = Server({f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()})
    mnist = published.SETS["mnist"]
    files = tuple(
        file._replace(
            md5=hashlib.md5(served.files[file.served]).hexdigest(),
            content_md5=hashlib.md5(contents[file.name]).hexdigest(),
        )
        for file in mnist.files
    )
    monkeypatch.setitem(published.SETS, "mnist", mnist._replace(url=served.url, files=files))
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.http.shutdown()
    thread.join()
    served.http.server_close()


def test_a_missing_set_is_fetched_into_the_cache_once(server: Server, tmp_path: Path) -> None:
    assert len(sets.load("mnist", None, (4, 4)).train_y) == 12
    assert len(server.asked) == 4 and (tmp_path / "cache" / "l2sim" / "mnist").is_dir()
    sets.load("mnist", None, (4, 4))
    assert len(server.asked) == 4
    # A fetch that was interrupted goes on with what is missing.
    (tmp_path / "cache" / "l2sim" / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    sets.load("mnist", None, (4, 4))
    assert server.asked[4:] == ["t10k-images-idx3-ubyte.gz"]


def test_a_failure_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 200, 500, 500]
    published.fetch("mnist", tmp_path)
    assert len(server.asked) == 7
    assert {state for _, _, state in published.verify("mnist", tmp_path)} == {"as published"}


def test_only_damaged_files_are_fetched_again_and_rewrapped_ones_stay(server: Server, tmp_path: Path) -> None:
    write(tmp_path / "mnist", small_set(), zipped=False)
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(b"spoiled")
    states = {name: state for name, _, state in published.verify("mnist", tmp_path)}
    assert states["train-labels-idx1-ubyte"].startswith("differs")
    published.fetch("mnist", tmp_path)
    assert server.asked == ["train-labels-idx1-ubyte.gz"]
    assert sets.load("mnist", tmp_path, (4, 4)).train_y[11] == 1


def test_a_wrong_checksum_ends_in_one_line_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["train-images-idx3-ubyte.gz"] = b"not what was published"
    with pytest.raises(DataError, match="another checksum") as caught:
        published.fetch("mnist", tmp_path)
    assert "\n" not in str(caught.value) and len(server.asked) == 3
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_server_that_always_fails_is_named(server: Server, tmp_path: Path) -> None:
    server.answers = [404] * 3
    with pytest.raises(DataError, match=r"404 .*--data"):
        published.fetch("mnist", tmp_path)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.cuts = ranges, [1000, 500]
    data_file = server.files["train-images-idx3-ubyte.gz"]
    published.fetch("mnist", tmp_path)
    assert {state for _, _, state in published.verify("mnist", tmp_path)} == {"as published"}
    assert server.asked[:3] == ["train-images-idx3-ubyte.gz"] * 3
    assert server.starts[:3] == ([0, 1000, 1500] if ranges else [0, 0, 0])
    assert (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").read_bytes() == data_file
    assert not list((tmp_path / "mnist").glob("*.part"))


def test_a_fetch_that_was_stopped_goes_on_another_day(server: Server, tmp_path: Path) -> None:
    server.cuts = [700] * 3
    with pytest.raises(DataError, match=r"the connection broke off; .* goes on where it broke off"):
        published.fetch("mnist", tmp_path)
    assert [part.stat().st_size for part in (tmp_path / "mnist").glob("*.part")] == [2100]
    published.fetch("mnist", tmp_path)
    assert server.starts[3] == 2100 and not list((tmp_path / "mnist").glob("*.part"))
    # A part that turns out to be something else is thrown away, and so is one that is too long.
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz.part")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").rename(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz.part")
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    published.fetch("mnist", tmp_path)
    assert {state for _, _, state in published.verify("mnist", tmp_path)} == {"as published"}


def test_a_refused_connection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        monkeypatch.setitem(published.SETS, "mnist", published.SETS["mnist"]._replace(url=url))
        with pytest.raises(DataError, match=r"could not be fetched in 3 tries: no connection; .* --data"):
            sets.load("mnist")


# ----------------------------------------------------------------------------------------------- the real thing



@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="MNIST is not on this machine")
def test_the_real_mnist_is_as_published() -> None:
    assert {state for _, _, state in published.verify("mnist", DATA)} == {"as published"}
    mnist = sets.load("mnist", DATA, (16, 16))
    assert mnist.train_x.shape == (60000, 1, 16, 16) and mnist.test_x.shape == (10000, 1, 16, 16)
    assert list(mnist.train_y[:10]) == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and 0.1 < mnist.train_x.mean() < 0.2
