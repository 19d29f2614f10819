"""A bank: which weights, on which chips, how; and the chunks of cores it is cut into."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from l2sim.backend import generator
from l2sim.errors import DataError, JobError
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.sweep.bank import cutting

WEIGHTS = 1 << 16
"""Weights of a chunk, about: what is worked on at a time stays in the cache, and what is lost when it is stopped."""
MOST = 10**12
"""Weights of a bank."""


class Bank(msgspec.Struct, frozen=True, kw_only=True):
    """Cores of `k` modes that are to show `weights` numbers: those of `file`, whose matrices have the (rows, columns,
    flat) of `shapes` and the `digest`; or, where it is "", normal ones of variance 1 / k.

    `by` twins or searches, as the `job` says; of it also come the seed, the chip and the devices.
    """

    k: int
    by: Literal["twin", "search"]
    weights: int
    job: dict[str, object]
    file: str = ""
    digest: str = ""
    shapes: list[tuple[int, int, bool]] = []

    @property
    def cores(self) -> int:
        """Cores in all."""
        if not self.file:
            return -(-self.weights // self.k**2)
        grids = (cutting.grid(rows, columns, flat, self.k) for rows, columns, flat in self.shapes)
        return sum(down * across for down, across in grids)

    @property
    def chunk(self) -> int:
        """Cores of a chunk."""
        return max(1, WEIGHTS // self.k**2)

    @property
    def chunks(self) -> int:
        """How many chunks: each is a chip, and a task."""
        return -(-self.cores // self.chunk)

    def reach(self, number: int) -> tuple[int, int]:
        """The first core of a chunk, and that behind its last."""
        return number * self.chunk, min(self.cores, (number + 1) * self.chunk)

    def blocks(self, number: int) -> cutting.Blocks:
        """The weights of a chunk. Raises DataError."""
        first, last = self.reach(number)
        if self.file:
            matrices = cutting.opened(Path(self.file))
            if [(*matrix.numbers.shape, matrix.flat) for matrix in matrices] != [tuple(s) for s in self.shapes]:
                raise DataError(f"{self.file} has changed since the bank began; put back what it was")
            return cutting.cut(matrices, self.k, first, last)
        seed = int(jobs.from_dict(self.job).seed)
        drawn = generator(seed, "bank", "weights", number).standard_normal((last - first, self.k**2))
        drawn.reshape(-1)[self.weights - first * self.k**2 :] = 0.0
        whole = np.ones((last - first, self.k))
        return cutting.Blocks(drawn.reshape(-1, self.k, self.k) / np.sqrt(self.k), whole, whole)


def planned(weights: str, job: Job, k: int, by: Literal["twin", "search"]) -> Bank:
    """The bank of the weights that a number or the name of a file says. Raises DataError or JobError."""
    if job.flow != "l2ight":
        raise JobError(f"a bank is of tensor cores, and {job.name} is a job of the flow {job.flow}; use l2ight's")
    if by == "search" and "twin" in (job.calibrate.method, job.map.method):
        raise JobError("calibrate.method = 'twin' is no search; leave out --by search, or set zcd, ztp or zgd")
    if by == "twin" and job.chip.mesh != "rectangular":
        raise JobError("twins start on rectangular meshes only; use chip.mesh=rectangular, or --by search")
    if by == "twin" and chip_nonidealities(job).phi:
        raise JobError("twins do not know nonidealities.phi = true; use --by search, or phi=false")
    plain = jobs.to_dict(job)
    path = Path(weights)
    if re.fullmatch(r"[-+\d.eE_,]+", weights) and not path.exists():
        return Bank(k=k, by=by, weights=_number(weights), job=plain)
    if not path.is_file() and path.suffix not in cutting.KINDS:
        raise DataError(f"--weights {weights} is neither a number such as 1e7 nor a file of weights")
    shapes, digest = cutting.examined(path)
    many = sum(rows * columns for rows, columns, _ in shapes)
    return Bank(k=k, by=by, weights=many, job=plain, file=str(path.absolute()), digest=digest, shapes=shapes)


def _number(text: str) -> int:
    try:
        number = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        number = float("nan")
    if not (1 <= number <= MOST and number == int(number)):
        raise DataError(f"--weights {text} is no number of weights; write a whole one up to {MOST:,}, e.g. 1e7")
    return int(number)
