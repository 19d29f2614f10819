"""Splitters as they come from a fab: a mean error of the chip, a slope over each mesh, and errors that are alike
nearby.

    e = splitter_chip_std c + splitter_gradient (s_x x + s_y y) + splitter_error_std f,     all draws of unit deviation

c is one number for all splitters of a chip (measured: means of two chips 0.09 rad apart, 0.01 to 0.02 rad within one;
Hamerly et al., Nature Communications 13, 6831 (2022)), s two numbers of each mesh, x and y in [-1/2, 1/2] from end to
end of it. f is white, or a Gaussian field of covariance exp(-d^2 / 2 L^2) with L = `splitter_length` (the shape is
ours), d as between heaters (`l2sim.chip.parts.heat`).

That covariance is a product of one along and one across the mesh, so the field is drawn exactly on the grid of all
columns and rails that occur, F = A_x Z A_y' with A A' the covariance along one axis, however large the mesh is. A is
V sqrt(lambda) of its eigenvectors, for the matrix is singular to rounding where L is long.

Splitters stand a quarter of a column of heaters before and behind theta; where MZIs have phi, half a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip import fabrication
from l2sim.chip.fabrication import Optics
from l2sim.chip.nonidealities import Nonidealities


@dataclass(frozen=True)
class Grown:
    """Unit draws of the splitters of M meshes that only such chips need: `mean` (M,), the same for all of a chip, and
    `slopes` (M, 2), both normal; `field` (M,), whole numbers that name the streams of Z."""

    mean: Array
    slopes: Array
    field: Array


def published(sheet: Nonidealities) -> bool:
    """Whether errors are independent and of no mean."""
    alike = sheet.splitter_length > 0.0 and sheet.splitter_error_std > 0.0
    return not (sheet.splitter_chip_std or sheet.splitter_gradient or alike)


def fabricate(seed: int, name: str, part: str, meshes: int) -> Grown:
    """Draw them for one part of the chip `name`."""

    def stream(*what: str) -> np.random.Generator:
        return generator(seed, "fabrication", name, *what)

    return Grown(
        mean=np.repeat(stream("splitters", "mean").standard_normal(), meshes),
        slopes=stream(part, "splitters", "slopes").standard_normal((meshes, 2)),
        field=stream(part, "splitters", "field").integers(0, 1 << 52, meshes).astype(float),
    )


def axis(places: Array, length: float) -> tuple[Array, Array]:
    """A (c, r) of the covariance exp(-d^2 / 2 L^2) of the c different ones of `places`, and which of them each is."""
    own, which = np.unique(places, return_inverse=True)
    values, vectors = np.linalg.eigh(np.exp(-(np.subtract.outer(own, own) ** 2) / (2.0 * length**2)))
    kept = values > 0.0
    return vectors[:, kept] * np.sqrt(values[kept]), which.reshape(places.shape)


def field(x: Array, y: Array, length: float, seeds: Array) -> Array:
    """The field of every mesh (M, ...) at `x` and `y` (...)."""
    (along, column), (across, rail) = axis(x, length), axis(y, length)
    out = np.empty((len(seeds), *x.shape))
    for m, seed in enumerate(seeds):
        draw = generator(int(seed), "field").standard_normal((along.shape[1], across.shape[1]))
        out[m] = (along @ draw @ across.T)[column, rail]
    return out


def errors(optics: Optics, grown: Grown, x: Array, y: Array, sheet: Nonidealities) -> Array:
    """Errors of the angles of all splitters (M, 2, n), rad, which stand at `x` and `y` (2, n) (`places`)."""
    white: Array = optics.splitters
    if sheet.splitter_length > 0.0 and sheet.splitter_error_std > 0.0:
        white = field(x, y, sheet.splitter_length, grown.field)
    out: Array = sheet.splitter_error_std * white + sheet.splitter_chip_std * grown.mean[:, None, None]
    if sheet.splitter_gradient:
        for slope, at in zip(grown.slopes.T, (x, y)):
            size = np.ptp(at) if at.size else 0.0
            if size:
                out += sheet.splitter_gradient * slope[:, None, None] * ((at - at.min()) / size - 0.5)
    return out


def places(column: Array, top: Array, bottom: Array, phi: bool) -> tuple[Array, Array]:
    """x and y (2, n) of the left and right splitters of MZIs in these columns on these rails, in pitches of heaters."""
    pitch, half = (2.0, 0.5) if phi else (1.0, 0.25)
    x = pitch * column + np.array([[-half], [half]])
    y = np.broadcast_to((top + bottom) / 2.0, x.shape)
    return math.sqrt(3.0) * x / 2.0, y / 2.0


class Splitters:
    """The draws of the splitters of a chip's parts, `meshes` each, beside those of `Optics`."""

    def __init__(self, seed: int, name: str, parts: tuple[str, ...], meshes: int) -> None:
        self._seed, self._name, self._parts, self._meshes = seed, name, parts, meshes
        self._draws: dict[str, Grown] = {}

    def grown(self, part: str) -> Grown:
        """The draws of a part."""
        given = self._draws.get(part)
        return fabricate(self._seed, self._name, part, self._meshes) if given is None else given

    def errors(self, part: str, optics: Optics, at: tuple[Array, Array], sheet: Nonidealities) -> Array | None:
        """`errors` of a part whose splitters stand `at`; None where they are independent and of no mean."""
        return None if published(sheet) else errors(optics, self.grown(part), *at, sheet)

    def arrays(self, sheet: Nonidealities) -> dict[str, Array]:
        """The draws in use, as `fabrication.arrays` has them."""
        return {} if published(sheet) else arrays_of({part: self.grown(part) for part in self._parts})

    def become(self, arrays: Mapping[str, Array]) -> None:
        """Take what `arrays` gave. A part of which there is nothing stays as it was drawn."""
        for part in self._parts:
            if fabrication.drawn(named(part), "mean") in arrays:
                self._draws |= {part: fabrication.replaced({named(part): self.grown(part)}, arrays)[named(part)]}


def arrays_of(draws: Mapping[str, Grown]) -> dict[str, Array]:
    """Draws by part as arrays."""
    return fabrication.arrays({named(part): own for part, own in draws.items()})


def of_cores(seed: int, name: str, parts: tuple[str, ...], cores: int) -> dict[str, Array]:
    """The draws of a grid of cores of the chip `name`; rows are cores."""
    return arrays_of({part: fabricate(seed, name, part, cores) for part in parts})


def named(part: str) -> str:
    """The part that these draws of a part are among arrays."""
    return f"{part}_grown"
