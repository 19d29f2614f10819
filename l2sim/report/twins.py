"""The report's sections on calibration and mapping where twins of the cores were fitted and programmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l2sim.report import html
from l2sim.report.html import number
from l2sim.store.gather import Material


def calibration(material: Material) -> str:
    """The report's section on calibration, where twins were fitted."""
    stage = material.stage("calibrate")
    lost = stage["cores"] - stage["identified"]
    text = (
        f"<p>Every core was probed with {number(stage['evaluations_per_core'])} known settings (mean), its whole "
        "response read for each. A model of the core, its twin, was fitted to them: the bias and the strength of every "
        f"heater, and the crosstalk. Of {stage['cores']:,} cores {stage['identified']:,} are identified: what the twin "
        "leaves over is no more than noise (median of residual over noise, squared: "
        f"{number(stage['misfit'])}). "
        + (f"<b>{lost:,} are not</b>, and mapping them may fail. " if lost else "")
        + f"The fits state an uncertainty of the biases of {number(stage['stated_bias_error'])} rad (rms); they are "
        f"off the true ones by {number(stage['oracle_bias_error'])} rad {html.BADGE}, "
        f"{number(stage['oracle_bias_pull'])} times what is stated.</p>"
    )
    return html.section("Calibration", text)


def _expected(stage: Mapping[str, Any]) -> str:
    """What was said of the errors, where it was: older runs said nothing."""
    if "expected_error" not in stage:
        return ""
    lost = stage["cores"] - stage["known"]
    return (
        f"Of the error below, {number(stage['expected_error'])} was expected (mean; of the limits that hold in 95 of "
        f"100 cores, {number(stage['expected_limit'])}). "
        + (f"<b>{lost:,} of {stage['cores']:,} cores are not known well enough</b>. " if lost else "")
    )


def mapping(material: Material) -> str:
    """The report's section on mapping, where twins were programmed."""
    stage, refine = material.stage("map"), material.job.map.refine
    text = (
        "<p>The phases of every core were computed from its twin, its quantised levels chosen together, and sigma with "
        "them; two evaluations of each core were compared with what its twin expects. "
        + _expected(stage)
        + (f"{refine} sweeps of ternary probing followed. " if refine else "")
        + "Mapping error |USV − W|² / |USV|², mean of all cores: "
        + f"{number(stage['oracle_mapping_error'])} {html.BADGE}.</p>"
    )
    return html.section("Mapping", text)
