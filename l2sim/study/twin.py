"""Twins: how many probes identify a core, what mapping error they leave, and how ZCD and ZTP compare.

    python -m l2sim.study.twin             a quick look
    python -m l2sim.study.twin --full [--part identify|growth|mismatch|network|meshes]

Rows are appended to twin.csv as they are finished, so that a study that was stopped goes on; delete a row to make it
again. twin.md is written from all rows that there are.
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import Commands, command
from l2sim.flow import oracle
from l2sim.learn.search import mapping, zeroth
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from l2sim.learn.twin.fit import Drive
from l2sim.learn.twin.whole import by_outputs, by_taps
from l2sim.learn.twin.whole import fit as mesh_fit
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.study.harness import Study, Table, grouped, markdown, note, some

TURNS = (3, 30, 300)
"""Epochs of zeroth-order mapping after which its error is noted."""


class Row(NamedTuple):
    """One way to map cores of one chip. `evaluations` a core; `identified` a share; errors |USV - W|^2 / |USV|^2 before
    the sigma chain, `chain` the median after it; `pull`: rms of bias errors over what is stated (an observer's)."""

    part: str
    case: str
    method: str
    k: int
    cores: int
    evaluations: float
    identified: float
    median: float
    high: float
    chain: float
    pull: float
    seconds: float


def sheet(changes: Mapping[str, float], base: str = "l2ight-2021") -> Nonidealities:
    """The published chip (or another) with 1 % readout noise, changed."""
    return msgspec.structs.replace(PRESETS[base], **({"readout_noise": 0.01} | dict(changes)))


def fabricated(
    data_sheet: Nonidealities, k: int, cores: int, readout: str = "quadrature"
) -> tuple[CoreChip, mapping.Target]:
    """A chip of so many cores, and random weights for it (the published deviation, eight blocks in a row)."""
    chip = fabricated_as(data_sheet, readout)((cores, 1), Mesh("rectangular", k), data_sheet, seed=3)
    weight = generator(5, "weights").normal(size=(cores * k, k)) * np.sqrt(2.0 / (8 * k * k))
    return chip, mapping.target(chip, weight)


def errors(chip: CoreChip, aim: mapping.Target, commands: Commands, sigma: Array) -> tuple[Array, Array]:
    """Mapping errors (cores,) before and after the sigma chain."""
    imperfect = chip.nonidealities
    command(chip, u=commands, v=commands)
    errors = []
    for exact in (True, False):
        chip.nonidealities = msgspec.structs.replace(imperfect, exact_sigma=exact)
        chip.set_sigma(sigma)
        weight = chip.oracle_weights().real
        off = np.minimum(*(((weight + s * aim.weight) ** 2).sum(axis=(2, 3)) for s in (-1.0, 1.0)))
        errors.append((off / (weight**2).sum(axis=(2, 3))).ravel())
    chip.nonidealities = imperfect
    return errors[0], errors[1]


def identified(
    part: str, case: str, data_sheet: Nonidealities, k: int, cores: int, readout: str = "quadrature",
    modelled: bool = True, retries: int = twin.RETRIES, beside: int | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Identify and program; the row with levels chosen alone is for comparison. `modelled`: whether the wider model may
    be tried."""
    chip, aim = fabricated(data_sheet, k, cores, readout)
    began, near = time.process_time(), twin.NEAR
    try:
        twin.NEAR = near if modelled else dict.fromkeys(near, 0.0)
        known = twin.identify(chip, data_sheet, partial(generator, 1), readout, retries, beside)
    finally:
        twin.NEAR = near
    spent, pulls = time.process_time() - began, oracle.bias_error(chip, known)[1]
    pull = float(np.sqrt(np.mean(pulls**2))) if pulls.size else float("nan")
    for jointly in (True, False):
        began = time.process_time()
        commands, sigma, _ = program.program(chip.mesh, Drive.of(data_sheet), known, aim, jointly=jointly)
        took = spent + time.process_time() - began
        before, after = errors(chip, aim, commands, sigma)
        yield Row(
            part, case, ("twin, " if modelled else "narrow twin, ") + readout + ("" if jointly else ", levels alone"),
            k, cores, float(known.evaluations.mean()), float(known.identified.mean()), float(np.median(before)),
            float(np.quantile(before, 0.999)), float(np.median(after)), pull, took,
        )  # fmt: skip


def searched(part: str, case: str, data_sheet: Nonidealities, k: int, cores: int, method: str) -> Iterator[Row]:
    """Zeroth-order mapping from the ideal phases; then, where it helps, the projection that needs the true meshes (as
    published). `method` "ztp, read anew" probes by `read_anew`."""
    chip, aim = fabricated(data_sheet, k, cores)
    task, began = mapping.problem(chip, aim), time.process_time()
    name, _, anew = method.partition(", ")
    search = zeroth.Search(name, floor=data_sheet.step() or zeroth.STEP, error_scale=mapping.error_scale(aim))
    state = zeroth.start(task, search, mapping.start_phases(aim, None))
    for epoch in range(1, TURNS[-1] + 1):
        (read_anew if anew else zeroth.METHODS[name])(task, search, state, generator(2, epoch))
        if epoch in TURNS:
            best = Commands(state.phases(best=True), aim.commands.signs)
            chip.set_phases(**best.phases)
            each = [errors(chip, aim, best, sigma) for sigma in (aim.sigma, oracle.projection(chip, aim))]
            before, after = (np.minimum(*both) for both in zip(*each))
            chip.set_phases(**state.phases())
            chip.set_signs(**aim.commands.signs)
            chip.set_sigma(aim.sigma)
            yield Row(
                part, case, f"{method}, {epoch} epochs", k, cores, (6.0 if anew else 4.0) * chip.mesh.count * epoch,
                float("nan"), float(np.median(before)), float(np.quantile(before, 0.999)), float(np.median(after)),
                float("nan"), time.process_time() - began,
            )  # fmt: skip


def read_anew(task: zeroth.Problem, search: zeroth.Search, state: zeroth.State, rng: np.random.Generator) -> None:
    """An epoch of ternary probing that reads where it stands before every step, three evaluations a heater: else, with
    noise, it compares with the luckiest of all readings so far, and soon stands still."""
    mesh, chip = task.hardware.mesh, task.hardware
    lr = np.maximum(search.lr * search.decay**state.clock, search.floor)
    for part, phases in state.phases().items():
        for heater in range(mesh.count):
            at, seen = (..., mesh.column[heater], mesh.rail[heater]), []
            stay = phases[at].copy()
            for step in (0.0, 1.0, -1.0):
                phases[at] = stay + step * lr
                chip.set_phases(**{part: phases})
                seen.append(task.loss())
            phases[at] = stay + np.array([0.0, 1.0, -1.0])[np.argmin(seen, axis=0)] * lr
        chip.set_phases(**{part: phases})
    state.clock += 1
    state.loss = task.loss()
    better = state.loss < state.best
    state.best_u[better], state.best_v[better] = state.u[better], state.v[better]
    state.best[better] = state.loss[better]


CASES: dict[str, dict[str, float]] = {
    "noise 0": {"readout_noise": 0.0},
    "noise 0.001": {"readout_noise": 0.001},
    "noise 0.002": {"readout_noise": 0.002},
    "noise 0.01": {},
    "noise 0.03": {"readout_noise": 0.03},
    "noise 0.05": {"readout_noise": 0.05},
    "4 bits": {"phase_bits": 4},
    "6 bits": {"phase_bits": 6},
    "12 bits": {"phase_bits": 12},
    "crosstalk 0": {"crosstalk": 0.0},
    "crosstalk 0.03": {"crosstalk": 0.03},
    "stuck 0.5 %": {"stuck": 0.005},
    "stuck 2 %": {"stuck": 0.02},
    "splitters 0.02 rad": {"splitter_error_std": 0.02},
    "loss 0.05 dB": {"loss_db": 0.05, "loss_db_std": 0.02},
    "splitters and loss": {"splitter_error_std": 0.02, "loss_db": 0.05, "loss_db_std": 0.02},
}
"""Departures from the published chip with 1 % readout noise."""
ANEW = ("noise 0", "noise 0.002", "noise 0.01", "noise 0.05")
"""Where ternary probing that reads anew is shown too: no fused sweep does it."""


class Task(NamedTuple):
    """One case of a part at one k: what makes its rows, and how the names of their methods begin."""

    case: str
    k: int
    method: str
    work: Callable[[], Iterator[Row]]


def identify_tasks(part: str) -> Iterator[Task]:
    """Cores of several sizes, biases, chips and readouts."""
    for k, cores in ((9, 1024), (4, 1024), (16, 64), (32, 4)):
        for name, bias in (("biases within 1 rad", 1.0), ("any bias", np.pi)):
            work = partial(identified, part, name, sheet({"phase_bias": bias}), k, cores)
            yield Task(name, k, "twin, quadrature", work)
    for k, cores in ((9, 256), (4, 256), (16, 16)):
        work = partial(identified, part, "any bias", sheet({"phase_bias": np.pi}), k, cores, "power")
        yield Task("any bias", k, "twin, power", work)
    silicon, exact = "silicon-push-pull", {"splitter_error_std": 0.0, "loss_db": 0.0, "loss_db_std": 0.0}
    harder: tuple[tuple[str, dict[str, float]], ...] = (
        (f"{silicon}, exact splitters, no loss", exact),
        (silicon, {}),
        (f"{silicon}, splitters 0.05 rad", {"splitter_error_std": 0.05}),
    )
    for name, changes in harder:
        chip = sheet(changes, silicon)
        for readout, cores in (("quadrature", 16), ("power", 8)):
            work = partial(identified, part, name, chip, 9, 256 if chip.real else cores, readout)
            yield Task(name, 9, f"twin, {readout}", work)
    yield Task(silicon, 4, "twin, power", partial(identified, part, silicon, sheet({}, silicon), 4, 64, "power"))


def growth_tasks(part: str) -> Iterator[Task]:
    """Cores of several sizes by fewer and more settings."""
    for k, cores in ((4, 256), (9, 128), (16, 32), (32, 4)):
        for beside in (0, k // 2, k + 1, 3 * k):
            name, chip = f"2 k + {beside} settings", sheet({"phase_bias": np.pi})
            work = partial(identified, part, name, chip, k, cores, beside=beside, retries=0)
            yield Task(name, k, "twin, quadrature", work)


def mismatch_tasks(part: str) -> Iterator[Task]:
    """Twins and searches on the chips of `CASES`."""
    for name, changes in CASES.items():
        chip = sheet(changes)
        cores = 64 if chip.real else 16
        yield Task(name, 9, "twin, quadrature", partial(identified, part, name, chip, 9, cores))
        if not chip.real:
            work = partial(identified, part, name, chip, 9, cores, modelled=False, retries=0)
            yield Task(name, 9, "narrow twin, quadrature", work)
        for method in ("zcd", "ztp", *(("ztp, read anew",) if name in ANEW else ())):
            search = partial(searched, part, name, chip, 9, cores, method)
            yield Task(name, 9, f"{method}, {TURNS[0]} ", search)


def network_tasks(part: str) -> Iterator[Task]:
    """As many cores as a large network has."""
    name = "the 48,586 cores of VGG8"
    yield Task(name, 9, "twin, quadrature", partial(network, part, name))


def meshes_tasks(part: str) -> Iterator[Task]:
    """Whole meshes, by their taps and by their outputs."""
    for name, changes in (("tap noise 0.05", {"tap_noise": 0.05}), ("splitters", {"splitter_error_std": 0.02})):
        yield Task(name, 16, "twin, taps", partial(whole, part, name, 16, 2, 6, changes=changes))
    yield Task("any bias", 32, "twin, taps", partial(whole, part, "any bias", 32, 1, 6, 8))
    for modes, settings, count in ((8, 12, 8), (16, 3, 2), (16, 6, 2), (16, 12, 2)):
        work = partial(whole, part, "any bias", modes, count, settings)
        yield Task("any bias", modes, f"twin, taps, {settings} ", work)
    for modes, count, noise, splitters in (
        (4, 8, 0.01, 0.0), (8, 8, 0.01, 0.0), (16, 4, 0.01, 0.0), (32, 1, 0.01, 0.0),
        (16, 4, 0.1, 0.0), (16, 4, 0.2, 0.0), (16, 4, 0.01, 0.02), (16, 4, 0.01, 0.05), (32, 1, 0.01, 0.02),
    ):  # fmt: skip
        name = f"output noise {noise:g}" + (f", splitters {splitters:g} rad" if splitters else "")
        changes = {"readout_noise": noise, "splitter_error_std": splitters}
        yield Task(name, modes, "twin, outputs", partial(whole, part, name, modes, count, changes=changes))


PARTS = {
    "identify": identify_tasks, "growth": growth_tasks, "mismatch": mismatch_tasks, "network": network_tasks,
    "meshes": meshes_tasks,
}  # fmt: skip


def tasks(part: str) -> Iterator[Task]:
    """Everything in a part."""
    yield from PARTS[part](part)


def whole(
    part: str, case: str, modes: int, count: int, settings: int = 0, vectors: int | None = None,
    changes: Mapping[str, float] | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Meshes identified from powers at their taps, at so many settings, or (none) at their outputs alone; programmed to
    random unitary matrices."""
    data_sheet = sheet({"phase_bias": np.pi, "readout_noise": 0.0, "tap_noise": 0.01} | dict(changes or {}))
    twins, off, pulls, began = [], [], [], time.process_time()
    for seed in range(count):
        chip, rng = MeshChip(Mesh("rectangular", modes), data_sheet, seed=seed, dtype="float64"), generator(1, seed)
        if settings:
            known = by_taps.identify(chip, data_sheet, rng, settings, vectors)
        else:
            known = by_outputs.identify(chip, data_sheet, rng)
        target = unitary.haar_matrix(generator(2, seed), modes)
        chip.set_phases(*mesh_fit.program(chip.mesh, Drive.of(data_sheet), known, target))
        off.append(mesh_fit.row_error(target, chip.oracle_matrix()))
        true = chip.oracle_biases()[: 2 * chip.mesh.count]
        wrapped = np.mod(known.bias - true + np.pi, 2 * np.pi) - np.pi
        pulls.append(np.mean((wrapped / known.spread[: true.size]) ** 2))
        twins.append(known)
    yield Row(
        part, case, f"twin, taps, {settings} settings" if settings else "twin, outputs", modes, count,
        float(np.mean([known.readings for known in twins])) / modes,
        float(np.mean([known.identified for known in twins])), float(np.median(off)), float(np.max(off)), float("nan"),
        float(np.sqrt(np.mean(pulls))), time.process_time() - began,
    )  # fmt: skip


def network(part: str, case: str) -> Iterator[Row]:
    """As many cores as VGG8 has, in grids of some thousands."""
    whole = [row for start in range(0, 48_586, 6_074) for row in identified(
        part, f"{case}, from {start}", sheet({}), 9, min(6_074, 48_586 - start))]  # fmt: skip
    for method in dict.fromkeys(row.method for row in whole):
        rows = [row for row in whole if row.method == method]
        table = np.array([row[5:11] for row in rows], float)
        mean = (float(x) for x in np.average(table, axis=0, weights=[row.cores for row in rows]))
        yield Row._make((part, case, method, 9, sum(r.cores for r in rows), *mean, sum(r.seconds for r in rows)))


TITLES = {
    "identify": "## What is identified",
    "growth": "## How many settings it takes (biases within pi)",
    "mismatch": "## Beside searches, on other chips",
    "network": "## A whole network",
    "meshes": "## Whole complex meshes by powers at their taps or outputs, up to the phases of the outputs\n\n"
    "Evaluations are vectors sent over N; the errors are |D U - W|^2 / |W|^2 of Haar random W.",
}


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    lines, by_part = [*note("twin"), ""], grouped(rows, lambda row: row.part)
    for part in PARTS:
        some = by_part.get(part, [])
        if part == "mismatch":
            some.sort(key=lambda row: (list(CASES).index(row.case), row.method.startswith("z")))
        if some:
            lines += [*TITLES[part].splitlines(), "", *markdown(COLUMNS, map(cells, some)), ""]
    return lines


COLUMNS = (
    "chip", "method", "k", "cores", "evaluations", "identified", "median", "99.9 %", "behind sigma", "pull", "seconds",
)  # fmt: skip


def cells(row: Row) -> tuple[object, ...]:
    """A row for people."""
    known = "" if math.isnan(row.identified) else f"{100 * row.identified:.1f} %"
    chain = "" if math.isnan(row.chain) else f"{row.chain:.2g}"
    pull = "" if math.isnan(row.pull) else f"{row.pull:.2f}"
    return (
        row.case, row.method, row.k, f"{row.cores:,}", f"{row.evaluations:,.0f}", known, f"{row.median:.2g}",
        f"{row.high:.2g}", chain, pull, f"{row.seconds:.1f}",
    )  # fmt: skip


def compute(options: Namespace) -> list[Row]:
    """Add the missing rows to twin.csv; all rows that there are. A quick look is at the first task."""
    table, path = TABLE, (options.out if options.full else options.runs) / "twin.csv"
    for part in (options.part,) if options.part else some(tuple(PARTS), options):
        for case, k, method, work in some(tuple(tasks(part)), options):
            same = [row.method for row in table.read(path) if (row.part, row.case, row.k) == (part, case, k)]
            if any(made.startswith(method) for made in same):
                continue
            rows = list(work())
            table.append(rows, path)
            print(case, k, method, *(f"{v:.3g}" if isinstance(v, float) else v for v in rows[0][5:]), flush=True)
    return table.read(path)


TABLE = Table(Row, ".5g")
STUDY = Study("twin", __doc__, compute, page, TABLE.write, TABLE.read, options=lambda parser: parser.add_argument(
    "--part", choices=PARTS, default=None, help="only this part [all]"
))  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
