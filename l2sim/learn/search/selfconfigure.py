"""Programming meshes whose splitters have errors: nullification, optimisation, and by measurement alone.

Normalised error (`unitary.error`) at N = 64, splitter errors of 0.03 rad: ideal phases 0.34, parallel nullification
0.99 (clipped MZIs spoil every column behind), `unitary.transfer` (local correction) 0.04, `optimise` from there less
still. `python -m l2sim.study.programming` draws the curves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, kernels
from l2sim.chip.protocol import MeshHardware, check
from l2sim.errors import ChipError
from l2sim.given import whole, wrapped
from l2sim.learn.search.routes import THIRDS, command, crossings
from l2sim.mesh import styles, unitary
from l2sim.mesh.mesh import Mesh, require
from l2sim.mesh.unitary import TOLERANCE, Settings

GRID = 24
"""Values of a phase among which a peak is looked for: two peaks of such a surface are further apart."""


def refit(target: Array, got: Array) -> Array:
    """What to add to the screen (N,) so that the rows of `got` (N, N) lie as near to those of `target` as they can:
    arg sum_m target_nm conj(got_nm) (spec/insitu.md, section 1)."""
    overlap: Array = np.sum(target * got.conj(), axis=1)
    return np.angle(overlap)


# -- parallel nullification --------------------------------------------------------------------------------------------


def plain_of(mesh: Mesh) -> Mesh:
    """The same places with a plain MZI at each."""
    return Mesh(mesh.kind, mesh.modes, couplers=mesh.couplers)


def matrices(plain: Mesh, ideal: Settings) -> Array:
    """T11, T12, T21, T22 of every ideal MZI, (4, n)."""
    e = unitary.elements(plain, ideal)[0][0]
    parts: Array = e[0:8:2] + 1j * e[1:8:2]
    return parts


def null_basis(plain: Mesh, ideal: Settings) -> Array:
    """The waves (N, C) that program column c of a mesh of ideal, plain MZIs: w_c = conj(T_0^T ... T_c^T e_c).

    e_c is 1 on the bottom rails of column c: sent in, w_c leaves the top outputs of that column dark. Pai et al., PR
    Applied 13, 064029 (2020).
    """
    t11, t12, t21, t22 = matrices(plain, ideal)
    waves = np.zeros((plain.modes, plain.columns), complex)
    for c in range(plain.columns - 1, -1, -1):
        here = slice(plain.first[c], plain.first[c + 1])
        i, j = plain.top[here], plain.bottom[here]
        waves[j, c] = 1.0
        a, b = waves[i, c:], waves[j, c:]
        waves[i, c:] = t11[here, None] * a + t21[here, None] * b
        waves[j, c:] = t12[here, None] * a + t22[here, None] * b
    return waves.conj()


def nullify(mesh: Mesh, ideal: Settings, errors: Array | None = None) -> tuple[Settings, int]:
    """Parallel nullification of ideal settings of the nodes on a mesh with splitter `errors` (2, n), column by column.

    The wave of each column of `null_basis` is sent in and the top outputs of that column are darkened, all at once;
    then the screen is refitted. Exact unless an MZI is clipped. Returns the settings and how many were.
    """
    plain = plain_of(mesh)
    theta, phi, _, clipped = unitary.nullify(mesh, plain.column, null_basis(plain, ideal), errors)
    settings = unitary.spread(mesh, theta, phi, np.zeros(mesh.modes))
    screen = refit(unitary.matrix(plain, ideal), unitary.matrix(mesh, settings, errors))
    return settings._replace(screen=wrapped(screen)), clipped


# -- optimisation ------------------------------------------------------------------------------------------------------


def misfit(mesh: Mesh, target: Array, settings: Settings, errors: Array | None) -> tuple[float, Settings]:
    """||U - V||^2 / N of the target U and the matrix V of `settings`, and its gradient by every phase."""
    parts, splitters, screen = unitary.elements(mesh, settings, errors)
    planes = np.empty((1, 2, mesh.modes, mesh.modes))
    kernels.propagate.matrices(parts, mesh.top, mesh.bottom, screen, planes)
    got = planes[0, 0] + 1j * planes[0, 1]
    # L = 2 - 2 Re tr(U^+ V) / N, so g = dL/dRe V - i dL/dIm V = -2 conj(U) / N for the inputs 1, and Y G^T = V g^T.
    product = got @ (-2.0 / mesh.modes * target.conj()).T
    slopes = np.empty((1, mesh.count)), np.empty((1, mesh.count)), np.empty((1, mesh.modes))
    planes = np.ascontiguousarray(np.stack((product.real, product.imag))[None])
    kernels.propagate.gradients(parts, splitters, mesh.top, mesh.bottom, screen, planes, *slopes)
    by_theta, by_phi = (np.where(mesh.active, slope[0], 0.0) for slope in slopes[:2])
    loss = float(np.sum(np.abs(target - got) ** 2)) / mesh.modes
    return loss, Settings(by_theta, by_phi, slopes[2][0])


def optimise(
    mesh: Mesh,
    target: ArrayLike,
    start: Settings,
    errors: Array | None = None,
    iterations: int = 500,
    tolerance: float = TOLERANCE,
) -> tuple[Settings, list[float]]:
    """From `start`, the phases of any mesh that bring its matrix nearest to `target` (N, N), by L-BFGS.

    Its phases are not limited to one turn, and where one MZI is clipped others make up for it. Returns the settings and
    the normalised error after every iteration, the start first.
    """
    from scipy.optimize import fmin_l_bfgs_b  # late: SciPy takes a quarter of a second

    iterations = whole(iterations, "a number of iterations", 1)
    aim = unitary.unitary(target, require(mesh).modes, tolerance)
    cuts = np.cumsum([mesh.count, mesh.count])

    def unpack(flat: Array) -> Settings:
        return Settings(*np.split(flat, cuts))

    def slope(flat: Array) -> tuple[float, Array]:
        loss, by = misfit(mesh, aim, unpack(flat), errors)
        return loss, np.concatenate(by)

    def measured(flat: Array) -> None:
        curve.append(unitary.error(aim, unitary.matrix(mesh, unpack(flat), errors)))

    curve: list[float] = []
    measured(np.concatenate(start))
    best = fmin_l_bfgs_b(
        slope, np.concatenate(start), m=20, factr=1e-2, pgtol=1e-12, maxiter=iterations, maxfun=2 * iterations,
        callback=measured,
    )  # fmt: skip
    return unpack(wrapped(best[0])), curve


def program(
    mesh: Mesh,
    target: ArrayLike,
    errors: Array | None = None,
    iterations: int = 500,
    tolerance: float = TOLERANCE,
) -> Settings:
    """The settings with which `mesh`, whose splitter `errors` (2, n) are known, comes nearest to `target` (N, N).

    Decomposed and corrected MZI by MZI; optimised where that is not exact because MZIs are clipped. ChipError for a
    target that is further than `tolerance` from unitary.
    """
    iterations = whole(iterations, "a number of iterations", 1)
    aim = unitary.unitary(target, require(mesh).modes, tolerance)
    settings = unitary.decompose(mesh, aim, errors)
    if unitary.error(aim, unitary.matrix(mesh, settings, errors)) < 1e-9:
        return settings
    return optimise(mesh, aim, settings, errors, iterations)[0]


# -- by measurement ----------------------------------------------------------------------------------------------------


def highest(values: Array, theta: float, phi: float) -> tuple[float, float]:
    """The peak of the surface that was read at the nine points theta + THIRDS, phi + THIRDS (3, 3).

    A power behind an MZI is a sum of products of (1, cos theta, sin theta) and (1, cos phi, sin phi), whatever its
    splitters are, so nine readings say all. Of GRID values of phi, with the best theta for each, the highest is taken;
    from there each phase in turn goes to the peak of its sinusoid, and Newton's method ends it.
    """
    tables = [np.stack((np.ones(3), 2.0 * np.cos(p + THIRDS), 2.0 * np.sin(p + THIRDS))) / 3.0 for p in (theta, phi)]
    c = tables[0] @ values @ tables[1].T

    def wave(p: float, order: int) -> Array:
        return np.array((order == 0, np.cos(p + order * np.pi / 2), np.sin(p + order * np.pi / 2)))

    grid = phi + 2.0 * np.pi / GRID * np.arange(GRID)
    mean, cosines, sines = c @ np.stack((np.ones(GRID), np.cos(grid), np.sin(grid)))
    phi = float(grid[np.argmax(mean + np.hypot(cosines, sines))])
    for _ in range(20):
        _, cosine, sine = c @ wave(phi, 0)
        theta = float(np.arctan2(sine, cosine))
        _, cosine, sine = wave(theta, 0) @ c
        phi = float(np.arctan2(sine, cosine))
    for _ in range(4):
        slope = np.array([wave(theta, 1) @ c @ wave(phi, 0), wave(theta, 0) @ c @ wave(phi, 1)])
        bend = np.array([[wave(theta, i) @ c @ wave(phi, 2 - i) for i in order] for order in ((2, 1), (1, 0))])
        if bend[0, 0] >= 0.0 or np.linalg.det(bend) <= 1e-9 * bend[0, 0] ** 2:
            break  # one phase does not matter here
        theta, phi = (theta, phi) - np.linalg.solve(bend, slope)
    return float(wrapped(theta)), float(wrapped(phi))


OVERLAP = 1e-9
"""Of the magnitudes of two rows, below which no light tells the phase between them; ours."""


ABOVE_NOISE = 3.0
"""How many standard deviations, of noise or of what goes astray, an interference must be large to tell a phase: noise
alone is, once in e^9 = 8,000 times. Ours."""


class Reached(NamedTuple):
    """How near a mesh came to its target, by readings: `error`, of `unitary.error` a lower bound to which what noise
    leaves of the screen is added, known to about the root of the noise of a power; `undecided`, how many phases between
    groups of outputs no power at the ports depends on (of a permutation all), or none by more than noise hides (near
    one): they stay as they were, and any of them may be wrong, of which `error` knows nothing."""

    error: float
    undecided: int


def detectors(mesh: Mesh, dark_bottom: bool) -> Array:
    """Where the light on the bottom rail of every node leaves the mesh while all nodes behind it cross, (s,); of the
    top rail if the bottom one is to be dark."""
    _, top, bottom = mesh.sites
    leaves, seen = np.arange(mesh.modes), np.empty(len(top), np.int64)  # the output by rail
    for t in range(len(top) - 1, -1, -1):
        seen[t] = leaves[top[t] if dark_bottom else bottom[t]]
        leaves[[top[t], bottom[t]]] = leaves[[bottom[t], top[t]]]
    return seen


def darken(hardware: MeshHardware, t: int, wave: Array, detector: int) -> None:
    """Set coupler t to darken its top output for `wave` (N,), by 27 powers at one output of the mesh.

    Let A and B be the fields behind the coupler and R all other light that reaches the detector: |a A + b B + R|^2.
    Shifting A by x and B by -x, x = 0 and +-2 pi / 3 (done by the shifters behind, `kernels.program.flow`), and
    averaging leaves |a A|^2 + |b B|^2 + |R|^2: with |A|^2 + |B|^2 fixed and |b| > |a|, it peaks where A is dark.
    Nothing need be known of the splitters, and of the couplers behind only that b reaches the detector.
    """
    mesh, now = hardware.mesh, hardware.commanded
    crossed, still = styles.crossed(mesh), np.zeros(mesh.count)
    here, values = (float(now["theta"][t]), float(now["phi"][t])), np.zeros((3, 3))
    top, bottom = mesh.top[t], mesh.bottom[t]
    for x in THIRDS:
        phi, screen = np.array(now["phi"], np.float64), np.array(now["screen"], np.float64)
        ahead = np.zeros(mesh.modes)
        ahead[top], ahead[bottom] = x, -x
        kernels.program.flow(mesh.top, mesh.bottom, crossed, t + 1, still, ahead, phi, screen)
        for i, j in np.ndindex(3, 3):
            now["theta"][t], phi[t] = here[0] + THIRDS[i], here[1] + THIRDS[j]
            hardware.set_phases(theta=now["theta"], phi=phi, screen=screen)
            values[i, j] += hardware.forward(wave[:, None], readout="power")[detector, 0]
    now["theta"][t], now["phi"][t] = highest(values, *here)
    hardware.set_phases(**now)


def progressive(hardware: MeshHardware, target: Array) -> Reached:
    """Program `hardware` from powers at its ports alone, MZI after MZI, whatever its splitters and phase offsets are.

    First the settings are found at which all MZIs cross (`routes.crossings`), so that it is known where light leaves.
    Then each MZI darkens its top output (the bottom one in a "triangular" mesh) for a wave that the target defines: in
    cascades the conjugate of a row, else the null basis; then the screen is found by interference. Exact without loss
    or noise, but for phases that no power depends on, unless an MZI is clipped, from which a cascade suffers much less
    than a rectangle. Returns how near it came. Self-configuration after Miller, Photonics Research 1, 1 (2013); with
    detectors at the ports only: Hamerly et al., PR Applied 18, 024019 (2022). `darken` is ours. ChipError for layouts
    that are neither rectangles nor cascades, and for nodes of three splitters.
    """
    check(hardware, MeshHardware, "mesh", "readouts", "set_phases", "commanded", "forward", "backward")
    mesh = hardware.mesh
    if "power" not in hardware.readouts:
        raise ChipError(f"this mesh has no 'power' readout, which self-configuration needs; it has {hardware.readouts}")
    target = unitary.unitary(target, mesh.modes)
    plain = plain_of(mesh)
    ideal = unitary.decompose(plain, target)
    styles.crossed(mesh)  # refuses nodes that phases do not pass
    command(hardware, np.flatnonzero(mesh.active), crossings(hardware))
    if mesh.kind in unitary.CASCADES:
        waves, (which, dark_bottom) = target.conj().T, unitary.exits(mesh)
    else:
        waves, which, dark_bottom = null_basis(plain, ideal), plain.column, False
    seen = detectors(mesh, dark_bottom)
    for node, t in enumerate(np.flatnonzero(mesh.active)):
        darken(hardware, int(t), waves[:, which[node]], int(seen[node]))
    groups, variance = align(hardware, target)
    return Reached(min(float(np.hypot(reached(hardware, target), np.sqrt(variance))), 1.0), groups)


def reached(hardware: MeshHardware, target: Array) -> float:
    """How far a mesh is from `target` (N, N), by powers at its ports: a lower bound of `unitary.error`.

    Row n of the target, sent in conjugate, is to leave on output n alone, and column m, sent into the outputs, on input
    m. What comes there says how near the rows are up to a phase each, and the columns; the larger error is returned.
    """
    check(hardware, MeshHardware, "mesh", "forward", "backward")
    ways = hardware.forward(target.conj().T, readout="power"), hardware.backward(target.conj(), readout="power")
    return max(_missed(powers) for powers in ways)


def _missed(powers: Array) -> float:
    """How far rows are from those sent in, each up to a phase, by the `powers` (N, N) [output, row] that came."""
    overlap = np.sqrt(np.maximum(np.diagonal(powers), 0.0)).mean()
    return float(np.sqrt(max(1.0 - overlap**2 / max(float(powers.sum(axis=0).mean()), 1e-300), 0.0)))


def align(hardware: MeshHardware, target: Array) -> tuple[int, float]:
    """Set the screen by interference. Returns between how many groups of outputs no reading tells the phase, and the
    mean variance, rad^2, of the phases in the groups, by the noise of the readings.

    Light sent into outputs a and b, with a phase x between them, gives |u_am + e^{ix} u_bm|^2 at every input m, and
    for three x the products u_bm conj(u_am) and so the phase of row b beside that of row a. Rows are compared along the
    tree of those that overlap most; where no row of the target overlaps with those of a group, powers at the ports do
    not depend on the phase between them, and it is left as it is. So it is where what is read may be noise, or light
    that the mesh as it was set sends astray. The noise is known from reading twice: D / 2 of the products' difference D
    is the noise of their mean. Rows that miss theirs by e miss it by e / sqrt(N) at an input, and the product of two by
    sqrt(2) times that."""
    check(hardware, MeshHardware, "mesh", "set_phases", "commanded", "forward", "backward")
    modes = hardware.mesh.modes
    astray = _missed(hardware.forward(target.conj().T, readout="power")) * np.sqrt(2.0 / modes)
    overlap = np.abs(target) @ np.abs(target).T
    turn, variance, joined, groups = np.zeros(modes), np.zeros(modes), [0], 0
    while len(joined) < modes:
        rest = [n for n in range(modes) if n not in joined]
        beside = overlap[np.ix_(joined, rest)]
        at, to = np.unravel_index(int(np.argmax(beside)), beside.shape)
        known, row = joined[int(at)], rest[int(to)]
        if beside[at, to] > OVERLAP:
            one, two = (_product(hardware, known, row) for _ in range(2))
            wanted = target[row] * target[known].conj()
            product = np.sum(wanted * ((one + two) / 2.0).conj())
            noise = _noise(wanted, (one - two) / 2.0)
            if abs(product) > ABOVE_NOISE * max(noise, astray * float(np.linalg.norm(wanted))):
                turn[row] = turn[known] + np.angle(product)
                variance[row] = variance[known] + (noise / abs(product)) ** 2 / 2.0
            else:
                groups += 1
        else:
            groups += 1
        joined.append(row)
    hardware.set_phases(screen=wrapped(hardware.commanded["screen"] + turn))
    return groups, float(variance.mean())


def _noise(wanted: Array, half: Array) -> float:
    """The standard deviation of sum wanted_m product_m, where `half` (N,) is the noise of the products once: what its
    own entries say, and what all together do, of which the larger counts, since light may be brightest in few."""
    weights = np.abs(wanted) ** 2
    own, together = np.sum(weights * np.abs(half) ** 2), np.sum(weights) * np.mean(np.abs(half) ** 2)
    return float(np.sqrt(max(own, together)))


def _product(hardware: MeshHardware, one: int, other: int) -> Array:
    """u_other,m conj(u_one,m) at every input m, by powers of light sent into both outputs."""
    pair = np.zeros((hardware.mesh.modes, len(THIRDS)), complex)
    pair[one], pair[other] = np.sqrt(0.5), np.exp(1j * THIRDS) / np.sqrt(2.0)
    powers = hardware.backward(pair, readout="power")
    product: Array = powers @ (2.0 / 3.0 * np.exp(-1j * THIRDS))
    return product
