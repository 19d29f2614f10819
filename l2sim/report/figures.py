"""The style of all figures, and those of a report, from plain data: a function draws one panel on the axes it is given.

Colours are Okabe and Ito's, which colour-blind readers tell apart; what could be mixed up in grey differs in dash, mark
or hatch as well (`LOOKS`). Reports, sweeps and studies draw in `STYLE`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogFormatterSciNotation,
    MaxNLocator,
    MultipleLocator,
    NullLocator,
)  # fmt: skip

from l2sim import files
from l2sim.backend import Array
from l2sim.given import wrapped
from l2sim.report.html import numeric

BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a8f98"
COLOURS = {"blue": BLUE, "vermillion": VERMILLION, "green": GREEN, "purple": PURPLE}
"""Those that a dark page draws lighter, by the name of their variable in its style."""
INK = "#1c1d1f"
"""Colour of text and axes. In a page it becomes the page's own text colour, light or dark."""
STYLE: dict[Any, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titley": 1.0,  # where it is anyway, unless ticks are at the top: Matplotlib need not look
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
} | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK)
DPI = 100
PICTURE_DPI = 140
ORANGE, SKY = "#e69f00", "#56b4e9"


class Look(NamedTuple):
    """How one of several things in a figure is told from the others: in colour, and in grey by dash, mark and hatch."""

    colour: str
    dash: Any
    mark: str
    hatch: str

    def line(self, **more: object) -> dict[str, Any]:
        """As what `plot` and `errorbar` take, with `more` of that."""
        return {"color": self.colour, "ls": self.dash, "marker": self.mark, "ms": 5, "lw": 1.5} | more

    def bar(self, **more: object) -> dict[str, Any]:
        """As what `bar` takes, with `more` of that."""
        return {"color": self.colour, "hatch": self.hatch, "edgecolor": "white", "lw": 0} | more


LOOKS = (
    Look(BLUE, "-", "o", ""),
    Look(VERMILLION, (0, (5, 1.5)), "s", "///"),
    Look(GREEN, (0, (1.5, 1)), "D", "..."),
    Look(PURPLE, (0, (6, 1, 1, 1)), "^", "xxx"),
    Look(ORANGE, (0, (3, 1, 1, 1, 1, 1)), "v", "---"),
    Look(INK, "-", "P", ""),
    Look(SKY, (0, (8, 2)), "X", "\\\\\\"),
    Look(GREY, (0, (1, 2)), "*", "++"),
)
"""In turn, those first that differ most."""
MOST_POINTS = 1200
"""A faint line of more mini-batches is thinned out to about so many."""
RASTER_ABOVE = 4000
"""More dots than this are drawn as a picture, which is smaller."""

Values = dict[str, Array]
"""The scalars of one stage by name, a value for every epoch."""
Lines = dict[str, tuple[Array, Array]]
"""Training curves: (epochs, values) by quantity and who measured it, e.g. `loss/test`, `accuracy/batch`."""


def sheet(
    columns: int, width: float, height: float, rows: int = 1, width_ratios: Sequence[float] | None = None
) -> tuple[Figure, Array]:
    """A figure of `width` x `height` inches and its axes (rows, columns)."""
    figure = Figure((width, height), DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, wspace=0.02))
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios)


def accuracy(ax: Axes, stages: Sequence[Mapping[str, object]], guess: float | None) -> None:
    """Test accuracy after every stage that has one; the hollow bar is that with the oracle projection. The line is the
    accuracy of a `guess`, where that is known."""
    every = [(str(s["name"]), numeric(s, "accuracy"), numeric(s, "oracle_accuracy")) for s in stages]
    shown, chance = [(name, share, true) for name, share, true in every if share is not None], guess or 0.0
    if guess is not None:
        ax.axhline(100 * chance, color=INK, lw=1, ls=(0, (4, 3)), zorder=0.9, label="chance")
    for at, (name, share, true) in enumerate(shown):
        height = 100 * share
        ax.bar(at, height, 0.5, color=GREY if name == "pretrain" else BLUE)
        above = max(height, 100 * chance) if abs(height - 100 * chance) < 8 else height
        note(ax, f"{height:.1f} %", at, above, 3, fontweight="bold", fontsize=9.5)
        if true is not None:
            oracle = 100 * true
            ax.bar(at + 0.4, oracle, 0.24, fill=False, ec=VERMILLION, lw=1.4)
            foot = 100 * chance if oracle > 60 else max(oracle, 100 * chance)
            note(ax, f"oracle {oracle:.1f} %", at + 0.4, foot, 5, color=VERMILLION, rotation=90, va="bottom")
    ax.set_xticks(range(len(shown)), [_STAGE_WORDS.get(name, name) for name, _, _ in shown])
    ax.set_xlim(-0.45, max(len(shown) - 0.5, 0.45))
    ax.set_ylim(0, 110)
    ax.set_yticks(range(0, 101, 20))
    ax.grid(axis="x", visible=False)
    ax.set(ylabel="test accuracy (%)", title="Accuracy after each stage")
    if guess is not None:
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, 0.9))


_STAGE_WORDS = {
    "pretrain": "pretrain\n(electronic)",
    "deploy": "deploy\n(as is)",
    "map": "map\n(calibrated)",
    "learn": "learn\n(on chip)",
}


def identity(ax: Axes, run: Values, final: Mapping[str, float | None]) -> None:
    """Calibration: what the chip measures (spread over cores) and how far U and V are from identities (oracle): over
    evaluations, and of the best phases (`final`, by part)."""
    x = run["evaluations"]
    ax.fill_between(x, run["best_p10"], run["best_p90"], color=BLUE, alpha=0.22, lw=0, label="10–90 % of the cores")
    ax.plot(x, run["best"], color=BLUE, label="measured loss, best so far, mean")
    for part, colour, dash, mark in (("u", VERMILLION, "-", "o"), ("v", GREEN, (0, (5, 1.5)), "s")):
        ax.plot(
            x, run[f"oracle_identity_error_{part}"], color=colour, ls=dash, lw=1.3,
            label=f"true identity error of {part.upper()} (oracle), mean",
        )  # fmt: skip
        if (end := final.get(part)) is not None:
            ax.plot(x[-1], end, mark, ms=6, mfc="none", mec=colour, mew=1.6, clip_on=False)
    _evaluations(ax)
    ax.set(ylabel="mean squared error of an element", title="Calibrate: both meshes become identities")
    legend(ax)


def mapping(
    ax: Axes, run: Values, start: str, comparisons: Mapping[str, Mapping[str, Sequence[object]]], noise: float = 0.0
) -> None:
    """Mapping error over evaluations with its spread over cores, and the `curve` of copies mapped another way.

    `start` is the job's `map.start`; `noise` the readout noise of the run itself."""
    x = run["evaluations"]
    each = (x[-1] - x[0]) / max(x.size - 1, 1)
    words = f", with {100 * noise:g} % readout noise" if noise else ""
    ax.fill_between(x, run["best_p10"], run["best_p90"], color=BLUE, alpha=0.22, lw=0, label="10–90 % of the cores")
    ax.plot(x, run["best"], color=BLUE, label=f"this run, {START_WORDS[start]}{words}")
    for (name, other), colour, dash in zip(
        comparisons.items(), (GREEN, VERMILLION, PURPLE), ((0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1, 1, 1)))
    ):
        curve = np.array(other["curve"], float)
        ax.plot(x[0] + each * np.arange(curve.size), curve, color=colour, ls=dash, label=f"copy, {compared(name)}")
    _evaluations(ax)
    ax.set(ylabel="mapping error (relative to the weight)", title="Map: the chip takes over the trained weights")
    legend(ax)


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
    edges = np.linspace(0, top * 1.02, int(np.clip(np.sqrt(every.size) * 2, 8, 40)) + 1).tolist()
    for part, colour, dash in (("u", VERMILLION, "-"), ("v", GREEN, (0, (5, 1.5)))):
        e = values[part][np.isfinite(values[part])]
        mean = f"mean {e.mean():.4f}" if e.size else "none"
        ax.hist(e, edges, histtype="stepfilled", color=colour, alpha=0.18)
        ax.hist(e, edges, histtype="step", color=colour, ls=dash, lw=1.6, label=f"{part.upper()}: {mean}")
        if e.size:
            ax.axvline(e.mean(), color=colour, ls=dash, lw=1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(0, edges[-1])
    ax.set(
        xlabel="true identity error of a core (oracle)", ylabel="number of cores",
        title=f"Calibrated: the {len(values['u'])} cores one by one",
    )  # fmt: skip
    legend(ax)


def curves(ax: Axes, lines: Lines, quantity: str, title: str) -> None:
    """Loss or accuracy of one stage of training over epochs: mini-batches faint, epochs bold, the test set apart.

    The legend is the figure's: `curves` of several stages share one."""
    scale = 100 if quantity == "accuracy" else 1
    for who, colour, dash, words in (
        ("batch", BLUE, "-", "training, mini-batches"),
        ("train", BLUE, "-", "training, epoch mean"),
        ("validation", GREEN, (0, (5, 1.5)), "validation share"),
        ("test", VERMILLION, (0, (3, 1)), "test set"),
    ):
        x, y = lines.get(f"{quantity}/{who}", (np.empty(0), np.empty(0)))
        if who == "batch" and x.size:
            every = -(-x.size // MOST_POINTS)
            ax.plot(x[::every], scale * y[::every], color=colour, lw=0.7, alpha=0.3, label=words)
        elif x.size:
            mark = "o" if x.size == 1 else ""
            ax.plot(x, scale * y, color=colour, ls=dash, marker=mark, ms=5, label=words)
    ax.set_xlim(0, None)
    if quantity == "accuracy":
        epochly = [lines[key][1] for key in ("accuracy/train", "accuracy/test") if key in lines]
        low = 100 * float(np.nanmin(np.concatenate(epochly))) if epochly else 0.0
        ax.set_ylim(min(low - 4, 90) if low > 60 else 0, 101)
        ax.set_ylabel("accuracy (%)")
    else:
        log_scale(ax)
        ax.set_ylabel("loss (cross entropy, nat)")
    ax.set(xlabel="epochs", title=title)


def phases(ax: Axes, frame: dict[str, Array], title: str) -> None:
    """How the commanded phases of all heaters of U and V are spread over a turn."""
    edges = np.linspace(0, 2, 49).tolist()
    for part, colour, dash in (("u", BLUE, "-"), ("v", VERMILLION, (0, (4, 1.5)))):
        turned = wrapped(frame[part]) / np.pi
        share = np.full(turned.size, 100 / max(turned.size, 1))
        if part == "u":
            ax.hist(turned, edges, weights=share, histtype="stepfilled", color=colour, alpha=0.25)
        words = f"{part.upper()} meshes"
        ax.hist(turned, edges, weights=share, histtype="step", color=colour, ls=dash, lw=1.4, label=words)
    ax.set_xlim(0, 2)
    ax.xaxis.set_major_locator(MultipleLocator(0.5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}π" if v else "0"))
    ax.set(xlabel="commanded phase (rad)", ylabel="share of the heaters (%)", title=title)
    legend(ax)


def sigma(ax: Axes, before: Array, after: Array) -> None:
    """Every singular value after mapping and after learning; both 1-d."""
    both = np.concatenate([before, after])
    margin = 0.05 * float(np.ptp(both)) or 1.0
    low, most = float(both.min()) - margin, float(both.max()) + margin
    ax.plot([low, most], [low, most], color=INK, lw=1, ls=(0, (4, 3)), label="unchanged")
    ax.plot(
        before, after, ".", color=BLUE, ms=5, alpha=0.55, mew=0, rasterized=before.size > RASTER_ABOVE,
        label=f"{before.size:,} attenuators",
    )  # fmt: skip
    ax.set(xlim=(low, most), ylim=(low, most), aspect="equal")
    ax.set(xlabel="sigma after mapping", ylabel="sigma after learning", title="Learn: what moved")
    legend(ax)


def cost(ax: Axes, stages: Sequence[Mapping[str, object]], test: Mapping[str, object]) -> None:
    """What the meter counted, by stage; the cost of testing apart."""
    rows = [(str(s["name"]), {kind: numeric(s, kind) or 0 for kind in COSTS}) for s in stages]
    rows = [(name, counts) for name, counts in rows if any(counts.values())]
    if any(test.values()):
        rows.append(("testing", {kind: numeric(test, kind) or 0 for kind in COSTS}))
    kinds = [kind for kind in COSTS if any(counts[kind] for _, counts in rows)]
    for number, kind in enumerate(kinds):
        colour, offset = COST_COLOURS[kind], 0.27 * (number - (len(kinds) - 1) / 2)
        for at, (name, counts) in enumerate(rows):
            if count := counts[kind]:
                bars = ax.bar(at + offset, count, 0.25, color=colour)
                if name == "testing":
                    bars.patches[0].set(hatch="///", alpha=0.55, ec=INK)
                note(ax, engineering(count), at + offset, count, 2, fontsize=7.5)
        ax.bar(0, 0, color=colour, label=COSTS[kind])
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    top = max((count for _, counts in rows for count in counts.values()), default=1)
    ax.set_ylim(1, max(top, 10) ** 1.12)
    ax.set_xticks(range(len(rows)), [name for name, _ in rows])
    ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.grid(axis="x", visible=False)
    ax.set(ylabel="count", title="Cost by stage")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncols=3)


COSTS = {
    "core_calls": "core calls (a vector through a core or mesh)",
    "tap_readings": "tap readings (power at one shifter)",
    "writes": "writes (heater or attenuator)",
    "accumulation_steps": "electronic accumulation steps",
}

COST_COLOURS = dict(zip(COSTS, (BLUE, PURPLE, GREEN, VERMILLION)))


def overview(
    stages: Sequence[Mapping[str, object]],
    calibrate: Values,
    map_: Values,
    training: dict[str, Lines],
    guess: float | None,
) -> Figure:
    """Accuracy by stage | identity and mapping error | accuracy while training: a whole run in one wide picture."""
    figure, axes = sheet(3, 11.5, 3.6, width_ratios=(1.1, 1, 1))
    left, middle, right = axes[0]
    accuracy(left, stages, guess)
    for run, name, colour, dash, words in (
        (calibrate, "best", BLUE, "-", "calibrate (measured loss)"),
        (map_, "best", VERMILLION, (0, (5, 1.5)), "map (relative error)"),
    ):
        if run:
            x = run["evaluations"]
            middle.fill_between(x, run[f"{name}_p10"], run[f"{name}_p90"], color=colour, alpha=0.2, lw=0)
            middle.plot(x, run[name], color=colour, ls=dash, label=words)
    _evaluations(middle)
    middle.set(ylabel="error (mean, 10–90 % of the cores)", title="The chip finds its own phases")
    legend(middle)
    for stage, colour, dash, words in (
        ("pretrain", GREY, "-", "pretrain"), ("learn", BLUE, (0, (5, 1.5)), "learn"),
    ):  # fmt: skip
        for who, width in (("test", 1.8), ("train", 0.9)):
            x, y = training.get(stage, {}).get(f"loss/{who}", (np.empty(0), np.empty(0)))
            mark = "o" if x.size == 1 else ""
            label = f"{words}, {'test' if who == 'test' else 'training'}"
            if x.size:
                right.plot(x, y, color=colour, ls=dash, lw=width, marker=mark, ms=5, label=label)
    log_scale(right)
    right.set_xlim(0, None)
    right.set(xlabel="epochs", ylabel="loss (cross entropy, nat)", title="Training: electronic, then on chip")
    legend(right)
    return figure


def engineering(count: float) -> str:
    """A count with two digits or three and a unit prefix, e.g. 1.6 M."""
    for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.995 * size:
            return f"{count / size:.{int(count < 9.95 * size)}f}{prefix}"
    return f"{count:.0f}"


def svg(figure: Figure, name: str, alt: str) -> str:
    """`figure` as an <svg> element that takes the page's text colour; `alt` is for those who cannot see it."""
    text = _drawing(figure, name, transparent=True)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for word, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{word})")
    width, height = figure.get_size_inches()
    least = min(width * DPI, 560)  # px, on a narrow screen: the page scrolls it
    head = f'<svg role="img" aria-label="{escape(alt)}" xmlns:xlink="http://www.w3.org/1999/xlink" '
    head += f'style="min-width: {least:.0f}px; max-width: {width * DPI:.0f}px" '
    head += f'viewBox="0 0 {width * 72:g} {height * 72:g}">'
    return re.sub(r"<svg [^>]*>", lambda _: head, text, count=1)


def save(figure: Figure, place: Path) -> None:
    """Write `figure` as a picture (PNG) and as a drawing (SVG), for whom `place` is the path without the ending.

    The same figure gives the same bytes.
    """
    figure.savefig(f"{place}.png", dpi=PICTURE_DPI, facecolor="white", metadata={"Software": None})
    files.write(place.with_name(f"{place.name}.svg"), _drawing(figure, place.name, facecolor="white").encode())


def _drawing(figure: Figure, name: str, **how: Any) -> str:
    """As SVG: the same bytes every time, with ids that are salted by `name` (those of two figures on a page differ)."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        FigureCanvasSVG(figure)  # whose text is measured
        engine = figure.get_layout_engine()
        if engine is not None:  # else Matplotlib draws all of it once more to lay it out
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(buffer, format="svg", metadata=nothing, **how)
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z]+[a-zA-Z\d]*_\d+"', "", text)
    text = re.sub(f"(?<=10)[{RAISED}]+(?=</text>)", _small, text)
    return re.sub(r'(font: (?:[\w.]+ )*?[\d.]+px )[^;"]*', r"\1'DejaVu Sans', Verdana, sans-serif", text)


def _small(exponent: re.Match[str]) -> str:
    """An exponent in small ordinary digits, which every font has."""
    digits = exponent[0].translate(str.maketrans(RAISED, "−0123456789"))
    return f'<tspan dy="-0.59em" style="font-size: 70%">{digits}</tspan>'


def _evaluations(ax: Axes) -> None:
    log_scale(ax)
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.set_xlabel("evaluations, all cores together")
    ax.set_xlim(0, None)


def log_scale(ax: Axes) -> None:
    """A logarithmic axis for what has been drawn, unless it keeps within a decade."""
    ax.set_yscale("log", nonpositive="mask")
    low, high = ax.get_ylim()
    if high < 10 * low:
        ax.set_yscale("linear")
        return
    if high > 100 * low:
        ax.yaxis.set_minor_locator(NullLocator())  # minor ticks are slow to lay out
    ax.yaxis.set_major_formatter(_Powers())
    ax.yaxis.set_minor_formatter(_Powers(labelOnlyBase=False))


RAISED = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
"""Minus and the digits, as an exponent has them."""
_FORMULA, _RAISE = re.compile(r"\$\\mathdefault\{(.*)10\^\{(-?\d+)\}\}\$"), str.maketrans("-0123456789", RAISED)


class _Powers(LogFormatterSciNotation):
    """The labels that Matplotlib gives a logarithmic axis, as plain text, e.g. 10⁻⁵: a formula takes it 5 ms."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        label: str = super().__call__(x, pos)
        return _FORMULA.sub(lambda part: part[1].replace(r"\times", "×") + "10" + part[2].translate(_RAISE), label)


def legend(ax: Axes) -> None:
    """The legend where there is room, if there is anything to tell."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")


def note(
    ax: Axes, text: str, x: float, y: float, points: float, ha: str = "center", fontsize: float = 8, **style: Any
) -> None:
    """`text` so many points above the place (x, y), in what `style` matplotlib's text knows."""
    ax.annotate(text, (x, y), (0, points), textcoords="offset points", ha=ha, fontsize=fontsize, **style)
