"""A grid of cores as one matrix: the controller's arithmetic around the probes.

M (p k, q k) has the cores' weights as blocks; light goes through single cores and the partial results are added
electronically. Each function takes the fused operation where the hardware offers it and the public path elsewhere.
Rows missing at the end of what is sent are dark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TypeGuard

import numpy as np

from l2sim.backend import Array, namespace
from l2sim.chip.fused.pieces import Pieces, peak, whole
from l2sim.chip.meter import Count
from l2sim.chip.protocol import Commands, FusedHardware, Hardware, PiecewiseHardware, command


def arrays(hardware: Hardware) -> ModuleType:
    """The module of the arrays that `hardware` reads and answers with: a chip on a GPU has CuPy's as its `xp`."""
    xp: ModuleType = getattr(hardware, "xp", np)
    return xp


def full_scale(x: Array | Pieces) -> Array | float:
    """The amplitude that the modulators' full scale stands for when sending `x`: its largest magnitude (1 if zero).

    Vectors are sent divided by it, so that readout noise, which is relative to the unit amplitude, does not drown them.
    """
    if isinstance(x, Pieces):
        return x.largest or 1.0
    if namespace(x) is np:
        return peak(x) or 1.0
    if not x.size:
        return 1.0
    largest = np.abs(x).max()
    return np.where(largest > 0.0, largest, 1.0)


def padded(x: Array, rows: int) -> Array:
    """`x` (n, N) with zero rows added up to `rows`."""
    if len(x) == rows:
        return x
    out: Array = namespace(x).zeros((rows, x.shape[1]), x.dtype)
    out[: len(x)] = x
    return out


def fused(hardware: Hardware, operation: str, readout: str = "quadrature") -> TypeGuard[FusedHardware]:
    """Whether `hardware` offers this fused operation for such readings."""
    offered: bool = hasattr(hardware, operation) and hardware.fuses(readout)  # type: ignore[attr-defined]
    return offered and operation not in getattr(hardware, "unfused", ())


def product(
    hardware: Hardware, x: Array | Pieces, cores: Array | None = None, rows: int | None = None,
    readout: str = "quadrature",
) -> Array:  # fmt: skip
    """M x: `x` (q k, N) -> (p k, N), through the cores of the mask (p, q) only; the first `rows` of it.

    `x` may come in pieces on hardware that works `in_pieces`.
    N core calls per core; as many sequential additions a vector as the longest row of cores has, less one.
    """
    (p, q), k, count = hardware.shape, hardware.mesh.modes, x.shape[1]
    added = q - 1 if cores is None else np.maximum(cores.sum(axis=1).max() - 1, 0)
    with hardware.meter.during("forward"):
        hardware.meter.count(accumulation_steps=added * count, loads=_blocks(hardware, cores))
        if fused(hardware, "product", readout):
            return hardware.product(x, cores, rows, readout)  # type: ignore[arg-type]  # pieces where it takes them
        x = whole(x)
        scale = full_scale(x)
        x = padded(x, q * k)
        parts = hardware.forward((x / scale).reshape(1, q, k, count), cores=cores, readout=readout)
        summed: Array = scale * parts.sum(axis=1).reshape(p * k, count)
        return summed[:rows]


def product_back(
    hardware: Hardware, y: Array, cores: Array | None = None, readout: str = "quadrature"
) -> Array:
    """M' y by light sent backwards: `y` (p k, N) -> (q k, N), through the cores of the mask (p, q) only."""
    (p, q), k, count = hardware.shape, hardware.mesh.modes, y.shape[1]
    with hardware.meter.during("input_gradient"):
        _count_back(hardware, count, cores)
        if fused(hardware, "product_back", readout):
            return hardware.product_back(y, cores, readout)
        scale = full_scale(y)
        y = padded(y, p * k)
        parts = hardware.backward((y / scale).reshape(p, 1, k, count), cores=cores, readout=readout)
        summed: Array = scale * parts.sum(axis=0).reshape(q * k, count)
        return summed


def coherent(hardware: Hardware, readout: str) -> str:
    """How light is read that is multiplied by other light: of cores with phi by fields, for no quadrature shows the
    phases that one mesh gives and the other one takes; of others by `readout`."""
    return "field" if hardware.mesh.phi else readout


def in_pieces(hardware: Hardware) -> TypeGuard[PiecewiseHardware]:
    """Whether columns may go to `hardware`, and come from it, in pieces."""
    return getattr(hardware, "in_pieces", False)


def product_back_into(hardware: PiecewiseHardware, y: Array, cores: Array | None, into: Pieces) -> None:
    """`product_back`, of which `into` takes up as many rows as it has."""
    with hardware.meter.during("input_gradient"):
        _count_back(hardware, y.shape[1], cores)
        hardware.product_back_into(y, cores, into)


def _count_back(hardware: Hardware, count: int, cores: Array | None) -> None:
    """Meter the additions and the blocks of `count` vectors sent backwards."""
    added = hardware.shape[0] - 1 if cores is None else np.maximum(cores.sum(axis=0).max() - 1, 0)
    hardware.meter.count(accumulation_steps=added * count, loads=_blocks(hardware, cores))


def sigma_gradient(
    hardware: Hardware,
    x: Array | Pieces,
    dy: Array,
    mapped: Commands,
    rest: Commands,
    sigma: Array,
    readout: str = "quadrature",
    vectors: Array | None = None,
) -> Array:
    """dL/dsigma (p, q, k) of y = M x from two passes through the pseudo-identities (L2ight, NeurIPS 2021, eq. 8):

        dL/dsigma_i = sum over the batch of (I_V' U' dy)_i (I_U V x)_i

    `x` (q k, N), `dy` (p k, N). `mapped` and `rest` are the commands of the mapped state and of the calibrated
    pseudo-identities; `sigma` is set again at the end. The first pass rests U and sets sigma to one, the
    second maps U again and rests V. Two core calls a vector; one addition a vector and core. Complex cores need the
    `readout` "field", which those with phi are read by always: the gradient is the real part of the product. `vectors`
    (q, N) says which vectors the cores of a block column take part in; the others are not sent.
    """
    (p, q), k, count = hardware.shape, hardware.mesh.modes, x.shape[1]
    readout = coherent(hardware, readout)
    if vectors is not None:
        x = padded(whole(x), q * k) * np.repeat(vectors, k, axis=0)
    with hardware.meter.during("weight_gradient"):
        additions = count if vectors is None else vectors.sum(axis=1).max()
        hardware.meter.count(accumulation_steps=additions, loads=p * q)
        if fused(hardware, "sigma_gradient", readout):
            pieces: Array = x  # type: ignore[assignment]  # as in `product`
            return hardware.sigma_gradient(pieces, dy, rest, vectors, readout)
        x = whole(x)
        scale_x, scale_y = full_scale(x), full_scale(dy)
        x, dy = padded(x, q * k), padded(dy, p * k)
        light, error = (x / scale_x).reshape(1, q, k, count), (dy / scale_y).reshape(p, 1, k, count)
        command(hardware, u=rest)
        hardware.set_sigma(np.ones_like(sigma))
        with hardware.meter.side_by_side():
            across = list(_columns(hardware.forward, light, hardware.shape, readout, vectors))
        command(hardware, u=mapped, v=rest)
        with hardware.meter.side_by_side():
            back = list(_columns(hardware.backward, error, hardware.shape, readout, vectors))
        command(hardware, v=mapped)
        hardware.set_sigma(sigma)
        parts = [(a * b).real.sum(axis=-1) for a, b in zip(across, back)]
        gradient: Array = (scale_x * scale_y) * (parts[0] if vectors is None else sum(parts[1:], parts[0]))
        return gradient


def _blocks(hardware: Hardware, cores: Array | None) -> Count:
    """How many blocks take part."""
    return hardware.shape[0] * hardware.shape[1] if cores is None else np.count_nonzero(cores)


def _columns(
    probe: Callable[..., Array], light: Array, shape: tuple[int, int], readout: str, vectors: Array | None
) -> Iterator[Array]:
    """What all cores answer to `light` at once; or, where `vectors` (q, N) are chosen, block column by block column."""
    if vectors is None:
        yield probe(light, readout=readout)
        return
    for j in range(shape[1]):
        if not vectors[j].any():  # no light at all is no probe
            yield namespace(light).zeros((*shape, light.shape[2], 1), light.dtype)
            continue
        sent = light[:, j : j + 1] if light.shape[1] > 1 else light
        cores = namespace(light).zeros(shape, bool)
        cores[:, j] = True
        yield probe(sent[..., vectors[j]], cores=cores, readout=readout)


def respond(hardware: Hardware, readout: str = "quadrature", cores: Array | None = None) -> Array:
    """One evaluation of every core: its whole response to unit light in each input, (p, q, k, k) [output, input].

    Of the cores of the mask (p, q) only, where there is one; the others read zero."""
    (p, q), k = hardware.shape, hardware.mesh.modes
    hardware.meter.count(evaluations=p * q if cores is None else np.count_nonzero(cores))
    return hardware.forward(np.broadcast_to(arrays(hardware).eye(k), (p, q, k, k)), cores=cores, readout=readout)


def amplified(hardware: Hardware, sigma: Array, readout: str) -> Array:
    """`sigma` (p, q, k), which is set, with the gain behind every core that makes up for the light it loses, from one
    evaluation: the powers of all outputs add up to the sum of sigma squared where none is lost. Sets it."""
    seen = respond(hardware, readout if readout == "power" else coherent(hardware, readout))
    power = (seen if readout == "power" else np.abs(seen) ** 2).sum(axis=(-1, -2))
    wanted = (sigma**2).sum(axis=-1)
    gain = np.sqrt(np.where((power > 0.0) & (wanted > 0.0), wanted / np.where(power > 0.0, power, 1.0), 1.0))
    more: Array = sigma * gain[..., None]
    hardware.set_sigma(more)
    return more


def blocks(matrix: Array, k: int) -> Array:
    """Cut `matrix` (out, in), padded with zeros, into blocks (p, q, k, k)."""
    p, q = -(-matrix.shape[0] // k), -(-matrix.shape[1] // k)
    padded = namespace(matrix).zeros((p * k, q * k), matrix.dtype)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    cut: Array = padded.reshape(p, k, q, k).transpose(0, 2, 1, 3).copy()
    return cut
