"""What a photonic product and a step of in situ backpropagation cost over the size of the mesh, and when that is better
than a digital machine.

    python -m l2sim.study.scaling             a quick look
    python -m l2sim.study.scaling --full      the page

The published surfaces (Pai et al., Science 380, 398 (2023)) grow with N for ever: they leave out the loss of the mesh,
the power that holds its phases and the time they take to settle. The device tables of `l2sim.chip.devices` have these;
light is sized so that its noise is that of 8 bits behind the loss of N columns (`l2sim.chip.energy.lit`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from l2sim.chip import energy
from l2sim.report import figures
from l2sim.study.harness import Study, Table, markdown

SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SHOWN = (4, 16, 64, 256)
BATCH = 100
OPERATIONS = "real"
MOST = 512
"""The largest N that is tried against digital machines."""
DEVICES = ("thermal", "suspended", "mems", "electro-optic")
PUBLISHED = "insitu-2023"
LOOKS = dict(zip((*DEVICES, PUBLISHED), (*figures.LOOKS[:4], figures.LOOKS[5])))
WORDS = {
    "thermal": "heaters", "suspended": "suspended heaters", "mems": "micromechanical", "electro-optic": "electro-optic",
    PUBLISHED: "as published (no loss, no power to hold phases)",
}  # fmt: skip
STACKED = "electro-optic"
LAYERS = {
    "light, with its loss": ("laser",), "converters": ("modulator", "dac", "tia", "adc"),
    "memory, additions": ("memory", "digital"), "holding phases": ("heaters",),
}  # fmt: skip


class Row(NamedTuple):
    """One table at one size: efficiencies in TOPS/W; energy of a product by part, J; light that a port needs, W; power
    of all phase shifters, W; times, s."""

    table: str
    modes: int
    product_tops_per_w: float
    step_tops_per_w: float
    laser_j: float
    converters_j: float
    digital_j: float
    holding_j: float
    port_w: float
    shifters_w: float
    flight_s: float
    settle_s: float
    step_s: float


def row(name: str, modes: int) -> Row:
    """One point."""
    table = energy.lit(energy.TABLES[name], modes)
    product, step = energy.design("mvm", table, modes), energy.design("step", table, modes, BATCH)
    laser, ports, digital, holding = (sum(product.energy_j[part] for part in parts) for parts in LAYERS.values())
    return Row(
        name, modes, energy.efficiency("mvm", table, modes, 1, OPERATIONS),
        energy.efficiency("step", table, modes, BATCH, OPERATIONS), laser, ports + product.energy_j["other"], digital,
        holding, table.port_w, modes**2 * table.pi_w, energy.flight_seconds(table, modes), table.settle_s, step.seconds,
    )  # fmt: skip


def table(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Every point of the study."""
    return [row(name, modes) for name in (*DEVICES, PUBLISHED) for modes in sizes]


def draw(rows: list[Row]) -> Figure:
    """Efficiency of products and of steps over N."""
    figure = Figure((9.6, 4.6), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    _efficiency(both[0], rows, "product_tops_per_w", "a product with a vector")
    _efficiency(both[1], rows, "step_tops_per_w", f"a training step, batch of {BATCH}")
    both[1].set_ylabel("")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(
        "With loss, settling and power efficiency peaks; only some devices beat a digital machine",
        fontsize=10.5, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _over_size(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(SIZES[::2], [str(modes) for modes in SIZES[::2]])
    ax.set_xlabel("modes N of the mesh")


def _line(ax: Axes, rows: list[Row], name: str, what: str, thin: bool = False) -> None:
    seen = [row for row in rows if row.table == name]
    style = LOOKS[name].line(markevery=2) | ({"lw": 0.8, "mfc": "white", "ms": 4} if thin else {})
    values = [getattr(row, what) for row in seen]
    ax.plot([row.modes for row in seen], values, label="" if thin else WORDS[name], **style)


def _efficiency(ax: Axes, rows: list[Row], what: str, title: str) -> None:
    for name in (*DEVICES, PUBLISHED):
        _line(ax, rows, name, what)
    for digital in (energy.DIGITAL["h100"], energy.DIGITAL["tpu-2017"]):
        ax.axhline(1e-12 / digital.operation_j, color="0.6", lw=1, ls=":")
        ax.annotate(
            digital.title.partition(",")[0], (256, 1e-12 / digital.operation_j), (0, 2), textcoords="offset points",
            fontsize=8, color=figures.INK, ha="right",
        )  # fmt: skip
    ax.set(yscale="log", ylim=(3e-4, 300), ylabel="10¹² operations a joule (TOPS/W)", title=title)
    _over_size(ax)


def surface(rows: list[Row]) -> Figure:
    """The published surface beside its formula; both from the table, so `rows` are not needed."""
    figure = Figure((6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    n, m = np.arange(4, 257, 4), np.arange(1, 256, 4)
    table = energy.TABLES[PUBLISHED]
    made = np.array([[energy.efficiency("step", table, int(i), int(j)) for i in n] for j in m])
    levels = [0, 4, 8, 16, 32, 64]
    steps = BoundaryNorm(levels, 256)
    image = ax.pcolormesh(n, m, made, norm=steps, cmap="viridis", rasterized=True)
    formula = 1 / (4.731 / n[None, :] + 0.0343 / m[:, None])
    ax.contour(n, m, formula, levels=levels, colors=figures.INK, linewidths=1.6)
    figure.colorbar(image, ax=ax, label="efficiency of a training step (TOPS/W)")
    ax.set(xlabel="modes N of the mesh", ylabel="batch M")
    ax.set(title="Is the published surface met? Computed colours change at the formula's lines")
    ax.grid(visible=False)
    return figure


def parts(rows: list[Row]) -> Figure:
    """Energy of an operation by part."""
    figure = Figure((6.8, 4.0), layout="constrained")
    ax = figure.subplots()
    seen = [row for row in rows if row.table == STACKED]
    modes = [row.modes for row in seen]
    each = [np.array([getattr(row, what) for row in seen]) / np.square(modes) / 2 * 1e15
            for what in ("laser_j", "converters_j", "digital_j", "holding_j")]  # fmt: skip
    for values, label, look in zip(each, LAYERS, figures.LOOKS):
        ax.plot(modes, values, label=label, **look.line())
    ax.plot(modes, np.sum(each, axis=0), color=figures.INK, lw=2.4, label="all")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set(yscale="log", ylim=(0.3, 1e5), ylabel="energy of an operation (fJ)",
           title=f"From some 96 modes on the energy of a product is mostly light ({WORDS[STACKED]})")  # fmt: skip
    _over_size(ax)
    return figure


def times(rows: list[Row]) -> Figure:
    """Seconds of a step, and of the light's flight."""
    figure = Figure((6.8, 4.0), layout="constrained")
    ax = figure.subplots()
    for name in DEVICES:
        _line(ax, rows, name, "step_s")
        _line(ax, rows, name, "flight_s", thin=True)
    ax.annotate("thin, hollow: time of flight through the mesh", (4.3, 4e-12), fontsize=8, color=figures.INK)
    ax.axhline(3 * BATCH * 1e-9, color="0.8", lw=1, zorder=0)
    ax.annotate(f"{3 * BATCH} vectors at 10⁹ a second", (300, 3 * BATCH * 1e-9), (0, 4), textcoords="offset points",
                ha="right", fontsize=8, color=figures.INK)  # fmt: skip
    ax.set(yscale="log", ylim=(2e-12, 2e-2), ylabel="time of a step (s)",
           title="What does a training step wait for? Settling, or its vectors")
    _over_size(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def power(rows: list[Row]) -> Figure:
    """Watts of all phases, and of the light of a port."""
    figure = Figure((6.8, 4.0), layout="constrained")
    ax = figure.subplots()
    for name in DEVICES:
        _line(ax, rows, name, "shifters_w")
        _line(ax, rows, name, "port_w", thin=True)
    words = "thin, hollow: light that one port needs (both heaters alike)"
    ax.annotate(words, (4.3, 1e3), fontsize=8, color=figures.INK)
    ax.set(yscale="log", ylim=(1e-9, 1e4), ylabel="power (W)",
           title="Which needs more power, holding all N² phases or the light of a port?")
    _over_size(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def spans() -> list[tuple[str, str, str, str]]:
    """(baseline, table, N of better products, N of better steps)."""
    return [
        (digital.title, f"`{name}`", _span("mvm", name, digital), _span("step", name, digital))
        for digital in energy.DIGITAL.values() for name in (*DEVICES, PUBLISHED)
    ]  # fmt: skip


def _span(kind: Literal["mvm", "step"], name: str, digital: energy.Digital) -> str:
    span = energy.break_even(kind, energy.TABLES[name], digital, BATCH, OPERATIONS, most=MOST)
    if span is None:
        return "none"
    return f"{span[0]} on" if span[1] == MOST else f"{span[0]} to {span[1]}"


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    by = {(row.table, row.modes): row for row in rows}
    return [
        "# What a mesh costs over its size", "",
        "Made by `python -m l2sim.study.scaling --full`; the constants and their sources are in",
        "[cost.md](../cost.md), and `l2sim cost` prints the same for any size, batch, resolution, rate and device.", "",
        "![Efficiency of products and steps over N](scaling.png)", "",
        "![Energy by part over N](scaling-parts.png)", "",
        "![Time of a step over N](scaling-times.png)", "",
        "![Power over N](scaling-power.png)", "",
        "![The published surface](scaling-surface.png)", "",
        f"A rectangular mesh of N modes, 8 bit, 10^9 vectors a second, a batch of M = {BATCH}. A product counts 2 N^2",
        "operations, a step those of its M forward products. Light is sized to the loss of N columns.", "",
        *markdown(["devices", *(f"N = {n}" for n in SHOWN), "settling", "holding a phase"], (
            (f"`{name}`: {WORDS[name]}",
             *(f"{by[name, n].product_tops_per_w:.2g} / {by[name, n].step_tops_per_w:.2g}" for n in SHOWN),
             f"{energy.TABLES[name].settle_s:.3g} s", f"{energy.TABLES[name].pi_w:.3g} W")
            for name in (*DEVICES, PUBLISHED)
        )), "",
        "TOPS/W of a product / of a step. The published figures leave out settling and power.", "",
        "## When it is better than a digital machine", "",
        *markdown(("baseline", "devices", "products: N", "steps: N"), spans()), "",
        *(f"- {one.title}: {1e-12 / one.operation_j:.3g} TOPS/W. {one.source}" for one in energy.DIGITAL.values()), "",
        "The published surfaces, 0.635 N and 1 / (4.731/N + 0.0343/M) TOPS/W, are met to 0.2 %: three optical passes a",
        "step, N^2 readings and writes a batch (`tests/chip/test_cost.py` compares every cell of the maps). They",
        "count operations by a convention that is not published: `--operations complex` takes 8 N^2, and table",
        "`insitu-2023-complex` then has the same surface with four times the energy.", "",
        "What they leave out decides the rest. Converters and memory cost N, a product does N^2: efficiency grows",
        "with N until the light for the loss of N columns takes over, at 48 to 96 modes for 0.2 to 0.4 dB a column.",
        "Heaters draw power whether they compute or not, and N^2 of them take away what a larger product gains. A step",
        "pays three passes and a wait for every update, during which all phases are held: heaters need batches of",
        "thousands before that is forgotten.",
    ]  # fmt: skip


TABLE = Table(Row, ".4g")
STUDY = Study(
    "scaling", __doc__, lambda _: table(), page, TABLE.write, TABLE.read,
    {"": draw, "parts": parts, "times": times, "power": power, "surface": surface}, runs=False,
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
