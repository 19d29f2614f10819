"""What a case measures, how, and the limits of the machine it is held against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from l2sim.backend import CPU, Device, kernels

view = kernels.vectors.view

MATMUL, FMA, COPY = "matrix product", "fused multiply-add", "copy"
FLOOR = "FLOP or byte floor"
"""Of a fraction: the longer of the times that its FLOP and its bytes take at these limits."""
GFLOPS, GBYTES = "GFLOP/s", "GB/s"
LEAST = 0.5
"""Seconds that short functions are repeated for: the shortest run of many is the one that nothing disturbed."""


class LeftOut(Exception):
    """A case that cannot be measured here, and why."""


@dataclass(frozen=True)
class Measurement:
    """One row. `work` in FLOP, bytes or other counts gives `rate` = work / seconds (1e-9 of it for GFLOP/s and GB/s).

    `limit` names what `fraction` is of (empty: of nothing): one of the machine's limits in `dtype`, or a time in
    seconds that the same work takes at best, `bound`. `sizes` describe the case.
    """

    case: str
    variant: str
    seconds: float
    work: float
    unit: str
    limit: str = ""
    dtype: str = "float32"
    bound: float = 0.0
    sizes: dict[str, object] = field(default_factory=dict)


@njit(fastmath={"contract"}, nogil=True)
def multiply_add(begin, end, x, rounds):
    """Eight FMAs on every vector of `x` (tasks, 4, n, width) and round, four independent chains; the values stay in L1.
    Of the tasks from `begin` to `end`."""
    every = view(x)
    for task in range(begin, end):
        for _ in range(rounds):
            for i in range(every.shape[2]):
                t, u, v, w = every[task, 0, i], every[task, 1, i], every[task, 2, i], every[task, 3, i]
                for _ in range(8):
                    t, u, v, w = t * 0.999 + 0.001, u * 0.999 + 0.001, v * 0.999 + 0.001, w * 0.999 + 0.001
                every[task, 0, i], every[task, 1, i], every[task, 2, i], every[task, 3, i] = t, u, v, w


@njit(nogil=True)
def copy(begin, end, source, target):
    """Rows of `source` from `begin` to `end` to `target`."""
    for i in range(begin, end):
        target[i] = source[i]


def shared(piece: Callable[..., object], rows: np.ndarray, *more: object) -> None:
    """All rows, on the threads in use, as the kernels do it (`kernels.threads`)."""
    kernels.threads.share(piece, len(rows), float("inf"), rows, *more)


class Bench:
    """What a case is told: `quick` for small sizes, `threads` in use; and how it measures.

    `clock`: the wall's, or with `busy` the time this process spent on a processor, which other work on the machine
    disturbs less; that tells something with one thread only.
    """

    def __init__(
        self, quick: bool, threads: int, busy: bool = False, device: Device = CPU, minutes: float = 1.0
    ) -> None:
        self.quick, self.threads, self.device, self.minutes = quick, threads, device, minutes
        self.clock = time.process_time if busy else time.perf_counter
        self._limits: dict[tuple[str, str], float] = {}

    def paired(
        self, functions: dict[str, Callable[[], object]], repeats: int = 0, turn: float = 0.0
    ) -> dict[str, list[float]]:
        """Seconds of each function, called in turn so that all see the same machine; each is warmed up first.

        At least `repeats` times, and for `LEAST` seconds. A turn is one call, or as many as last `turn` seconds: then
        its caches are its own, as where steps follow each other, and not those of who was before.
        """
        repeats = repeats or (3 if self.quick else 7)
        for function in functions.values():
            function()
        self.device.settle()
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        start, least = self.clock(), 0.0 if self.quick else LEAST
        while repeats > 0 or self.clock() - start < least:
            repeats -= 1
            for name, function in functions.items():
                begin, calls = self.clock(), 0
                while calls == 0 or self.clock() - begin < turn:
                    function()
                    self.device.settle()
                    calls += 1
                seconds[name].append((self.clock() - begin) / calls)
        return seconds

    def time(self, function: Callable[[], object], repeats: int = 0) -> float:
        """The shortest of several runs."""
        return min(self.paired({"": function}, repeats)[""])

    def limit(self, name: str, dtype: str) -> float:
        """FLOP/s or bytes/s (read and written) of this machine on the threads in use, or of its GPU, measured once."""
        key = self.named(name), dtype
        if key not in self._limits:
            self._limits[key] = {MATMUL: self._matmul, FMA: self._fma, COPY: self._copy}[key[0]](dtype)
        return self._limits[key]

    def named(self, limit: str) -> str:
        """The limit that stands for `limit`: a GPU's multiply-adds are those of cuBLAS."""
        return MATMUL if limit == FMA and self.device.numbers else limit

    def floor(self, flops: float, size: float) -> float:
        """Seconds that so many float32 FLOP, or bytes, take at best."""
        return max(flops / self.limit(FMA, "float32"), size / self.limit(COPY, "float32"))

    def limits(self) -> Iterator[Measurement]:
        """Rows for all limits."""
        on = {"gpu": self._gpu()} if self.device.numbers else {}
        for name in (MATMUL, COPY) if on else (MATMUL, FMA, COPY):
            for dtype in ("float32", "float64") if name != COPY else ("float32",):
                rate = self.limit(name, dtype)
                unit = GBYTES if name == COPY else GFLOPS
                yield Measurement("limit", f"{name} {dtype}", 1e9 / rate, 1e9, unit, name, dtype, sizes=on)

    def _gpu(self) -> str:
        if not hasattr(self.device.xp, "cuda"):
            return "Numba's simulator"
        return str(self.device.xp.cuda.runtime.getDeviceProperties(self.device.numbers[0])["name"].decode())

    def _matmul(self, dtype: str) -> float:
        n = 512 if self.quick else 8192 if self.device.numbers else 2048
        a = self.device.put(np.random.default_rng(0).standard_normal((n, n)).astype(dtype))
        out = np.empty_like(a)
        return 2.0 * n**3 / self.time(lambda: np.matmul(a, a, out=out), 5)

    def _fma(self, dtype: str) -> float:
        x = kernels.lanes.room(4 * self.threads, 64, np.empty(0, dtype))
        x = x.reshape(self.threads, 4, *x.shape[1:])
        x[:] = 1.0
        rounds = 200 if self.quick else 4000
        return 16.0 * x.size * rounds / self.time(lambda: shared(multiply_add, x, rounds), 7)

    def _copy(self, dtype: str) -> float:
        wide = 1 << (14 if self.quick else 22 if self.device.numbers else 19)
        source = self.device.xp.ones((64, wide), dtype)
        target = np.empty_like(source)
        move = np.copyto if self.device.numbers else lambda to, origin: shared(copy, origin, to)
        return 2.0 * source.nbytes / self.time(lambda: move(target, source), 7)

    def row(self, measured: Measurement) -> dict[str, object]:
        """A measurement as it stands in the JSON."""
        scale = 1e-9 if measured.unit in (GFLOPS, GBYTES) else 1.0
        if measured.bound:
            fraction: float | None = measured.bound / measured.seconds
        elif measured.limit:
            fraction = measured.work / measured.seconds / self.limit(measured.limit, measured.dtype)
        else:
            fraction = None
        return {
            "case": measured.case, "variant": measured.variant, "threads": self.threads, "seconds": measured.seconds,
            "rate": measured.work / measured.seconds * scale, "unit": measured.unit, "fraction": fraction,
            "limit": self.named(measured.limit), "dtype": measured.dtype, **measured.sizes,
        }  # fmt: skip


def median(seconds: list[float]) -> float:
    """The median of some times."""
    return statistics.median(seconds)
