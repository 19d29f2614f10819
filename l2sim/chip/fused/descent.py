"""The door to `kernels.descent` and `kernels.descent_by_column`: an epoch of coordinate descent over a part of a chip.

`on` holds arrays by core, M cores of k modes and n heaters: phases (M, n), loss, writes, carry and lr (M,); ratio,
fixed and bias (M, n) of the noise chain, flip and signs of the part that moves; the matrices `rest` (M, k, k) of the
other, sigma and gain (M, k), scale (M, 1), target (M, k, k); read (M, k), 0 where nobody reads; with noise, variates;
of cores with phi, splitters and arms (M, 4, n) and stretch (M, 1) (`kernels.descent_phi`); `made` (M, k, k), where it
is wanted, for the matrices of the part that moved, as they are then.
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
    one launch; None where it gains nothing. `both`: the readings are fields, of both parts of complex cores."""

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
    both: bool = False

    def batches(self) -> Iterator[dict[str, Array]]:
        """Its cores, some at a time."""
        stream, there = self.stream if self.noise > 0.0 else None, bool(self.device.numbers)
        return batches(self.on, self.on["phases"].dtype, self.mesh, stream, there, self.both)


def law(gain: Array, read: Array, both: bool = False) -> Law:
    """What readings with noise are drawn from (`kernels.descent`): `gain` and `read` (M, k), 0 for outputs that nobody
    reads; `both`: two numbers are read at every output. Where the gains of each core are alike, one normal number a
    reading does."""
    size, rows = np.abs(gain), read.sum(axis=1) * (1 + both)
    if ((size == 0.0) | (size == size.max(axis=1, keepdims=True))).all():
        return chi_squares(rows * np.count_nonzero(size, axis=1) - 1)
    return weighted(size * size, rows - 1)


def batches(
    on: dict[str, Array], dtype: np.dtype, mesh: Mesh, stream: Stream | None, whole: bool, both: bool = False
) -> Iterator[dict[str, Array]]:
    """The cores of `on`, some at a time, so that what is made of them stays in the cache; with the variates of their
    readings in an epoch from one page of `stream`, if there is one. `whole`: without it, all at once.

    `gain`, `target` and `read` come in `dtype`, one copy a core. Phases, loss, writes and `made` are views of those of
    `on`.
    """
    cores, probes = len(on["loss"]), 2 * mesh.count
    chunk, noise, page = CORES, None, 0
    if stream is not None:
        noise, page = law(host(on["gain"]).astype(dtype), host(on["read"]).astype(dtype), both), stream.turn()
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


def sides(on: dict[str, Array], part: str) -> tuple[Array, Array, Array]:
    """What stands still around the mesh that moves, (M, k): the factors of the rows and of the columns of the other one
    that give X of `kernels.descent`, and g."""
    if part == "u":
        return on["sigma"], on["gain"], on["signs"] * on["read"]
    return on["sigma"] * on["signs"], on["read"], on["gain"]


def amplitudes(on: dict[str, Array], noise: float) -> tuple[Array, Array, Array]:
    """Those of the noise: (M, k) of each column, (M,) the least that is not 0, and (M,) what entries without noise add
    to k^2 L."""
    xp, gain = namespace(on["gain"]), on["gain"]
    none = xp.zeros(len(gain), gain.dtype)
    if noise == 0.0:
        return xp.zeros_like(gain), none, none
    each = xp.abs(gain * on["scale"] * noise).astype(gain.dtype)
    least = xp.where(each > 0.0, each, xp.inf).min(axis=1)
    least = xp.where(xp.isfinite(least), least, 0.0).astype(gain.dtype)
    dark = (on["target"] ** 2 * ((gain == 0.0)[:, None, :] | (on["read"] == 0.0)[:, :, None])).sum(axis=(1, 2))
    return each, least, dark.astype(gain.dtype)


def ends(on: dict[str, Array], part: str) -> tuple[Array, Array, Array]:
    """(start, rows, target) of `kernels.descent`."""
    xp, (left, right, rows) = namespace(on["gain"]), sides(on, part)
    start, target = on["rest"], on["target"]
    if part == "v":
        start, target = start.swapaxes(1, 2), target.swapaxes(1, 2)
    start = start * left[:, :, None]
    start *= right[:, None, :]
    return xp.ascontiguousarray(start), xp.ascontiguousarray(rows), xp.ascontiguousarray(target)


def here(
    on: dict[str, Array], shared: tuple[object, ...], *, part: str, rule: str, mesh: Mesh, order: Array,
    columns: Array | None, noise: float, both: bool = False,
) -> None:  # fmt: skip
    """One epoch on the CPU; updates phases, loss and writes, and fills `made` where it is there. `shared`: what the
    noise chain of all cores shares, from `around` on; `order` (n,) of heaters; `columns` (C,): the same as columns, if
    they are visited one by one."""
    on.setdefault("variates", np.empty((len(on["loss"]), 2 * mesh.count, 2), on["phases"].dtype))
    if mesh.phi:
        start, rows, target = ends(on, part)
        kernels.descent_phi.descend(
            RULES[rule], on["phases"], on["loss"], on["carry"], on["lr"], order,
            (on["ratio"], on["fixed"], on["bias"], *shared), (on["splitters"], on["arms"], on["stretch"][0, 0]),
            mesh.phases_of, mesh.mzis.top, part == "v", both, start, rows, target, noise > 0.0, amplitudes(on, noise),
            on["variates"], on["writes"],
        )  # fmt: skip
        return
    done, uneven = 0, False
    if columns is not None and on["variates"].shape[2] == 2:  # by column only the whole residual is known
        done, uneven = _structured(on, part)
    if done:
        own = {name: a[:done] for name, a in on.items()}
        left, right, rows = sides(own, part)
        kernels.descent_by_column.descend(
            RULES[rule], uneven, own["phases"], own["loss"], own["lr"],
            (own["ratio"], own["fixed"], own["bias"], *shared), mesh.rail, mesh.first, mesh.starts,
            on["phases"].dtype.type(1.0 if part == "u" else -1.0), np.asarray(columns, np.int64),
            (own["rest"], left, right, own["target"], rows), noise > 0.0, amplitudes(own, noise)[1:],
            own["variates"], own["signs"], own["writes"], own["made"],
        )  # fmt: skip
    if done < len(on["loss"]):
        _direct({name: a[done:] for name, a in on.items()}, shared, part, rule, mesh, order, noise)


def _direct(
    on: dict[str, Array], shared: tuple[object, ...], part: str, rule: str, mesh: Mesh, order: Array, noise: float
) -> None:
    """`here`, heater by heater."""
    chain = on["ratio"], on["fixed"], on["bias"], *shared
    start, rows, target = ends(on, part)
    kernels.descent.descend(
        RULES[rule], on["phases"], on["loss"], on["carry"], on["lr"], order, chain, on["flip"], mesh.rail,
        part == "v", start, rows, target, noise > 0.0, amplitudes(on, noise), on["variates"], on["writes"],
    )  # fmt: skip
    if "made" in on:
        seen = np.empty_like(on["phases"])
        kernels.chain.apply(*(on["phases"], *chain, seen))
        kernels.mesh.matrices(seen, on["flip"], on["signs"], mesh.rail, on["made"])


def _structured(on: dict[str, Array], part: str) -> tuple[int, bool]:
    """How many cores, from the first on, descent by column can take, and whether their g is uneven.

    It needs rows of X that are orthogonal where g is uneven. Masks at both ends do not leave them so: there is one such
    core, the last, where rows and columns of the padding meet.
    """
    gain, read = on["gain"], on["read"]
    if on["carry"].any() or not (on["flip"] == 1.0).all():
        return 0, False
    done = len(gain)
    if (read != 1.0).any():
        crossed = (read != 1.0).any(1) & (gain != gain[:, :1]).any(1)
        done = int(crossed.argmax()) if crossed.any() else done
    uneven = bool((np.abs((read if part == "u" else gain)[:done]) != 1.0).any())
    return (0 if uneven and gain.shape[1] < UNEVEN_FROM else done), uneven
