"""Weights of a file, cut into the blocks of cores without reading more of it than is asked for.

An array of two or more dimensions is a matrix (out, all others), as the flow maps a layer: blocks of k x k row by row,
with zeros where rows and columns run out. A .npy of one dimension is taken k^2 numbers a block. Other arrays of one
dimension, and whole numbers, are biases and counters of networks: electronic, and left out.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array
from l2sim.errors import DataError
from l2sim.store import tensors

KINDS = (".npy", ".npz", ".safetensors")
AT_ONCE = 1 << 22
"""Numbers that are looked at together."""


class Matrix(NamedTuple):
    """An array of a file as a matrix (out, in), mapped and not read; or numbers (1, N), `flat`, k^2 a block. `short`:
    the upper half of float32 (bfloat16)."""

    name: str
    numbers: Array
    flat: bool = False
    short: bool = False

    def real(self, some: Array) -> Array:
        """Numbers of this matrix as float64."""
        return ((some.astype(np.uint32) << 16).view(np.float32) if self.short else some).astype(np.float64)


def grid(rows: int, columns: int, flat: bool, k: int) -> tuple[int, int]:
    """Blocks of k x k of a matrix, down and across."""
    return (1, -(-columns // k**2)) if flat else (-(-rows // k), -(-columns // k))


class Blocks(NamedTuple):
    """Blocks of weights (M, k, k) [output, input]; `outputs` and `inputs` (M, k), 1 for ports of the matrix, 0 for
    those of its padding."""

    weight: Array
    outputs: Array
    inputs: Array


def opened(path: Path) -> list[Matrix]:
    """The matrices of a file in the order of the file. Raises DataError where there are none."""
    if path.suffix not in KINDS:
        raise DataError(f"{path} is no file of weights that is read piece by piece; give {', '.join(KINDS)}")
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.dtype.kind != "f":
                raise DataError(f"{path} holds {array.dtype}, and weights are real numbers; write float32 or float64")
            return [_matrix(path, "the array", array, flat=array.ndim == 1)]
        arrays = list(_npz(path) if path.suffix == ".npz" else _safetensors(path))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; name a file of weights") from None
    except Exception as error:  # a damaged file raises anything
        raise DataError(f"{path} is damaged ({type(error).__name__}); write or fetch it again") from None
    matrices = [_matrix(path, name, a, short=short) for name, a, short in arrays if a.ndim > 1]
    if not matrices:
        raise DataError(f"{path} holds no matrix of real numbers; a layer's weight is (out, in) or (out, in, h, w)")
    return matrices


def _matrix(path: Path, name: str, array: Array, flat: bool = False, short: bool = False) -> Matrix:
    if not array.size:
        raise DataError(f"{path}: {name} is empty; leave it out")
    if array.ndim > 2 and not array.flags.c_contiguous:
        raise DataError(f"{path}: {name} is stored by columns; write np.ascontiguousarray of it")
    return Matrix(name, array.reshape(1 if flat else len(array), -1), flat, short)


def _npz(path: Path) -> Iterator[tuple[str, Array, bool]]:
    """The arrays of real numbers in a .npz, which lie in it as they are. DataError where they are compressed."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
        for item in archive.infolist():
            name = item.filename.removesuffix(".npy")
            if name == tensors.TEXTS:
                continue
            if item.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{path} is compressed, so that it cannot be read piece by piece; write it by np.savez")
            raw.seek(item.header_offset + 26)  # the local header: lengths of its name and of what else it says
            raw.seek(sum(struct.unpack("<HH", raw.read(4))), 1)
            version = np.lib.format.read_magic(raw)
            head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = head(raw)
            if dtype.kind == "f" and len(shape) > 1:
                flat = np.memmap(path, dtype, "r", raw.tell(), math.prod(shape))
                yield name, flat.reshape(shape, order="F" if by_columns else "C"), False


def _safetensors(path: Path) -> Iterator[tuple[str, Array, bool]]:
    """The arrays of real numbers in a safetensors file; bfloat16 as its 16 bits."""
    with open(path, "rb") as raw:
        entries, _ = tensors.read_header(raw)
        real = {name: entry for name, entry in entries.items() if "F" in entry.dtype}
        plain = {n: msgspec.structs.replace(e, dtype="U16") if e.dtype == "BF16" else e for n, e in real.items()}
        for name, array in tensors.unpack(plain, np.memmap(path, np.uint8, "r", raw.tell()).data).items():
            yield name, array, real[name].dtype == "BF16"


def examined(path: Path) -> tuple[list[tuple[int, int, bool]], str]:
    """The shapes (rows, columns) of all matrices of a file with `flat`, and a digest of what they hold; all of it is
    read once. Raises DataError where something is not finite."""
    digest, shapes = blake2b(digest_size=16), []
    for at, matrix in enumerate(opened(path)):
        rows, columns = matrix.numbers.shape
        shapes.append((rows, columns, matrix.flat))
        digest.update(f"{matrix.name} {rows} {columns} {matrix.numbers.dtype}".encode())
        for piece in _pieces(rows, columns):
            some = opened(path)[at].numbers[piece]  # mapped anew: what was read does not stay
            digest.update(np.ascontiguousarray(some).tobytes())
            if not np.isfinite(matrix.real(some)).all():
                raise DataError(f"{path}: {matrix.name} holds numbers that are not finite; see what wrote it")
    return shapes, digest.hexdigest()


def _pieces(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of a matrix of some `AT_ONCE` numbers."""
    down, across = max(1, AT_ONCE // columns), min(columns, AT_ONCE)
    for i in range(0, rows, down):
        for j in range(0, columns, across):
            yield slice(i, i + down), slice(j, j + across)


def cut(matrices: list[Matrix], k: int, first: int, last: int) -> Blocks:
    """The blocks from `first` to `last`, counted through all matrices."""
    weight = np.zeros((last - first, k, k))
    outputs, inputs = np.ones((2, last - first, k))
    begin = 0
    for matrix in matrices:
        down, across = grid(len(matrix.numbers), matrix.numbers.shape[1], matrix.flat, k)
        low, high = max(first, begin), min(last, begin + down * across)
        at = low
        while at < high:  # row of blocks by row
            i, j = divmod(at - begin, across)
            many = min(across - j, high - at)
            to = slice(at - first, at - first + many)
            if matrix.flat:
                some = matrix.real(matrix.numbers[0, j * k * k : (j + many) * k * k])
                weight[to].reshape(-1)[: some.size] = some
            else:
                rows = np.zeros((k, many * k))
                some = matrix.real(matrix.numbers[i * k : (i + 1) * k, j * k : (j + many) * k])
                rows[: len(some), : some.shape[1]] = some
                weight[to] = rows.reshape(k, many, k).swapaxes(0, 1)
                outputs[to, len(some) :] = 0.0
                inputs[to].reshape(-1)[some.shape[1] :] = 0.0
            at += many
        begin += down * across
    return Blocks(weight, outputs, inputs)

