"""Flows and layouts of others: registered from a file outside of l2sim, they run, resume, sweep and open as its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from l2sim import plugins
from l2sim.errors import JobError, L2simError, PluginError, RunError
from l2sim.flow import registry
from l2sim.flow.flow import run as flow_run
from l2sim.job import flows
from l2sim.job import job as jobs
from l2sim.mesh import layouts
from l2sim.mesh.mesh import Mesh
from l2sim.store.manifest import read_manifest
from tests.places import EXAMPLES
from tests.tolerances import PATIENCE

JOB = """name = "mine"
flow = "readout"
[insitu]
modes = 16
features = "pca"
[learn]
epochs = {epochs}
"""
TIMES = {"seconds", "started", "process", "id"}


def timeless(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


class Place:
    """A folder with somebody's files, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.around = os.environ | {"L2SIM_IMPORT": ""}
        self.around["PYTHONPATH"] = os.pathsep.join(map(str, sys.path))
        for name in ("own_flow.py", "own_layout.py"):
            shutil.copy(EXAMPLES / name, folder / name)
        for name, epochs in (("job", 40), ("short", 4)):
            (folder / f"{name}.toml").write_text(JOB.format(epochs=epochs))

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "l2sim", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.around | more, **pipes)

    def l2sim(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=PATIENCE / 1000)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def report(self, name: str) -> dict[str, Any]:
        return dict(timeless(json.loads((self.folder / name / "report.json").read_text())))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def whole(place: Place) -> str:
    """The name of a finished run of the third flow."""
    done = place.l2sim("run", "job.toml", "--import", "own_flow.py", "--out", "whole", "--threads", "1")
    assert done.returncode == 0, done.stderr
    return "whole"


def test_a_third_flow_runs_from_a_file(place: Place, whole: str) -> None:
    report = place.report(whole)
    assert [stage["name"] for stage in report["stages"]] == ["deploy", "learn"]
    deploy, learn = report["stages"]
    assert learn["accuracy"] > 0.6 > deploy["accuracy"] and learn["core_calls"] > 0 and learn["energy_j"]["total"] > 0
    page = (place.folder / whole / "report.html").read_text()
    assert "a read-out behind 16 modes on digits" in page and "Stages in numbers" in page and "<svg" in page
    assert "own_flow" not in (place.folder / whole / "job.toml").read_text()
    assert "own_flow" not in (place.folder / whole / "manifest.json").read_text()


def test_stopped_and_resumed_it_ends_as_never_stopped(place: Place, whole: str) -> None:
    paced = "--out", "stopped", "--pace", "5", "--threads", "1"
    first = place.start("run", "job.toml", "--import", "own_flow.py", *paced)
    log = place.folder / "stopped" / "events.jsonl"
    end = time.monotonic() + PATIENCE / 1000
    while not (log.exists() and log.read_text().count('"epoch"') > 4) and first.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, words = first.communicate(timeout=PATIENCE / 1000)
    assert first.returncode == 130, words
    assert read_manifest(place.folder / "stopped").state == "stopped"
    again = place.l2sim(
        "run", "--resume", "--pace", "0", "--out", "stopped", L2SIM_IMPORT=str(place.folder / "own_flow.py")
    )
    assert again.returncode == 0, again.stderr
    assert place.report("stopped") == place.report(whole)


def test_a_sweep_of_it_in_processes_of_their_own(place: Place) -> None:
    (place.folder / "sweep.toml").write_text('job = "short.toml"\n[grid]\nseed = [1, 2]\n')
    done = place.l2sim("sweep", "sweep.toml", "--import", "own_flow.py", "--out", "swept", "--workers", "1")
    assert done.returncode == 0, done.stderr
    rows = (place.folder / "swept" / "results.csv").read_text().splitlines()
    assert len(rows) == 3 and "learn.accuracy" in rows[0]
    assert (place.folder / "swept" / "report.html").exists()


def test_the_window_opens_it(place: Place, whole: str, tmp_path: Path) -> None:
    pytest.importorskip("pyqtgraph")
    code = "import sys; from l2sim.gui.window.app import main; main(sys.argv[1:])"
    out = tmp_path / "shown.png"
    more = ["--import", "own_flow.py", "--screenshot", str(out), "--size", "900x600"]
    command = [sys.executable, "-c", code, whole, *more]
    done = subprocess.run(
        command, cwd=place.folder, env=place.around, capture_output=True, text=True, timeout=PATIENCE / 1000
    )
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize("command", (("report", "whole"), ("run", "job.toml"), ("diagnose", "whole")))
def test_without_its_code_a_folder_is_refused_in_one_line(place: Place, whole: str, command: tuple[str, ...]) -> None:
    done = place.l2sim(*command)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "flow = 'readout' is unknown; use one of l2ight, insitu, or name the module or file" in line
    assert line.endswith("with --import")
    assert place.l2sim("report", whole, "--import", "own_flow.py").returncode == 0


def test_a_layout_from_a_file(place: Place) -> None:
    order = ("run", "insitu-digits", "--smoke", "--set", "insitu.mesh=half", "--out", "half", "--threads", "1")
    refused = place.l2sim(*order)
    assert refused.returncode == 2 and "insitu.mesh = 'half' is unknown" in refused.stderr
    done = place.l2sim(*order, "--import", "own_layout.py")
    assert done.returncode == 0, done.stderr
    learn = place.report("half")["stages"][-1]
    couplers = {chip["geometry"]["heaters"] for chip in learn["by_chip"].values()}
    assert len(couplers) == 1
    assert place.l2sim("report", "half", "--import", "own_layout.py").returncode == 0


def test_a_layout_that_is_none_is_refused() -> None:
    layouts.register("overlapping", lambda modes: layouts.ordered([(0, 0, 1), (0, 1, 2)]))
    try:
        with pytest.raises(L2simError, match="two couplers overlap"):
            _ = Mesh("overlapping", 4).column
        with pytest.raises(PluginError, match="there is a layout 'overlapping' already"):
            layouts.register("overlapping", layouts.triangular)
        with pytest.raises(PluginError, match="there is a layout 'rectangular' already"):
            layouts.register("rectangular", layouts.triangular)
        assert jobs.from_dict({"flow": "insitu", "insitu": {"mesh": "overlapping"}}).insitu.mesh == "overlapping"
    finally:
        layouts.REGISTERED.known.clear()


def test_what_cannot_be_imported_is_said_in_one_line(place: Place) -> None:
    for name, text, words in (
        ("broken.py", "import no_such_package", "broken.py cannot be imported: ModuleNotFoundError: No module named"),
        ("twice.py", "from l2sim.flow import registry as r; r.register('insitu', r.FLOWS['insitu'])",
         "there is a flow 'insitu' already"),
        ("absent.py", "", "absent.py cannot be imported: there is no such file"),
    ):  # fmt: skip
        if text:
            (place.folder / name).write_text(text)
        for done in (
            place.l2sim("run", "digits", "--smoke", "--import", name),
            place.l2sim("run", "job.toml", L2SIM_IMPORT=str(place.folder / name)),
        ):
            assert done.returncode == 2
            [line] = done.stderr.strip().splitlines()
            assert words in line


def test_a_flow_has_the_stages_that_it_declares() -> None:
    insitu = registry.FLOWS["insitu"]
    declared = insitu.declared._replace(stages=("deploy", "dream"))
    with pytest.raises(PluginError, match="declares stage 'dream'"):
        registry.register("dreaming", insitu._replace(declared=declared))
    assert "dreaming" not in registry.FLOWS and "dreaming" not in flows.FLOWS


def test_a_flow_is_made_of_functions() -> None:
    insitu = registry.FLOWS["insitu"]
    for broken in (insitu._replace(open=None), insitu._replace(stages={**insitu.stages, "learn": 5})):
        with pytest.raises(PluginError, match="give functions"):
            registry.register("broken", broken)


def test_a_stage_that_has_no_result_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    insitu = registry.FLOWS["insitu"]
    silent = insitu._replace(stages={**insitu.stages, "learn": lambda session, done: iter(())})
    monkeypatch.setitem(registry.FLOWS.known, "insitu", silent)
    with pytest.raises(RunError, match="stage learn of flow 'insitu' ended without its result"):
        list(flow_run(jobs.smoke(jobs.load("insitu-digits"))))


def test_every_flow_that_jobs_know_can_be_run() -> None:
    assert list(flows.FLOWS) == list(registry.FLOWS)
    for name, flow in registry.FLOWS.items():
        assert flow.declared is flows.FLOWS[name]
    with pytest.raises(JobError, match="flow = 'insituu' is unknown; did you mean insitu"):
        jobs.from_dict({"flow": "insituu"})


def test_a_registry_lists_what_installed_packages_bring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: plugins.Registry[int] = plugins.Registry("number")
    kept.register("one", 1)
    package = tmp_path / "numbers_of_others.py"
    package.write_text("from l2sim import plugins\nplugins.KEPT.register('two', 2)\n")
    monkeypatch.setattr(plugins, "KEPT", kept, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "installed", lambda: ("numbers_of_others",))
    assert kept["one"] == 1 and "numbers_of_others" not in sys.modules, "nothing is imported for what is there"
    assert list(kept) == ["one", "two"] and kept["two"] == 2 and "three" not in kept
