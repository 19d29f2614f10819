"""Twins of a chip that somebody else measures: settings and answers as files (`docs/twin.md`).

Tables are CSV, one number a row, or NPZ, by the ending of the path:

    settings.csv    setting, part, column, rail, value      parts u, v: phases, rad; sigma: column 0, its port as rail
    responses.csv   core, setting, output, input, value     amplitudes, relative to the unit input
    phases.csv      core, part, column, rail, value         what to set: u, v, u_sign, v_sign, sigma

NPZ holds the same as arrays: `drive` (M, 2 n), `sigma` (M, k); `responses` (cores, M, k, k); `u`, `v`
(cores, C, k - 1), `u_sign`, `v_sign`, `sigma` (cores, k). Both are checked alike: real, finite, of the shape of this
mesh, every value there once and no others. `l2sim.tables` says how tables may be written.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from l2sim import files, given, tables
from l2sim.backend import Array
from l2sim.chip.protocol import PARTS, Commands
from l2sim.errors import ChipError
from l2sim.given import reals
from l2sim.mesh.mesh import LARGEST, Mesh

__all__ = ["read_responses", "read_settings", "write_phases", "write_responses", "write_settings"]

Settings = tuple[Array, Array]
"""Driven phases (M, 2 n) and sigma (M, k) of M settings."""

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
    """The settings in a file of `write_settings`. ChipError for any other file, with the place that is wrong."""
    width = 2 * mesh.count + mesh.modes
    if Path(path).suffix == ".npz":
        drive, sigma = _arrays(path, {"drive": (-1, 2 * mesh.count), "sigma": (-1, mesh.modes)})
        if len(drive) != len(sigma):
            raise ChipError(f"{path}: drive has {len(drive)} settings and sigma {len(sigma)}; export it again, whole")
        return drive, sigma
    places = [(part, c, r) for part in PARTS for c, r in zip(mesh.column, mesh.rail)]
    where: dict[tuple[str, int, int], int] = {place: h for h, place in enumerate(places)}
    where |= {("sigma", 0, port): 2 * mesh.count + port for port in range(mesh.modes)}

    def place(row: tables.Row) -> tuple[int, int]:
        part, column, rail = row.cells["part"], row.whole("column"), row.whole("rail")
        at = where.get((part, column, rail))
        if at is None:
            raise row.problem("part", f"this mesh has nothing in {part!r}, column {column}, rail {rail}")
        return row.whole("setting"), at

    table = _filled(path, SETTINGS, place, width)
    return table[:, : 2 * mesh.count], table[:, 2 * mesh.count :]


def write_responses(path: str | Path, responses: Array) -> None:
    """Write measured responses (cores, M, k, k) as [output, input]."""
    if Path(path).suffix == ".npz":
        _save(path, responses=responses)
        return
    _write(path, RESPONSES, ((*at, repr(float(value))) for at, value in np.ndenumerate(responses)))


def read_responses(path: str | Path, k: int, settings: int) -> Array:
    """Responses (cores, M, k, k) of `settings` settings. ChipError for any other file, with the place that is wrong."""
    path, k = given.path(path, "a file of responses"), given.whole(k, "k, the modes of a core,", 1, LARGEST)
    settings = given.whole(settings, "the number of settings", 1, LARGEST**2)
    if path.suffix == ".npz":
        return _arrays(path, {"responses": (-1, settings, k, k)})[0]

    def place(row: tables.Row) -> tuple[int, int]:
        core, m = row.whole("core"), row.whole("setting", settings)
        return core, (m * k + row.whole("output", k)) * k + row.whole("input", k)

    return _filled(path, RESPONSES, place, settings * k * k).reshape(-1, settings, k, k)


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


def _filled(
    path: str | Path, columns: tuple[str, ...], place: Callable[[tables.Row], tuple[int, int]], width: int
) -> Array:
    """The column `value` as a table (rows, width), each at its `place`. ChipError where one is missing, or twice."""
    seen: dict[tuple[int, int], tuple[float, int]] = {}
    for row in tables.rows(path, columns):
        at = place(row)
        if at in seen:
            raise row.problem("value", f"this value was given in line {seen[at][1]} already; leave one of them")
        seen[at] = row.number("value"), row.line
    count = 1 + max((row for row, _ in seen), default=-1)
    if not seen or len(seen) < count * width:
        least = next(row for row in range(count + 1) if any((row, at) not in seen for at in range(width)))
        raise ChipError(
            f"{path} is incomplete: {max(count, 1) * width - len(seen)} of {max(count, 1) * width} values are missing, "
            f"the first of {columns[0]} {least}; export it again, whole"
        )
    table = np.empty((count, width))
    for at, (value, _) in seen.items():
        table[at] = value
    return table


def _arrays(path: str | Path, shapes: dict[str, tuple[int, ...]]) -> list[Array]:
    """The arrays of an NPZ file that has exactly these, real and finite; -1 is any length but none."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ChipError(f"{path} is no NPZ file with {', '.join(shapes)} ({type(error).__name__})") from None
    if arrays.keys() != shapes.keys():
        raise ChipError(f"{path} holds {', '.join(arrays) or 'nothing'}; it must hold {', '.join(shapes)} and no more")
    checked = []
    for name, shape in shapes.items():
        values, what = arrays[name], f"{path}, array {name}"
        values = reals(values, what).astype(np.float64)
        if len(values.shape) != len(shape) or any(n not in (of, -1) for of, n in zip(values.shape, shape)):
            wanted = str(shape).replace("-1", "any")
            raise ChipError(f"{what} has the shape {values.shape}; this mesh needs {wanted}")
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong) or not values.size:
            at = f"{tuple(map(int, wrong[0]))} is not finite" if len(wrong) else "is empty"
            raise ChipError(f"{what}: {at}; measure it again")
        checked.append(values)
    return checked
