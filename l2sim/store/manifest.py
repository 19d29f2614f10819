"""The manifest of a run folder: what it is, who writes it, and in which state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from l2sim import files
from l2sim.errors import RunError

FORMAT = 1


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a run folder. RunError where it is none, or of a newer format."""
    try:
        manifest = json.loads((out / "manifest.json").read_text())
        number = manifest["version"]
    except FileNotFoundError:
        raise RunError(f"{out} is not a run folder (it has no manifest.json); name the folder of a run") from None
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{out / 'manifest.json'} is damaged; start the run again in another folder") from None
    if number > FORMAT:
        raise RunError(f"{out} was written by a newer l2sim (format {number}); install that version to read it")
    return manifest


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Put `manifest` into the folder, all or nothing."""
    files.write(out / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
