"""Every kernel for GPUs compiles for every capability that is supported, and the hot ones stay in their registers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from tests.places import ROOT

CAPABILITIES = ("7.5", "8.0", "9.0")
RUNS = (("float32", *CAPABILITIES), ("float64", "9.0"))
"""Double precision differs in its types only: one capability shows that it compiles."""


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason='needs numba-cuda: pip install "l2sim[gpu]"')
def test_every_kernel_compiles_and_no_hot_one_spills() -> None:
    script = ROOT / "tests" / "ptx.py"
    # A process of its own: in this one numba.cuda is the simulator.
    around = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    many = [
        subprocess.Popen([sys.executable, script, *told], stdout=PIPE, stderr=PIPE, text=True, env=around)
        for told in RUNS
    ]
    rows = []
    for one, (out, errors) in [(one, one.communicate()) for one in many]:  # nobody is left behind where one fails
        assert one.returncode == 0, errors[-3000:]
        rows += [json.loads(line) for line in out.splitlines()]
    assert all(row["entry"] for row in rows)
    names = {cc: {row["kernel"] for row in rows if row["cc"] == cc} for cc in CAPABILITIES}
    assert len(names["7.5"]) > 28 and names["7.5"] == names["8.0"] == names["9.0"]
    wide = {"gather_windows", "collect", "pool", "pool_back", "weights", "diagonals", "clip_all", "affine_all"}
    # Once a thread, for how many turns its loop has (and the blocks of a row): for every value in 32 bits.
    assert [row for row in rows if row["kernel"] in wide and row["wide"] > 1 + (row["kernel"] == "weights")] == []
    # All are kept on disk, in the folder of these sources, where another process finds them.
    assert all(row["kept"] and "cuda-" in row["folder"] for row in rows)
    for name, keys in found(rows).items():
        assert len(keys) == 1, name
    if any(row["spills"] is None for row in rows):
        pytest.skip('compiled, but spills cannot be told: needs nvJitLink (pip install "l2sim[gpu]") or ptxas')
    assert [row for row in rows if row["hot"] and row["spills"]] == []


def found(rows: list[dict[str, object]]) -> dict[object, set[object]]:
    """What each kernel is found by in the cache, by name and signature."""
    keys: dict[object, set[object]] = {}
    for row in rows:
        keys.setdefault((row["kernel"], row["signature"]), set()).add(row["kept"])
    return keys
