"""A place in a run to go on from or to write out: RUN[@stage[:epoch]]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from l2sim.errors import RunError

__all__ = ["Source", "checkpoint", "file_of", "parse"]


class Source(NamedTuple):
    """A run folder, a stage of it ("" for the last one that is finished) and an epoch (None for the stage's end)."""

    folder: Path
    stage: str = ""
    epoch: int | None = None

    def __str__(self) -> str:
        epoch = "" if self.epoch is None else f":{self.epoch}"
        return f"{self.folder}@{self.stage}{epoch}" if self.stage else str(self.folder)


def file_of(folder: Path, stage: str, epoch: int = -1) -> Path:
    """Where a run folder keeps the checkpoint of the end of a stage, or of an epoch of it."""
    return folder / "checkpoints" / (f"{stage}.safetensors" if epoch < 0 else f"{stage}-{epoch:05d}.safetensors")


def parse(text: str) -> Source:
    """RUN[@stage[:epoch]]. A folder may have an @ in its name: what follows the last one is a stage only if the whole
    is no folder and no path follows. Raises RunError."""
    folder, at, place = text.rpartition("@")
    if not at or "/" in place or Path(text).is_dir():
        return Source(Path(text))
    stage, colon, epoch = place.partition(":")
    if not folder or not stage:
        raise RunError(f"{text}: name a run and a stage, as in runs/digits-1@map, or the run alone")
    if colon and not (epoch.isascii() and epoch.isdigit()):
        raise RunError(f"{text}: {epoch!r} is not an epoch; write e.g. {folder}@map:20")
    return Source(Path(folder), stage, int(epoch) if colon else None)


def checkpoint(source: Source, stages: Sequence[str]) -> tuple[str, Path]:
    """The stage of a source and its checkpoint file, of those `stages`. RunError where there is none."""
    if source.stage and source.stage not in stages:
        raise RunError(f"{source}: there is no stage {source.stage!r}; use one of {', '.join(stages)}")
    finished = [name for name in stages if file_of(source.folder, name).exists()]
    if not source.stage and not finished:
        raise RunError(f"{source}: that run has not finished a stage yet; resume it first")
    stage = source.stage or finished[-1]
    path = file_of(source.folder, stage, -1 if source.epoch is None else source.epoch)
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise RunError(f"{source}: there is no such checkpoint; kept are {there} (map.snapshots keeps epochs)")
    return stage, path
