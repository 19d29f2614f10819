"""One chunk of a bank, as a worker makes it: a chip of its own is fabricated, calibrated and mapped, and what came out
is written in one file. Its random streams are named by its number, so that it does not matter who makes it, or when."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from l2sim import backend
from l2sim.backend import Array, generator, host
from l2sim.chip import energy
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.meter import Meter
from l2sim.chip.protocol import PARTS, Commands, command
from l2sim.errors import RunError
from l2sim.flow import oracle
from l2sim.flow.l2ight import seek
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities, data_sheet
from l2sim.job.job import Job
from l2sim.learn.search import calibrate as calibration
from l2sim.learn.search import mapping, zeroth
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program as twin_program
from l2sim.mesh.mesh import Mesh
from l2sim.store import tensors
from l2sim.sweep.bank.plan import Bank

FOLDER = "chunks"
"""Where chunks lie in the folder of a bank."""
FILE = "cores.npz"
"""What a chunk's folder holds."""
COUNTS = "counts"
"""The text in it that says what the chip was asked in each stage."""


def folder(number: int) -> str:
    """The folder of a chunk below that of its bank."""
    return f"{FOLDER}/{number:07d}"


def make(bank: Bank, number: int, out: Path, threads: int) -> dict[str, float]:
    """Make a chunk in the folder `out`, unless it is there: nothing then. Its cores, the processor time, s, and the
    most memory that this process ever took, MiB. Raises L2simError."""
    if (out / FILE).exists():
        return {}
    began, job = time.process_time(), jobs.from_dict(bank.job)
    with backend.threads(threads):
        arrays, meter = made(bank, job, number)
    out.mkdir(parents=True, exist_ok=True)
    tensors.write(out / FILE, arrays, {COUNTS: json.dumps(meter.state())})
    return {"cores": len(arrays["error"]), "processor_s": time.process_time() - began, "peak_mib": peak()}


def peak() -> float:
    """The most memory that this process ever had, MiB. Linux knows it; elsewhere that of who started it may count."""
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(path: Path) -> tuple[dict[str, Array], dict[str, dict[str, float]]]:
    """What a chunk's file holds: arrays by core, and counts by stage. Raises RunError."""
    try:
        arrays, texts = tensors.read(path)
        return arrays, msgspec.json.decode(texts[COUNTS], type=dict[str, dict[str, float]])
    except Exception as error:
        line = " ".join(str(error).split())
        raise RunError(f"{path} cannot be read ({line}); delete its folder, and run the same command again") from None


def made(bank: Bank, job: Job, number: int) -> tuple[dict[str, Array], Meter]:
    """Arrays by core (M,) of a chunk, float32: `error`, ||U S V - W||^2 / ||U S V||^2 as realised, NaN where no light
    passes; of twins `misfit` and `identified`; of searches `loss`, the lowest when calibration ended. And its meter."""
    sheet, (first, last) = chip_nonidealities(job), bank.reach(number)
    table = energy.TABLES[job.cost.table]
    meter = Meter(energy.call_seconds(table), energy.wait_seconds(table, 0))
    chip = fabricated_as(sheet, job.calibrate.by(job.chip))(
        (1, last - first), Mesh(job.chip.mesh, bank.k), sheet, seed=job.seed, name=f"bank{number}", meter=meter,
        dtype=backend.float_type(job.precision), device=backend.device(job.device),
    )  # fmt: skip
    blocks = bank.blocks(number)
    side_by_side = blocks.weight.swapaxes(0, 1).reshape(bank.k, -1).astype(chip.dtype)
    put = chip.xp.asarray
    aim = replace(
        mapping.target(chip, side_by_side), outputs=put(blocks.outputs[None]), inputs=put(blocks.inputs[None])
    )
    own = (_by_twin if bank.by == "twin" else _by_search)(chip, aim, job, number)
    above, below = (host(part)[0] for part in oracle.mapping_error(chip, aim))
    error = above / np.where(below > 0.0, below, np.nan)
    return {"error": error.astype(np.float32)} | own, meter


def _by_twin(chip: CoreChip, aim: Target, job: Job, number: int) -> dict[str, Array]:
    """Identify every core, and program it in closed form."""
    sheet, streams = data_sheet(job), partial(generator, job.seed, "twin", number)
    with chip.meter.stage("calibrate"):
        twins = twin.identify(chip, sheet, streams, job.calibrate.by(job.chip))
    with chip.meter.stage("map"):
        commands, sigma, _ = twin_program.program(chip.mesh, twin.Drive.of(sheet), twins, aim)
        put = chip.xp.asarray
        mapped = Commands(*({part: put(a) for part, a in kind.items()} for kind in (commands.phases, commands.signs)))
        command(chip, u=mapped, v=mapped)
        chip.set_sigma(put(sigma))
    return {"misfit": twins.misfit.astype(np.float32), "identified": twins.identified}


def _by_search(chip: CoreChip, aim: Target, job: Job, number: int) -> dict[str, Array]:
    """Calibrate every core to identities, then map it from there, as the stages of a run do."""
    readout, shuffle = job.calibrate.by(job.chip), job.calibrate.method == "zcd"
    with chip.meter.stage("calibrate"):
        way = seek.search(job, job.calibrate, calibration.RESTART_ABOVE, shuffle)
        problem = calibration.problem(chip, readout)
        state = zeroth.start(problem, way, calibration.zero_phases(chip))
        done = 0
        while seek.unfinished([state], job.calibrate, done):
            rng = generator(job.seed, "calibrate", number, done)
            zeroth.together([seek.steps(problem, way, state, job.calibrate, done, rng)])
            done += 1
        loss, rest = host(state.best)[0], calibration.pseudo_identities(chip, state)
        command(chip, u=rest, v=rest)
    with chip.meter.stage("map"):
        way = replace(
            seek.search(job, job.map, mapping.RESTART_ABOVE), threshold_growth=seek.GROWTH,
            error_scale=mapping.error_scale(aim),
        )
        problem = mapping.problem(chip, aim, readout)
        starts = mapping.start_phases(aim, rest if job.map.start == "calibrated" else None)
        state, done = zeroth.start(problem, way, starts), 0
        while seek.unfinished([state], job.map, done):
            rng = generator(job.seed, "map", number, done)
            zeroth.together([seek.steps(problem, way, state, job.map, done, rng)])
            done += 1
        mapped = Commands({part: state.phases(best=True)[part] for part in PARTS}, aim.commands.signs)
        sigma = aim.sigma if readout == "power" else mapping.project(chip, aim, mapped, rest, readout)
        command(chip, u=mapped, v=mapped)
        mapping.keep_better(problem, sigma, aim.sigma)
    return {"loss": loss.astype(np.float32)}

