"""Calibration by twins in the L2ight flow: identify every core of every layer, then program it.

The method is in `l2sim.learn.twin.identify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from l2sim.backend import Array, host
from l2sim.chip.protocol import Commands, command
from l2sim.errors import RunError
from l2sim.flow import oracle
from l2sim.flow import session as sessions
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.session import Values
from l2sim.job.imperfections import data_sheet
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program as twin_program
from l2sim.mesh.mesh import Mesh
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store.events import Epoch, Event

SAID = "median", "limit", "known"
"""What is said of programmed cores (`Expected`)."""


def calibrate(session: L2ight, done: int) -> Iterator[Event]:
    """Identify the layers one after the other: an epoch each. Rests both meshes of every core at identities."""
    names = list(session.chips)
    yield session.begin("calibrate", len(names), done)
    sheet = data_sheet(session.job)
    for number_, name in list(enumerate(names, 1))[done:]:
        chip = session.chips[name]
        with session.meter.stage("calibrate"):
            streams, readout = partial(session.stream, "twin", name), session.job.calibrate.by(session.job.chip)
            session.twins[name] = twin.identify(chip, sheet, streams, readout)
            session.rest[name] = resting(chip.mesh, session, name)
            command(chip, u=session.rest[name], v=session.rest[name])
        session.step += 1
        misfit = np.concatenate([known.misfit for known in session.twins.values()])
        p10, p50, p90 = (float(p) for p in np.percentile(misfit, (10, 50, 90)))
        scalars = {
            "loss": (mean := float(misfit.mean())), "best": mean, "best_p10": p10, "best_p50": p50, "best_p90": p90,
            "evaluations": float(session.meter.spent("calibrate").evaluations),
            **session.told_cost("calibrate"),
        }  # fmt: skip
        yield Epoch("calibrate", number_, len(names), session.step, scalars, session.told(name))
        yield from sessions.checkpoint(session, "calibrate", number_)
    yield session.finish("calibrate", _result(session), _figures(session))


def resting(mesh: Mesh, session: L2ight, name: str) -> Commands:
    """Commands at which both meshes are identities, each heater at its nearest level."""
    chip, there = session.chips[name], session.chips[name].xp.asarray
    drive = twin.Drive.of(data_sheet(session.job))
    rest = twin_program.identities(mesh, drive, session.twins[name], chip.shape)
    return Commands(*({part: there(a) for part, a in kind.items()} for kind in (rest.phases, rest.signs)))


def program(session: L2ight, name: str) -> twin_program.Expected:
    """Command a layer what its twins need to show its target, take their sigma, and read back: what to expect of it."""
    if name not in session.twins:
        raise RunError("the checkpoint holds no twins; run calibrate again with calibrate.method = 'twin'")
    chip, weight = session.chips[name], session.network.weights[name]
    assert isinstance(weight, PhotonicWeight)
    drive = twin.Drive.of(data_sheet(session.job))
    twins, aim = session.twins[name], session.aims[name]
    commands, sigma, expected = twin_program.program(chip.mesh, drive, twins, aim)
    there = chip.xp.asarray
    mapped = Commands(*({part: there(a) for part, a in kind.items()} for kind in (commands.phases, commands.signs)))
    command(chip, u=mapped, v=mapped)
    chip.set_sigma(there(sigma))
    weight.sigma[...] = there(sigma)
    session.mapped[name] = mapped
    return twin_program.read_back(chip, twins, aim, sigma, expected, session.job.chip.readout)


def expectations(layers: list[twin_program.Expected]) -> Values:
    """What is said of all cores together: means of the expected errors and of their limits, and how many are known."""
    median, limit, known = (np.concatenate([np.ravel(getattr(e, name)) for e in layers]) for name in SAID)
    sure = np.isfinite(median)
    return {
        "expected_error": float(median[sure].mean()) if sure.any() else 0.0,
        "expected_limit": float(limit[sure].mean()) if sure.any() else 0.0,
        "known": int(known.sum()),
        "cores": int(known.size),
    }


def _result(session: L2ight) -> Values:
    every = session.twins.values()
    identified = np.concatenate([known.identified for known in every])
    errors = [oracle.bias_error(session.chips[name], known) for name, known in session.twins.items()]
    off, pull = (np.concatenate([e[i].ravel() for e in errors]) for i in range(2))
    rest = [oracle.identity_error(chip) for chip in session.chips.values()]
    return {
        "cores": int(identified.size),
        "identified": int(identified.sum()),
        "evaluations_per_core": float(np.concatenate([known.evaluations for known in every]).mean()),
        "misfit": float(np.median(np.concatenate([known.misfit for known in every]))),
        "stated_bias_error": float(np.sqrt(np.mean(np.concatenate([_biases(known).ravel() for known in every]) ** 2))),
        "oracle_bias_error": float(np.sqrt(np.mean(off**2))),
        "oracle_bias_pull": float(np.sqrt(np.mean(pull**2))),
        "oracle_identity_error": {
            part: float(np.mean(np.concatenate([host(r[part]).ravel() for r in rest]))) for part in "uv"
        },
    }


def _biases(known: twin.Twin) -> Array:
    return known.spread[:, : known.bias.shape[1]]


def _figures(session: L2ight) -> Values:
    rest = [oracle.identity_error(chip) for chip in session.chips.values()]
    return {"identity_error": {p: np.concatenate([host(r[p]).ravel() for r in rest]).tolist() for p in "uv"}}
