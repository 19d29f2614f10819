"""How close sampled gradients of sigma are to the true ones: by layer and in total, over rules, norms and sparsities.

    python -m l2sim.study.gradients             a quick look
    python -m l2sim.study.gradients --full      the page

CNN-L on the UCI digits, on chips without imperfections, so that what is left is what sampling does; and with resting
meshes that are only pseudo-identities, as calibration leaves them (spec section k; L2ight, NeurIPS 2021, figures 6, 7).
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from matplotlib.figure import Figure

from l2sim.backend import Array, generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Commands
from l2sim.data import sets
from l2sim.flow import oracle
from l2sim.flow.l2ight import learning
from l2sim.job.sections import Learn
from l2sim.learn import train
from l2sim.learn.search import calibrate, mapping
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.weights import ElectronicWeight
from l2sim.report import figures
from l2sim.study.harness import Settings, Study, Table, grouped, markdown

EPOCHS, BATCH, BATCHES = 2, 16, 8
RULES = ("btopk", "gtopk", "uniform")
NORMS = ("none", "exp", "var")
SPARSITIES = {"feedback": (0.2, 0.4, 0.6, 0.8, 0.9), "column": (0.2, 0.6, 0.9), "spatial": (0.2, 0.6, 0.9)}
METHODS: dict[str, Settings] = {
    "L2ight": {"feedback_sparsity": 0.6, "column_sparsity": 0.6},
    "RAD": {"spatial_sparsity": 0.85, "spatial_norm": "exp"},
    "SWAT-U": {"forward_sparsity": 0.3, "spatial_sparsity": 0.6, "spatial_norm": "none"},
}
"""As in the published scripts."""
CALIBRATED = 0.087
"""Std of the resting phases around the identity, rad: an identity error of 0.007, as calibration leaves."""


class Row(NamedTuple):
    """One setting at one layer ("all" for all of them): mean and standard deviation over the mini-batches of the
    angular similarity 1 - angle / pi and of the normalised distance |sampled - true|^2 / |true|^2."""

    sampler: str
    rule: str
    norm: str
    sparsity: float
    layer: str
    similarity: float
    similarity_std: float
    distance: float
    distance_std: float


Way = tuple[str, str, str, float, Settings]


def settings() -> Iterator[Way]:
    """(sampler, rule, norm, sparsity, what `learn` of a job is set to)."""
    for rule, norm, sparsity in itertools.product(RULES, NORMS, SPARSITIES["feedback"]):
        job: Settings = {"feedback_rule": rule, "feedback_norm": norm, "feedback_sparsity": sparsity}
        yield "feedback", rule, norm, sparsity, job
    for sampler in ("column", "spatial"):
        for norm, sparsity in itertools.product(NORMS, SPARSITIES[sampler]):
            job = {f"{sampler}_norm": norm, f"{sampler}_sparsity": sparsity, "sample_first_conv": True}
            yield sampler, "uniform", norm, sparsity, job
    for name, job in METHODS.items():
        yield name, "", "", 0.0, job
    yield "pseudo-identities", "", "", 0.0, {}


def pretrained(spec: models.ModelSpec, images: sets.DataSet) -> Network:
    """`spec` trained electronically for a few epochs."""
    net = network.build(spec, network.electronic(generator(1, "weights"), np.float32), np.float32)
    step = train.descent(net, optim.start("adamw", net.parameters()), weight_decay=0.01)
    for epoch in range(EPOCHS):
        for _ in train.epoch(
            images.train_x, images.train_y, step, batch=32, lr=2e-3,
            stream=partial(generator, 1, "pretrain", epoch),
        ):  # fmt: skip
            pass
    return net


def on_chips(electronic: Network, spread: float = 0.0) -> Network:
    """The network on chips without imperfections, whose resting phases lie around the identity by `spread`, rad."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        source = electronic.weights[name]
        assert isinstance(source, ElectronicWeight)
        shape = -(-out_features // k), -(-in_features // k)
        chip = CoreChip(shape, Mesh("rectangular", k), Nonidealities(), seed=1, name=name, dtype=electronic.dtype)
        aim = mapping.target(chip, source.matrix)
        mapping.deploy(chip, aim)
        rest = calibrate.zero_phases(chip)
        for part, phases in rest.items():
            phases += spread * generator(1, "rest", name, part).standard_normal(phases.shape)
        ones = dict.fromkeys(rest, np.ones((*shape, k), electronic.dtype))
        sigma = aim.sigma.astype(electronic.dtype)
        return PhotonicWeight(chip, out_features, in_features, aim.commands, Commands(rest, ones), sigma)

    net = network.build(electronic.spec, make, electronic.dtype)
    trained = electronic.parameters() | electronic.buffers()
    for name, array in (net.parameters() | net.buffers()).items():
        if name in trained:
            array[...] = trained[name]
    return net


def gradient(net: Network, images: Array, labels: Array, rng: np.random.Generator) -> dict[str, Array]:
    """dL/dsigma by layer, and of all layers as one vector."""
    logits = net.forward(images, train=True, rng=rng)
    net.backward(cross_entropy(logits, labels)[1])
    slopes = {name: weight.gradients()["sigma"].ravel().astype(np.float64) for name, weight in net.weights.items()}
    return slopes | {"all": np.concatenate(list(slopes.values()))}


def compared(true: Array, sampled: Array) -> tuple[float, float]:
    """(angular similarity 1 - angle / pi, normalised distance), as `learn.compare_gradients` of a job has them."""
    angle, distance = oracle.compared(true, sampled)
    return 1.0 - angle / np.pi, distance


def table(electronic: Network, images: sets.DataSet, ways: Iterable[Way]) -> list[Row]:
    """Every setting against the true gradients of the same mini-batches."""
    exact = on_chips(electronic)
    batches = [slice(i * BATCH, (i + 1) * BATCH) for i in range(BATCHES)]
    given: Callable[[slice], tuple[Array, Array]] = lambda at: (images.train_x[at], images.train_y[at])  # noqa: E731
    true = [gradient(exact, *given(at), generator(1, "true")) for at in batches]
    rows = []
    for sampler, rule, norm, sparsity, job in ways:
        for weight in exact.weights.values():
            assert isinstance(weight, PhotonicWeight)
            weight.feedback = weight.cores = None
        for conv in exact.convs.values():
            conv.columns = conv.spatial = None
        net = on_chips(electronic, CALIBRATED) if sampler == "pseudo-identities" else exact
        learning.attach(net, msgspec.convert(job, Learn))
        seen = [
            gradient(net, *given(at), generator(1, sampler, rule, norm, str(sparsity), number))
            for number, at in enumerate(batches)
        ]
        for layer in true[0]:
            both = np.array([compared(a[layer], b[layer]) for a, b in zip(true, seen)])
            (similarity, distance), (more, less) = both.mean(axis=0), both.std(axis=0)
            rows.append(Row(sampler, rule, norm, sparsity, layer, similarity, more, distance, less))
    return rows


def draw(rows: list[Row]) -> Figure:
    """Similarity over sparsity, a panel a sampler; bars are standard deviations over mini-batches."""
    sheet = Figure((10.4, 4.2), layout="constrained")
    for ax, sampler in zip(sheet.subplots(1, len(SPARSITIES), sharey=True), SPARSITIES):
        rules = RULES if sampler == "feedback" else ("uniform",)
        for rule, look in zip(rules, figures.LOOKS):
            for norm, fill, dash in zip(("none", "exp"), (look.colour, "white"), ("-", (0, (2, 2)))):
                seen = [r for r in rows if r[:3] == (sampler, rule, norm) and r.layer == "all"]
                words = f"{rule}, " if len(rules) > 1 else ""
                ax.errorbar(
                    [r.sparsity for r in seen], [r.similarity for r in seen], [r.similarity_std for r in seen],
                    label=f"{words}{'rescaled (exp)' if norm == 'exp' else 'as it is'}", capsize=2, elinewidth=0.8,
                    **look.line(mfc=fill, ls=dash),
                )  # fmt: skip
        ax.axhline(0.5, color=figures.INK, lw=1, ls=(0, (4, 3)))
        ax.set(title=f"{sampler} sampling", xlabel="sparsity (share left out)", ylim=(0.45, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.1), fontsize=8)
    sheet.axes[0].set_ylabel("angular similarity, 1 − angle/π (0.5: right angle)")
    sheet.suptitle("How much of a gradient's direction does sampling keep? CNN-L, all layers together", fontsize=10.5,
                   x=0.01, ha="left")  # fmt: skip
    return sheet


def layers(rows: list[Row]) -> Figure:
    """Distance by layer, at sparsity 0.6: bars from nothing, which is exact."""
    sheet = Figure((7.6, 3.8), layout="constrained")
    ax = sheet.subplots()
    names = list(dict.fromkeys(r.layer for r in rows))
    shown = [("feedback", rule, "none") for rule in RULES]
    shown += [(name, "uniform", "none") for name in ("column", "spatial")]
    for number, (key, look) in enumerate(zip(shown, figures.LOOKS)):
        seen = {r.layer: r.distance for r in rows if r[:3] == key and r.sparsity == 0.6}
        places = np.arange(len(names)) + 0.16 * (number - 2)
        label = f"{key[0]}, {key[1]}" if key[0] == "feedback" else key[0]
        ax.bar(places, [seen.get(name, 0.0) for name in names], 0.15, label=label, **look.bar())
    ax.axhline(1.0, color=figures.INK, lw=1, ls=(0, (4, 3)))
    ax.annotate("as far as no gradient at all", (len(names) - 0.5, 1), (0, 3), textcoords="offset points", ha="right",
                fontsize=8)  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set(ylim=(0, None), ylabel="normalised distance, |g − true|² / |true|²", xlabel="layer (no bar: exact)")
    ax.grid(axis="x", visible=False)
    ax.set_title("Which layers does sampling disturb? Sparsity 0.6, not rescaled")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return sheet


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    layers = list(dict.fromkeys(r.layer for r in rows))
    picked = [r for r in rows if r.sampler not in SPARSITIES or r.sparsity == 0.6]
    return [
        "# Sampled against true gradients", "",
        "Made by `python -m l2sim.study.gradients --full`; all rows are in",
        "[gradients.csv](gradients.csv).", "",
        "![Distance of sampled from true gradients over the sparsity](gradients.png)", "",
        "![Distance by layer](gradients-layers.png)", "",
        f"CNN-L, trained electronically for {EPOCHS} epochs on the UCI digits (28 x 28), on chips without",
        f"imperfections; {BATCHES} mini-batches of {BATCH}. Angular similarity 1 - angle / pi of the gradient of sigma",
        "to the dense one, in brackets the normalised distance |g - true|^2 / |true|^2; means over mini-batches of one",
        "network (seed 1), their standard deviations in the table.", "",
        *markdown(["sampling", "rule", "norm", "sparsity", *layers], (
            (*key[:3], f"{key[3]:g}" if key[0] in SPARSITIES else "",
             *(f"{r.similarity:.3f} ({r.distance:.2g})" for r in sorted(same, key=lambda r: layers.index(r.layer))))
            for key, same in grouped(picked, lambda r: r[:4]).items()
        )), "", *said(rows),
    ]  # fmt: skip


def said(rows: list[Row]) -> list[str]:
    """What the rows show, in words."""

    def mean(rule: str, norm: str, what: str) -> float:
        """Over the layers that a feedback rule touches and all its sparsities."""
        seen = [r for r in rows if r[:3] == ("feedback", rule, norm) and r.layer != "all" and r.distance > 1e-9]
        return float(np.mean([getattr(r, what) for r in seen])) if seen else 0.0

    nearest = sorted(RULES, key=lambda rule: -mean(rule, "none", "similarity"))
    order = ", ".join(f"{rule} {mean(rule, 'none', 'similarity'):.3f}" for rule in nearest)
    kept = "as the publication prefers it" if nearest[0] == "btopk" else (
        "the publication prefers btopk, for the balance of the cores' load, which this does not weigh"
    )  # fmt: skip
    over = ", ".join(f"{norm} {mean('btopk', norm, 'distance'):.2g}" for norm in NORMS)
    return [
        "Feedback sampling touches the layers below a sampled one only: what the last convolution and the dense layer",
        "learn is untouched. Mean angular similarity of the layers touched, over all sparsities, without rescaling:",
        f"{order}; {kept}.",
        "Rescaling by exp overshoots where blocks are chosen by size, as those left out are the small ones (distance",
        f"of btopk: {over}).",
        "L2ight, RAD and SWAT-U are the settings of the published scripts. SWAT-U's masks darken whole channels of the",
        "first convolution, which has one block column; batch normalisation then divides by almost nothing, and the",
        "gradient of such a channel is hundreds of times too large. The last row has no sampling: its gradients are",
        "measured through resting meshes with an identity error of about 0.007; calibration leaves 0.0062 on average",
        "([digits.md](digits.md)).",
    ]


def compute(options: Namespace) -> list[Row]:
    """All rows; of a small network, and the first setting of every kind, for a quick look."""
    spec = models.get("cnn-l" if options.full else "cnn-s")
    channels, *size = spec.input
    images = sets.load("digits", None, (size[0], size[1]), channels)
    return table(pretrained(spec, images), images, settings() if options.full else quick())


def quick() -> Iterator[Way]:
    """Sparsity 0.6 alone."""
    yield from (way for way in settings() if way[3] == 0.6 and way[2] != "var")


TABLE = Table(Row, ".4g", {"sparsity": ""})
STUDY = Study(
    "gradients", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw, "layers": layers}, runs=False
)

if __name__ == "__main__":
    STUDY.main()
