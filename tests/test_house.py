"""The house is kept: rooms of a size one can take in, no circles, functions that fit a screen, rules in one place.

Which rooms there are and who may import whom is in test_floors.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.places import ROOT
from tests.test_floors import module_of, sources

PRODUCT = ("l2sim", "kernels", "gui")
FILES = sources(*PRODUCT)
LARGE = {"kernels", "l2sim/study"}
"""Folders of many files of one kind: a family of kernels, a study each."""
WORDS = {"found", "it", "told", "held"}
"""What a value is not called: they do not say what it is."""


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] in ("l2sim", "gui") and len(parts) > 2 else parts[0]


def lines_of(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_no_folder_holds_too_many_files() -> None:
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in FILES)
    assert {name: many for name, many in folders.items() if many > 16 and name not in LARGE} == {}


def test_no_room_holds_more_than_a_fifth_of_the_product() -> None:
    rooms: Counter[str] = Counter()
    for path in FILES:
        rooms[room_of(path)] += lines_of(path)
    assert {name: many for name, many in rooms.items() if many > sum(rooms.values()) / 5} == {}


def test_no_file_is_two_things() -> None:
    assert {str(path.relative_to(ROOT)): n for path in FILES if (n := lines_of(path)) > 500} == {}


def test_every_room_says_which_question_it_answers_and_lists_its_names() -> None:
    for path in (path for path in FILES if path.name == "__init__.py"):
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), path
        assert re.search(r"^(__all__|FAMILIES) = ", text, re.MULTILINE), path


# -- circles -----------------------------------------------------------------------------------------------------------


def graph(files: list[Path]) -> dict[str, set[str]]:
    """Module -> the modules it imports, late and type-only imports too; faces, which load lazily, import nothing."""
    names = {full(module_of(path)): path for path in files}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        face = path.name == "__init__.py"
        edges[name] = set() if face else {other for other in targets(path, names) if other in names} - {name}
    return edges


def full(name: str) -> str:
    """As it is installed: kernels and gui lie inside l2sim."""
    return name if name.split(".", maxsplit=1)[0] == "l2sim" else f"l2sim.{name}"


def targets(path: Path, names: dict[str, Path]) -> Iterator[str]:
    package = module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (full(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = full(".".join([*above, *([node.module] if node.module else [])]))
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that reach each other."""
    reach = {name: set(others) for name, others in edges.items()}
    changed = True
    while changed:
        changed = False
        for others in reach.values():
            more = set().union(*(reach[other] for other in others)) - others if others else set()
            if more:
                others |= more
                changed = True
    inside = [name for name in reach if name in reach[name]]
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in inside}
    return [set(group) for group in groups]


def test_no_circle_of_imports() -> None:
    edges = graph(FILES)
    assert sum(map(len, edges.values())) > 500
    assert circles(edges) == []


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


# -- names and sizes ---------------------------------------------------------------------------------------------------


def private(tree: ast.AST) -> list[str]:
    """Private attributes of objects that are not of the class around: `other._x`, unless a method compares its kind."""
    # Of named tuples, os, pickle and Numba's structures.
    public = {"_replace", "_fields", "_asdict", "_make", "_exit", "_Unpickler", "_getvalue"}
    own = {
        id(node)
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for names in [declared(kind)]
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match(r"_[^_]", node.attr)
        and node.attr not in public
        and id(node) not in own
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


def declared(kind: ast.ClassDef) -> set[str]:
    """Private names that a class defines itself."""
    names = {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(kind):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_nobody_reaches_into_another_object() -> None:
    assert [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in private(parsed(path))] == []


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_a_hand_in_another_object_is_seen() -> None:
    assert private(ast.parse("chip._bias = 3")) == ["1: chip._bias"]
    assert private(ast.parse("class A:\n    _x = 1\n    def same(self, other): return self._x == other._x")) != []
    assert private(ast.parse("class A:\n    _x: int\n    def same(self, other): return self._x == other._x")) == []


def branches(function: ast.AST) -> int:
    """Cyclomatic complexity, as McCabe counts it: one, and one for each decision."""
    kinds = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
    nodes = list(ast.walk(function))
    both = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return 1 + both + sum(isinstance(node, kinds) for node in nodes)


def command(function: ast.FunctionDef) -> bool:
    """Whether it is a command of the shell, whose parameters are its options."""
    return any(re.search(r"\.(command|option|argument)\(", ast.unparse(line)) for line in function.decorator_list)


def too_large(tree: ast.AST) -> list[str]:
    bad = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not command(node):
            lines, parameters = (node.end_lineno or 0) - node.lineno + 1, node.args
            named = [arg for arg in (*parameters.posonlyargs, *parameters.args) if arg.arg not in ("self", "cls")]
            many = len(named) + len(parameters.kwonlyargs)
            if lines > 60 or branches(node) > 20 or many > 10:
                bad.append(f"{node.name}: {lines} lines, complexity {branches(node)}, {many} parameters")
    return bad


def test_every_function_fits_a_screen() -> None:
    files = sources("l2sim", "gui")
    assert {str(path.relative_to(ROOT)): bad for path in files if (bad := too_large(parsed(path)))} == {}


def test_a_large_function_is_seen() -> None:
    assert too_large(ast.parse("def f():\n" + "    pass\n" * 60)) == ["f: 61 lines, complexity 1, 0 parameters"]
    assert too_large(ast.parse("def f():\n" + "    if x: pass\n" * 20)) != []
    assert too_large(ast.parse("def f(a, b, c, d, e, f, g, h, i, j, k): pass")) != []
    assert too_large(ast.parse("def f(a, b, c, d, e, f, g, h, i, j): pass")) == []


def unexplained(source: str) -> list[str]:
    """Imports inside functions whose line, or the one above, does not say why they come late."""
    lines = source.splitlines()
    tree = ast.parse(source)
    inner = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.Lambda))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    bad, before = [], -1
    for node in sorted(inner, key=lambda node: node.lineno):
        said = "#" in lines[(node.end_lineno or 1) - 1] or "#" in lines[node.lineno - 2]
        if not said and node.lineno - 1 != before:
            bad.append(f"{node.lineno}: {ast.unparse(node)}")
        else:
            before = node.end_lineno or 0  # those of the same paragraph share the reason
    return bad


def test_a_late_import_says_why() -> None:
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in FILES}
    assert [f"{path}:{line}" for path, text in texts.items() for line in unexplained(text)] == []


def vague(tree: ast.AST) -> list[str]:
    """Variables and parameters whose names do not say what they are. Fields may be keys of files that are read."""
    fields = {
        line.target
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for line in kind.body
        if isinstance(line, ast.AnnAssign)
    }
    return [
        f"{node.lineno}: {name}"
        for node in ast.walk(tree)
        if (name := node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else "") in WORDS
        and node not in fields
        and (isinstance(node, ast.arg) or isinstance(getattr(node, "ctx", None), ast.Store))
    ]


def test_names_say_what_a_value_is() -> None:
    assert [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in vague(parsed(path))] == []


def undocumented(tree: ast.Module) -> list[str]:
    """Public classes and functions of a module, and public methods of its public classes, without a docstring. What
    Qt calls (paintEvent) is documented by Qt."""
    bad = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            members = node.body if isinstance(node, ast.ClassDef) else []
            for one in (node, *members):
                if isinstance(one, (ast.FunctionDef, ast.ClassDef)) and not re.match(r"_|[a-z]+[A-Z]", one.name):
                    if any(ast.unparse(line).endswith(".setter") for line in one.decorator_list):
                        continue  # the property's own docstring speaks for both
                    text = ast.get_docstring(one)
                    if text is None or re.match(r"See\b", text):
                        bad.append(one.name if one is node else f"{node.name}.{one.name}")
    return bad


def test_every_public_name_is_documented() -> None:
    files = sources("l2sim", "gui")
    assert {str(path.relative_to(ROOT)): bad for path in files if (bad := undocumented(parsed(path)))} == {}


def test_types_are_said() -> None:
    """Any and dict[str, Any] are what is left where foreign packages and JSON have no types."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    assert len(re.findall(r"\bdict\[str, Any\]", text)) < 100
    assert len(re.findall(r"\bAny\b", text)) < 300


@pytest.mark.parametrize("name", ("l2sim", "gui"))
def test_the_checker_is_strict(name: str) -> None:
    assert re.search(rf'^packages = .*"{name}"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^strict = true$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


# -- rules -------------------------------------------------------------------------------------------------------------

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
