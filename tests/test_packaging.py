"""setup.cfg says what is installed; the tree must agree."""

from __future__ import annotations

import configparser
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from l2sim import fits
from l2sim.cli import doctor
from tests.places import ROOT

MAPPED = ("kernels", "gui")
"""Folders at the top of the tree that are installed inside l2sim."""


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_the_package_list_is_the_tree() -> None:
    listed = config()["options"]["packages"].split()
    inside = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "l2sim").rglob("__init__.py")}
    beside = {
        "l2sim." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in MAPPED
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(listed) == sorted(inside | beside) == listed


def test_every_folder_with_code_is_a_package() -> None:
    for folder in ("l2sim", *MAPPED):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_folders_beside_l2sim_are_mapped_into_it() -> None:
    lines = config()["options"]["package_dir"].strip().split("\n")
    mapped = {name.strip(): place.strip() for name, _, place in (line.partition("=") for line in lines)}
    assert mapped == {f"l2sim.{folder}": folder for folder in MAPPED if (ROOT / folder).is_dir()}


def test_package_data_exists() -> None:
    for package, names in config()["options.package_data"].items():
        place = ROOT / package.removeprefix("l2sim.") if package in mapped() else ROOT / package.replace(".", "/")
        for name in names.split(","):
            assert any(place.glob(name.strip())), f"{package}: {name}"


def mapped() -> set[str]:
    return {f"l2sim.{folder}" for folder in MAPPED}


def required(section: str = "options", extra: str = "install_requires") -> list[Requirement]:
    """What setup.cfg asks for, without the extras that name others."""
    lines = map(str.strip, config()[section][extra].splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "l2sim["))]


EXTRAS = {extra: required("options.extras_require", extra) for extra in config()["options.extras_require"]}
SETS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def test_the_doctor_asks_for_what_is_required() -> None:
    assert sorted(map(canonicalize_name, doctor._PACKAGES)) == sorted(canonicalize_name(r.name) for r in required())


def test_releases_are_refused_only_where_a_pair_is_known_to_break() -> None:
    refused = {
        (canonicalize_name(r.name), str(one)[:-2] if str(one).endswith(".0") else str(one))
        for r in (*required(), *(r for extra in EXTRAS.values() for r in extra))
        for one in r.specifier
        if one.operator != ">="
    }
    cures = {re.fullmatch(r'pip install "([\w-]+)(\W+[\d.]+)"', pair.cure) for pair in fits.KNOWN}
    known = {(canonicalize_name(c[1]), c[2][:-2] if c[2].endswith(".0") else c[2]) for c in cures if c}
    assert refused == known and len(known) == len(fits.KNOWN)
    for pair in fits.KNOWN:
        assert pair.breaks and pair.until


def pins(name: str, python: str) -> dict[str, str]:
    """What a set installs on a version of Python on Linux: package to version."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    here = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found = {}
    for line in text.splitlines():
        if not line or line.startswith(("#", " ")):
            continue
        assert line.count("--hash=sha256:") > 0, line
        requirement = Requirement(line.partition("--hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(here):
            (pin,) = requirement.specifier
            assert pin.operator == "==" and canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name, extras", (
    ("run", ()), ("gui", ("gui",)), ("dev", ("dev", "gui", "cluster", "cuda", "test")),
    ("gpu", ("gpu", "dev", "gui", "cluster", "cuda", "test")), ("pyside", ("pyside", "test")),
    ("gpu12", ("gpu12", "dev", "gui", "cluster", "cuda12", "test")),
))  # fmt: skip
def test_known_sets_hold_what_is_asked_for(name: str, extras: tuple[str, ...], python: str) -> None:
    """`make requirements` was run after the last change of a bound."""
    pinned = pins(name, python)
    assert "setuptools" in pinned
    for requirement in (*required(), *(r for extra in extras for r in EXTRAS[extra])):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    # What is in several sets has one version in all of them; CUDA's own packages are of the CUDA that a set is for.
    apart = re.compile("cuda-|nvidia-" if name == "gpu12" else "$^")
    assert {p: v for p, v in pinned.items() if pins("gpu", python).get(p, v) != v and not apart.match(p)} == {}
    assert list(fits.known(lambda package: pinned.get(canonicalize_name(package)))) == []


def test_each_gpu_set_is_of_one_cuda() -> None:
    for name, major in (("gpu", "13"), ("gpu12", "12")):
        pinned = pins(name, "3.11")
        assert {p for p in pinned if p.startswith("cupy-cuda")} == {f"cupy-cuda{major}x"}
        assert pinned["cuda-bindings"].split(".")[0] == pinned["cuda-toolkit"].split(".")[0] == major
        assert all(p.endswith("-cu12") == (name == "gpu12") for p in pinned if p.startswith("nvidia-"))
        assert fits.CUDA[int(major)] == name


def test_the_lowest_set_is_the_lower_bounds() -> None:
    pinned = pins("lowest", "3.11")
    for requirement in (*required(), *(r for e in ("dev", "gui", "cluster", "cuda", "test") for r in EXTRAS[e])):
        (lower,) = [one.version for one in requirement.specifier if one.operator == ">="] or [None]
        if lower:  # to the second number: some releases came without wheels
            here, declared = Version(pinned[canonicalize_name(requirement.name)]), Version(lower)
            assert (here.major, here.minor) == (declared.major, declared.minor), requirement


def test_the_sets_are_those_that_are_resolved() -> None:
    text = (ROOT / "requirements" / "resolve.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in text for name in SETS) and len(SETS) == 7
    for path in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"https?://|--(extra-)?index|--find-links", path.read_text(encoding="utf-8"))
