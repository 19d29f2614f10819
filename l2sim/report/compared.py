"""The section on how measured gradients compare with the true ones while a network learns, of both flows."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.report import figures, html, insitu_figures
from l2sim.store.gather import Material

KINDS = {
    "angle": ("angle to the true gradient (rad)", "How far are gradients turned? (oracle)", "right angle", np.pi / 2),
    "distance": ("|measured − true|² / |true|²", "How far are gradients off? (oracle)", "no gradient at all", 1.0),
}
"""Axis, title, and the name and place of where nothing is known of a gradient."""


def lines(material: Material, kind: str) -> dict[str, tuple[Array, Array]]:
    """(epochs, values) of a kind of comparison in the learn stage, by layer; of all together first."""
    raw = material.raw.get("learn", {})
    head = f"oracle_gradient_{kind}"
    by_layer = {name.removeprefix(head).removeprefix("_") or "all": seen for name, (_, seen) in raw.items() if
             name == head or name.startswith(f"{head}_")}  # fmt: skip
    return {name: (np.arange(1, seen.size + 1), seen) for name, seen in by_layer.items()}


def section(material: Material) -> str:
    """The section as HTML; empty where `learn.compare_gradients` was off."""
    drawn = {kind: lines(material, kind) for kind in KINDS}
    if not drawn["angle"]:
        return ""
    sheet, axes = figures.sheet(2, 10, 4.2)
    for ax, (kind, own) in zip(axes[0], drawn.items()):
        words, title, name, nothing = KINDS[kind]
        ax.axhline(nothing, color=figures.INK, lw=1, ls=(0, (4, 3)), zorder=0.9, label=name)
        insitu_figures.by_layer(ax, own)
        ax.set(xlabel="epochs", ylabel=words, title=title)
    caption = (
        "What the chips measure, sampled as the job asks, beside the true gradient of the same mini-batches, layer by "
        "layer and of all layers as one vector: the angle between them, and the squared distance over the squared "
        "length of the true one. 0 is exact; at a right angle, or at a distance of 1, nothing is known. "
    )
    alt = "Angle and distance between measured and true gradients over epochs, one line a layer."
    return html.section("True gradients", html.figure(figures.svg(sheet, "compared", alt), caption, badge=True))
