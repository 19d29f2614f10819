"""Light through a complex mesh: forward and the adjoint with every phase gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import FLOOR, FMA, GFLOPS, Bench, Measurement
from l2sim.backend import CPU, Array, Device, kernels_of

PAIR = 28.0
"""FLOP of a coupler on one column: four sums of four products."""
ADJOINT = 76.0
"""The same for the adjoint: field and cotangent through the inverse, 2 x 28; both between theta and the right coupler,
4 x 3; and the two gradients, 2 x 4."""
PRODUCT = 8.0
"""A complex multiplication and addition."""


class Layer:
    """A rectangular mesh of random phases; fields are planes (1, 2, N, B), real and imaginary."""

    def __init__(self, modes: int, rng: np.random.Generator, device: Device = CPU) -> None:
        dtype, xp, put = np.float32, device.xp, device.put
        rail = np.nonzero(np.indices((modes, modes - 1)).sum(axis=0) % 2 == 0)[1]
        self.modes, self.top, self.count = modes, rail.astype(np.int64), rail.size
        self.bottom = self.top + 1
        theta, phi = (put(rng.uniform(0, 2 * np.pi, (1, rail.size)).astype(dtype)) for _ in range(2))
        self.screen = put(rng.uniform(0, 2 * np.pi, (1, modes)).astype(dtype))
        self.of, self.couplers = kernels_of(theta).propagate, kernels_of(theta).couplers
        errors, ones = xp.zeros((1, rail.size), dtype), xp.ones((1, 4, rail.size), dtype)
        self.phases, self.splitters = (theta, phi), xp.empty((1, 4, rail.size), dtype)
        self.couplers.splitters(errors, errors, self.splitters)
        self.elements, self.amplitudes = xp.empty((1, 12, rail.size), dtype), ones
        self.sums = tuple(xp.empty((1, size), dtype) for size in (rail.size, rail.size, modes))
        self.dense = xp.empty((1, 2, modes, modes), dtype)
        self.build()

    def build(self) -> None:
        """The couplers from the phases, as every new command asks for."""
        self.couplers.elements(*self.phases, self.splitters, self.amplitudes, self.elements)

    def forward(self, field: Array) -> None:
        self.of.forward(self.elements, self.top, self.bottom, self.screen, field)

    def adjoint(self, field: Array, cotangent: Array) -> None:
        mesh = self.elements, self.splitters, self.top, self.bottom, self.screen
        self.of.adjoint(*mesh, field, cotangent, *self.sums)

    def matrix(self) -> Array:
        self.of.matrices(self.elements, self.top, self.bottom, self.screen, self.dense)
        return self.dense[0]

    def gradients(self, product: Array) -> None:
        mesh = self.elements, self.splitters, self.top, self.bottom, self.screen
        self.of.gradients(*mesh, product[None], *self.sums)

    def direct(self, x: Array) -> Array:
        """U x in plain NumPy, column after column of the mesh: `x` (N, B) complex."""
        e, at, x = self.elements[0], 0, x.copy()
        while at < self.count:
            last = at + 1
            while last < self.count and self.top[last] > self.top[last - 1]:
                last += 1
            a, b, c, d = (e[2 * i, at:last, None] + 1j * e[2 * i + 1, at:last, None] for i in range(4))
            upper, lower = x[self.top[at:last]], x[self.top[at:last] + 1]
            x[self.top[at:last]], x[self.top[at:last] + 1] = a * upper + b * lower, c * upper + d * lower
            at = last
        return np.exp(1j * self.screen[0])[:, None] * x


def product(y: Array, g: Array) -> Array:
    """Y G^T in planes (2, N, N), of planes (2, N, B)."""
    n = y.shape[1]
    whole = y.reshape(2 * n, -1) @ g.reshape(2 * n, -1).T
    return np.stack([whole[:n, :n] - whole[n:, n:], whole[:n, n:] + whole[n:, :n]])


def propagate(bench: Bench) -> Iterator[Measurement]:
    """One mesh: `forward`; `adjoint` with all gradients, column by column of the batch; `gradients`, the same through
    one N x N product of the batch, which is included; `direct`, forward in NumPy."""
    rng, device = np.random.default_rng(0), bench.device
    there = bool(device.numbers)
    for modes in ((3,) if there else (16,)) if bench.quick else (16, 64, 256, 1024):
        layer = Layer(modes, rng, device)
        n = layer.count
        for batch in (1, 8) if bench.quick else (1, 64, 512, 4096, *([65536] if there else [])):
            field, other = (device.put(rng.standard_normal((1, 2, modes, batch)).astype("f4")) for _ in range(2))
            functions = {
                "forward": lambda m=layer, f=field: m.forward(f),
                "adjoint": lambda m=layer, f=field, c=other: m.adjoint(f, c),
                "gradients": lambda m=layer, f=field, c=other: m.gradients(product(f[0], c[0])),
            }
            if not there and n * batch <= 1e8:
                light = (field[0, 0] + 1j * field[0, 1]).astype("c8")
                functions["direct"] = lambda m=layer, x=light: m.direct(x)
            work = {
                "forward": PAIR * n * batch, "adjoint": ADJOINT * n * batch,
                "gradients": ADJOINT * n * modes + PRODUCT * modes**2 * batch, "direct": PAIR * n * batch,
            }  # fmt: skip
            # Bytes that must move: the field in and out, the couplers; in `gradients` the batch is only read.
            moved = {"forward": 2, "adjoint": 4, "gradients": 2}
            for variant, seconds in bench.paired(functions, 3 if n * batch > 1e8 else 0).items():
                sizes = {"modes": modes, "batch": batch}
                floor = bench.floor(work[variant], moved[variant] * field.nbytes + 48.0 * n) if there else 0.0
                limit = FLOOR if there else FMA
                yield Measurement(
                    "propagate", variant, min(seconds), work[variant], GFLOPS, limit, bound=floor, sizes=sizes
                )


CASES = (("propagate", propagate),)
