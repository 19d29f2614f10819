"""In situ gradients of W = U diag(s) V: of every phase of both meshes, and of the attenuators, from the outer ports.

With x sent in, v = V x and y = U s v; with the cotangents g sent into the outputs, a = U^T g and a_in = V^T s a. Light
turned round in time passes a lossless mesh but no attenuator, so each mesh is met from its own side:

    V    x - i conj(a_in) sent forward:    in V   f - i conj(a)   interfere      (`l2sim.learn.insitu`)
    U    g - i conj(y) sent backward:      in U   a - i conj(f)   interfere, of the same power
    s    open attenuators, s = 1, show b = V^T U^T g; x + conj(b) sent forward makes |v + conj a|^2 at V's screen:
         dL/ds = Re sum_b a v = sum_b (|v + conj a|^2 - |v|^2 - |a|^2) / 2

so that six passes and two settings of the attenuators measure everything, small s as well as large ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.chip.protocol import SvdHardware, SvdTaps, Taps, check
from l2sim.errors import ChipError
from l2sim.learn.insitu import row_norm

__all__ = ["SvdGradient", "measure_svd"]


class SvdGradient(NamedTuple):
    """Gradients by the phases of U and V and by sigma (N,), summed over the batch; x (N, B): the cotangents W^T g."""

    u: Taps
    v: Taps
    sigma: Array
    x: Array


def measure_svd(hardware: SvdHardware, x: Array, g: Array) -> SvdGradient:
    """Every gradient of W = U diag(s) V by digital subtraction. `x`, `g` (N, B) as in `l2sim.learn.insitu.measure`.

    Leaves the hardware as it was. Raises ChipError.
    """
    check(hardware, SvdHardware, "mesh", "set_sigma", "commanded", "taps")
    x, g = np.asarray(x), np.asarray(g)
    if x.shape != g.shape or x.ndim != 2 or x.shape[1] == 0:
        raise ChipError(f"light {x.shape} and cotangents {g.shape} must both be (N, B), with at least one vector")
    scale_x, scale_g = row_norm(x, True), row_norm(g, True)
    x, g = x / scale_x, g / scale_g
    y, ahead = _sums(hardware, x)
    back_in, back = _sums(hardware, g, back=True)
    _, in_v = _sums(hardware, x - 1j * np.conj(back_in))
    _, in_u = _sums(hardware, g - 1j * np.conj(y), back=True)
    sigma = np.asarray(hardware.commanded["sigma"])
    hardware.set_sigma(np.ones_like(sigma))
    open_in, unweighted = _sums(hardware, g, back=True)
    _, together = _sums(hardware, x + np.conj(open_in))
    hardware.set_sigma(sigma)
    scale, kind = scale_x * scale_g, back_in.real.dtype

    def half(both: Array, one: Array, other: Array) -> Array:
        interference: Array = scale * (both - one - other) / 2
        return interference.astype(kind, copy=False)

    return SvdGradient(
        Taps(*map(half, in_u.u, ahead.u, back.u)),
        Taps(*map(half, in_v.v, ahead.v, back.v)),
        half(together.v.screen, ahead.v.screen, unweighted.v.screen),
        scale_g * back_in,
    )


def _sums(hardware: SvdHardware, x: Array, back: bool = False) -> tuple[Array, SvdTaps]:
    """The field at the far end, and tap powers summed over the batch."""
    if hasattr(hardware, "tap_sums"):
        summed: tuple[Array, SvdTaps] = hardware.tap_sums(x, back)
        return summed
    far, taps = hardware.taps(x, back)
    return far, SvdTaps(*(Taps(*(power.sum(axis=-1, dtype=np.float64) for power in mesh)) for mesh in taps))
