"""Twins of whole complex meshes from the powers at their outputs alone: no tap, and no phase of any field is read.

With light of known phase in all inputs, the power at an output is |r x|^2 = sum_ij r_i* r_j x_i* x_j, linear in the
Hermitian r^+ r: N^2 or more fields show every row r of the matrix, up to its phase (lifted phase retrieval). A mesh of
plain MZIs has one decomposition with theta in [0, pi] (Clements et al., Optica 3, 1460 (2016)), whatever phases its
rows have: these are the screen's. So the decomposition of what is seen *is* the effective phases of all MZIs, but for
one thing: theta and -theta differ by a sign of one output and a phase of both,

    T(-theta, phi) = e^{-i theta} diag(1, -1) T(theta, phi + pi),

which phi of the MZIs behind takes up. cos(h + beta) being known for some driven h, beta follows from two settings or
more in closed form, and with it these signs; then phi's biases, MZI after MZI. Levenberg-Marquardt over all output
powers ends it (`twin_mesh.fit`).

Gauge: the phases of the outputs, N numbers. With light in one input at a time the relative phases of the inputs would
be hidden too, N - 1 more: the rank of the Jacobian says so (`tests/test_twin_mesh.py`).

Limit: an elimination divides by amplitudes that get small, and errors of the readings grow with every column. Of random
settings cos theta is off by 2.5, 42 and 440 times the error of the matrix (median, N = 4, 6 and 8), and at N = 16 by
nothing that is of use. The start must be right within some tenths of a radian: of four meshes of N = 4 three are
identified with powers within 1 % of the unit input, of N = 6 two with 0.1 %. Taps (`twin_mesh`) have no such limit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l2sim.backend import Array
from l2sim.chip import unitary
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import MeshHardware
from l2sim.learn.twin_fit import Drive
from l2sim.learn.twin_mesh import FLOOR, MeshTwin, Seen, blank, checked, draw, effective, widest

NEAR = 4
"""Settings that start the fit, each heater within `REACH` rad of the first one: there heater strengths, which are not
known yet, count little, and signs of theta are told apart."""
REACH = 1.0
UNSURE = 0.04
"""Square of the sine of theta below which phi decides its sign."""
FAR = 3
"""Settings beside them, anywhere."""
FIELDS = 2
"""Fields sent at each setting, over the N^2 that lifting needs."""


def identify(hardware: MeshHardware, sheet: Nonidealities, rng: np.random.Generator) -> MeshTwin:
    """Identify a mesh from the powers at its outputs, at seven settings lit by 2 N^2 random fields each; with splitter
    errors too where the rest does not explain what is seen."""
    mesh, drive = checked(hardware, "power"), Drive.of(sheet)
    n, modes = mesh.count, mesh.modes
    q, light = draw(drive, mesh, NEAR + FAR, FIELDS * modes**2, rng)
    light *= rng.uniform(size=light.shape)  # of unit amplitudes the parts of |r_i|^2 are not told apart
    top = 0.97 * min(drive.top, 2.0 * np.pi)
    q[0] = drive.near(np.clip(q[0], REACH, top - REACH))
    q[1:NEAR] = drive.near(q[0] + rng.uniform(-REACH, REACH, (NEAR - 1, 2 * n)))
    read = np.empty((len(q), modes, light.shape[1]))
    for m in range(len(q)):
        told = drive.command(q[m])
        hardware.set_phases(told[:n], told[n:], np.zeros(modes))
        read[m] = hardware.forward(light, readout="power")
    seen = Seen(q, light, read, sheet.shot_noise**2, max(sheet.readout_noise, FLOOR) ** 2)
    start = blank(mesh, sheet, len(q) * light.shape[1])
    phases = effective(mesh, drive, start, q[:NEAR])
    start = replace(start, bias=begin(mesh, phases, rows(light, read[:NEAR])))
    return widest(mesh, drive, sheet, start, seen)


def rows(light: Array, read: Array) -> Array:
    """Powers (S, N, B) of light (N, B) to the unitary matrices (S, N, N) nearest to what is seen, each row up to a
    phase."""
    modes = len(light)
    i, j = np.triu_indices(modes, 1)
    pairs = 2.0 * light[i] * light[j].conj()
    table = np.concatenate((np.abs(light) ** 2, pairs.real, -pairs.imag))  # of H_ii, Re H_ij, Im H_ij; H_ij = r_i r_j*
    found = read @ np.linalg.pinv(table)
    lifted = np.zeros((*read.shape[:2], modes, modes), complex)
    at = np.arange(modes)
    lifted[..., at, at] = found[..., :modes]
    lifted[..., i, j] = found[..., modes : modes + i.size] + 1j * found[..., modes + i.size :]
    lifted[..., j, i] = lifted[..., i, j].conj()
    row = np.linalg.eigh(lifted)[1][..., -1]
    u, _, v = np.linalg.svd(row)
    return u @ v


def begin(mesh: Mesh, phases: Array, seen: Array) -> Array:
    """Biases (2 n,) from matrices (S, N, N), whose rows may have any phase, at settings that would give `phases`
    (S, 2 n) without them."""
    n = mesh.count
    cut = [unitary.decompose(mesh, u) for u in seen]
    theta, phi = np.stack([one.theta for one in cut]), np.stack([one.phi for one in cut])
    bias = np.empty(2 * n)
    for t in range(n):
        h = phases[:, t]
        x, y = np.linalg.lstsq(np.stack((np.cos(h), -np.sin(h)), axis=1), np.cos(theta[:, t]), rcond=None)[0]
        bias[t] = np.arctan2(y, x)
    true = phases[:, :n] + bias[:n]
    late = np.zeros((len(seen), mesh.modes))  # phases by which the rails of the decomposition are behind
    for t, (i, j) in enumerate(zip(mesh.top, mesh.bottom)):
        flipped = np.sin(true[:, t]) * np.sin(theta[:, t]) < 0
        bent = phi[:, t] + late[:, i] - late[:, j] - phases[:, n + t]
        sure = np.sin(true[:, t]) ** 2  # where theta leaves little to interfere, phi means little and so does this sign
        bias[n + t] = np.angle((sure * np.exp(1j * (bent + np.pi * flipped))).sum())
        flipped = np.where(sure < UNSURE, np.cos(bent - bias[n + t]) < 0, flipped)
        both = late[:, j].copy()
        late[:, i] = both - true[:, t] * flipped
        late[:, j] = both + (np.pi - true[:, t]) * flipped
    return bias
