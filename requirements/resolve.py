"""Resolve the known sets from setup.cfg: `make requirements`, or `make requirements ARGS=--upgrade` for newer releases.

Each file serves every Python from 3.11 on, by markers, and lists the hashes of all wheels. What is in several files
has one version in all of them, so that `make run` after `make test` changes nothing. `lowest.txt` holds the lower
bounds that setup.cfg declares, on the oldest Python. Resolved by `uv pip compile`.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = {
    "dev": ("dev",), "gpu": ("dev", "gpu"), "gpu12": ("dev", "gpu12"), "run": (), "gui": ("gui",),
    "pyside": ("pyside", "test"),
}  # fmt: skip
"""The extras of every set; those of the first are the rule for all that follow."""
INSTEAD = {"gpu12": {"cuda": "cuda12"}}
"""By set: extras that stand for others, and of which the rule holds for all but CUDA's own packages."""
CUDA = re.compile(r"(cuda|cupy|nvidia)-")
OLDEST = "3.11"


def requirements(extras: tuple[str, ...], instead: dict[str, str] | None = None) -> list[str]:
    """What l2sim requires with these extras, and what builds it."""
    instead = instead or {}
    config = configparser.ConfigParser()
    config.read(HERE.parent / "setup.cfg", encoding="utf-8")

    def lines(text: str) -> list[str]:
        return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]

    def of(extra: str) -> list[str]:
        found = []
        for line in lines(config["options.extras_require"][instead.get(extra, extra)]):
            inner = line.removeprefix("l2sim[").removesuffix("]")
            found += [line] if inner == line else [r for name in inner.split(",") for r in of(name)]
        return found

    return [*lines(config["options"]["install_requires"]), *(r for e in extras for r in of(e)), "setuptools >=70.1"]


def resolve(name: str, extras: tuple[str, ...], *options: str) -> None:
    """Write NAME.txt."""
    made, wanted = "make requirements", requirements(extras, INSTEAD.get(name))
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--generate-hashes", "--only-binary", ":all:",
        "--python-version", OLDEST, "--custom-compile-command", made, "--output-file", str(HERE / f"{name}.txt"),
    ]  # fmt: skip
    subprocess.run([*command, *options], input="\n".join(wanted), text=True, check=True)
    path = HERE / f"{name}.txt"
    path.write_text(re.sub(r"-c /\S+/", "-c requirements/", path.read_text(encoding="utf-8")), encoding="utf-8")


def main(options: list[str]) -> None:
    first = next(iter(SETS))
    for name, extras in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            rule = HERE / f"{first}.txt"
            if name in INSTEAD:
                rule = Path(folder) / rule.name
                pins = re.findall(r"^\S+==[^\\\n]*", (HERE / rule.name).read_text(encoding="utf-8"), re.MULTILINE)
                rule.write_text("\n".join(pin for pin in pins if not CUDA.match(pin)), encoding="utf-8")
            shared = [] if name == first else ["--constraint", str(rule)]
            resolve(name, extras, "--universal", *shared, *options)
    resolve("lowest", SETS[first], "--resolution", "lowest-direct", *options)


if __name__ == "__main__":
    main(sys.argv[1:])
