"""Twins of a chip that somebody else measures: settings and answers as files (`docs/twin.md`).

Tables are CSV, one number a row, or NPZ, by the ending of the path:

    settings.csv    setting, part, column, rail, value      parts u, v: phases, rad; sigma: column 0, its port as rail
    responses.csv   core, setting, output, input, value     amplitudes, relative to the unit input
    phases.csv      core, part, column, rail, value         what to set: u, v, u_sign, v_sign, sigma

NPZ holds the same as arrays: `drive` (M, 2 n), `sigma` (M, k); `responses` (cores, M, k, k); `u`, `v`
(cores, C, k - 1), `u_sign`, `v_sign`, `sigma` (cores, k).
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.chip.protocol import PARTS, Commands
from l2sim.errors import ChipError
from l2sim.given import real
from l2sim.mesh.mesh import Mesh

__all__ = ["read_responses", "read_settings", "write_phases", "write_responses", "write_settings"]

Settings = tuple[Array, Array]
"""Commands (M, 2 n) and sigma (M, k) of M settings."""

SETTINGS = ("setting", "part", "column", "rail", "value")
RESPONSES = ("core", "setting", "output", "input", "value")
PHASES = ("core", "part", "column", "rail", "value")


def write_settings(path: str | Path, mesh: Mesh, settings: Settings) -> None:
    """Write the settings of `l2sim.learn.twin.identify.settings`, in the order in which they are to be commanded."""
    drive, sigma = settings
    if Path(path).suffix == ".npz":
        _save(path, drive=drive, sigma=sigma)
        return
    rows = []
    for m, (phases, ends) in enumerate(zip(drive, sigma)):
        for h, value in enumerate(phases):
            part, at = PARTS[h // mesh.count], h % mesh.count
            rows.append((m, part, mesh.column[at], mesh.rail[at], repr(float(value))))
        rows += [(m, "sigma", 0, port, repr(float(value))) for port, value in enumerate(ends)]
    _write(path, SETTINGS, rows)


def read_settings(path: str | Path, mesh: Mesh) -> Settings:
    """The settings in a file of `write_settings`. ChipError for any other file."""
    if Path(path).suffix == ".npz":
        arrays = _arrays(path, {"drive": (None, 2 * mesh.count), "sigma": (None, mesh.modes)})
        if len(arrays["drive"]) != len(arrays["sigma"]):
            raise ChipError(f"{path} has {len(arrays['drive'])} settings of phases and {len(arrays['sigma'])} of sigma")
        return arrays["drive"], arrays["sigma"]
    places = [(part, c, r) for part in PARTS for c, r in zip(mesh.column, mesh.rail)]
    where = {place: h for h, place in enumerate(places)}
    values: dict[tuple[int, int], float] = {}
    for number, (m, part, column, rail, value) in _rows(path, SETTINGS):
        at = 2 * mesh.count + int(rail) if part == "sigma" else where.get((part, int(column), int(rail)))
        if at is None:
            raise ChipError(f"{path}, line {number}: this mesh has no MZI in {part}, column {column}, rail {rail}")
        values[int(m), at] = float(value)
    table = _filled(path, values, (-1, 2 * mesh.count + mesh.modes))
    return table[:, : 2 * mesh.count], table[:, 2 * mesh.count :]


def write_responses(path: str | Path, responses: Array) -> None:
    """Write measured responses (cores, M, k, k) as [output, input]."""
    if Path(path).suffix == ".npz":
        _save(path, responses=responses)
        return
    _write(path, RESPONSES, ((*at, repr(float(value))) for at, value in np.ndenumerate(responses)))


def read_responses(path: str | Path, k: int, settings: int) -> Array:
    """Responses (cores, M, k, k) of `settings` settings. ChipError where some are missing or out of range."""
    if Path(path).suffix == ".npz":
        return _arrays(path, {"responses": (None, settings, k, k)})["responses"]
    values: dict[tuple[int, int], float] = {}
    for number, (core, m, row, column, value) in _rows(path, RESPONSES):
        if not (0 <= int(m) < settings and 0 <= int(row) < k and 0 <= int(column) < k):
            raise ChipError(f"{path}, line {number}: need settings below {settings}, outputs and inputs below {k}")
        values[int(core), (int(m) * k + int(row)) * k + int(column)] = float(value)
    return _filled(path, values, (-1, settings * k * k)).reshape(-1, settings, k, k)


def write_phases(path: str | Path, mesh: Mesh, commands: Commands, sigma: Array) -> None:
    """Write what to set: commands and sigma as `l2sim.learn.twin.program.program` gives them."""
    k = mesh.modes
    arrays: dict[str, Array] = {part: commands.phases[part].reshape(-1, *mesh.shape) for part in PARTS}
    arrays |= {f"{part}_sign": commands.signs[part].reshape(-1, k) for part in PARTS} | {"sigma": sigma.reshape(-1, k)}
    if Path(path).suffix == ".npz":
        _save(path, **arrays)
        return
    rows = []
    for part, values in arrays.items():
        for at, value in np.ndenumerate(values):
            if part not in PARTS:
                rows.append((at[0], part, 0, at[1], repr(float(value))))
            elif mesh.mask[at[1:]]:
                rows.append((at[0], part, at[1], at[2], repr(float(value))))
    _write(path, PHASES, rows)


def _write(path: str | Path, names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    files.write(Path(path), text.getvalue().encode(), refuse=ChipError)


def _save(path: str | Path, **arrays: Array) -> None:
    with files.replacing(Path(path), refuse=ChipError) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _rows(path: str | Path, names: tuple[str, ...]) -> Iterable[tuple[int, list[str]]]:
    """Numbered lines of a table with these columns, every one checked to hold numbers where it should."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ChipError(f"{path} cannot be read ({type(error).__name__}); give a CSV or NPZ file") from None
    if not lines or tuple(cell.strip() for cell in lines[0]) != names:
        raise ChipError(f"{path} must begin with the line {','.join(names)}")
    for number, line in enumerate(lines[1:], 2):
        try:
            numbers = [float(cell) for name, cell in zip(names, line, strict=True) if name != "part"]
            if not np.isfinite(numbers).all() or any(x != int(x) for x in numbers[:-1]):
                raise ValueError
        except ValueError:
            raise ChipError(f"{path}, line {number}: {','.join(line)!r} is not a row of {','.join(names)}") from None
        yield number, line


def _filled(path: str | Path, values: dict[tuple[int, int], float], shape: tuple[int, int]) -> Array:
    """A table (rows, shape[1]) of every value, as many rows as there are. ChipError where one is missing."""
    count = 1 + max((row for row, _ in values), default=-1)
    table = np.full((count, shape[1]), np.nan)
    for at, value in values.items():
        table[at] = value
    if np.isnan(table).any() or not count:
        missing = int(np.isnan(table).sum())
        raise ChipError(f"{path} is incomplete: {missing} values are missing; export it again, whole")
    return table


def _arrays(path: str | Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, Array]:
    """Real, finite arrays of these names and shapes (None: one or more) in float64. ChipError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ChipError(f"{path} is no NPZ file with {', '.join(shapes)} ({type(error).__name__})") from None
    for name, shape in shapes.items():
        arrays[name] = values = real(arrays[name], f"{path}: {name}").astype(np.float64)
        fits = values.ndim == len(shape) and all(b in (None, a) for a, b in zip(values.shape, shape))
        if not fits or not len(values):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ChipError(f"{path}: {name} of shape {values.shape} does not fit this mesh; it must be ({wanted})")
    return arrays
