"""A chip that is not simulated, live or recorded: nothing is known but what was logged, and the window stays useful."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from l2sim.gui.mesh.values import CHOICES, MODES, NO_ORACLE
from l2sim.gui.window.app import command
from l2sim.gui.window.window import Window

from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.recorded import MeshRecorder
from l2sim.errors import L2simError, RunError
from l2sim.inspect import findings
from l2sim.mesh.mesh import Mesh


def real(run: Path, to: Path) -> Path:
    """A copy of a run as a lab would have written it: without any series of an oracle."""
    shutil.copytree(run, to)
    manifest = json.loads((to / "manifest.json").read_text())
    (to / "manifest.json").write_text(json.dumps(manifest | {"chip": "real"}))
    lines = (to / "events.jsonl").read_text().splitlines(keepends=True)
    (to / "events.jsonl").write_text("".join(line for line in lines if "oracle" not in line))
    return to


@pytest.fixture(params=("digits_run", "insitu_run"))
def opened(window: Window, request: pytest.FixtureRequest, tmp_path: Path) -> Window:
    assert window.open(real(request.getfixturevalue(request.param), tmp_path / "runs" / "lab-1"))
    window.tick(everything=True)
    return window


def test_the_window_stays_useful_without_an_oracle(opened: Window) -> None:
    model, whole = opened.model, opened.model.layers[opened.selection.layer].sigma is None
    assert not any("oracle" in name for name in [*model.series, *model.metrics])
    assert "real chip, no oracle" in opened.timeline.sentence()
    opened.selection.set(element=2)
    for dock in opened.docks.values():
        dock.raise_()
        opened.tick(everything=True)
    assert "commanded" in opened.inspector.cards[0].body.text() and "no oracle" in opened.inspector.cards[0].body.text()
    ideal, realised, _ = opened.matrix.matrices
    assert ideal.badge == "estimated" and ideal.values is not None
    assert realised.note == NO_ORACLE if whole else realised.badge == "estimated"
    assert opened.crashed == ""


def test_a_recording_of_a_chip_is_said_to_be_no_run(tmp_path: Path) -> None:
    recorder = MeshRecorder(MeshChip(Mesh("rectangular", 4), Nonidealities(), seed=1))
    recorder.forward(np.eye(4))
    recorder.save(tmp_path / "chip.npz")
    error = CliRunner().invoke(command, [str(tmp_path / "chip.npz")]).exception
    assert isinstance(error, L2simError) and "is a recorded chip" in str(error) and "\n" not in str(error)


def test_every_colouring_is_drawn_or_says_why_not(opened: Window) -> None:
    for mode in range(len(MODES)):
        for choice in CHOICES.get(mode, ("",)):
            if choice:
                opened.mesh.chosen[mode] = choice
            opened.mesh.colour(mode)
            painted = opened.mesh.painted
            assert bool(painted.values) != bool(painted.note), choice
            assert not (painted.values and painted.badge == "oracle"), choice
            assert painted.note == NO_ORACLE or "oracle" not in choice
    assert opened.crashed == ""


def test_diagnosis_tells_what_the_logs_tell(opened: Window) -> None:
    for only, button in opened.diagnosis.buttons.items():
        opened.diagnosis.refresh({"all"})
        if not button.isEnabled():  # a key asks for it all the same
            opened.diagnosis.start(only)
            assert not opened.diagnosis.waits
        assert button.isEnabled() == (only in findings.RECORDED)
        assert (opened.diagnosis.notes[only].text() == NO_ORACLE) != button.isEnabled()
    folder, layer = opened.model.folder, opened.selection.layer
    text = "\n".join(findings.words(findings.find(folder, layer=layer, core=0)))
    assert "moved" in text and "not simulated" in text and "[oracle]" not in text
    for only in ("budget", "sweep", "detectors", "layers"):
        with pytest.raises(RunError, match="not simulated"):
            findings.find(folder, only, layer=layer, core=0)
