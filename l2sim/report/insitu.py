"""The parts of a report that only a run of the in situ flow has."""

from __future__ import annotations

from html import escape

import numpy as np
from matplotlib.figure import Figure

from l2sim import naming
from l2sim.backend import Array
from l2sim.job.job import Job
from l2sim.mesh.mesh import Mesh
from l2sim.report import compared, figures, html, insitu_figures, upkeep
from l2sim.report.html import percent
from l2sim.store.gather import Material

PAPER = (
    "Pai et al., Science 380, 398 (2023)"
    ' (<a href="https://arxiv.org/abs/2205.08501">arXiv 2205.08501</a>)'
)  # fmt: skip
WHAT = (
    "A photonic neural network, simulated with the imperfections of its chips: light passes whole meshes of "
    "Mach-Zehnder interferometers with a nonlinearity behind each, and the powers at the last ports are the answer. "
    "The phases are trained by in situ backpropagation: the error is sent backward as light, made to interfere with "
    f"the light that went forward, and taps at every phase shifter read the gradient. The method is {PAPER}."
)
COST = "A gradient takes three passes of light through a mesh, or two, and reads a tap at every phase shifter."
PICTURES = 6
"""The most meshes whose phases are drawn."""
NOTEBOOK = {1: 0.7620, 10: 0.8264, 20: 0.8375, 30: 0.8457, 40: 0.8503, 50: 0.8518}
"""Test accuracy after so many epochs, as the notebook that `insitu-fashion` follows prints it."""


def title(job: Job) -> str:
    """The headline of the page."""
    return f"{job.name}: {job.insitu.layers} meshes of {job.insitu.modes} modes on {job.data.name}, seed {job.seed}"


def picture(material: Material) -> Figure:
    """The picture at the top of the page: accuracy | loss | the decision, or how true the gradients are."""
    lines = material.training.get("learn", {})
    sheet, axes = figures.sheet(3, 11.5, 3.6)
    figures.curves(axes[0, 0], lines, "accuracy", "Accuracy")
    start = material.stage("deploy").get("accuracy")
    if start is not None:
        insitu_figures.beginning(axes[0, 0], 0, 100 * start, "random phases")
    figures.curves(axes[0, 1], lines, "loss", "Loss")
    drawn = material.figures.get("learn", {})
    if "boundary" in drawn:
        insitu_figures.boundary(axes[0, 2], drawn["boundary"])
    else:
        insitu_figures.gradient_errors(axes[0, 2], errors(material))
    for ax in axes[0, :2]:
        figures.legend(ax)
    return sheet


def errors(material: Material) -> dict[str, tuple[Array, Array]]:
    """1 - cos between measured and true gradient by mesh: (epochs, values)."""
    raw = material.raw.get("learn", {})
    head = "oracle_gradient_error_"
    return {
        name.removeprefix(head): (np.arange(1, values.size + 1), values)
        for name, (_, values) in raw.items()
        if name.startswith(head)
    }


def overview(material: Material) -> str:
    """The section at the top, as HTML: accuracy, loss and, at the right, the decision or the errors of gradients."""
    stage = material.stage("learn")
    known = f"{percent(stage['accuracy'])} on the test set" if stage.get("accuracy") is not None else "not yet known"
    caption = (
        "Left: accuracy; the mark is that with random phases. Middle: the loss. Faint lines are "
        "single mini-batches (some of them, if many), bold ones the mean of an epoch, dashed ones the test set. "
    )
    if "boundary" in material.figures.get("learn", {}):
        caption += "Right: what the trained chips say about every point of the plane, and the test points. "
    else:
        caption += "Right: the angle between what the taps measure and the true gradient, below. "
    alt = f"Three panels: accuracy and loss over the epochs; the accuracy is {known}."
    return html.section("The run at a glance", html.figure(figures.svg(picture(material), "overview", alt), caption))


def decision(material: Material) -> str:
    """The section on how the plane is divided between two classes, as HTML; empty where the data are no such points."""
    drawn = material.figures.get("learn", {}).get("boundary")
    if drawn is None:
        return ""
    sheet, axes = figures.sheet(1, 6, 5)
    insitu_figures.boundary(axes[0, 0], drawn)
    caption = (
        "A point (x, y) enters as two amplitudes; two bias ports carry the rest of a constant total power, so that "
        "points beyond the dashed circle cannot be told from those on it in that respect. Colours: the share "
        "of class 1 by the powers at the last ports; white: undecided. "
        f"Dots: the test points, in the colour of their class. {PAPER}."
    )
    alt = "The plane in two colours with a white boundary, and the test points of two classes."
    return html.section("Decision", html.figure(figures.svg(sheet, "decision", alt), caption))


def gradients(material: Material) -> str:
    """The section on how far measured gradients are from the true ones, epoch by epoch, as HTML."""
    lines, drawn = errors(material), material.figures.get("learn", {}).get("gradients")
    if not lines:
        return html.section("Gradients", html.missing("This folder holds no training."))
    sheet, axes = figures.sheet(2 if drawn else 1, 10 if drawn else 6, 4.2)
    insitu_figures.gradient_errors(axes[0, 0], lines)
    caption = (
        "Left: one minus the cosine of the angle between the gradient that the taps of a mesh measure and the true one "
        "for the same light, for all theta and phi together, after every epoch on the first mini-batch. 0 is the exact "
        "direction, 1 a gradient that tells nothing, and above 1 it points uphill. "
    )
    if drawn:
        insitu_figures.gradient_scatter(axes[0, 1], drawn)
        caption += "Right: the same after the last epoch, phase by phase (some of them); exact ones lie on the line. "
    alt = "Errors of the measured gradients over epochs" + (", and measured against true gradients." if drawn else ".")
    return html.section("Gradients", html.figure(figures.svg(sheet, "gradients", alt), caption, badge=True))


def phases(material: Material) -> str:
    """The section that draws the last commanded phases where they stand in the first PICTURES meshes, as HTML."""
    wanted = ("theta", "phases"), ("phi", "phases")
    frame = {name: phases for name, phases in material.frame.items() if naming.apart(name)[1:] in wanted}
    names = sorted({naming.apart(name).layer for name in frame}, key=lambda name: (len(name), name))[:PICTURES]
    if not names:
        return html.section("Phases", html.missing("This folder holds no phases."))
    mesh = Mesh(material.job.insitu.mesh, material.job.insitu.modes)
    sheet, axes = figures.sheet(len(names), min(2.2 + 2.9 * len(names), 15), 6.2, rows=2)
    for at, name in enumerate(names):
        for row, part in enumerate(("theta", "phi")):
            ax, commanded = axes[row, at], frame[naming.name(name, part, "phases")]
            image = insitu_figures.mesh_phases(ax, mesh.column, mesh.top, mesh.bottom, commanded)
            ax.set_title(f"{name}: {part}")
            ax.set_ylabel("rail" if at == 0 else "")
    insitu_figures.phase_scale(sheet, image, axes)
    count = sum(phases.size for phases in frame.values())
    caption = (
        f"The commanded phases of the meshes at the end, {count:,} in all, drawn where they stand: light travels from "
        "left to right, every interferometer covers its two rails. Phases wrap around, and so do the colours."
    )
    if len(material.frame) > 3 * PICTURES:
        caption += f" (The first {PICTURES} meshes.)"
    alt = "A picture of theta and of phi for each mesh."
    return html.section("Phases", html.figure(figures.svg(sheet, "phases", alt), caption))


def publication(material: Material) -> str:
    """What this run does otherwise than the publication, and how its curve compares with the printed one."""
    job, points = material.job, []
    if job.insitu.light == "batch":
        points.append("Gradients are measured for the data; the published simulation measures them for unit vectors.")
    if job.insitu.noise == "fresh":
        points.append("Noise is drawn for every measurement; the published simulation draws it once and keeps it.")
    if job.insitu.loss == "batch-softmax":
        points.append("The softmax runs over the samples of a batch, as published, not over the classes.")
    if job.insitu.nonlinearity in ("abs", "power"):
        points.append("The screens (phases at the outputs) are not trained: behind |.| their gradient is zero.")
    if job.name.startswith("insitu-fashion") and not job.learn.legacy_adam:
        points.append("Adam counts its steps through; the notebook restarts the count every epoch (legacy_adam).")
    body = f"<p>Compared with {PAPER}:</p><ul>{''.join(f'<li>{escape(point)}</li>' for point in points)}</ul>"
    _, tested = material.training.get("learn", {}).get("accuracy/test", (None, np.empty(0)))
    known = [epoch for epoch in NOTEBOOK if epoch <= tested.size]
    if known and _notebook(job):
        rows = [
            ("this run", "", [f"{tested[epoch - 1]:.4f}" for epoch in known]),
            ("the notebook, as printed", "", [f"{NOTEBOOK[epoch]:.4f}" for epoch in known]),
            ("difference", "", [f"{tested[epoch - 1] - NOTEBOOK[epoch]:+.4f}" for epoch in known]),
        ]
        body += "<p>Test accuracy by epoch:</p>" + html.table(["", *(f"epoch {epoch}" for epoch in known)], rows)
    return html.section("What differs from the publication", body)


def _notebook(job: Job) -> bool:
    """Whether the job trains what the notebook trains."""
    net = job.insitu
    same = (net.features, net.mesh, net.modes, net.layers, net.nonlinearity) == ("fourier", "rectangular", 64, 3, "abs")
    return same and job.data.name == "fashion-mnist" and job.learn.batch == 512


FIRST = (overview, decision)
"""Sections before the table of numbers ..."""
BEFORE_COST = (gradients, compared.section, phases, upkeep.section)
AFTER_COST = (publication,)
"""... and around the cost."""
