"""FLOPS and MixedTrn step by step as the published program takes them (`legacy`): every loss, all phases at the end.

The program commits phases without their bias, although light saw it in the first reading. So the chip here has no bias,
and shows the recorded matrices until a part of it is first commanded.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import Commands
from l2sim.learn.protocols import Coordinate, Flops, MixedTrn, Phases
from l2sim.mesh import reference
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network
from l2sim.nn.losses import cross_entropy
from l2sim.nn.photonic import PhotonicWeight
from tests.goldens import PARTS, golden
from tests.tolerances import TRAJECTORY

SPECS = {
    "mlp": models.ModelSpec(
        "mlp", (16,), 4, (models.Linear(8, k=4), models.ReLUN(6), models.Linear(4, k=4)),
    ),
    "cnn": models.ModelSpec(
        "cnn", (1, 8, 8), 4,
        (models.Conv(4, 3, 2, 1, k=4), models.BatchNorm(), models.ReLUN(6), models.Conv(3, 3, 2, 1, k=4),
         models.BatchNorm(), models.ReLUN(6), models.Flatten(), models.Linear(4, k=4)),
    ),
}  # fmt: skip
LETTERS = dict(PARTS) | {"s": "S"}
RUNS = sorted({"/".join(key.split("/")[:2]) for key in golden("zo_baselines") if "_n" in key or "_ps" in key})


def recorded(run: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{run}/"): a for key, a in golden("zo_baselines").items() if key.startswith(f"{run}/")}


def assembled(run: str) -> tuple[Phases, dict[str, str]]:
    """The recorded network on chips, and the program's name of every layer."""
    z, kind = recorded(run), run.partition("/")[0]
    theirs = list(dict.fromkeys(key.split("/")[1] for key in z if key.startswith("init/")))
    names: dict[str, str] = {}
    attenuators: dict[str, np.ndarray] = {}

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        names[name] = theirs[len(names)]
        init = {key.rpartition("/")[2]: a for key, a in z.items() if key.startswith(f"init/{names[name]}/")}
        mesh = Mesh("rectangular", k, inner_signs=True)
        it = Nonidealities(phase_bits=8, gamma_std=0.002, crosstalk=0.005, exact_sigma=True)
        chip = CoreChip(init["S"].shape[:2], mesh, it, seed=0)
        for part, letter in PARTS:
            gamma = mesh.gather(reference.from_compact(mesh, init[f"noisy_gamma_{letter}"])).reshape(-1, mesh.count)
            chip._heaters[part] = dataclasses.replace(chip._heaters[part], gamma=(gamma - GAMMA) / 0.002)
        chip.nonidealities = it
        signs = {part: np.sign(init[f"delta_list_{letter}"]) for part, letter in PARTS}
        phases = {part: reference.from_compact(mesh, init[f"phase_{letter}"]) for part, letter in PARTS}
        chip.set_signs(**signs)
        chip.set_phases(**phases)
        attenuators[f"{name}.gain"], attenuators[f"{name}.phase"] = init["S_scale"], init["phase_S"]
        sigma = init["S_scale"] * np.cos(init["phase_S"])
        told = Commands(phases, signs)
        weight = PhotonicWeight(chip, out_features, in_features, told, told, sigma)
        chip.set_sigma(init["S"])
        for part, letter in PARTS:
            chip._matrices[part] = init[letter].reshape(-1, k, k)
        chip._weight_grid = None
        return weight

    spec = SPECS[kind]
    net = network.build(spec, make_weight)
    assert list(net.weights) == list(names) and len(names) == len(theirs)
    return Phases(net, attenuators), names


class Spy:
    """The objective, and every loss it has told."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def __call__(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = cross_entropy(logits, labels)
        self.losses.append(float(loss))
        return loss, gradient


def check(phases: Phases, names: dict[str, str], z: dict[str, np.ndarray], when: str) -> None:
    for name, parts in phases.values.items():
        mesh = phases.network.weights[name].hardware.mesh
        for part, found in parts.items():
            wanted = z[f"{when}/{names[name]}/phase_{LETTERS[part]}"]
            ours = found if part == "s" else reference.to_compact(mesh, found)
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=TRAJECTORY, err_msg=f"{name}.{part} {when}")


@pytest.mark.parametrize("run", [run for run in RUNS if "flops" in run])
def test_flops(run: str) -> None:
    z, (phases, names) = recorded(run), assembled(run)
    samples = int(run.rpartition("_n")[2])
    drawn = iter(sorted(key for key in z if key.startswith("pert") and key != "pert_order"))
    told = iter(z["pert_order"].tolist())

    def draw(rng: object, normal: bool) -> dict[str, dict[str, np.ndarray]]:
        out: dict[str, dict[str, np.ndarray]] = {}
        for name, parts in phases.values.items():
            mesh, out[name] = phases.network.weights[name].hardware.mesh, {}
            for part, now in parts.items():
                label, flat = next(told), z[next(drawn)] / 0.1
                assert names[name] in label and f"phase_{LETTERS[part]}" in label
                shape = now.shape if part == "s" else (*now.shape[:2], mesh.count)
                flat = flat.reshape(shape)
                out[name][part] = flat if part == "s" else reference.from_compact(mesh, flat)
        return out

    phases.draw = draw  # type: ignore[method-assign]
    spy = Spy()
    step = Flops(phases, spy, std=0.1, samples=samples, legacy=True)
    kind = run.partition("/")[0]
    x, y = golden("zo_baselines")[f"{kind}/x"], golden("zo_baselines")[f"{kind}/y"]
    for number in range(2):
        scalars = step(x, y, generator(1), 2.0)
        assert scalars["loss"] == pytest.approx(float(z[f"step{number}_loss_returned"]), abs=TRAJECTORY)
        check(phases, names, z, f"after{number}")
    np.testing.assert_allclose(spy.losses, z["losses_in_call_order"], rtol=0, atol=TRAJECTORY)
    assert next(drawn, None) is None


@pytest.mark.parametrize("run", [run for run in RUNS if "mixedtrn" in run])
def test_mixedtrn(run: str) -> None:
    z, (phases, names) = recorded(run), assembled(run)
    coordinates: list[Coordinate] = []
    for name, parts in phases.values.items():
        mesh = phases.network.weights[name].hardware.mesh
        for part, now in parts.items():
            places = np.arange(now.size).reshape(now.shape)
            compact = places.ravel() if part == "s" else reference.to_compact(mesh, places).ravel()
            order = z[f"mask/{names[name]}/phase_{LETTERS[part]}"]
            coordinates += [(name, part, int(compact[place])) for place in order]
    spy = Spy()
    step = MixedTrn(phases, spy, coordinates=coordinates, skipped=0.0, legacy=True)
    kind = run.partition("/")[0]
    step(golden("zo_baselines")[f"{kind}/x"], golden("zo_baselines")[f"{kind}/y"], generator(1), 0.0245)
    np.testing.assert_allclose(spy.losses, z["losses_in_call_order"], rtol=0, atol=TRAJECTORY)
    check(phases, names, z, "after")
