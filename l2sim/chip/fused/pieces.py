"""Products with many columns that are made, or taken up, piece by piece.

A convolution's columns are nine times its image. Made whole they go through memory; a piece stays in the cache between
the copy that makes it and the product that reads it, or between the product that makes it and the sum that takes it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from l2sim import pages
from l2sim.backend import Array, namespace


class Pieces:
    """Columns (R, N) that exist one piece after the other. `shape` and `dtype` are those of all of them."""

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return self.shape[0]

    def reading(self) -> Iterator[tuple[slice, Array]]:
        """Which columns, and those columns (R, n); valid until the next piece is asked for."""
        raise NotImplementedError

    def adding(self) -> Iterator[tuple[slice, Array]]:
        """Which columns, and room (R, n) for them: what it holds when the next piece is asked for is taken up."""
        raise NotImplementedError

    def taken(self, variance: Array) -> tuple[Array, Array]:
        """What has taken columns up, (numbers, batch), and the variance (numbers,) that independent numbers of
        `variance` (R,) leave in each of it."""
        raise NotImplementedError

    @cached_property
    def largest(self) -> float:
        """The largest magnitude."""
        return max((peak(piece) for _, piece in self.reading()), default=0.0)

    def whole(self) -> Array:
        """All columns, (R, N)."""
        out = pages.empty(self.shape, self.dtype)
        for at, piece in self.reading():
            out[:, at] = piece
        return out


def peak(x: Array) -> float:
    """The largest magnitude of an array of the host, 0 if it is empty."""
    return float(max(x.max(initial=0.0), -x.min(initial=0.0)))


def whole(x: Array | Pieces) -> Array:
    """`x` as an array."""
    return x.whole() if isinstance(x, Pieces) else x


def times(matrix: Array, x: Array | Pieces) -> Array:
    """M x: `matrix` (P, R), `x` (R, N) -> (P, N)."""
    if namespace(matrix) is not np:
        return matrix @ whole(x)
    kind = matrix.dtype if matrix.dtype == x.dtype else np.result_type(matrix.dtype, x.dtype)
    out = pages.empty((len(matrix), x.shape[1]), kind)
    if isinstance(x, Pieces):
        for at, piece in x.reading():
            np.matmul(matrix, piece, out=out[:, at])
    else:
        np.matmul(matrix, x, out=out)
    return out


def back(matrix: Array, y: Array, out: Array | None = None) -> Array:
    """M' y by the rows of M that `y` has, or what of it there is `out` for: M (P, R), `y` (at most P, N) -> (R, N)."""
    turned = matrix[: len(y), : None if out is None else len(out)].T
    return times(turned, y) if out is None else np.matmul(turned, y, out=out)


def outer(y: Array, x: Array | Pieces, out: Array, see: Callable[[Array], object] | None = None) -> None:
    """y x' into `out` (P, R): `y` (P, N), `x` (R, N); `see` is shown the columns of `x` that are at hand."""
    if namespace(y) is not np or not isinstance(x, Pieces):
        x = whole(x)
        if namespace(y) is np:
            np.matmul(y, x.T, out=out)
        else:
            out[...] = y @ x.T
        if see is not None:
            see(x)
        return
    # Turned round, the products of short pieces are a tenth faster. One that is all is not worth turning back.
    total = more = out
    for at, piece in x.reading():
        if see is not None:
            see(piece)
        if at.start == 0 and at.stop == y.shape[1]:
            np.matmul(y, piece.T, out=out)
        elif at.start == 0:
            total, more = (pages.empty(out.T.shape, out.dtype) for _ in range(2))
            np.matmul(piece, y[:, at].T, out=total)
        else:
            np.matmul(piece, y[:, at].T, out=more)
            total += more
    if total is not out:
        out[...] = total.T
