"""Make an environment and install a known set of packages and l2sim in it; the make targets call this.

    python3 requirements/install.py SET FOLDER [--exact]

SET is a file of this folder, `run`, `gui`, `dev`, ..., whose hashes are checked; or `newest`, which takes the newest
releases that setup.cfg allows. An environment in FOLDER that works is kept; with `--exact` only if it has the version
of Python that runs this. Whatever cannot be done ends in one line. Standard library only.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TESTED = ((3, 11), (3, 13))
"""The oldest and newest Python on which all tests were run; the sets hold wheels for 3.14 too."""
CAUSES = (
    (r"No space left on device|Errno 28", "the disk is full"),
    (
        r"DO NOT MATCH THE HASHES",
        "a package is not the file that was tested, its hash differs: try again, or ask who runs your package mirror",
    ),
    (
        r"command '[^']*(?:gcc|g\+\+|cc|clang)[^']*' failed|Failed (?:building wheel|to build)",
        "a package without a wheel for Python {python} on {machine} was to be built, which takes a compiler and the "
        "headers of Python: apt-get install build-essential python3-dev; or take Python {oldest} to {newest} on x86-64",
    ),
    (
        r"Max retries|NewConnectionError|NameResolutionError|Temporary failure in name resolution|CERTIFICATE_VERIFY|"
        r"Network is unreachable|ProxyError|ReadTimeout|ConnectionError",
        "the package index does not answer: look at the network, and at PIP_INDEX_URL, PIP_PROXY and PIP_CERT",
    ),
    (
        r"(?:No matching distribution found for|satisfies the requirement) ([\w.-]+)",
        "no wheel of {0} was found for Python {python} on {machine}, and the sets build nothing: see that the package "
        "index is whole (PIP_INDEX_URL), take Python {oldest} to {newest} on x86-64 Linux, or build it with a compiler "
        '(apt-get install build-essential python3-dev) and pip install --editable ".[dev]"',
    ),
)


def main(arguments: list[str]) -> None:
    exact = "--exact" in arguments
    name, folder = (argument for argument in arguments if argument != "--exact")
    python = Path(folder) / "bin" / "python"
    environment(Path(folder), python, exact)
    if sys.version_info[:2] > TESTED[1]:
        print(f"Python {release(sys.version_info)} is newer than any that l2sim was tested with; going on")
    if name == "newest":
        pip(python, "--upgrade", "--upgrade-strategy", "eager", "--prefer-binary", "--editable", ".[dev]")
        return
    pip(python, "--require-hashes", "--only-binary", ":all:", "--requirement", str(HERE / f"{name}.txt"))
    pip(python, "--no-deps", "--no-build-isolation", "--editable", ".")


def release(version: tuple[int | str, ...]) -> str:
    """3.12 of (3, 12, ...)."""
    return f"{version[0]}.{version[1]}"


def environment(folder: Path, python: Path, exact: bool) -> None:
    """Make the environment unless one that works is there."""
    there = None
    if python.exists():
        asked = [str(python), "-c", "import sys, pip; print(*sys.version_info[:2])"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True)
            there = tuple(map(int, done.stdout.split())) if done.returncode == 0 else None
        except OSError:  # of another machine
            there = None
    wanted = sys.version_info[:2] if exact else there
    if there and there == wanted and there >= TESTED[0]:
        return
    print(f"making {folder} with Python {release(sys.version_info)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        fail(f"{folder} cannot be made: {(done.stderr.strip().splitlines() or ['venv gave no reason'])[-1]}")


def pip(python: Path, *what: str) -> None:
    """Install, quietly; where pip fails, say what it means."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *what]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    errors = [line.strip() for line in done.stderr.splitlines() if line.lstrip().startswith("ERROR")]
    print("\n".join(errors) or done.stderr, file=sys.stderr)
    said = {
        "python": release(sys.version_info),
        "machine": f"{platform.system()} {platform.machine()}",
        "oldest": release(TESTED[0]),
        "newest": release(TESTED[1]),
    }
    for pattern, cause in CAUSES:
        found = re.search(pattern, done.stderr)
        if found:
            fail(cause.format(*found.groups(), **said))
    fail("pip could not install the packages; its own lines are above")


def fail(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
