"""Every heater of a layer or of the whole chip: which do not answer, are at V_max, and take most power.

All of it a lab has too: commands, the data sheet of the job, and readings, here of the chips made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.devices import TABLES
from l2sim.chip.protocol import PARTS, PHASES
from l2sim.errors import NotFinite, RunError
from l2sim.inspect import bench
from l2sim.inspect.bench import SILENT, Heater
from l2sim.inspect.diagnose import Place, heater_name
from l2sim.inspect.drive import drive
from l2sim.inspect.run import Recorded
from l2sim.job.grids import Grid

BRIGHT = 20
"""Heaters that are named because none takes more power."""
NAMED = 1000
"""Heaters that are named at most because they are at V_max, those with most power: the layers count all of them."""


class Cost(msgspec.Struct, frozen=True):
    """What asking every heater takes: cores, heaters, and core calls where all of them answer."""

    cores: int
    heaters: int
    core_calls: int


class Singled(msgspec.Struct, frozen=True):
    """A heater that stands out, as `bench.Heater`, and its `name` in words: `silent` does not answer, `share` it makes
    of the change that it should, `v_max` is driven with V_max, `milliwatts` that hold its phase."""

    layer: str
    core: int
    part: str
    kind: str
    number: int
    name: str
    silent: bool
    share: float
    v_max: bool
    milliwatts: float


class OfLayer(msgspec.Struct, frozen=True):
    """All heaters of a layer: how many, how many of them do not answer and are at V_max, and their milliwatts."""

    layer: str
    cores: int
    heaters: int
    silent: int
    v_max: int
    milliwatts: float


class EveryHeater(msgspec.Struct, frozen=True):
    """The heaters that stand out, those that do not answer first, then those at V_max, by falling power; all of every
    layer; the core calls that this took; `table` of devices, by which power is estimated, and the `step`."""

    rows: list[Singled]
    layers: list[OfLayer]
    core_calls: int
    table: str
    step: int | None


Said = Callable[[str], object]
"""Takes how far it is, in words."""


def cost(grids: dict[str, Grid], layer: str = "") -> Cost:
    """What asking every heater of a layer takes, or of all."""
    cores = heaters = calls = 0
    for name, grid in grids.items():
        if layer in ("", name):
            own, count = _heaters(grid), grid.p * grid.q
            cores, heaters = cores + count, heaters + count * own
            calls += count * bench.least_calls(grid.k, own)
    return Cost(cores, heaters, calls)


def in_words(of: Cost) -> str:
    """What it takes, before it begins."""
    cores = f"{of.cores:,} core{'s' * (of.cores != 1)}"
    return f"{of.heaters:,} heaters of {cores}, at least {of.core_calls:,} core calls"


def every_heater(run: Recorded, layer: str = "", step: int | None = None, said: Said | None = None) -> EveryHeater:
    """Ask every heater of a layer, or of all. RunError before there is a chip, and of one that is not simulated."""
    if layer and layer not in run.grids:
        raise RunError(f"{run.folder} has no layer {layer!r}; it has {', '.join(run.grids)}")
    if not run.readable:
        raise RunError("this chip is not simulated: ask its heaters on the chip itself")
    table, whole = run.job_at(step).cost.table, cost(run.grids, layer)
    said = said or str
    said(in_words(whole))
    done = calls = 0
    rows: list[Singled] = []
    layers: list[OfLayer] = []
    for name in [layer] if layer else run.grids:
        at, grid = Place(run, name, 0, step), run.grids[name]
        shares = {kind: np.full((grid.p * grid.q, size), np.nan) for kind, size in _sizes(grid).items()}
        for core in range(grid.p * grid.q):
            before = calls
            for heater, share, so_far in bench.answers(_bench(replace(at, core=core))):
                shares[heater.part or heater.kind][core, heater.number] = share
                done, calls = done + 1, before + so_far
                said(f"{done:,} of {whole.heaters:,} heaters, {calls:,} core calls")
        named, summary = _of_layer(at, shares, TABLES[table].pi_w)
        rows, layers = rows + named, [*layers, summary]
    return EveryHeater(_foremost(rows), layers, calls, table, step)


def words(every: EveryHeater) -> list[str]:
    """What was found, as lines of text."""
    lines = [f"Every heater, {every.core_calls:,} core calls [measured]; power by the table {every.table} [estimated]"]
    for row in every.layers:
        lines.append(
            f"  {row.layer}: {row.heaters:,} heaters of {row.cores:,} cores take {row.milliwatts:,.0f} mW; "
            f"{row.silent:,} {'does' if row.silent == 1 else 'do'} not answer, {row.v_max:,} at V_max"
        )
    lines += [f"  {row.layer} core {row.core} {row.name}: {why(row)}, {row.milliwatts:.3g} mW" for row in every.rows]
    return lines


def why(row: Singled) -> str:
    """Why a heater is named."""
    reasons = [word for word, so in (("no answer", row.silent), ("at V_max", row.v_max)) if so]
    return ", ".join(reasons) or "most power"


# -- inside ------------------------------------------------------------------------------------------------------------


def _bench(at: Place) -> bench.Bench:
    """A core on the bench. RunError, with its name, where it was commanded what is no number."""
    try:
        return at.bench()
    except NotFinite as error:
        where = f"{at.layer} core {at.core}"
        raise RunError(f"{where} cannot be asked: {error}; choose another layer or an earlier step") from None


def _sizes(grid: Grid) -> dict[str, int]:
    """Phases of one core or of a whole mesh, by part or kind."""
    count = grid.mesh.count
    return dict(zip(PHASES, (count, count, grid.k))) if grid.whole else dict.fromkeys(PARTS, count)


def _heaters(grid: Grid) -> int:
    """Heaters of one core or of a whole mesh: passive couplers have none."""
    passive = 2 * int(np.count_nonzero(~grid.mesh.active)) if grid.whole else 0
    return sum(_sizes(grid).values()) - passive


def _of_layer(at: Place, shares: dict[str, Array], pi_w: float) -> tuple[list[Singled], OfLayer]:
    """The heaters of a layer that stand out, and all together."""
    grid, rows = at.run.grids[at.layer], list[Singled]()
    silent = full = 0
    milliwatts = 0.0
    for kind, share in shares.items():
        frame = at.run.frame(naming.name(at.layer, kind, "phases"), at.step)
        assert frame is not None, "a chip that was read was commanded"
        asked, mute = np.isfinite(share), share < SILENT
        driven = drive(frame.values.reshape(share.shape), at.imperfect, pi_w)
        power = np.where(asked, np.nan_to_num(driven.milliwatts), 0.0)
        high = asked & (driven.room == 0.0) if driven.room is not None else np.zeros(share.shape, bool)
        silent, full = silent + int(mute.sum()), full + int(high.sum())
        milliwatts += float(power.sum())
        for core, number in _standing_out(power, high, mute):
            heater = Heater("", kind, number) if grid.whole else Heater(kind, "theta", number)
            i = core, number
            rows.append(Singled(
                at.layer, core, *heater, heater_name(at, heater), bool(mute[i]), float(share[i]), bool(high[i]),
                float(power[i]),
            ))  # fmt: skip
    cores = grid.p * grid.q
    return rows, OfLayer(at.layer, cores, cores * _heaters(grid), silent, full, milliwatts)


def _standing_out(power: Array, high: Array, mute: Array) -> list[tuple[int, int]]:
    """(core, number) of those that do not answer, are at V_max, or are among those with most power."""
    order = np.argsort(-power, axis=None, kind="stable")
    at_end = order[high.reshape(-1)[order]][:NAMED]
    chosen = np.unique(np.concatenate([np.flatnonzero(mute), at_end, order[:BRIGHT]]))
    return [divmod(int(i), power.shape[1]) for i in chosen]


def _foremost(rows: list[Singled]) -> list[Singled]:
    """Those that are named, in their order."""
    rows = sorted(rows, key=lambda row: (not row.silent, not row.v_max, -row.milliwatts))
    bright = set(sorted(range(len(rows)), key=lambda at: -rows[at].milliwatts)[:BRIGHT])
    most = NAMED + sum(row.silent for row in rows)
    return [row for at, row in enumerate(rows) if at in bright or (at < most and (row.silent or row.v_max))]
