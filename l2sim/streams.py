"""Named streams of random numbers whose position is a page: what is drawn is the same for any thread count and device.

A stream is named as `l2sim.backend.generator` is; every request takes the next page of it (`kernels.draws`), however
many numbers it asks for. So a checkpoint keeps one number, and a page can be drawn in pieces, anywhere, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import Array, kernels_of, namespace
from l2sim.errors import RunError

PAGES = 1 << 56
"""Pages of a stream."""
TAIL = 34.0
"""e to minus this is the probability that a table of `mixture` leaves out."""


class Law(NamedTuple):
    """What the readings of each core need beside normal numbers: a chi-square, or twice a gamma of a mixed shape.

    `kind` (cores,): which of the `shapes` (kinds,) a core has; `thresholds` and `aliases` (kinds, 2^b), b = 0 columns
    where shapes are not mixed: tables of what is added to them. `normals`: how many normal numbers a reading needs.
    """

    kind: Array
    shapes: Array
    thresholds: Array
    aliases: Array
    normals: int

    def of(self, some: slice) -> Law:
        """The same for some cores."""
        return self._replace(kind=self.kind[some])


class Stream:
    """The stream of these names under `seed`."""

    def __init__(self, seed: int, *names: str | int) -> None:
        digest = blake2b("/".join(map(str, ("stream", seed, *names))).encode(), digest_size=8).digest()
        self.key: Array = np.frombuffer(digest, np.uint32)
        self.page = 0

    def turn(self) -> int:
        """The page that is drawn now; the next one is another's."""
        self.page += 1
        return self.page - 1

    def normal(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64, xp: ModuleType = np) -> Array:
        """Standard normal numbers, as an array of `xp`."""
        out: Array = xp.empty(shape, dtype)
        kernels_of(out).draws.normal(self.turn(), self.key, out.reshape(-1))
        return out

    def add(self, std: Array, out: Array) -> None:
        """Add to `out` (rows, columns) normal numbers times std (rows,)."""
        xp = namespace(out)
        if out.flags.c_contiguous:
            std = xp.ascontiguousarray(std, out.dtype)
            kernels_of(out).draws.add(self.turn(), self.key, std, out)
        else:
            out += std[:, None] * self.normal(out.shape, out.dtype, xp)

    def readings(
        self, law: Law, page: int, first: int, count: int, dtype: DTypeLike, xp: ModuleType = np
    ) -> Array:
        """The normal numbers and the chi-square of `count` readings of the cores of `law`, (cores, count, normals + 1);
        `first`: the place of the first core on the page."""
        out: Array = xp.empty((len(law.kind), count, law.normals + 1), dtype)
        tables = [a if xp is np else xp.asarray(a) for a in (law.kind, law.shapes, law.thresholds, law.aliases)]
        kernels_of(out).draws.readings(page, self.key, first, *tables, out)
        return out

    def state(self) -> dict[str, object]:
        """Where it stands."""
        return {"page": self.page}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from a `state`; from the first page where there were none yet. RunError for what is none."""
        page = state.get("page", 0)
        if type(page) is not int or not 0 <= page < PAGES:
            raise RunError(f"the checkpoint cannot be read (noise from page {page!r}); use another")
        self.page = page


def chi_squares(freedom: Array) -> Law:
    """A chi-square of `freedom` (cores,) degrees, whole numbers from -1 (none, as 0) on, beside one normal number."""
    kind = np.maximum(freedom, 0).astype(np.int64)
    shapes = np.arange(int(kind.max(initial=0)) + 1) / 2.0
    return Law(kind, shapes, np.zeros((1, 0), np.uint32), np.zeros((1, 0), np.int64), 1)


def weighted(weights: Array, freedom: Array) -> Law:
    """sum_b w_b chi2_f / min_b w_b beside as many normal numbers as there are `weights` (cores, k), 0 for those that do
    not count; f = `freedom` (cores,).

    A sum of gammas of different scales is a gamma of the smallest scale whose shape is random: sum of shapes + J, J a
    sum of negative binomial numbers (Moschopoulos, Ann. Inst. Stat. Math. 37, 541 (1985)).
    """
    rows = np.column_stack((weights, np.maximum(freedom, 0)))
    if (rows == rows[0]).all():
        kinds, kind = rows[:1], np.zeros(len(rows), np.int64)
    else:
        kinds, kind = np.unique(rows, axis=0, return_inverse=True)
    laws = [(tuple(row[:-1][row[:-1] > 0].tolist()), float(row[-1]) / 2.0) for row in kinds]
    size = max(len(mixture(*law)) for law in laws)
    tables = [table(*law, size) for law in laws]
    shapes = np.array([len(own) * shape for own, shape in laws])
    thresholds, aliases = (np.stack(columns) for columns in zip(*tables))
    return Law(kind.reshape(-1), shapes, thresholds, aliases, weights.shape[1])


@lru_cache(256)
def mixture(weights: tuple[float, ...], shape: float) -> Array:
    """The probabilities of J = 0, 1, ... in `weighted`; `shape` of each of the gammas. Their number is a power of two.

    J is a sum of numbers with generating functions (p / (1 - (1 - p) t))^shape, p = min w / w: its distribution is the
    inverse Fourier transform of the product.
    """
    p = np.array([min(weights, default=1.0) / w for w in weights if w > min(weights)])
    if not p.size or not shape:
        return np.ones(1)
    reach = shape * np.sum((1.0 - p) / p) + TAIL / p.min()
    size = 1 << math.ceil(math.log2(reach))
    t = np.exp(-2j * np.pi * np.arange(size) / size)
    logarithm = sum(np.log(one) - np.log1p(-(1.0 - one) * t) for one in p)
    chances: Array = np.maximum(np.fft.ifft(np.exp(shape * logarithm)).real, 0.0)
    return chances / chances.sum()  # type: ignore[no-any-return]


@lru_cache(256)
def table(weights: tuple[float, ...], shape: float, size: int) -> tuple[Array, Array]:
    """Walker's table of a `mixture`, filled up to `size`: (thresholds uint32, aliases) by number."""
    chance = np.zeros(size)
    given = mixture(weights, shape)
    chance[: len(given)] = given * size
    alias = np.arange(size)
    low, high = list(np.flatnonzero(chance < 1.0)), list(np.flatnonzero(chance >= 1.0))
    while low and high:
        poor, rich = low.pop(), high[-1]
        alias[poor] = rich
        chance[rich] -= 1.0 - chance[poor]
        if chance[rich] < 1.0:
            low.append(high.pop())
    for left in (*low, *high):
        chance[left], alias[left] = 1.0, left
    return np.minimum(np.rint(chance * 2.0**32), 2.0**32 - 1).astype(np.uint32), alias
