"""The report's section on service: how accuracy held while biases wandered, and what upkeep took."""

from __future__ import annotations

from html import escape

import numpy as np

from l2sim.chip.meter import Counts
from l2sim.report import figures, html
from l2sim.report.html import number, percent
from l2sim.store.gather import Material


def section(material: Material) -> str:
    """The report's section on service; nothing where there was none."""
    raw, stage = material.raw.get("upkeep", {}), material.stage("upkeep")
    if "hours" not in raw:
        return ""
    policy, hours = material.job.upkeep.policy, raw["hours"][1]
    seen, kept = (100 * raw[name][1] for name in ("test_accuracy", "kept_accuracy"))
    sheet, axes = figures.sheet(1, 8, 4.0)
    ax = axes[0, 0]
    start = stage.get("start_accuracy")
    times, path = np.repeat(hours, 2), np.stack((seen, kept), axis=1).ravel()
    if start is not None:
        ax.axhline(100 * start, color=figures.INK, lw=1, ls=(0, (4, 3)), label="when service began")
        times, path = np.append(0.0, times), np.append(100 * start, path)
    ax.plot(times, path, color=figures.GREY, lw=0.9)
    ax.plot(hours, seen, "o", color=figures.VERMILLION, ms=4, label="as found")
    if policy != "none":
        ax.plot(hours, kept, "o", color=figures.BLUE, ms=5, label=f"after upkeep ({policy})")
    events = hours[raw["recalibrated"][1] > 0]
    if events.size:
        floor = np.full(events.size, path.min() - 0.08 * max(1.0, np.ptp(path)))
        ax.plot(events, floor, "|", color=figures.INK, ms=7, label="cores calibrated anew")
    ax.set(xlabel="hours of service (chip time)", ylabel="test accuracy (%)", title="In service, while biases wander")
    sheet.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    spent = Counts(**{name: int(stage.get(name, 0)) for name in ("core_calls", "evaluations", "writes")})
    text = f"The chips served for {number(float(hours[-1]))} h of chip time; policy: <code>{escape(policy)}</code>. "
    if stage:
        days = max(stage["hours"] / 24.0, 1e-9)
        text += (
            f"Accuracy as found {percent(stage['mean_accuracy'])} (mean), {percent(stage['lowest_accuracy'])} at the "
            f"lowest, {percent(stage['start_accuracy'])} when service began. Upkeep took "
            f"{spent.core_calls / days:,.0f} core calls a day of chip time ({spent.evaluations / days:,.0f} whole "
            f"responses read among them), and calibrated single cores anew {stage['recalibrated']:,} times."
        )
    alt = f"Test accuracy over {number(float(hours[-1]))} hours of service."
    return html.section("Service", html.figure(figures.svg(sheet, "upkeep", alt), text))
