"""Packages that do not fit each other: what their own metadata say, and pairs that only trying has shown.

`KNOWN` repeats the upper bounds of setup.cfg, for environments that were not installed from it. The package `packaging`
is imported late: `l2sim doctor` says that it is missing, where it is.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from l2sim.errors import L2simError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Versions = Callable[[str], str | None]
"""Gives the version of a package here, None where it is not installed."""
PYTHON = ".".join(map(str, sys.version_info[:3]))
"""As pip compares it: without the + or rc of a build."""


CUDA = {13: "gpu", 12: "gpu12"}
"""By CUDA: the extra of it, the newest first. A driver serves its own and those before."""


def driver() -> int:
    """The newest CUDA that the driver of this machine knows, 0 where none answers."""
    try:
        count = ctypes.c_int(0)
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(count))
        return count.value // 1000
    except (OSError, AttributeError):
        return 0


def extra(driver: int) -> str:
    """The extra for a driver of this CUDA: the newest that it serves; the newest of all where no driver answers."""
    return next((extra for major, extra in CUDA.items() if major <= driver), CUDA[max(CUDA)])


class Pair(NamedTuple):
    """Releases of `package` (PEP 440) that break with releases of `other`, a package or `python`: what happens, until
    when, and the line that mends it."""

    package: str
    releases: str
    other: str
    others: str
    breaks: str
    until: str
    cure: str


class Misfit(NamedTuple):
    """`what` the two are with their versions, and `why` they do not fit. `cure` is a line to type."""

    package: str
    what: str
    why: str
    cure: str


KNOWN = (
    Pair(
        "numba-cuda",
        "<=0.30.4",
        "numpy",
        ">=2.5",
        "it calls numpy.row_stack, which NumPy 2.5 no longer has: nothing runs on a GPU",
        "a release of numba-cuda that does without",
        'pip install "numpy<2.5"',
    ),
    Pair(
        "PySide6-Essentials",
        "==6.12.0",
        "python",
        "<3.12",
        "every QPainter.setPen gives back one reference to None too many: the window dies",
        "6.12.0 is withdrawn, or Python 3.11 is no longer supported",
        'pip install "PySide6-Essentials!=6.12.0"',
    ),
)


def version(package: str) -> str | None:
    """The version of a package here, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def known(versions: Versions | None = None) -> Iterator[Misfit]:
    """The pairs of `KNOWN` that are here."""
    versions = versions or version
    for pair in KNOWN:
        one, other = versions(pair.package), PYTHON if pair.other == "python" else versions(pair.other)
        if one and other and _within(one, pair.releases, False) and _within(other, pair.others, False):
            what = f"{pair.package} {one} with {pair.other} {other}"
            yield Misfit(pair.package, what, pair.breaks, pair.cure)


def refuse(package: str, error: type[L2simError], use: str) -> None:
    """Raise `error` where `package` is in a pair that is known to break: `use` is what it would have broken."""
    for misfit in known():
        if misfit.package == package:
            raise error(f"{use}: {misfit.what} do not fit: {misfit.why}; {misfit.cure}")


def declared(versions: Versions) -> Iterator[Misfit]:
    """Requirements that are not met, of l2sim and of all that it uses here, by the packages' own metadata."""
    for distribution in _used():
        name = distribution.metadata["Name"]
        for wanted in distribution.metadata.get_all("Requires-Python") or []:
            if _within(PYTHON, wanted):
                continue
            what = f"{name} {distribution.version} with python {PYTHON}"
            yield Misfit(name, what, f"it is made for Python {wanted}", f'pip install --upgrade "{name}"')
        for requirement in _requirements(distribution):
            here = versions(requirement.name)
            if here is not None and not _within(here, str(requirement.specifier)):
                what = f"{name} {distribution.version} with {requirement.name} {here}"
                line = f'pip install "{requirement.name}{requirement.specifier}"'
                yield Misfit(requirement.name, what, f"it needs {requirement.name} {requirement.specifier}", line)


def _used() -> Iterator[importlib.metadata.Distribution]:
    """l2sim and the installed packages that it reaches, those of its extras included."""
    from packaging.utils import canonicalize_name  # late: may be missing

    waiting, seen = ["l2sim"], set[str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield distribution
        waiting += [requirement.name for requirement in _requirements(distribution)]


def _requirements(distribution: importlib.metadata.Distribution) -> Iterator[Requirement]:
    """What applies here; of l2sim's own also the packages that only extras bring, which are compared where they
    are there. What an extra asks of a package that is wanted anyway holds with that extra only: see `KNOWN`."""
    from packaging.markers import default_environment  # late: may be missing
    from packaging.requirements import InvalidRequirement, Requirement  # late: may be missing

    extras = distribution.metadata.get_all("Provides-Extra") or [] if distribution.metadata["Name"] == "l2sim" else []
    always: set[str] = set()
    for text in distribution.requires or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        environments = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
        applies = [requirement.marker is None or requirement.marker.evaluate(one) for one in environments]
        if applies[0]:
            always.add(requirement.name)
        if applies[0] or (any(applies) and requirement.name not in always):
            yield requirement


def _within(version: str, specifier: str, unread: bool = True) -> bool:
    """Whether a version is in a specifier; `unread` where one of them cannot be read."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # late: may be missing
    from packaging.version import InvalidVersion  # late: may be missing

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return unread
