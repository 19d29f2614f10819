"""The parts of a report that only a run of the L2ight flow has."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from matplotlib.figure import Figure

from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.report import compared, figures, html, savings, twins, upkeep
from l2sim.report.html import number, numeric, percent
from l2sim.store.gather import SEARCHES, TRAININGS, Material

WHAT = (
    "A photonic neural network, simulated with the imperfections of its chips: it is trained electronically, "
    "deployed on the chips as if they were perfect, calibrates and maps itself there, and learns on. The method is "
    f"{html.SOURCE}."
)

SAMPLED = (
    "feedback_sparsity", "forward_sparsity", "column_sparsity", "spatial_sparsity", "feature_sparsity",
    "data_sparsity", "rank",
)  # fmt: skip
"""Fields of learning that leave out parts of a gradient where they are not zero."""
COST = "An evaluation of a k × k core is k core calls. Pretraining is electronic and costs the chips nothing."


def title(job: Job) -> str:
    """The headline of the page."""
    return f"{job.name}: {job.model.name} on {job.data.name}, seed {job.seed}"


def picture(material: Material) -> Figure:
    """The picture at the top of the page and of the README."""
    scalars = {stage: material.scalars.get(stage, {}) for stage in SEARCHES}
    stages, classes = material.report.stages, material.classes
    return figures.overview(stages, scalars["calibrate"], scalars["map"], material.training, classes and 1 / classes)


def overview(material: Material) -> str:
    """The section at the top, as HTML: accuracy by stage, errors of the searches, and loss."""
    accuracies = ", ".join(
        f"{stage['name']} {percent(stage['accuracy'])}"
        for stage in material.report.stages
        if "accuracy" in stage
    )  # fmt: skip
    caption = (
        "Left: accuracy on the test set: of the electronic network, of its ideal phases on the chips as they are "
        "(deploy), and after each stage that is to bring back what is lost there. The dashed line is chance, one in "
        f"{material.classes or 'as many as there are'} classes. "
        "The hollow bar is the oracle projection: sigma computed from the true meshes, which a lab cannot know. "
        "Middle: the errors that the chips minimise by themselves, as they read them. Right: the loss in training."
    )
    alt = f"Three panels of the whole run. Accuracy by stage: {accuracies or 'none yet'}. Errors and losses over time."
    return html.section("The run at a glance", html.figure(figures.svg(picture(material), "overview", alt), caption))


def calibration(material: Material) -> str:
    """The section on calibration, as HTML: measured loss and true identity errors of the cores, or twins' fits."""
    if material.stage("calibrate").get("identified") is not None:
        return twins.calibration(material)
    run = material.scalars.get("calibrate", {})
    errors = material.figures.get("calibrate", {}).get("identity_error")
    if not run:
        return html.section("Calibration", html.missing("This folder holds no calibration."))
    stage = material.stage("calibrate")
    sheet, axes = figures.sheet(2 if errors else 1, 10 if errors else 6, 4.2)
    figures.identity(axes[0, 0], run, stage.get("oracle_identity_error", {}))
    alt = f"The best calibration loss goes from {number(float(run['best'][0]))} to {number(float(run['best'][-1]))}."
    caption = (
        "Left: blue is the loss that the chip measures and minimises, the best so far of every core (mean, and the "
        "band that holds the middle 80 % of the cores). The other lines need the true meshes: the identity error of "
        "the phases as they are at that moment; open marks show it for the best phases, which are kept. "
    )
    if errors:
        figures.distribution(axes[0, 1], errors)
        caption += "Right: that final error of every core; a long tail would be cores that are stuck."
    caption += f" Identity error is the mean of (|U| − I)² over the elements, blind to signs. {html.CITE}"
    body = html.figure(figures.svg(sheet, "calibrate", alt), caption, badge=True)
    return html.section("Calibration", body)


def mapping(material: Material) -> str:
    """The section on mapping, as HTML: mapping error epoch by epoch, beside that of copies, or what twins reached."""
    run = material.scalars.get("map", {})
    if not run and material.stage("calibrate").get("identified") is not None:
        return twins.mapping(material)
    if not run:
        return html.section("Mapping", html.missing("This folder holds no mapping."))
    comparisons = material.figures.get("map", {}).get("comparisons", {})
    sheet, axes = figures.sheet(1, 8, 4.4)
    figures.mapping(axes[0, 0], run, material.job.map.start, comparisons, _noise(material.job))
    alt = f"The best mapping error goes from {number(float(run['best'][0]))} to {number(float(run['best'][-1]))}."
    caption = (
        "The distance between what the cores do and what they should do, |USV − W|² / |USV|², as read by the chips, "
        "noise of the readings included: the best so far of every core, mean, and the band that holds the middle 80 % "
        "of the cores. "
    )
    if comparisons:
        caption += "Dashed: copies of the same chips, mapped with the same evaluations in another way. "
    elif not material.job.map.compare:
        caption += "No copies were mapped for comparison (map.compare is false). "
    return html.section("Mapping", html.figure(figures.svg(sheet, "map", alt), caption + html.CITE))


def training(material: Material) -> str:
    """The section on training, electronic and on the chip, as HTML: loss and accuracy, and how sigma moved."""
    stages = [stage for stage in TRAININGS if material.training.get(stage)]
    if not stages:
        return html.section("Training", html.missing("This folder holds no training."))
    sheet, axes = figures.sheet(len(stages), 5 * len(stages), 6.4, rows=2)
    words = {"pretrain": "Pretrain (electronic)", "learn": "Learn (on the chip)"}
    for at, stage in enumerate(stages):
        figures.curves(axes[0, at], material.training[stage], "loss", f"{words[stage]}: loss")
        figures.curves(axes[1, at], material.training[stage], "accuracy", f"{words[stage]}: accuracy")
    sheet.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    alt = f"Loss and accuracy over epochs of {' and '.join(stages)}."
    caption = (
        "Loss and accuracy: faint for single mini-batches (some of them, if they are many), bold for the mean of an "
        "epoch of training, dashed for the test set after each epoch. "
    )
    if "learn" in stages:
        caption += _learnt(material.job)
    body = html.figure(figures.svg(sheet, "training", alt), caption + html.CITE)
    if material.sigma:
        sheet, axes = figures.sheet(1, 4.6, 4.6)
        figures.sigma(axes[0, 0], *material.sigma)
        moved = float(np.sqrt(np.mean((material.sigma[1] - material.sigma[0]) ** 2)))
        caption = "Sigma, the attenuators between the two meshes, in units of the network's weights: every dot is one. "
        caption += f"They moved by {moved:.3g} (rms); dots on the dashed line did not move."
        body += html.figure(figures.svg(sheet, "sigma", f"Sigma before and after learning; rms {moved:.3g}."), caption)
    return html.section("Training", body)


def phases(material: Material) -> str:
    """The section with histograms of the commanded phases at the end of each stage, as HTML."""
    if not material.phases:
        return html.section("Phases", html.missing("This folder holds no phases."))
    sheet, axes = figures.sheet(len(material.phases), 3.7 * len(material.phases), 3.4)
    words = {"deploy": "Deploy: ideal phases", "calibrate": "Calibrate: as last tried", "map": "Map: as last tried"}
    for at, (stage, frame) in enumerate(material.phases.items()):
        figures.phases(axes[0, at], frame, words[stage])
        if at:
            axes[0, at].set_ylabel("")
    heaters = next(iter(material.phases.values()))["u"].size
    caption = (
        f"The commanded phases of all {2 * heaters:,} heaters at the end of each stage, wrapped to one turn [0, 2π). "
        "Deploy commands the phases that ideal meshes would need. "
    )
    twin = material.job.calibrate.method == "twin"
    if "calibrate" in material.phases and not twin:
        caption += (
            "Calibration looks for phases at which every mesh is the identity but for signs. Many settings of a mesh "
            "are, so that these phases need not cancel the unknown offsets of its heaters one by one. "
        )
    if "map" in material.phases and not twin:
        caption += "Mapping is to show the weights; its phases make up for offsets as far as it found how. "
    if not twin:
        caption += "(Shown are the phases of the last sweep; kept are the best ones.)"
    return html.section("Phases", html.figure(figures.svg(sheet, "phases", "Phase histograms by stage."), caption))


def publication(material: Material) -> str:
    """What this run does otherwise than the publication, and what that does to its numbers."""
    job, twin = material.job, material.job.calibrate.method == "twin"
    points = [*_mapped_otherwise(material), *_compared_noise(material), *_projected(material)]
    if job.data.name != "mnist" and job.model.name == "cnn-s":
        points.append(f"The publication trains CNN-S on MNIST; the data here are {escape(job.data.name)}.")
    for path, here, published in (
        ("calibrate.epochs", job.calibrate.epochs, 400),
        ("map.epochs", job.map.epochs, 300),
        ("learn.epochs", job.learn.epochs, 100),
    ):
        if here != published and job.model.name == "cnn-s" and not (twin and path != "learn.epochs"):
            points.append(f"<code>{path}</code> is {here} instead of {published}.")
    if job.learn.protocol == "subspace" and not any(getattr(job.learn, name) for name in SAMPLED):
        points.append("Learning measures every gradient in full: sampling of feedback, columns and data is off.")
    items = "".join(f"<li>{point}</li>" for point in points)
    text = f"<p>Compared with {html.SOURCE}:</p><ul>{items}</ul>"
    return html.section("What differs from the publication", text)


def _learnt(job: Job) -> str:
    """What learning by the job's protocol changes, in a sentence."""
    if job.learn.protocol in ("subspace", "dfa", "pat"):
        return "On the chip only sigma and batch norm are learnt; the meshes stay as mapped. "
    return "On the chip phases are learnt, without gradients: those of the meshes and of the attenuators. "


def _mapped_otherwise(material: Material) -> list[str]:
    """Whether twins were programmed instead of a search, or the search started from other phases."""
    job, mapped = material.job, material.stage("map")
    compared = mapped.get("comparisons", {})
    if job.calibrate.method == "twin":
        return [
            "Every core is modelled from a few known settings and programmed by its model (its twin); the publication "
            "searches, for calibration and for mapping, with 57,600 and 43,200 evaluations of a 9 × 9 core."
        ]
    if job.map.start == "calibrated":
        text = "Mapping starts from the ideal phases offset by the calibrated ones; the publication leaves the offset "
        text += "out, although it has just measured it. "
        return [text + _against(mapped, compared.get("start_ideal"), "a copy mapped as published")]
    if "start_calibrated" in compared:
        text = "Mapping starts from the ideal phases, as published, although calibration has measured their offset. "
        return [text + _against(mapped, compared["start_calibrated"], "a copy mapped from the calibrated phases")]
    return []


def _compared_noise(material: Material) -> list[str]:
    """What readings with noise do to mapping, by copies that were mapped with it."""
    own, mapped, points = 100 * _noise(material.job), material.stage("map"), []
    for name, other in mapped.get("comparisons", {}).items():
        if name.startswith("readout_noise_"):
            noise = 100 * float(name.rpartition("_")[2])
            here = f"this run reads with {own:g} %" if own else "and so does this run"
            words = f"a copy read with {noise:g} % noise (standard deviation relative to unit input)"
            points.append(f"The publication assumes readings without noise, {here}. {_against(mapped, other, words)}")
    return points


def _projected(material: Material) -> list[str]:
    """How the projection that a lab can do compares with the published one."""
    mapped = material.stage("map")
    accuracy, true = numeric(mapped, "accuracy"), numeric(mapped, "oracle_accuracy")
    if accuracy is None or true is None:
        return []
    own = "Sigma is projected through the twins, without a probe: "
    seen = "The projection that ends the mapping is measured through the calibrated meshes, as a lab can do it: "
    return [
        f"{own if material.job.calibrate.method == 'twin' else seen}accuracy {percent(accuracy)}. "
        f"The published one needs the true meshes and gives {percent(true)} {html.BADGE}, "
        f"{_points(-100 * (accuracy - true))}."
    ]


def _against(mapped: Mapping[str, object], other: Mapping[str, object] | None, words: str) -> str:
    """This run's mapping against a copy's, in a sentence."""
    accuracy, copied = numeric(mapped, "accuracy"), numeric(other or {}, "accuracy")
    if other is None or accuracy is None or copied is None:
        return "The two were not compared in this run."
    return (
        f"This run's mapping ends at accuracy {percent(accuracy)} and mapping error "
        f"{number(numeric(mapped, 'oracle_mapping_error'))} {html.BADGE}; {words} ends at {percent(copied)} and "
        f"{number(numeric(other, 'oracle_mapping_error'))}, {_points(100 * (copied - accuracy))}."
    )


def _points(gap: float) -> str:
    """A difference of accuracies, in percentage points."""
    return f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'}" if round(gap, 1) else "the same accuracy"


def _noise(job: Job) -> float:
    """Std of a reading of the job's chips, relative to unit input amplitude."""
    return chip_nonidealities(job).readout_noise


FIRST = (overview,)
"""Sections before the table of numbers ..."""
BEFORE_COST = (calibration, mapping, training, compared.section, phases, upkeep.section)
AFTER_COST = (savings.section, publication)
"""... and around the cost."""
