"""The house is in order: what is a rule stands in one place."""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.places import ROOT

OWN = {
    "FORMAT": "every kind of file counts its own versions",
    "VERSION": "every kind of file counts its own versions",
    "SEEN": "every view of the window says what it is drawn again for",
    "SEEDS": "every study says which seeds it ran",
    "LOSS_DB": "every study says which chip it looked at",
    "SIZES": "every study and table says which sizes it goes through",
    "TRIES": "how often a download is tried has nothing to do with how often a core is programmed",
}
"""Constants that may have the same name and value in two modules, and why these are two rules."""


def constants(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of the constants, in capitals, that a module defines; those of a tuple one by one."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts) if several else [(target, node.value)]
            for name, value in pairs:
                if isinstance(name, ast.Name) and value is not None and re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name.id):
                    yield name.id.lstrip("_"), value


def written(value: ast.expr) -> str | None:
    """What an expression of numbers and text comes to, as text; None where it needs what its module imports."""
    try:
        result = eval(ast.unparse(value), {"__builtins__": {}, "np": np, "math": math})
    except Exception:
        return None
    return repr(sorted(result, key=repr) if isinstance(result, set) else result)


def test_no_rule_is_defined_twice() -> None:
    """Two modules with the same constant, by name and value, say one rule twice: one of them is to import it."""
    places = defaultdict(list)
    for folder in ("kernels", "l2sim", "gui"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name, value in constants(path):
                places[name, written(value)].append(str(path.relative_to(ROOT)))
    twice = {key: paths for key, paths in places.items() if key[1] and len(set(paths)) > 1 and key[0] not in OWN}
    assert not twice, "\n".join(f"{name} = {value}: {', '.join(paths)}" for (name, value), paths in twice.items())
