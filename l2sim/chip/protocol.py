"""What a controller may do to a chip: exactly what a lab can do, and nothing else.

Two kinds of chip: `Hardware`, a grid of tensor cores (the L2ight flow), and `MeshHardware`, one whole complex mesh with
power taps at its phase shifters (in situ backpropagation).

A `Hardware` is a grid of p x q tensor cores of size k, each W = U diag(sigma) V* built from two MZI meshes and a
column of attenuators. The simulated `CoreChip`, a recorded chip and a driver of a real one all stand behind this
Protocol, so every algorithm of `l2sim.learn` runs on any of them unchanged.

Shapes: grid (p, q); core size k; phases (p, q, C, k - 1) as [column, upper rail] of the mesh; B vectors per core.
Fields are columns: a core maps x (k, B) to y = W x (k, B). Amplitudes are relative to the unit input amplitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, namespace
from l2sim.chip.fused.pieces import Pieces
from l2sim.chip.meter import Meter
from l2sim.errors import ChipError, NotFinite
from l2sim.given import numbers, whole
from l2sim.mesh.mesh import LARGEST, Mesh

BRIGHTEST = 1e15
"""The largest part of a field that a chip takes, whatever its number type: powers and what is made of their sums stay
within float32; ours."""
PARTS = ("u", "v")
"""The two meshes of a core, W = U diag(sigma) V*."""

READOUTS = ("power", "two_readings", "quadrature")
"""`power`: the intensity |y|^2, by direct detection. `two_readings`: |y + r|^2 and |y - r|^2 against a reference r, one
after the other, whose difference is Re(y). `quadrature`: balanced homodyne, Re(y) at once. Where cores are complex
(`l2sim.chip.complex_core_chip`) also `field`: both quadratures, a complex number."""


@dataclass(frozen=True)
class Commands:
    """What both meshes of every core are told: phases (p, q, C, k - 1) in rad and signs (p, q, k), by part."""

    phases: dict[str, Array]
    signs: dict[str, Array]

    def parts(self) -> Iterator[tuple[str, Array, Array]]:
        """(part, phases, signs) of U, then of V."""
        for part in PARTS:
            yield part, self.phases[part], self.signs[part]


class Hardware(Protocol):
    """A p x q grid of k x k tensor cores as a laboratory sees it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Grid size (p, q)."""
        ...

    @property
    def mesh(self) -> Mesh:
        """The layout of the U and V meshes, known from the mask design; `mesh.modes` is the core size k."""
        ...

    @property
    def meter(self) -> Meter:
        """Counts every probe and every write."""
        ...

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts this chip has, out of `READOUTS`."""
        ...

    def set_phases(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Command nominal phases, radians, (p, q, C, k - 1); places without an MZI are ignored."""
        ...

    def set_signs(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        ...

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators and the electronic gain behind each core: any real numbers, (p, q, k)."""
        ...

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        ...

    def forward(self, x: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the inputs of every core and read its outputs.

        `x`: (p, q, k, B) or anything that broadcasts to it. `cores`: optional mask (p, q); a core left out is not
        probed and reads zero. Returns (p, q, k, B): signed amplitudes, or powers for `readout="power"`.
        """
        ...

    def backward(self, y: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the outputs of every core and read its inputs: the transpose of `forward`."""
        ...


class FusedHardware(Hardware, Protocol):
    """A `Hardware` that gives the results of whole passes, and meters them, faster than by its probes one by one."""

    def fuses(self, readout: str) -> bool:
        """Whether it can for readings of this kind."""
        ...

    def product(
        self, x: Array, cores: Array | None = None, rows: int | None = None, readout: str = "quadrature"
    ) -> Array:
        """M x of the whole grid, (q k, N) -> (p k, N), through the cores of the mask (p, q) only; its first `rows`."""
        ...

    def product_back(self, y: Array, cores: Array | None, readout: str = "quadrature") -> Array:
        """M' y of the whole grid, (p k, N) -> (q k, N), through the cores of the mask (p, q) only."""
        ...

    def sigma_gradient(
        self, x: Array, dy: Array, rest: Commands, vectors: Array | None = None, readout: str = "quadrature"
    ) -> Array:
        """dL/dsigma (p, q, k)."""
        ...


class PiecewiseHardware(FusedHardware, Protocol):
    """A `FusedHardware` whose `product` and `sigma_gradient` also take columns `x` in pieces, while `in_pieces`."""

    @property
    def in_pieces(self) -> bool:
        """Whether it does so now."""
        ...

    def product_back_into(self, y: Array, cores: Array | None, into: Pieces) -> None:
        """`product_back`, of which `into` takes up as many rows as it has."""
        ...


def command(hardware: Hardware, *, u: Commands | None = None, v: Commands | None = None) -> None:
    """Set the U mesh as `u` says and the V mesh as `v` says."""
    for part, commands in (("u", u), ("v", v)):
        if commands is not None:
            hardware.set_signs(**{part: commands.signs[part]})
            hardware.set_phases(**{part: commands.phases[part]})


# -- one whole mesh ----------------------------------------------------------------------------------------------------

PHASES = ("theta", "phi", "screen")
"""The kinds of phases of a whole mesh: inside an MZI, in front of it, and at the outputs."""

MESH_READOUTS = ("field", "power", "tap_power")
"""`field`: both quadratures at the far end, complex. `power`: |y|^2 there. `tap_power`: power taps at the shifters."""

SCHEMES = {"digital": (0, 3), "analog": (1, 2), "sweep": (1, 8), "toggle": (1, 8)}
"""How gradients are read from the taps (`l2sim.learn.insitu`): passes without taps, and passes with them."""


class Taps(NamedTuple):
    """Powers at the phase shifters, (n, B), (n, B), (N, B) in travel order; without B where summed over the batch."""

    theta: Array
    phi: Array
    screen: Array


class Gradient(NamedTuple):
    """dL/dtheta (n,), dL/dphi (n,) and dL/dscreen (N,), summed over the batch, and the cotangents x (N, B) = U^T g."""

    theta: Array
    phi: Array
    screen: Array
    x: Array


class MeshHardware(Protocol):
    """One N-mode mesh of MZIs, U = diag(e^{i screen}) T_{n-1} ... T_0, as a laboratory sees it.

    Light is complex, (N, B): a row a rail, a column a vector; amplitudes are relative to the unit input amplitude.
    """

    @property
    def mesh(self) -> Mesh:
        """The layout, known from the mask design."""
        ...

    @property
    def meter(self) -> Meter:
        """Counts every pass, tap reading and write."""
        ...

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts this mesh has, out of `MESH_READOUTS`."""
        ...

    def set_phases(self, theta: Array | None = None, phi: Array | None = None, screen: Array | None = None) -> None:
        """Command nominal phases, radians: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        ...

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        ...

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        ...

    def forward(self, x: Array, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs: complex for "field", real for "power"."""
        ...

    def backward(self, y: Array, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs. A mesh is reciprocal: this light sees U^T."""
        ...

    def taps(self, x: Array, back: bool = False) -> tuple[Array, Taps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        ...


class SvdTaps(NamedTuple):
    """Powers at the phase shifters of U and of V."""

    u: Taps
    v: Taps


class SvdHardware(Protocol):
    """W = U diag(s) V of two N-mode meshes and a column of attenuators, as a laboratory sees it: light enters and
    leaves at the outer ports only."""

    @property
    def mesh(self) -> Mesh:
        """The layout of both meshes."""
        ...

    @property
    def meter(self) -> Meter:
        """Counts every pass, tap reading and write."""
        ...

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts this chip has, out of `MESH_READOUTS`."""
        ...

    def set_phases(self, u: dict[str, Array] | None = None, v: dict[str, Array] | None = None) -> None:
        """Command phases of a mesh by name, as `MeshHardware.set_phases`."""
        ...

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators, (N,) from -1 to 1: real factors of the amplitude."""
        ...

    @property
    def commanded(self) -> dict[str, Array | dict[str, Array]]:
        """Copies of what was last commanded: phases of "u" and "v" by name, and "sigma"."""
        ...

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        ...

    def forward(self, x: Array, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs."""
        ...

    def backward(self, y: Array, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs: W^T y."""
        ...

    def taps(self, x: Array, back: bool = False) -> tuple[Array, SvdTaps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        ...


class ChipState(TypedDict, total=False):
    """What a checkpoint keeps of a simulated chip beside its arrays: where its noise stream stands, how old its drift
    is (`Wander.state`), whether something was written that has not settled, of parts with heat left from before the
    last write since when it cools and whether light has come (`parts.heat.Heat.state`), and where its laser stands
    (`parts.ports`)."""

    noise: Mapping[str, object]
    drift: list[list[float]]
    restless: bool
    heat: dict[str, list[float]]
    laser: Mapping[str, object]


# -- what a chip has ---------------------------------------------------------------------------------------------------

KINDS: tuple[type, ...] = (Hardware, MeshHardware, SvdHardware)
"""The kinds of chip that algorithms ask for."""


def lacks(chip: object, kind: type = Hardware, *needs: str) -> list[str]:
    """The names of `kind`, one of `KINDS`, that `chip` does not answer to, in the order of the Protocol; where some are
    named, of these `needs` only.

    What counts is what the chip does when asked, on every Python: a wrapper that passes names on by `__getattr__`
    lacks nothing, whereas a method that cannot be called and an attribute that is None are lacking.
    """
    members = vars(kind)
    unknown = [name for name in needs if name not in members]
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    wanted = needs or [name for name in members if not name.startswith("_")]
    lacking = [name for name in wanted if not _answers(chip, name, members[name])]
    return [name for name in members if name in lacking] if lacking else lacking


def check(chip: object, kind: type = Hardware, *needs: str) -> None:
    """Raise ChipError where `chip` cannot stand for `kind`, naming what it lacks. Every algorithm that is handed a chip
    begins with this, and where it needs only a part of what such a chip can do, it names the part."""
    lacking = lacks(chip, kind, *needs)
    if lacking:
        raise ChipError(
            f"{type(chip).__name__} is no {kind.__name__}: it lacks {', '.join(lacking)}; "
            f"see l2sim.chip.protocol.{kind.__name__} for what each does"
        )


def _answers(chip: object, name: str, member: object) -> bool:
    if isinstance(member, property):
        # A property of the chip's own class is not asked for its value: reading it may cost, or touch the hardware.
        own = next((vars(one)[name] for one in type(chip).__mro__ if name in vars(one)), None)
        return isinstance(own, property) or _asked(chip, name) is not None
    return callable(_asked(chip, name))


def _asked(chip: object, name: str) -> object:
    """An attribute, None where the chip answers with an error of any kind."""
    try:
        return getattr(chip, name, None)
    except Exception:  # whatever the driver raises for a name that it does not know
        return None


# -- what all chips ask of what they are sent, real and complex, simulated and replayed --------------------------------


def light_of_cores(x: ArrayLike, grid: tuple[int, int], modes: int, *, complex_cores: bool = False) -> Array:
    """Light for a grid (p, q) of cores of k `modes`: (p, q, k, B), or (1, q, k, B) and the like, which extend to it."""
    light = _light(x, f"({grid[0]}, {grid[1]}, {modes}, B) or what extends to it")
    rows = light.shape
    if len(rows) != 4 or rows[2] != modes or rows[0] not in (1, grid[0]) or rows[1] not in (1, grid[1]):
        raise ChipError(
            f"light of shape {rows} does not fit this chip; send {(*grid, modes)} and a batch, or what extends to it"
        )
    if light.dtype.kind == "c" and not complex_cores:
        if np.count_nonzero(light.imag):
            raise ChipError("light of real cores is real, and this is complex; fabricate a ComplexChip")
        light = light.real
    return light


def grid_shape(shape: object) -> tuple[int, int]:
    """The size (p, q) of a grid of cores. ChipError for what is none."""
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ChipError("a grid of cores has the shape (p, q), two whole numbers")
    p, q = (whole(size, "a side of a grid of cores", 0, LARGEST) for size in shape)
    return p, q


def detectors(readouts: object) -> tuple[str, ...]:
    """The readouts that a chip is given. ChipError for what is none."""
    known = tuple(dict.fromkeys((*READOUTS, *MESH_READOUTS)))
    if not isinstance(readouts, tuple | list) or not all(isinstance(r, str) and r in known for r in readouts):
        raise ChipError(f"readouts of a chip are some of {known}")
    return tuple(readouts)


def light_of_mesh(x: ArrayLike, modes: int) -> Array:
    """Light for a mesh of N `modes`: (N, B)."""
    light = _light(x, f"({modes}, B)")
    if light.ndim != 2 or light.shape[0] != modes:
        raise ChipError(f"light of shape {light.shape} does not fit this mesh; send ({modes}, B) numbers")
    return light


def _light(x: ArrayLike, shape: str) -> Array:
    """Numbers, finite, up to BRIGHTEST, and at least one vector of them. ChipError otherwise. A GPU is not asked how
    large its numbers are: its chip tells later whether they are finite."""
    light = numbers(x, "light")
    if light.ndim and light.shape[-1] == 0:
        raise ChipError(f"there is no light in an empty batch; send at least one vector, {shape}")
    if namespace(light) is np and light.size:
        least, most = _ends(light)
        if not (least >= -BRIGHTEST and most <= BRIGHTEST):  # of what is no number, too
            brightest = max(-least, most)
            if not np.isfinite(least + most):
                raise NotFinite("light holds values that are not finite; nothing was sent")
            raise NotFinite(f"light holds {brightest:.2g}; a chip takes {BRIGHTEST:g} at most, so scale it")
    return light


def _ends(light: Array) -> tuple[float, float]:
    """The least and the largest real or imaginary part; NaN where one is no number."""
    if light.dtype.kind != "c":
        return float(light.min()), float(light.max())
    if light.ndim and light.flags.c_contiguous:
        return _ends(light.view(light.real.dtype))  # one pass over both parts
    (a, b), (c, d) = _ends(light.real), _ends(light.imag)
    return float(np.minimum(a, c)), float(np.maximum(b, d))


def mask_of_cores(cores: ArrayLike | None, grid: tuple[int, int]) -> Array | None:
    """Which cores (p, q) of a `grid` are probed, as truth values; None: all. ChipError for other shapes."""
    if cores is None:
        return None
    chosen = numbers(cores, "a mask of cores")
    if chosen.shape != grid:
        raise ChipError(f"a mask of cores of shape {chosen.shape} does not fit this chip; give {grid} of True or False")
    some: Array = chosen != 0
    return some
