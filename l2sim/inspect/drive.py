"""What heaters are driven with, as a laboratory has it before it: code, volts, milliwatts, and how far to V_max.

All of it follows from the commands and the data sheet of the job; nothing is asked of the chip.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.given import TURN, wrapped
from l2sim.inspect.diagnose import electrical


class Drive(NamedTuple):
    """How heaters are driven, an entry each, NaN where the command is no number.

    `phase` is the command in [0, 2 pi), rad, which is met modulo `turns` of 2 pi. `code` of the converter, from 0 to
    `last`; None where it is continuous. `volts` and the `room` from there to V_max, V; None where the drive is one of
    phases, whose voltages nobody has said. `milliwatts` that hold the phase.
    """

    phase: Array
    turns: Array
    code: Array | None
    last: int
    volts: Array | None
    room: Array | None
    milliwatts: Array


def drive(phases: ArrayLike, imperfect: Nonidealities, pi_w: float) -> Drive:
    """What commanded `phases`, rad, make of the drive of a chip whose heaters take `pi_w`, W, for a phase of pi."""
    commands = np.asarray(phases, float)
    known = np.isfinite(commands)
    phase = wrapped(np.where(known, commands, 0.0))
    turns = np.rint((np.where(known, commands, 0.0) - phase) / TURN)
    code, last, volts, room = None, 0, None, None
    if imperfect.drive == "voltage":
        steps, top = imperfect.codes(phase)
        volts = _told(imperfect.v_max * (steps / top), known)
        room = imperfect.v_max - volts
        code, last = (steps, top) if imperfect.phase_bits else (None, 0)
    elif imperfect.phase_bits:
        code, last = np.rint(phase / imperfect.lsb()), 2**imperfect.phase_bits - 1
    milliwatts = 1e3 * pi_w * electrical(phase, imperfect)[0]
    code = None if code is None else _told(code, known)
    return Drive(_told(phase, known), _told(turns, known), code, last, volts, room, _told(milliwatts, known))


def _told(values: Array, known: Array) -> Array:
    return np.where(known, values, np.nan)


def command(phase: float) -> str:
    """A commanded phase in words: modulo 2 pi, and the turns apart."""
    if not np.isfinite(phase):
        return f"{phase} (no number)"
    rest = float(wrapped(phase))
    turns = round((phase - rest) / TURN)
    apart = f" ({turns:+d} turn{'s' if abs(turns) > 1 else ''})" if turns else ""
    return f"{rest:.4f} rad = {rest / np.pi:.3f} π{apart}"


def words(driven: Drive, at: int) -> str:
    """What one heater is driven with, in words; "" where its command is no number."""
    if not np.isfinite(driven.phase[at]):
        return ""
    said = [f"code {driven.code[at]:.0f} of {driven.last}" if driven.code is not None else "no steps: continuous"]
    if driven.volts is None or driven.room is None:
        said.append("no volts: the drive is one of phases")
    else:
        said += [f"{driven.volts[at]:.3f} V", f"{driven.room[at]:.3f} V below V_max" if driven.room[at] else "at V_max"]
    return " · ".join([*said, f"{driven.milliwatts[at]:.3g} mW"])
