"""How arrays are named at rest: LAYER.PART.KIND, in checkpoints, exports and the phase log (docs/formats.md).

A layer's own name may have dots, so names are taken apart from the right. PART is a mesh of a core (u, v), `sigma`, a
phase of a whole mesh (theta, phi, screen), a parameter of a network (weight, bias ...), or `block`, a number of every
core; KIND says what of it: phases, signs, commanded, electronic, gradient ...

Files of version 1 had another spelling for each place. It is translated where such a file is read, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from l2sim.backend import Array

SEARCH, NOISE = "search_", "noise_"
"""What kinds of a search's arrays, and of a fabrication's unit draws, begin with."""


class Name(NamedTuple):
    """A name taken apart; `layer` is empty where it has fewer pieces."""

    layer: str
    part: str
    kind: str


def name(*pieces: str) -> str:
    """The pieces as one name; a piece may be joined already (the "fc1.weight" of a network, the "u.phases" of a chip).
    """
    return ".".join(pieces)


def apart(text: str) -> Name:
    """A name taken apart, from the right."""
    rest, _, kind = text.rpartition(".")
    layer, _, part = rest.rpartition(".")
    return Name(layer, part, kind)


def of_layer(arrays: Mapping[str, Array], layer: str) -> dict[str, Array]:
    """The arrays of a layer as PART.KIND."""
    own = ((apart(text), a) for text, a in arrays.items())
    return {name(its.part, its.kind): a for its, a in own if its.layer == layer}


def of_kind(arrays: Mapping[str, Array], kind: str) -> dict[str, Array]:
    """The arrays of a kind as LAYER.PART, which is how a network names its own."""
    return {text.removesuffix(f".{kind}"): a for text, a in arrays.items() if apart(text).kind == kind}


def by_layer(arrays: Mapping[str, Array], part: str, kind: str) -> dict[str, Array]:
    """One array of every layer that has it, by layer."""
    return {apart(text).layer: a for text, a in arrays.items() if apart(text)[1:] == (part, kind)}


def searched(field: str) -> str:
    """PART.KIND of a field of a search's state: `u` is "u.search_phases", `best_u` "u.search_best"; what is no mesh's,
    as `loss`, is "block.search_loss"."""
    kind, _, part = field.rpartition("_")
    if part in ("u", "v"):
        return name(part, SEARCH + (kind or "phases"))
    return name("block", SEARCH + field)


def searches(own: Mapping[str, Array], fields: tuple[str, ...]) -> dict[str, Array]:
    """Those of a search's `fields` that the arrays `own` of a layer have, by field."""
    return {field: own[searched(field)] for field in fields if searched(field) in own}


# -- version 1 ---------------------------------------------------------------------------------------------------------

MESHES_1 = ("u", "v", "theta", "phi", "screen")
HIDDEN_1 = "mapping_error"
"""What version 1 said without a prefix, although it was computed from the true weights."""
DRAWS_1 = ("bias", "gamma", "fate", "stuck_at", "error", "splitters", "arms")
"""What version 1 had of phases, and of unit draws of a fabrication."""


def translated(arrays: Mapping[str, Array], rule: Callable[[str], str]) -> dict[str, Array]:
    """The arrays of a file of version 1 by the names that `rule` gives them."""
    return {rule(text): a for text, a in arrays.items()}


def of_checkpoint_1(old: str) -> str:
    """The name of what a checkpoint of version 1 called `old`; names that are not l2sim's stay."""
    head, _, rest = old.partition("/")
    layer, _, key = rest.rpartition("/")
    if head in ("electronic", "photonic", "network"):
        return name(rest, head)
    if head in ("attenuators", "service"):
        return name(rest, "sigma" if head == "attenuators" else "matrix", head)
    if head == "optimiser":
        return name(key, layer) if layer else name(head, key, "count")
    if head == "chip" and layer:
        what, _, part = key.rpartition(".")
        return name(layer, part, what) if what else _commanded(name(layer, part))
    if head in ("rest", "mapped") and "/" in layer:
        owner, _, part = layer.rpartition("/")
        return name(owner, part, f"{head}_{key}")
    if head == "search" and layer:
        return name(layer, searched(key))
    return name(layer, key, head) if head == "twin" and layer else old


def of_export_1(old: str) -> str:
    """The name of what an export of version 1 called `old`; what is named as in PyTorch stays."""
    if old.endswith(".imag"):
        return imaginary(of_export_1(old.removesuffix(".imag")))
    *owner, noise, part, draw = ["", "", *old.rsplit(".", 3)]
    if noise == "noise" and owner[-1] and draw in DRAWS_1:
        return name(owner[-1], part.replace(" ", "_"), NOISE + draw)
    layer, what, part = apart(old)
    if layer and what in ("phases", "signs", "rest_signs", "realised"):
        return name(layer, part, what)
    if layer and what == "rest":
        return name(layer, part, "rest_phases")
    layer, _, part = old.rpartition(".")
    if part in ("top", "bottom", "column"):
        return name(layer, "couplers", part)
    return name(layer, "sigma", part) if part == "scale" else _commanded(old)


def of_frames_1(old: str) -> str:
    """The name of the series of frames that the phase log of version 1 called `old`. Newer names stay: a log that was
    begun by version 1 and went on has both."""
    layer, _, part = old.rpartition(".")
    for before, kind in (("oracle_grad_", "oracle_gradient"), ("grad_", "gradient")):
        if part.startswith(before):
            return name(layer, part.removeprefix(before), kind)
    return _commanded(old)


def imaginary(text: str) -> str:
    """The name of the imaginary part beside the real part `text`."""
    return f"{text}_imag"


def _commanded(old: str) -> str:
    """What LAYER.PART was called where it is what a part is commanded."""
    layer, _, part = old.rpartition(".")
    if not layer or part not in (*MESHES_1, "sigma"):
        return old
    return name(old, "commanded" if part == "sigma" else "phases")


def of_scalar_1(old: str) -> str:
    """The name that a scalar series of version 1, STAGE/QUANTITY, has now."""
    stage, slash, quantity = old.rpartition("/")
    return stage + slash + ("oracle_" + quantity if quantity == HIDDEN_1 else quantity)


def of_result_1(entry: Mapping[str, object]) -> dict[str, object]:
    """What a stage came to, comparisons included, under the names of now."""
    renamed = {f"oracle_{key}" if key == HIDDEN_1 else key: value for key, value in entry.items()}
    if isinstance(copies := renamed.get("comparisons"), dict):
        renamed["comparisons"] = {key: of_result_1(a) if isinstance(a, dict) else a for key, a in copies.items()}
    return renamed
