"""What `l2sim diagnose` finds, as plain numbers for programs and as sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import msgspec

from l2sim.inspect import bench, budget, diagnose, every_heater, layers
from l2sim.inspect.bench import Heater
from l2sim.inspect.diagnose import Place
from l2sim.inspect.run import Recorded

PARTS = ("worst", "budget", "heaters", "movement", "detectors", "layers", "sweep", "every_heater")
"""What can be asked for."""
BY_ITSELF = ("sweep", "every_heater")
"""What no whole report has."""
RECORDED = ("heaters", "movement")
"""What the logs tell of a chip that is not simulated."""
ALONE, LEFT = 0.1, 0.5
"""The search alone, or it too, limits a core where the best phases would leave less than this share of the error."""
ROUNDING = 1e-12
"""Squared, relative errors below this are rounding: some eight single precision steps, squared (ours)."""
BLAMED = 0.3
"""A non-ideality limits it where it is at least this share of what they leave."""


# What programs are told, as far as it is put into words here; `l2sim diagnose --json` prints all of it.


class Where(TypedDict, total=False):
    """What a diagnosis is of: a core of a layer, the step (None: the newest) and its stage; of a sweep the `heater` in
    words; of a budget the step it was `mapped` at, which error it is of and what noise is `left_out`; a `note`."""

    run: str
    layer: str
    core: int
    cores: int
    step: int | None
    stage: str
    heater: str
    mapped: int | None
    measure: str
    left_out: list[str]
    note: str


class Row(TypedDict):
    """A row of a budget, as `budget.Term`; None is no number."""

    name: str
    error: float | None
    tuned: float | None
    alone: float | None
    gain: float | None


class SweptHeater(TypedDict):
    """Which heater was swept."""

    part: str
    kind: str
    number: int


class CurveFound(TypedDict):
    """A sweep, as `bench.Sweep`."""

    heater: SweptHeater
    readout: str
    port: int
    amplitude: list[float]
    peak: list[float]
    visibility: list[float]
    residual: list[float]
    ratio: float | None
    answers: bool
    core_calls: int


class LayerRow(TypedDict):
    """Heaters of a layer, as `diagnose.LayerPower`."""

    layer: str
    heaters: int
    total: float
    v_max: int


class CoreRow(TypedDict):
    """Heaters of one kind of a core, as `diagnose.Driven`."""

    part: str
    kind: str
    phase: list[float]
    power: list[float]
    v_max: list[bool]


class NamedHeater(TypedDict, total=False):
    """A heater, also in words, and the `fate` of one that is broken."""

    heater: SweptHeater
    name: str
    fate: str


class HeatersFound(TypedDict):
    """The heaters of a core, as `diagnose.HeaterFindings`."""

    unit: str
    core: list[CoreRow]
    layers: list[LayerRow]
    silent: list[NamedHeater] | None
    faults: list[NamedHeater]
    simulated: bool
    meter: dict[str, dict[str, int]]
    spent: dict[str, Sequence[float]]


class MovedPart(TypedDict):
    """How far the phases of one part moved, as `diagnose.Moved`."""

    part: str
    rms: float
    median: float | None
    name: str
    by: float


class MovedStage(TypedDict):
    """How far phases moved in a stage, as `diagnose.StageMovement`."""

    stage: str
    parts: list[MovedPart]


class DetectorsFound(TypedDict):
    """Detectors, as `diagnose.DetectorFindings`."""

    floor: list[float]
    compression: float | None
    sure: float | None
    error: float | None
    sheet: float


class LayerTried(TypedDict):
    """Accuracy with a layer ideal, as `layers.Tried`."""

    layer: str
    accuracy: float
    gain: float


class LayersFound(TypedDict):
    """Layers made ideal in turn, as `layers.Layers`."""

    stage: str
    samples: int
    rows: list[LayerTried]


class Found(TypedDict, total=False):
    """What was asked for, with the `place` it is of and the `badges` that say where each part comes from."""

    place: Where
    badges: dict[str, str]
    worst: list[tuple[str, int, float | None]]
    budget: list[Row]
    heaters: HeatersFound
    movement: list[MovedStage]
    detectors: DetectorsFound
    layers: LayersFound
    sweep: CurveFound
    every_heater: object


def find(
    folder: Path,
    only: str = "",
    *,
    layer: str = "",
    core: int | None = None,
    step: int | None = None,
    heater: Heater | None = None,
    readout: str = "quadrature",
    data: Path | None = None,
    said: every_heater.Said | None = None,
) -> Found:
    """One part of `PARTS`, or a whole report; of the worst core where none is named. Every heater is of all layers
    where none is named, and `said` takes how far that is. Raises L2simError."""
    if only == "every_heater":
        every = every_heater.every_heater(Recorded(folder), layer, step, said)
        return cast(Found, bench.plain({"badges": diagnose.BADGES, only: every}))
    if only == "layers":
        return cast(Found, bench.plain({"layers": layers.layers(folder, data, step)}))
    at = diagnose.place(folder, layer, core, step)
    mapped = diagnose.as_mapped(at)
    swept = heater or first_broken(at) if only == "sweep" else None
    ways: dict[str, Callable[[], object]] = {
        "worst": lambda: diagnose.worst(at.run, "", step)[:5],
        "budget": lambda: budget.budget(mapped),
        "heaters": lambda: diagnose.heaters(at),
        "movement": lambda: diagnose.movement(at),
        "detectors": lambda: diagnose.detectors(at, readout),
        "layers": lambda: layers.layers(folder, data, step),
        "sweep": lambda: diagnose.curve(at, swept, readout) if swept else None,
    }
    stage = at.run.stage_at(step)
    names = [n for n in PARTS if n not in BY_ITSELF and (n != "layers" or stage != "calibrate")]
    names = [only] if only else names if at.run.simulated else list(RECORDED)
    parts = {name: ways[name]() for name in names}
    cores = at.run.grids[at.layer].p * at.run.grids[at.layer].q
    where: Where = {
        "run": str(folder), "layer": at.layer, "core": at.core, "cores": cores, "step": step, "stage": stage
    }  # fmt: skip
    if swept:
        where["heater"] = diagnose.heater_name(at, swept)
    if mapped is not at:
        where["mapped"] = mapped.step
    if "budget" in names:
        where["measure"], where["left_out"] = budget.measure(mapped), budget.left_out(mapped)
    if note := at.run.timeless(mapped.step if only == "budget" else step):
        where["note"] = note
    return cast(Found, bench.plain({"place": where, "badges": diagnose.BADGES, **parts}))


def first_broken(at: Place) -> Heater:
    """The heater to sweep where none is named: one that does not obey, else the first."""
    broken = diagnose.faults(at)
    return broken[0][0] if broken else at.bench().heaters[0]


def words(findings: Found) -> list[str]:
    """The findings as lines of text."""
    blocks = []
    if "place" in findings:
        where = findings["place"]
        head = f"{core_name(where)} of {where['run']}, {when(where)}"
        blocks.append([head, f"Note: {where['note']}"] if "note" in where else [head])
    if "worst" in findings:
        blocks.append(_worst(findings["worst"]))
    if "budget" in findings:
        blocks.append(_budget(findings["budget"], findings["place"]))
    if "sweep" in findings:
        blocks.append(_curve(findings["sweep"]))
    if "heaters" in findings:
        blocks.append(_heaters(findings["heaters"]))
    if "movement" in findings:
        blocks.append(_movement(findings["movement"]))
    if "detectors" in findings:
        blocks.append(_detectors(findings["detectors"]))
    if "layers" in findings:
        blocks.append(_layers(findings["layers"]))
    if "every_heater" in findings:
        blocks.append(every_heater.words(msgspec.convert(findings["every_heater"], every_heater.EveryHeater)))
    return [line for block in blocks for line in (*block, "")][:-1]


def core_name(where: Where) -> str:
    """A core in words; a layer of one core by its name alone."""
    return f"{where['layer']} core {where['core']}" if where["cores"] > 1 else str(where["layer"])


def when(where: Where) -> str:
    """The step in words."""
    return f"at step {where['step']}" if where["step"] is not None else f"as it was last seen ({where['stage']})"


def _worst(rows: Sequence[tuple[str, int, float | None]]) -> list[str]:
    errors = ", ".join(f"{layer} {core} ({_error(error)})" for layer, core, error in rows)
    return [f"Largest errors [oracle]: {errors}"]


def few(names: list[str], most: int = 3) -> str:
    """Some names and how many more there are; where there are several, without their columns and rails."""
    names = [name.partition(" (")[0] for name in names] if len(names) > 1 else names
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


def nothing(error: float) -> str:
    """What an error that is none is called; empty where it is one."""
    return "zero" if error == 0.0 else "below rounding" if abs(error) < ROUNDING else ""


def _error(value: float | None) -> str:
    """An error in words."""
    return "no number" if value is None else nothing(value) or f"{value:.3g}"


def verdict(rows: Sequence[Row]) -> str:
    """What a budget says, in a sentence or two."""
    error, tuned = rows[0]["error"], rows[0]["tuned"]
    if error is None:
        return "The error is not a number."
    others = [row for row in rows[1:] if row["name"] != "all of them"]
    best = max(others, key=lambda row: row["gain"] or 0.0, default=None)
    base = error if tuned is None else tuned
    said = []
    if tuned is not None and tuned < LEFT * error:
        ended = "did not converge" if tuned < ALONE * error else "stopped early"
        said.append(f"The search {ended}: with other commands this chip could reach {_error(tuned)}.")
    if best is not None and best["gain"] is not None and best["gain"] > BLAMED * base:
        left = best["error"] if tuned is None else best["tuned"]
        lead = "What then limits it" if said else "What limits it"
        said.append(f"{lead}: {best['name']}; without it {_error(left)}.")
    elif base:
        said.append("No single imperfection stands out" + (" in what remains." if said else "."))
    alone = [(row["alone"] or 0.0, row["name"]) for row in others]
    largest, name = max(alone, key=lambda row: row[0], default=(0.0, ""))
    if name and largest > ALONE * base:
        said.append(f"Largest by itself: {name}, {_error(largest)}.")
    return " ".join(said) or "There is no error to explain."


def _budget(rows: Sequence[Row], where: Where) -> list[str]:
    tunes = rows[0]["tuned"] is not None
    head = f"  {'':62s} {'same commands':>14s}" + (f" {'best commands':>14s}" if tunes else "") + f" {'it alone':>14s}"
    table = [
        f"  {('without ' if i else '') + row['name']:62s} {_error(row['error']):>14s}"
        + (f" {_error(row['tuned']):>14s}" if tunes else "")
        + f" {'' if row['alone'] is None else _error(row['alone']):>14s}"
        for i, row in enumerate(rows)
    ]
    since = f", as it was mapped at step {where['mapped']}" if "mapped" in where else ""
    error = [f"  Error: {where['measure']}", *([f"  {readings(where)}"] if where["left_out"] else [])]
    return [f"Why{since} [oracle]: " + verdict(rows), *error, head, *[row.rstrip() for row in table]]


def readings(where: Where) -> str:
    """Which noise is not part of a budget, in words; empty where there is none."""
    names = ", ".join(where["left_out"])
    return f"Not in it, since it acts in readings: {names} (see detectors)" if names else ""


def _curve(curve: CurveFound) -> list[str]:
    heater = curve["heater"]
    name = f"{heater['part'].upper() or 'mesh'} {heater['kind']} {heater['number']}"
    head = f"Sweep of {name}, {curve['readout']} of every output for light in input {curve['port']} [measured], " \
           f"{curve['core_calls']} core calls"  # fmt: skip
    if not curve["answers"]:
        return [head, "  No output moves: the heater does not obey, or no light reaches it."]
    table = [
        f"  {o:6d} {a:10.4f} {p:10.3f} {v:10.3f} {r:10.4f}"
        for o, (a, p, v, r) in enumerate(
            zip(curve["amplitude"], curve["peak"], curve["visibility"], curve["residual"])
        )
    ]
    columns = f"  {'output':>6s} {'amplitude':>10s} {'peak rad':>10s} {'visibility':>10s} {'residual':>10s}"
    return [head, f"  {curve['ratio']:.4f} radians of light per commanded radian", columns, *table]


def _heaters(heaters: HeatersFound) -> list[str]:
    lines, unit = [f"Heaters: {line}" for line in disobeying(heaters)], heaters["unit"]
    for row in heaters["layers"]:
        full = f", {row['v_max']} at V_max" if row["v_max"] else ""
        lines += [f"  {row['layer']}: {row['heaters']} heaters take {row['total']:.1f} {unit} [commanded]{full}"]
    lines += [f"So far [measured]: {cost(heaters['meter'])}; {bill(heaters['spent'])} [estimated]"]
    return lines


def disobeying(heaters: HeatersFound, oracle: bool = True) -> list[str]:
    """Which heaters do not obey, as measured and, unless `oracle` is false, as one knows, in a line or two."""
    if not heaters["simulated"]:
        return ["whether they obey is to be tried on the chip itself: it is not simulated, so that there is no oracle"]
    broken = {row["name"]: row["fate"] for row in heaters["faults"]}
    silent = None if heaters["silent"] is None else [row["name"] for row in heaters["silent"]]
    lines = ["not tried one by one: there are too many"]
    if silent is not None:
        lines = [f"{few(silent)} {'does' if len(silent) == 1 else 'do'} not answer [measured]"]
        lines = lines if silent else ["all answer when moved by 1 rad [measured]"]
    if not oracle:
        return lines
    fates = ", ".join(f"{list(broken.values()).count(fate)} {fate}" for fate in sorted(set(broken.values())))
    if silent is not None and set(silent) == set(broken):
        return [f"{lines[0]}: {fates} [oracle]"] if broken else lines
    return [*lines, f"{few(list(broken))}: {fates} [oracle]" if broken else "none is dead or stuck [oracle]"]


def cost(meter: dict[str, dict[str, int]]) -> str:
    """Core calls by stage in words."""
    counted = [f"{stage} {counts['core_calls']:,}" for stage, counts in meter.items() if counts.get("core_calls")]
    return f"core calls {', '.join(counted)}" if counted else "nothing was counted"


def bill(spent: Mapping[str, Sequence[float]]) -> str:
    """Joules and chip time of all stages in words."""
    if not spent:
        return "joules and chip time are not known"
    joules, seconds = (sum(its[i] for its in spent.values()) for i in (0, 1))
    return f"{scaled(joules, 'J')} and {scaled(seconds, 's')} on the chips"


def scaled(value: float, unit: str) -> str:
    """A quantity with the prefix that leaves one to three digits before the point."""
    for prefix, size in (("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _movement(stages: Sequence[MovedStage]) -> list[str]:
    lines = ["How its phases moved [commanded]: " + moved(stages)]
    for stage in stages:
        for row in stage["parts"]:
            most = f"; {row['name']} by {row['by']:+.3f}" if row["rms"] else ""
            middle = "" if row["median"] is None else f" (median core {row['median']:.3f})"
            lines += [f"  {stage['stage']:10s} {row['part']:7s} {row['rms']:.3f} rad rms{middle}{most}"]
    return lines


def moved(stages: Sequence[MovedStage]) -> str:
    """Which phase went farthest, in words."""
    rows = [(abs(row["by"]), stage["stage"], row) for stage in stages for row in stage["parts"] if row["rms"]]
    if not rows:
        return "No phase has moved." if stages else "No frames were recorded."
    _, stage, row = max(rows, key=lambda row: row[0])
    return f"{row['name']} moved most, by {row['by']:+.3f} rad in {stage}."


def _detectors(detectors: DetectorsFound) -> list[str]:
    floor = max(detectors["floor"]) if detectors["floor"] else 0.0
    return [
        f"Detectors [measured]: readings are off the expected ones by {_error(detectors['error'])} (squared, relative)",
        f"  noise floor {floor:.2e} (data sheet {detectors['sheet']:.2e}) in unit input amplitudes",
        "  " + saturation(detectors),
    ]


def saturation(detectors: DetectorsFound) -> str:
    """Whether the brightest output bends, in words."""
    bent, sure = detectors["compression"], detectors["sure"]
    if bent is None or sure is None:
        return "no light reaches any output"
    if abs(bent) > max(3 * sure, 1e-3):
        return f"the brightest output saturates: {100 * bent:.1f} % below a straight line at full light"
    return f"no saturation up to full light (within {100 * max(3 * sure, 1e-3):.1f} %)"


def _layers(tried: LayersFound) -> list[str]:
    first, rows = tried["rows"][0], tried["rows"][1:]
    lines = [f"Accuracy with one layer ideal [oracle], {tried['samples']} test samples after {tried['stage']}: "
             f"as it is {100 * first['accuracy']:.2f} %"]  # fmt: skip
    lines += [f"  {row['layer']:12s} {100 * row['accuracy']:6.2f} % ({100 * row['gain']:+.2f})" for row in rows]
    return [*lines, "  " + accused(tried)]


def accused(tried: LayersFound) -> str:
    """Which layer is guilty, in words; a difference counts from two standard deviations of so many samples on."""
    rows = tried["rows"]
    best, share = rows[1], rows[0]["accuracy"]
    spread = 2 * (max(share * (1 - share), 1e-4) / tried["samples"]) ** 0.5
    if max(row["gain"] for row in rows[1:]) < -spread:
        return "No layer limits the accuracy: what was learnt makes up for the imperfections, and misses them."
    if best["gain"] > spread:
        return f"{best['layer']} limits the accuracy: made ideal, it gives {100 * best['gain']:.1f} points more."
    return f"No layer limits the accuracy by itself: none gains {100 * spread:.1f} points, what chance can do."
