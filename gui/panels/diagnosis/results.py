"""What `l2sim diagnose --json` prints, as the window shows it: words, tables and bars of each kind of diagnosis."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import msgspec

from l2sim.inspect import findings
from l2sim.inspect.every_heater import EveryHeater, why

from ...base.files import Table
from ...mesh.colours import number
from ...mesh.geometry import TITLES

ALL = "all of them"
"""The row of a budget that has no imperfection at all."""
NOT_A_NUMBER = float("nan")


class Sweep(findings.CurveFound):
    """A sweep with its readings: `phases` and, where the drive is one of voltage, `volts` (points,); `readings` and
    `fitted` (outputs, points); `told` is the phase that is commanded otherwise, rad."""

    told: float
    phases: list[float]
    volts: list[float] | None
    readings: list[list[float]]
    fitted: list[list[float]]


class Detectors(findings.DetectorsFound):
    """What detectors read, and what they should, (outputs, inputs) each."""

    expected: list[list[float]]
    measured: list[list[float]]


class Results(TypedDict, total=False):
    """One diagnosis: what it is of, where its numbers come from (`badges`), and the one kind that was asked for.
    `lab_eyes`: it tells only what a lab could have found out itself."""

    place: findings.Where
    badges: dict[str, str]
    lab_eyes: bool
    sweep: Sweep
    budget: list[findings.Row]
    movement: list[findings.MovedStage]
    layers: findings.LayersFound
    detectors: Detectors
    heaters: findings.HeatersFound
    every_heater: EveryHeater


def read(text: bytes) -> Results:
    """What was printed. msgspec.MsgspecError where it is something else."""
    return msgspec.json.decode(text, type=Results)


def _badge(results: Results, kind: str) -> str:
    """Where the numbers come from, to stand behind them."""
    badges = results.get("badges", {})
    return f" · {badges[kind]}" if kind in badges else ""


def without_oracle(results: Results) -> Results:
    """What a lab could have found out itself: of heaters which do not answer, not what is wrong with them."""
    if "heaters" not in results:
        return results
    return {**results, "lab_eyes": True, "heaters": {**results["heaters"], "faults": []}}


# -- in words ----------------------------------------------------------------------------------------------------------


def sweep_words(results: Results) -> str:
    """Which output a sweep moves most, and how well the sinusoid fits."""
    sweep, badge = results["sweep"], _badge(results, "sweep")
    if not sweep["answers"]:
        return f"No output moves: this heater does not obey, or no light reaches it{badge}"
    best = max(range(len(sweep["amplitude"])), key=lambda output: sweep["amplitude"][output])
    return (
        f"Output {best} moves most: amplitude {sweep['amplitude'][best]:.3f}, peak at {sweep['peak'][best]:.3f} rad, "
        f"visibility {sweep['visibility'][best]:.3f}, residual {sweep['residual'][best]:.4f}.<br>"
        f"{sweep['ratio']:.4f} rad of light per commanded rad. Light enters input {sweep['port']}; 1 is what enters. "
        f"Lines: fits; dashed: as commanded now{badge}"
    )


def budget_words(results: Results) -> str:
    """What limits a block, and what the bars are."""
    rows, where = results["budget"], results["place"]
    ways = "best" if rows[0]["tuned"] is not None else "same"
    since = f", as it was mapped at step {where['mapped']}" if "mapped" in where else ""
    noise = f"<br>{findings.readings(where)}" if where["left_out"] else ""
    what = where["measure"].replace("^2", "²").replace("'", "′").replace(" - ", " − ")
    thin = f"thin: with this imperfection alone, {ways} commands"
    return f"{findings.verdict(rows)}<br>Bars: {what}{since}; {thin}{_badge(results, 'budget')}{noise}"


def movement_words(results: Results) -> str:
    """Which phase moved most."""
    moved = findings.moved(results["movement"])
    return f"{moved}<br>Bars: root mean square of the changes, rad{_badge(results, 'movement')}"


def layers_words(results: Results) -> str:
    """Which layer is guilty."""
    tried = results["layers"]
    return f"{findings.accused(tried)}<br>{tried['samples']} test samples, {tried['stage']} · oracle"


def detectors_words(results: Results) -> str:
    """How far readings are off, whether they saturate, and their noise."""
    detectors = results["detectors"]
    floor = max(detectors["floor"], default=0.0)
    return (
        f"Readings are off by {detectors['error']:.3g} (squared, relative); {findings.saturation(detectors)}.<br>"
        f"Noise floor {number(floor)}, data sheet {number(detectors['sheet'])}; 1 is what enters"
        f"{_badge(results, 'detectors')}"
    )


def heaters_words(results: Results) -> str:
    """Which heaters do not obey, what power they take, and what the run has cost."""
    heaters = results["heaters"]
    full = sum(sum(row["v_max"]) for row in heaters["core"])
    power = ", ".join(f"{row['layer']} {row['total']:.0f}" for row in heaters["layers"])
    return (
        f"{'<br>'.join(findings.disobeying(heaters, not results.get('lab_eyes')))}<br>At V_max: {full} · commanded<br>"
        f"Power in P_pi = v_pi²/R, what turns a heater by π: {power} · commanded<br>"
        f"So far {findings.cost(heaters['meter'])} · measured; {findings.bill(heaters['spent'])} · estimated"
    )


def every_heater_words(results: Results) -> str:
    """How many heaters do not answer and are at V_max, what all take, and where that comes from."""
    every = results["every_heater"]
    silent, full = sum(row.silent for row in every.layers), sum(row.v_max for row in every.layers)
    watts = findings.scaled(sum(row.milliwatts for row in every.layers) / 1e3, "W")
    verdict = f"{silent:,} do{'es' * (silent == 1)} not answer" if silent else "All answer when moved by 1 rad"
    return (
        f"<b>{verdict}</b>{_badge(results, 'every_heater')}<br>{full:,} at V_max · commanded<br>{watts} by the table "
        f"{every.table} · estimated<br>{every.core_calls:,} core calls on the chips made again"
    )


# -- as tables ---------------------------------------------------------------------------------------------------------


def sweep_table(results: Results) -> Table:
    """Readings and fit of every output at every command."""
    sweep = results["sweep"]
    head = ["voltage (V)" if sweep["volts"] else "phase (rad)"]
    head += [f"output {i} {what}" for i in range(len(sweep["readings"])) for what in ("read", "fit")]
    columns = [column for pair in zip(sweep["readings"], sweep["fitted"]) for column in pair]
    return head, [(at, *row) for at, row in zip(sweep["volts"] or sweep["phases"], zip(*columns))]


def budget_table(results: Results) -> Table:
    """The rows of a budget."""
    rows = results["budget"]
    head = ["without", "error, same commands", "error, best commands", "error, it alone"]
    return head, [(row["name"], row["error"], row["tuned"], row["alone"]) for row in rows]


def movement_table(results: Results) -> Table:
    """How far every part moved in every stage."""
    return ["stage", "part", "rms (rad)", "median block (rad)", "moved most", "by (rad)"], [
        (stage["stage"], row["part"], row["rms"], row["median"], row["name"], row["by"])
        for stage in results["movement"]
        for row in stage["parts"]
    ]


def layers_table(results: Results) -> Table:
    """The accuracy with each layer ideal."""
    rows = results["layers"]["rows"]
    return ["ideal layer", "accuracy (0 to 1)", "gain"], [(r["layer"], r["accuracy"], r["gain"]) for r in rows]


def detectors_table(results: Results) -> Table:
    """What is expected and measured at every output for light in every input."""
    detectors = results["detectors"]
    return ["output", "input", "expected", "measured"], [
        (output, port, expected, measured)
        for output, both in enumerate(zip(detectors["expected"], detectors["measured"]))
        for port, (expected, measured) in enumerate(zip(*both))
    ]


def every_heater_table(results: Results) -> Table:
    """The heaters that stand out."""
    head = ["what", "layer", "block", "part", "kind", "MZI or rail", "answer (share)", "power (mW)"]
    return head, [
        (why(row), row.layer, row.core, row.part, row.kind, row.number, row.share, row.milliwatts)
        for row in results["every_heater"].rows
    ]


def heaters_table(results: Results) -> Table:
    """Phase and power of every heater of the core."""
    return ["part", "kind", "MZI or rail", "phase (rad)", "power (P_pi)", "at V_max"], [
        (row["part"], row["kind"], i, *heater)
        for row in results["heaters"]["core"]
        for i, heater in enumerate(zip(row["phase"], row["power"], row["v_max"]))
    ]


# -- as bars and crosses -----------------------------------------------------------------------------------------------


class Bar(NamedTuple):
    """A named number; `said` stands behind its bar, `kind` "" or "now", "good", "faint"; `thin` is a second one."""

    name: str
    value: float
    said: str
    kind: str = ""
    thin: float = NOT_A_NUMBER


def bars(results: Results) -> list[Bar]:
    """A budget, a movement or layers as bars; of another kind there are none."""
    if "budget" in results:
        return budget_bars(results["budget"])
    if "movement" in results:
        return movement_bars(results["movement"])
    return layer_bars(results["layers"]["rows"]) if "layers" in results else []


def budget_bars(rows: list[findings.Row]) -> list[Bar]:
    """A budget as bars: now, with the best commands, and with these and without one imperfection after the other."""
    first, tunes = rows[0], rows[0]["tuned"] is not None
    shown = [_bar("now", first["error"], "now")]
    shown += [_bar("best commands", first["tuned"], "good")] if tunes else []
    lead = "same, " if tunes else ""
    left = [(row, row["tuned"] if tunes else row["error"]) for row in rows[1:]]
    for row, error in left:
        if row["name"] != ALL:
            bar, alone = _bar(f"{lead}no {row['name'].partition(' (')[0]}", error), row["alone"]
            if alone is not None:
                bar = bar._replace(said=f"{bar.said}  (alone {_said(alone)})", thin=alone)
            shown.append(bar)
    return shown + [_bar(f"{lead}ideal chip", error, "faint") for row, error in left if row["name"] == ALL]


def movement_bars(stages: list[findings.MovedStage]) -> list[Bar]:
    """How far the phases went in each stage, beside the median block."""
    shown = []
    for stage in stages:
        for row in stage["parts"]:
            part = TITLES.get(row["part"], row["part"])
            shown.append(Bar(f"{stage['stage']} {part}", row["rms"], f"{row['rms']:.3f} rad"))
            if row["median"] is not None:
                shown.append(Bar("median block", row["median"], f"{row['median']:.3f} rad", "faint"))
    return shown


def layer_bars(rows: list[findings.LayerTried]) -> list[Bar]:
    """Accuracies in percent: as it is, then with each layer ideal."""
    return [
        Bar(
            f"{row['layer']} ideal" if i else "as it is", 100 * row["accuracy"],
            f"{100 * row['accuracy']:.2f} %" + (f"  ({100 * row['gain']:+.2f})" if i else ""), "" if i else "now",
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def _bar(name: str, value: float | None, kind: str = "") -> Bar:
    return Bar(name, NOT_A_NUMBER, "no number", kind) if value is None else Bar(name, value, _said(value), kind)


def _said(value: float) -> str:
    """An error in words."""
    return findings.nothing(value) or number(value)


def broken_of(heaters: findings.HeatersFound) -> dict[tuple[str, str, int], str]:
    """Heaters that are to be crossed out, by part, kind and number, and why."""
    reasons = [(row["heater"], "does not answer (measured)") for row in heaters["silent"] or []]
    reasons += [(row["heater"], f"{row['fate']} (oracle)") for row in heaters["faults"]]
    return {(heater["part"], heater["kind"], heater["number"]): why for heater, why in reasons}
