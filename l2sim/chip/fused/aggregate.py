"""A gradient in situ read from a whole batch at once, where readings are noisy and nothing is lost.

Each scheme of `l2sim.learn.insitu` adds readings of powers with weights w_j. Without noise a reading summed over the
batch is P_j = sum_b |f_b|^2; its noise, sum_b s |f_b| n_b with normal n_b, is s sqrt(P_j) n. So a gradient is

    sum_j w_j P_j + (s^2 sum_j w_j^2 P_j + t^2 B sum_j w_j^2)^(1/2) n,

t the noise of a tap in the dark, with both sums at every shifter from one N x N matrix (`kernels.interference`). Taps
without noise need the first sum only, and where modulators make what is asked for, that of what was sent, with
R = conj(a_in) as read and A as it is:

    sum_j w_j (X + t_j R)(X + t_j R)^+ = M + M^+,   M = (sum_j w_j t_j) R X^+, as the others cancel,
    digital, less (X X^+ + A A^+) / 2                M = -i R X^+ / 2 + (R - A)(R + A)^+ / 4.

Noise of ports is drawn for each vector that is sent or read, as a laboratory has it; of readings that no scheme looks
at, the far ends behind taps, none is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from l2sim.backend import Array
from l2sim.chip.protocol import SCHEMES, Gradient, Taps
from l2sim.chip.readout import complex_of

__all__ = ["WEIGHTS", "Lossless", "gradient"]


class Lossless(Protocol):
    """What is asked of a mesh, besides readings: what light does in it (`l2sim.chip.mesh_chip.MeshChip`)."""

    @property
    def sends_exactly(self) -> bool:
        """Whether modulators make the field that is asked for."""
        ...

    def modulated(self, x: Array, back: bool) -> Array:
        """The field that enters, or `back` at the outputs, where modulators are asked for x (N, B)."""
        ...

    def passed(self, x: Array, back: bool) -> Array:
        """The field at the far end."""
        ...

    def read(self, y: Array, kind: str, back: bool) -> Array:
        """Readings of the field y at the far end, of light sent `back` or not."""
        ...

    def forms(self, form: Array) -> tuple[Taps, Taps]:
        """Imaginary and real parts of the quadratic form Z (N, N) at every shifter."""
        ...


def _weights(scheme: str) -> list[tuple[complex, float]]:
    """The turn of the light that returns, and the weight of its reading, for each pass with taps of a batch."""
    count = SCHEMES[scheme][1]
    turns = [complex(-1j * np.exp(2j * np.pi * step / count)) for step in range(count)]
    return list(zip(turns, [0.5 - 0.5 / count] + [-0.5 / count] * (count - 1)))


WEIGHTS = {"digital": [(-1j, 0.5)], "analog": [(-1j, 0.25), (1j, -0.25)], "sweep": _weights("sweep")}
"""By scheme: what is sent is x + turn conj(a_in), and how its power counts. Digital subtracts those of x and a too."""


Read = Callable[[Taps, Taps, int, float], Taps]


def gradient(chip: Lossless, x: Array, g: Array, scheme: str, read: Read | None) -> Gradient:
    """What `l2sim.learn.insitu.measure` reads of a lossless `chip` by `scheme`, for light x and cotangents g (N, B);
    `read` makes readings of the two sums; None where taps have no noise."""
    arrived = chip.passed(chip.modulated(g, True), True)
    back_in = chip.read(arrived, "field", True)
    if chip.sends_exactly and read is None:
        half = sums(x, arrived, back_in, scheme)
        return Gradient(*chip.forms(1j * (half + np.conj(half.T)))[0], back_in)
    if chip.sends_exactly:
        forward, behind, cross = correlations(x, back_in)
    else:
        forward, returned = covariance(chip.modulated(x, False)), np.conj(back_in)
    form = np.zeros((len(x), len(x)), back_in.dtype)
    for turn, weight in WEIGHTS[scheme]:
        turn = form.dtype.type(turn)
        if chip.sends_exactly:  # (x + t r)(x + t r)^+, of which x is not sent anew
            mixed = turn * cross
            both = forward + behind + mixed + np.conj(mixed.T)
        else:
            both = covariance(chip.modulated(x + turn * returned, False))
        form += (weight**2 + 1j * weight) * both
    if scheme == "digital":
        same = chip.sends_exactly and back_in is arrived
        true = behind if same else np.conj(covariance(arrived))
        form += (0.25 - 0.5j) * (forward + true)
    total, squares = chip.forms(form)
    if read is None:
        return Gradient(*total, back_in)
    weight = sum(weight**2 for _, weight in WEIGHTS[scheme]) + (0.5 if scheme == "digital" else 0.0)
    return Gradient(*read(total, squares, x.shape[1], weight), back_in)


def sums(x: Array, arrived: Array, back: Array, scheme: str) -> Array:
    """M of the module's head, (N, N), for light x, and U^T g as it `arrived` and as it was read, `back`."""
    half: Array
    turned = back.dtype.type(sum(weight * turn for turn, weight in WEIGHTS[scheme]))
    if np.isrealobj(x):
        both = np.concatenate((back.real, back.imag)) @ x.T
        half = turned * complex_of(both[: len(x)], -both[len(x) :])
    else:
        half = turned * np.conj(back @ x.T)
    if scheme == "digital" and back is not arrived:
        error, twice = back - arrived, back + arrived
        half += np.conj(error @ np.conj(twice, out=twice).T) / 4
    return half


def covariance(light: Array) -> Array:
    """X X^+ of light X (N, B)."""
    if np.isrealobj(light):
        real: Array = light @ light.T
        return real
    own = _parts(light.real, light.imag)
    return complex_of(own[0, 0] + own[1, 1], own[1, 0] - own[0, 1])


def correlations(x: Array, back: Array) -> tuple[Array, Array, Array]:
    """X X^+, R R^+ and R X^+ of light X, which may be real, and R = conj(`back`), (N, B) each."""
    if np.isrealobj(x):
        own = _parts(back.real, back.imag, x)
        forward, cross = own[2, 2], complex_of(own[0, 2], -own[1, 2])
    else:
        own = _parts(back.real, back.imag, x.real, x.imag)
        forward = complex_of(own[2, 2] + own[3, 3], own[3, 2] - own[2, 3])
        cross = complex_of(own[0, 2] - own[1, 3], -own[1, 2] - own[0, 3])
    return forward, complex_of(own[0, 0] + own[1, 1], own[0, 1] - own[1, 0]), cross


def _parts(*parts: Array) -> Array:
    """A B' of every two of some real arrays (N, B), (parts, parts, N, N). As one symmetric product, of which BLAS works
    one half: a third to a half of the work of complex ones."""
    rows = np.concatenate(parts)
    every: Array = (rows @ rows.T).reshape(len(parts), len(parts[0]), len(parts), -1).swapaxes(1, 2)
    return every
