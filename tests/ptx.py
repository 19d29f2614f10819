"""Compile every kernel for GPUs to PTX, and ask NVIDIA's assembler what it makes of it: a line of JSON for each.

    python tests/ptx.py float32 7.5 8.0 9.0       needs numba-cuda and its wheels, but no GPU and no driver

`spills`: bytes that do not fit the registers and go to memory; null where neither nvJitLink nor ptxas is here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numba.cuda.dispatcher as dispatcher
import numpy as np
from numba import boolean, float32, float64, int64, types
from numba.cuda.compiler import _compile_pyfunc_with_fixup

from l2sim.backend import kernels
from l2sim.mesh.mesh import Mesh

HOT = {"descend_cores", "send", "reverse", "watch", "there_and_back", "gather_windows", "collect", "weights"}
"""Kernels that must not spill."""


def signatures(real: Any) -> Iterator[tuple[str, Any, tuple]]:
    """Name, kernel and argument types of everything that is launched, in one precision."""
    of = kernels.cuda
    dtype = np.float32 if real is float32 else np.float64

    def a(n: int, kind: Any = real) -> Any:
        return types.Array(kind, n, "C")

    i1, i2, f1, f2, f3, f4, f5 = a(1, int64), a(2, int64), *(a(n) for n in range(1, 6))
    byte4, d3 = a(4, types.uint8), a(3, float64)
    for k in (9, 32, 64) if real is float32 else (9, 64):
        # The noise of V is that of U and more; double precision differs in its types only.
        for reverse in (False, True) if k == 9 and real is float32 else (True,):
            for noisy in (False, True) if reverse and k == 9 and real is float32 else (reverse and k == 9,):
                kernel, _ = of.descent.kernel(Mesh("rectangular", k).top.tobytes(), k, reverse, noisy, False, dtype)
                yield f"descent {k} {'v' if reverse else 'u'}{' noisy' * noisy}", kernel, (
                    int64, f2, f1, a(1, boolean), f1, i2, f2, f2, f2, i2, real, f1, f1, real, boolean, f2, f3, f2, f3,
                    f2, f1, f1, f3, i1, f2, f3,
                )  # fmt: skip
    yield "drive_all", of.chain.drive_all, (f2, f2, f2, real, f1, f1, boolean, f2)
    yield "couple_all", of.chain.couple_all, (f2, i2, real, f2, f2)
    yield "build", of.mesh.build, (f2, f2, f2, i1, f3)
    window = (int64,) * 3
    yield "gather_windows", of.im2col.gather, (f4, *window, int64, int64, f2)
    yield "collect", of.im2col.collect, (f2, *window, int64, int64, f4)
    yield "pool", of.im2col.pool, (f4, *window, f4, byte4)
    yield "pool_back", of.im2col.pool_back, (f4, byte4, *window, f4)
    yield "normalise", of.pointwise.forward, (f2, f1, f1, float64, real, real, float64, f1, f1, f1, f1, f2)
    yield "normalise_back", of.pointwise.backward, (f2, f2, f1, f1, f1, f1, real, real, f1, f1, f2)
    yield "affine_all", of.pointwise.affine_all, (f2, f1, f1, f1, real, real, f2)
    yield "adam_all", of.pointwise.adam, (i2, i1, *(real,) * 8)
    yield "sgd_all", of.pointwise.sgd, (i2, i1, *(real,) * 5)
    yield "attenuate_all", of.chain.attenuate_all, (f2, a(2, float64), a(2, float64), real, boolean, f2, f2, f2, i1)
    yield "normal_all", of.draws.normal_all, (int64, int64, int64, f1)
    yield "add_all", of.draws.add_all, (int64, int64, int64, f1, f2)
    yield "readings_all", of.draws.readings_all, (
        int64, int64, int64, int64, i1, a(1, float64), a(2, types.uint32), i2, f3,
    )  # fmt: skip
    yield "noisy add_all", of.noisy.add_all, (int64, int64, int64, f3, f3, f3, f4, i1, f1, f1, f3)
    yield "clip_all", of.pointwise.clip_all, (f2, real, f2)
    yield "clip_back_all", of.pointwise.clip_back_all, (f2, f2, real, f2)
    yield "weights", of.blocks.weights, (f3, f3, f3, f2)
    yield "diagonals", of.blocks.diagonals, (f3, f2, f3, f3)
    light = of.propagate
    yield "split", of.couplers.split, (a(2, float64), a(2, float64), d3)
    yield "couplers", of.couplers.build, (f2, f2, d3, d3, f3)
    head, tiles = (f3, d3, i1, i1, i1, f2, boolean, f4), light.capacity(64, 1 << 12, 5, np.dtype(dtype).itemsize)
    yield "send", light.sender(real, *tiles), (f3, i1, i1, i1, f2, boolean, boolean, f4, f4)
    yield "reverse", light.reverser(real, *tiles), (*head, f4, f4, f2)
    yield "watch", of.powers.watcher(real, *tiles), (*head, f4, a(2, float64))
    if real is float32:
        yield "reverse beside shared memory", light.reverser(real, 8192, 0), (*head, f4, f4, f2)
    yield "there_and_back", light.lossy(real, *tiles), (f3, d3, i1, i1, i1, f2, f4, f4, f4, f4, f2)
    yield "gather", light.gather, (f2, int64, f2, f2, f2)
    yield "added", of.powers.added, (a(2, float64), int64, d3, boolean, a(2, float64), a(2, float64))
    yield "watch_each", of.powers.watch_each, (f3, d3, i1, i1, i1, f2, f4, f3, f3)
    twin, q3, q2, q1 = of.twin, d3, a(2, float64), a(1, float64)
    yield "twin drive_all", twin.drive_all, (q3, q2, q2, q1, i2, boolean, q3, q3, q3, f3, f3)
    yield "twin send_all", twin.send_all, (f3, f3, q3, f2, i1, f3, f4, f4)
    yield "twin suffix_all", twin.suffix_all, (f3, f3, q3, i1, f4, f5)
    yield "twin slope_all", twin.slope_all, (f3, f3, i1, f5, a(4, float32), boolean, f4, f4, f4, f3, f4)
    yield "twin collect_all", twin.collect_all, (q3, f4, q3)
    yield "twin edge_all", twin.edge_all, (q3, f3, f3, q1, i2, q3, q2)
    yield "trace_all", of.inside.trace_all, (f2, f2, d3, d3, i1, i1, i1, f2, boolean, f5)
    yield "tap_all", of.inside.tap_all, (f2, f2, d3, d3, i1, i1, i1, f2, boolean, f4, f5)


def compiled(kernel: Any, signature: tuple, capabilities: list[tuple[int, int]]) -> list[str]:
    """The PTX of a kernel for each capability, the lowest first.

    Nearly all the time goes into Python's side of it, typing and LLVM's language: done once, for the lowest capability,
    and from there NVIDIA's compiler makes PTX for each. Device functions are compiled for the capability of the GPU in
    use: there is none, so here is one.
    """
    dispatcher.get_current_device = lambda: type("Device", (), {"compute_capability": capabilities[0]})
    library, _ = _compile_pyfunc_with_fixup(kernel.py_func, signature, device=False, abi="numba", cc=capabilities[0])
    return [library.get_asm_str(cc=cc) for cc in capabilities]


def assembled(ptx: str, cc: tuple[int, int]) -> str | None:
    """What nvJitLink (of the wheels), or the machine's ptxas, says about it."""
    arch = f"sm_{cc[0]}{cc[1]}"
    try:
        from cuda.bindings import nvjitlink

        handle = nvjitlink.create(2, [f"-arch={arch}", "-verbose"])
        data = ptx.encode() + b"\0"
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        nvjitlink.destroy(handle)
        return log.decode()
    except (ImportError, RuntimeError):
        pass
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        line = ["ptxas", "-v", f"-arch={arch}", file.name, "-o", "/dev/null"]
        try:
            return subprocess.run(line, capture_output=True, text=True, check=True).stderr
        except (OSError, subprocess.SubprocessError):
            return None


def kept(kernel: Any, signature: tuple) -> str | None:
    """Digest of what a kernel's file in the cache is found by, but for the machine; None where none is kept."""
    cache_of = kernel._cache
    if not isinstance(cache_of, dispatcher.CUDACache):
        return None
    there = SimpleNamespace(magic_tuple=lambda: ("any CUDA", (9, 0)))
    return blake2b(repr(cache_of._index_key(signature, there)).encode(), digest_size=8).hexdigest()


def main(dtype: str, *capabilities: str) -> None:
    """Compile everything in one precision."""
    real, ccs = {"float32": float32, "float64": float64}[dtype], [(int(cc[0]), int(cc[2])) for cc in capabilities]
    for name, kernel, signature in signatures(real):
        for cc, capability, ptx in zip(ccs, capabilities, compiled(kernel, signature, ccs)):
            log = assembled(ptx, cc)
            spills = None if log is None else sum(map(int, re.findall(r"(\d+) bytes spill", log)))
            registers = max(map(int, re.findall(r"[Uu]sed (\d+) registers", log or "")), default=None)
            row = {
                "kernel": name, "cc": capability, "dtype": dtype,
                "entry": ".entry" in ptx and f".target sm_{cc[0]}{cc[1]}" in ptx, "spills": spills,
                "registers": registers, "hot": name.split()[0] in HOT, "doubles": ptx.count(".f64"),
                "wide": len(re.findall(r"\b(?:div|rem)\.[su]64", ptx)),
                "signature": str(signature), "kept": kept(kernel, signature), "folder": kernel._cache.cache_path,
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
