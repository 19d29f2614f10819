"""Noise costs energy: what accuracy costs in joules, per inference and per training run, from N = 16 to 256.

    python -m l2sim.study.noise_energy             a quick look
    python -m l2sim.study.noise_energy --full      the page

Three meshes of N modes learn MNIST in situ (Pai et al., Science 380, 398 (2023)). How well they do depends on the noise
of a reading; what that noise costs, on laser, loss, rate and bits (`chip.cost`). So networks are trained and tested at
the noise of readings of so many bits, and any device table says what such readings cost at N columns.
"""

from __future__ import annotations

import csv
import json
import math
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim import backend
from l2sim.chip import energy
from l2sim.chip.meter import Counts
from l2sim.data import as_light
from l2sim.flow import training
from l2sim.flow.insitu import session as insitu
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.mesh.mesh import Mesh
from l2sim.report import figures
from l2sim.study.harness import Run, Study, Table, finished, interval, markdown, sized, some

PRESET = "insitu-mnist"
SIZES = (16, 32, 64, 128, 256)
LARGE = 64
"""Larger meshes than this are trained at the first noise of `LEARNT` only, the largest without noise by one seed."""
SEEDS = (1, 2, 3)
EPOCHS = 4
LEARNT = (4, 3, 5)
"""Bits of the readings that a network is trained with."""
TESTED = tuple(range(1, 10))
"""Bits of the readings that a network trained without noise is tested with."""
TAP_SHARE = 0.01
"""Of the light at a shifter, what its tap takes."""
SETUP = {
    "insitu.scheme": "analog", "insitu.scale": "peak", "learn.epochs": EPOCHS, "learn.lr": 2e-3, "learn.shuffle": True,
}  # fmt: skip
TABLE = "electro-optic"
LOSSES = (0.0, 0.1, 0.2, 0.3)
"""Loss of a column, dB: none, as the published closed forms have it, and what the device tables have, or half of it."""
IMAGES = 60_000
"""Of an epoch of MNIST."""
NEAR = 0.01
"""How near to the accuracy without noise a network has to come."""
OWN = LOSSES.index(energy.TABLES[TABLE].column_loss_db)
"""The loss of the table itself."""
LOOKS = tuple(figures.LOOKS[at] for at in (3, 0, 2, 1, 5))
"""Of the sizes, and of what else there are as many of."""
DASHES = ((0, (1.5, 1)), (0, (5, 1.5)), "-")
"""Of the losses, none first."""


@cache
def full_scale(modes: int, data: Path | None) -> float:
    """The amplitude that modulators and detectors are built for, in units of a sample's mean |x|: light is shared out
    to the ports as their largest amplitudes need it, and this is what the mean port gets (of those with a feature)."""
    preset = Job.preset(PRESET)
    most = np.abs(as_light.dataset(preset.data.name, preset.insitu.features, modes, data).train_x).max(axis=0)
    return float(f"{math.sqrt(np.mean(most**2)):.3g}")


def sigma(bits: int, scale: float) -> float:
    """Noise of a field reading at full scale `scale`: that of `bits`, and as much again of light and amplifiers, which
    is what `cost.sized` gives light for; 0 bits: none."""
    return scale * math.sqrt(2.0 / 12.0) * 2.0 / 2**bits if bits else 0.0


def tap_noise(sigma: float) -> float:
    """Noise s of a tap, I + s |f| n, that sees TAP_SHARE of the light behind a reading of noise `sigma`, half of which
    (in power) is shot noise r: r = 1 / (2 sqrt(n)) for n electrons at unit power, and s = 1 / sqrt(TAP_SHARE n)."""
    return 2.0 * (sigma / math.sqrt(2.0)) / math.sqrt(TAP_SHARE)


def job(modes: int, bits: int, seed: int, scale: float) -> Job:
    """A network of `modes` trained with readings of `bits`, at full scale `scale`."""
    noise = float(f"{sigma(bits, scale):.4g}")
    noisy = {"nonidealities.readout_noise": noise, "nonidealities.tap_noise": float(f"{tap_noise(noise):.4g}")}
    return Job.preset(PRESET, {"insitu.modes": modes, "seed": seed} | SETUP | noisy)


def tasks() -> list[tuple[int, int, int]]:
    """(modes, bits, seed) of every run, 0 bits without noise; those that say most first."""
    noisy = [(modes, bits, SEEDS[0]) for bits in LEARNT for modes in SIZES if modes <= LARGE or bits == LEARNT[0]]
    more = [(modes, 0, seed) for modes in SIZES[:-1] or SIZES for seed in SEEDS[1:]]
    return [(modes, 0, SEEDS[0]) for modes in SIZES] + noisy + more


def tested(run: Run, scale: float, data: Path | None) -> dict[int, float]:
    """Test accuracy by bits of the readings of a network that was trained without noise.

    Kept in the folder of the run, so that it is tested once."""
    path = run.out / "tested.json"
    noises = [float(f"{sigma(bits, scale):.4g}") for bits in TESTED]
    if path.exists():
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, list[float]])
        if known["sigma"] == noises:
            return dict(zip(TESTED, known["accuracy"]))
    session = insitu.open_session(run.job, data)
    run.restore(session)
    accuracies = []
    with backend.threads(1):
        for noise in noises:
            for chip in session.chips.values():
                chip.nonidealities = msgspec.structs.replace(chip_nonidealities(run.job), readout_noise=noise)
            accuracies.append(float(training.scores(session, session.network)["accuracy"]))
    path.write_text(json.dumps({"sigma": noises, "accuracy": accuracies}))
    return dict(zip(TESTED, accuracies))


def table_of(bits: int, modes: int, loss_db: float) -> energy.Table:
    """The devices with readings of `bits`, and light to match behind `modes` columns that lose `loss_db` each."""
    return energy.sized(energy.changed(energy.TABLES[TABLE], bits=bits, column_loss_db=loss_db), modes)


def inference_j(bits: int, modes: int, loss_db: float, layers: int = 3) -> float:
    """One image through all meshes, J."""
    return layers * energy.design("mvm", table_of(bits, modes, loss_db), modes).total_j


def training_j(bits: int, modes: int, loss_db: float, images: int, batch: int, layers: int = 3) -> float:
    """A training run on so many images (all epochs), J.

    Of every image and mesh four vectors: forward, the cotangent back, and the two of the analog read-out, which are
    tapped at every shifter; after every mini-batch all theta and phi are written."""
    mesh = Mesh("rectangular", modes)
    table, at, steps = table_of(bits, modes, loss_db), energy.whole(mesh), images // batch
    counts = Counts(
        core_calls=4 * images, vectors=4 * images, tap_readings=2 * images * at.heaters, writes=2 * mesh.count * steps,
        settled=steps,
    )  # fmt: skip
    names = [f"mesh{number}" for number in range(layers)]
    return energy.spent_by(dict.fromkeys(names, counts), dict.fromkeys(names, at), table).total_j


Point = tuple[int, str, int, int]
"""(modes, trained, bits, epochs), as in a `Row`."""


class Row(NamedTuple):
    """Accuracy at readings of `bits`, mean and half the width of its 95 % confidence interval over `seeds` (NaN of a
    single one): of networks trained without noise (`trained` "without"), or at that same noise ("with"), after so many
    `epochs`; 0 bits: no noise. Energy of an inference, and of the training so far, at each of `LOSSES`."""

    modes: int
    trained: str
    bits: int
    epochs: int
    sigma: float
    accuracy: float
    half_width: float
    seeds: int
    inference_j: tuple[float, ...]
    training_j: tuple[float, ...]


def rows(accuracies: dict[Point, list[float]], scales: dict[int, float], images: int) -> list[Row]:
    """Rows from accuracies by (modes, trained, bits, epochs); `images` of an epoch."""
    batch, made = Job.preset(PRESET).learn.batch, []
    for (modes, trained, bits, epochs), values in accuracies.items():
        one = tuple(inference_j(bits, modes, loss) for loss in LOSSES) if bits else ()
        run = tuple(training_j(bits, modes, loss, epochs * images, batch) for loss in LOSSES) if bits else ()
        mean, width = float(np.mean(values)), interval(values)
        made.append(Row(modes, trained, bits, epochs, sigma(bits, scales[modes]), mean, width, len(values), one, run))
    return made


def enough(rows: list[Row], modes: int, trained: tuple[str, ...] = ("without", "with")) -> int:
    """The fewest bits that come within NEAR of the accuracy without noise, however trained; 0 where none do."""
    mine = [row for row in rows if row.modes == modes]
    best = next((row.accuracy for row in mine if row.bits == 0), math.inf)
    return min((r.bits for r in mine if r.bits and r.trained in trained and r.accuracy >= best - NEAR), default=0)


Results = tuple[list[Row], dict[int, float]]
"""The rows of the study, and full scale by N."""


def draw(results: Results) -> Figure:
    """Accuracy over the bits of a reading."""
    sheet = Figure((6.6, 4.2), layout="constrained")
    accuracy(sheet.subplots(), results[0])
    return sheet


def draw_causes(results: Results) -> Figure:
    """What noise costs by its causes; from the device tables alone."""
    sheet = Figure((6.6, 4.4), layout="constrained")
    causes(sheet.subplots())
    return sheet


def draw_joules(results: Results) -> Figure:
    """Accuracy over the energy of an inference, and of training."""
    rows, _ = results
    sheet = Figure((9.6, 4.2), layout="constrained")
    one, run = sheet.subplots(1, 2, sharey=True)
    over_joules(one, rows, ("without",), "inference_j", "energy of an inference (J), 1 to 9 bit")
    words = f"energy of training so far (J), readings of {LEARNT[0]} bit"
    over_joules(run, rows, ("with", LEARNT[0]), "training_j", words)
    run.set_ylabel("")
    sheet.suptitle("What does accuracy cost in joules, to infer and to train?", fontsize=10.5, x=0.01, ha="left")
    return sheet


def draw_modes(results: Results) -> Figure:
    """Joules over N, of an inference and of training."""
    rows, _ = results
    sheet = Figure((9.6, 4.2), layout="constrained")
    one, run = sheet.subplots(1, 2)
    over_modes(one, rows, "inference_j", "energy of an inference (J)")
    over_modes(run, rows, "training_j", "energy of the training run (J)")
    words = f"Within {100 * NEAR:g} point of no noise: without loss energy grows as N, with loss exponentially"
    sheet.suptitle(words, fontsize=10.5, x=0.01, ha="left")
    return sheet


def sizes(rows: list[Row]) -> list[tuple[int, figures.Look]]:
    """(N, look)."""
    return list(zip(sorted({row.modes for row in rows}), LOOKS))


def final(rows: list[Row]) -> list[Row]:
    """Those after the last epoch."""
    return [row for row in rows if row.epochs == max(r.epochs for r in rows)]


def accuracy(ax: Axes, rows: list[Row]) -> None:
    """Accuracy over the bits of a reading."""
    for number, (modes, look) in enumerate(sizes(rows)):
        for trained in ("without", "with"):
            mine = sorted(r for r in final(rows) if (r.modes, r.trained) == (modes, trained) and r.bits)
            width = np.nan_to_num([100 * r.half_width for r in mine])
            ax.errorbar(
                [r.bits + 0.07 * (number - 2) for r in mine], [100 * r.accuracy for r in mine], width, capsize=2,
                label=f"N = {modes}" if trained == "without" else None,
                **look.line(**({} if trained == "without" else {"mfc": "white", "ms": 7, "ls": ""})),
            )  # fmt: skip
    ax.plot([], [], "o", color=figures.GREY, mfc="white", ms=7, label="trained at that noise")
    ax.set(xlabel="bits of a reading (noise: √2 × that of the bits)", ylabel="test accuracy (%)", ylim=(0, 101))
    ax.set_xticks(TESTED)
    ax.set_title("How many bits does a reading need? Mean and 95 % interval of the seeds")
    ax.legend(loc="lower right")


def causes(ax: Axes, modes: int = 64) -> None:
    """Noise of a reading over the energy of a vector, where one constant alone is changed."""
    base = energy.TABLES[TABLE]
    start = energy.readout_noise(base, modes).sigma, energy.call_energy(base, modes)
    ways = {
        "laser power": [{"port_w": base.port_w * f} for f in np.geomspace(1e-2, 1e2, 25)],
        "integration time": [{"rate_hz": base.rate_hz / f} for f in np.geomspace(1e-1, 1e2, 25)],
        "bits of the converters": [{"bits": bits} for bits in range(3, 13)],
        "loss of a column": [{"column_loss_db": loss} for loss in np.linspace(0.0, 0.5, 11)],
    }
    for (words, changes), look in zip(ways.items(), LOOKS[1:]):
        tables = [energy.changed(base, **change) for change in changes]
        joules = [sum(energy.call_energy(table, modes).values()) for table in tables]
        noise = [energy.readout_noise(table, modes).sigma for table in tables]
        ax.plot(joules, noise, label=words, **look.line(ms=4))
    label = f"as in the table: {1e3 * base.port_w:g} mW a port, 1 ns, {base.bits} bit, {base.column_loss_db} dB"
    ax.plot(sum(start[1].values()), start[0], "*", color=figures.INK, ms=13, label=label)
    ax.set(xscale="log", yscale="log", xlabel=f"energy of a vector through N = {modes} (J)")
    ax.set(ylabel="noise of a reading (of full scale)", title="What does less noise cost, by what is changed?")
    ax.legend(loc="upper right")


def over_joules(ax: Axes, rows: list[Row], which: tuple[str | int, ...], what: str, words: str) -> None:
    """Accuracy over energy, without loss and with the table's, of networks trained as `which` (trained, bits) says."""
    for modes, look in sizes(rows):
        mine = sorted(r for r in rows if r.modes == modes and r.bits and (r.trained, r.bits)[: len(which)] == which)
        for at, dash in ((0, DASHES[0]), (OWN, DASHES[-1])):
            joules = [getattr(r, what)[at] for r in mine]
            label = f"N = {modes}" if at else None
            ax.plot(joules, [100 * r.accuracy for r in mine], label=label, **look.line(ls=dash, ms=4))
    ax.plot([], [], color=figures.GREY, ls=DASHES[0], label="no loss in the mesh")
    ax.plot([], [], color=figures.GREY, label=f"{LOSSES[OWN]:g} dB a column")
    ax.set(xscale="log", xlabel=words, ylabel="test accuracy (%)", ylim=(0, 101))
    ax.legend(loc="lower right", fontsize=8)


def over_modes(ax: Axes, rows: list[Row], what: str, words: str) -> None:
    """Energy of the fewest bits that are enough, over N."""
    for at, (loss, look) in enumerate(zip(LOSSES, LOOKS[1:])):
        points = needed(rows, what, at)
        label = f"{loss:g} dB a column" if loss else "no loss in the mesh"
        ax.plot(list(points), list(points.values()), label=label, **look.line(ms=8 - at))
    if what == "inference_j":
        shown = [modes for modes, _ in sizes(rows)]
        forms = [published(modes) for modes in shown]
        ax.plot(shown, forms, **figures.LOOKS[7].line(marker=""), label="published closed form")
    ticks = [modes for modes, _ in sizes(rows)]
    ax.set(xscale="log", yscale="log", xlabel="modes N", ylabel=words)
    ax.set_xticks(ticks, [str(modes) for modes in ticks])
    ax.minorticks_off()
    ax.legend(loc="upper left")


def needed(rows: list[Row], what: str, at: int) -> dict[int, float]:
    """Energy by N of the fewest bits that are enough, at the loss number `at`."""
    joules = {}
    for modes, _ in sizes(rows):
        bits = enough(rows, modes)
        row = next((r for r in final(rows) if (r.modes, r.bits) == (modes, bits) and bits), None)
        if row:
            joules[modes] = getattr(row, what)[at]
    return joules


def published(modes: int, layers: int = 3) -> float:
    """Energy of an inference by the published closed form, 2 N^2 operations at 0.635 N TOPS/W a mesh, J."""
    return layers * 2 * modes**2 / (0.635e12 * modes)


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    (rows, scales), table = results, []
    for row in final(rows):
        if row.bits in (1, 7, 9):
            continue  # they are in the CSV file
        spread = "" if math.isnan(row.half_width) else f" ± {100 * row.half_width:.1f}"
        joules = [f"{value:.2g}" for value in (*row.inference_j, *row.training_j)] or [""] * (2 * len(LOSSES))
        network = row.modes, f"{row.trained} noise", row.bits or "∞", f"{row.sigma:.3g}"
        table.append([*network, f"{100 * row.accuracy:.1f}{spread}", row.seeds, *joules])
    costs = [f"J {what}, {loss:g} dB" for what in ("an inference", "the training") for loss in LOSSES]
    return [
        "# Noise costs energy", "",
        "Made by `python -m l2sim.study.noise_energy --full --data DIR`; every number is in",
        "[noise-energy.csv](noise-energy.csv).", "",
        "![Accuracy over the bits of a reading](noise-energy.png)", "",
        "![Accuracy over joules of an inference and of training](noise-energy-joules.png)", "",
        "![Noise over joules, by what is changed](noise-energy-causes.png)", "",
        "![Joules over N](noise-energy-modes.png)", "",
        f"Three meshes of N modes learn MNIST (Fourier features, preset `{PRESET}`) in situ for {EPOCHS}",
        f"epochs, without noise and (one seed) at the noise of readings of {', '.join(map(str, sorted(LEARNT)))} "
        f"bit, above N = {LARGE} of {LEARNT[0]} bit only. Networks trained without",
        "noise are tested at 1 to 9 bit. The noise of a reading is that of its bits and as much again of light and",
        f"amplifiers, which fixes the light (`cost.sized`). Devices: table `{TABLE}`.", "",
        *markdown(("N", "trained", "bits", "noise of a reading", "accuracy, %", "seeds", *costs), table), "",
        *said(rows, scales),
    ]  # fmt: skip


def said(rows: list[Row], scales: dict[int, float]) -> list[str]:
    """What the rows show, and what is left out."""
    table = []
    for modes, _ in sizes(rows):
        best = next((row.accuracy for row in rows if (row.modes, row.bits) == (modes, 0)), math.nan)
        if bits := enough(rows, modes):
            power = table_of(bits, modes, LOSSES[OWN]).port_w
            joules = [inference_j(bits, modes, loss) for loss in (LOSSES[OWN], LOSSES[0])]
            watts = (f"{value:.2g}" for value in (power, *joules, published(modes)))
            table.append([modes, bits, f"{100 * best:.1f}", *watts])
    full = ", ".join(f"{scale:g} (N = {modes})" for modes, scale in scales.items())
    return [
        f"## To come within {100 * NEAR:g} point of the accuracy without noise", "",
        *markdown((
            "N", "bits", "accuracy without noise, %", "light a port, W", "J an inference", "without loss", "published",
        ), table), "",
        "Without loss in the mesh the energy of an inference grows as N, as in the published closed forms, since",
        "readings need as many whole bits at every N tried. With loss it grows as N 10^(L N / 10): the light that a",
        "detector needs has to be sent through N columns. The closed forms leave this out.", "",
        "Networks trained with noisy readings end about where those trained without noise do that are tested with",
        "them: within eight points at 3 bit, four at 4 and two at 5, one seed each. So the last panel takes it that",
        "a training run with the bits that an inference needs ends as one without noise: an assumption, not",
        "measured.", "",
        "How it was done:", "",
        "- Full scale is the root mean square over the ports of the largest amplitude of the training data:",
        f"  {full}, in units of a sample's",
        "  mean |x|; the laser's light is shared out to the ports accordingly. Readings beyond it are not clipped.",
        "- Uniform loss is taken to be corrected (`learn.insitu`), so that a lossy mesh is a lossless one with less",
        "  light.",
        f"- A tap takes {TAP_SHARE:.0%} of the light and sees as much of it as is left behind all columns, which",
        "  is less than there is before the last. Cotangents are sent as strong as the data (`insitu.scale`).",
        f"- Training for {EPOCHS} epochs is short: these are not the best accuracies of such networks. One seed",
        "  was trained at each noise, so these points have no interval.",
        "- Digital work between the meshes is what the table's memory and additions cost; loading images is left out.",
    ]  # fmt: skip


def compute(options: Namespace) -> Results:
    """Train and test the networks; the accuracies of those that are finished. A quick look is at the
    smallest mesh in smoke size, at a round full scale."""
    scales = {n: full_scale(n, options.data) if options.full else 2.5 for n in some(SIZES, options)}
    runs = {
        (modes, bits, seed): Run(
            sized(job(modes, bits, seed, scales[modes]), options), options.runs / f"noise-energy-{modes}-{bits}-{seed}"
        )
        for modes, bits, seed in tasks() if modes in scales and (options.full or seed == SEEDS[0])
    }
    accuracies: dict[Point, list[float]] = {}
    for key, curve in sorted(finished(runs, options.data).items(), key=lambda entry: entry[0]):
        modes, bits, _ = key
        points = [(bits, "with", epoch, accuracy) for epoch, accuracy in enumerate(curve.tolist(), 1)]
        if not bits:
            others = tested(runs[key], scales[modes], options.data).items()
            points = [(n, "without", len(curve), value) for n, value in [(0, float(curve[-1])), *others]]
        for n, trained, epoch, accuracy in points:
            accuracies.setdefault((modes, trained, n, epoch), []).append(accuracy)
    return rows(accuracies, scales, IMAGES), scales


COSTS = tuple(f"{what}_j_at_{loss:g}_db" for what in ("inference", "training") for loss in LOSSES)
CSV = Table(Row, ".4g", {"accuracy": ".4f", "half_width": ".4f"}, (*Row._fields[:8], *COSTS))
def read(path: Path) -> Results:
    """The results from their table; full scale follows from the noise of a reading."""
    with path.open(newline="", encoding="utf-8") as file:
        _, *lines = csv.reader(file)
    made = []
    for line in lines:
        modes, trained, bits, epochs, noise, accuracy, half_width, seeds = line[:8]
        joules = tuple(map(float, line[8:]))
        made.append(Row(
            int(modes), trained, int(bits), int(epochs), float(noise), float(accuracy), float(half_width), int(seeds),
            joules[: len(LOSSES)], joules[len(LOSSES) :],
        ))  # fmt: skip
    return made, {r.modes: float(f"{r.sigma / sigma(r.bits, 1.0):.3g}") for r in made if r.bits}


STUDY = Study(
    "noise-energy", __doc__, compute, page, lambda both, path: CSV.write(both[0], path), read,
    {"": draw, "causes": draw_causes, "joules": draw_joules, "modes": draw_modes},
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
