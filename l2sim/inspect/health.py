"""What is wrong with a run, and where: damaged logs, troubles that were said, heaters and cores that stand out.

Each finding says where it comes from, as `RunModel.badge` does: what is dead or stuck only an oracle knows; the rest a
lab sees in its commands and readings. All limits are ours, meant to lie far from healthy runs:

    at V_max       a heater is driven with the highest voltage
    saturated      more than half of the heaters of a core are
    moved far      a heater was led FAR radians or more in the stage, and TIMES as far as the median one of its layer
    stands still   a heater was never moved in a stage of FRAMES or more, while a share MOST of its core and of its
                   layer were
    never settles  a heater was led on the same way in every quarter of a stage of FRAMES or more, each time as far as
                   any of its layer (a share FULL): a search that sees no answer goes on like that; at most RARE do
    sigma grew     the largest sigma of a core is TIMES what it was when the stage began
    does not answer  a heater of a core where one never settles or of which readings are worst, asked on the chip made
                   again: at most ASKED such cores are, if they are small
    worst core     a figure of merit is OUT times its median; where no core is so bad, the worst one of the run
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from math import inf, nan, tau
from typing import NamedTuple

import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip import fabrication
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PARTS, PHASES
from l2sim.flow.watch import STOPS
from l2sim.given import wrapped
from l2sim.inspect import bench, diagnose
from l2sim.inspect.bench import Heater
from l2sim.inspect.run import Recorded, Stage
from l2sim.job.imperfections import chip_nonidealities
from l2sim.store.events import Trouble
from l2sim.store.follow import Damage

FAR, TIMES, MOST, OUT = tau, 10.0, 0.9, 3.0
FRAMES, FULL, RARE = 17, 0.99, 0.01
FEW = 8
"""Heaters, or cores, of one kind and layer that have a row each; where there are more, the cores that have most."""
FIGURES = {"best": "best error so far"}
UNSETTLED, WORST = "never settles", "worst core"
ASKED, SMALL = 4, 16
"""Cores whose heaters are asked, and how many modes these have at most: it takes 5 to 50 ms each."""

Masks = Mapping[str, Array]
"""Which heaters of every core of a layer, (cores, n), by part: u and v, or theta, phi and screen of a whole mesh."""


class Finding(NamedTuple):
    """What is wrong, in a word and a sentence; `rank` 0 is the worst. Where: a `layer`, of it the core `block`, of that
    the heater `number` of `side` and `kind`. Its `value` in `unit`. `step` is when; `then`: it is of that step alone.
    `badge` says where it comes from: oracle, measured, commanded or recorded."""

    what: str
    said: str
    badge: str
    rank: int
    layer: str = ""
    block: int | None = None
    side: str = ""
    kind: str = ""
    number: int | None = None
    value: float = nan
    unit: str = ""
    step: int | None = None
    then: bool = False

    @property
    def element(self) -> int | None:
        """The MZI, where it is one."""
        return None if self.kind == "screen" else self.number


class Health:
    """The health of a run. What was found of a layer is kept until its frames or its imperfections are others."""

    def __init__(self, run: Recorded) -> None:
        self._run = run
        self._kept: dict[str, tuple[object, list[Finding]]] = {}
        self._fates: dict[str, tuple[object, Masks]] = {}
        self._counts: dict[str, tuple[object, Array | None]] = {}
        self._odd: dict[str, tuple[int, int | None]] = {}
        self._asked: dict[tuple[str, int], tuple[object, list[Finding]]] = {}

    def look(self, step: int | None = None, seconds: float = inf) -> tuple[list[Finding], bool]:
        """All findings at `step` (None: now), worst first, and whether that is all: after so many seconds no further
        layer is looked at, and the next call goes on. What was found of one before stands until then."""
        end, rows, whole = time.monotonic() + seconds, [*damaged(self._run), *troubles(self._run)], True
        rows += self._series(step)
        for layer in self._run.grids:
            known, key = self._kept.get(layer), self._key(layer, step)
            if known is None or known[0] != key:
                if time.monotonic() < end:
                    known = self._kept[layer] = key, list(_Layer(self._run, layer, step, self.fates(layer, step)).all())
                else:
                    whole = False
            rows += known[1] if known else []
        mute, asked = self._answers(rows, step, end)
        return sorted(_few_worst(rows + mute), key=lambda row: row.rank), whole and asked

    def fates(self, layer: str, step: int | None = None) -> dict[str, Masks]:
        """Which heaters of a layer are dead and which stuck, by fate; empty where none can be, and where there is no
        oracle. Of the fabrication only what decides it is drawn."""
        run = self._run
        imperfect = chip_nonidealities(run.job_at(step))
        if not run.simulated or not (imperfect.dead or imperfect.stuck) or run.stage_at(step) in ("", "pretrain"):
            return {}
        key = imperfect.dead, imperfect.stuck
        known = self._fates.get(layer)
        if known is None or known[0] != key:
            known = self._fates[layer] = key, self._drawn(layer)
        fates: dict[str, Masks] = {}
        for fate, low, high in (("dead", 0.0, key[0]), ("stuck", key[0], key[0] + key[1])):
            fates[fate] = {part: (draw >= low) & (draw < high) for part, draw in known[1].items()}
        return fates

    def broken(self, layer: str, step: int | None = None) -> Array | None:
        """How many heaters of every core are dead, stuck or at V_max, (cores,); None where nothing is commanded yet."""
        known, key = self._counts.get(layer), self._key(layer, step)
        if known is None or known[0] != key:
            masks = [*self.fates(layer, step).values(), _Layer(self._run, layer, step, {}).full]
            counts = [mask.sum(axis=1, dtype=float) for by_part in masks for mask in by_part.values()]
            known = self._counts[layer] = key, np.sum(counts, axis=0) if masks[-1] else None
        return known[1]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _answers(self, rows: list[Finding], step: int | None, end: float) -> tuple[list[Finding], bool]:
        """Which heaters do not answer in the cores that are suspected, and whether all of these were asked."""
        silent: list[Finding] = []
        led = [row for row in rows if row.what == UNSETTLED]
        bad = [row for row in rows if row.what == WORST and row.badge == "measured"]
        bad.sort(key=lambda row: (row.rank, -row.value))
        suspects = list(dict.fromkeys((row.layer, row.block or 0) for row in [*led, *bad]))
        whole = True
        for layer, core in suspects[:ASKED] if self._run.readable else ():
            if self._run.grids[layer].whole or self._run.grids[layer].k > SMALL:
                continue
            known, key = self._asked.get((layer, core)), self._key(layer, step)
            if known is None or known[0] != key:
                if time.monotonic() < end:
                    of = _Layer(self._run, layer, step, {})
                    known = self._asked[layer, core] = key, list(of.silent(core))
                else:
                    whole = False
            silent += known[1] if known else []
        return silent, whole

    def _key(self, layer: str, step: int | None) -> object:
        """What the findings of a layer depend on."""
        run = self._run
        steps = [_newest(run.frames(name), step) for name in (*run.phase_series(layer), *figures(run, layer).values())]
        return steps, run.stage_at(step), chip_nonidealities(run.job_at(step)), run.simulated

    def _drawn(self, layer: str) -> Masks:
        grid, seed = self._run.grids[layer], self._run.rebuilt.seed
        if not grid.whole:
            shape = grid.p * grid.q, grid.mesh.count
            return {part: fabrication.fates(seed, layer, part, shape) for part in PARTS}
        sizes = grid.mesh.count, grid.mesh.count, grid.mesh.modes
        draws = fabrication.fates(seed, layer, "mesh", (1, sum(sizes)))
        return dict(zip(PHASES, np.split(draws, np.cumsum(sizes)[:-1], axis=1)))

    def _series(self, step: int | None) -> Iterator[Finding]:
        """The scalar series with a value that is not finite; what is new of each is looked at once."""
        for name in self._run.series:
            curve = self._run.scalar(name)
            seen, first = self._odd.get(name, (0, None))
            if len(curve.values) < seen:
                seen, first = 0, None
            odd = np.flatnonzero(~np.isfinite(curve.values[seen:]))
            if first is None and odd.size:
                first = int(curve.steps[seen + odd[0]])
            self._odd[name] = len(curve.values), first
            if first is not None:
                badge = "oracle" if "oracle" in name else "measured"
                said = f"{name} is not finite from step {first:,} on"
                yield Finding("not finite", said, badge, 1, step=first, then=True)


# -- of the whole run --------------------------------------------------------------------------------------------------


def damaged(run: Recorded) -> Iterator[Finding]:
    """The logs that cannot be read to their ends, and what can be trusted."""
    for damage in run.damage:
        yield Finding(
            "damaged log", f"{unreadable(damage)}; {trusted(run)}", "recorded", 0,
            value=float(damage.size), unit="bytes", step=damage.step, then=damage.step is not None,
        )  # fmt: skip


def unreadable(damage: Damage) -> str:
    """Which log is damaged, in words."""
    whole = "" if damage.step is None else f" behind step {damage.step:,}"
    lost = f"{damage.size:,} bytes cannot be read" if damage.size else "frames that the index names are missing"
    return f"{damage.file} is damaged{whole}: {lost}"


def trusted(run: Recorded) -> str:
    """Up to which step each log can be trusted, in words."""
    spoilt = {damage.log: damage.step for damage in run.damage}
    whole = {"phases": run.newest_frame, "scalars": run.newest_scalar} | spoilt
    words = [f"{log} up to step {step:,}" if step is not None else f"no {log}" for log, step in whole.items()]
    return f"to be trusted: {', '.join(words)}"


def troubles(run: Recorded) -> Iterator[Finding]:
    """What the run said went wrong."""
    for event in run.events:
        if isinstance(event, Trouble):
            layer = event.layer if event.layer in run.grids else ""
            yield Finding(
                event.kind, f"{event.stage}: {event.message}", "oracle" if "oracle" in event.message else "measured",
                0 if event.kind in STOPS else 1, layer, event.blocks[0] if layer and event.blocks else None,
                value=float(len(event.blocks)) if event.blocks else nan, unit="cores" if event.blocks else "",
                step=event.step, then=True,
            )  # fmt: skip


def stopped(run: Recorded) -> str:
    """What stopped the run, as it said itself; "" where nothing did."""
    return next((row.said for row in list(troubles(run))[::-1] if row.rank == 0), "")


def figures(run: Recorded, layer: str) -> dict[str, str]:
    """The series of the errors of the cores of a layer, by what they are called."""
    names = ((naming.apart(name), name) for name in run.frame_series)
    errors = ((its, name) for its, name in names if its.kind == "best" or "error" in its.kind)
    return {its.kind: name for its, name in errors if (its.layer, its.part) == (layer, "block")}


def _few_worst(rows: list[Finding]) -> list[Finding]:
    """Without those worst cores that do not stand out, but for the worst one of each figure of merit in the run."""
    best: dict[str, Finding] = {}
    for row in rows:
        if row.what == WORST and row.rank > 3:
            best[row.unit] = max(best.get(row.unit, row), row, key=lambda one: one.value)
    return [row for row in rows if row.what != WORST or row.rank <= 3 or best[row.unit] is row]


def _newest(steps: Array, step: int | None) -> int:
    at = len(steps) if step is None else int(np.searchsorted(steps, step, side="right"))
    return int(steps[at - 1]) if at else -1


# -- of one layer ------------------------------------------------------------------------------------------------------


class _Layer:
    """One layer at one step: what it is commanded, and what that says of it."""

    def __init__(self, run: Recorded, layer: str, step: int | None, fates: Mapping[str, Masks]) -> None:
        self.run, self.layer, self.step, self.fates = run, layer, step, fates
        self.grid = run.grids[layer]
        self.cores = self.grid.p * self.grid.q
        self.imperfect = chip_nonidealities(run.job_at(step))
        parts = PHASES if self.grid.whole else PARTS
        self.series = {part: naming.name(layer, part, "phases") for part in parts}
        frames = {part: run.frame(name, step) for part, name in self.series.items()}
        self.at = max((frame.step for frame in frames.values() if frame is not None), default=None)
        self.phases = {
            part: frame.values.reshape(self.cores, -1) for part, frame in frames.items() if frame is not None
        }

    def all(self) -> Iterator[Finding]:
        """Everything that is found of it."""
        for fate, means in (("dead", "it does not heat"), ("stuck", "it holds one phase whatever is commanded")):
            yield from self.heaters(fate, means, "oracle", 2, self.fates.get(fate, {}))
        odd = {part: ~np.isfinite(phases) for part, phases in self.phases.items()}
        yield from self.heaters("not finite", "its command is no number", "commanded", 1, odd)
        yield from self.heaters("at V_max", "the highest voltage is not enough", "commanded", 3, self.full)
        yield from self.saturated()
        yield from self.unsettled()
        yield from self.moved()
        yield from self.grown()
        yield from self.worst()

    @property
    def full(self) -> Masks:
        """The heaters that are driven with V_max."""
        return {part: at_v_max(phases, self.imperfect) for part, phases in self.phases.items()}

    def heaters(
        self, what: str, means: str, badge: str, rank: int, masks: Masks, values: Masks | None = None, unit: str = ""
    ) -> Iterator[Finding]:
        """A row for each heater in `masks`, those with the largest `values` first; where there are many, a row for each
        of the cores with most."""
        total = sum(int(mask.sum()) for mask in masks.values())
        if total <= FEW:
            for part, mask in masks.items():
                for core, i in np.argwhere(mask).tolist():
                    value = nan if values is None else float(values[part][core, i])
                    yield self.row(what, means, badge, rank, core, part, i, value, unit)
            return
        counts = np.sum([mask.sum(axis=1) for mask in masks.values()], axis=0)
        order = np.argsort(-counts, kind="stable")[:FEW]
        for core in order[counts[order] > 0].tolist():
            part = next(part for part, mask in masks.items() if mask[core].any())
            of = masks[part][core] if values is None else np.where(masks[part][core], values[part][core], -inf)
            said = f"{int(counts[core])} of {total:,} in {self.layer}; the first here: "
            row = self.row(what, means, badge, rank, core, part, int(of.argmax()), float(counts[core]), "heaters")
            yield row._replace(said=said + row.said)

    def row(
        self, what: str, means: str, badge: str, rank: int, core: int, part: str, number: int, value: float, unit: str
    ) -> Finding:
        """The row of one heater."""
        heater = Heater("", part, number) if self.grid.whole else Heater(part, "theta", number)
        name = diagnose.heater_name(diagnose.Place(self.run, self.layer, core, self.step), heater)
        of = self.layer if self.cores == 1 else f"{self.layer} core {core}"
        return Finding(
            what, f"{name} of {of}: {means}", badge, rank, self.layer, core, heater.part, heater.kind, number, value,
            unit, self.at,
        )  # fmt: skip

    def silent(self, core: int) -> Iterator[Finding]:
        """The heaters of a core that do not answer, each asked by itself on the chip made again."""
        at = diagnose.Place(self.run, self.layer, core, self.step)
        for heater, share in bench.silent(at.bench()) or []:
            part = heater.kind if self.grid.whole else heater.part
            means = "moved by 1 rad, it does not answer"
            yield self.row("does not answer", means, "measured", 1, core, part, heater.number, 100 * share, "%")

    def saturated(self) -> Iterator[Finding]:
        """The cores most of whose heaters are at V_max."""
        full = [mask for mask in self.full.values() if mask.any()]
        if full:
            share = np.concatenate(list(self.full.values()), axis=1).mean(axis=1)
            for core in np.argsort(-share, kind="stable")[:FEW].tolist():
                if share[core] > 0.5:
                    said = f"{100 * share[core]:.0f} % of the heaters of {self.layer} core {core} are at V_max"
                    yield Finding(
                        "saturated", said, "commanded", 2, self.layer, core, value=100 * float(share[core]), unit="%",
                        step=self.at,
                    )  # fmt: skip

    def moved(self) -> Iterator[Finding]:
        """The heaters that were led far astray in the last stage that moved any."""
        for stage in self._begun():
            moves = {part: np.abs(led[0]) for part, led in self._led(stage, 1).items()}
            if any(move.any() for move in moves.values()):
                yield from self._astray(stage.name, moves)
                return

    def unsettled(self) -> Iterator[Finding]:
        """The heaters that a search led on and on, or never moved, in the last stage with frames enough to tell."""
        for stage in self._begun():
            led = self._led(stage, 4)
            tops = np.max([_reach(quarters) for quarters in led.values()], axis=0) if led else np.zeros(4)
            if not tops.all():
                continue
            on = {part: _led_on(quarters, FULL * tops) for part, quarters in led.items()}
            if sum(mask.sum() for mask in on.values()) <= RARE * sum(mask.size for mask in on.values()):
                far = {part: np.abs(quarters.sum(axis=0)) for part, quarters in led.items()}
                means = f"led on the same way through all of {stage.name}, as if it did not answer"
                yield from self.heaters(UNSETTLED, means, "commanded", 2, on, far, "rad")
            still = {part: ~quarters.any(axis=0) for part, quarters in led.items()}
            share = np.concatenate(list(still.values()), axis=1).mean(axis=1, keepdims=True)
            if share.mean() < 1 - MOST:
                alone = {part: mask & (share < 1 - MOST) for part, mask in still.items()}
                means = f"never moved in {stage.name}, as others were"
                yield from self.heaters("stands still", means, "commanded", 3, alone)
            return

    def _begun(self) -> list[Stage]:
        """The stages that had begun at the step, the last one first."""
        return [s for s in reversed(self.run.stages) if self.step is None or s.first_step < max(self.step, 1)]

    def _led(self, stage: Stage, spans: int) -> dict[str, Array]:
        """By part, how far the heaters were led in equal spans of a stage, (spans, cores, n); without those parts of
        which there are too few frames."""
        last = min(inf if at is None else at for at in (stage.last_step, self.step))
        led: dict[str, Array] = {}
        for part, name in self.series.items():
            steps = self.run.frames(name)
            steps = steps[(steps > stage.first_step) & (steps <= last)]
            if steps.size < (2 if spans == 1 else FRAMES):
                continue
            at = steps[np.linspace(0, steps.size - 1, spans + 1).astype(int)].tolist()
            frames = [frame for step in at if (frame := self.run.frame(name, step)) is not None]
            if len(frames) == len(at):
                led[part] = np.diff([frame.values.reshape(self.cores, -1) for frame in frames], axis=0)
        return led

    def _astray(self, stage: str, moves: Masks) -> Iterator[Finding]:
        every = np.concatenate(list(moves.values()), axis=1)
        middle = float(np.median(every if every.size < 1 << 18 else every.reshape(-1)[:: every.size >> 17]))
        limit = max(FAR, TIMES * middle)
        far = {part: move > limit for part, move in moves.items()}
        means = f"commanded far from where {stage} began, the median heater {middle:.2g} rad"
        yield from self.heaters("moved far", means, "commanded", 3, far, moves, "rad")

    def grown(self) -> Iterator[Finding]:
        """The cores whose sigma is no number, and the one whose sigma grew most since they are learnt."""
        if self.grid.whole:
            return
        name = naming.name(self.layer, "sigma", "commanded")
        now = self.run.frame(name, self.step)
        began = [stage.first_step for stage in self.run.stages if now is not None and stage.first_step < now.step]
        first = self.run.frame(name, began[-1]) if began else None
        if now is None:
            return
        size = np.abs(now.values).max(axis=1)
        for core in np.flatnonzero(~np.isfinite(size))[:FEW].tolist():
            said = f"sigma of {self.layer} core {core} is not finite"
            yield Finding("not finite", said, "commanded", 1, self.layer, core, "sigma", step=now.step)
        if first is not None and first.step < now.step and self.run.stage_at(now.step) == "learn":
            ratio = size / np.maximum(np.abs(first.values).max(axis=1), 1e-3)
            core = int(np.nan_to_num(ratio, nan=-1.0).argmax())
            if TIMES < ratio[core] < inf:
                said = f"sigma of {self.layer} core {core} is {ratio[core]:.3g} times what it was when the stage began"
                yield Finding(
                    "sigma grew", said, "commanded", 1, self.layer, core, "sigma", value=float(ratio[core]), unit="×",
                    step=now.step,
                )  # fmt: skip

    def worst(self) -> Iterator[Finding]:
        """The worst cores by every figure of merit that was recorded."""
        for figure, series in figures(self.run, self.layer).items():
            frame = self.run.frame(series, self.step)
            if frame is None:
                continue
            values, words = frame.values.reshape(-1), FIGURES.get(figure, figure.removeprefix("oracle_"))
            words = words.replace("_", " ")
            middle = float(np.nanmedian(values)) if np.isfinite(values).any() else nan
            for core in np.argsort(-np.nan_to_num(values, nan=inf), kind="stable")[:3].tolist():
                value = float(values[core])
                out = not value <= OUT * middle and self.cores > 3
                beside = f", the median core {middle:.3g}" if self.cores > 1 else ""
                yield Finding(
                    WORST, f"{words} of {self.layer} core {core} is {value:.3g}{beside}",
                    "oracle" if "oracle" in figure else "measured", 3 if out else 4, self.layer, core, value=value,
                    unit=words, step=frame.step, then=True,
                )  # fmt: skip


def _reach(quarters: Array) -> Array:
    """The largest move of any heater in every quarter, (4,)."""
    flat = quarters.reshape(len(quarters), -1)
    return np.asarray(np.maximum(flat.max(axis=1), -flat.min(axis=1)))


def _led_on(quarters: Array, least: Array) -> Array:
    """Which heaters went at least so far in every quarter, (4,), and the same way. Few pass the first one."""
    flat = quarters.reshape(len(quarters), -1)
    few = np.flatnonzero(np.abs(flat[0]) >= least[0])
    ways = flat[:, few] * np.sign(flat[0, few])
    on = np.zeros(flat.shape[1], bool)
    on[few[(ways >= least[:, None]).all(axis=0)]] = True
    return on.reshape(quarters.shape[1:])


def at_v_max(phases: Array, imperfect: Nonidealities) -> Array:
    """Which heaters a drive of voltage drives with V_max at commanded `phases`, of any shape. The same as `codes` says,
    and faster where there are millions: they lie between the thresholds of the last level."""
    if imperfect.drive != "voltage":
        return np.zeros(phases.shape, bool)
    driver, last = imperfect.driver(), 2 ** (imperfect.phase_bits or 16) - 1
    turned, full = np.array(phases), np.zeros(phases.shape, bool)
    outside = (turned < 0.0) | (turned >= tau)
    turned[outside] = wrapped(turned[outside])
    for i in np.flatnonzero(driver.codes == last).tolist():
        low = driver.thresholds[i - 1] if i else -inf
        full |= (turned > low) & (turned <= (driver.thresholds[i] if i < driver.thresholds.size else inf))
    return full
