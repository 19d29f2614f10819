"""The couplers of complex meshes (`kernels.couplers`): a thread for each."""

from __future__ import annotations

from numba import cuda, float64

from .. import couplers as cpu
from .launch import device, entry, spread

cossin = device(cpu.cossin)
element = device(cpu.element)


@entry
def split(left, right, out):
    """The loop of `splitters`: a thread for every coupler."""
    n = left.shape[1]
    for index in range(cuda.grid(1), left.size, cuda.gridsize(1)):
        m, t = index // n, index % n
        out[m, 0, t], out[m, 1, t] = cossin(0.7853981633974483 + left[m, t])
        out[m, 2, t], out[m, 3, t] = cossin(0.7853981633974483 + right[m, t])


@entry
def build(theta, phi, splitters, amplitudes, out):
    """The loop of `elements`: a thread for every coupler."""
    n = theta.shape[1]
    for index in range(cuda.grid(1), theta.size, cuda.gridsize(1)):
        m, t = index // n, index % n
        er, ei = cossin(float64(theta[m, t]))
        fr, fi = cossin(float64(phi[m, t]))
        a, s = amplitudes[m], splitters[m]
        (
            out[m, 0, t], out[m, 1, t], out[m, 2, t], out[m, 3, t], out[m, 4, t], out[m, 5, t],
            out[m, 6, t], out[m, 7, t], out[m, 8, t], out[m, 9, t], out[m, 10, t], out[m, 11, t],
        ) = element(
            a[0, t] * er, a[0, t] * ei, a[2, t] * fr, a[2, t] * fi, s[0, t], s[1, t], s[2, t], s[3, t], a[1, t], a[3, t]
        )  # fmt: skip


def splitters(left, right, out):
    """As `kernels.couplers.splitters`."""
    spread(split, left.size, left, right, out)


def elements(theta, phi, splitters, amplitudes, out):
    """As `kernels.couplers.elements`."""
    spread(build, theta.size, theta, phi, splitters, amplitudes, out)
