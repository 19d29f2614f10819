"""A start for the fit of a twin, wherever the biases are: column after column, in closed form.

Sigma being +1 or -1, a response R = U diag(s) V* is orthogonal. Of two settings that differ in column c of U only,

    R' R^T = A T_c(delta) A^T,      A = T_{C-1} ... T_{c+1}

T_c(delta) being known rotations: biases of column c cancel, and what is seen is how the columns behind it turn them.
With columns c + 2, ... known and undone, the antisymmetric part of R' R^T has for every MZI of column c, on rails
(r, r + 1), the block sin(delta) (T e_{r+1}) (T e_r)^T between the two MZIs of column c + 1 behind it: the cosines and
sines of their phases, up to a common sign, which neighbouring blocks and rails without an MZI settle. So U is peeled
from its outputs, V* likewise from its inputs by R^T R', one setting a column; a change of the signs of sigma shows the
two columns beside sigma the same way. 2 C settings make a start for all heaters, at any bias: the effort grows as the
size of the core, and errors of the columns add up like a random walk.

Only rectangular meshes: their columns leave at most one rail free on either side.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from l2sim.backend import Array
from l2sim.mesh.mesh import Mesh


def depth(mesh: Mesh) -> int:
    """Columns C that hold an MZI: all of them, but for a mesh of two rails."""
    return int(mesh.column[-1]) + 1


def leak(mesh: Mesh, heat: Array) -> Array:
    """The sum over the neighbours of every heater, of one mesh or of two side by side: (..., n) or (..., 2 n)."""
    parts = heat.reshape(*heat.shape[:-1], -1, mesh.count)
    summed: Array = np.where(mesh.around >= 0, parts[..., np.maximum(mesh.around, 0)], 0.0).sum(axis=-1)
    return summed.reshape(heat.shape)


def walk(mesh: Mesh, quarter: Array, first: Array) -> tuple[Array, Array]:
    """Settings of the walk: which heaters (2 C, 2 n) have been turned, and the signs of sigma (2 C, k).

    `first` (2 n,) are driven phases to start from and `quarter` (2 n,) those a quarter turn on. The columns of U from
    the last but one to the first, then those of V from the second to the last, then alternating signs of sigma.
    """
    n, c = mesh.count, depth(mesh)
    drive = np.repeat(first[None], 2 * c, axis=0)
    for step, heaters in enumerate(_steps(mesh), 1):
        drive[step:, heaters] = quarter[heaters]
    sigma = np.ones((2 * c, mesh.modes))
    sigma[-1, 1::2] = -1.0
    assert drive.shape[1] == 2 * n
    return drive, sigma


def _steps(mesh: Mesh) -> Iterator[Array]:
    """The heaters that each step turns, counted over both meshes."""
    for column in range(depth(mesh) - 2, -1, -1):
        yield np.arange(mesh.first[column], mesh.first[column + 1])
    for column in range(1, depth(mesh)):
        yield np.arange(mesh.first[column], mesh.first[column + 1]) + mesh.count


def peel(mesh: Mesh, drive: Array, sigma: Array, seen: Array, crosstalk: float) -> Array:
    """Biases (M, 2 n) of cores from what they answered (M, 2 C, k, k) to the settings of `walk`.

    `drive` (2 C, 2 n) as driven, `crosstalk` as the data sheet has it.
    """
    n, c = mesh.count, depth(mesh)
    known = drive + crosstalk * leak(mesh, drive)
    bias = np.zeros((len(seen), 2 * n))
    for part in range(2):
        # V* is peeled from its inputs as U is from its outputs: V*^T has its columns reversed and its rotations undone.
        at = slice(part * n, part * n + n)
        answers = seen if part == 0 else seen.swapaxes(-1, -2)
        sense = 1.0 if part == 0 else -1.0
        begin = 0 if part == 0 else c - 1
        order = range(c - 1, 0, -1) if part == 0 else range(c - 1)
        outer: list[int] = []
        for step, column in enumerate(order):
            inner = column - 1 if part == 0 else column + 1
            before, after = answers[:, begin + step], answers[:, begin + step + 1]
            turned = after @ before.swapaxes(-1, -2)
            turned = 0.5 * (turned - turned.swapaxes(-1, -2))
            phases = 0.5 * (known[begin + step, at] + known[begin + step + 1, at]) + bias[:, at]
            turned = _undone(mesh, turned, phases, outer, sense)
            heaters = np.arange(mesh.first[inner], mesh.first[inner + 1])
            delta = sense * (drive[begin + step + 1, at] - drive[begin + step, at])[heaters]
            angles = _chain(mesh, turned, column, heaters, np.sin(delta))
            here = np.arange(mesh.first[column], mesh.first[column + 1])
            middle = 0.5 * (known[begin + step, at] + known[begin + step + 1, at])
            bias[:, at][:, here] = sense * angles - middle[here]
            outer.append(column)
    _beside_sigma(mesh, known, sigma, seen, bias)
    return np.mod(bias + np.pi, 2.0 * np.pi) - np.pi


def _turn_rows(mesh: Mesh, matrices: Array, phases: Array, column: int, sense: float) -> Array:
    """T^T (or T) of a column times matrices (M, k, k); phases (M, n)."""
    out = matrices.copy()
    for h in range(mesh.first[column], mesh.first[column + 1]):
        r, c, s = mesh.rail[h], np.cos(phases[:, h, None]), sense * np.sin(phases[:, h, None])
        x, y = matrices[:, r], matrices[:, r + 1]
        out[:, r], out[:, r + 1] = c * x + s * y, c * y - s * x
    return out


def _undone(mesh: Mesh, matrices: Array, phases: Array, columns: list[int], sense: float) -> Array:
    """A^T M A of known columns, outermost first."""
    for column in columns:
        matrices = _turn_rows(mesh, matrices, phases, column, sense)
        matrices = _turn_rows(mesh, matrices.swapaxes(-1, -2), phases, column, sense).swapaxes(-1, -2)
    return matrices


def _chain(mesh: Mesh, turned: Array, column: int, heaters: Array, sines: Array) -> Array:
    """Angles (M, MZIs of `column`) at which a column turns the rotations of `heaters`, with these `sines`.

    `turned` (M, k, k): sum over heaters of sine (T e_{r+1}) (T e_r)^T, antisymmetrised. The block of a heater links the
    MZIs (or free rails) that its two rails go to; each gives the vector of the next its sign.
    """
    here, cores = np.arange(mesh.first[column], mesh.first[column + 1]), len(turned)
    group = np.full(mesh.modes, -1)  # which MZI of the column a rail belongs to
    for i, h in enumerate(here):
        group[[mesh.rail[h], mesh.rail[h] + 1]] = i
    links = []
    for t, h in enumerate(heaters):
        r = mesh.rail[h]
        upper, lower = _rails(mesh, here, group, r), _rails(mesh, here, group, r + 1)
        left, size, right = np.linalg.svd(turned[:, lower][:, :, upper] / sines[t])
        # The upper rail is the lower member of the MZI above, and the other way round.
        ends = (int(group[r]), _as_angle(right[:, 0], True)), (int(group[r + 1]), _as_angle(left[:, :, 0], False))
        links.append((ends, size[:, 0]))
    arrows: dict[int, Array] = {}
    while links:
        at = next((n for n, (ends, _) in enumerate(links) if any(g < 0 or g in arrows for g, _ in ends)), None)
        if at is None:  # no rail is free: any sign will do
            (g, vector), _ = links[0][0]
            arrows[g] = 1e-12 * vector
            continue
        ends, weight = links.pop(at)
        known = next(((g, vector) for g, vector in ends if g < 0), None) or next((g, v) for g, v in ends if g in arrows)
        along = known[1][:, 0] if known[0] < 0 else (known[1] * arrows[known[0]]).sum(axis=1)
        for g, vector in ends:
            if g >= 0:
                arrows[g] = arrows.get(g, 0.0) + (np.where(along < 0, -weight, weight))[:, None] * vector
    pointing = np.zeros((cores, len(here), 2))
    for g, vector in arrows.items():
        pointing[:, g] = vector
    return np.arctan2(pointing[..., 1], pointing[..., 0])


def _rails(mesh: Mesh, here: Array, group: Array, rail: int) -> list[int]:
    """The rails of the MZI that a rail belongs to, or the rail itself."""
    if group[rail] < 0:
        return [rail]
    top = int(mesh.rail[here[group[rail]]])
    return [top, top + 1]


def _as_angle(vector: Array, lower_member: bool) -> Array:
    """(cos, sin) from T e_lower = (-sin, cos) or T e_upper = (cos, sin)."""
    if vector.shape[1] == 1:
        return vector
    return np.stack((vector[:, 1], -vector[:, 0]), axis=1) if lower_member else vector


def _beside_sigma(mesh: Mesh, known: Array, sigma: Array, seen: Array, bias: Array) -> None:
    """Biases of U's first and V's last column, from the last step (signs of sigma), and which half turn they take."""
    n, c = mesh.count, depth(mesh)
    columns = (0, c - 1)
    twice = []
    for part in range(2):
        at = slice(part * n, part * n + n)
        answers = seen if part == 0 else seen.swapaxes(-1, -2)
        sense = 1.0 if part == 0 else -1.0
        turned = answers[:, -1] @ answers[:, -2].swapaxes(-1, -2)
        turned = 0.5 * (turned + turned.swapaxes(-1, -2))
        outer = list(range(c - 1, 0, -1)) if part == 0 else list(range(c - 1))
        turned = _undone(mesh, turned, known[-1, at] + bias[:, at], outer, sense)
        here = np.arange(mesh.first[columns[part]], mesh.first[columns[part] + 1])
        r = mesh.rail[here]
        # R(phi) diag(d, e) R(-phi) = (d + e) / 2 + (d - e) / 2 [[cos 2 phi, sin 2 phi], [sin 2 phi, -cos 2 phi]]
        ratio = sigma[-1] / sigma[-2]
        d = np.sign(ratio[r] - ratio[r + 1])
        across, along = turned[:, r, r + 1] + turned[:, r + 1, r], turned[:, r, r] - turned[:, r + 1, r + 1]
        angle = 0.5 * np.arctan2(d * across, d * along)
        bias[:, at][:, here] = sense * angle - known[-1, at][here]
        twice.append(here)
    # Signs x (U) and y (V) of pairs of rails such that diag(x) (U diag(s) V) diag(y) is what is seen.
    both = np.zeros((len(seen), mesh.modes, mesh.modes))
    for t in (-2, -1):
        core = seen[:, t]
        for column in range(c - 1, -1, -1):
            if column:
                core = _turn_rows(mesh, core, known[t, :n] + bias[:, :n], column, 1.0)
        core = core.swapaxes(-1, -2)
        for column in range(c - 1):
            core = _turn_rows(mesh, core, known[t, n:] + bias[:, n:], column, -1.0)
        core = core.swapaxes(-1, -2)
        first = np.broadcast_to(np.diag(sigma[t]), core.shape)
        first = _turn_rows(mesh, first, known[t, :n] + bias[:, :n], 0, -1.0)
        first = _turn_rows(mesh, first.swapaxes(-1, -2), known[t, n:] + bias[:, n:], c - 1, 1.0).swapaxes(-1, -2)
        both += core * first
    groups = []
    for part in range(2):
        member = np.zeros((mesh.modes, mesh.modes))
        for i, h in enumerate(twice[part]):
            member[i, [mesh.rail[h], mesh.rail[h] + 1]] = 1.0
        free = np.flatnonzero(member.sum(axis=0) == 0)
        member[len(twice[part]) + np.arange(len(free)), free] = 1.0
        groups.append(member[: len(twice[part]) + len(free)])
    blocks = groups[0] @ both @ groups[1].T
    signs = _consistent(blocks, [len(heaters) for heaters in twice])
    for part, heaters in enumerate(twice):
        bias[:, part * n + heaters] += np.pi * (signs[part][:, : len(heaters)] < 0)


def _consistent(blocks: Array, turning: list[int]) -> list[Array]:
    """Signs x (M, a), y (M, b) for which x_i blocks_ij y_j is positive, along links between what two columns couple.

    Groups from `turning` on are free rails, whose sign is +1. Where a chain of links has no free rail, either sign will
    do: both give the same responses.
    """
    cores, rows, columns = blocks.shape
    linked = (np.abs(blocks) > 0).any(axis=0)
    signs = [np.zeros((cores, rows)), np.zeros((cores, columns))]
    for part, free in enumerate(turning):
        signs[part][:, free:] = 1.0
    links = list(zip(*np.nonzero(linked)))
    while links:
        ready = [(i, j) for i, j in links if signs[0][0, i] or signs[1][0, j]]
        if not ready:
            signs[0][:, links[0][0]] = 1.0
            continue
        i, j = ready[0]
        links.remove((i, j))
        here = np.where(blocks[:, i, j] >= 0, 1.0, -1.0)
        if not signs[0][0, i]:
            signs[0][:, i] = here * signs[1][:, j]
        elif not signs[1][0, j]:
            signs[1][:, j] = here * signs[0][:, i]
    return signs
