"""Orthogonal matrices to mesh phases and back; `direct`: in plain NumPy, rotation after rotation of all blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import FMA, GFLOPS, Bench, Measurement
from l2sim.backend import Array
from l2sim.mesh.mesh import Mesh, matrix
from l2sim.mesh.orthogonal import decompose

LARGEST = 4_000_000
"""Numbers in the blocks of a case beyond which `direct` is left out."""


def _turn(x: Array, y: Array, angle: Array) -> None:
    """(x, y) <- (c x + s y, c y - s x), in place, for every block its angle."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x[:], y[:] = c * x + s * y, c * y - s * x


def nulled(turns: Array) -> Array:
    """The matrices that are left when every block has been nulled as `kernels.decompose` does: diagonals of signs."""
    u, k = turns.astype(np.float64), turns.shape[-1]
    for i in range(k - 1):
        for j in range(i + 1):
            if i % 2 == 0:
                row, x, y = k - 1 - j, u[:, :, i - j + 1], u[:, :, i - j]
                _turn(x, y, np.arctan2(y[:, row], x[:, row]))
            else:
                x, y = u[:, k - 2 - i + j], u[:, k - 1 - i + j]
                _turn(x, y, np.arctan2(y[:, j], x[:, j]))
    return u


def complex_nulled(matrix: Array) -> Array:
    """A unitary nulled to a diagonal of phases by N (N - 1) / 2 rotations, from both sides in turn, one call of NumPy's
    a rotation (Clements et al., Optica 3, 1460 (2016)): how packages without compiled loops do it."""
    u, n = np.array(matrix, np.complex128), len(matrix)
    for i in range(n - 1):
        for j in range(i + 1):
            row, column = (n - 1 - j, i - j) if i % 2 == 0 else (n - 1 - i + j, j)
            if i % 2 == 0:  # from the right: element (row, column) by its neighbour at the right
                pair = u[:, column : column + 2]
                a, b = u[row, column], u[row, column + 1]
                size = np.hypot(abs(a), abs(b))
                pair[:] = pair @ (np.array([[b, a.conj()], [-a, b.conj()]]) / size)
            else:  # from the left: by the one above
                pair = u[row - 1 : row + 1]
                a, b = u[row - 1, column], u[row, column]
                size = np.hypot(abs(a), abs(b))
                pair[:] = (np.array([[a.conj(), b.conj()], [-b, a]]) / size) @ pair
    return u


def rebuilt(mesh: Mesh, phases: Array, signs: Array) -> Array:
    """`matrix` for a mesh whose signs stand at its outputs."""
    u = np.tile(np.eye(mesh.modes, dtype=phases.dtype), (len(phases), 1, 1))
    turns = mesh.gather(phases)
    for t, rail in enumerate(mesh.rail):
        _turn(u[:, rail], u[:, rail + 1], -turns[:, t])
    return signs[:, :, None] * u


def both(bench: Bench) -> Iterator[Measurement]:
    """Decomposition (float64 inside, 6 FLOP a pair it turns: 2 k^3) and reconstruction (6 k a rotation)."""
    rng = np.random.default_rng(0)
    for k in (4, 9) if bench.quick else (4, 8, 9, 16, 32):
        for blocks in (32,) if bench.quick else (128, 1024, 50_000 if k <= 9 else 8192):
            mesh = Mesh("rectangular", k)
            turns = np.linalg.qr(rng.standard_normal((blocks, k, k)))[0].astype("float32")
            phases, signs = decompose(mesh, turns)
            cases = {
                "decompose": (2.0 * k**3 * blocks, "float64", lambda: decompose(mesh, turns), lambda: nulled(turns)),  # noqa: B023
                "reconstruct": (
                    6.0 * k * mesh.count * blocks, "float32", lambda: matrix(mesh, phases, signs),  # noqa: B023
                    lambda: rebuilt(mesh, phases, signs),  # noqa: B023
                ),
            }  # fmt: skip
            for case, (work, dtype, compiled, direct) in cases.items():
                functions = {"compiled": compiled, "direct": direct}
                if turns.size > LARGEST:
                    del functions["direct"]
                for variant, seconds in bench.paired(functions, 3).items():
                    sizes = {"k": k, "blocks": blocks}
                    yield Measurement(case, variant, min(seconds), work, GFLOPS, FMA, dtype, sizes=sizes)


CASES = (("decompose", both),)
