"""The door to `kernels.descent` and `kernels.descent_by_column`: an epoch of coordinate descent over a part of a chip.

`on` holds arrays by core, M cores of k modes and n heaters: phases (M, n), loss, writes, carry and lr (M,); ratio,
fixed and bias (M, n) of the noise chain, flip and signs of the part that moves; the matrices `rest` (M, k, k) of the
other, sigma and gain (M, k), scale (M, 1), target (M, k, k); read (M, k), 0 where nobody reads; with noise, variates.
`CoreChip.sweep` gathers them; `l2sim.chip.fused.spread` takes them to GPUs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, Device, host, kernels, namespace
from l2sim.mesh.mesh import Mesh
from l2sim.streams import Law, Stream, chi_squares, weighted

RULES = {"zcd": 0, "ztp": 1}
VARIATES_BYTES = 1 << 24
"""Readout variates are drawn for at most this many bytes of cores at a time: they stay in the cache. On a GPU for
64 times as many, so that a launch fills it."""
CORES = 1024
"""Cores that are worked on at a time without noise."""
UNEVEN_FROM = 8
"""Modes from which on descent by column beats the direct one also where V moves in calibration."""


@dataclass(frozen=True)
class Sweep:
    """An epoch of descent over a part of a chip, yet to be done (`l2sim.chip.fused.spread.do`): `on` as in the module,
    `chain` what the noise chain of all cores shares, from `around` on, `order` and `columns` as in `here`, `stream` of
    the readings' noise; `vectors` are sent for each column that is read. `kind`: sweeps of equal kind can be done in
    one launch; None where it gains nothing."""

    device: Device
    on: dict[str, Array]
    chain: tuple[object, ...]
    part: str
    rule: str
    mesh: Mesh
    order: Array
    columns: Array | None
    noise: float
    stream: Stream
    vectors: int
    kind: Hashable | None

    def batches(self) -> Iterator[dict[str, Array]]:
        """Its cores, some at a time."""
        stream, there = self.stream if self.noise > 0.0 else None, bool(self.device.numbers)
        return batches(self.on, self.on["phases"].dtype, self.mesh, stream, there)


def law(gain: Array, read: Array) -> Law:
    """What readings with noise are drawn from (`kernels.descent`): `gain` and `read` (M, k), 0 for outputs that nobody
    reads. Where the gains of each core are alike, one normal number a reading does."""
    size, rows = np.abs(gain), read.sum(axis=1)
    if ((size == 0.0) | (size == size.max(axis=1, keepdims=True))).all():
        return chi_squares(rows * np.count_nonzero(size, axis=1) - 1)
    return weighted(size * size, rows - 1)


def batches(
    on: dict[str, Array], dtype: np.dtype, mesh: Mesh, stream: Stream | None, whole: bool
) -> Iterator[dict[str, Array]]:
    """The cores of `on`, some at a time, so that what is made of them stays in the cache; with the variates of their
    readings in an epoch from one page of `stream`, if there is one. `whole`: without it, all at once.

    `gain`, `target` and `read` come in `dtype`, one copy a core. Phases, loss and writes are views of those of `on`.
    """
    cores, probes = len(on["loss"]), 2 * mesh.count
    chunk, noise, page = CORES, None, 0
    if stream is not None:
        noise, page = law(host(on["gain"]).astype(dtype), host(on["read"]).astype(dtype)), stream.turn()
        most = VARIATES_BYTES << 6 if whole else VARIATES_BYTES
        chunk = max(1, most // (probes * (noise.normals + 1) * dtype.itemsize))
    elif whole:
        chunk = max(1, cores)
    for lo in range(0, cores, chunk):
        some = {name: a[lo : lo + chunk] for name, a in on.items()}
        xp = namespace(some["loss"])
        some |= {name: some[name].astype(dtype, order="C") for name in ("gain", "target", "read")}
        if stream is not None and noise is not None:
            some["variates"] = stream.readings(noise.of(slice(lo, lo + chunk)), page, lo, probes, dtype, xp)
        yield some


def ends(on: dict[str, Array], part: str, noise: float) -> tuple[Array, Array, Array, tuple[Array, Array, Array]]:
    """(start, rows, target, amplitudes) of `kernels.descent`: what stands still around the mesh that moves.

    The amplitudes of the noise: (M, k) of each column, (M,) the least that is not 0, and (M,) what entries without
    noise add to k^2 L.
    """
    xp = namespace(on["gain"])
    gain, target = xp.ascontiguousarray(on["gain"]), on["target"]
    if part == "u":
        start, left, right, rows = on["rest"], on["sigma"], gain, on["signs"] * on["read"]
    else:
        start, left, right, rows = on["rest"].swapaxes(1, 2), on["sigma"] * on["signs"], on["read"], gain
        target = target.swapaxes(1, 2)
    start = start * left[:, :, None]
    start *= right[:, None, :]
    none = xp.zeros(len(gain), gain.dtype)
    amplitudes = xp.zeros_like(gain), none, none
    if noise > 0.0:
        each = xp.abs(gain * on["scale"] * noise).astype(gain.dtype)
        least = xp.where(each > 0.0, each, xp.inf).min(axis=1)
        least = xp.where(xp.isfinite(least), least, 0.0).astype(gain.dtype)
        dark = (on["target"] ** 2 * ((gain == 0.0)[:, None, :] | (on["read"] == 0.0)[:, :, None])).sum(axis=(1, 2))
        amplitudes = each, least, dark.astype(gain.dtype)
    return xp.ascontiguousarray(start), xp.ascontiguousarray(rows), xp.ascontiguousarray(target), amplitudes


def here(
    on: dict[str, Array], shared: tuple[object, ...], *, part: str, rule: str, mesh: Mesh, order: Array,
    columns: Array | None, noise: float,
) -> None:  # fmt: skip
    """One epoch on the CPU; updates phases, loss and writes. `shared`: what the noise chain of all cores shares, from
    `around` on; `order` (n,) of heaters; `columns` (C,): the same as columns, if they are visited one by one."""
    start, rows, target, amplitudes = ends(on, part, noise)
    variates = on["variates"] if noise > 0.0 else np.empty((0, 2 * mesh.count, 2), start.dtype)
    done, uneven = 0, False
    if columns is not None and variates.shape[2] == 2:  # by column only the whole residual is known
        done, uneven = _structured(on, rows)
    if done:
        own, dtype = {name: a[:done] for name, a in on.items()}, start.dtype.type
        kernels.descent_by_column.descend(
            RULES[rule], uneven, own["phases"], own["loss"], own["lr"],
            (own["ratio"], own["fixed"], own["bias"], *shared), mesh.rail, mesh.first, mesh.starts,
            dtype(1.0 if part == "u" else -1.0), np.asarray(columns, np.int64), start[:done], rows[:done],
            target[:done], noise > 0.0, tuple(a[:done] for a in amplitudes[1:]), variates[:done], own["writes"],
        )  # fmt: skip
    if done < len(start):
        own = {name: a[done:] for name, a in on.items()}
        kernels.descent.descend(
            RULES[rule], own["phases"], own["loss"], own["carry"], own["lr"], order,
            (own["ratio"], own["fixed"], own["bias"], *shared), own["flip"], mesh.rail, part == "v", start[done:],
            rows[done:], target[done:], noise > 0.0, tuple(a[done:] for a in amplitudes), variates[done:],
            own["writes"],
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
