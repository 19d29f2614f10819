"""Heaters and their heat beyond the published chain, against slow definitions."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import fabrication, grid
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.parts import heat
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.wiring import wiring
from tests.tolerances import kernel

EXACT = kernel(np.float64)
TAU = 2.0 * np.pi
PUBLISHED = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.02, heat_wraps=False)
SILICON = msgspec.structs.replace(PRESETS["silicon-push-pull"], splitter_error_std=0.0, loss_db=0.0, loss_db_std=0.0)
OWN = {"bend": 0.05, "bend_std": 0.01, "heater_inl": 0.004}
FAR = {"crosstalk_range": 1.5, "crosstalk_pairs": 0.5, "die_heat": 0.01}


def sheet(base: Nonidealities = PUBLISHED, **fields: Any) -> Nonidealities:
    return msgspec.structs.replace(base, **fields)


# -- which heaters share heat ------------------------------------------------------------------------------------------


def kappa(a: tuple[float, float], b: tuple[float, float], reach: float) -> float:
    """The law of distance between two places (column, rail)."""
    distance = math.hypot(math.sqrt(3.0) * (a[0] - b[0]), a[1] - b[1]) / 2.0
    return math.exp(-(distance - 1.0) / reach)


def slow_law(layout: Any, it: Nonidealities, single: bool) -> np.ndarray:
    """K (n, n) one pair at a time; heat of j to i."""
    n = len(layout.column)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            ends = [[(layout.column[t], layout.top[t]), (layout.column[t], layout.bottom[t])] for t in (i, j)]
            if not it.crosstalk_arms:
                out[i, j] = kappa(ends[0][0], ends[1][0], it.crosstalk_range)
                continue
            arms = [(1.0, ends[0][0])] + ([(-1.0, ends[0][1])] if ends[0][0] != ends[0][1] else [])
            heated = [(1.0, ends[1][0])]
            if not single and ends[1][0] != ends[1][1]:
                heated = [(0.5, ends[1][0]), (-0.5, ends[1][1])]
            out[i, j] = sum(s * w * kappa(to, of, it.crosstalk_range) for s, to in arms for w, of in heated)
    return it.crosstalk * out


def whole(around: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Lists of neighbours as a matrix (n, n)."""
    out = np.zeros((len(around), len(around)))
    for i, (near, share) in enumerate(zip(around, shares)):
        out[i, near[near >= 0]] = share[near >= 0]
    return out


@pytest.mark.parametrize("kind", ("rectangular", "triangular"))
def test_the_six_neighbours_are_those_at_distance_one(kind: str) -> None:
    mesh = Mesh(kind, 7)
    far, near = (heat.law(mesh, sheet(crosstalk_range=reach), False) for reach in (0.5, 0.0))
    ring = whole(*far) / 0.02
    assert np.array_equal(np.isclose(ring, 1.0), whole(*near) > 0) and (ring < 1.0 + 1e-12).all()
    assert np.array_equal(near[0], mesh.around)


@pytest.mark.parametrize("arms", (False, True))
@pytest.mark.parametrize("single", (False, True))
@pytest.mark.parametrize("layout", (
    Mesh("rectangular", 5), Mesh("triangular", 4), wiring(Mesh("clements", 5)), Mesh("rectangular", 4, phi=True),
))  # fmt: skip
def test_shares_against_their_definition(layout: Any, single: bool, arms: bool) -> None:
    it = sheet(crosstalk_range=1.3, crosstalk_arms=arms)
    np.testing.assert_allclose(whole(*heat.law(layout, it, single)), slow_law(layout, it, single), atol=1e-15)


def test_heat_reaches_arms_with_both_signs_and_falls_with_distance() -> None:
    mesh = Mesh("rectangular", 8)
    both = whole(*heat.law(mesh, sheet(crosstalk_range=1.0, crosstalk_arms=True), True))
    assert (both > 1e-4).any() and (both < -1e-4).any()
    plain = whole(*heat.law(mesh, sheet(crosstalk_range=1.0), True))
    assert np.allclose(plain, plain.T) and (plain >= 0).all()
    assert not heat.law(mesh, sheet(crosstalk=1e-5, crosstalk_range=1.0), True)[0].size
    short = heat.law(Mesh("rectangular", 32), sheet(crosstalk_range=0.2), True)[0]
    assert short.shape[1] < 60, "what is too far is left out"


def test_arms_need_a_law_of_distance() -> None:
    with pytest.raises(ChipError, match="crosstalk_range above 0"):
        CoreChip((1, 1), Mesh("rectangular", 4), sheet(crosstalk_arms=True), seed=1)


# -- the chain ---------------------------------------------------------------------------------------------------------


def slow_phases(
    layout: Any, heaters: fabrication.Heaters, fine: heat.Fine, it: Nonidealities, commanded: np.ndarray, single: bool
) -> np.ndarray:
    """The phases of one mesh (n,), heater by heater."""
    ratio, fixed, bias, _, lsb, levels, thresholds, _, wraps = fabrication.chain_parameters(
        layout, heaters, it, np.dtype(float)
    )
    n = len(commanded)
    own, codes = np.zeros(n), it.driver().codes
    last = 2 ** (it.phase_bits or 16) - 1
    for i in range(n):
        q = commanded[i] % TAU
        if it.drive == "voltage":
            at = int(np.searchsorted(thresholds, q, side="left"))
            q, u = levels[at], codes[at] / last
        else:
            q = lsb * np.rint(q / lsb) if lsb else q
            u = q / TAU
        psi = TAU * fine.psi[0, i]
        off = it.heater_inl * (math.cos(psi) * math.sin(math.pi * u) + math.sin(psi) * math.sin(TAU * u))
        if it.drive == "voltage":
            q += it.phase_of((u + off) * it.v_max) - it.phase_of(u * it.v_max)
        else:
            q += TAU * off
        bend = it.bend + it.bend_std * fine.bend[0, i]
        own[i] = ratio[0, i] * q * (1.0 - bend * abs(q) / TAU)
        own[i] = own[i] if np.isnan(fixed[0, i]) else fixed[0, i]
        own[i] = own[i] % TAU if wraps else own[i]
    if it.crosstalk_range:
        shares = slow_law(layout, it, single)
    else:
        shares = whole(layout.around, np.where(layout.around >= 0, it.crosstalk, 0.0))
    pairs = generator(int(fine.pairs[0]), "pairs").uniform(-1, 1, (n, n))
    shares = shares * (1.0 + it.crosstalk_pairs * pairs)
    return own + shares @ own + it.die_heat * fine.die[0] * own.mean() / np.pi + bias[0]


SHEETS = (
    sheet(**OWN), sheet(**FAR), sheet(**OWN, **FAR, crosstalk_arms=True), sheet(crosstalk_pairs=0.3),
    sheet(**OWN, **FAR, heat_wraps=True, stuck=0.1, dead=0.1), sheet(SILICON, **OWN, **FAR),
    sheet(SILICON, **OWN, curve=(), curve_volts=()), sheet(heater_inl=0.01, phase_bits=0),
)  # fmt: skip


@pytest.mark.parametrize("it", SHEETS)
def test_cores_against_the_definition(it: Nonidealities) -> None:
    chip = CoreChip((2, 2), Mesh("rectangular", 5), it, seed=2)
    rng = generator(3)
    phases = rng.uniform(-7, 7, (2, 2, *chip.mesh.shape))
    chip.set_phases(u=phases)
    heaters, fine = fabrication.fabricate(2, "chip", "u", (4, 10)), heat.fabricate(2, "chip", "u", (4, 10))
    seen = chip.mesh.gather(chip.oracle_phases("u")).reshape(4, 10)
    flat = chip.mesh.gather(phases).reshape(4, 10)
    for m in range(4):
        of = [type(a)(*(getattr(a, name)[m : m + 1] for name in a.__dataclass_fields__)) for a in (heaters, fine)]
        np.testing.assert_allclose(seen[m], slow_phases(chip.mesh, *of, it, flat[m], False), atol=2e-6)


@pytest.mark.parametrize("it", (sheet(**OWN, **FAR, crosstalk_arms=True), sheet(SILICON, **OWN, **FAR)))
def test_whole_meshes_against_the_definition(it: Nonidealities) -> None:
    mesh = Mesh("clements", 5)
    chip = MeshChip(mesh, it, seed=2, dtype=float)
    rng, n = generator(3), mesh.count
    chip.set_phases(rng.uniform(0, 7, n), rng.uniform(0, 7, n), rng.uniform(0, 7, 5))
    heaters, fine = (of.fabricate(2, "mesh", "mesh", (1, 2 * n + 5)) for of in (fabrication, heat))
    commanded = np.concatenate([chip.commanded[part] for part in ("theta", "phi", "screen")])
    seen = np.concatenate([chip.oracle_phases()[part] for part in ("theta", "phi", "screen")])
    np.testing.assert_allclose(seen, slow_phases(wiring(mesh), heaters, fine, it, commanded, True), atol=2e-6)


def test_fine_heaters_that_do_nothing_are_the_published_ones() -> None:
    """What is off is the identity: the general chain against the published one, in either precision."""
    for dtype in (np.float32, np.float64):
        for base in (PUBLISHED, SILICON, sheet(stuck=0.2, dead=0.1, heat_wraps=True)):
            chip, other = (CoreChip((2, 2), Mesh("rectangular", 6), base, seed=1, dtype=dtype) for _ in range(2))
            other.nonidealities = sheet(base, bend=1e-300)
            assert chip._heat.plain and not other._heat.plain
            phases = generator(2).uniform(-7, 7, (2, 2, *chip.mesh.shape))
            for one in (chip, other):
                one.set_phases(u=phases)
            np.testing.assert_allclose(chip.oracle_phases("u"), other.oracle_phases("u"), atol=kernel(dtype, 3))


def test_extreme_heaters_stay_in_their_turn() -> None:
    """The most non-linear converter rises all the same, and begins and ends where it should."""
    it = Nonidealities(heater_inl=0.1)
    chip = CoreChip((1, 1), Mesh("rectangular", 8), it, seed=1)
    seen = []
    for q in np.linspace(0.0, TAU * (1 - 1e-12), 200):
        chip.set_phases(u=np.full((1, 1, *chip.mesh.shape), q))
        seen.append(chip.mesh.gather(chip.oracle_phases("u"))[0, 0])
    assert (np.diff(seen, axis=0) > 0).all() and np.abs(seen[0]).max() < 1e-12 and np.abs(seen[-1] - TAU).max() < 1e-9


def test_descent_takes_the_public_path() -> None:
    chip = CoreChip((1, 1), Mesh("rectangular", 4), sheet(**FAR), seed=1)
    assert not grid.fused(chip, "sweep") and grid.fused(chip, "product")
    chip.nonidealities = sheet(lag=0.1)
    assert not grid.fused(chip, "product") and not chip.in_pieces
    chip.nonidealities = PUBLISHED
    assert grid.fused(chip, "sweep") and chip.in_pieces


def test_a_core_of_a_grid_is_made_again_from_its_draws() -> None:
    mesh, it = Mesh("rectangular", 4), sheet(**OWN, **FAR, crosstalk_arms=True)
    chip = CoreChip((2, 2), mesh, it, seed=5, name="conv1")
    phases = generator(1).uniform(0, 6, (2, 2, *mesh.shape))
    chip.set_phases(u=phases)
    draws = fabrication.of_cores(5, "conv1", 4, mesh) | heat.of_cores(5, "conv1", dict.fromkeys("uv", (4, 6)))
    assert chip.oracle_fabrication().keys() <= draws.keys()
    own = CoreChip((1, 1), mesh, it, seed=9, name="other")
    own.refabricate({name: a[3:4] for name, a in draws.items()})
    own.set_phases(u=phases[1:, 1:])
    np.testing.assert_allclose(own.oracle_phases("u")[0, 0], chip.oracle_phases("u")[1, 1], atol=EXACT)


# -- lag ---------------------------------------------------------------------------------------------------------------


LAGGING = sheet(lag=0.03, lag_seconds=2.0, leak_lag=0.2, leak_seconds=50.0, phase_bits=0)


def lagging(kind: str, meter: Meter) -> Any:
    if kind == "core":
        return fabricated_as(LAGGING, "quadrature")((1, 1), Mesh("rectangular", 4), LAGGING, seed=1, meter=meter)
    return MeshChip(Mesh("clements", 4), LAGGING, seed=1, meter=meter, dtype=float)


def command(chip: Any, phase: float) -> None:
    if isinstance(chip, MeshChip):
        chip.set_phases(theta=np.full(6, phase))
    else:
        chip.set_phases(u=np.full((1, 1, *chip.mesh.shape), phase))


def send(chip: Any) -> None:
    chip.forward(np.ones((4, 1)) if isinstance(chip, MeshChip) else np.ones((1, 1, 4, 1)))


def seen(chip: Any) -> np.ndarray:
    """The phases of the heaters that are commanded, as light sees them now."""
    if isinstance(chip, MeshChip):
        return chip.oracle_phases()["theta"]
    return chip.mesh.gather(chip.oracle_phases("u"))[0, 0]


def settled(kind: str, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Own heat and leak of these heaters once all is settled."""
    chip = lagging(kind, Meter())
    chip.nonidealities = sheet(LAGGING, crosstalk=0.0, lag=0.0, leak_lag=0.0)
    command(chip, phase)
    bare = seen(chip)
    chip.nonidealities = sheet(LAGGING, lag=0.0, leak_lag=0.0)
    return bare, seen(chip) - bare


@pytest.mark.parametrize("kind", ("core", "mesh"))
def test_what_is_left_of_the_last_heat(kind: str) -> None:
    chip = lagging(kind, Meter(call_seconds=0.5, settle_seconds=4.0))
    (first, first_leak), (second, second_leak) = settled(kind, 1.0), settled(kind, 3.0)
    command(chip, 1.0)
    send(chip)
    chip.wait(1e6)
    send(chip)
    np.testing.assert_allclose(seen(chip), first + first_leak, atol=1e-9)
    command(chip, 3.0)

    def expected(wait: float) -> np.ndarray:
        own = second + 0.03 * math.exp(-wait / 2.0) * (first - second)
        return own + second_leak + 0.2 * math.exp(-wait / 50.0) * (first_leak - second_leak)

    if kind == "core":
        np.testing.assert_allclose(seen(chip), expected(0.0), atol=1e-9)
    chip.wait(1.5)
    send(chip)
    if kind == "core":
        np.testing.assert_allclose(seen(chip), expected(2.0), atol=1e-9)  # settling is no waiting, the vector is
    else:
        np.testing.assert_allclose(seen(chip), expected(1.5), atol=1e-9)  # as that light saw it
        send(chip)
        np.testing.assert_allclose(seen(chip), expected(2.0), atol=1e-9)


@pytest.mark.parametrize("kind", ("core", "mesh"))
def test_written_twice_without_light_goes_on_from_the_first(kind: str) -> None:
    one, two = (lagging(kind, Meter()) for _ in range(2))
    for chip in (one, two):
        command(chip, 1.0)
        send(chip)
        chip.wait(1e6)
        send(chip)
    command(one, 5.0)
    command(one, 3.0)
    command(two, 3.0)
    for chip in (one, two):
        send(chip)
    np.testing.assert_allclose(seen(one), seen(two), atol=EXACT)


@pytest.mark.parametrize("kind", ("core", "mesh"))
def test_a_resumed_chip_is_one_that_never_stopped(kind: str) -> None:
    chip, other = (lagging(kind, Meter(call_seconds=0.1, settle_seconds=0.2)) for _ in range(2))
    command(chip, 1.0)
    send(chip)
    command(chip, 4.0)
    arrays, values = chip.state()
    other.meter.restore(chip.meter.state())
    other.restore(arrays, values)
    for one in (chip, other):
        one.wait(0.3)
        send(one)
        command(one, 2.0)
    assert np.array_equal(seen(chip), seen(other)) and not np.array_equal(seen(chip), settled(kind, 2.0)[0])


def test_waiting_is_metered_and_makes_what_is_read_right() -> None:
    """The longer a probe waits, the nearer it is to what settled heat shows."""
    gaps = []
    for wait in (0.0, 1.0, 10.0, 1000.0):
        chip = lagging("core", meter := Meter())
        command(chip, 1.0)
        send(chip)
        command(chip, 3.0)
        chip.wait(wait)
        gaps.append(np.abs(seen(chip) - sum(settled("core", 3.0))).max())
        assert meter.clock == wait
    assert sorted(gaps, reverse=True) == gaps and gaps[0] > 1e-3 and gaps[-1] < 1e-9


