"""What this machine has and lacks for l2sim, and the line that installs what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from l2sim import blas, fits, system
from l2sim._version import __version__


class Finding(NamedTuple):
    """`state` is `ok`, `missing` (l2sim cannot run), `optional` (a feature is absent) or `unfit` (packages that do not
    fit each other); `cure` is a line to type."""

    what: str
    value: str
    state: str = "ok"
    cure: str = ""


_version = fits.version
_PACKAGES = (
    "numpy", "numba", "scipy", "msgspec", "click", "rich", "pooch", "requests", "pillow", "tomli-w", "threadpoolctl",
    "packaging", "matplotlib", "pyzmq",
)  # fmt: skip
"""What l2sim cannot do without, as setup.cfg has it."""

def examine() -> Iterator[tuple[str, list[Finding]]]:
    """Findings by topic. What a broken installation raises while it is looked at is a finding too."""
    topics = {
        "program": _program,
        "packages that do not fit": _misfits,
        "processor": _processor,
        "kernels": _kernels,
        "GPU (optional)": _gpu,
        "window (optional)": _window,
    }
    for topic, look in topics.items():
        try:
            yield topic, look()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            broken = getattr(error, "name", None) or "numpy numba scipy"
            cure = f"pip install --force-reinstall {broken.partition('.')[0]}"
            yield topic, [Finding("cannot be looked at", reason, "missing", cure)]


def show() -> bool:
    """Print the findings; False if something required is missing."""
    from rich.table import Table  # late: --help is instant
    from rich.text import Text  # late: --help is instant

    from l2sim.runs.console import screen  # late: --help is instant

    marks = {
        "ok": Text("ok", "green"),
        "missing": Text("missing", "red"),
        "optional": Text("absent", "yellow"),
        "unfit": Text("misfit", "red"),
    }
    table = Table("", "found", "state", "install with")
    well = True
    for topic, findings in examine():
        table.add_row(Text(topic, "bold"))
        for finding in findings:
            table.add_row(f"  {finding.what}", finding.value, marks[finding.state], finding.cure)
            well = well and finding.state != "missing"
        table.add_section()
    console = screen()
    console.print(table)
    console.print("l2sim can run here." if well else "l2sim cannot run here until what is missing is installed.")
    return well


def _misfits() -> list[Finding]:
    """Pairs of packages that break each other, before they are run into."""
    if not _version("packaging"):
        return [Finding("pairs", "not compared without packaging", "optional", 'pip install "packaging"')]
    pairs = {misfit.what: misfit for misfit in (*fits.declared(_version), *fits.known(_version))}
    if not pairs:
        return [Finding("pairs", "none")]
    return [Finding(misfit.what, misfit.why, "unfit", misfit.cure) for misfit in pairs.values()]


def _program() -> list[Finding]:

    python = f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    rows = [Finding("l2sim", __version__), Finding("python", python)]
    for package in _PACKAGES:
        version = _version(package)
        cure = f'pip install "{package}"'
        rows.append(Finding(package, version) if version else Finding(package, "", "missing", cure))
    return rows


def _processor() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = [Finding("model", _model()), Finding("cores", f"{cores} usable of {os.cpu_count()}")]
    if _version("threadpoolctl") and _version("numpy"):
        import numpy  # noqa: F401  (threadpoolctl sees only libraries that are loaded)
        from threadpoolctl import threadpool_info  # late: it may be broken or missing

        for pool in threadpool_info():
            if pool["user_api"] == "blas":
                kernel = f", {pool['architecture']}" if pool.get("architecture") else ""
                name = f"{pool['internal_api']} {pool['version']}{kernel}, {pool['num_threads']} threads"
                rows.append(Finding("BLAS", name))
        if any(pool["internal_api"] == "openblas" for pool in threadpool_info()):
            rows.extend(_matrix_products())
    return rows


def _matrix_products() -> list[Finding]:
    """Whose choice OpenBLAS's code is here, what it gains, and what a script that imports l2sim leaves on the table."""
    choice = blas.made or blas.here()
    if not choice.kernel:
        whose = f"set to {choice.user} by {blas.VARIABLE}" if choice.user else "chosen by OpenBLAS itself"
        return [Finding("matrix products", whose)]
    best, _ = blas.measure(choice.kernel)
    rate, name = blas.measure(choice.user)
    if not best or not rate:
        return [Finding("matrix products", f"{choice.kernel} suits this processor; could not be measured")]
    gain = best / rate
    other = name if choice.user else f"OpenBLAS's own choice, {name}"
    rates = f"{best:.0f} GFLOP/s with {choice.kernel}, {rate:.0f} with {other}, one thread"
    if choice.user:
        if gain < 1.1:
            return [Finding("matrix products", f"{blas.VARIABLE}={choice.user} is yours: {rates}")]
        line = f"{blas.VARIABLE}={choice.user} is yours and stays, but costs {gain:.1f} x: {rates}"
        return [Finding("matrix products", line, "optional", f"unset {blas.VARIABLE}")]
    rows = [Finding("matrix products", f"l2sim chose {choice.kernel}: {rates}")]
    if gain >= 1.1:
        line = f"`import l2sim` leaves {gain:.1f} x on the table: it sets nothing"
        rows.append(Finding("your scripts", line, "optional", f"export {blas.VARIABLE}={choice.kernel}"))
    return rows


def _model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _kernels() -> list[Finding]:
    """Whether numba is whole, and where compiled kernels are kept."""
    rows = []
    if _version("numba"):
        try:
            from l2sim.backend import kernels  # late: Numba may be broken

            rows.append(Finding("threads", str(kernels.threads.count())))
        except Exception as error:  # it raises what it likes
            reason = str(error).partition("\n")[0]
            rows.append(Finding("threads", reason, "missing", "pip install --force-reinstall numba"))
    folder, writable = _cache()
    if writable:
        return [*rows, Finding("cache", str(folder))]
    cure = "export NUMBA_CACHE_DIR=FOLDER, one you can write to"
    return [*rows, Finding("cache", f"{folder} cannot be written", "missing", cure)]


def _cache() -> tuple[Path, bool]:
    """Where numba keeps compiled kernels: its own variable, beside the source, or the user's cache."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named), _writable(Path(named))
    from l2sim.backend import kernels  # late: it may be broken or missing

    beside = Path(str(kernels.__file__)).parent / "__pycache__"
    if _writable(beside):
        return beside, True
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    return home, _writable(home)


def _writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or in the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _gpu() -> list[Finding]:
    device = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            device = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            device = ""
    rows = [Finding("device", "; ".join(device.splitlines()))]
    if not device:
        rows = [Finding("device", "no NVIDIA GPU answers", "optional", "a GPU and its driver (nvidia-smi)")]
    extra = fits.extra(fits.driver())
    packages = [_optional(module, extra) for module in ("cupy", "numba_cuda")]
    return rows + packages + _agreement(device, all(finding.state == "ok" for finding in packages))


def _agreement(device: str, installed: bool) -> list[Finding]:
    """Whether CuPy, numba-cuda and the driver are of one CUDA: the one that is wrong, and what cures it."""
    wheels = {name: _version(name) for name in ("cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy")}
    several = [name for name, version in wheels.items() if version]
    most = fits.driver() if device else 0
    anew = f"pip uninstall --yes {' '.join(several)}; pip install \"l2sim[{fits.extra(most)}]\""
    if len(several) > 1:
        return [Finding("CUDA", f"{' and '.join(several)} are one too many", "optional", anew)]
    if most and most < min(fits.CUDA):
        line = f"the driver is of CUDA {most}, which is too old: l2sim knows CUDA {' and '.join(map(str, fits.CUDA))}"
        return [Finding("CUDA", line, "optional", f"a driver from nvidia.com, of CUDA {min(fits.CUDA)} or newer")]
    if not installed:
        return []
    cupy = re.fullmatch(r"cupy-cuda(\d+)x", several[0]) if several else None
    one, other = cupy[1] if cupy else "", (_version("cuda-bindings") or "").partition(".")[0]
    if one and other and one != other:
        return [Finding("CUDA", f"cupy is of CUDA {one}, the CUDA of numba-cuda is {other}", "optional", anew)]
    major = one or other or str(max(fits.CUDA))
    if int(major) not in fits.CUDA:
        line = f"cupy is of CUDA {major}, l2sim knows CUDA {' and '.join(map(str, fits.CUDA))}"
        return [Finding("CUDA", line, "optional", anew)]
    if most and most < int(major):
        line = f"the driver is of CUDA {most}, which is too old for CUDA {major}"
        return [Finding("CUDA", line, "optional", anew)]
    return [Finding("CUDA", f"{major} throughout")]


def _window() -> list[Finding]:
    rows = [_optional(module, "gui") for module in ("PyQt5", "pyqtgraph")]
    if sys.platform.startswith("linux"):
        lacking = system.missing("window", "display")
        if lacking:
            cure = system.cure(lacking.values())
            rows.append(Finding("Qt's libraries", f"without {', '.join(lacking)}", "optional", cure))
        else:
            rows.append(Finding("Qt's libraries", "all"))
    return rows


def _optional(module: str, extra: str) -> Finding:
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else str(error).partition("\n")[0]
        package = system.package_of(reason)
        cure = system.cure([package]) if package else f'pip install "l2sim[{extra}]"'
        return Finding(module, reason, "optional", cure)
    return Finding(module, str(getattr(loaded, "__version__", None) or _version(module) or "found"))

