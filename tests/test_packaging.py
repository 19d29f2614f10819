"""setup.cfg says what is installed; the tree must agree."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
        for name in names.split(","):
            assert (ROOT / package.replace(".", "/") / name.strip()).exists(), f"{package}: {name}"
