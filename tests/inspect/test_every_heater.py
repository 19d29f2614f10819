"""Every heater of a chip by readings, commands and the data sheet; the same by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from l2sim.gui.window.first import examples

from l2sim.chip.devices import TABLES
from l2sim.cli import main as cli
from l2sim.errors import RunError
from l2sim.inspect import every_heater
from l2sim.inspect.run import Recorded
from l2sim.job.job import with_overrides


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with one broken heater that ships with the window."""
    folder = tmp_path_factory.mktemp("runs")
    examples.write(examples.SHIPPED / "broken-heater.tar.xz", folder)
    return folder


def test_exactly_the_broken_heater_does_not_answer(broken: Path) -> None:
    run, said = Recorded(broken), list[str]()
    found = every_heater.every_heater(run, said=said.append)
    silent = [(row.layer, row.core, row.part, row.number) for row in found.rows if row.silent]
    assert silent == [("fc1", 2, "u", 26)] and found.rows[0].silent and found.rows[0].share == 0.0
    (layer,) = found.layers
    assert (layer.layer, layer.heaters, layer.silent, layer.v_max) == ("fc1", 896, 1, 0)
    cost = every_heater.cost(run.grids)
    assert (cost.cores, cost.heaters) == (16, 896)
    assert found.core_calls == cost.core_calls + 2 * 8  # the one that seems silent is asked a second time
    assert said[0] == every_heater.in_words(cost) and said[-1] == "896 of 896 heaters, 7,440 core calls"


def test_power_is_that_of_the_commands_and_the_most_is_named(broken: Path) -> None:
    run = Recorded(broken)
    found = every_heater.every_heater(run)
    phases = np.concatenate([run.frame(f"fc1.{part}.phases").values.ravel() for part in ("u", "v")])
    milliwatts = np.mod(phases.astype(float), 2 * np.pi) / np.pi * 1e3 * TABLES["thermal"].pi_w
    assert found.layers[0].milliwatts == pytest.approx(milliwatts.sum(), rel=1e-6)
    named = sorted((row.milliwatts for row in found.rows if not row.silent), reverse=True)
    np.testing.assert_allclose(named, np.sort(milliwatts)[::-1][: every_heater.BRIGHT], rtol=1e-6)


def test_heaters_at_v_max_are_counted_and_the_first_thousand_named(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Recorded(broken)
    changed = ("drive=voltage", "v_max=3", "phase_bits=8")
    weak = with_overrides(run.job, [f"nonidealities.{setting}" for setting in changed])
    monkeypatch.setattr(Recorded, "job_at", lambda self, step: weak)
    monkeypatch.setattr(every_heater, "NAMED", 7)
    found = every_heater.every_heater(run)
    full = [row for row in found.rows if row.v_max]
    assert found.layers[0].v_max > 100 and 7 <= len(full) <= 7 + every_heater.BRIGHT + 1
    assert max(row.milliwatts for row in found.rows) == full[0].milliwatts or full[0].silent


def test_whole_meshes_are_asked_too_one_layer_or_all(insitu_run: Path) -> None:
    run = Recorded(insitu_run)
    first = next(iter(run.grids))
    found = every_heater.every_heater(run, first)
    assert [layer.layer for layer in found.layers] == [first]
    assert found.layers[0].heaters == every_heater.cost(run.grids, first).heaters
    assert found.core_calls >= every_heater.cost(run.grids, first).core_calls > 0
    with pytest.raises(RunError, match="has no layer 'nothing'"):
        every_heater.every_heater(run, "nothing")


def test_before_there_is_a_chip_it_says_so(broken: Path) -> None:
    with pytest.raises(RunError, match="nothing was commanded to fc1 yet"):
        every_heater.every_heater(Recorded(broken), step=1)


def test_a_command_that_is_no_number_is_named_with_its_core(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorded(broken)
    whole = run.phases

    def lost(layer: str, block: int, side: str, step: int | None = None) -> dict[str, object]:
        phases = whole(layer, block, side, step)
        return phases | {"theta": np.full_like(phases["theta"], np.nan)} if (block, side) == (3, "v") else phases

    monkeypatch.setattr(run, "phases", lost)
    with pytest.raises(RunError, match=r"fc1 core 3 cannot be asked: .*not finite.*; choose another layer"):
        every_heater.every_heater(run)


def test_the_command_line_says_what_it_takes_then_how_far_it_is(broken: Path) -> None:
    words = CliRunner().invoke(cli.command, ["diagnose", str(broken), "--only", "every_heater", "--layer", "fc1"])
    assert words.exit_code == 0
    assert words.stderr.splitlines()[0] == "896 heaters of 16 cores, at least 7,424 core calls"
    assert "fc1: 896 heaters of 16 cores take 13,952 mW; 1 does not answer, 0 at V_max" in words.stdout
    assert words.stdout.count("no answer") == 1 and "fc1 core 2 U MZI 26" in words.stdout
    numbers = CliRunner().invoke(cli.command, ["diagnose", str(broken), "--only", "every_heater", "--json"])
    answer = json.loads(numbers.stdout)
    assert answer["every_heater"]["core_calls"] == 7440 and answer["badges"]["every_heater"] == "measured"
    whole = CliRunner().invoke(cli.command, ["diagnose", str(broken), "--only", "heaters", "--json"])
    assert "every_heater" not in json.loads(whole.stdout)
