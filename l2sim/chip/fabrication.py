"""What the fab did to a chip: unit draws made once, scaled later by the non-idealities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from l2sim import naming
from l2sim.backend import Array, generator
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.parts.ports import SIDES, Fixed
from l2sim.errors import ChipError
from l2sim.given import whole, word
from l2sim.mesh.mesh import Mesh

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Neighbours(Protocol):
    """Anything that knows which heaters stand beside each other."""

    @property
    def around(self) -> Array:
        """Indices of the heaters beside each heater, -1 for none."""
        ...


@dataclass(frozen=True)
class Heaters:
    """Unit draws of the heaters of M meshes, each (M, n) in travel order.

    `bias` in [-1, 1); `gamma` normal, cut at +-2 standard deviations; `fate` and `stuck_at` in [0, 1); `error` normal.
    """

    bias: Array
    gamma: Array
    fate: Array
    stuck_at: Array
    error: Array


@dataclass(frozen=True)
class Optics:
    """Unit draws of the passive parts of M meshes, normal: `splitters` (M, 2, n), left and right of every MZI, and
    `arms` (M, 4, n): theta's and the one below, phi's and the one below (a0 ... a3 of `kernels.propagate`)."""

    splitters: Array
    arms: Array


Draws = TypeVar("Draws", bound="DataclassInstance")
Chain = tuple[Array, Array, Array, Array, float, Array, Array, float, bool]
"""The arguments of `kernels.chain`: ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap."""


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal variates conditioned on |z| <= 2, by redrawing those outside."""
    draw = rng.standard_normal(shape)
    while (outside := np.abs(draw) > 2.0).any():
        draw[outside] = rng.standard_normal(int(outside.sum()))
    return draw


def fabricate(seed: int, name: str, part: str, shape: tuple[int, int]) -> Heaters:
    """Draw the heaters of one part ("u", "v" or "sigma") of the chip `name`, each quantity from a stream of its own.
    ChipError for a seed that is no whole number from 0 on, and a name that is no text."""
    seed, name = whole(seed, "a chip's seed", 0), word(name, "a chip's name")

    def stream(what: str) -> np.random.Generator:
        return generator(seed, "fabrication", name, part, what)

    return Heaters(
        bias=stream("bias").uniform(-1.0, 1.0, shape),
        gamma=truncated_normal(stream("gamma"), shape),
        fate=fates(seed, name, part, shape),
        stuck_at=stream("stuck").uniform(size=shape),
        error=stream("error").standard_normal(shape),
    )


class Remade(dict[str, Heaters]):
    """The heaters (M, n) of the parts of the chip `name`, drawn again from the seed whenever somebody asks: what is
    made of them is all that a chip needs, and they would be half of its memory. What is put in stays."""

    def __init__(self, seed: int, name: str, shapes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self._seed, self._name, self._shapes = seed, name, shapes

    def __missing__(self, part: str) -> Heaters:
        return fabricate(self._seed, self._name, part, self._shapes[part])

    def whole(self) -> dict[str, Heaters]:
        """Those of all parts."""
        return {part: self[part] for part in self._shapes}


def fates(seed: int, name: str, part: str, shape: tuple[int, int]) -> Array:
    """The draw alone that decides which heaters are dead or stuck, as `fabricate` makes it."""
    return generator(seed, "fabrication", name, part, "fate").uniform(size=shape)


def fabricate_optics(seed: int, name: str, part: str, shape: tuple[int, int]) -> Optics:
    """Draw splitters and arms of (M, n) MZIs of one part of the chip `name`."""
    meshes, count = shape
    return Optics(
        splitters=generator(seed, "fabrication", name, part, "splitters").standard_normal((meshes, 2, count)),
        arms=generator(seed, "fabrication", name, part, "arms").standard_normal((meshes, 4, count)),
    )


def of_cores(seed: int, name: str, cores: int, mesh: Mesh) -> dict[str, Array]:
    """What the fab did to a grid of so many cores of the chip `name`, as `arrays` has it, splitters, arms and ports
    included; rows are cores, so that `refabricate` makes any of them a chip of one core."""
    draws: dict[str, Heaters | Optics | Fixed] = {"sigma": fabricate(seed, name, "sigma", (cores, mesh.modes))}
    draws |= {side: Fixed.drawn(seed, name, side, (cores, mesh.modes)) for side in SIDES}
    for part in ("u", "v"):
        draws[part] = fabricate(seed, name, part, (cores, mesh.count))
        draws[optics_of(part)] = fabricate_optics(seed, name, part, (cores, mesh.mzis.count))
    return arrays(draws)


def drawn(part: str, draw: str) -> str:
    """What a draw of a part is called among arrays."""
    return naming.name(part, naming.NOISE + draw)


def optics_of(part: str) -> str:
    """The part that the passive optics of the mesh `part` of complex cores are."""
    return f"{part}_optics"


def heaters_in(fabrication: Mapping[str, Array], part: str) -> Heaters:
    """The draws of the heaters of one part ("u", "v", "sigma"; "heaters" of a whole mesh) in what `arrays` gave."""
    return Heaters(*(fabrication[drawn(part, item.name)] for item in fields(Heaters)))


def optics_in(fabrication: Mapping[str, Array], part: str) -> Optics:
    """The draws of the passive optics of one part of complex cores, "u" or "v", in what `arrays` gave."""
    return Optics(*(fabrication[drawn(optics_of(part), item.name)] for item in fields(Optics)))


def splitter_parameters(
    mesh: Mesh, optics: Optics, nonidealities: Nonidealities, errors: Array | None = None
) -> Array:
    """cos and sin of pi/4 + e of both splitters of every MZI, (M, 4, n), as `kernels.propagate` takes them; `errors` e
    (M, 2, n) where they are not independent (`l2sim.chip.parts.optics`)."""
    if errors is None:
        errors = nonidealities.splitter_error_std * optics.splitters
    if nonidealities.splitter_shared:
        errors = np.repeat(errors[:, :1], 2, axis=1)
    angles = (np.pi / 4 + mesh.splitters(errors)) * (1.0 + nonidealities.dispersion * nonidealities.detuning_nm)
    return np.ascontiguousarray(np.stack((np.cos(angles), np.sin(angles)), axis=2).reshape(len(angles), 4, -1))


def arm_parameters(optics: Optics, nonidealities: Nonidealities) -> Array:
    """Amplitude factors a0 ... a3 of the arms of every MZI, (M, 4, n)."""
    loss = np.maximum(nonidealities.loss_db + nonidealities.loss_db_std * optics.arms, 0.0)
    return 10.0 ** (-loss / 20.0)


def arrays(draws: Mapping[str, Any]) -> dict[str, Array]:
    """Draws by part as arrays, "part.noise_draw"."""
    return {drawn(part, item.name): getattr(own, item.name) for part, own in draws.items() for item in fields(own)}


def replaced(draws: Mapping[str, Draws], given: Mapping[str, Array]) -> dict[str, Draws]:
    """`draws` with what `given` has, as `arrays` gave it, in their place. Raises ChipError where shapes differ."""
    for key, a in arrays(draws).items():
        if given[key].shape != a.shape:
            raise ChipError(f"the fabrication {key} has shape {given[key].shape}; this chip has {a.shape}")
    return {
        part: replace(own, **{item.name: given[drawn(part, item.name)].astype(float) for item in fields(own)})
        for part, own in draws.items()
    }


def chain_parameters(mesh: Neighbours, heaters: Heaters, nonidealities: Nonidealities, dtype: np.dtype) -> Chain:
    """The arguments of `kernels.chain` for these heaters. Of `mesh` it reads `around`, the neighbours of
    each heater (n, any number), -1 for none."""
    sheet = nonidealities
    fixed = np.where(heaters.fate < sheet.dead, 0.0, np.nan)
    stuck = (heaters.fate >= sheet.dead) & (heaters.fate < sheet.dead + sheet.stuck)
    fixed = np.where(stuck, 2.0 * np.pi * heaters.stuck_at, fixed)
    levels, thresholds, _ = sheet.driver()
    # The published model leaves crosstalk (and the wrap that comes with it) out below 1e-5.
    coupled = sheet.crosstalk > 1e-5
    return (
        (1.0 + heaters.gamma * (sheet.gamma_std / GAMMA)).astype(dtype),
        fixed.astype(dtype),
        (sheet.offset + sheet.phase_bias * heaters.bias + sheet.phase_error_std * heaters.error).astype(dtype),
        mesh.around,
        dtype.type(sheet.lsb()),
        levels.astype(dtype),
        thresholds.astype(dtype),
        dtype.type(sheet.crosstalk if coupled else 0.0),
        coupled and sheet.heat_wraps,
    )


def moved(chain: Chain, put: Callable[[Array], Array]) -> Chain:
    """The chain with its arrays where `put` takes them."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    return put(ratio), put(fixed), put(bias), put(around), lsb, put(levels), put(thresholds), crosstalk, rewrap


def biased(chain: Chain, bias: Array) -> Chain:
    """The chain with another bias."""
    return *chain[:2], bias, *chain[3:]
