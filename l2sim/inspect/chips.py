"""The chip behind a run, made again from job, seed and what was recorded: targets, actual phases, light."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l2sim.backend import Array
from l2sim.chip import grid as grids
from l2sim.chip.core_chip import PARTS, CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import L2simError
from l2sim.flow import oracle
from l2sim.inspect import rebuild
from l2sim.job.imperfections import chip_nonidealities
from l2sim.mesh.orthogonal import decompose
from l2sim.store import checkpoint as checkpoints

if TYPE_CHECKING:
    from l2sim.inspect.run import Recorded


class Rebuilt:
    """What `Recorded.oracle`, `target` and `field` know; all of it belongs to the run `model`."""

    def __init__(self, model: Recorded) -> None:
        self._model = model
        self._layers: dict[str, rebuild.Cores | MeshChip] = {}
        self._targets: dict[tuple[str, int], dict[str, Any]] = {}
        self._seed: int | None = None

    def _aged(self, chip: CoreChip | MeshChip, layer: str, row: int, step: int | None) -> None:
        """Bring a chip that was just made, core number `row` of its layer, to the clock of `step`."""
        if self._model.drifts(step):
            clock, it = self._model.clock(step), self._model.grids[layer]
            assert self._seed is not None
            history = [(job, self._model.clock(since)) for since, job in self._model.jobs_until(step)]
            wander = rebuild.weather(self._seed, layer, it, [(job, at or 0.0) for job, at in history])
            rebuild.age(chip, rebuild.Row(wander, row), clock or 0.0)

    def _layer(self, layer: str) -> rebuild.Cores | MeshChip:
        model = self._model
        if self._seed is None:
            self._seed = rebuild.chip_seed(model.folder, model.job)
        if layer not in self._layers:
            it = model.grids[layer]
            make = rebuild.mesh_chip if it.whole else rebuild.Cores
            self._layers[layer] = make(model.job, layer, it, self._seed)
        return self._layers[layer]

    def chip(self, layer: str, block: int, step: int | None) -> CoreChip | MeshChip | None:
        """One core or one whole mesh, commanded as it was at `step`; None where nothing was recorded yet, and of a chip
        that is not simulated."""
        model = self._model
        if not model.simulated:
            return None
        imperfect = chip_nonidealities(model.job_at(step))
        held = self._layer(layer)
        if isinstance(held, MeshChip):
            told = model.phases(layer, block, "", step)
            if not told:
                return None
            self._aged(held, layer, 0, step)
            if held.nonidealities != imperfect:
                held.nonidealities = imperfect
            held.set_phases(**{part: told[part] for part in ("theta", "phi", "screen")})
            return held
        if not all(model.phases(layer, block, side, step) for side in (*PARTS, "sigma")):
            return None
        return self.core(layer, block, step, imperfect)

    def made(self, layer: str, block: int, step: int | None, imperfect: Nonidealities) -> CoreChip | MeshChip:
        """A core or a whole mesh of its own, with imperfections of choice, commanded as it was at `step`."""
        if not self._model.grids[layer].whole:
            return self.core(layer, block, step, imperfect)
        held = self.chip(layer, block, step)
        assert isinstance(held, MeshChip)
        made = copy(held)  # it replaces what it changes, but for these
        made._phases, made._wander = dict(held._phases), copy(held._wander)
        made.nonidealities = imperfect
        return made

    def core(self, layer: str, block: int, step: int | None, imperfect: Nonidealities) -> CoreChip:
        """One core with imperfections of choice, commanded as it was at `step`."""
        held, model = self._layer(layer), self._model
        assert isinstance(held, rebuild.Cores)
        told = {side: model.phases(layer, block, side, step) for side in (*PARTS, "sigma")}
        chip, mesh = held.core(block, imperfect), model.grids[layer].mesh
        self._aged(chip, layer, block, step)
        for part in PARTS:
            phases = mesh.scatter(np.asarray(told[part]["theta"], chip.dtype))
            chip.set_phases(**{part: phases[None, None]})
            chip.set_signs(**{part: np.asarray(told[part].get("signs", np.ones(mesh.modes)), chip.dtype)[None, None]})
        chip.set_sigma(np.asarray(told["sigma"]["sigma"], chip.dtype)[None, None])
        return chip

    def shape(self, layer: str) -> tuple[int, int] | None:
        """(out, in) of the weight that a layer of cores is to be; None before it is known."""
        weight = electronic(self._model.folder, layer)
        return None if weight is None else weight.shape

    def oracle(self, layer: str, block: int, side: str, step: int | None) -> dict[str, Any] | None:
        """See `Recorded.oracle`."""
        chip = self.chip(layer, block, step)
        if chip is None:
            return None
        if isinstance(chip, MeshChip):
            return rebuild.mesh_state(chip)
        if side in PARTS:
            return rebuild.core_state(chip, side, self._model.phases(layer, block, side, step)["theta"])
        actual, told = chip.oracle_sigma()[0, 0], self._model.phases(layer, block, "sigma", step)["sigma"]
        return {"actual": {"sigma": actual}, "terms": {"attenuators": {"sigma": actual - told}}}

    def realised(self, layer: str, block: int, step: int | None) -> Array | None:
        """See `Recorded.realised`."""
        chip = self.chip(layer, block, step)
        if chip is None:
            return None
        return chip.oracle_matrix() if isinstance(chip, MeshChip) else np.asarray(chip.oracle_weights()[0, 0])

    def target(self, layer: str, block: int, step: int | None) -> dict[str, Any] | None:
        """See `Recorded.target`."""
        model, it = self._model, self._model.grids[layer]
        if it.whole:
            return None
        n = it.mesh.count
        if model.stage_at(step) == "calibrate":
            told = model.phases(layer, block, "sigma", step)
            if not told:
                return None
            zero = {"theta": np.zeros(n), "signs": np.ones(it.k)}
            return {"matrix": np.diag(told["sigma"]), "u": zero, "v": zero, "sigma": told["sigma"]}
        if (layer, block) not in self._targets:
            weight = electronic(model.folder, layer)
            if weight is None:
                return None
            self._targets[layer, block] = self._decomposed(weight, layer, block)
        return self._targets[layer, block]

    def _decomposed(self, weight: Array, layer: str, block: int) -> dict[str, Any]:
        """Block W = U diag(sigma) V* of a weight, and what realises it on an ideal chip (`learn.mapping.target`)."""
        it = self._model.grids[layer]
        matrix = grids.blocks(weight, it.k)[divmod(block, it.q)]
        u, sigma, v = np.linalg.svd(matrix)
        found: dict[str, Any] = {"matrix": matrix, "sigma": sigma}
        for part, unitary in (("u", u), ("v", v)):
            phases, signs = decompose(it.mesh, unitary[None, None])
            found[part] = {"theta": it.mesh.gather(phases)[0, 0], "signs": signs[0, 0]}
        return found

    def field(self, layer: str, block: int, port: int, step: int | None) -> dict[str, Array] | None:
        """Powers of unit light in one port: `forward` of a whole mesh; of a core in its meshes v, then u."""
        chip = self.chip(layer, block, step)
        if chip is None:
            return None
        if isinstance(chip, MeshChip):
            light = np.zeros((chip.mesh.modes, 1))
            light[port % chip.mesh.modes] = 1.0
            return {"forward": oracle.rows_between(chip.oracle_fields(light))}
        return oracle.core_powers(chip, 0, port) or None


def electronic(folder: Path, layer: str) -> Array | None:
    """The electronic weight of a layer that the run deploys, (out, in); None before it is trained."""
    for name in ("deploy", "pretrain", "latest"):
        path = folder / "checkpoints" / f"{name}.safetensors"
        try:
            weight = _arrays(path, path.stat().st_mtime_ns).get(f"electronic/{layer}.weight")
        except (OSError, L2simError):
            continue
        if weight is not None:
            return weight
    return None


@lru_cache(maxsize=2)
def _arrays(path: Path, stamp: int) -> dict[str, Array]:
    return {name: a for name, a in checkpoints.read(path)[0].arrays.items() if name.startswith("electronic/")}
