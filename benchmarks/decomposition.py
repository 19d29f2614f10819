"""Orthogonal matrices to mesh phases and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import FMA, GFLOPS, Bench, Measurement
from l2sim.chip.decompose import decompose
from l2sim.chip.mesh import Mesh, matrix


def both(bench: Bench) -> Iterator[Measurement]:
    """Decomposition (float64 inside, 6 FLOP a pair it turns: 2 k^3) and reconstruction (6 k a rotation)."""
    rng = np.random.default_rng(0)
    for k in (4, 9) if bench.quick else (4, 8, 9, 16, 32):
        for blocks in (32,) if bench.quick else (128, 1024, 50_000 if k <= 9 else 8192):
            mesh = Mesh("rectangular", k)
            turns = np.linalg.qr(rng.standard_normal((blocks, k, k)))[0].astype("float32")
            phases, signs = decompose(mesh, turns)
            sizes = {"k": k, "blocks": blocks}
            seconds = bench.time(lambda mesh=mesh, turns=turns: decompose(mesh, turns))
            yield Measurement("decompose", "direct", seconds, 2.0 * k**3 * blocks, GFLOPS, FMA, "float64", sizes=sizes)
            seconds = bench.time(lambda mesh=mesh, p=phases, s=signs: matrix(mesh, p, s))
            work = 6.0 * k * mesh.count * blocks
            yield Measurement("reconstruct", "direct", seconds, work, GFLOPS, FMA, sizes=sizes)


CASES = (("decompose", both),)
