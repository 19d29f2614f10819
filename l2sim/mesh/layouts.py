"""Where the couplers of each kind of mesh stand, and how their splits are distributed under the Haar measure.

A layout is three integer arrays (n,): column, top rail and bottom rail of every coupler, sorted by column, then by top
rail: *travel order*. Couplers need not join neighbouring rails.

    rectangular           Clements et al., Optica 3, 1460 (2016)
    triangular            Reck et al., PRL 73, 58 (1994), widest on the last rails, as the L2ight reference has it
    chain_cascade         its mirror image, as simphox has it: chains on rails 0 ... i, i = N - 1 ... 1, nested
    permuting             blocks of rectangular columns between permutations; Pai et al., PR Applied 11, 064044 (2019)
    butterfly             strides 1, 2, 4, ... : the network of the fast Fourier transform
    unbalanced_tree       one chain: light of all rails gathered on the last; Miller, Photonics Research 1, 1 (2013)
    balanced_tree         the same by halves, in ceil(log2 N) columns
    tree_cascade          balanced trees on rails 0 ... i, i = N - 1 ... 1, one after the other
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2sim.backend import Array
from l2sim.errors import ChipError, PluginError
from l2sim.mesh.registry import REGISTERED
from l2sim.plugins import CURE

Layout = tuple[Array, Array, Array]


def ordered(rows: list[tuple[int, int, int]]) -> Layout:
    """Triples (column, top, bottom) in travel order, as three arrays (n,)."""
    column, top, bottom = np.array(sorted(rows), np.int64).reshape(-1, 3).T.copy()
    return column, top, bottom


def rectangular(modes: int, columns: int | None = None) -> Layout:
    """Column c holds the pairs (r, r + 1) with r even for even c, odd for odd c."""
    column, top = np.indices((modes if columns is None else columns, max(modes - 1, 0)))
    here = column % 2 == top % 2
    column, top = column[here].astype(np.int64), top[here].astype(np.int64)
    return column, top, top + 1


def triangular(modes: int) -> Layout:
    """Chain i, step j stands in column i + j on rails (N - 2 - i + j, N - 1 - i + j), for 0 <= j <= i <= N - 2."""
    last = modes - 2
    return ordered([(i + j, last - i + j, last - i + j + 1) for i in range(modes - 1) for j in range(i + 1)])


def chain_cascade(modes: int) -> Layout:
    """Chain i, step j stands in column 2 (N - 1 - i) + j on rails (j, j + 1)."""
    return ordered([(2 * (modes - 1 - i) + j, j, j + 1) for i in range(modes - 1, 0, -1) for j in range(i)])


def butterfly(modes: int) -> Layout:
    """Column c joins rails 2^c apart; a rail whose partner does not exist (N no power of two) passes by."""
    pairs = [(c, r, r + (1 << c)) for c in range((modes - 1).bit_length()) for r in range(modes) if not r >> c & 1]
    return ordered([pair for pair in pairs if pair[2] < modes])


def unbalanced_tree(modes: int) -> Layout:
    """A chain from the first rail to the last."""
    return ordered([(r, r, r + 1) for r in range(modes - 1)])


def balanced(first: int, modes: int, root: int) -> list[tuple[int, int, int]]:
    """A balanced tree over rails first ... first + modes - 1 whose root stands in column `root`."""
    if modes < 2:
        return []
    upper = modes // 2
    middle = first + upper
    return [
        (root, middle - 1, first + modes - 1),
        *balanced(first, upper, root - 1),
        *balanced(middle, modes - upper, root - 1),
    ]


def balanced_tree(modes: int) -> Layout:
    """The last rails of two halves meet, recursively; the light of all rails ends on the last."""
    return ordered(balanced(0, modes, (modes - 1).bit_length() - 1))


def tree_cascade(modes: int) -> Layout:
    """Balanced trees over rails 0 ... i for i = N - 1 ... 1, one behind the other."""
    rows, start = [], 0
    for size in range(modes, 1, -1):
        depth = (size - 1).bit_length()
        rows += balanced(0, size, start + depth - 1)
        start += depth
    return ordered(rows)


def permutation_blocks(modes: int) -> tuple[list[int], list[int]]:
    """Columns of every block, and the strides of the permutations between them, of a permuting rectangular mesh.

    round(log2 N) blocks of floor(N / blocks) columns made even, the last with what is left of N columns; strides 2^s, s
    up the even and down the odd numbers as neurophox orders them (or the reverse, by parity).
    """
    blocks = max(round(np.log2(modes)), 1)
    rank = modes // blocks
    rank += rank % 2
    sizes = [rank] * (blocks - 1) + [max(modes - rank * (blocks - 1), 0)]
    last = blocks - 1
    up = [last + 1 - s for s in range(1, last + 1, 2)][::-1]
    down = [last + 1 - s for s in range(2, last + 1, 2)]
    return sizes, [2**s for s in up + down]


def rectangular_permutation(modes: int, stride: int) -> Array:
    """Even rails come from `stride` above, odd ones from `stride` below, reflected at the edges: sources (N,)."""
    rail = np.arange(modes)
    source = rail + np.where(rail % 2, stride, -stride)
    while ((source < 0) | (source >= modes)).any():
        source = np.where(source < 0, -1 - source, source)
        source = np.where(source >= modes, 2 * modes - 1 - source, source)
    return source


def permuting(modes: int) -> Layout:
    """Rails keep their names across the fixed permutations, so that couplers join distant rails: U is that of the
    device with each output named after the rail that it began on. Shifters stand on the rail with the lower name."""
    sizes, strides = permutation_blocks(modes)
    names, rows, start = np.arange(modes), [], 0
    for block, size in enumerate(sizes):
        for c, r, s in zip(*rectangular(modes, size)):
            rows.append((start + int(c), int(min(names[r], names[s])), int(max(names[r], names[s]))))
        start += size
        if block < len(strides):
            names = names[rectangular_permutation(modes, strides[block])]
    return ordered(rows)


LAYOUTS = {
    "rectangular": rectangular,
    "triangular": triangular,
    "chain_cascade": chain_cascade,
    "permuting": permuting,
    "butterfly": butterfly,
    "balanced_tree": balanced_tree,
    "unbalanced_tree": unbalanced_tree,
    "tree_cascade": tree_cascade,
}
"""The layouts that l2sim has itself."""
NAMES = {"clements": "rectangular", "reck": "triangular"}
"""What the field calls two of them, after who published them."""


def register(name: str, layout: Callable[[int], Layout]) -> None:
    """Add a layout of others: a function from the number of modes to a `Layout`, for jobs of whole meshes.

    Random phases of such meshes follow `grid_sensitivity`. Raises PluginError where the name is taken."""
    if not isinstance(name, str) or not name or not callable(layout):
        raise PluginError(f"a layout is a name and a function of the number of modes, not {name!r} and {layout!r}")
    if name in (*LAYOUTS, *NAMES, "custom"):
        raise PluginError(f"there is a layout {name!r} already; give this one another name")
    REGISTERED.register(name, layout)


def get(kind: str) -> Callable[[int], Layout]:
    """The layout of that name. Raises ChipError where there is none."""
    if kind in LAYOUTS:
        return LAYOUTS[kind]
    if kind in REGISTERED:
        return REGISTERED[kind]
    known = ", ".join((*LAYOUTS, *REGISTERED, "custom", *NAMES))
    raise ChipError(f"mesh kind {kind!r} is unknown; use one of {known}, {CURE}")


def earliest(top: Array, bottom: Array, modes: int) -> Array:
    """The earliest column of each coupler of a list in which light can travel, (n,)."""
    free = [0] * modes
    column = np.empty(len(top), np.int64)
    for t, (i, j) in enumerate(zip(top.tolist(), bottom.tolist())):
        column[t] = free[i] if free[i] > free[j] else free[j]
        free[i] = free[j] = column[t] + 1
    return column


# -- Haar sensitivities: the power fraction that crosses is Beta(beta, alpha) distributed ------------------------------


def reach(layout: Layout, modes: int) -> tuple[Array, Array, Array]:
    """How many inputs lead to each coupler's top and to its bottom rail, and to either, (n,) each."""
    column, top, bottom = layout
    lit = np.eye(modes, dtype=bool)
    above, below, both = (np.empty(len(top), np.int64) for _ in range(3))
    for here in (np.flatnonzero(column == c) for c in np.unique(column)):
        i, j = top[here], bottom[here]
        joined = lit[i] | lit[j]
        above[here], below[here], both[here] = lit[i].sum(1), lit[j].sum(1), joined.sum(1)
        lit[i] = lit[j] = joined
    return above, below, both


def grid_sensitivity(layout: Layout, modes: int) -> Array:
    """|I| + |O| - N - 1, at least 1: I and O the inputs and outputs that light can reach from the coupler, (n,).

    Pai et al., PR Applied 11, 064044 (2019), eq. 5; exact for the rectangle and both triangles.
    """
    column, top, bottom = layout
    back = column.max(initial=0) - column[::-1], top[::-1], bottom[::-1]
    lit: Array = np.maximum(reach(layout, modes)[2] + reach(back, modes)[2][::-1] - modes - 1, 1)
    return lit


def sensitivities(kind: str, layout: Layout, modes: int) -> tuple[Array, Array]:
    """alpha, beta (n,) of every coupler.

    Where a coupler gathers the light of l upper and m lower leaves, its split is Beta(l, m): alpha = m, beta = l. That
    makes U Haar for a cascade of trees, and the last row (a tree) or every row (a butterfly) uniform on the sphere. In
    grids alpha = 1 and beta is `grid_sensitivity`; the columns of a block of a permuting mesh, which is shallower than
    wide, take the smaller of the numbers of rails that they reach within the block, less one.

    (simphox gives chains these numbers in the reverse order, and butterflies 2^c + 1 in column c: neither is Haar.)
    """
    column, top, bottom = layout
    alpha, beta = np.ones(len(top), np.int64), np.ones(len(top), np.int64)
    if kind in ("butterfly", "balanced_tree", "unbalanced_tree"):
        beta, alpha, _ = reach(layout, modes)
    elif kind == "tree_cascade":
        start = 0
        for size in range(modes, 1, -1):
            depth = (size - 1).bit_length()
            unit = np.flatnonzero((column >= start) & (column < start + depth))
            beta[unit], alpha[unit], _ = reach((column[unit], top[unit], bottom[unit]), modes)
            start += depth
    elif kind == "permuting":
        start = 0
        for size in permutation_blocks(modes)[0]:
            block = np.flatnonzero((column >= start) & (column < start + size))
            part = column[block], top[block], bottom[block]
            back = start + size - part[0][::-1], part[1][::-1], part[2][::-1]
            beta[block] = np.minimum(reach(part, modes)[2], reach(back, modes)[2][::-1]) - 1
            start += size
    else:
        beta = grid_sensitivity(layout, modes)
    return alpha, np.maximum(beta, 1)
