"""The manifest of a run folder: what it is, who writes it, and in which state."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from pathlib import Path

import msgspec

from l2sim import files
from l2sim._version import __version__
from l2sim.errors import RunError
from l2sim.store.door import Newer, versioned

FORMAT = 2
"""The newest `manifest.json` this code reads."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` says (docs/formats.md). `started` in s since 1970; `source` as --from was given; `pace` in
    steps/s, 0 for none."""

    format: str = "l2sim-run"
    version: int
    id: str = ""
    name: str = ""
    state: str
    process: int = 0
    started: float = 0.0
    threads: int = 1
    source: str | None = None
    pace: float = 0.0
    chip: str | msgspec.UnsetType = msgspec.UNSET
    """"real" where phases were commanded to a chip that is not simulated; absent otherwise."""
    versions: dict[str, str] = {}


def read_manifest(out: Path) -> Manifest:
    """The manifest of a run folder. RunError where it is none, damaged, or of a newer format."""
    path = out / "manifest.json"
    try:
        return versioned(path.read_bytes(), Manifest, FORMAT)
    except FileNotFoundError:
        raise RunError(f"{out} is not a run folder (it has no manifest.json); name the folder of a run") from None
    except ValueError:
        raise RunError(f"{path} is damaged; start the run again in another folder") from None
    except Newer as error:
        line = f"{out} was written by a newer l2sim (format {error.number}); install that version to read it"
        raise RunError(line) from None


def begin_manifest(out: Path, name: str, threads: int, source: str | None, pace: float | None) -> Manifest:
    """Write that this process runs a job in the folder; of a run that goes on, what it is stays, its pace too where
    that is None. RunError as in `read_manifest`."""
    import numpy as np  # late: workers read manifests before they choose what NumPy runs (l2sim.blas)

    before = read_manifest(out) if (out / "manifest.json").exists() else None
    manifest = Manifest(
        version=FORMAT,
        id=before.id if before else uuid.uuid4().hex,
        name=name,
        state="running",
        process=os.getpid(),
        started=before.started if before else time.time(),
        threads=threads,
        source=before.source if before else source,
        pace=pace if pace is not None else before.pace if before else 0.0,
        versions={"l2sim": __version__, "python": platform.python_version(), "numpy": np.__version__},
    )
    write_manifest(out, manifest)
    return manifest


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Put `manifest` into the folder, all or nothing."""
    files.write(out / "manifest.json", (json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n").encode())
