"""Devices one by one: what is known, or wished, of single heaters, couplers and arms takes the place of what is drawn.

Arrays by name, in units of physics. Of cores a name begins with the part, "u.bias"; of a whole mesh it stands alone. M
cores of n heaters (of attenuators, "sigma", k); a whole mesh has one row, which may be left out, its heaters being
theta, phi and the screen.

    bias         (M, n)        rad, that adds to a driven phase, beside that of the curve at 0 V
    ratio        (M, n)        efficiency of a heater over the nominal one
    dead         (M, n) bool, or whole numbers that count heaters row by row: they do not heat
    stuck_at     (M, n)        rad, the phase that a heater always holds; NaN where it obeys
    curve        (M, n, V)     rad, own phase of each heater at `curve_volts` (V,), V, which rise from 0 to v_max or
                               more; between them it goes linearly. For a drive of voltages
    splitters    (M, 2, c)     rad, errors of the left and right splitters of c couplers
    loss         (M, 4, c)     dB of theta's arm, the one below, phi's and the one below it

In the file that `nonidealities.devices` names, the chip stands in front: "conv1.u.bias", and a column `layer`; but what
has no layer in front is of every chip. A run keeps what it read in its checkpoints.

An npz file holds such arrays. A CSV file has a row for each heater that it says something of: `heater`, of cores also
`part` and `core`, and any of bias, ratio, dead (1 or 0) and stuck_at; an empty cell leaves what was drawn. Heaters that
are dead or stuck here are so beside those that the shares `dead` and `stuck` draw.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from l2sim import given as checks
from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.fabrication import Chain
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts.heat import STEPS
from l2sim.chip.protocol import PARTS
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

HEATERS = ("bias", "ratio", "dead", "stuck_at", "curve")
COUPLERS = ("splitters", "loss")
VOLTS = "curve_volts"
OF_SIGMA = ("bias", "ratio")
"""What may be given of attenuators."""
WHOLE = "mesh"
"""The part of a whole mesh among arrays at rest."""
HIGHEST = {"bias": 1e3, "ratio": 100.0, "stuck_at": 1e3, "curve": 1e4, "splitters": np.pi, "loss": 1e3}
"""Beyond this, either way, a number is no such thing; ours."""

KEPT = "given_"
"""What kinds of arrays at rest begin with that were given."""

Given = Mapping[str, ArrayLike] | str | os.PathLike[str] | None
"""Arrays by name, or the file that holds them."""
Sizes = Mapping[str, tuple[int, int]]
"""(M, n) by part; the part of a whole mesh is ""."""


class Devices:
    """What is given of a chip's devices, checked: `heaters` (M, n) and `couplers` (M, c) by part."""

    def __init__(self, given: Given, heaters: Sizes, couplers: Sizes, layer: str = "", file: str = "") -> None:
        self._arrays: dict[str, Array] = {}
        self._sizes, self._layer, self.file = (heaters, couplers), layer, file
        layer = layer if file else ""
        if given is None:
            return
        table = isinstance(given, str | os.PathLike) and Path(given).suffix.lower() == ".csv"
        sparse = table or isinstance(given, Kept)
        named = _read(Path(given), heaters, layer) if isinstance(given, str | os.PathLike) else dict(given)
        for name, values in _of_layer(named, layer, heaters).items():
            part, _, kind = name.rpartition(".")
            known = (kind in HEATERS and part in heaters) or (kind in COUPLERS and part in couplers)
            if part == "sigma":
                known = kind in OF_SIGMA
            if name == VOLTS:
                self._arrays[name] = checks.finite(values, _what(name))
            elif not known:
                raise ChipError(f"nothing of a device is called {name!r}; this chip knows {_names(heaters, couplers)}")
            else:
                size = (heaters if kind in HEATERS else couplers)[part]
                fit = _dead(name, values, size) if kind == "dead" else _fit(name, values, size, sparse)
                self._arrays[name] = fit
        self._check_volts()

    @classmethod
    def of_cores(cls, given: Given, cores: int, mesh: Mesh, layer: str, *, couplers: bool) -> Devices:
        """What is given of a grid of so many cores; without `couplers` these are not spoken of, for real cores have
        none of their own."""
        size = cores, mesh.count
        heaters = {**dict.fromkeys(PARTS, size), "sigma": (cores, mesh.modes)}
        every = dict.fromkeys(PARTS, (cores, mesh.mzis.count))
        return cls(given, heaters, every if couplers else {}, layer)

    def __bool__(self) -> bool:
        return bool(self._arrays)

    def _check_volts(self) -> None:
        curves = [name for name in self._arrays if name.rpartition(".")[2] == "curve"]
        volts = self._arrays.get(VOLTS)
        if not curves and volts is None:
            return
        if not curves or volts is None:
            raise ChipError(f"own curves of heaters need both {VOLTS} and curve; give the one that is missing")
        if volts.ndim != 1 or volts.size < 2 or volts[0] != 0.0 or (np.diff(volts) <= 0.0).any():
            raise ChipError(f"{VOLTS} must be two or more voltages that rise from 0")
        for name in curves:
            if self._arrays[name].shape[-1] != volts.size:
                raise ChipError(f"{_what(name)} has {self._arrays[name].shape[-1]} phases a heater for {volts.size} V")

    def renewed(self, file: str) -> Devices:
        """These, or what another `file` of a data sheet holds; "" is the one that names none."""
        if file == self.file:
            return self
        return Devices(file or None, *self._sizes, self._layer, file)

    def arrays(self) -> dict[str, Array]:
        """What a checkpoint keeps: PART.given_KIND."""
        out = {}
        for name, array in self._arrays.items():
            part, _, kind = name.rpartition(".")
            out[naming.name(part or WHOLE, KEPT + kind)] = array.astype(float)
        return out

    def become(self, arrays: Mapping[str, Array]) -> Devices:
        """What `arrays` gave; these where it has nothing of the kind."""
        own = kept(arrays)
        return Devices(own, *self._sizes, self._layer, self.file) if own else self

    def _of(self, part: str, kind: str) -> Array | None:
        return self._arrays.get(f"{part}.{kind}" if part else kind)

    def chain(self, part: str, chain: Chain, sheet: Nonidealities) -> Chain:
        """The noise chain of a part (`kernels.chain`) with what is given."""
        ratio, fixed, bias = chain[:3]
        own, dead, stuck = (self._of(part, kind) for kind in ("ratio", "dead", "stuck_at"))
        ratio = ratio if own is None else np.where(np.isnan(own), ratio, own).astype(ratio.dtype)
        fixed = fixed if stuck is None else np.where(np.isnan(stuck), fixed, stuck).astype(fixed.dtype)
        fixed = fixed if dead is None else np.where(dead, 0.0, fixed).astype(fixed.dtype)
        added, curve = self._of(part, "bias"), self._of(part, "curve")
        if added is not None:
            bias = np.where(np.isnan(added), bias, sheet.offset + added).astype(bias.dtype)
        if curve is not None:
            bias = (bias + np.remainder(curve[..., 0] - sheet.offset + np.pi, 2 * np.pi) - np.pi).astype(bias.dtype)
        return ratio, fixed, bias, *chain[3:]

    def curves(self, sheet: Nonidealities) -> dict[str, Array]:
        """Own curves (M, n, P + 1) by part, as `parts.heat.parameters` takes them. ChipError for a drive that has no
        use for them, or reaches further."""
        names = [name for name in self._arrays if name.rpartition(".")[2] == "curve"]
        if not names:
            return {}
        volts = self._arrays[VOLTS]
        if sheet.drive != "voltage":
            raise ChipError("own curves of heaters need nonidealities.drive = 'voltage'; this chip drives phases")
        if volts[-1] < sheet.v_max:
            reach = f"{VOLTS} ends at {volts[-1]:g} V"
            raise ChipError(f"{reach}, below nonidealities.v_max = {sheet.v_max:g} V; lower that")
        at = np.linspace(0.0, sheet.v_max, STEPS + 1)
        low = np.clip(np.searchsorted(volts, at, side="right") - 1, 0, volts.size - 2)
        part = (at - volts[low]) / np.diff(volts)[low]
        out = {}
        for name in names:
            curve = self._arrays[name] - self._arrays[name][..., :1]
            out[name.rpartition(".")[0]] = curve[..., low] * (1.0 - part) + curve[..., low + 1] * part
        return out

    def splitters(self, part: str) -> Array | None:
        """Errors of the splitters of a part (M, 2, c), rad; None where none are given."""
        return self._of(part, "splitters")

    def arms(self, part: str, amplitudes: Array) -> Array:
        """`amplitudes` (M, 4, c) of the arms of a part, or those of the losses that are given."""
        loss = self._of(part, "loss")
        return amplitudes if loss is None else (10.0 ** (-loss / 20.0)).astype(amplitudes.dtype)

    def attenuators(self, ratio: Array, tilt: Array | None) -> tuple[Array, Array | None]:
        """`ratio` and offsets of attenuators, with what is given."""
        own, added = self._of("sigma", "ratio"), self._of("sigma", "bias")
        if own is not None:
            ratio = np.where(np.isnan(own), ratio, own)
        if added is not None:
            tilt = np.where(np.isnan(added), 0.0 if tilt is None else tilt, added)
        return ratio, tilt

    @property
    def passive(self) -> bool:
        """Whether something of couplers or arms is given, which makes cores complex."""
        return any(name.rpartition(".")[2] in COUPLERS for name in self._arrays)


class Kept(dict[str, Array]):
    """Arrays by name that were checked once: NaN is where a table had said nothing."""


def kept(arrays: Mapping[str, Array]) -> Kept:
    """What was given, by name, of the arrays of one chip at rest."""
    own = Kept()
    for name, array in arrays.items():
        part, _, kind = name.rpartition(".")
        if kind.startswith(KEPT):
            part, kind = "" if part == WHOLE else part, kind.removeprefix(KEPT)
            own[f"{part}.{kind}".lstrip(".")] = array.astype(bool) if kind == "dead" else array
    return own


def of_core(given: Kept, row: int) -> Kept:
    """What is given of one core of a grid, as a chip of it alone takes it."""
    return Kept({name: a if name == VOLTS else a[row : row + 1] for name, a in given.items()})


def _of_layer(named: Mapping[str, ArrayLike], layer: str, heaters: Sizes) -> dict[str, ArrayLike]:
    """Names as this chip knows them: without the layer in front; those of other layers are left out."""
    if not layer:
        return dict(named)
    own = {name.removeprefix(f"{layer}."): a for name, a in named.items() if name.startswith(f"{layer}.")}
    return {name: a for name, a in named.items() if _of_all(name, heaters)} | own


def _of_all(name: str, heaters: Sizes) -> bool:
    """Whether a name is of every chip: no layer stands in front."""
    return name == VOLTS or (not name.endswith(f".{VOLTS}") and name.count(".") <= (0 if "" in heaters else 1))


def check_layers(file: str, layers: Collection[str], whole: bool) -> None:
    """ChipError where a file of devices names a layer that is none of `layers`; `whole`: of whole meshes."""
    if not file:
        return
    heaters: Sizes = {"": (0, 0)} if whole else {}
    for name in _names_in(Path(file)):
        if not _of_all(name, heaters) and not any(name.startswith(f"{layer}.") for layer in layers):
            raise ChipError(f"{file} has {name!r}, of no layer of this network; its layers are {', '.join(layers)}")


def _names_in(path: Path) -> list[str]:
    """The names in a file of arrays; those of layers in a table."""
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8") as table:
            layers = {(row.get("layer") or "").strip() for row in csv.DictReader(table)}
        return [f"{layer}.u.bias" for layer in sorted(layers - {""})]
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return list(file.files)


def _what(name: str) -> str:
    return f"{name} of devices"


def _names(heaters: Sizes, couplers: Sizes) -> str:
    names = [f"{part}.{kind}".lstrip(".") for part in heaters for kind in (OF_SIGMA if part == "sigma" else HEATERS)]
    return ", ".join([*names, *(f"{part}.{kind}".lstrip(".") for part in couplers for kind in COUPLERS), VOLTS])


def _fit(name: str, values: ArrayLike, size: tuple[int, int], sparse: bool) -> Array:
    """The values of `name` as an array of the shape of `size`; NaN stays where it may be."""
    kind = name.rpartition(".")[2]
    array = np.asarray(checks.reals(values, _what(name)), float)
    more = {"splitters": (2,), "loss": (4,)}.get(kind, ())
    wanted: tuple[int, ...] = (size[0], *more, size[1])
    if kind == "curve":
        wanted = (*wanted, -1)
    if size[0] == 1 and array.ndim == len(wanted) - 1:
        array = array[None]
    if array.ndim != len(wanted) or any(a != b for a, b in zip(array.shape, wanted) if b >= 0):
        sizes = ", ".join("V" if n < 0 else str(n) for n in wanted)
        raise ChipError(f"{_what(name)} has shape {array.shape}; this chip takes ({sizes})")
    free = np.isnan(array) if kind == "stuck_at" or (sparse and kind in ("bias", "ratio")) else np.zeros(1, bool)
    if not (free | (np.abs(array) <= HIGHEST[kind])).all() or (kind in ("ratio", "loss") and (array < 0.0).any()):
        sign = "from 0" if kind in ("ratio", "loss") else f"from {-HIGHEST[kind]:.4g}"
        raise ChipError(f"{_what(name)} has values that are none; use numbers {sign} to {HIGHEST[kind]:.4g}")
    return array


def _dead(name: str, values: ArrayLike, size: tuple[int, int]) -> Array:
    """Which heaters are dead, (M, n), from a mask or from their numbers."""
    array, count = np.asarray(values), size[0] * size[1]
    if array.size == count and (array.dtype == bool or np.isin(array, (0.0, 1.0)).all()) and array.shape != (count,):
        return np.asarray(array.reshape(size), bool)
    if array.dtype == bool and array.shape == (count,):
        return array.reshape(size)
    whole = array.size == 0 or np.issubdtype(array.dtype, np.integer)
    if array.ndim != 1 or not whole or ((array < 0) | (array >= count)).any():
        raise ChipError(f"{_what(name)} must be a mask of shape {size}, or numbers of heaters from 0 to {count - 1}")
    out = np.zeros(count, bool)
    out[array.astype(np.int64)] = True
    return out.reshape(size)


def _read(path: Path, heaters: Sizes, layer: str) -> dict[str, ArrayLike]:
    """The arrays of a file, of a table those of `layer`. ChipError where it is none."""
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8") as table:
                return _table(list(csv.DictReader(table)), heaters, layer)
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        why = " ".join(str(error).split())
        cure = "give an npz of arrays, or a CSV with a column heater"
        raise ChipError(f"{path} holds no devices: {why}; {cure}") from None


def _table(rows: list[dict[str, str]], heaters: Sizes, layer: str) -> dict[str, ArrayLike]:
    """Rows of a CSV file as arrays; NaN where nothing is said."""
    out: dict[str, Array] = {}
    for number, row in enumerate(rows, 2):
        where, part = f"line {number}", (row.get("part") or "").strip()
        if layer and (row.get("layer") or "").strip() not in ("", layer):
            continue
        if part not in heaters:
            raise ValueError(f"{where} has part {part!r}; use {', '.join(map(repr, heaters))}")
        size = heaters[part]
        core, heater = int(row.get("core") or 0), int(row["heater"] or -1) if "heater" in row else -1
        if not (0 <= core < size[0] and 0 <= heater < size[1]):
            raise ValueError(f"{where} is of core {core}, heater {heater}; there are {size[0]} of {size[1]}")
        for kind, text in row.items():
            if kind in ("layer", "part", "core", "heater") or not (text or "").strip():
                continue
            if kind not in HEATERS[:4]:
                raise ValueError(f"{where} has a column {kind!r}; use {', '.join(HEATERS[:4])}")
            name = f"{part}.{kind}".lstrip(".")
            if name not in out:
                out[name] = np.zeros(size, bool) if kind == "dead" else np.full(size, np.nan)
            out[name][core, heater] = float(text)
    return dict(out)
