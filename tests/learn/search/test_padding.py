"""Ports that a matrix does not fill: nobody reads or lights them, so mapping does not care what they do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l2sim import backend
from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.flow import oracle
from l2sim.learn.search import mapping, zeroth
from l2sim.learn.search.zeroth import Search
from l2sim.mesh.mesh import Mesh
from tests.device import host, put
from tests.doubles import PUBLISHED, Sealed, random_commands, small_chip

ROWS, COLUMNS = 7, 10
"""A matrix on 2 x 3 cores of k = 4: one row and two columns of padding."""


def task(it: Nonidealities = PUBLISHED, **options: object) -> tuple[CoreChip, mapping.Target]:
    chip = small_chip((2, 3), 4, it, **options)
    return chip, mapping.target(chip, generator(3).normal(size=(ROWS, COLUMNS)))


def test_only_the_ports_of_the_matrix_enter_the_loss() -> None:
    chip, aim = task()
    problem = mapping.problem(chip, aim)
    commands = random_commands(chip, generator(1))
    chip.set_phases(**commands.phases)
    wrong = chip.oracle_weights().transpose(0, 2, 1, 3).reshape(8, 12)[:ROWS, :COLUMNS]
    wanted = np.zeros((8, 12))
    wanted[:ROWS, :COLUMNS] = (wrong - generator(3).normal(size=(ROWS, COLUMNS))) ** 2
    np.testing.assert_allclose(problem.loss(), wanted.reshape(2, 4, 3, 4).sum(axis=(1, 3)) / 16, rtol=1e-12)
    above, below = oracle.mapping_error(chip, aim)
    np.testing.assert_allclose(above, wanted.reshape(2, 4, 3, 4).sum(axis=(1, 3)), rtol=1e-12)
    np.testing.assert_allclose(below, (chip.oracle_weights() ** 2).sum(axis=(-1, -2)), rtol=1e-12)


def test_whole_blocks_have_no_padding() -> None:
    chip = small_chip((2, 3), 4)
    aim = mapping.target(chip, np.ones((8, 12)))
    assert aim.outputs is None and aim.inputs is None


@pytest.mark.parametrize("rule", ["zcd", "ztp"])
@pytest.mark.parametrize("by_column", [True, False])
def test_the_fused_sweep_leaves_the_padding_out_as_the_public_path_does(rule: str, by_column: bool) -> None:
    found = []
    for seal in (lambda c: c, Sealed):
        chip, aim = task()
        problem = mapping.problem(seal(chip), aim)
        state = zeroth.start(problem, Search(rule), mapping.start_phases(aim, None))
        for part in "uv":
            order = np.arange(chip.mesh.columns if by_column else chip.mesh.count)
            zeroth.descend(rule, problem, state, part, order, by_column=by_column)
        np.testing.assert_allclose(problem.loss(), state.loss, atol=1e-12)
        found.append((state.u, state.v, state.loss, chip.meter.state()["idle"]["evaluations"]))
    for one, two in zip(*found):
        np.testing.assert_allclose(one, two, atol=1e-11)


def test_a_device_leaves_the_padding_out_too() -> None:
    chip, aim = task()
    there = small_chip((2, 3), 4, device=backend.device("cuda"))
    problem = mapping.problem(chip, aim)
    start = mapping.start_phases(aim, None)
    order, lr = np.arange(chip.mesh.count), np.full((2, 3), 0.1)
    for hardware in (chip, there):
        hardware.set_phases(**start)
        hardware.set_signs(**aim.commands.signs)
        hardware.set_sigma(aim.sigma)
    for part in "uv":
        phases, loss = chip.descend(
            part, "zcd", problem.gain, aim.weight, order, lr, problem.loss(), outputs=aim.outputs
        )
        others = (put(a) for a in (problem.gain, aim.weight, order, lr, problem.loss()))
        gain, weight, _, steps, before = others
        seen, there_loss = there.descend(part, "zcd", gain, weight, order, steps, before, outputs=put(aim.outputs))
        np.testing.assert_allclose(host(seen), phases, atol=1e-10)
        np.testing.assert_allclose(host(there_loss), loss, atol=1e-12)


def test_noise_of_unread_ports_is_not_read() -> None:
    """Readings of many equal cores with one port left out: distributed alike on the fused and the public path."""
    found = []
    for seal in (lambda c: c, Sealed):
        chip = CoreChip((1, 4000), Mesh("rectangular", 3), Nonidealities(readout_noise=0.05), seed=1)
        hardware = seal(chip)
        target = np.zeros((1, 4000, 3, 3))
        target[..., :2, :2] = [[0.8, 0.1], [0.2, 0.5]]
        hardware.set_sigma(np.broadcast_to([1.0, 0.6, 0.3], (1, 4000, 3)))
        ports = np.broadcast_to([1.0, 1.0, 0.0], (1, 4000, 3))
        problem = zeroth.Problem(hardware, ports, target, outputs=ports)
        state = zeroth.start(problem, Search("zcd"), {p: np.full((1, 4000, *chip.mesh.shape), 0.2) for p in "uv"})
        for part in "uv":
            zeroth.descend("zcd", problem, state, part, np.arange(3))
        found.append(state.loss.ravel())
    assert stats.ks_2samp(*found).pvalue > 1e-4
    assert found[0].mean() == pytest.approx(found[1].mean(), rel=0.05)


def test_the_projection_never_ends_farther_from_the_matrix() -> None:
    """With calibrated meshes, whatever the padding shows."""
    chip, aim = task(Nonidealities())
    mapped = aim.commands
    rest_phases = {part: np.zeros_like(a) for part, a in mapped.phases.items()}
    rest = type(mapped)(rest_phases, {part: np.ones_like(a) for part, a in mapped.signs.items()})
    off = {part: a + 0.3 * generator(5, part).normal(size=a.shape) for part, a in mapped.phases.items()}
    mapped = type(mapped)(off, mapped.signs)
    problem = mapping.problem(chip, aim)
    command(chip, u=mapped, v=mapped)
    before = problem.loss()
    chip.set_sigma(mapping.project(chip, aim, mapped, rest))
    after = problem.loss()
    assert (after <= before + 1e-12).all() and (after < 0.9 * before).any()
    found = oracle.projection(chip, aim)
    np.testing.assert_allclose(found, mapping.project(chip, aim, mapped, rest), atol=1e-9)


def test_what_nobody_reads_is_free_to_help() -> None:
    """A block of which one row counts is mapped better than one of which all do."""
    errors = []
    for rows in (1, 4):
        chip = small_chip((1, 8), 4, PUBLISHED)
        aim = mapping.target(chip, generator(2).normal(size=(4, 32))[:rows])
        problem = mapping.problem(chip, aim)
        state = zeroth.start(problem, Search("zcd"), mapping.start_phases(aim, None))
        for _ in range(30):
            zeroth.zcd(problem, Search("zcd"), state, generator(0))
        errors.append(float((state.best * mapping.error_scale(aim)).mean()))
    assert errors[0] < 0.5 * errors[1]
