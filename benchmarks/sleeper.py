"""A worker of a sweep whose points do nothing but sleep, for `learn.lr` seconds: what a sweep costs besides its work.

Everything but the run itself is as in `l2sim.sweep.point`. `use` makes this process's engines start such workers;
as `dask worker --preload benchmarks.sleeper` it does so there.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

STAGES = ("pretrain", "calibrate", "map", "learn")


class Checkpoint:
    """The end of a stage."""

    epoch = -1

    def __init__(self, stage: str) -> None:
        self.stage = stage


def execute(job: Any, out: Path, *, source: str | None = None, resume: bool = False, **other: object) -> Iterator[Any]:
    """A run folder as far as a sweep looks at it. Each stage says how it was reached, as a number."""
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").write_text('{"state": "running", "version": 1}')
    (out / "job.toml").write_text("")
    results = []
    for stage in STAGES:
        number = int.from_bytes(blake2b(f"{stage} {job}".encode(), digest_size=2).digest(), "big")
        if not (source or "").endswith(f"@{stage}"):
            time.sleep(job.learn.lr if stage == "learn" else 0)
        results.append({"name": stage, "accuracy": number / 65536, "core_calls": number, "seconds": time.time() % 1})
        (out / "checkpoints" / f"{stage}.safetensors").write_bytes(b"")
        yield Checkpoint(stage)
    (out / "report.json").write_text(json.dumps({"stages": results, "test_cost": {}}))
    (out / "manifest.json").write_text('{"state": "done", "version": 1}')


def use() -> None:
    """Let the engines of this process start workers that sleep."""
    from l2sim.sweep import local as sweep_local

    sweep_local.WORKER[:] = [sys.executable, str(Path(__file__).resolve())]


def dask_setup(worker: object) -> None:
    """What Dask calls of a module that is preloaded."""
    use()


if __name__ == "__main__":
    for name, contents in (("runs.execute", {"execute": execute}), ("store.events", {"Checkpoint": Checkpoint})):
        module = types.ModuleType(f"l2sim.{name}")
        vars(module).update(contents)
        sys.modules[module.__name__] = module
    from l2sim.sweep import point as sweep_point

    sweep_point.main()
