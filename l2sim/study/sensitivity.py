"""How sensitive a network is to every one of its heaters, drawn on the meshes as they are built.

    python -m l2sim.study.sensitivity             a quick look
    python -m l2sim.study.sensitivity --full      the page

Whole meshes (`insitu-digits`, trained): the root mean square over images of dL/dphase, L the loss of one image, for
theta and phi of every MZI. Cores (`digits`, pretrained weights on ideal phases): |dW/dphase| / |W| of every rotation,
W = U S V the core's matrix, which is how much mapping error a radian makes to first order. Every entry of W is linear
in the cosine and sine of a phase, so that dW/dphase = (W(phase + pi/2) - W(phase - pi/2)) / 2 without error.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from l2sim import backend
from l2sim.backend import Array, host
from l2sim.chip import grid
from l2sim.chip.mesh_chip import MeshChip
from l2sim.flow.insitu import session as insitu
from l2sim.flow.l2ight import session as l2ight
from l2sim.job.job import Job
from l2sim.learn.train import Objective
from l2sim.mesh import mesh as meshes
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose
from l2sim.nn.network import Network
from l2sim.nn.optics import MeshLayer
from l2sim.nn.weights import ElectronicWeight
from l2sim.study.harness import Run, Settings, Study, Table, complete, grouped, markdown, sized

IMAGES = 200
RANGE = 300.0
"""Of the colours of whole meshes: weaker heaters are as dark as the weakest shown."""
SHORT: dict[str, Settings] = {
    "insitu-digits": {"learn.epochs": 10},
    "digits": {
        "calibrate.epochs": 0, "calibrate.polish": 0, "map.epochs": 0, "map.polish": 0, "map.compare": False,
        "learn.epochs": 1,
    },
}  # fmt: skip
"""What is run: nothing is needed of the L2ight flow but its pretrained weights."""


class Part(NamedTuple):
    """Sensitivities (n,) of the heaters of one kind in one mesh, in travel order."""

    title: str
    mesh: Mesh
    heater: str
    values: Array


class Row(NamedTuple):
    """A heater: its place on the mesh, and its sensitivity."""

    mesh: str
    heater: str
    column: int
    rail: int
    sensitivity_per_rad: float


Results = tuple[list[Part], list[Part]]
"""The whole meshes of a network, theta before phi, and the meshes of a core."""


def of_loss(network: Network, objective: Objective, x: Array, y: Array) -> dict[str, tuple[Array, Array]]:
    """Root mean square over the images of dL/dtheta and dL/dphi (n,), nat / rad, of every mesh of `network`.

    `x` (S, ...), `y` (S,): images and classes; L is the loss of one image. Gradients are the oracle's, without noise.
    """
    logits = network.forward(x, train=True)
    network.backward(objective(logits, y)[1] * len(y))  # of every image by itself, not of their mean
    sensitivities = {}
    for name, layer in network.meshes.items():
        assert layer.sent is not None
        sensitivities[name] = each(layer, *layer.sent)
    return sensitivities


def each(layer: MeshLayer, x: Array, g: Array) -> tuple[Array, Array]:
    """Root mean square over the vectors of the gradients for light `x` (N, B) and cotangents `g` (N, B)."""
    chip = layer.hardware
    assert isinstance(chip, MeshChip)
    slopes = [chip.oracle_gradient(x[:, b : b + 1], g[:, b : b + 1]) for b in range(x.shape[1])]
    theta, phi = (np.sqrt(np.mean([host(s[part]) ** 2 for s in slopes], axis=0)) for part in (0, 1))
    return theta, phi


def of_core(mesh: Mesh, u: Array, sigma: Array, v: Array) -> tuple[Array, Array]:
    """|dW/dphase| / |W| of every rotation of both meshes, (n,) each, 1 / rad; W = U diag(sigma) V.

    `u`, `v`: phases (C, N - 1) of `mesh`; signs at the ports change no norm and are left out.
    """
    first, last = meshes.matrix(mesh, v), meshes.matrix(mesh, u)
    size = np.linalg.norm(sigma)

    def turned(phases: Array) -> Array:
        shifts = mesh.scatter(np.pi / 2 * np.eye(mesh.count))
        return (meshes.matrix(mesh, phases + shifts) - meshes.matrix(mesh, phases - shifts)) / 2

    by_u = (turned(u) * sigma) @ first
    by_v = (last * sigma) @ turned(v)
    by_u, by_v = (np.sqrt((by**2).sum(axis=(1, 2))) / size for by in (by_u, by_v))
    return by_u, by_v


def whole_meshes(options: Namespace) -> list[Part]:
    """theta and phi of every mesh of the trained in situ network."""
    folder, job = options.runs, sized(Job.preset("insitu-digits", SHORT["insitu-digits"]), options)
    run = Run(job, folder / "sensitivity-insitu-digits")
    complete([run], None)
    session = insitu.open_session(job, None)
    run.restore(session)
    images, labels = *(part[: IMAGES if options.full else 20] for part in (session.data.test_x, session.data.test_y)),
    sensitivities = of_loss(session.network, session.objective, images, labels)
    return [
        Part(f"{name}, {heater}", session.chips[name].mesh, heater, values)
        for name, both in sensitivities.items()
        for heater, values in zip(("theta", "phi"), both)
    ]


def cores(options: Namespace) -> list[Part]:
    """U and V of the tensor cores of the pretrained CNN: root mean square over all cores."""
    folder, job = options.runs, sized(Job.preset("digits", SHORT["digits"]), options)
    run = Run(job, folder / "sensitivity-digits")
    complete([run], None)
    session = l2ight.open_session(job, None)
    run.restore(session)
    mesh, sensitivities = session.chips[next(iter(session.chips))].mesh, []
    for name, weight in session.electronic.weights.items():
        assert session.chips[name].mesh == mesh and isinstance(weight, ElectronicWeight)
        u, sigma, v = np.linalg.svd(grid.blocks(weight.matrix.astype(float), mesh.modes))
        phases_u, phases_v = decompose(mesh, u)[0], decompose(mesh, v)[0]
        places = [at for at in np.ndindex(sigma.shape[:2]) if sigma[at].any()]
        sensitivities += [of_core(mesh, phases_u[at], sigma[at], phases_v[at]) for at in places]
    u_all, v_all = (np.sqrt(np.mean(np.square(part), axis=0)) for part in zip(*sensitivities))
    return [Part("V (light meets it first)", mesh, "rotation", v_all), Part("U", mesh, "rotation", u_all)]


def paint(ax: Axes, part: Part, norm: Normalize) -> PolyCollection:
    """Every MZI of the mesh as a box from its upper to its lower rail, coloured by sensitivity; light goes right."""
    mesh = part.mesh
    gap = 0.03 if mesh.modes <= 16 else 0.0  # of large meshes it would be less than a dot
    corners = (0.5 - gap) * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    middle = np.stack((mesh.column, (mesh.top + mesh.bottom) / 2), axis=1)
    tall = np.stack((np.ones(mesh.count), mesh.bottom - mesh.top + 1.0), axis=1)
    shape = middle[:, None] + corners * tall[:, None]
    boxes = PolyCollection(list(shape), array=part.values, cmap="cividis", norm=norm, antialiased=gap > 0, linewidths=0)
    boxes.set_rasterized(mesh.count > 100)  # in drawings too: thousands of boxes
    ax.add_collection(boxes)
    ax.set(xlim=(-0.7, mesh.columns - 0.3), ylim=(mesh.modes - 0.3, -0.7), aspect="equal", title=part.title)
    ax.grid(visible=False)
    return boxes


def draw(results: Results, heater: str) -> Figure:
    """Whole meshes, their heaters of one kind: theta or phi."""
    every = np.concatenate([part.values for part in results[0]])
    network = [part for part in results[0] if part.heater == heater]
    sheet = Figure((10.5, 4.1), layout="constrained")
    panels = sheet.subplots(1, len(network), sharey=True, squeeze=False)[0]
    norm: Normalize = LogNorm(float(every.max()) / RANGE, float(every.max()))
    for ax, part in zip(panels, network):
        boxes = paint(ax, part, norm)
        if np.mean(part.values == 0) > 0.1:
            ax.text(0.97, 0.04, "no effect:\nreaches no port\nthat is read", ha="right", transform=ax.transAxes)
        ax.set_xlabel("column (light goes right)")
    panels[0].set_ylabel("rail")
    bar = sheet.colorbar(boxes, ax=panels, shrink=0.85, extend="min", pad=0.015)
    bar.set_label("|dL/dphase|, rms over images (nat/rad)")
    title = f"Which {heater} of three trained meshes count, and which do nothing? (insitu-digits)"
    sheet.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return sheet


def draw_core(results: Results) -> Figure:
    """The two meshes of a core."""
    _, core = results
    sheet = Figure((7.4, 4.1), layout="constrained")
    both = sheet.subplots(1, 2)
    norm = Normalize(0.0, max(float(part.values.max()) for part in core))
    for ax, part in zip(both, core):
        boxes = paint(ax, part, norm)
        ax.set(xlabel="column (light goes right)", ylabel="rail")
    sheet.colorbar(boxes, ax=both, shrink=0.7, pad=0.02).set_label("|dW/dphase| / |W| (1/rad)")
    title = "Which rotations of a core W = U S V count most? (digits)"
    sheet.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return sheet


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    (network, core), table = results, []
    for part in (*network, *core):
        falling = np.sort(part.values)[::-1]
        tenth = max(1, len(falling) // 10)
        dark = f"{np.mean(falling == 0):.0%}"
        share = (falling[:tenth] ** 2).sum() / (falling**2).sum()
        median = f"{np.median(falling):.2g}"
        table.append((part.title, f"{len(falling):,}", dark, median, f"{falling[0]:.2g}", f"{share:.0%}"))
    return [
        "# How sensitive a network is to its heaters", "",
        "Made by `python -m l2sim.study.sensitivity --full`; every heater is in",
        "[sensitivity.csv](sensitivity.csv).", "",
        "![Every theta of three 64-mode meshes, coloured by sensitivity](sensitivity.png)", "",
        "![Every phi of three 64-mode meshes, coloured by sensitivity](sensitivity-phi.png)", "",
        "![Every rotation of a core's two meshes, coloured by sensitivity](sensitivity-core.png)", "",
        f"First three meshes trained in situ (`insitu-digits`, {SHORT['insitu-digits']['learn.epochs']} epochs):",
        f"root mean square over {IMAGES} test images of the derivative of an image's loss. Then: the tensor cores of",
        "the pretrained CNN (`digits`) at their ideal phases, |dW/dphase| / |W|, root mean square over all cores.", "",
        *markdown((
            "mesh", "heaters", "without effect", "median", "largest", "share of the squares in the top tenth",
        ), table), "", *said(network),
    ]  # fmt: skip


def said(network: list[Part]) -> list[str]:
    """What the maps show, in words."""
    whole = {heater: np.concatenate([p.values for p in network if p.heater == heater]) for heater in ("theta", "phi")}
    ratio = np.sqrt((whole["theta"] ** 2).mean() / (whole["phi"] ** 2).mean())
    return [
        "The normalised error of a *matrix* is equally sensitive to every phase of a mesh",
        "([mesh-errors.md](mesh-errors.md)); a network is not, since light is not everywhere and not every port is",
        "read: heaters of the last mesh whose light reaches none of the ten ports that are read do nothing. In a core",
        "those count most that the largest singular value passes, behind V's upper ports and before U's.",
        f"Theta counts {ratio:.2f} times as much as phi in whole meshes (root mean square). First-order maps are of",
        "one network and one data set; what a phase does together with others is not in them.",
    ]


def compute(options: Namespace) -> Results:
    """Train what is missing, and measure."""
    with backend.threads(1):
        return whole_meshes(options), cores(options)


def write(results: Results, path: Path) -> None:
    """Write a row a heater."""
    TABLE.write((
        Row(part.title.partition(",")[0].partition(" ")[0], part.heater, int(column), int(rail), float(value))
        for part in itertools.chain(*results)
        for column, rail, value in zip(part.mesh.column, part.mesh.top, part.values)
    ), path)  # fmt: skip


def read(path: Path) -> Results:
    """The inverse of `write`."""
    network: list[Part] = []
    core: list[Part] = []
    for (name, heater), rows in grouped(TABLE.read(path), lambda row: row[:2]).items():
        modes = next(n for n in range(2, len(rows) + 2) if n * (n - 1) // 2 >= len(rows))
        values = np.array([row.sensitivity_per_rad for row in rows])
        words = {"V": "V (light meets it first)"}.get(name, name if heater == "rotation" else f"{name}, {heater}")
        part = Part(words, Mesh("rectangular", modes), heater, values)
        (core if heater == "rotation" else network).append(part)
    return network, core


TABLE = Table(Row, ".4g")
STUDY = Study(
    "sensitivity", __doc__, compute, page, write, read,
    {"": partial(draw, heater="theta"), "phi": partial(draw, heater="phi"), "core": draw_core},
)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
