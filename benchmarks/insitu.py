"""Gradients measured in situ: three meshes commanded, lit and measured, as a training step does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.measure import Bench, Measurement
from l2sim.backend import Array, like
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.insitu import measure
from l2sim.mesh.mesh import Mesh

CHIPS = {
    "exact": Nonidealities(),
    "tap noise": Nonidealities(tap_noise=0.01),
    "tap, port noise": Nonidealities(tap_noise=0.01, io_amplitude_error=0.02, io_phase_error=0.02),
    "loss": Nonidealities(loss_db=0.05),
}


def step(chips: list[MeshChip], x: Array, g: Array) -> Callable[[], None]:
    """New phases, light forward and every gradient by digital subtraction, of each mesh."""
    theta = like(x, np.linspace(0.1, 3.0, chips[0].mesh.count))

    def run() -> None:
        theta[:] += 1e-3
        for chip in chips:
            chip.set_phases(theta=theta, phi=theta)
            chip.forward(x)
            measure(chip, x, g)

    return run


def insitu(bench: Bench) -> Iterator[Measurement]:
    """Three meshes of one size; `work` is samples."""
    rng, device = np.random.default_rng(0), bench.device
    for modes in ((2,) if device.numbers else (8,)) if bench.quick else (16, 64, 128):
        batch = (3 if device.numbers else 32) if bench.quick else 512
        x, g = (device.put(z[0] + 1j * z[1]) for z in rng.standard_normal((2, 2, modes, batch)).astype("f4"))

        def made(imperfect: Nonidealities, modes: int = modes) -> list[MeshChip]:
            return [MeshChip(Mesh("rectangular", modes), imperfect, 1, f"mesh{i}", device=device) for i in range(3)]

        functions = {name: step(made(imperfect), x, g) for name, imperfect in CHIPS.items()}
        for variant, seconds in bench.paired(functions).items():
            sizes = {"modes": modes, "batch": batch}
            yield Measurement("insitu-3-meshes", variant, min(seconds), batch, "samples/s", sizes=sizes)


CASES = (("insitu-3-meshes", insitu),)
