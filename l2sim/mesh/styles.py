"""Where the shifters of an MZI stand: four styles, as conversions to the one the kernels know.

A style says by how much theta and phi drive the four arms: the inner pair, between the splitters, and the outer pair,
in front of them (spec/insitu.md, section 1):

    top           theta and phi on the upper arms: the style of `kernels.propagate`
    bottom        theta and phi on the lower arms
    differential  theta as +-theta/2 on the inner pair, phi as -+phi/2 on the outer pair
    symmetric     theta on the upper inner arm, phi - theta/2 on both outer arms

With inner phases t0, t1 and outer ones p0, p1 an MZI is e^{i (t1 + p1)} T(t0 - t1, p0 - p1). The common phase moves on
to the MZIs behind and at last into the screen (`kernels.program.flow`), so that every style is a linear map to (theta,
phi, screen) of the style "top", and gradients return by its transpose.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.unitary import Settings, checked

# Rows t0, t1, p0, p1; columns theta, phi.
STYLES = {
    "top": ((1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.0, 0.0)),
    "bottom": ((0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0)),
    "differential": ((0.5, 0.0), (-0.5, 0.0), (0.0, -0.5), (0.0, 0.5)),
    "symmetric": ((1.0, 0.0), (0.0, 0.0), (-0.5, 1.0), (-0.5, 1.0)),
}


def drive(style: str) -> tuple[Array, Array, Array]:
    """How (theta, phi) of `style` make theta, phi and the common phase of the style "top": three rows (2,)."""
    if style not in STYLES:
        raise ChipError(f"phase style {style!r} is unknown; use one of {', '.join(STYLES)}")
    t0, t1, p0, p1 = np.array(STYLES[style])
    return t0 - t1, p0 - p1, t1 + p1


def crossed(mesh: Mesh) -> Array:
    """Which couplers are crossings, (n,): phases on the rails pass through these and through MZIs, but no splitter."""
    if mesh.node == "three_splitter":
        raise ChipError(
            "phases on the rails do not pass the splitters in front of three_splitter nodes; use nodes mzi or crossing"
        )
    return ~mesh.active


def to_top(mesh: Mesh, style: str, settings: Settings) -> Settings:
    """The settings of style "top" that give the matrix of `settings` in `style`. Phases are not wrapped."""
    by_theta, by_phi, by_common = drive(style)
    both = np.array((checked(settings.theta, (mesh.count,), "theta"), checked(settings.phi, (mesh.count,), "phi")))
    theta, phi, common = np.array((by_theta @ both, by_phi @ both, by_common @ both)) * mesh.active
    screen = np.array(checked(settings.screen, (mesh.modes,), "the screen"), np.float64)
    ahead = np.zeros(mesh.modes)
    kernels.program.flow(mesh.top, mesh.bottom, crossed(mesh), 0, common, ahead, phi, screen)
    return Settings(theta, phi, screen)


def from_top(mesh: Mesh, style: str, settings: Settings) -> Settings:
    """The settings in `style` with the matrix of `settings` of style "top". ChipError for "symmetric", in which phi is
    no phase between the arms, so that not every matrix can be had."""
    (a, _), (_, b), by_common = drive(style)
    if b == 0.0:
        raise ChipError(f"the phase style {style!r} cannot take every matrix; program the mesh in another style")
    swaps = crossed(mesh)
    theta = checked(settings.theta, (mesh.count,), "theta") / a * mesh.active
    phi, ahead = np.array(checked(settings.phi, (mesh.count,), "phi"), np.float64), np.zeros(mesh.modes)
    for t, (i, j) in enumerate(zip(mesh.top, mesh.bottom)):
        if swaps[t]:
            ahead[i], ahead[j] = ahead[j], ahead[i]
        else:
            phi[t] = (phi[t] - ahead[i] + ahead[j]) / b
            ahead[i] = ahead[j] = ahead[j] + by_common @ (theta[t], phi[t])
    return Settings(theta, phi, checked(settings.screen, (mesh.modes,), "the screen") - ahead)


def gradient(mesh: Mesh, style: str, by: Settings) -> Settings:
    """The gradient by the phases of `style` from the gradient by those of "top": the transpose of `to_top`."""
    by_theta, by_phi, by_common = drive(style)
    common = np.empty(mesh.count)
    phi, screen = (np.array(values, np.float64) for values in (by.phi, by.screen))
    kernels.program.flow_back(mesh.top, mesh.bottom, crossed(mesh), phi, screen, common)
    rows = np.stack((by_theta, by_phi, by_common), axis=1) @ np.array((by.theta, by.phi, common)) * mesh.active
    return Settings(rows[0], rows[1], by.screen)
