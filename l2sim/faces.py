"""The face of a package: its public names, each loaded from its module when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(module_name: str, names: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of the package `module_name`: `__getattr__, __dir__ = lazy(__name__, {...})`.

    `names` says in which module below the package each public name is defined: `{"Mesh": "mesh.mesh"}`. A name that is
    the last part of its module's is that module itself: `{"models": "nn.models"}`. `dir` lists these names, sorted, so
    that they complete by tab although nothing is loaded yet.
    """

    def load(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
        module = import_module(f"{module_name}.{names[name]}")
        return module if names[name].rpartition(".")[2] == name else getattr(module, name)

    def listed() -> list[str]:
        own = vars(sys.modules[module_name])
        return sorted({*names, *(name for name in own if name.startswith("__") and name.endswith("__"))})

    return load, listed
