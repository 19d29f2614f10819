"""Which matrix-product code NumPy's OpenBLAS should run: chosen before NumPy is imported, never after.

OpenBLAS picks its code by the processor's model and takes slow code on models newer than itself; the variable
OPENBLAS_CORETYPE decides for it. The programs (`l2sim`, `python -m benchmarks`) call `prepare` first thing; importing
l2sim as a library leaves the environment alone. This module must not import NumPy.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import NamedTuple

VARIABLE = "OPENBLAS_CORETYPE"
AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
KNOWN_INTEL = frozenset({85, 106, 108, 125, 126, 140, 141, 143, 167})
"""Intel models (family 6) with AVX-512 that every OpenBLAS of a supported NumPy recognises: Skylake-X, Cascade Lake,
Cooper Lake, Ice Lake, Tiger Lake, Sapphire Rapids, Rocket Lake."""


class Choice(NamedTuple):
    """`kernel`: the code that suits the processor (empty: OpenBLAS decides well itself). `user`: what the user had set
    (None: nothing). `applied`: whether l2sim sets the variable."""

    kernel: str
    user: str | None
    applied: bool


def decide(cpuinfo: str, machine: str, environ: Mapping[str, str]) -> Choice:
    """The choice for a processor described by the text of /proc/cpuinfo; the user's setting always stands.

    Every x86-64 processor with the five AVX-512 sets of Skylake-X runs its code. Known Intel models are left to
    OpenBLAS, which may have better code still.
    """
    user = environ.get(VARIABLE) or None
    kernel = "SkylakeX" if machine in ("x86_64", "AMD64") and _unknown(cpuinfo) else ""
    return Choice(kernel, user, bool(kernel) and user is None)


def _unknown(cpuinfo: str) -> bool:
    fields: dict[str, str] = {}
    for line in cpuinfo.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    if not set(fields.get("flags", "").split()) >= AVX512:
        return False
    model = fields.get("model", "")
    known = fields.get("vendor_id") == "GenuineIntel" and fields.get("cpu family") == "6"
    return not (known and model.isdigit() and int(model) in KNOWN_INTEL)


def here(environ: Mapping[str, str] | None = None) -> Choice:
    """`decide` for this machine."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    return decide(text, platform.machine(), os.environ if environ is None else environ)


made: Choice | None = None
"""What `choose` did in this process, None where it was not called."""


def choose(environ: MutableMapping[str, str] | None = None) -> Choice:
    """Set the variable if that helps, the user has not, and NumPy is not loaded yet."""
    global made
    environ = os.environ if environ is None else environ
    made = here(environ)
    if made.applied and "numpy" in sys.modules:
        made = made._replace(applied=False)
    if made.applied:
        environ[VARIABLE] = made.kernel
    return made


WAITING, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
FEW = "2000"
"""Turns of a few microseconds in all: long enough for the next small kernel, too short to rob a matrix product."""


def prepare(environ: MutableMapping[str, str] | None = None) -> None:
    """What a program of ours sets before anything imports NumPy or Numba, each only where the user has not.

    Besides `choose`: idle threads of Numba's OpenMP layer go to sleep soon. By default they spin for milliseconds after
    every kernel, on the very cores that the matrix product which follows was given.
    """
    environ = os.environ if environ is None else environ
    choose(environ)
    if WAITING not in environ:
        environ.setdefault(SPINS, FEW)


_PROBE = """
import time, numpy
a = numpy.ones((768, 768), "float32")
b = a @ a
def once():
    t = time.perf_counter()
    numpy.matmul(a, a, out=b)
    return time.perf_counter() - t
once()
best = min(once() for _ in range(12))
name = ""
try:
    import threadpoolctl
    name = next((p.get("architecture") or "" for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"), "")
except ImportError:
    pass
print(2 * 768**3 / best / 1e9, name)
"""


def measure(kernel: str | None) -> tuple[float, str]:
    """(GFLOP/s of a 768^3 float32 product on one thread, the code it ran) of a fresh NumPy told to use `kernel`.

    None: told nothing. (0, "") where it cannot be measured.
    """
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environ |= {"OPENBLAS_NUM_THREADS": "1", **({VARIABLE: kernel} if kernel else {})}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        rate, _, name = done.stdout.strip().partition(" ")
        return float(rate), name
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0.0, ""
