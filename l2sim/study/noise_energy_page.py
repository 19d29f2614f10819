"""The figure and the page of `l2sim.study.noise_energy`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l2sim.chip import energy
from l2sim.report import figures
from l2sim.study import noise_energy as study
from l2sim.study.noise_energy import LOSSES, NEAR, TABLE, Row, enough, inference_j, table_of

OWN = LOSSES.index(energy.TABLES[TABLE].column_loss_db)
"""The loss of the table itself."""
COLOURS = (figures.GREY, figures.BLUE, figures.GREEN, figures.VERMILLION, figures.INK)
MARKS = "osD^v"
DASHES = ((0, (1.5, 1)), (0, (5, 1.5)), "-")
"""Of the losses, none first."""


def draw(rows: list[Row]) -> Any:
    """Accuracy over bits, what noise costs by its causes, accuracy over joules, and joules over N."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((14.5, 8.6), layout="constrained")
        (bits, knobs, one), (run, scale, scale_run) = sheet.subplots(2, 3)
        accuracy(bits, rows)
        causes(knobs)
        over_joules(one, rows, ("without",), "inference_j", "energy of an inference (J), 1 to 9 bit")
        one.set_title("Accuracy costs light: one inference")
        over_joules(run, rows, ("with", study.LEARNT[0]), "training_j", "energy of the training so far (J)")
        run.set_title(f"… and training with readings of {study.LEARNT[0]} bit, {study.EPOCHS} epochs")
        over_modes(scale, rows, "inference_j", "energy of an inference (J)")
        over_modes(scale_run, rows, "training_j", "energy of the training run (J)")
        sheet.suptitle(
            f"Three meshes of N modes trained in situ on MNIST, device table “{TABLE}”; light sized to the bits of a "
            "reading behind N lossy columns", fontsize=11,
        )  # fmt: skip
    return sheet


def sizes(rows: list[Row]) -> list[tuple[int, str, str]]:
    """(N, colour, mark)."""
    return list(zip(sorted({row.modes for row in rows}), COLOURS, MARKS))


def final(rows: list[Row]) -> list[Row]:
    """Those after the last epoch."""
    return [row for row in rows if row.epochs == max(r.epochs for r in rows)]


def accuracy(ax: Any, rows: list[Row]) -> None:
    """Accuracy over the bits of a reading."""
    for modes, colour, mark in sizes(rows):
        for trained, fill in (("without", colour), ("with", "white")):
            mine = sorted(r for r in final(rows) if (r.modes, r.trained) == (modes, trained) and r.bits)
            width = np.nan_to_num([100 * r.half_width for r in mine])
            ax.errorbar(
                [r.bits for r in mine], [100 * r.accuracy for r in mine], width, color=colour, marker=mark, mfc=fill,
                ms=5 if trained == "without" else 7, ls="-" if trained == "without" else "", capsize=2,
                label=f"N = {modes}" if trained == "without" else None,
            )  # fmt: skip
    ax.plot([], [], "o", color=figures.GREY, mfc="white", ms=7, label="trained at that noise")
    ax.set(xlabel="bits of a reading (noise: √2 × that of the bits)", ylabel="test accuracy (%)", ylim=(0, 101))
    ax.set_title("What accuracy needs")
    ax.legend(loc="lower right")


def causes(ax: Any, modes: int = 64) -> None:
    """Noise of a reading over the energy of a vector, where one constant alone is changed."""
    base = energy.TABLES[TABLE]
    start = energy.readout_noise(base, modes).sigma, energy.call_energy(base, modes)
    ways = {
        "laser power": [{"port_w": base.port_w * f} for f in np.geomspace(1e-2, 1e2, 25)],
        "integration time": [{"rate_hz": base.rate_hz / f} for f in np.geomspace(1e-1, 1e2, 25)],
        "bits of the converters": [{"bits": bits} for bits in range(3, 13)],
        "loss of a column": [{"column_loss_db": loss} for loss in np.linspace(0.0, 0.5, 11)],
    }
    for (words, changes), colour, mark in zip(ways.items(), COLOURS[1:], MARKS[1:]):
        tables = [energy.changed(base, **change) for change in changes]
        joules = [sum(energy.call_energy(table, modes).values()) for table in tables]
        noise = [energy.readout_noise(table, modes).sigma for table in tables]
        ax.plot(joules, noise, color=colour, marker=mark, ms=4, label=words)
    told = f"as in the table: {1e3 * base.port_w:g} mW a port, 1 ns, {base.bits} bit, {base.column_loss_db} dB"
    ax.plot(sum(start[1].values()), start[0], "*", color=figures.INK, ms=13, label=told)
    ax.set(xscale="log", yscale="log", xlabel=f"energy of a vector through N = {modes} (J)")
    ax.set(ylabel="noise of a reading (of full scale)", title="What noise costs, by what is changed")
    ax.set_ylim(top=ax.get_ylim()[1] * 12)
    ax.legend(loc="upper right", fontsize=8)


def over_joules(ax: Any, rows: list[Row], which: tuple[Any, ...], what: str, words: str) -> None:
    """Accuracy over energy, without loss and with the table's, of networks trained as `which` (trained, bits) says."""
    for modes, colour, mark in sizes(rows):
        mine = sorted(r for r in rows if r.modes == modes and r.bits and (r.trained, r.bits)[: len(which)] == which)
        for at, dash in ((0, DASHES[0]), (OWN, DASHES[-1])):
            joules = [getattr(r, what)[at] for r in mine]
            look: dict[str, Any] = {"color": colour, "marker": mark, "ms": 4, "ls": dash}
            ax.plot(joules, [100 * r.accuracy for r in mine], label=f"N = {modes}" if at else None, **look)
    ax.plot([], [], color=figures.GREY, ls=DASHES[0], label="no loss in the mesh")
    ax.plot([], [], color=figures.GREY, label=f"{LOSSES[OWN]:g} dB a column")
    ax.set(xscale="log", xlabel=words, ylabel="test accuracy (%)", ylim=(0, 101))
    ax.legend(loc="lower right", fontsize=8)


def over_modes(ax: Any, rows: list[Row], what: str, words: str) -> None:
    """Energy of the fewest bits that are enough, over N."""
    for at, (loss, colour, mark) in enumerate(zip(LOSSES, COLOURS[1:], MARKS[1:])):
        points = needed(rows, what, at)
        label = f"{loss:g} dB a column" if loss else "no loss in the mesh"
        ax.plot(list(points), list(points.values()), color=colour, marker=mark, ms=5, label=label)
    if what == "inference_j":
        shown = [modes for modes, *_ in sizes(rows)]
        forms = [published(modes) for modes in shown]
        ax.plot(shown, forms, color=figures.GREY, ls=(0, (5, 1.5)), label="published closed form")
    ticks = [modes for modes, *_ in sizes(rows)]
    ax.set(xscale="log", yscale="log", xlabel="modes N", ylabel=words)
    near = f"How it scales: within {100 * NEAR:g} point of no noise"
    ax.set_title(near if what == "inference_j" else "… and a training run with those bits")
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.legend(loc="upper left")


def needed(rows: list[Row], what: str, at: int) -> dict[int, float]:
    """Energy by N of the fewest bits that are enough, at the loss number `at`."""
    found = {}
    for modes, *_ in sizes(rows):
        bits = enough(rows, modes)
        row = next((r for r in final(rows) if (r.modes, r.bits) == (modes, bits) and bits), None)
        if row:
            found[modes] = getattr(row, what)[at]
    return found


def published(modes: int, layers: int = 3) -> float:
    """Energy of an inference by the published closed form, 2 N^2 operations at 0.635 N TOPS/W a mesh, J."""
    return layers * 2 * modes**2 / (0.635e12 * modes)


def page(rows: list[Row], scales: dict[int, float]) -> str:
    """The results as a page of Markdown."""
    lines = [
        "# Noise costs energy", "",
        "Made by `python -m l2sim.study.noise_energy --data DIR --out docs/results`; every number is in",
        "[noise-energy.csv](noise-energy.csv).", "",
        "![Accuracy over bits and joules, noise over joules, joules over N](noise-energy.png)", "",
        f"Three meshes of N modes learn MNIST (Fourier features, preset `{study.PRESET}`) in situ for {study.EPOCHS}",
        f"epochs, without noise and (one seed) at the noise of readings of {', '.join(map(str, sorted(study.LEARNT)))} "
        f"bit, above N = {study.LARGE} of {study.LEARNT[0]} bit only. Networks trained without",
        "noise are tested at 1 to 9 bit. The noise of a reading is that of its bits and as much again of light and",
        f"amplifiers, which fixes the light (`cost.sized`). Devices: table `{TABLE}`.", "",
        "| N | trained | bits | noise of a reading | accuracy, % | seeds | "
        + " | ".join(f"J an inference, {loss:g} dB" for loss in LOSSES) + " | "
        + " | ".join(f"J the training, {loss:g} dB" for loss in LOSSES) + " |",
        "|---" * (6 + 2 * len(LOSSES)) + "|",
    ]  # fmt: skip
    for row in final(rows):
        if row.bits in (1, 7, 9):
            continue  # they are in the CSV file
        spread = "" if math.isnan(row.half_width) else f" ± {100 * row.half_width:.1f}"
        told = [f"{100 * row.accuracy:.1f}{spread}", str(row.seeds)]
        told += [f"{value:.2g}" for value in (*row.inference_j, *row.training_j)] or [""] * (2 * len(LOSSES))
        cells = [str(row.modes), f"{row.trained} noise", str(row.bits or "∞"), f"{row.sigma:.3g}", *told]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *said(rows, scales)]) + "\n"


def said(rows: list[Row], scales: dict[int, float]) -> list[str]:
    """What the rows show, and what is left out."""
    lines = [
        f"## To come within {100 * NEAR:g} point of the accuracy without noise", "",
        "| N | bits | accuracy without noise, % | light a port, W | J an inference | without loss | published |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for modes, *_ in sizes(rows):
        best = next((row.accuracy for row in rows if (row.modes, row.bits) == (modes, 0)), math.nan)
        if bits := enough(rows, modes):
            power = table_of(bits, modes, LOSSES[OWN]).port_w
            joules = [f"{inference_j(bits, modes, loss):.2g}" for loss in (LOSSES[OWN], LOSSES[0])]
            cells = [str(bits), f"{100 * best:.1f}", f"{power:.2g}", *joules, f"{published(modes):.2g}"]
            lines.append(f"| {modes} | " + " | ".join(cells) + " |")
    told = ", ".join(f"{scale:g} (N = {modes})" for modes, scale in scales.items())
    return [
        *lines, "",
        "Without loss in the mesh the energy of an inference grows as N, as in the published closed forms, since",
        "readings need hardly more bits as N grows. With loss it grows as N 10^(L N / 10): the light that a detector",
        "needs has to be sent through N columns. The closed forms leave this out.", "",
        "Networks trained with noisy readings end about where those trained without noise do that are tested with",
        "them: better or worse by some points at 3 and 4 bit, within two points at 5. So the last panel takes it that",
        "a training run with the bits that an inference needs ends as one without noise: an assumption, not",
        "measured.", "",
        "How it was done:", "",
        "- Full scale is the root mean square over the ports of the largest amplitude of the training data:",
        f"  {told}, in units of a sample's",
        "  mean |x|; the laser's light is shared out to the ports accordingly. Readings beyond it are not clipped.",
        "- Uniform loss is taken to be corrected (`learn.insitu`), so that a lossy mesh is a lossless one with less",
        "  light.",
        f"- A tap takes {study.TAP_SHARE:.0%} of the light and sees as much of it as is left behind all columns, which",
        "  is less than there is before the last. Cotangents are sent as strong as the data (`insitu.scale`).",
        f"- Training for {study.EPOCHS} epochs is short: these are not the best accuracies of such networks. One seed",
        "  was trained at each noise, so these points have no interval.",
        "- Digital work between the meshes is what the table's memory and additions cost; loading images is left out.",
    ]  # fmt: skip
