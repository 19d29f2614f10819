"""Sigma as a column of attenuators realises it: one rule for cores and for the chip of any matrix.

An attenuator lets the share cos(phase) of the amplitude through, the phase in [0, pi]. Its heater's phase is quantised
evenly with LSB pi / (2^b - 1) and scaled by its gamma; no crosstalk, no bias (spec section b).
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, kernels, namespace
from l2sim.chip.nonidealities import Nonidealities, even_step


def realised(share: Array, ratio: Array, sheet: Nonidealities, *, exact: bool = False) -> Array:
    """The shares that are realised where `share`, from -1 to 1, is commanded; `ratio`: gamma of each heater over the
    nominal one. In the precision of `share`, or with `exact` from the heater on in that of `ratio`."""
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
    return np.cos(phase, out=phase)


def of_cores(sigma: Array, ratio: Array, sheet: Nonidealities) -> tuple[Array, Array]:
    """What attenuators and the gain behind cores make of commanded `sigma` (M, k): (realised sigma, gain (M, 1)).

    sigma = gain cos(phase), gain = max |sigma|.
    """
    across = np.abs(namespace(sigma).ascontiguousarray(sigma.T))  # a reduction along the short axis as it lies is slow
    gain: Array = across.max(axis=0)[:, None]
    if sheet.exact_sigma:
        return sigma.copy(), gain
    # A core whose sigma is all zero has no gain to divide by: its attenuators are closed.
    out = realised(sigma / np.where(gain > 0, gain, 1.0), ratio, sheet)
    out *= gain
    return out, gain


def commanded(wanted: Array, sigma: Array, ratio: Array, sheet: Nonidealities) -> tuple[Array, Array, Array]:
    """`of_cores` of `wanted` (M, k) on a GPU, in one launch; `sigma` becomes it. The third: how many of sigma changed,
    are not finite, and are not one, (3,)."""
    lsb = sigma.dtype.type(even_step(sheet.phase_bits) / 2.0 if sheet.phase_bits else 0.0)
    out, gain, tally = np.empty_like(sigma), np.empty_like(sigma[:, :1]), np.zeros_like(sigma, np.int64, shape=(3,))
    wanted = namespace(sigma).ascontiguousarray(wanted)
    kernels.cuda.chain.attenuate(wanted, ratio, lsb, sheet.exact_sigma, sigma, out, gain, tally)
    return out, gain, tally
