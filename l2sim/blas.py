"""Which matrix-product code NumPy's OpenBLAS should run: chosen before NumPy is imported, never after.

OpenBLAS picks its code by the processor's model and takes slow code on models newer than itself; the variable
OPENBLAS_CORETYPE decides for it. The programs (`l2sim`, `python -m benchmarks`) call `choose` first thing; importing
l2sim as a library leaves the environment alone. This module must not import NumPy.

Which code is fast is measured, once a machine, on the shapes of networks and meshes: fresh processes, one for each code
since OpenBLAS looks when it is loaded, take turns. What they find is kept in the user's cache folder under the
processor's name and NumPy's build of OpenBLAS, so that one machine always computes the same bytes. Where that folder
cannot be written nothing is measured, and a rule decides (`decide`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
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
    """The choice, where nothing was measured, for a processor described by the text of /proc/cpuinfo; the user's
    setting always stands.

    Every x86-64 processor with the five AVX-512 sets of Skylake-X runs its code. Known Intel models are left to
    OpenBLAS, which may have better code still.
    """
    user = environ.get(VARIABLE) or None
    kernel = "SkylakeX" if machine in ("x86_64", "AMD64") and _unknown(cpuinfo) else ""
    return Choice(kernel, user, bool(kernel) and user is None)


def _fields(cpuinfo: str) -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor."""
    lines = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _unknown(cpuinfo: str) -> bool:
    fields = _fields(cpuinfo)
    if not set(fields.get("flags", "").split()) >= AVX512:
        return False
    model = fields.get("model", "")
    known = fields.get("vendor_id") == "GenuineIntel" and fields.get("cpu family") == "6"
    return not (known and model.isdigit() and int(model) in KNOWN_INTEL)


def here(environ: Mapping[str, str] | None = None) -> Choice:
    """The choice for this machine: what was measured on it, now if need be and NumPy is not loaded; else `decide`."""
    environ = os.environ if environ is None else environ
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    ruled = decide(text, platform.machine(), environ)
    codes = candidates(text, platform.machine())
    if not codes:
        return ruled
    measuring = ruled.user is None and "numpy" not in sys.modules
    kernel = learnt(signature(text), codes, _folder(environ), environ, measuring)
    return ruled if kernel is None else Choice(kernel, ruled.user, bool(kernel) and ruled.user is None)


# -- measuring ---------------------------------------------------------------------------------------------------------

GAIN = 0.95
"""Code is taken instead of OpenBLAS's own choice only where it takes less than this of its time."""
DEADLINE = 5.0
"""Seconds after which measuring is given up; it takes about half a second, most of it to load NumPy."""
_TURN = """
import sys, time, numpy
sizes = ((384, 384, 384), (128, 1152, 512), (1152, 128, 512), (64, 64, 512), (256, 256, 128))
kinds = ("float32", "float32", "float32", "complex64", "complex64")
work = [(numpy.ones((m, k), t), numpy.ones((k, n), t), numpy.empty((m, n), t)) for (m, k, n), t in zip(sizes, kinds)]
def took(a, b, out):
    begin = time.thread_time()
    numpy.matmul(a, b, out=out)
    return time.thread_time() - begin
print("ready", flush=True)
for _ in sys.stdin:
    print(*(took(*one) for one in work), flush=True)
"""
ROUNDS = 3
"""Turns of every code; the first warms up."""


def candidates(cpuinfo: str, machine: str) -> tuple[str, ...]:
    """Code that a processor runs and that may be faster than what OpenBLAS takes itself."""
    flags = set(_fields(cpuinfo).get("flags", "").split()) if machine in ("x86_64", "AMD64") else set()
    return ("Haswell",) * (flags >= {"avx2", "fma"}) + ("SkylakeX",) * (flags >= AVX512)


def signature(cpuinfo: str) -> dict[str, str]:
    """What a measurement is kept under: the processor's name, and the file of NumPy's OpenBLAS, named by its build."""
    fields = _fields(cpuinfo)
    name = " ".join(fields.get(key, "") for key in ("model name", "cpu family", "model", "stepping")).strip()
    spec = importlib.util.find_spec("numpy")
    origin = Path(spec.origin) if spec and spec.origin else None
    library = ""
    if origin is not None:
        with suppress(OSError):
            files = (origin.parent.parent / "numpy.libs").iterdir()
            library = " ".join(sorted(file.name for file in files if "openblas" in file.name))
    return {"processor": name, "openblas": library or (f"numpy of {origin}" if origin else "")}


def learnt(
    known: Mapping[str, str], codes: tuple[str, ...], folder: Path, environ: Mapping[str, str], measuring: bool
) -> str | None:
    """The code that was, or now is, measured to be fastest; "" for OpenBLAS's own choice. None where it is not known
    and cannot be kept, or measured. The first of several processes that measure at once decides for all."""
    path = folder / "blas.json"
    if (kept := _kept(path, known, codes)) is not None or not measuring or not known["openblas"]:
        return kept
    part = path.with_name(f"blas.json.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
        seconds = race(codes, environ)
        if not seconds:
            return None
        best = min(codes, key=lambda code: seconds[code])
        kernel = best if seconds[best] < GAIN * seconds[""] else ""
        took = {code or "its own": round(total, 6) for code, total in seconds.items()}
        part.write_text(json.dumps({**known, "code": kernel, "seconds": took}, indent=1) + "\n", encoding="utf-8")
        if path.exists() and _kept(path, known, codes) is None:  # of another machine, or broken
            os.replace(part, path)
        else:
            with suppress(FileExistsError):
                os.link(part, path)
        return _kept(path, known, codes)
    except OSError:
        return None
    finally:
        with suppress(OSError):
            part.unlink()


def _folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return Path(base) / "l2sim"


def _kept(path: Path, known: Mapping[str, str], codes: tuple[str, ...]) -> str | None:
    """What a file says of this machine; None where there is none, where it is broken or another machine's."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        same = all(said[key] == value for key, value in known.items())
        return said["code"] if same and said["code"] in ("", *codes) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def race(codes: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, float]:
    """Processor seconds of some matrix products on one thread by each of `codes`, and by OpenBLAS's own choice (""):
    the shortest of some turns. Empty where it cannot be measured."""
    clean = {name: value for name, value in environ.items() if name != VARIABLE} | {"OPENBLAS_NUM_THREADS": "1"}
    line = [sys.executable, "-c", _TURN]
    runners: dict[str, subprocess.Popen[str]] = {}
    try:
        for code in ("", *codes):
            own = {**clean, VARIABLE: code} if code else clean
            runners[code] = subprocess.Popen(
                line, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        watch = threading.Timer(DEADLINE, _end, runners.values())
        watch.start()
        try:
            return _turns(runners)
        finally:
            watch.cancel()
    except (OSError, ValueError):
        return {}
    finally:
        _end(*runners.values())
        for runner in runners.values():
            runner.communicate()


def _end(*runners: subprocess.Popen[str]) -> None:
    for runner in runners:
        runner.kill()


def _turns(runners: Mapping[str, subprocess.Popen[str]]) -> dict[str, float]:
    """Seconds by code: for each product the shortest of its turns, added. ValueError where a process is silent."""
    best: dict[str, list[float]] = {}
    for runner in runners.values():
        assert runner.stdout is not None, "it was opened"
        if runner.stdout.readline() != "ready\n":
            raise ValueError("no NumPy")
    for _ in range(ROUNDS):
        for code, runner in runners.items():
            assert runner.stdin is not None and runner.stdout is not None, "they were opened"
            runner.stdin.write("go\n")
            runner.stdin.flush()
            seconds = [float(word) for word in runner.stdout.readline().split()]
            if not seconds:
                raise ValueError("it ended")
            best[code] = [min(pair) for pair in zip(best.get(code, seconds), seconds)]
    return {code: sum(seconds) for code, seconds in best.items()}


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
