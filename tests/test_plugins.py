"""Code of others is imported once, when it is needed, and what is wrong with it is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2sim import plugins
from l2sim.errors import ChipError, PluginError
from l2sim.job import job as jobs
from l2sim.mesh import layouts
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.registry import REGISTERED

LAYOUT = "from l2sim.mesh import layouts\nlayouts.register({name!r}, {what})\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered layouts and imported files of a test end with it."""
    monkeypatch.setattr(plugins, "_imported", {})
    known = dict(REGISTERED.known)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    yield
    REGISTERED.known.clear()
    REGISTERED.known.update(known)


def written(place: Path, name: str, what: str = "lambda n: layouts.rectangular(n, 2)") -> str:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(LAYOUT.format(name=name, what=what))
    return str(place)


def test_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    plugins.add(written(tmp_path / "a" / "mine.py", "one"))
    plugins.add(written(tmp_path / "b" / "mine.py", "two"))
    assert {"one", "two"} <= set(REGISTERED.known)


def test_a_file_is_imported_once_however_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "mine.py", "mine")
    (tmp_path / "link.py").symlink_to(whole)
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", whole, "link.py"):
        plugins.add(name)


def test_files_beside_a_file_are_modules_of_it(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("from l2sim.mesh import layouts\nlayouts.register('helped', lambda n: None)\n")
    (tmp_path / "mine.py").write_text("from . import helper\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "helper.py").write_text("1 / 0\n")
    (tmp_path / "b" / "mine.py").write_text("from . import helper\n")
    plugins.add(str(tmp_path / "mine.py"))
    assert "helped" in REGISTERED.known
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        plugins.add(str(tmp_path / "b" / "mine.py"))


def test_what_is_built_in_needs_no_code_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "nowhere.py"))
    (tmp_path / "job.toml").write_text(jobs.to_toml(jobs.load("digits")))
    assert jobs.load(tmp_path / "job.toml").flow == "l2ight"
    with pytest.raises(PluginError, match=r"nowhere\.py cannot be imported: there is no such file"):
        jobs.load("no-such-preset")


@pytest.mark.parametrize(
    "text, said",
    (("raise ValueError('late')", "ValueError: late"), ("raise SystemExit(3)", "SystemExit: 3"), ("(", "SyntaxError")),
)
def test_what_fails_fails_in_the_same_words(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    for _ in range(2):
        with pytest.raises(PluginError, match=said):
            plugins.add(str(tmp_path / "bad.py"))


@pytest.mark.parametrize("name", ("", ".", "../runs", "notes.txt", "no_such_module_at_all"))
def test_what_is_no_module_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match="cannot be imported"):
        plugins.add(name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.py").mkdir()
    with pytest.raises(PluginError, match="it is a folder"):
        plugins.add(str(tmp_path / "d.py"))


@pytest.mark.parametrize("name", ("clements", "rectangular", "custom", "", 5))
def test_a_layout_has_a_name_of_its_own(name: object) -> None:
    with pytest.raises(PluginError):
        layouts.register(name, layouts.rectangular)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "what", ("lambda n: None", "lambda n: (1, 2)", "lambda n: 1 / 0", "lambda n: layouts.ordered([(0, 0, n)])")
)
def test_a_faulty_layout_is_named(tmp_path: Path, what: str) -> None:
    plugins.add(written(tmp_path / "mine.py", "faulty", what))
    with pytest.raises(ChipError, match="layout 'faulty' gives no mesh of 6 modes"):
        Mesh("faulty", 6).sites  # noqa: B018


def test_processes_inherit_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "mine.py", "mine")
    monkeypatch.chdir(tmp_path)
    plugins._chosen(None, None, ("mine.py",))
    assert os.environ[plugins.VARIABLE] == str((tmp_path / "mine.py").resolve())
    with pytest.raises(PluginError, match="in its path"):
        plugins._chosen(None, None, ("a:b/mine.py",))
