"""What others add to l2sim: things by name, and the import of the code that brings them.

A `Registry` holds things of one kind by name: flows, layouts of meshes, presets. Code of others adds to it when it is
imported, and it is imported the first time that a registry is listed or lacks a name:

    installed packages     with an entry point in the group "l2sim", which names a module
    modules and files      named by `--import`, or by L2SIM_IMPORT, separated by ":"; processes started later inherit it

What a job or a run folder holds is never imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from l2sim.errors import PluginError

if TYPE_CHECKING:
    import click

VARIABLE = "L2SIM_IMPORT"
GROUP = "l2sim"
CURE = "or name the module or file that brings it with --import"
"""What a message about an unknown name ends with."""
T = TypeVar("T")
Command = TypeVar("Command", bound="Callable[..., object] | click.Command")
_imported: dict[str, PluginError | None] = {}
"""What was imported, files by their whole path, and why it could not be."""


class Registry(Mapping[str, T]):
    """Things of one `kind` by name. Asked for one that it lacks, or for all, it imports the code of others first."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.known: dict[str, T] = {}

    def register(self, name: str, thing: T) -> None:
        """Add a thing. PluginError where another one has the name."""
        if name in self.known:
            raise PluginError(f"there is a {self.kind} {name!r} already; give this one another name")
        self.known[name] = thing

    def __getitem__(self, name: str) -> T:
        if name not in self.known:
            load()
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        load()
        return iter(self.known)

    def __len__(self) -> int:
        load()
        return len(self.known)


def load() -> None:
    """Import the code of others that is not yet imported. PluginError where it cannot be."""
    for name in (*installed(), *filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))):
        add(name)


def add(name: str) -> None:
    """Import a module or a file NAME.py, once; what failed once fails in the same words. PluginError where it does."""
    whole = str(Path(name).resolve()) if name.endswith(".py") else name
    if whole in _imported:
        if failure := _imported[whole]:
            raise failure
        return
    _imported[whole] = None  # at once: it may list registries while it is imported
    try:
        if name.endswith(".py"):
            _import_file(Path(whole))
        elif not name.replace(".", "").isidentifier() or name.startswith("."):
            raise PluginError("it names no module; give a module's name or a file that ends with .py")
        else:
            importlib.import_module(name)
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        failure = PluginError(f"{name} cannot be imported: {text}".replace("\n", " "))
        _imported[whole] = failure
        raise failure from error


def option(command: Command) -> Command:
    """The option `--import` of a command that opens jobs or runs: imports at once, and in processes started later."""
    import click  # late: a job needs no command line

    return click.option(
        "--import", multiple=True, metavar="MODULE|FILE.py", expose_value=False, is_eager=True, callback=_chosen,
        help="Code that adds flows, layouts ... [L2SIM_IMPORT].",
    )(command)  # fmt: skip


def _chosen(context: object, parameter: object, names: tuple[str, ...]) -> None:
    for name in names:
        whole = str(Path(name).resolve()) if name.endswith(".py") else name
        if os.pathsep in whole:
            raise PluginError(f"--import {name} has a {os.pathsep!r} in its path, which parts names; call it otherwise")
        before = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part and part != whole]
        os.environ[VARIABLE] = os.pathsep.join([*before, whole])
        add(whole)


@cache
def installed() -> tuple[str, ...]:
    """The modules that installed packages name."""
    from importlib.metadata import entry_points  # late: it loads much, for names that l2sim lacks only

    return tuple(sorted(point.module for point in entry_points(group=GROUP)))


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise PluginError("it is a folder" if path.is_dir() else "there is no such file")
    # Not its own name, which some module of Python's or another file may have.
    name = f"l2sim_import_{path.stem}_{blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    beside = [str(path.parent)]  # files beside it are imported as modules of it
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=beside)
    assert spec is not None and spec.loader is not None, "a file that ends with .py is Python"
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
