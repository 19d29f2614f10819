"""The settings at which the MZIs of a mesh cross, found from powers at its ports although no phase is known.

Where one way only leads from an input to an output, the power that comes through is the product of what each MZI on
that way lets through, |T21|^2 = a + b cos(theta + offset) where the light crosses, |T11|^2 where it stays on its rail:
three readings of each theta tell where it is largest, whatever the others are. MZIs that are known then cross, or stay,
so that there is one way only through others. So the diagonals of a rectangle are peeled off from the outside, and units
of a cascade one after the other. This is how MZIs of meshes are characterised in the laboratory (Harris et al., Nature
Photonics 11, 447 (2017), supplement); the search for ways in any layout is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip.protocol import MeshHardware
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

THIRDS = 2.0 * np.pi / 3.0 * np.arange(3)
"""Three phases tell a constant, a cosine and a sine apart."""
SWEEPS = 2
"""A way is dim until its MZIs are set, so that noise hides the first readings; the second sweep has all the light."""
STARTS, BRIGHT = 6, 0.5
"""Where MZIs happen to begin almost dark, light that leaks through others outshines the way: then it is tried again
from other phases, until more than this share of the light comes through. Both are ours."""


class Way(NamedTuple):
    """The only way from an input to an output, through `nodes`, of which it crosses those in `crosses`. `bars` (s,) are
    the known nodes that stay on their rails meanwhile."""

    enters: int
    leaves: int
    nodes: list[int]
    crosses: list[bool]
    bars: Array


def crossings(hardware: MeshHardware) -> Array:
    """theta (s,), rad, at which each node of a mesh crosses, found by some 6 readings of a power each.

    A node is an MZI, or one with a crossing behind it, and then crosses where its MZI does not. Whatever the splitters,
    what is found is where most light crosses. Changes the phases commanded. ChipError where the MZIs of this layout
    cannot be told apart.
    """
    mesh = hardware.mesh
    theta = np.full(len(mesh.sites[0]), np.pi if mesh.node == "crossing" else 0.0)  # right where there are no offsets
    for way in ways(mesh):
        draw = generator(0, "crossings", way.enters, way.leaves)
        best, power = theta, -1.0
        for start in range(STARTS):
            begin = theta.copy()
            if start:
                begin[way.nodes] = draw.uniform(0.0, 2.0 * np.pi, len(way.nodes))
            brought, through = brightest(hardware, way, begin)
            if through > power:
                best, power = brought, through
            if power > BRIGHT:
                break
        theta = best
    return theta


def brightest(hardware: MeshHardware, way: Way, theta: Array) -> tuple[Array, float]:
    """From theta (s,) at which nodes cross, those at which most light takes a way, and the power that does."""
    shifters = np.flatnonzero(hardware.mesh.active)
    stays = way.bars.copy()
    stays[way.nodes] = ~np.array(way.crosses)
    now = theta + np.pi * stays
    light = np.zeros((hardware.mesh.modes, 1), complex)
    light[way.enters] = 1.0
    for node in way.nodes * SWEEPS:
        powers = np.empty(3)
        for i, angle in enumerate(now[node] + THIRDS):
            now[node] = angle
            command(hardware, shifters, now)
            powers[i] = hardware.forward(light, readout="power")[way.leaves, 0]
        wave = np.exp(1j * THIRDS) @ powers
        now[node] += float(np.angle(wave)) - THIRDS[2]
    return now - np.pi * stays, float(powers.mean() + 2.0 / 3.0 * np.abs(wave))


def command(hardware: MeshHardware, shifters: Array, theta: Array) -> None:
    """Set theta (s,) of the nodes; all other phases are zero."""
    whole = np.zeros(hardware.mesh.count)
    whole[shifters] = theta
    hardware.set_phases(theta=whole, phi=np.zeros(hardware.mesh.count), screen=np.zeros(hardware.mesh.modes))


def ways(mesh: Mesh) -> Iterator[Way]:
    """Ways through all nodes of a mesh, each with nodes that no way before it had."""
    _, top, bottom = mesh.sites
    known = np.zeros(len(top), bool)
    edges = (top == 0) | (bottom == mesh.modes - 1)
    while not known.all():
        before = int(known.sum())
        for kept in (np.zeros(len(top), bool), edges & (bottom == mesh.modes - 1), edges & (top == 0), edges):
            bars = kept & known
            for way in single(top, bottom, mesh.modes, known, bars):
                if not known[way.nodes].all():
                    known[way.nodes] = True
                    yield way
        if int(known.sum()) == before:
            raise ChipError(
                f"the MZIs of a {mesh.kind} mesh of unknown phases cannot be told apart from powers at its ports; use "
                f"a rectangular mesh or a cascade"
            )


def single(top: Array, bottom: Array, modes: int, known: Array, bars: Array) -> list[Way]:
    """From every input the only ways to an output, if there are any: known nodes stay where `bars`, else cross; through
    unknown ones light takes both ways."""
    counts = np.zeros((len(top) + 1, modes, modes), np.int8)  # before each node: ways from input (first) to rail
    counts[0] = np.eye(modes)
    for t, (i, j) in enumerate(zip(top, bottom)):
        counts[t + 1] = counts[t]
        if not known[t]:
            both = np.minimum(counts[t][:, i] + counts[t][:, j], 2)
            counts[t + 1][:, i] = counts[t + 1][:, j] = both
        elif not bars[t]:
            counts[t + 1][:, [i, j]] = counts[t][:, [j, i]]
    only = []
    for enters, leaves in zip(*np.nonzero(counts[-1] == 1)):
        rail, nodes, crosses = leaves, [], []
        for t in range(len(top) - 1, -1, -1):
            if rail not in (top[t], bottom[t]):
                continue
            other = bottom[t] if rail == top[t] else top[t]
            crossed = not bars[t] if known[t] else counts[t][enters, other] == 1
            if not known[t]:
                nodes.append(t)
                crosses.append(bool(crossed))
            if crossed:
                rail = other
        if nodes:
            only.append(Way(int(enters), int(leaves), nodes[::-1], crosses[::-1], bars))
    return sorted(only, key=lambda way: len(way.nodes))
