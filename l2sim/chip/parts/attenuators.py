"""Sigma as a column of attenuators realises it: one rule for cores and for the chip of any matrix.

**Published** (spec section b). An attenuator lets the share cos(alpha) of the amplitude through, alpha = arccos(share)
in [0, pi]. Its heater's phase is quantised evenly with LSB pi / (2^b - 1) and scaled by its gamma; no crosstalk. Ours:
an unknown offset, uniform over [-sigma_bias, sigma_bias), adds to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2sim.backend import Array, kernels, namespace
from l2sim.chip.fabrication import Heaters
from l2sim.chip.nonidealities import GAMMA, Nonidealities, even_step


class Column:
    """The attenuators of M cores of `heaters` (M, k), their numbers where `put` takes them."""

    def __init__(self, heaters: Heaters, sheet: Nonidealities, put: Callable[[Array], Array]) -> None:
        self._sheet, tilt = sheet, offsets(heaters, sheet)
        self._ratio = put(1.0 + heaters.gamma * (sheet.gamma_std / GAMMA))
        self._tilt = None if tilt is None else put(tilt)

    def realise(self, sigma: Array) -> tuple[Array, Array]:
        """`of_cores` of `sigma` (M, k)."""
        return of_cores(sigma, self._ratio, self._sheet, self._tilt)

    def command(self, wanted: Array, sigma: Array) -> tuple[Array, Array, Array]:
        """`commanded`, on a GPU."""
        return commanded(wanted, sigma, self._ratio, self._sheet, self._tilt)

    def opened(self, matrices: Array) -> Array:
        """`matrices` (M, k, k) behind which every attenuator is commanded to be open."""
        if self._tilt is None:  # no phase, which is realised exactly
            return matrices
        light, _ = self.realise(np.ones_like(matrices[:, :, 0]))
        return matrices * light[:, None]


def offsets(heaters: Heaters, sheet: Nonidealities) -> Array | None:
    """What adds to the phases of attenuators (M, k), rad; None where nothing does."""
    return sheet.sigma_bias * heaters.bias if sheet.sigma_bias > 0.0 else None


def realised(
    share: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None, *, exact: bool = False
) -> Array:
    """The shares that are realised where `share`, from -1 to 1, is commanded; `ratio`: gamma of each heater over the
    nominal one; `offset` of `offsets`. In the precision of `share`, or with `exact` from the heater on in that of
    `ratio`."""
    phase = np.arccos(share)
    if sheet.phase_bits:
        lsb = even_step(sheet.phase_bits) / 2.0
        phase /= lsb
        np.rint(phase, out=phase)
        phase *= lsb
    if exact:
        phase = phase * ratio
    else:
        phase *= ratio
    if offset is not None:
        phase += offset
    return np.cos(phase, out=phase)


def of_cores(
    sigma: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None
) -> tuple[Array, Array]:
    """What attenuators and the gain behind cores make of commanded `sigma` (M, k): (realised sigma, gain (M, 1)).

    sigma = gain cos(phase), gain = max |sigma|.
    """
    across = np.abs(namespace(sigma).ascontiguousarray(sigma.T))  # a reduction along the short axis as it lies is slow
    gain: Array = across.max(axis=0)[:, None]
    if sheet.exact_sigma:
        return sigma.copy(), gain
    # A core whose sigma is all zero has no gain to divide by: its attenuators are closed.
    out = realised(sigma / np.where(gain > 0, gain, 1.0), ratio, sheet, offset)
    out *= gain
    return out, gain


def commanded(
    wanted: Array, sigma: Array, ratio: Array, sheet: Nonidealities, offset: Array | None = None
) -> tuple[Array, Array, Array]:
    """`of_cores` of `wanted` (M, k) on a GPU, in one launch; `sigma` becomes it. The third: how many of sigma changed,
    are not finite, and are not one, (3,)."""
    lsb = sigma.dtype.type(even_step(sheet.phase_bits) / 2.0 if sheet.phase_bits else 0.0)
    out, gain, tally = np.empty_like(sigma), np.empty_like(sigma[:, :1]), np.zeros_like(sigma, np.int64, shape=(3,))
    wanted = namespace(sigma).ascontiguousarray(wanted)
    tilt = ratio[:0] if offset is None else offset
    kernels.cuda.chain.attenuate(wanted, ratio, tilt, lsb, sheet.exact_sigma, sigma, out, gain, tally)
    return out, gain, tally
