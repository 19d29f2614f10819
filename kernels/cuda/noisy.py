"""Noisy gradients of sigma from the law of their sums (`kernels.noisy`): a thread for every sigma.

Grams are cuBLAS's, many at once. Variates are the host's: entry by entry, their place on the page is that of sigma.
"""

from __future__ import annotations

from numba import cuda, float64

from .. import noisy as cpu
from .draws import numbers_at, words
from .launch import device, narrow, parted, scratch, spread
from .launch import entry as launched

DRAWN = cpu.DRAWN
MASKED_BYTES = 1 << 28
"""Products of light that `masked_grams` keeps at a time."""

entry = device(cpu.entry)


@cuda.jit(device=True)
def norm(core, l, gram):
    """(C' G C)_ll of a core C (k, k) and G = `gram` (k, k)."""
    k = core.shape[0]
    square = core.dtype.type(0.0)
    for i in range(k):
        total = core.dtype.type(0.0)
        for j in range(k):
            total += gram[i, j] * core[j, l]
        square += core[i, l] * total
    return square


@launched
def add_all(page, k0, k1, left, right, sent, back, counts, forward, backward, out):
    """The loop of `add`."""
    drawn = cuda.local.array(DRAWN, float64)
    q, k = out.shape[1], out.shape[2]
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        m, l = parted(index, k)
        p, c = parted(m, q)
        a, b, d, _ = words(index, page, 0, k0, k1)
        count = counts[c]
        numbers_at(index, page, k0, k1, a, b, d, float64(max(count - 2, 0)) / 2.0, drawn)
        out[p, c, l] = entry(
            out[p, c, l], norm(right[m], l, sent[c]), norm(left[m], l, back[p, c if back.shape[1] > 1 else 0]), count,
            forward[0], backward[0], drawn,
        )  # fmt: skip


def padded(x, out):
    """x (rows, N) as blocks (blocks, k, N) for the grams `out` (blocks, k, k), in their precision."""
    blocks, k = out.shape[:2]
    whole = scratch(out, (blocks * k, x.shape[1]))
    whole[: len(x)] = x
    if len(x) < len(whole):
        whole[len(x) :] = 0.0
    return whole.reshape(blocks, k, -1)


def add_grams(x, out):
    """As `kernels.noisy.add_grams`."""
    light = padded(x, out)
    out += light @ light.swapaxes(1, 2)


def masked_grams(x, masks, out):
    """As `kernels.noisy.masked_grams`: all masks in one product of the products of rows, for some block rows at a time,
    since a choice of columns would wait for the masks."""
    p, q, k = out.shape[:3]
    light, chosen = padded(x, out[:, 0]), masks.T.astype(out.dtype)
    some = max(1, MASKED_BYTES // max(1, k * light[0].nbytes))
    for at in range(0, p, some):
        rows = light[at : at + some]
        every = (rows[:, :, None] * rows[:, None]).reshape(-1, x.shape[1]) @ chosen
        out[at : at + some] = every.reshape(-1, k, k, q).transpose(0, 3, 1, 2)


def add(page, key, left, right, sent, back, counts, amplitudes, out):
    """As `kernels.noisy.add`; amplitudes are numbers that the GPU may have yet to compute."""
    there = (a.reshape(1) for a in amplitudes)
    spread(add_all, narrow(out.size), page, *map(int, key), left, right, sent, back, counts, *there, out)
