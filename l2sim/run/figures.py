"""The figures of a report, from plain data. Every function draws one panel on the axes it is given.

Colours are Okabe and Ito's, which colour-blind readers tell apart; lines that could be mixed up differ in dash as well.
`python -m l2sim.run.figures RUN OUT.png` writes the overview of a run as a picture.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MultipleLocator

from l2sim.backend import Array

BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a8f98"
INK = "#1c1d1f"
"""Colour of text and axes. In a page it becomes the page's own text colour, light or dark."""
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "path.simplify_threshold": 0.5,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
)
DPI = 100
MOST_POINTS = 1200
"""A faint line of more mini-batches is thinned out to about so many."""
RASTER_ABOVE = 4000
"""More dots than this are drawn as a picture, which is smaller."""

Values = dict[str, Array]
"""The scalars of one stage by name, a value for every epoch."""
Lines = dict[str, tuple[Array, Array]]
"""Training curves: (epochs, values) by quantity and who measured it, e.g. `loss/test`, `accuracy/batch`."""


def sheet(columns: int, width: float, height: float, rows: int = 1, **more: Any) -> tuple[Figure, Array]:
    """A figure of `width` x `height` inches and its axes (rows, columns)."""
    figure = Figure((width, height), DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def accuracy(ax: Axes, stages: Sequence[dict[str, Any]], chance: float) -> None:
    """Test accuracy after every stage that has one; hollow: with the oracle projection."""
    shown = [stage for stage in stages if stage.get("accuracy") is not None]
    for at, stage in enumerate(shown):
        height = 100 * stage["accuracy"]
        ax.bar(at, height, 0.62, color=GREY if stage["name"] == "pretrain" else BLUE)
        ax.annotate(f"{height:.1f} %", (at, height), (0, 3), textcoords="offset points", ha="center", fontweight="bold")
        if stage.get("oracle_accuracy") is not None:
            oracle = 100 * stage["oracle_accuracy"]
            ax.plot(at + 0.43, oracle, "D", ms=6, mfc="none", mec=VERMILLION, mew=1.6, clip_on=False)
            ax.annotate(
                f"oracle\n{oracle:.1f} %", (at + 0.43, oracle), (0, -7), textcoords="offset points", ha="center", va="top",
                color=VERMILLION, fontsize=8,
            )  # fmt: skip
    ax.axhline(100 * chance, color=INK, lw=1, ls=(0, (4, 3)))
    ax.annotate(
        "chance", (1, 100 * chance), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", fontsize=8,
    )  # fmt: skip
    ax.set_xticks(range(len(shown)), [_STAGE_WORDS.get(s["name"], s["name"]) for s in shown])
    ax.set_xlim(-0.55, max(len(shown) - 0.1, 0.55))
    ax.set_ylim(0, 108)
    ax.set_yticks(range(0, 101, 20))
    ax.grid(axis="x", visible=False)
    ax.set(ylabel="test accuracy (%)", title="Accuracy after each stage")


_STAGE_WORDS = {
    "pretrain": "pretrain\n(electronic)", "deploy": "deploy\n(as is)", "map": "map\n(calibrated)", "learn": "learn\n(on chip)",
}  # fmt: skip


def identity(ax: Axes, run: Values, result: dict[str, Any]) -> None:
    """Calibration: what the chip measures (spread over cores) and how far U and V are from identities (oracle)."""
    x = run["evaluations"]
    ax.fill_between(x, run["best_p10"], run["best_p90"], color=BLUE, alpha=0.22, lw=0, label="10–90 % of the cores")
    ax.plot(x, run["best"], color=BLUE, label="measured loss, best so far, mean")
    for part, colour, dash, mark in (("u", VERMILLION, "-", "o"), ("v", GREEN, (0, (5, 1.5)), "s")):
        ax.plot(
            x, run[f"oracle_identity_error_{part}"], color=colour, ls=dash, lw=1.3,
            label=f"true identity error of {part.upper()} (oracle), mean",
        )  # fmt: skip
        final = result.get("oracle_identity_error", {}).get(part)
        if final is not None:
            ax.plot(x[-1], final, mark, ms=6, mfc="none", mec=colour, mew=1.6, clip_on=False)
    _evaluations(ax)
    ax.set(ylabel="mean squared error of an element", title="Calibrate: both meshes become identities")
    _legend(ax)


def mapping(ax: Axes, run: Values, start: str, comparisons: dict[str, Any], noise: float = 0.0) -> None:
    """Mapping error over evaluations with its spread over cores, and the curves of copies mapped another way.

    `start` is the job's `map.start`; `noise` the readout noise of the run itself."""
    x = run["evaluations"]
    told = f", with {100 * noise:g} % readout noise" if noise else ""
    ax.fill_between(x, run["best_p10"], run["best_p90"], color=BLUE, alpha=0.22, lw=0, label="10–90 % of the cores")
    ax.plot(x, run["best"], color=BLUE, label=f"this run, {START_WORDS[start]}{told}")
    for (name, other), colour, dash in zip(
        comparisons.items(), (GREEN, VERMILLION, PURPLE), ((0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1, 1, 1)))
    ):
        curve = np.array(other["curve"], float)
        steps = np.linspace(x[0], x[-1] if curve.size > 1 else x[0], curve.size)
        ax.plot(steps, curve, color=colour, ls=dash, label=f"copy, {compared(name)}")
    _evaluations(ax)
    ax.set(ylabel="mapping error (relative to the weight)", title="Map: the chip takes over the trained weights")
    _legend(ax)


START_WORDS = {"calibrated": "from calibrated phases", "ideal": "from ideal phases (as published)"}


def compared(name: str) -> str:
    """The name of a comparison, such as `readout_noise_0.01`, in words."""
    kind, _, value = name.rpartition("_")
    if kind == "readout_noise":
        return f"with {100 * float(value):g} % readout noise"
    return START_WORDS.get(value, name.replace("_", " "))


def distribution(ax: Axes, errors: dict[str, Sequence[float]]) -> None:
    """The identity error of every core at the end of calibration, for U and V."""
    values = {part: np.array(e, float) for part, e in errors.items()}
    every = np.concatenate(list(values.values()))
    every = every[np.isfinite(every)]
    top = every.max() if every.size and every.max() > 0 else 1.0
    edges = np.linspace(0, top * 1.02, int(np.clip(np.sqrt(every.size) * 2, 8, 40)) + 1)
    for part, colour, dash in (("u", VERMILLION, "-"), ("v", GREEN, (0, (5, 1.5)))):
        e = values[part][np.isfinite(values[part])]
        mean = f"mean {e.mean():.4f}" if e.size else "none"
        ax.hist(e, edges, histtype="stepfilled", color=colour, alpha=0.18)
        ax.hist(e, edges, histtype="step", color=colour, ls=dash, lw=1.6, label=f"{part.upper()}: {mean}")
        if e.size:
            ax.axvline(e.mean(), color=colour, ls=dash, lw=1)
    ax.yaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    ax.set_xlim(0, edges[-1])
    ax.set(
        xlabel="true identity error of a core (oracle)", ylabel="number of cores",
        title=f"Calibrated: the {len(values['u'])} cores one by one",
    )  # fmt: skip
    _legend(ax)


def curves(ax: Axes, lines: Lines, quantity: str, title: str) -> None:
    """Loss or accuracy of one stage of training over epochs: mini-batches faint, epochs bold, the test set apart."""
    scale = 100 if quantity == "accuracy" else 1
    for who, colour, dash, words in (
        ("batch", BLUE, "-", "training, mini-batch"),
        ("train", BLUE, "-", "training, epoch mean"),
        ("validation", GREEN, (0, (5, 1.5)), "validation share"),
        ("test", VERMILLION, (0, (3, 1)), "test set"),
    ):
        x, y = lines.get(f"{quantity}/{who}", (np.empty(0), np.empty(0)))
        if who == "batch" and x.size:
            every = -(-x.size // MOST_POINTS)
            label = words + (f" (every {every}th)" if every > 1 else "")
            ax.plot(x[::every], scale * y[::every], color=colour, lw=0.7, alpha=0.3, label=label)
        elif x.size:
            mark = "o" if x.size == 1 else ""
            ax.plot(x, scale * y, color=colour, ls=dash, marker=mark, ms=5, label=words)
    ax.set_xlim(0, None)
    if quantity == "accuracy":
        low = min((float(np.nanmin(y)) for k, (_, y) in lines.items() if k in _EPOCHLY and np.isfinite(y).any()), default=0)
        ax.set_ylim(min(100 * low - 4, 90), 101)
        ax.set_ylabel("accuracy (%)")
    else:
        ax.set_yscale("log", nonpositive="mask")
        ax.set_ylabel("loss (cross entropy, nat)")
    ax.set(xlabel="epochs", title=title)
    _legend(ax)


_EPOCHLY = ("accuracy/train", "accuracy/test")


def phases(ax: Axes, frame: dict[str, Array], title: str) -> None:
    """How the commanded phases of all heaters of U and V are spread over a turn."""
    edges = np.linspace(0, 2, 49)
    for part, colour, dash in (("u", BLUE, "-"), ("v", VERMILLION, (0, (4, 1.5)))):
        turned = np.mod(frame[part], 2 * np.pi) / np.pi
        share = np.full(turned.size, 100 / max(turned.size, 1))
        if part == "u":
            ax.hist(turned, edges, weights=share, color=colour, alpha=0.25)
        ax.hist(turned, edges, weights=share, histtype="step", color=colour, ls=dash, lw=1.4, label=f"{part.upper()} meshes")
    ax.set_xlim(0, 2)
    ax.xaxis.set_major_locator(MultipleLocator(0.5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} π" if v else "0"))
    ax.set(xlabel="commanded phase (rad)", ylabel="share of the heaters (%)", title=title)
    _legend(ax)


def sigma(ax: Axes, before: Array, after: Array) -> None:
    """Every singular value after mapping and after learning; both 1-d."""
    most = float(max(np.abs(before).max(initial=0), np.abs(after).max(initial=0))) * 1.06 or 1.0
    low = -most if min(before.min(initial=0), after.min(initial=0)) < -0.02 * most else -0.02 * most
    ax.plot([low, most], [low, most], color=INK, lw=1, ls=(0, (4, 3)), label="unchanged")
    ax.plot(
        before, after, ".", color=BLUE, ms=5, alpha=0.55, mew=0, rasterized=before.size > RASTER_ABOVE,
        label=f"{before.size:,} attenuators",
    )  # fmt: skip
    ax.set(xlim=(low, most), ylim=(low, most), aspect="equal")
    ax.set(xlabel="sigma after mapping", ylabel="sigma after learning", title="Learn: what moved")
    _legend(ax, loc="upper left")


def cost(ax: Axes, stages: Sequence[dict[str, Any]], test: dict[str, Any]) -> None:
    """What the meter counted, by stage; the cost of testing apart."""
    rows = [stage for stage in stages if any(stage.get(kind) for kind in COSTS)]
    rows += [{"name": "testing", **test}] if any(test.values()) else []
    for offset, (kind, colour) in zip((-0.27, 0, 0.27), zip(COSTS, (BLUE, GREEN, VERMILLION))):
        for at, stage in enumerate(rows):
            count = stage.get(kind) or 0
            if not count:
                continue
            hatch = "///" if stage["name"] == "testing" else None
            ax.bar(at + offset, count, 0.25, color=colour, alpha=0.55 if hatch else 1, hatch=hatch, ec="none" if not hatch else INK)
            ax.annotate(
                engineering(count), (at + offset, count), (0, 2), textcoords="offset points", ha="center", fontsize=7.5,
            )  # fmt: skip
        ax.bar(0, 0, color=colour, label=COSTS[kind])
    ax.set_yscale("log")
    top = max((s.get(k) or 0 for s in rows for k in COSTS), default=1)
    ax.set_ylim(1, max(top, 10) ** 1.12)
    ax.set_xticks(range(len(rows)), [stage["name"] for stage in rows])
    ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.grid(axis="x", visible=False)
    ax.set(ylabel="count", title="Cost by stage")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncols=3)


COSTS = {
    "core_calls": "core calls (one vector through one core)",
    "writes": "writes (heater or attenuator)",
    "accumulation_steps": "electronic accumulation steps",
}


def overview(
    stages: Sequence[dict[str, Any]], calibrate: Values, map_: Values, training: dict[str, Lines], chance: float
) -> Figure:
    """Accuracy by stage | identity and mapping error | accuracy while training: a whole run in one wide picture."""
    figure, axes = sheet(3, 16, 5, width_ratios=(1.05, 1, 1))
    left, middle, right = axes[0]
    accuracy(left, stages, chance)
    for run, name, colour, dash, words in (
        (calibrate, "best", BLUE, "-", "calibrate: measured loss"),
        (map_, "best", VERMILLION, (0, (5, 1.5)), "map: relative error"),
    ):
        if run:
            x = run["evaluations"]
            middle.fill_between(x, run[f"{name}_p10"], run[f"{name}_p90"], color=colour, alpha=0.2, lw=0)
            middle.plot(x, run[name], color=colour, ls=dash, label=words)
    _evaluations(middle)
    middle.set(ylabel="error, mean and 10–90 % of the cores", title="The chip finds its own phases")
    _legend(middle)
    for stage, colour, dash, words in (
        ("pretrain", GREY, "-", "pretrain (electronic)"), ("learn", BLUE, (0, (5, 1.5)), "learn (on the chip)"),
    ):  # fmt: skip
        if "loss/test" in training.get(stage, {}):
            x, y = training[stage]["loss/test"]
            right.plot(x, y, color=colour, ls=dash, marker="o" if x.size == 1 else "", label=f"{words}, test set")
            x, y = training[stage]["loss/train"]
            right.plot(x, y, color=colour, ls=dash, lw=1, alpha=0.6, label=f"{words}, training")
    right.set_yscale("log", nonpositive="mask")
    right.set_xlim(0, None)
    right.set(xlabel="epochs", ylabel="loss (cross entropy, nat)", title="Training, before and on the chip")
    _legend(right)
    return figure


def engineering(count: float) -> str:
    """A count with three digits and a unit prefix, e.g. 16.1 M."""
    for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{prefix}"
    return f"{count:.3g}"


def svg(figure: Figure, name: str, alt: str) -> str:
    """`figure` as an <svg> element that takes the page's text colour; `alt` is what it says to those who cannot see it."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Salted by name, ids of two figures on one page differ, and the same run gives the same bytes.
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z]+[a-zA-Z\d]*_\d+"', "", text)
    text = re.sub(r'(font: (?:[\w.]+ )*?[\d.]+px )[^;"]*', r"\1'DejaVu Sans', Verdana, sans-serif", text)
    width, height = figure.get_size_inches() * DPI
    head = f'<svg role="img" aria-label="{escape(alt)}" style="max-width: {width:.0f}px" viewBox="0 0 {width * 0.72:g} {height * 0.72:g}"'
    return re.sub(r"<svg [^>]*>", lambda _: head + ' xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)


def _evaluations(ax: Axes) -> None:
    ax.set_yscale("log", nonpositive="mask")
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.set_xlabel("evaluations, all cores together")
    ax.set_xlim(0, None)


def _legend(ax: Axes, loc: str = "best") -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc=loc)


def main(run: str, out: str) -> None:
    """Write the overview of the run folder `run` to the picture `out`."""
    from l2sim.run import report

    material = report.gather(Path(run))
    with matplotlib.rc_context(STYLE):
        figure = report.overview(material)
        figure.savefig(out, dpi=DPI, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
