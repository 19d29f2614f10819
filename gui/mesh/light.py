"""Light inside a mesh, computed from commanded phases as if the chip were ideal. No Qt.

A lab cannot look inside; this says where light should be, and is badged as estimated.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError

from .geometry import PARTS, travel

if TYPE_CHECKING:
    from ..base.model import Layer, Part, Phases


def starts(part: Part) -> Array:
    """Where each column's MZIs begin in travel order, (C + 1,)."""
    columns = int(part.columns.max(initial=-1)) + 1
    return np.searchsorted(part.columns, np.arange(columns + 1))


def checked(part: Part, phases: Phases) -> tuple[Array, Array, Array]:
    """theta, phi (1, n) and screen (1, N) of a complex mesh; of a real one theta counts. ChipError where phases are
    missing or no numbers."""
    theta = np.asarray(phases.get("theta", ()), float)
    if theta.shape != part.columns.shape or not np.isfinite(theta).all():
        raise ChipError("phases are missing or not finite; light cannot be followed")
    phi, screen = (np.asarray(phases.get(name, 0.0), float) for name in ("phi", "screen"))
    if not (np.isfinite(phi).all() and np.isfinite(screen).all()):
        raise ChipError("phases are not finite; light cannot be followed")
    n = len(theta)
    return theta[None].copy(), np.broadcast_to(phi, (1, n)).copy(), np.broadcast_to(screen, (1, part.modes)).copy()


def follow(part: Part, phases: Phases, light: Array) -> tuple[Array, Array]:
    """Fields (N, B) behind the mesh, and (PARTS C + 1, N, B) inside: before phi, behind it, in the arms and behind
    theta of every column, at the output.

    `light` (N, B) complex. Complex MZIs as in `kernels.propagate`. Real ones rotate their two rails,

        T = [[cos theta, -sin theta], [sin theta, cos theta]]    (`kernels.mesh`),

    and between their couplers light x, y is (x +- i y) / sqrt(2), which theta turns by -+ theta. ChipError where phases
    are missing or no numbers.
    """
    theta, phi, screen = checked(part, phases)
    if not part.complex:
        return _rotate(part, theta[0], light)
    first = starts(part)
    even = np.full((1, 4, theta.size), np.sqrt(0.5))
    out = np.empty((1, PARTS * (len(first) - 1) + 2, 2, part.modes, light.shape[1]))
    out[0, 0, 0], out[0, 0, 1] = light.real, light.imag
    kernels.inside.trace(
        theta, phi, even, np.ones((1, 4, theta.size)), part.rails, part.rails + part.spans, first, screen, False, out
    )
    fields = out[0, :, 0] + 1j * out[0, :, 1]
    return fields[-1], fields[:-1]


def _rotate(part: Part, theta: Array, light: Array) -> tuple[Array, Array]:
    first = starts(part)
    fields = np.empty((PARTS * (len(first) - 1) + 1, part.modes, light.shape[1]), complex)
    field = np.array(light, complex)
    for c, (begin, end) in enumerate(itertools.pairwise(first)):
        i, j = part.rails[begin:end], part.rails[begin:end] + part.spans[begin:end]
        inside = fields[PARTS * c : PARTS * (c + 1)]
        inside[:] = field
        for arms in (2, 3):
            x, y = field[i], field[j]
            inside[arms, i], inside[arms, j] = (x + 1j * y) / np.sqrt(2), (x - 1j * y) / np.sqrt(2)
            if arms == 2:
                cosine, sine = np.cos(theta[begin:end])[:, None], np.sin(theta[begin:end])[:, None]
                field[i], field[j] = cosine * x - sine * y, sine * x + cosine * y
    fields[-1] = field
    return field, fields


def fields(layer: Layer, phases: Mapping[str, Phases], port: int) -> dict[str, Array]:
    """Fields (PARTS C + 1, N) in every mesh of a block for unit light into input `port`, by side. A core's attenuators
    are scaled by the largest |sigma|, as its electronic gain is. Empty where light cannot be followed."""
    modes = next(iter(layer.parts.values())).modes
    light = np.zeros((modes, 1), complex)
    light[min(max(port, 0), modes - 1)] = 1.0
    inside: dict[str, Array] = {}
    try:
        for side in travel(layer):
            light, field = follow(layer.parts[side], phases.get(side, {}), light)
            inside[side] = field[:, :, 0]
            if side == "v" and "sigma" in phases:
                sigma = np.asarray(phases["sigma"]["sigma"], float)
                light = light * (sigma / (np.abs(sigma).max(initial=0.0) or 1.0))[:, None]
    except ChipError:
        return {}
    return inside


def matrix(part: Part, phases: Phases) -> Array:
    """The matrix (N, N) of a mesh at commanded phases on an ideal chip, real for real MZIs, before any output signs.

    What `follow` makes of unit vectors, without looking inside: 6 ms for 256 modes, where that takes a second."""
    theta, phi, screen = checked(part, phases)
    if not part.complex:
        return _turned(part, theta[0])
    n, modes = theta.size, part.modes
    parts, out = np.empty((1, 12, n)), np.empty((1, 2, modes, modes))
    kernels.couplers.elements(theta, phi, np.full((1, 4, n), np.sqrt(0.5)), np.ones((1, 4, n)), parts)
    kernels.propagate.matrices(parts, part.rails, part.rails + part.spans, screen, out)
    turned: Array = out[0, 0] + 1j * out[0, 1]
    return turned


def _turned(part: Part, theta: Array) -> Array:
    first, out = starts(part), np.eye(part.modes)
    for begin, end in itertools.pairwise(first):
        i, j = part.rails[begin:end], part.rails[begin:end] + part.spans[begin:end]
        x, y, cosine, sine = out[i], out[j], np.cos(theta[begin:end, None]), np.sin(theta[begin:end, None])
        out[i], out[j] = cosine * x - sine * y, sine * x + cosine * y
    return out
