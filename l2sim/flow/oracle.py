"""What a lab cannot know about a chip, computed by an observer from its hidden state. Nothing in `learn/` uses this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from l2sim import naming
from l2sim.backend import Array, host
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.grid import arrays
from l2sim.chip.mesh_chip import MeshChip
from l2sim.flow.session import Session
from l2sim.learn.search import mapping
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin.identify import Twin
from l2sim.mesh.mesh import Mesh
from l2sim.nn.optics import MeshLayer


def identity_error(chip: CoreChip) -> dict[str, Array]:
    """mean_ab (|U| - I)^2 of the present U and V of every core, (p, q) each; blind to signs (spec section c)."""
    eye = arrays(chip).eye(chip.mesh.modes)
    return {part: ((np.abs(chip.oracle_matrix(part)) - eye) ** 2).mean(axis=(-1, -2)) for part in ("u", "v")}


def mapping_error(chip: CoreChip, aim: Target) -> tuple[Array, Array]:
    """Numerator and denominator of ||U S V - W||_F^2 / ||U S V||_F^2 of every core as it is now, (p, q) each.

    Errors in the padding do not count; of cores with phi, what quadratures show does, the real part.
    """
    weight = chip.oracle_weights()
    weight = weight.real if chip.mesh.phi else weight
    missing = np.abs(weight - aim.wanted(weight)) ** 2
    return missing.sum(axis=(-1, -2)), (np.abs(weight) ** 2).sum(axis=(-1, -2))


def projection(chip: CoreChip, aim: Target) -> Array:
    """The sigma (p, q, k) nearest to the target for the true meshes: diag(U' W V'); with phi by `mapping.least`.

    Where there is padding, W is there what the target's sigma gives (`mapping.project`).
    """
    u, v = chip.oracle_matrix("u"), chip.oracle_matrix("v")
    if chip.mesh.phi:
        return mapping.least(aim, np.einsum("pqai,pqib->pqiab", u, v).real)
    weight = aim.wanted((u @ (aim.sigma[..., None] * v)).real)
    sigma: Array = np.einsum("pqai,pqab,pqib->pqi", u, weight, v).real
    return sigma


def bias_error(chip: CoreChip, twin: Twin) -> tuple[Array, Array]:
    """How far the biases of twins are off the true ones (M, 2 n), rad, and the same over what the twins state.

    Of the M cores that are identified: the others state nothing. Modulo half turns: some of them, taken together,
    change no response.
    """
    true = np.concatenate([host(chip.oracle_biases(part)) for part in ("u", "v")], axis=1)
    known = twin.identified
    off = np.mod((twin.bias - true)[known] + 0.5 * np.pi, np.pi) - 0.5 * np.pi
    return off, off / twin.spread[known, : off.shape[1]]


def powers(session: Session, layer: str, block: int = 0, input: int = 0) -> dict[str, Array]:
    """Optical power on every rail (2 C + 1, N): before each column, inside its arms, and behind the last one.

    Of a core: of unit amplitude in port `input`, in its meshes v and u, one behind the other. Of a whole mesh: of
    sample `input` of the light that its gradient was last measured with, `forward`, `backward` and their `sum`.
    """
    chip = session.chip(layer)
    if isinstance(chip, MeshChip):
        return _mesh_powers(session, chip, layer, input)
    return {} if chip is None else core_powers(chip, block, input)


def core_powers(chip: CoreChip, block: int, input: int) -> dict[str, Array]:
    """`powers` of one core; nothing of complex cores, whose arms are not followed here."""
    if chip.complex_cores:
        return {}
    field, powers = np.eye(chip.mesh.modes)[input % chip.mesh.modes], {}
    arrays, _ = chip.state()
    for part in ("v", "u"):
        phases = chip.mesh.gather(host(chip.oracle_phases(part)).reshape(-1, *chip.mesh.shape)[block])
        powers[part], field = column_powers(chip.mesh, phases, field)
        field = field * host(arrays[naming.name(part, "signs")][block])
        if part == "v":
            field = field * host(chip.oracle_sigma()).reshape(-1, chip.mesh.modes)[block]
    return powers


def column_powers(mesh: Mesh, phases: Array, field: Array) -> tuple[Array, Array]:
    """Powers (2 C + 1, N) of a real `field` (N,) on its way through a real mesh at effective `phases` (n,), and what
    leaves it before the signs. Both arms of a push-pull MZI carry half of its light."""
    x, seen = np.array(field, float), []
    for column in range(mesh.columns):
        at = slice(mesh.first[column], mesh.first[column + 1])
        top, bottom, phase = mesh.top[at], mesh.bottom[at], phases[at]
        inside = x**2
        inside[top] = inside[bottom] = (inside[top] + inside[bottom]) / 2
        seen += [x**2, inside]
        c, s = np.cos(phase), np.sin(phase)
        x[top], x[bottom] = c * x[top] - s * x[bottom], s * x[top] + c * x[bottom]
    return np.array([*seen, x**2]), x


def _mesh_powers(session: Session, chip: MeshChip, layer: str, input: int) -> dict[str, Array]:
    sent = session.network.meshes[layer].sent
    if sent is None:
        light = np.zeros((chip.mesh.modes, 1))
        light[input % chip.mesh.modes] = 1.0
        return {"forward": rows_between(chip.oracle_fields(light))}
    x, g = (host(a)[:, input % a.shape[1]][:, None] for a in sent)
    ahead, behind = chip.oracle_fields(x), chip.oracle_fields(g, back=True)
    scale = np.linalg.norm(x) / max(float(np.linalg.norm(g)), 1e-30)
    both = chip.oracle_fields(x - 1j * scale * np.conj(behind[0]))
    return {name: rows_between(a) for name, a in (("forward", ahead), ("backward", scale * behind), ("sum", both))}


def rows_between(fields: Array) -> Array:
    """Powers (2 C + 1, N) from fields (4 C + 2, N, 1): those before the columns, in their arms, and at the end."""
    power = np.abs(fields[..., 0]) ** 2
    return np.concatenate([power[:-1:2][: (len(power) - 2) // 2], power[-1:]])


def gradients(layer: MeshLayer) -> tuple[Array, Array]:
    """The true and the last measured gradient of a mesh, for the same light and cotangents: theta, then phi (2 n,)."""
    chip = layer.hardware
    assert isinstance(chip, MeshChip) and layer.sent is not None, "a simulated mesh that was just measured"
    true, measured = chip.oracle_gradient(*layer.sent), layer.gradients()
    pairs = (true.theta, true.phi), (measured["theta"], measured["phi"])
    a, b = (host(np.concatenate(pair)).astype(float) for pair in pairs)
    return a, b


def gradient_error(true: Array, measured: Array) -> float:
    """1 - cos of the angle between two gradients. 0 where both vanish."""
    size = float(np.linalg.norm(true) * np.linalg.norm(measured))
    return max(0.0, 1.0 - float(true @ measured) / size) if size else float(np.linalg.norm(true - measured) > 0)


class Compared(NamedTuple):
    """A gradient beside the true one: the `angle` between them, rad, and the `distance` |g - true|^2 / |true|^2."""

    angle: float
    distance: float


def compared(true: Array, seen: Array) -> Compared:
    """How far the gradient `seen` is from the `true` one, vectors of any equal shape (spec section k; L2ight, NeurIPS
    2021, figures 6, 7, which draw the similarity 1 - angle / pi).

    Nothing is at a right angle to something, at the distance 1; two that vanish are the same."""
    a, b = (np.ravel(host(g)).astype(float) for g in (true, seen))
    if not a.any() or not b.any():
        same = not a.any() and not b.any()
        return Compared(0.0, 0.0) if same else Compared(math.pi / 2, 1.0)
    scale = np.abs(a).max()  # squares of the smallest numbers would vanish
    a, b = a / scale, b / scale
    along, across = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = 2 * math.atan2(float(np.linalg.norm(along - across)), float(np.linalg.norm(along + across)))
    return Compared(angle, float(((b - a) ** 2).sum() / (a**2).sum()))


def comparison(pairs: Mapping[str, tuple[Array, Array]]) -> dict[str, float]:
    """`compared` of (true, seen) by layer, and of all layers as one vector, as scalars of an epoch."""
    every = {name: compared(*pair) for name, pair in pairs.items()}
    total = compared(*(np.concatenate([np.ravel(host(pair[i])) for pair in pairs.values()]) for i in (0, 1)))
    named = {"": total, **{f"_{name}": one for name, one in every.items()}}
    kinds = Compared._fields
    return {f"oracle_gradient_{kind}{name}": getattr(one, kind) for kind in kinds for name, one in named.items()}
