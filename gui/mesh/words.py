"""What the mesh view calls what it shows: things, their values, and the step they are of. No Qt."""

from __future__ import annotations

import numpy as np

from .geometry import OF_MZI, PARTS, Scene, Thing
from .values import Painted

NAMES = {"theta": "θ of ", "phi": "φ of ", "mzi": "", "screen": "screen of ", "sigma": "σ of "}


def told(step: int | None, of: int | None) -> str:
    """The step on show in words, and the one its phases are of where they have not changed since or were not recorded
    as often."""
    if of is None:
        return ""
    return f" · step {of:,}" if step is None or step == of else f" · step {step:,}, phases as of {of:,}"


def name(scene: Scene | None, thing: Thing) -> str:
    """A thing in words."""
    title = {"u": "U ", "v": "V* ", "sigma": ""}.get(thing.side, "")
    mesh = scene.mesh(thing.side) if scene else None
    if thing.kind in OF_MZI and mesh is not None:
        part, i = mesh.part, thing.at
        rails = f"rails {part.rails[i]} and {part.rails[i] + part.spans[i]}"
        return f"{title}{NAMES[thing.kind]}MZI {i} (column {part.columns[i]}, {rails})"
    if thing.kind == "guide" and mesh is not None:
        column, at = divmod(thing.position, PARTS)
        where = ("before", "behind φ of", "in", "behind θ of")[at]
        place = "at the output" if column >= mesh.columns else f"{where} column {column}"
        inside = f", in MZI {thing.element}" if thing.element >= 0 and at else ""
        return f"{title}waveguide of rail {thing.at}, {place}{inside}"
    return f"{title}{NAMES.get(thing.kind, '')}rail {thing.at}"


def value(painted: Painted | None, scene: Scene | None, thing: Thing) -> str:
    """What is on show of a thing, with its unit; empty where nothing is."""
    values = painted.values.get((thing.side, thing.kind)) if painted else None
    if painted is None or values is None:
        return ""
    mesh = scene.mesh(thing.side) if scene else None
    at = thing.at
    if thing.kind == "guide":
        at += thing.position * (mesh.part.modes if mesh else 0)
    if at >= len(values):
        return ""
    turns = painted.turns.get((thing.side, thing.kind))
    phase = "" if turns is None else f", phase {turns[at] / np.pi:.2f} π"
    return f" = {values[at]:.4g} {painted.scale.unit}{phase}"
