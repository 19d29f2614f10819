"""Noise costs energy: what accuracy costs in joules, per inference and per training run, from N = 16 to 256.

    python -m l2sim.study.noise_energy --data DIR --out docs/results

Three meshes of N modes learn MNIST in situ (Pai et al., Science 380, 398 (2023)). How well they do depends on the noise
of a reading; what that noise costs, on laser, loss, rate and bits (`chip.cost`). So networks are trained and tested at
the noise of readings of so many bits, and any device table says what such readings cost at N columns.
"""

from __future__ import annotations

from l2sim.blas import prepare

if __name__ == "__main__":
    prepare()  # before anything imports NumPy

import csv
import json
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim import backend
from l2sim.chip import energy
from l2sim.chip.meter import Counts
from l2sim.data import as_light
from l2sim.flow import session as sessions
from l2sim.flow import training
from l2sim.flow.insitu import session as insitu
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.mesh.mesh import Mesh
from l2sim.store import checkpoint
from l2sim.study import runs

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


# -- the networks ------------------------------------------------------------------------------------------------------


@cache
def full_scale(modes: int, data: Path | None) -> float:
    """The amplitude that modulators and detectors are built for, in units of a sample's mean |x|: light is shared out
    to the ports as their largest amplitudes need it, and this is what the mean port gets (of those with a feature)."""
    it = Job.preset(PRESET)
    most = np.abs(as_light.dataset(it.data.name, it.insitu.features, modes, data).train_x).max(axis=0)
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


def place(folder: Path, modes: int, bits: int, seed: int) -> Path:
    """Its run folder."""
    return folder / f"noise-energy-{modes}-{bits}-{seed}"


def tasks() -> list[tuple[int, int, int]]:
    """(modes, bits, seed) of every run, 0 bits without noise; those that say most first."""
    noisy = [(modes, bits, SEEDS[0]) for bits in LEARNT for modes in SIZES if modes <= LARGE or bits == LEARNT[0]]
    more = [(modes, 0, seed) for modes in SIZES[:-1] or SIZES for seed in SEEDS[1:]]
    return [(modes, 0, SEEDS[0]) for modes in SIZES] + noisy + more


def tested(it: Job, out: Path, scale: float, data: Path | None) -> dict[int, float]:
    """Test accuracy by bits of the readings of the network in the run folder `out`, which was trained without noise.

    Kept in the folder, so that it is tested once."""
    held = out / "tested.json"
    wanted = {bits: float(f"{sigma(bits, scale):.4g}") for bits in TESTED}
    if held.exists():
        told = json.loads(held.read_text())
        if told["sigma"] == list(wanted.values()):
            return dict(zip(wanted, told["accuracy"]))
    session = insitu.open_session(it, data)
    sessions.restore(session, checkpoint.read(out / "checkpoints" / "latest.safetensors")[0])
    found = []
    with backend.threads(1):
        for noise in wanted.values():
            for chip in session.chips.values():
                chip.nonidealities = msgspec.structs.replace(chip_nonidealities(it), readout_noise=noise)
            found.append(float(training.scores(session, session.network)["accuracy"]))
    held.write_text(json.dumps({"sigma": list(wanted.values()), "accuracy": found}))
    return dict(zip(wanted, found))


# -- what they cost ----------------------------------------------------------------------------------------------------


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


# -- the results -------------------------------------------------------------------------------------------------------


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


def rows(found: dict[tuple[int, str, int, int], list[float]], scales: dict[int, float], images: int) -> list[Row]:
    """Rows from accuracies by (modes, trained, bits, epochs); `images` of an epoch."""
    batch, made = Job.preset(PRESET).learn.batch, []
    for (modes, trained, bits, epochs), values in found.items():
        one = tuple(inference_j(bits, modes, loss) for loss in LOSSES) if bits else ()
        run = tuple(training_j(bits, modes, loss, epochs * images, batch) for loss in LOSSES) if bits else ()
        mean, width = float(np.mean(values)), runs.interval(values)
        made.append(Row(modes, trained, bits, epochs, sigma(bits, scales[modes]), mean, width, len(values), one, run))
    return made


def enough(found: list[Row], modes: int, trained: tuple[str, ...] = ("without", "with")) -> int:
    """The fewest bits that come within NEAR of the accuracy without noise, however trained; 0 where none do."""
    mine = [row for row in found if row.modes == modes]
    best = next((row.accuracy for row in mine if row.bits == 0), math.inf)
    return min((r.bits for r in mine if r.bits and r.trained in trained and r.accuracy >= best - NEAR), default=0)


def main(args: list[str] | None = None) -> None:
    """Write noise-energy.csv, noise-energy.png and noise-energy.md to the folder `--out`."""
    from l2sim.study import noise_energy_page as pages

    options = runs.parser(__doc__.partition("\n")[0]).parse_args(args)
    scales = {modes: full_scale(modes, options.data) for modes in SIZES}
    runs.complete([(job(*it, scales[it[0]]), place(options.runs, *it)) for it in tasks()], options.data)
    found: dict[tuple[int, str, int, int], list[float]] = {}
    for modes, bits, seed in sorted(tasks()):
        it, out = job(modes, bits, seed, scales[modes]), place(options.runs, modes, bits, seed)
        curve = runs.accuracy(it, out)
        if curve is None:
            continue
        told = [(bits, "with", epoch, accuracy) for epoch, accuracy in enumerate(curve.tolist(), 1)]
        if not bits:
            others = tested(it, out, scales[modes], options.data).items()
            last = len(curve)
            told = [(n, "without", last, accuracy) for n, accuracy in [(0, float(curve[-1])), *others]]
        for n, trained, epoch, accuracy in told:
            found.setdefault((modes, trained, n, epoch), []).append(accuracy)
    table = rows(found, scales, IMAGES)
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "noise-energy.csv", "w", newline="", encoding="utf-8") as file:
        out_csv = csv.writer(file, lineterminator="\n")
        costs = [f"{what}_j_at_{loss:g}_db" for what in ("inference", "training") for loss in LOSSES]
        out_csv.writerow([*Row._fields[:8], *costs])
        for row in table:
            figures = [f"{value:.4g}" for value in (*row.inference_j, *row.training_j)]
            numbers = f"{row.sigma:.4g}", f"{row.accuracy:.4f}", f"{row.half_width:.4f}", row.seeds
            out_csv.writerow([*row[:4], *numbers, *figures])
    pages.draw(table).savefig(options.out / "noise-energy.png", dpi=110)
    (options.out / "noise-energy.md").write_text(pages.page(table, scales), encoding="utf-8")
    print(options.out / "noise-energy.md")


if __name__ == "__main__":
    main()
