"""How errors of detectors, phases, couplers and loss grow with the size of a mesh, with and without correction.

    python -m l2sim.study.mesh_errors             a quick look
    python -m l2sim.study.mesh_errors --full      the page

A Haar random target is programmed into a rectangular mesh by Clements' elimination; its normalised error is that of
`unitary.error`. To first order V = U (1 + sum_j d_j G_j), and with independent d_j of standard deviation s

    error^2 = s^2 sum_j (|G_j|^2 / N - |tr G_j / N|^2)

(|.| the Frobenius norm): a phase or an arm's loss acts on one rail, |G|^2 = |tr G| = 1; a coupler turns two, |G|^2 = 2,
tr G = 0. With N^2 phases, N (N - 1) couplers, 2 N (N - 1) arms and N^2 readings that gives `CLOSED`. Then the error of
a gradient that is measured in situ (`learn.insitu`; Pai et al., Science 380, 398 (2023)) under the same errors.
"""

from __future__ import annotations

import itertools
import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim import backend
from l2sim.backend import Array, generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.flow import oracle
from l2sim.given import wrapped
from l2sim.learn.insitu import measure
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.report import figures
from l2sim.study.harness import Study, Table, grouped, interval, markdown, some

SIZES = (4, 8, 16, 32, 64, 128, 256)
SEEDS = 8
READINGS = 16
"""Readings that are averaged where a detector's error is corrected."""
BITS = 8
"""Of the drive that corrects known phase errors."""
BATCH = 64
PHASE, COUPLER, READING, AMPLITUDE, TURN, LOSS_DB, SPREAD_DB, TAP = 0.03, 0.03, 0.003, 0.03, 0.01, 0.1, 0.025, 0.01
ARM = SPREAD_DB * math.log(10.0) / 20.0
"""Standard deviation of an arm's amplitude."""

KINDS: dict[str, tuple[Nonidealities, str]] = {
    "phase": (Nonidealities(phase_error_std=PHASE), f"phases off by {PHASE} rad"),
    "coupler": (Nonidealities(splitter_error_std=COUPLER), f"couplers off by {COUPLER} rad"),
    "loss": (Nonidealities(loss_db=LOSS_DB, loss_db_std=SPREAD_DB), f"loss of an arm {LOSS_DB} ± {SPREAD_DB} dB"),
    "reading": (Nonidealities(readout_noise=READING), f"field read ± {READING} (of unit input)"),
    "amplitude": (Nonidealities(io_amplitude_error=AMPLITUDE, io_input=False), f"amplitudes read ± {AMPLITUDE:.0%}"),
    "turn": (Nonidealities(io_phase_error=TURN, io_input=False), f"phases read ± {TURN} π"),
    "tap": (Nonidealities(tap_noise=TAP), f"taps read ± {TAP} of unit light"),
}
CLOSED: dict[tuple[str, bool], Callable[[int], float]] = {
    ("phase", False): lambda n: PHASE * math.sqrt(n - 1),
    ("phase", True): lambda n: Nonidealities(phase_bits=BITS).step() / math.sqrt(12) * math.sqrt(n - 1),
    ("coupler", False): lambda n: COUPLER * math.sqrt(2 * (n - 1)),
    ("loss", False): lambda n: ARM * math.sqrt(2 / n) * (n - 1),
    ("reading", False): lambda n: READING * math.sqrt(2 * (n - 1 / n)),
    ("reading", True): lambda n: READING * math.sqrt(2 * (n - 1 / n) / READINGS),
    ("amplitude", False): lambda n: AMPLITUDE,
    ("amplitude", True): lambda n: AMPLITUDE / math.sqrt(READINGS),
    ("turn", False): lambda n: math.pi * TURN,
    ("turn", True): lambda n: math.pi * TURN / math.sqrt(READINGS),
}
"""Normalised error at N modes, to first order, by (kind, corrected)."""


class Row(NamedTuple):
    """One point: mean over the meshes of the normalised error of the matrix or of 1 - cos of the angle between measured
    and true gradient, and half the width of the 95 % confidence interval of that mean."""

    quantity: str
    kind: str
    corrected: bool
    modes: int
    mean: float
    half_width: float
    closed_form: float


def matrix_error(kind: str, corrected: bool, modes: int, seed: int) -> float:
    """Normalised error of one mesh that was to have a Haar random matrix.

    Corrected are: known phases by the drive, in steps of `BITS`; known couplers MZI by MZI (`unitary.transfer`);
    readings by repeating them."""
    mesh = Mesh("rectangular", modes)
    target = unitary.haar_matrix(generator(seed, "mesh errors", "target", modes), modes)
    ideal = unitary.decompose(mesh, target)
    if kind == "coupler" and corrected:
        errors = COUPLER * generator(seed, "mesh errors", "couplers", modes).normal(size=(2, mesh.count))
        return unitary.error(target, unitary.matrix(mesh, unitary.transfer(mesh, ideal, errors)[0], errors))
    chip = MeshChip(mesh, KINDS[kind][0], seed, dtype="float64")
    chip.set_phases(*ideal)
    if kind == "phase" and corrected:
        chip.nonidealities = Nonidealities(phase_error_std=PHASE, phase_bits=BITS)
        off = np.split(chip.oracle_biases(), (mesh.count, 2 * mesh.count))
        chip.set_phases(*(wrapped(phase - bias) for phase, bias in zip(ideal, off)))
    if kind in ("phase", "coupler", "loss"):
        return unitary.error(target, chip.oracle_matrix())
    eye = np.eye(modes)
    return unitary.error(target, np.mean([chip.forward(eye) for _ in range(READINGS if corrected else 1)], axis=0))


def gradient_error(kind: str, corrected: bool, modes: int, seed: int) -> float:
    """1 - cos of the angle between the gradient measured on one Haar random mesh and the true one, theta and phi.

    Corrected is the mean loss, which is known (`learn.insitu`). L = mean over the batch of sum_n w_n |y_n|^2 +
    Re conj(t_n) y_n, all random; light and cotangents are sent equally strong."""
    draw = generator(seed, "mesh errors", "gradient", modes)
    chip = MeshChip(Mesh("rectangular", modes), KINDS[kind][0], seed, dtype="float64")
    chip.set_phases(*unitary.haar(chip.mesh, draw))
    z = draw.normal(size=(4, modes, BATCH)) / math.sqrt(2)
    x, aim = z[0] + 1j * z[1], z[2] + 1j * z[3]
    y = chip.oracle_matrix() @ x
    g = (2 * draw.uniform(size=(modes, 1)) * np.conj(y) + np.conj(aim)) / BATCH
    true = np.concatenate(chip.oracle_gradient(x, g)[:2])
    seen = measure(chip, x, g, "analog", loss_per_column=2 * LOSS_DB if corrected else 0.0, scale="peak")
    return oracle.gradient_error(true, np.concatenate(seen[:2]))


GRADIENTS = (("phase", False), ("coupler", False), ("loss", False), ("loss", True), ("reading", False), ("tap", False))


def table(sizes: Sequence[int] = SIZES, seeds: int = SEEDS) -> list[Row]:
    """Every point of the study."""
    rows = []
    for quantity, error, which in (
        ("matrix", matrix_error, (*CLOSED, ("coupler", True))), ("gradient", gradient_error, GRADIENTS),
    ):  # fmt: skip
        for (kind, corrected), modes in itertools.product(which, sizes):
            with backend.threads(1):  # a second one only waits: the matrices are small
                values = [error(kind, corrected, modes, seed) for seed in range(seeds)]
            mean, width = float(np.mean(values)), interval(values)
            closed = CLOSED.get((kind, corrected)) if quantity == "matrix" else None
            rows.append(Row(quantity, kind, corrected, modes, mean, width, closed(modes) if closed else math.nan))
    return rows


CURES = {
    "reading": f"mean of {READINGS} readings", "amplitude": f"mean of {READINGS} readings",
    "turn": f"mean of {READINGS} readings", "phase": f"known, {BITS}-bit drive", "coupler": "known, MZI by MZI",
}  # fmt: skip
FLOOR = 1e-5
"""Errors below are drawn at the foot of the figure."""


def draw(rows: list[Row]) -> Figure:
    """Normalised error of the matrix over N, as they are and corrected."""
    sheet = Figure((9.6, 5.2), layout="constrained")
    both = sheet.subplots(1, 2, sharey=True)
    for ax, corrected, words in zip(both, (False, True), ("as they are", "corrected")):
        for kind, look in zip(("phase", "coupler", "loss", "reading", "amplitude", "turn"), figures.LOOKS):
            seen = [row for row in rows if row[:3] == ("matrix", kind, corrected)]
            under = {"ms": 9, "lw": 3.5, "zorder": 1.5} if kind == "amplitude" else {}  # "turn" lies on it
            points(ax, seen, look, KINDS[kind][1] + (f": {CURES[kind]}" if corrected and seen else ""), **under)
        ax.set(title=words, ylim=(7e-4, 1.0))
        over_modes(ax, rows)
    both[0].set_ylabel("normalised error of the matrix (thin: closed form)")
    sheet.suptitle(
        "Errors of phases, couplers, loss and additive noise grow as √N, relative errors of detectors do not",
        fontsize=10.5, x=0.01, ha="left",
    )  # fmt: skip
    return sheet


def gradients(rows: list[Row]) -> Figure:
    """The error of measured gradients over N; those that are exact have no line."""
    sheet = Figure((7.6, 4.6), layout="constrained")
    ax = sheet.subplots()
    for (kind, corrected), look in zip(GRADIENTS, figures.LOOKS):
        seen = [r for r in rows if r[:3] == ("gradient", kind, corrected)]
        if max(row.mean for row in seen) > FLOOR:
            points(ax, seen, look, KINDS[kind][1] + ("; mean loss corrected" if corrected else ""))
    ax.set(title="Gradients measured in situ do not notice phases and couplers; loss ruins them")
    ax.set(ylabel="1 − cos of the angle to the true gradient", ylim=(FLOOR, 2))
    over_modes(ax, rows)
    return sheet


def over_modes(ax: Axes, rows: list[Row]) -> None:
    """Both axes logarithmic, N as it is."""
    sizes = sorted({row.modes for row in rows})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("modes N")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.13))


def points(ax: Axes, seen: list[Row], look: figures.Look, words: str, **style: object) -> None:
    """One curve with its intervals; its closed form as a thin line."""
    if not seen:
        return
    x, mean = [row.modes for row in seen], np.maximum([row.mean for row in seen], FLOOR)
    width = np.array([row.half_width for row in seen])
    lower: Array = np.minimum(width, 0.9 * mean)
    ax.errorbar(x, mean, np.vstack([lower, width]), capsize=2, elinewidth=1.0, label=words, **look.line(**style))
    if all(math.isfinite(row.closed_form) for row in seen):
        ax.plot(x, [row.closed_form for row in seen], color=look.colour, lw=0.8)


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    sizes = sorted({row.modes for row in rows})
    return [
        "# Errors over the size of a mesh", "",
        "Made by `python -m l2sim.study.mesh_errors --full`; all points are in",
        "[mesh-errors.csv](mesh-errors.csv).", "",
        "![Normalised error over N for phases, couplers, loss and detectors](mesh-errors.png)", "",
        "![Error of gradients measured in situ over N](mesh-errors-gradients.png)", "",
        f"Haar random targets on rectangular meshes, {SEEDS} each (seeds 0 to {SEEDS - 1}): mean ± half the",
        "width of its 95 % confidence",
        "interval (Student's t), in brackets the closed form, first order in the error. Matrices: normalised error",
        "sqrt(1 - |tr(U^+ V)|^2 / (|U|^2 |V|^2)). Gradients: 1 - cos of the angle between measured and true gradient",
        f"(analog subtraction, {BATCH} vectors).", "",
        *markdown(["of the", "error", "corrected", *(f"N = {n}" for n in sizes)], (
            (quantity, KINDS[kind][1], ("mean loss" if quantity == "gradient" else CURES[kind]) if corrected else "no",
             *map(shown, same))
            for (quantity, kind, corrected), same in grouped(rows, lambda row: row[:3]).items()
        )), "", *said(rows),
    ]  # fmt: skip


def shown(row: Row) -> str:
    """The cell of one point."""
    if row.mean < 1e-9:
        return "exact"
    closed = f" ({row.closed_form:.2g})" if math.isfinite(row.closed_form) else ""
    return f"{row.mean:.2g} ± {row.half_width:.1g}{closed}"


def said(rows: list[Row]) -> list[str]:
    """What the rows show, in words."""
    small = [row for row in rows if row.modes >= 16 and row.closed_form < 0.2]
    gap = max((abs(row.mean / row.closed_form - 1.0) for row in small), default=math.nan)
    return [
        f"From N = 16 on, means of up to 0.2 are within {gap:.0%} of the closed form. Phases, couplers and",
        "additive noise of a reading grow as sqrt(N), as does the spread of the loss; relative errors of a detector",
        "do not grow. Loss that all arms share costs light but no fidelity: the normalised error does not see a common",
        "factor. No phase makes up for an arm that loses more than the others, so loss has no corrected curve here.",
        "Known couplers are corrected to rounding (*exact*: below 1e-9) until MZIs are clipped",
        "([programming.md](programming.md) has better ways), known phases up to the steps of the drive. A gradient",
        "that is measured on the chip itself needs no such correction: whatever phases and couplers are, it is that",
        "of the chip to rounding; taps, readings and loss set its error.",
    ]


def compute(options: Namespace) -> list[Row]:
    """Every point, of two small sizes and meshes for a quick look."""
    return table(some(SIZES, options, 2), SEEDS if options.full else 2)


TABLE = Table(Row, ".4g")
STUDY = Study(
    "mesh-errors", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw, "gradients": gradients}, runs=False
)

if __name__ == "__main__":
    STUDY.main()
