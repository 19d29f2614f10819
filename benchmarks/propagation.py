"""Light through complex meshes: forward, and the adjoint with every phase gradient."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import FMA, GFLOPS, Bench, Measurement
from l2sim.backend import kernels

FORWARD, ADJOINT = 28.0, 80.0
"""FLOP a coupler and column of the batch: a complex 2 x 2 product; two of them reversed, and two gradients."""


def there() -> bool:
    """Whether the kernels are."""
    folder = Path(str(kernels.__file__)).parent
    return importlib.util.find_spec("numba") is not None and (folder / "propagate.py").exists()


def propagate(bench: Bench) -> Iterator[Measurement]:
    """One mesh: `forward`, `adjoint` (lossless, reversed) and `gradients` (through one N x N product of the batch)."""
    if not there():
        return
    of, rng = kernels.propagate, np.random.default_rng(0)
    for modes in (16,) if bench.quick else (16, 64, 256, 1024):
        for batch in (1, 8) if bench.quick else (1, 64, 512, 4096):
            column, rail = np.nonzero(np.indices((modes, modes - 1)).sum(axis=0) % 2 == 0)
            del column
            top = rail.astype(np.int64)
            n, dtype = top.size, np.float32
            theta, phi = (rng.uniform(0, 6.28, (1, n)).astype(dtype) for _ in range(2))
            screen = rng.uniform(0, 6.28, (1, modes)).astype(dtype)
            errors = np.zeros((1, n), dtype)
            splitters, amplitudes = np.empty((1, 4, n), dtype), np.ones((1, 4, n), dtype)
            elements = np.empty((1, 12, n), dtype)
            of.splitters(errors, errors, splitters)
            of.elements(theta, phi, splitters, amplitudes, elements)
            field = rng.standard_normal((1, 2, modes, batch)).astype(dtype) / dtype(np.sqrt(modes))
            other, product = field.copy(), rng.standard_normal((1, 2, modes, modes)).astype(dtype)
            sums = np.empty((1, n), dtype), np.empty((1, n), dtype), np.empty((1, modes), dtype)
            mesh = elements, splitters, top, top + 1, screen
            functions = {
                "forward": lambda m=mesh, f=field: of.forward(m[0], m[2], m[3], m[4], f),
                "adjoint": lambda m=mesh, f=field, c=other, s=sums: of.adjoint(*m, f, c, *s),
                "gradients": lambda m=mesh, f=product, s=sums: of.gradients(*m, f, *s),
            }
            flops = {"forward": FORWARD * n * batch, "adjoint": ADJOINT * n * batch, "gradients": ADJOINT * n * modes}
            for variant, seconds in bench.paired(functions, 3 if n * batch > 1e8 else 0).items():
                sizes = {"modes": modes, "batch": batch}
                yield Measurement("propagate", variant, min(seconds), flops[variant], GFLOPS, FMA, sizes=sizes)


CASES = (("propagate", propagate),)
