"""Twins: what is identified is what was fabricated, from few probes, and what is programmed is what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip import grid
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import command
from l2sim.errors import ChipError, JobError
from l2sim.flow import oracle
from l2sim.job.job import Job
from l2sim.learn.search import mapping
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import noise, program, start
from l2sim.learn.twin import stuck as twin_stuck
from l2sim.mesh.mesh import Mesh
from tests.doubles import PUBLISHED, small_chip

reference = kernels.reference
NOISY = msgspec.structs.replace(PUBLISHED, readout_noise=0.01)


def stream(seed: int = 1) -> Callable[[str], np.random.Generator]:
    return lambda name: generator(seed, name)


def truth(chip: CoreChip) -> twin.Twin:
    """The twin that an observer knows."""
    found = twin.blank(chip.shape[0] * chip.shape[1], chip.mesh)
    found.bias = np.concatenate([chip.oracle_biases(part) for part in "uv"], axis=1)
    found.ratio = np.concatenate([chip._chain[part][0] for part in "uv"], axis=1)
    found.crosstalk[:] = chip.nonidealities.crosstalk
    found.spread[:] = 0.0
    return found


def normal_equations(mesh: Mesh, probes: twin.Probes, known: twin.Twin, rewrap: bool) -> tuple:
    """`kernels.twin.normal` as the fit calls it."""
    cores, size = len(probes.seen), 4 * mesh.count + 1
    out = np.empty((cores, size, size)), np.empty((cores, size)), np.empty(cores)
    kernels.twin.normal(
        probes.drive, probes.sigma, np.ascontiguousarray(probes.light, np.float32), probes.seen.astype(np.float32),
        probes.power, known.ratio, known.bias, known.crosstalk, mesh.around, rewrap, mesh.rail, *out,
    )  # fmt: skip
    return out


def asked(cores: int, k: int) -> int:
    """Evaluations of a core that the first walk identifies: one to warm up, the walk and k + 1 random settings, those
    for the noise, and settings for the attenuators."""
    return 1 + 3 * k + 1 + noise.repeats(cores, k) + k // 2 + 1


# -- the kernels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wraps", (True, False))
@pytest.mark.parametrize("k", (2, 3, 4, 5))
def test_a_twin_that_knows_everything_answers_as_the_chip(k: int, wraps: bool) -> None:
    chip = small_chip((2, 1), k, msgspec.structs.replace(PUBLISHED, heat_wraps=wraps, crosstalk=0.02, exact_sigma=True))
    drive = twin.Drive.of(chip.nonidealities)
    probes = twin.measure(chip, *twin.draw(drive, chip.mesh, 3, generator(2)))
    _, _, misfit = normal_equations(chip.mesh, probes, truth(chip), drive.rewrap)
    assert misfit.max() < 1e-10, "answers are kept in single precision"


@pytest.mark.parametrize("power", (False, True))
@pytest.mark.parametrize("k", (2, 3, 4))
def test_the_normal_equations_are_those_of_the_residual(k: int, power: bool) -> None:
    """Against central differences of the response, by every unknown."""
    chip = small_chip((1, 2), k, msgspec.structs.replace(PUBLISHED, crosstalk=0.0))
    mesh, rng = chip.mesh, generator(3, k)
    known = truth(chip)
    drive, sigma = twin.draw(twin.Drive.of(PUBLISHED), mesh, 3, rng)
    light = rng.normal(size=(3, k, k + 1))
    seen = rng.normal(size=(2, 3, k, k + 1))
    probes = twin.Probes(drive[None], sigma[None], light, seen, power)

    def respond(unknowns: np.ndarray) -> np.ndarray:
        d, out = 2 * mesh.count, np.empty_like(seen)
        parts = unknowns[:, d : 2 * d].copy(), unknowns[:, :d].copy(), unknowns[:, -1].copy()
        kernels.twin.responses(
            probes.drive, probes.sigma, np.ones((1, k)), light, *parts, mesh.around, False, mesh.rail, out
        )
        return (out**2 if power else out).reshape(2, -1)

    at = np.concatenate((known.bias, known.ratio, known.crosstalk[:, None]), axis=1)
    jacobian = np.empty((2, at.shape[1], seen[0].size))
    for i in range(at.shape[1]):
        step = np.zeros_like(at)
        step[:, i] = 1e-5
        jacobian[:, i] = (respond(at + step) - respond(at - step)) / 2e-5
    rest = seen.reshape(2, -1) - respond(at)
    hessian, gradient, misfit = normal_equations(mesh, probes, known, False)
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(misfit, (rest**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.einsum("mij,mj->mi", jacobian, rest), atol=1e-5 * scale)
    np.testing.assert_allclose(hessian, jacobian @ jacobian.swapaxes(1, 2), atol=1e-5 * scale)


# -- the start ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", (2, 3, 4, 5, 6, 7))
def test_the_walk_finds_any_biases_without_knowing_them(k: int) -> None:
    it = Nonidealities(phase_bits=8, phase_bias=np.pi)
    chip = small_chip((3, 3), k, it)
    drive, rng, mesh = twin.Drive.of(it), generator(4, k), chip.mesh
    first = twin.draw(drive, mesh, 1, rng)[0][0]
    walk, signs = start.walk(mesh, twin.away(drive, first, 0.5 * np.pi, rng), first)
    assert len(walk) == (2 * k if k > 2 else 2) and (np.abs(signs) == 1).all()
    probes = twin.measure(chip, walk, signs)
    found = truth(chip)
    found.bias = start.peel(mesh, walk, signs, probes.seen.astype(float), 0.0)
    off = np.mod(found.bias - truth(chip).bias + 0.5 * np.pi, np.pi) - 0.5 * np.pi
    assert np.abs(off).max() < 1e-4
    _, _, misfit = normal_equations(mesh, probes, found, drive.rewrap)
    assert misfit.max() < 1e-6, "half turns that are off belong together: the responses are right"


# -- identification ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", (1.0, np.pi))
@pytest.mark.parametrize("k", (3, 4, 9))
def test_cores_are_identified_within_what_is_stated(k: int, bias: float) -> None:
    chip = small_chip((6, 6) if k < 9 else (4, 4), k, msgspec.structs.replace(NOISY, phase_bias=bias))
    found = twin.identify(chip, chip.nonidealities, stream())
    assert found.identified.all()
    assert (found.evaluations == asked(len(found.misfit), k)).all()
    assert chip.meter.state()["idle"]["evaluations"] == found.evaluations.sum()
    off, pull = oracle.bias_error(chip, found)
    assert 0.8 < np.sqrt(np.mean(pull**2)) < 1.2, "errors are as large as stated"
    assert np.abs(off).max() < 0.1 and np.abs(pull).max() < 6
    known = truth(chip)
    d = found.bias.shape[1]
    assert np.sqrt(np.mean(((found.ratio - known.ratio) / found.spread[:, d:-1]) ** 2)) < 1.2
    assert np.abs((found.crosstalk - 0.005) / found.spread[:, -1]).max() < 5


@pytest.mark.parametrize("k", (2, 3, 4, 5, 9))
def test_powers_identify_cores_at_any_bias(k: int) -> None:
    """Six evaluations a setting, and no sign of an output is ever seen."""
    it = msgspec.structs.replace(NOISY, phase_bias=np.pi)
    chip = small_chip((3, 3), k, it)
    found = twin.identify(chip, it, stream(), "power")
    assert found.identified.all()
    assert chip.meter.state()["idle"]["core_calls"] == k * found.evaluations.sum()
    aim = mapping.target(chip, generator(9).normal(size=(3 * k, 3 * k)))
    error = programmed(chip, found, aim)[0]
    if k % 2 == 0:  # one sign of a whole core is nobody's to see
        weight = chip.oracle_weights()
        error = np.minimum(error, ((weight + aim.weight) ** 2).sum(axis=(2, 3)) / (weight**2).sum(axis=(2, 3)))
    assert np.median(error) < 8e-4 and error.max() < 5e-3


@pytest.mark.parametrize("k", (4, 5))
def test_heaters_that_are_stuck_are_found_out(k: int) -> None:
    """They answer to nothing: a ratio of none, and their phase as the bias, in the right one of two mirror images.
    Cores that are not identified are probed again and named."""
    it = msgspec.structs.replace(NOISY, stuck=0.02)
    chip = small_chip((8, 8), k, it)
    found = twin.identify(chip, it, stream(), retries=1)
    stuck = np.concatenate([~np.isnan(chip._chain[part][1]) for part in "uv"], axis=1)
    assert 5 < stuck.any(axis=1).sum() < 40
    assert found.identified[~stuck.any(axis=1)].all()
    known = found.identified[:, None] & np.ones_like(stuck)
    assert known[stuck].mean() > 0.7
    assert (found.ratio[known & stuck] == 0.0).all() and (found.ratio[known & ~stuck] > 0.9).all()
    pull = oracle.bias_error(chip, found)[1]
    sure = found.spread[found.identified, : pull.shape[1]] < 0.1  # some MZIs beside a stuck one turn only together
    assert np.sqrt(np.mean(pull[sure] ** 2)) < 1.2 and sure.mean() > 0.95
    assert (found.evaluations[~found.identified] > asked(64, k)).all()


def test_other_heaters_make_good_for_stuck_ones() -> None:
    it = msgspec.structs.replace(NOISY, stuck=0.02)
    chip = small_chip((4, 4), 7, it)
    found = twin.identify(chip, it, stream())
    stuck = np.concatenate([~np.isnan(chip._chain[part][1]) for part in "uv"], axis=1).sum(axis=1).reshape(4, 4)
    aim = mapping.target(chip, generator(9).normal(size=(28, 28)))
    error = programmed(chip, found, aim)[0]
    known = found.identified.reshape(4, 4)
    assert (known & (stuck == 1)).sum() > 3 and error[known & (stuck < 2)].max() < 0.02
    assert np.median(error[stuck > 0]) < 2e-3


@pytest.mark.parametrize("k", (2, 3, 4, 5, 6, 9))
def test_a_stuck_mzi_and_its_mirror_image_give_one_response(k: int) -> None:
    """Without crosstalk, whatever the signs of sigma, where half turns of others make good for it."""
    mesh, rng = Mesh("rectangular", k), generator(1)
    turns, n, signs = twin_stuck.half_turns(mesh), mesh.count, rng.choice([-1.0, 1.0], k)
    assert turns.any() == (k > 2)

    def response(phases: np.ndarray) -> np.ndarray:
        u, v = (reference.matrix(mesh.scatter(half), mesh.mask) for half in (phases[:n], phases[n:]))
        return (u * signs) @ v

    for heater in np.flatnonzero(turns.any(axis=1)):
        phases = rng.uniform(0.0, 2.0 * np.pi, 2 * n)
        image = phases + np.pi * turns[heater]
        image[heater] *= -1.0
        np.testing.assert_allclose(response(image), response(phases), atol=1e-12)


def test_splitter_errors_and_losses_show_and_the_wider_twin_explains_them() -> None:
    """Chosen by the residual: cores of an exact chip stay with the narrow model."""
    it = msgspec.structs.replace(NOISY, splitter_error_std=0.02, loss_db=0.05, phase_bias=np.pi, exact_sigma=True)
    chip = ComplexChip((2, 2), Mesh("rectangular", 5), it, seed=1)
    aim = mapping.target(chip, generator(6).normal(size=(10, 10)))
    wide = twin.identify(chip, it, stream(), retries=0)
    assert wide.wide.all() and wide.identified.all()
    narrow = twin.Twin(**(vars(wide) | {"wide": np.zeros(4, bool)}))
    errors = []
    for known in (narrow, wide):
        told, sigma, _ = program.program(chip.mesh, twin.Drive.of(it), known, aim)
        command(chip, u=told, v=told)
        chip.set_sigma(sigma)
        errors.append(((chip.oracle_weights().real - aim.weight) ** 2).sum() / (aim.weight**2).sum())
    assert errors[1] < 2e-3 and errors[1] < 0.6 * errors[0]
    assert not twin.identify(small_chip(k=5, it=NOISY), NOISY, stream()).wide.any()


def test_large_splitter_errors_are_found_from_the_probes_of_one_walk() -> None:
    """No error at all is a saddle of quadratures, which the fit must not start on."""
    it = msgspec.structs.replace(PRESETS["silicon-push-pull"], splitter_error_std=0.05)
    found = twin.identify(ComplexChip((2, 2), Mesh("rectangular", 7), it, seed=1), it, stream(), retries=0)
    assert found.identified.all() and found.wide.all()


def test_powers_alone_show_splitter_errors_and_losses() -> None:
    """The realistic chip, at any bias, with the probes of an exact one."""
    silicon, k, cores = PRESETS["silicon-push-pull"], 4, 2
    chip = ComplexChip((cores, 1), Mesh("rectangular", k), silicon, seed=1)
    found = twin.identify(chip, silicon, stream(), "power", retries=0)
    assert found.identified.all() and found.wide.all()
    assert np.sqrt(np.mean(oracle.bias_error(chip, found)[1] ** 2)) < 1.5
    aim = mapping.target(chip, generator(9).normal(size=(k * cores, k)))
    told, sigma, _ = program.program(chip.mesh, twin.Drive.of(silicon), found, aim)
    chip.nonidealities = msgspec.structs.replace(silicon, exact_sigma=True)
    command(chip, u=told, v=told)
    chip.set_sigma(sigma)
    seen = chip.oracle_weights().real
    off = np.minimum(*(((seen + sign * aim.weight) ** 2).sum(axis=(2, 3)) for sign in (1.0, -1.0)))
    assert (off / (aim.weight**2).sum(axis=(2, 3))).max() < 5e-3


def test_stated_uncertainties_cover_what_they_should() -> None:
    """Of the errors of 16 x 72 biases about 95 % are within two standard deviations and two in three within one, with
    priors that say something and with none; of ratios likewise."""
    for bias in (1.0, np.pi):
        it = msgspec.structs.replace(NOISY, phase_bias=bias)
        chip = small_chip((4, 4), 9, it)
        found = twin.identify(chip, it, stream())
        pull = np.abs(oracle.bias_error(chip, found)[1])
        assert 0.93 < (pull < 2.0).mean() < 0.98 and 0.6 < (pull < 1.0).mean() < 0.76
        d = 2 * chip.mesh.count
        off = np.abs(found.ratio - truth(chip).ratio) / found.spread[:, d:-1]
        assert 0.92 < (off < 2.0).mean() < 0.98


def test_what_no_twin_models_is_named() -> None:
    it = msgspec.structs.replace(NOISY, single_arm=True)
    chip = ComplexChip((2, 2), Mesh("rectangular", 5), it, seed=1)
    assert not twin.identify(chip, it, stream(), retries=0).identified.any()


def test_voltage_drives_and_heat_that_does_not_wrap() -> None:
    exact = {"splitter_error_std": 0.0, "loss_db": 0.0, "loss_db_std": 0.0}
    silicon = msgspec.structs.replace(PRESETS["silicon-push-pull"], **exact)
    chip = small_chip((4, 4), 5, silicon)
    found = twin.identify(chip, silicon, stream())
    assert found.identified.all()
    aim = mapping.target(chip, generator(6).normal(size=(20, 20)))
    assert np.median(programmed(chip, found, aim)[0]) < 3e-3


def test_two_probes_keep_a_twin_up_to_date() -> None:
    """Biases drift by 0.05 rad (rms): uncorrected, mapping is lost; the mean of the stated errors stays true."""
    chip = small_chip((5, 5), 9, NOISY)
    known = twin.identify(chip, NOISY, stream())
    aim = mapping.target(chip, generator(9).normal(size=(45, 45)))
    chip.nonidealities = msgspec.structs.replace(NOISY, phase_error_std=0.05)
    before = chip.meter.state()["idle"]["evaluations"]
    fresh = twin.track(chip, NOISY, known, 0.05, generator(10), probes=4)
    assert chip.meter.state()["idle"]["evaluations"] - before == 4 * 25
    pull = oracle.bias_error(chip, fresh)[1]
    assert fresh.identified.all() and 0.7 < np.sqrt(np.mean(pull**2)) < 1.3
    stale, tracked = (np.median(programmed(chip, twins, aim)[0]) for twins in (known, fresh))
    assert tracked < 0.2 * stale


# -- programming -------------------------------------------------------------------------------------------------------


def programmed(chip: CoreChip, known: twin.Twin, aim: mapping.Target, **how: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mapping error (p, q) before the sigma chain, as it is and as the twin expects it."""
    chip.nonidealities = msgspec.structs.replace(chip.nonidealities, exact_sigma=True)
    told, sigma, said = program.program(chip.mesh, twin.Drive.of(chip.nonidealities), known, aim, **how)
    command(chip, u=told, v=told)
    chip.set_sigma(sigma)
    above, below = oracle.mapping_error(chip, aim)
    return above / below, said.rounded / (aim.weight**2).sum(axis=(-1, -2))


@pytest.mark.parametrize("k", (3, 4, 9))
def test_levels_chosen_together_beat_levels_chosen_alone(k: int) -> None:
    chip = small_chip((4, 4), k, PUBLISHED)
    aim = mapping.target(chip, generator(7, k).normal(size=(4 * k, 4 * k)))
    alone, _ = programmed(chip, truth(chip), aim, jointly=False)
    together, expected = programmed(chip, truth(chip), aim)
    assert np.median(together) < 0.5 * np.median(alone)
    np.testing.assert_allclose(together, expected, rtol=0.02, atol=1e-9)


def test_continuous_phases_are_programmed_exactly() -> None:
    chip = small_chip((2, 2), 5, msgspec.structs.replace(PUBLISHED, phase_bits=0))
    aim = mapping.target(chip, generator(8).normal(size=(9, 10)))
    error, _ = programmed(chip, truth(chip), aim)
    assert error.max() < 1e-12


def test_a_few_noisy_probes_map_to_a_thousandth() -> None:
    chip = small_chip((5, 5), 9, NOISY)
    aim = mapping.target(chip, generator(9).normal(size=(45, 45)))
    error, _ = programmed(chip, twin.identify(chip, NOISY, stream()), aim)
    assert np.median(error) < 8e-4 and error.max() < 5e-3


def test_blocks_of_zeros_are_programmed() -> None:
    chip = small_chip((1, 1), 3, PUBLISHED)
    aim = mapping.target(chip, np.zeros((3, 3)))
    told, sigma, said = program.program(chip.mesh, twin.Drive.of(PUBLISHED), truth(chip), aim)
    command(chip, u=told, v=told)
    chip.set_sigma(sigma)
    assert np.abs(grid.respond(chip)).max() < 1e-9 and said.rounded.max() < 1e-9 and said.limit.max() < 1e-9


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_other_meshes_are_refused() -> None:
    with pytest.raises(ChipError, match="rectangular meshes only"):
        twin.identify(small_chip(k=3, kind="triangular"), PUBLISHED, stream())


def test_fields_are_refused() -> None:
    with pytest.raises(ChipError, match="quadratures or powers"):
        twin.identify(small_chip(k=3), PUBLISHED, stream(), "field")


@pytest.mark.parametrize("field, words", (
    ({"chip.mesh": "triangular"}, "cannot do with chip.mesh"),
    ({"chip.readout": "field"}, "cannot do with chip.readout"),
    ({"calibrate.method": "zcd", "map.refine": 3}, "map.refine goes on from a twin"),
))  # fmt: skip
def test_jobs_that_no_twin_can_do(field: dict[str, object], words: str) -> None:
    with pytest.raises(JobError, match=words) as caught:
        Job.preset("digits", {"calibrate.method": "twin"} | field)
    assert "\n" not in str(caught.value)


