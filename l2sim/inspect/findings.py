"""What `l2sim diagnose` finds, as plain numbers for programs and as sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from l2sim.inspect import bench, budget, diagnose, layers
from l2sim.inspect.bench import Heater
from l2sim.inspect.diagnose import Place

PARTS = ("worst", "budget", "heaters", "movement", "detectors", "layers", "sweep")
"""What can be asked for; all but the sweep is what a whole report has."""
RECORDED = ("heaters", "movement")
"""What the logs tell of a chip that is not simulated."""
ALONE, LEFT = 0.1, 0.5
"""The search alone is to blame, or it too, where the best phases would leave less than this share of the error, ..."""
BLAMED = 0.3
"""... and a non-ideality where it is at least this share of what they leave."""


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
) -> dict[str, Any]:
    """One part of `PARTS`, or all but the sweep; of the worst core where none is named. Raises L2simError."""
    if only == "layers":
        return {"layers": layers.layers(folder, data, step)}
    at = diagnose.place(folder, layer, core, step)
    mapped = diagnose.as_mapped(at)
    ways: dict[str, Callable[[], Any]] = {
        "worst": lambda: diagnose.worst(at.run, "", step)[:5],
        "budget": lambda: budget.budget(mapped),
        "heaters": lambda: diagnose.heaters(at),
        "movement": lambda: diagnose.movement(at),
        "detectors": lambda: diagnose.detectors(at, readout),
        "layers": lambda: layers.layers(folder, data, step),
        "sweep": lambda: diagnose.curve(at, heater or first_broken(at), readout),
    }
    stage = at.run.stage_at(step)
    names = [n for n in PARTS if n != "sweep" and (n != "layers" or stage != "calibrate")]
    names = [only] if only else names if at.run.simulated else list(RECORDED)
    found = {name: ways[name]() for name in names}
    it = at.run.grids[at.layer]
    where = {"run": str(folder), "layer": at.layer, "core": at.core, "cores": it.p * it.q, "step": step, "stage": stage}
    if "sweep" in found:
        where["heater"] = diagnose.heater_name(at, found["sweep"].heater)
    if mapped is not at:
        where["mapped"] = mapped.step
    if "budget" in found:
        where |= {"measure": budget.measure(mapped), "left_out": budget.left_out(mapped)}
    if note := at.run.timeless(mapped.step if only == "budget" else step):
        where["note"] = note
    plain: dict[str, Any] = bench.plain({"place": where, "badges": diagnose.BADGES, **found})
    return plain


def first_broken(at: Place) -> Heater:
    """The heater to sweep where none is named: one that does not obey, else the first."""
    broken = diagnose.faults(at)
    return broken[0][0] if broken else at.bench().heaters[0]


def words(found: dict[str, Any]) -> list[str]:
    """The findings as lines of text."""
    lines = []
    if "place" in found:
        where = found["place"]
        lines += [f"{core_name(where)} of {where['run']}, {when(where)}"]
        lines += [f"Note: {where['note']}"] if "note" in where else []
        lines += [""]
    ways: dict[str, Callable[[Any], list[str]]] = {
        "worst": _worst, "budget": list, "sweep": _curve, "heaters": _heaters, "movement": _movement,
        "detectors": _detectors, "layers": _layers,
    }  # fmt: skip
    for name, way in ways.items():
        if found.get(name) is not None:
            told = _budget(found[name], found["place"]) if name == "budget" else way(found[name])
            lines += [*told, ""]
    return lines[:-1]


def core_name(where: dict[str, Any]) -> str:
    """A core in words; a layer of one core by its name alone."""
    return f"{where['layer']} core {where['core']}" if where["cores"] > 1 else str(where["layer"])


def when(where: dict[str, Any]) -> str:
    """The step in words."""
    return f"at step {where['step']}" if where["step"] is not None else f"as it was last seen ({where['stage']})"


def _worst(rows: list[Any]) -> list[str]:
    told = ", ".join(f"{layer} {core} ({_error(error)})" for layer, core, error in rows)
    return [f"Largest errors [oracle]: {told}"]


def few(names: list[str], most: int = 3) -> str:
    """Some names and how many more there are; where there are several, without their columns and rails."""
    names = [name.partition(" (")[0] for name in names] if len(names) > 1 else names
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


def _error(value: float | None) -> str:
    """A number in words; what arithmetic rounds is none."""
    return "no number" if value is None else f"{value if abs(value) > 1e-15 else 0:.3g}"


def verdict(rows: list[dict[str, Any]]) -> str:
    """What a budget says, in a sentence or two."""
    first, others = rows[0], [row for row in rows[1:] if row["name"] != "all of them"]
    error, tuned = first["error"], first["tuned"]
    best = max(others, key=lambda row: row["gain"], default=None)
    base = error if tuned is None else tuned
    said = []
    if error is None:
        return "The error is not a number."
    if tuned is not None and tuned < ALONE * error:
        said.append(f"The search is to blame: with other commands this chip could reach {_error(tuned)}.")
    elif tuned is not None and tuned < LEFT * error:
        said.append(f"The search stopped early: with other commands this chip could reach {_error(tuned)}.")
    if best is not None and best["gain"] is not None and best["gain"] > BLAMED * base:
        left = best["error"] if tuned is None else best["tuned"]
        lead = "What then limits it" if said else "What limits it"
        said.append(f"{lead}: {best['name']}; without it {_error(left)}.")
    elif base:
        said.append("No single imperfection stands out" + (" in what remains." if said else "."))
    worst = max(others, key=lambda row: row["alone"] or 0.0, default=None)
    if worst is not None and (worst["alone"] or 0.0) > ALONE * base:
        said.append(f"Largest by itself: {worst['name']}, {_error(worst['alone'])}.")
    return " ".join(said) or "There is no error to explain."


def _budget(rows: list[dict[str, Any]], where: dict[str, Any]) -> list[str]:
    tunes = rows[0]["tuned"] is not None
    head = f"  {'':62s} {'same commands':>14s}" + (f" {'best commands':>14s}" if tunes else "") + f" {'it alone':>14s}"
    table = [
        f"  {('without ' if i else '') + row['name']:62s} {_error(row['error']):>14s}"
        + (f" {_error(row['tuned']):>14s}" if tunes else "")
        + f" {'' if row['alone'] is None else _error(row['alone']):>14s}"
        for i, row in enumerate(rows)
    ]
    since = f", as it was mapped at step {where['mapped']}" if "mapped" in where else ""
    told = [f"  Error: {where['measure']}", *([f"  {readings(where)}"] if where["left_out"] else [])]
    return [f"Why{since} [oracle]: " + verdict(rows), *told, head, *[row.rstrip() for row in table]]


def readings(where: dict[str, Any]) -> str:
    """Which noise is not part of a budget, in words; empty where there is none."""
    names = ", ".join(where["left_out"])
    return f"Not in it, since it acts in readings: {names} (see detectors)" if names else ""


def _curve(it: dict[str, Any]) -> list[str]:
    heater = it["heater"]
    name = f"{heater['part'].upper() or 'mesh'} {heater['kind']} {heater['number']}"
    head = f"Sweep of {name}, {it['readout']} of every output for light in input {it['port']} [measured], " \
           f"{it['core_calls']} core calls"  # fmt: skip
    if not it["answers"]:
        return [head, "  No output moves: the heater does not obey, or no light reaches it."]
    table = [
        f"  {o:6d} {a:10.4f} {p:10.3f} {v:10.3f} {r:10.4f}"
        for o, (a, p, v, r) in enumerate(zip(it["amplitude"], it["peak"], it["visibility"], it["residual"]))
    ]
    columns = f"  {'output':>6s} {'amplitude':>10s} {'peak rad':>10s} {'visibility':>10s} {'residual':>10s}"
    return [head, f"  {it['ratio']:.4f} radians of light per commanded radian", columns, *table]


def _heaters(it: dict[str, Any]) -> list[str]:
    lines = [f"Heaters: {line}" for line in disobeying(it)]
    for row in it["layers"]:
        full = f", {row['v_max']} at V_max" if row["v_max"] else ""
        lines += [f"  {row['layer']}: {row['heaters']} heaters take {row['total']:.1f} {it['unit']} [commanded]{full}"]
    lines += [f"So far [measured]: {cost(it['meter'])}; {bill(it['spent'])} [estimated]"]
    return lines


def disobeying(it: dict[str, Any]) -> list[str]:
    """Which heaters do not obey, as measured and as an oracle knows, in a line or two."""
    if not it["simulated"]:
        return ["whether they obey is to be tried on the chip itself: it is not simulated, so that there is no oracle"]
    broken = {row["name"]: row["fate"] for row in it["faults"]}
    silent = None if it["silent"] is None else [row["name"] for row in it["silent"]]
    lines = ["not tried one by one: there are too many"]
    if silent is not None:
        lines = [f"{few(silent)} {'does' if len(silent) == 1 else 'do'} not answer [measured]"]
        lines = lines if silent else ["all answer when moved by 1 rad [measured]"]
    fates = ", ".join(f"{list(broken.values()).count(fate)} {fate}" for fate in sorted(set(broken.values())))
    if silent is not None and set(silent) == set(broken):
        return [f"{lines[0]}: {fates} [oracle]"] if broken else lines
    return [*lines, f"{few(list(broken))}: {fates} [oracle]" if broken else "none is dead or stuck [oracle]"]


def cost(meter: dict[str, dict[str, int]]) -> str:
    """Core calls by stage in words."""
    told = [f"{stage} {counts['core_calls']:,}" for stage, counts in meter.items() if counts.get("core_calls")]
    return f"core calls {', '.join(told)}" if told else "nothing was counted"


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


def _movement(stages: list[dict[str, Any]]) -> list[str]:
    lines = ["How its phases moved [commanded]: " + moved(stages)]
    for stage in stages:
        for row in stage["parts"]:
            most = f"; {row['name']} by {row['by']:+.3f}" if row["rms"] else ""
            middle = "" if row["median"] is None else f" (median core {row['median']:.3f})"
            lines += [f"  {stage['stage']:10s} {row['part']:7s} {row['rms']:.3f} rad rms{middle}{most}"]
    return lines


def moved(stages: list[dict[str, Any]]) -> str:
    """Which phase went farthest, in words."""
    rows = [(abs(row["by"]), stage["stage"], row) for stage in stages for row in stage["parts"] if row["rms"]]
    if not rows:
        return "No phase has moved." if stages else "No frames were recorded."
    _, stage, row = max(rows, key=lambda it: it[0])
    return f"{row['name']} moved most, by {row['by']:+.3f} rad in {stage}."


def _detectors(it: dict[str, Any]) -> list[str]:
    floor = max(it["floor"]) if it["floor"] else 0.0
    return [
        f"Detectors [measured]: readings are off the expected ones by {_error(it['error'])} (squared, relative)",
        f"  noise floor {floor:.2e} (data sheet {it['sheet']:.2e}) in unit input amplitudes",
        "  " + saturation(it),
    ]


def saturation(it: dict[str, Any]) -> str:
    """Whether the brightest output bends, in words."""
    bent, sure = it["compression"], it["sure"]
    if bent is None or sure is None:
        return "no light reaches any output"
    if abs(bent) > max(3 * sure, 1e-3):
        return f"the brightest output saturates: {100 * bent:.1f} % below a straight line at full light"
    return f"no saturation up to full light (within {100 * max(3 * sure, 1e-3):.1f} %)"


def _layers(it: dict[str, Any]) -> list[str]:
    first, rows = it["rows"][0], it["rows"][1:]
    lines = [f"Accuracy with one layer ideal [oracle], {it['samples']} test samples after {it['stage']}: "
             f"as it is {100 * first['accuracy']:.2f} %"]  # fmt: skip
    lines += [f"  {row['layer']:12s} {100 * row['accuracy']:6.2f} % ({100 * row['gain']:+.2f})" for row in rows]
    return [*lines, "  " + accused(it)]


def accused(it: dict[str, Any]) -> str:
    """Which layer is guilty, in words; a difference counts from two standard deviations of so many samples on."""
    rows = it["rows"]
    best, share = rows[1], rows[0]["accuracy"]
    spread = 2 * (max(share * (1 - share), 1e-4) / it["samples"]) ** 0.5
    if max(row["gain"] for row in rows[1:]) < -spread:
        return "No layer is to blame: what was learnt makes up for the imperfections, and misses them."
    if best["gain"] > spread:
        return f"{best['layer']} is to blame: ideal, it gives {100 * best['gain']:.1f} points more."
    return f"No layer is to blame by itself: none gains more than {100 * spread:.1f} points, what chance can do."
