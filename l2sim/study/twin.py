"""Twins: how many probes identify a core, what mapping error they leave, and how ZCD and ZTP compare.

    python -m l2sim.study.twin --out docs/results [--part identify|growth|mismatch|network]

Rows are appended to twin.csv as they are finished, so that a study that was stopped goes on; delete a row to make it
again. twin.md is written from all rows that there are.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array, generator
from l2sim.blas import prepare

PARTS = ("identify", "growth", "mismatch", "network", "meshes")
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


def sheet(**changes: Any) -> Any:
    """The published chip with 1 % readout noise, changed."""
    from l2sim.chip.nonidealities import PRESETS

    base = PRESETS[changes.pop("base", "l2ight-2021")]
    return msgspec.structs.replace(base, **({"readout_noise": 0.01} | changes))


def fabricated(it: Any, k: int, cores: int, readout: str = "quadrature") -> Any:
    """A chip of so many cores, and random weights for it (the published deviation, eight blocks in a row)."""
    from l2sim.chip.complex_core_chip import fabricated_as
    from l2sim.learn.search import mapping
    from l2sim.mesh.mesh import Mesh

    chip = fabricated_as(it, readout)((cores, 1), Mesh("rectangular", k), it, seed=3)
    weight = generator(5, "weights").normal(size=(cores * k, k)) * np.sqrt(2.0 / (8 * k * k))
    return chip, mapping.target(chip, weight)


def errors(chip: Any, aim: Any, commands: Any, sigma: Array) -> tuple[Array, Array]:
    """Mapping errors (cores,) before and after the sigma chain."""
    from l2sim.chip.protocol import command

    it = chip.nonidealities
    command(chip, u=commands, v=commands)
    found = []
    for exact in (True, False):
        chip.nonidealities = msgspec.structs.replace(it, exact_sigma=exact)
        chip.set_sigma(sigma)
        weight = chip.oracle_weights().real
        off = np.minimum(*(((weight + s * aim.weight) ** 2).sum(axis=(2, 3)) for s in (-1.0, 1.0)))
        found.append((off / (weight**2).sum(axis=(2, 3))).ravel())
    chip.nonidealities = it
    return found[0], found[1]


def identified(
    part: str, case: str, it: Any, k: int, cores: int, readout: str = "quadrature", modelled: bool = True, **how: Any
) -> Iterator[Row]:
    """Identify and program; the row with levels chosen alone is for comparison. `modelled`: whether the wider model may
    be tried."""
    from l2sim.flow import oracle
    from l2sim.learn.twin import identify as twin
    from l2sim.learn.twin import program

    chip, aim = fabricated(it, k, cores, readout)
    began, near = time.process_time(), twin.NEAR
    try:
        twin.NEAR = near if modelled else dict.fromkeys(near, 0.0)
        known = twin.identify(chip, it, partial(generator, 1), readout, **how)
    finally:
        twin.NEAR = near
    spent, pulls = time.process_time() - began, oracle.bias_error(chip, known)[1]
    pull = float(np.sqrt(np.mean(pulls**2))) if pulls.size else float("nan")
    for jointly in (True, False):
        began = time.process_time()
        told, sigma, _ = program.program(chip.mesh, twin.Drive.of(it), known, aim, jointly=jointly)
        took = spent + time.process_time() - began
        before, after = errors(chip, aim, told, sigma)
        yield Row(
            part, case, ("twin, " if modelled else "narrow twin, ") + readout + ("" if jointly else ", levels alone"),
            k, cores,
            float(known.evaluations.mean()), float(known.identified.mean()), float(np.median(before)),
            float(np.quantile(before, 0.999)), float(np.median(after)), pull, took,
        )  # fmt: skip


def searched(part: str, case: str, it: Any, k: int, cores: int, method: str) -> Iterator[Row]:
    """Zeroth-order mapping from the ideal phases; then, where it helps, the projection that needs the true meshes (as
    published). `method` "ztp, read anew" probes by `read_anew`."""
    from l2sim.chip.protocol import Commands
    from l2sim.flow import oracle
    from l2sim.learn.search import mapping, zeroth

    chip, aim = fabricated(it, k, cores)
    task, began = mapping.problem(chip, aim), time.process_time()
    name, _, anew = method.partition(", ")
    search = zeroth.Search(name, floor=it.step() or zeroth.STEP, error_scale=mapping.error_scale(aim))
    state = zeroth.start(task, search, mapping.start_phases(aim, None))
    for epoch in range(1, TURNS[-1] + 1):
        (read_anew if anew else zeroth.METHODS[name])(task, search, state, generator(2, epoch))
        if epoch in TURNS:
            best = Commands(state.phases(best=True), aim.commands.signs)
            chip.set_phases(**best.phases)
            found = [errors(chip, aim, best, sigma) for sigma in (aim.sigma, oracle.projection(chip, aim))]
            before, after = (np.minimum(*one) for one in zip(*found))
            chip.set_phases(**state.phases())
            chip.set_signs(**aim.commands.signs)
            chip.set_sigma(aim.sigma)
            yield Row(
                part, case, f"{method}, {epoch} epochs", k, cores, (6.0 if anew else 4.0) * chip.mesh.count * epoch,
                float("nan"), float(np.median(before)), float(np.quantile(before, 0.999)), float(np.median(after)),
                float("nan"), time.process_time() - began,
            )  # fmt: skip


def read_anew(task: Any, search: Any, state: Any, rng: np.random.Generator) -> None:
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


CASES: dict[str, dict[str, Any]] = {
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


Task = tuple[str, int, str, Callable[[], Iterator[Row]]]


def tasks(part: str) -> Iterator[Task]:
    """Case, k, the beginning of the methods' names, and work, of everything in a part."""
    if part == "identify":
        for k, cores in ((9, 1024), (4, 1024), (16, 64), (32, 4)):
            for name, bias in (("biases within 1 rad", 1.0), ("any bias", np.pi)):
                yield name, k, "twin, quadrature", partial(identified, part, name, sheet(phase_bias=bias), k, cores)
        for k, cores in ((9, 256), (4, 256), (16, 16)):
            it = sheet(phase_bias=np.pi)
            yield "any bias", k, "twin, power", partial(identified, part, "any bias", it, k, cores, "power")
        silicon: tuple[tuple[str, dict[str, Any]], ...] = (
            ("silicon, exact splitters, no loss", {"splitter_error_std": 0.0, "loss_db": 0.0, "loss_db_std": 0.0}),
            ("silicon", {}),
            ("silicon, splitters 0.05 rad", {"splitter_error_std": 0.05}),
        )  # fmt: skip
        for name, changes in silicon:
            it = sheet(base="silicon", **changes)
            for readout, cores in (("quadrature", 16), ("power", 8)):
                cores = 256 if it.real else cores
                yield name, 9, f"twin, {readout}", partial(identified, part, name, it, 9, cores, readout)
        yield "silicon", 4, "twin, power", partial(identified, part, "silicon", sheet(base="silicon"), 4, 64, "power")
    if part == "growth":
        for k, cores in ((4, 256), (9, 128), (16, 32), (32, 4)):
            for beside in (0, k // 2, k + 1, 3 * k):
                name = f"2 k + {beside} settings"
                it = sheet(phase_bias=np.pi)
                work = partial(identified, part, name, it, k, cores, beside=beside, retries=0)
                yield name, k, "twin, quadrature", work
    if part == "mismatch":
        for name, changes in CASES.items():
            it = sheet(**changes)
            cores = 64 if it.real else 16
            yield name, 9, "twin, quadrature", partial(identified, part, name, it, 9, cores)
            if not it.real:
                work = partial(identified, part, name, it, 9, cores, modelled=False, retries=0)
                yield name, 9, "narrow twin, quadrature", work
            for method in ("zcd", "ztp", *(("ztp, read anew",) if name in ANEW else ())):
                yield name, 9, f"{method}, {TURNS[0]} ", partial(searched, part, name, it, 9, cores, method)
    if part == "meshes":
        for name, field, value in (("tap noise 0.05", "tap_noise", 0.05), ("splitters", "splitter_error_std", 0.02)):
            yield name, 16, "twin, taps", partial(whole, part, name, 16, 2, 6, None, **{field: value})
        yield "any bias", 32, "twin, taps", partial(whole, part, "any bias", 32, 1, 6, 8)
        for modes, settings, count in ((8, 12, 8), (16, 3, 2), (16, 6, 2), (16, 12, 2)):
            work = partial(whole, part, "any bias", modes, count, settings)
            yield "any bias", modes, f"twin, taps, {settings} ", work
        for modes, count, noise, splitters in (
            (4, 8, 0.01, 0.0), (8, 8, 0.01, 0.0), (16, 4, 0.01, 0.0), (32, 1, 0.01, 0.0),
            (16, 4, 0.1, 0.0), (16, 4, 0.2, 0.0), (16, 4, 0.01, 0.02), (16, 4, 0.01, 0.05), (32, 1, 0.01, 0.02),
        ):  # fmt: skip
            name = f"output noise {noise:g}" + (f", splitters {splitters:g} rad" if splitters else "")
            changes = {"readout_noise": noise, "splitter_error_std": splitters}
            yield name, modes, "twin, outputs", partial(whole, part, name, modes, count, **changes)
    if part == "network":
        name = "the 48,586 cores of VGG8"
        yield name, 9, "twin, quadrature", partial(network, part, name)


def whole(
    part: str, case: str, modes: int, count: int, settings: int = 0, vectors: int | None = None, **changes: Any
) -> Iterator[Row]:
    """Meshes identified from powers at their taps, at so many settings, or (none) at their outputs alone; programmed to
    random unitary matrices."""
    from l2sim.chip.mesh_chip import MeshChip
    from l2sim.learn.twin import mesh_by_outputs, mesh_by_taps
    from l2sim.learn.twin.fit import Drive
    from l2sim.mesh import unitary
    from l2sim.mesh.mesh import Mesh

    it = sheet(**({"phase_bias": np.pi, "readout_noise": 0.0, "tap_noise": 0.01} | changes))
    found, off, pulls, began = [], [], [], time.process_time()
    for seed in range(count):
        chip, rng = MeshChip(Mesh("rectangular", modes), it, seed=seed, dtype="float64"), generator(1, seed)
        if settings:
            known = mesh_by_taps.identify(chip, it, rng, settings, vectors)
        else:
            known = mesh_by_outputs.identify(chip, it, rng)
        target = unitary.haar_matrix(generator(2, seed), modes)
        chip.set_phases(*mesh_by_taps.program(chip.mesh, Drive.of(it), known, target))
        off.append(mesh_by_taps.row_error(target, chip.oracle_matrix()))
        true = chip.oracle_biases()[: 2 * chip.mesh.count]
        wrapped = np.mod(known.bias - true + np.pi, 2 * np.pi) - np.pi
        pulls.append(np.mean((wrapped / known.spread[: true.size]) ** 2))
        found.append(known)
    yield Row(
        part, case, f"twin, taps, {settings} settings" if settings else "twin, outputs", modes, count,
        float(np.mean([known.readings for known in found])) / modes,
        float(np.mean([known.identified for known in found])), float(np.median(off)), float(np.max(off)), float("nan"),
        float(np.sqrt(np.mean(pulls))), time.process_time() - began,
    )  # fmt: skip


def network(part: str, case: str) -> Iterator[Row]:
    """As many cores as VGG8 has, in grids of some thousands."""
    whole = [row for start in range(0, 48_586, 6_074) for row in identified(
        part, f"{case}, from {start}", sheet(), 9, min(6_074, 48_586 - start))]  # fmt: skip
    for method in dict.fromkeys(row.method for row in whole):
        rows = [row for row in whole if row.method == method]
        table = np.array([row[5:11] for row in rows], float)
        mean = (float(x) for x in np.average(table, axis=0, weights=[row.cores for row in rows]))
        yield Row._make((part, case, method, 9, sum(r.cores for r in rows), *mean, sum(r.seconds for r in rows)))


def read(path: Path) -> list[Row]:
    """The rows that there are."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        kinds = [str, str, str, int, int, *(float,) * 7]
        return [Row(*(kind(cell) for kind, cell in zip(kinds, row))) for row in list(csv.reader(file))[1:]]


HEAD = """# Twins

Made by `python -m l2sim.study.twin --out docs/results`; every row is in [twin.csv](twin.csv).

Cores of k x k on the published chip (8 bits, gamma 0.002, crosstalk 0.005) with readings within 1 % of the unit input
amplitude, random weights. Evaluations are whole responses a core. Errors are |USV - W|^2 / |USV|^2 before the sigma
chain (median, 99.9th percentile), and the median behind it. Pull: rms of the errors of the biases over what is
stated. Seconds are of one processor, for all cores; most rows were made on a busy one. Pulls are of cores that are
identified. Searches start from the ideal phases and end, where that lowers the error, with the projection that needs
the true meshes; twins use their own. By powers, cores of an even number of rails are known up to one sign, which the
error leaves out. A *narrow twin* may not try the model with splitter errors and losses.

**What noise means.** Here it is relative to the unit input amplitude, ahead of the gain max |sigma|. An element of
these weights is a fifth of that gain (0.19, rms): 1 % of the input is 5 % of an element, and `noise 0.002` is the row
for readings within 1 % of an element. The prototype of this method reported errors of search of 0.029, 0.039, 0.069
and 0.121 at 0, 1, 3 and 5 %; here stand ten times larger ones at 1 %. Relative to an element, coordinate descent of 150
epochs without projection gives 0.075, 0.12, 0.21 and 0.33 (mean of 64 cores), growth by 1.6, 2.8 and 4.4 where the
prototype grew by 1.3, 2.4 and 4.2; relative to the input 0.075, 0.35, 0.90 and 1.16. So its noise was that of an
element, or nearly. Its 0.029 without noise is what ternary probing reaches here (0.030). Searches suffer since a step
of one level changes the loss by less than the noise of one reading. Ternary probing suffers most, since it compares
with the luckiest of all readings so far and soon stands still: at 1 % of the input 1.09, and 0.16 where it reads anew
(`ztp, read anew`, half as many evaluations more). The record of the best reading does no harm: the last state is worse
(0.39 against 0.35). A twin fits all readings at once, so that their noise averages out.

**Where identification holds.** Biases anywhere, by quadratures (3 k + 1 evaluations, k = 4 to 32) and by powers (79,
169, 307 at k = 4, 9, 16; an exact chip needs no other probes than one with splitter errors and losses), with heat
that wraps or not, and with stuck heaters, what these cannot do being done by the others as far as they can. Where it
does not: some cores with many stuck heaters (one of the two with five of 72), which are named; single-arm drive.
Splitters by powers at k = 16 were not tried.

**Made when.** Rows were made while the code changed, and put together: those of searches and of taps earlier; those
of narrow twins and of stuck heaters before kernels were compiled more strictly (last digits); those of splitter
errors and losses last. A fit of splitter errors starts from errors of 0.01 rad (0.003 and 0.03 identified as many);
compared with a start from none, all cores of `silicon` with 0.05 rad are identified on any processor, while errors of
mapping with 0.02 rad and losses rose by up to a third (0.00054 to 0.00074 with both).

"""
TITLES = {
    "identify": "## What is identified",
    "growth": "## How many settings it takes (biases within pi)",
    "mismatch": "## Beside searches, on other chips",
    "network": "## A whole network",
    "meshes": "## Whole complex meshes by powers at their taps or outputs, up to the phases of the outputs\n\n"
    "Evaluations are vectors sent over N; the errors are |D U - W|^2 / |W|^2 of Haar random W.",
}


def page(rows: list[Row]) -> str:
    """The results as a page of Markdown."""
    text = HEAD
    for part in PARTS:
        some = [row for row in rows if row.part == part]
        if part == "mismatch":
            some.sort(key=lambda row: (list(CASES).index(row.case), row.method.startswith("z")))
        if not some:
            continue
        text += f"{TITLES[part]}\n\n| chip | method | k | cores | evaluations | identified | median | 99.9 % | "
        text += "behind sigma | pull | seconds |\n|" + "---|" * 11 + "\n"
        for row in some:
            known = "" if np.isnan(row.identified) else f"{100 * row.identified:.1f} %"
            pull = "" if np.isnan(row.pull) else f"{row.pull:.2f}"
            cells = (
                row.case, row.method, row.k, f"{row.cores:,}", f"{row.evaluations:,.0f}", known, f"{row.median:.2g}",
                f"{row.high:.2g}", "" if np.isnan(row.chain) else f"{row.chain:.2g}", pull, f"{row.seconds:.1f}",
            )  # fmt: skip
            text += "| " + " | ".join(map(str, cells)) + " |\n"
        text += "\n"
    return text


def main(arguments: list[str] | None = None) -> None:
    """Add the missing rows to twin.csv in the folder `--out`, and write twin.md."""
    prepare()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--part", choices=PARTS, default=None, help="only this part [all]")
    told = parser.parse_args(arguments)
    told.out.mkdir(parents=True, exist_ok=True)
    path = told.out / "twin.csv"
    for part in PARTS if told.part is None else (told.part,):
        for name, k, method, work in tasks(part):
            same = [row.method for row in read(path) if (row.part, row.case, row.k) == (part, name, k)]
            if any(made.startswith(method) for made in same):
                continue
            rows = list(work())
            fresh = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if fresh:
                    writer.writerow(Row._fields)
                writer.writerows((*row[:5], *(f"{value:.5g}" for value in row[5:])) for row in rows)
            print(name, k, method, *(f"{v:.3g}" if isinstance(v, float) else v for v in rows[0][5:]), flush=True)
            (told.out / "twin.md").write_text(page(read(path)), encoding="utf-8")
    (told.out / "twin.md").write_text(page(read(path)), encoding="utf-8")  # also where no row was missing


if __name__ == "__main__":
    main()
