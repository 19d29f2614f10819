"""The door to `kernels.descent` and `kernels.descent_by_column`: an epoch of coordinate descent over a part of a chip.

`on` holds arrays by core, M cores of k modes and n heaters: phases (M, n), loss, writes, carry and lr (M,); ratio,
fixed and bias (M, n) of the noise chain, flip and signs of the part that moves; the matrices `rest` (M, k, k) of the
other, sigma and gain (M, k), scale (M, 1), target (M, k, k); read (M, k), 0 where nobody reads; with noise, variates.
`CoreChip.descend` gathers them; `l2sim.chip.fused.spread` takes them to GPUs.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, kernels, namespace
from l2sim.mesh.mesh import Mesh

RULES = {"zcd": 0, "ztp": 1}
VARIATES_BYTES = 1 << 28
"""Readout variates are drawn for at most this many bytes of cores at a time."""
UNEVEN_FROM = 8
"""Modes from which on descent by column beats the direct one also where V moves in calibration."""


def variates(rng: np.random.Generator, cores: int, mesh: Mesh, dtype: np.dtype, read: Array | None) -> Array:
    """Aggregate noise of every reading of an epoch, (cores, 2 n, 2, k): along the residual, and chi2 of the rest.

    `read` (cores, k) is 0 for outputs that nobody reads.
    """
    k = mesh.modes
    rest: Array | float = (k - 1) / 2 if read is None else np.maximum(read.sum(axis=1) - 1, 0)[:, None, None] / 2
    out = np.empty((cores, 2 * mesh.count, 2, k), dtype)
    out[:, :, 0] = rng.standard_normal(out[:, :, 0].shape, dtype)
    out[:, :, 1] = 2.0 * rng.standard_gamma(rest, out[:, :, 1].shape, dtype)
    return out


def ends(on: dict[str, Array], part: str, noise: float) -> tuple[Array, Array, Array, Array]:
    """(start, rows, target, amplitudes) of `kernels.descent`: what stands still around the mesh that moves."""
    xp = namespace(on["gain"])
    gain, target = xp.ascontiguousarray(on["gain"]), on["target"]
    start = on["sigma"][:, :, None]
    if part == "u":
        start, rows = start * on["rest"] * gain[:, None, :], on["signs"] * on["read"]
    else:
        start = start * on["rest"].swapaxes(1, 2) * on["signs"][:, :, None] * on["read"][:, None, :]
        rows, target = gain, target.swapaxes(1, 2)
    amplitudes = (gain * on["scale"] * noise).astype(gain.dtype)
    return xp.ascontiguousarray(start), xp.ascontiguousarray(rows), xp.ascontiguousarray(target), amplitudes


def here(
    on: dict[str, Array], shared: tuple[object, ...], *, part: str, rule: str, mesh: Mesh, order: Array,
    columns: Array | None, noise: float,
) -> None:  # fmt: skip
    """One epoch on the CPU; updates phases, loss and writes. `shared`: what the noise chain of all cores shares, from
    `around` on; `order` (n,) of heaters; `columns` (C,): the same as columns, if they are visited one by one."""
    start, rows, target, amplitudes = ends(on, part, noise)
    done, uneven = 0, False
    if columns is not None and noise == 0.0:
        done, uneven = _structured(on, rows)
    if done:
        own, dtype = {name: a[:done] for name, a in on.items()}, start.dtype.type
        kernels.descent_by_column.descend(
            RULES[rule], uneven, own["phases"], own["loss"], own["lr"],
            (own["ratio"], own["fixed"], own["bias"], *shared), mesh.rail, mesh.first, mesh.starts,
            dtype(1.0 if part == "u" else -1.0), np.asarray(columns, np.int64), start[:done], rows[:done],
            target[:done], own["writes"],
        )  # fmt: skip
    if done < len(start):
        own = {name: a[done:] for name, a in on.items()}
        variates = own["variates"] if noise > 0.0 else np.empty((0, 2 * mesh.count, 2, mesh.modes), start.dtype)
        kernels.descent.descend(
            RULES[rule], own["phases"], own["loss"], own["carry"], own["lr"], order,
            (own["ratio"], own["fixed"], own["bias"], *shared), own["flip"], mesh.rail, part == "v", start[done:],
            rows[done:], target[done:], noise > 0.0, amplitudes[done:], variates, own["writes"],
        )  # fmt: skip


def _structured(on: dict[str, Array], rows: Array) -> tuple[int, bool]:
    """How many cores, from the first on, descent by column can take, and whether their g is uneven.

    It needs rows of X that are orthogonal where g is uneven. Masks at both ends do not leave them so: there is one such
    core, the last, where rows and columns of the padding meet.
    """
    gain, read = on["gain"], on["read"]
    if on["carry"].any() or not (on["flip"] == 1.0).all():
        return 0, False
    crossed = (read != 1.0).any(1) & (gain != gain[:, :1]).any(1)
    done = int(crossed.argmax()) if crossed.any() else len(rows)
    uneven = bool((np.abs(rows[:done]) != 1.0).any())
    return (0 if uneven and rows.shape[1] < UNEVEN_FROM else done), uneven
