"""What sampling saved in the learning stage of a run, level by level as the tables of the publication have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from l2sim.chip.meter import PASSES
from l2sim.job.sections import Learn
from l2sim.report import html
from l2sim.report.html import number, numeric
from l2sim.store.gather import Material

TITLE = "What sampling saved"
KINDS = ("core_calls", "accumulation_steps")
APART = ("total", "writes", "heaters", "taps")
"""Energy that goes with time and with writes, not with calls."""


class Learnt(msgspec.Struct, frozen=True):
    """What the entry of learning in report.json says besides the counts by pass (docs/formats.md)."""

    dense_cost_of_an_image: dict[str, int | float]
    images: int | float
    images_offered: int | float
    core_calls: int | float = 0
    energy_j: dict[str, float] = {}
    activation_bytes: int | float = 0
    activation_bytes_dense: int | float = 0
    legacy: dict[str, int | float] = {}


class Level(NamedTuple):
    """A way to learn: its name, and its cost by `PASS_KIND`."""

    name: str
    cost: dict[str, float]

    def total(self, kind: str) -> float:
        """The sum over the passes."""
        return sum(self.cost[f"{name}_{kind}"] for name in PASSES)


def levels(job: Learn, stage: Mapping[str, object]) -> list[Level]:
    """From dense learning over all images to the run as metered, one level of sampling after the other.

    `stage` is the entry of learning in `report.json`. What a level saves in a pass is that pass's share of the dense
    cost of the images learnt from, as realised.
    """
    learnt = msgspec.convert(stage, Learnt)
    dense, images = learnt.dense_cost_of_an_image, learnt.images
    offered = images if job.core_calls else learnt.images_offered
    metered = {key: numeric(stage, key) or 0 for key in dense}
    cost = {key: offered * value for key, value in dense.items()}
    rows = [Level("dense", dict(cost))]

    def saves(name: str, *passes: str) -> None:
        for one in passes:
            for kind in KINDS:
                cost[f"{one}_{kind}"] = metered[f"{one}_{kind}"] * offered / images if images else 0.0
        rows.append(Level(name, dict(cost)))

    if job.protocol not in ("subspace", "dfa", "pat"):
        return [*rows, Level(job.protocol, {key: float(value) for key, value in metered.items()})]
    if job.protocol != "subspace":
        saves(job.protocol, *PASSES[1:])
    elif job.forward_sparsity:
        saves("+ forward weights", "forward", "input_gradient")
    elif job.feedback_sparsity:
        saves("+ feedback", "input_gradient")
    kinds = ("column", "spatial", "feature")
    if job.protocol == "subspace" and (drawn := [kind for kind in kinds if getattr(job, f"{kind}_sparsity")]):
        saves(f"+ {' and '.join(drawn)}", "weight_gradient")
    if images != offered:
        rows.append(Level("+ data", {key: float(value) for key, value in metered.items()}))
    return rows


def section(material: Material) -> str:
    """The table of the report."""
    stage = material.stage("learn")
    if "dense_cost_of_an_image" not in stage or not stage.get("images"):
        return html.section(TITLE, html.missing("Nothing has been learnt on the chips yet."))
    learnt, sampled = msgspec.convert(stage, Learnt), levels(material.job.learn, stage)
    call_j = _call_energy(learnt)
    rows = [(level.name, "", _cells(level, sampled[0], call_j)) for level in sampled]
    if legacy := learnt.legacy:
        rows.append((
            "by the published rules", "",
            [number(legacy[f"{name}_core_calls"]) for name in PASSES]
            + [number(legacy["core_calls"]), "", number(legacy["accumulation_steps"]), ""] + [""] * bool(call_j),
        ))  # fmt: skip
    heads = ["", *(f"{name.replace('_', ' ')}, core calls" for name in PASSES), "all core calls", "saved"]
    heads += ["accumulation steps", "saved"] + ["energy of these calls, J"] * bool(call_j)
    kept, whole = learnt.activation_bytes, learnt.activation_bytes_dense
    text = (
        f"<p>Learning {number(int(learnt.images))} images of {number(int(learnt.images_offered))} offered. Every "
        "row adds a level of sampling to the one above; the last one is what the chips metered, the first what dense "
        "learning of all images would have cost. A factor says how many times less than dense. A step remembers "
        f"{number(kept / 2**10)} KiB of activations"
        + (f", dense {number(whole / 2**10)} KiB" if kept != whole else "")
        + ".</p>"
    )
    return html.section(TITLE, text + html.table(heads, rows))


def _call_energy(stage: Learnt) -> float:
    """What a core call of this stage cost on average without writing and holding phases, J; 0 where nobody knows."""
    spent = {part: joules for part, joules in stage.energy_j.items() if part not in APART}
    return sum(spent.values()) / stage.core_calls if stage.core_calls else 0.0


def _cells(level: Level, dense: Level, call_j: float) -> list[str]:
    cells = [number(round(level.cost[f"{name}_core_calls"])) for name in PASSES]
    for kind in KINDS:
        total = level.total(kind)
        cells += [number(round(total)), f"{dense.total(kind) / total:.2f} ×" if total else ""]
    return cells + ([number(call_j * level.total("core_calls"))] if call_j else [])
