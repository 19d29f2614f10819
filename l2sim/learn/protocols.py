"""Ways to learn on a chip, behind one interface: `step(images, labels, rng, lr)`, one mini-batch (`learn.train.Step`).

    descent   a gradient of sigma and batch norm, however it is come by: subspace learning, sampled or not
    Alignment DFA: the error goes straight from the logits to every layer, by fixed random matrices, not through chips
              (Nøkland, NeurIPS 2016)
    model     PAT: light goes forward on the chip, gradients come from its digital model (Wright et al., Nature 2022)
    Flops     stochastic zeroth-order descent of all phases (Gu et al., DAC 2020)
    MixedTrn  stochastic sparse zeroth-order coordinate descent (Gu et al., AAAI 2021)
    Spsa      simultaneous perturbation, both ways (Spall, IEEE TAC 37, 332 (1992))

The last three command phases of U, V and of the attenuators (sigma = gain cos(phase), the gain staying as it was) and
know of the chip nothing but the loss. Batch norm is in training mode in every evaluation, its affine part is not
trained. `legacy` reproduces the published program, faults included (spec section m, 2); golden data only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from l2sim.backend import CPU, Array, Device, Scalar, Stream, like
from l2sim.chip.complex_core_chip import perfect
from l2sim.chip.protocol import Commands, command
from l2sim.learn.search.mapping import Target
from l2sim.learn.train import Objective
from l2sim.nn.losses import accuracy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

__all__ = ["Alignment", "Flops", "MixedTrn", "Phases", "Spsa", "digital_model"]

ORDER = ("u", "s", "v")
"""Phases of U, of the attenuators and of V, in the order in which they are visited."""

Coordinate = tuple[str, str, int]
"""Layer, part, place in the flattened array of that part."""


# -- gradients by other ways -------------------------------------------------------------------------------------------


class Alignment:
    """Direct feedback alignment of all layers of `network` but the first, which needs no input gradient.

    A layer with inputs x passes back B e instead of its input gradient; e (K, B) is the error at the logits, and the
    entries of B are N(0, 1 / K), drawn once from `stream(layer name)`. Use it as the objective in place of `objective`.
    """

    def __init__(self, network: Network, objective: Objective, stream: Stream) -> None:
        self._objective, self._stream = objective, stream
        self._error: Array | None = None
        self._matrices: dict[str, Array] = {}
        for name, layer in (network.convs | network.linears).items():
            layer.alignment = partial(self._projected, name)

    def __call__(self, logits: Array, labels: Array) -> tuple[Scalar, Array]:
        loss, self._error = self._objective(logits, labels)
        return loss, self._error

    def _projected(self, name: str, shape: tuple[int, ...]) -> Array:
        assert self._error is not None, "the objective is asked before gradients are"
        if name not in self._matrices:
            size = int(np.prod(shape[:-1])), len(self._error)
            drawn = self._stream(name).standard_normal(size) / np.sqrt(size[1])
            self._matrices[name] = like(self._error, drawn.astype(self._error.dtype))
        return (self._matrices[name] @ self._error).reshape(shape)


def digital_model(weight: PhotonicWeight, aim: Target, device: Device = CPU) -> PhotonicWeight:
    """`aim`, what the chip behind `weight` was to become, on a chip without imperfections; for `weight.model`."""
    hardware = weight.hardware
    chip = perfect(hardware.shape, hardware.mesh, dtype=weight.sigma.dtype, device=device)
    still = {part: np.zeros_like(phases) + aim.still for part, phases in aim.commands.phases.items()}
    rest = Commands(still, {part: np.ones_like(signs) for part, signs in aim.commands.signs.items()})
    made = PhotonicWeight(chip, weight.out_features, weight.in_features, aim.commands, rest, weight.sigma.copy())
    command(chip, u=aim.commands, v=aim.commands)
    made.write()
    return made


# -- without gradients -------------------------------------------------------------------------------------------------


@dataclass
class Phases:
    """The phases of a network's chips: by layer and part, (p, q, C, k - 1) of U and V and (p, q, k) of the attenuators.

    They begin as commanded; `weight.mapped` and `weight.sigma` of every layer follow what is committed. `attenuators`
    holds what sigma alone does not tell: `LAYER.gain` (p, q, 1), by which the light of a core is multiplied, max
    |sigma| unless given, and `LAYER.phase` (p, q, k) as last committed.
    """

    network: Network
    attenuators: dict[str, Array] = field(default_factory=dict)
    values: dict[str, dict[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in self._weights():
            weight.mapped = Commands({part: a.copy() for part, a in weight.mapped.phases.items()}, weight.mapped.signs)
            largest = np.abs(weight.sigma).max(axis=-1, keepdims=True)
            gain = self.attenuators.setdefault(f"{name}.gain", np.where(largest > 0, largest, 1.0))
            phase = np.arccos(np.clip(weight.sigma / gain, -1.0, 1.0))
            phases = {part: a.copy() for part, a in weight.mapped.phases.items()}
            phases["s"] = self.attenuators.setdefault(f"{name}.phase", phase).copy()
            self.values[name] = {part: phases[part] for part in ORDER}

    def _weights(self) -> list[tuple[str, PhotonicWeight]]:
        return [(name, w) for name, w in self.network.weights.items() if isinstance(w, PhotonicWeight)]

    def commit(self, values: dict[str, dict[str, Array]] | None = None, only: tuple[str, str] | None = None) -> None:
        """Command `values` (the present ones) to the chips; `only` one part of one layer."""
        for name, weight in self._weights():
            for part, phases in (self.values if values is None else values)[name].items():
                if only is not None and only != (name, part):
                    continue
                if part == "s":
                    weight.sigma[...] = self.attenuators[f"{name}.gain"] * np.cos(phases)
                    self.attenuators[f"{name}.phase"] = phases.copy()
                    weight.write()
                else:
                    weight.mapped.phases[part][...] = phases
                    weight.hardware.set_phases(**{part: phases})

    def draw(self, rng: np.random.Generator, normal: bool) -> dict[str, dict[str, Array]]:
        """A number for every phase: from N(0, 1), or a sign. Places without a heater get zero."""
        out: dict[str, dict[str, Array]] = {}
        for name, weight in self._weights():
            mask: dict[str, Scalar] = {"s": 1.0, "u": weight.hardware.mesh.mask, "v": weight.hardware.mesh.mask}
            out[name] = {}
            for part, phases in self.values[name].items():
                drawn = rng.standard_normal(phases.shape) if normal else rng.choice((-1.0, 1.0), phases.shape)
                out[name][part] = like(phases, (drawn * mask[part]).astype(phases.dtype))
        return out

    def moved(self, by: Mapping[str, Mapping[str, Scalar]], factor: float) -> dict[str, dict[str, Array]]:
        """The present phases plus `factor` times `by`."""
        return {
            name: {part: phases + phases.dtype.type(factor) * by[name][part] for part, phases in parts.items()}
            for name, parts in self.values.items()
        }

    def coordinates(self, frozen: float, rng: np.random.Generator) -> list[Coordinate]:
        """Every attenuator, and of the heaters of the meshes each with probability 1 - `frozen`, layer by layer."""
        places: list[Coordinate] = []
        for name, weight in self._weights():
            for part, phases in self.values[name].items():
                chosen = np.ones(phases.shape, bool)
                if part != "s":
                    chosen = (weight.hardware.mesh.mask > 0) & (rng.random(phases.shape) >= frozen)
                places += [(name, part, int(place)) for place in np.flatnonzero(chosen)]
        return places


@dataclass
class _Blind:
    """What the zeroth-order protocols share: phases, and the loss as all that is known of the chips."""

    phases: Phases
    objective: Objective

    def _read(self, images: Array, labels: Array, rng: np.random.Generator) -> tuple[float, Array]:
        """Loss and logits with what is commanded. Every reading of a step sees the same dropout."""
        logits = self.phases.network.forward(images, train=True, rng=copy.deepcopy(rng))
        return float(self.objective(logits, labels)[0]), logits


@dataclass
class Flops(_Blind):
    """phi <- phi - lr G, G = mean over `samples` of delta (L(phi + delta) - L(phi)) / std^2, delta ~ N(0, std^2).

    (Gu et al., FLOPS, DAC 2020; spec section h.) `legacy`: the first sample is not averaged, and what was learnt is not
    commanded, so that the next step begins at the last perturbation.
    """

    std: float = 0.1
    samples: int = 1
    legacy: bool = False

    def __call__(self, images: Array, labels: Array, rng: np.random.Generator, lr: float) -> dict[str, Scalar]:
        now, logits = self._read(images, labels, rng)
        step: dict[str, dict[str, Scalar]] = {name: dict.fromkeys(p, 0.0) for name, p in self.phases.values.items()}
        shared = copy.deepcopy(rng)
        for number in range(self.samples):
            delta = self.phases.draw(rng, normal=True)
            self.phases.commit(self.phases.moved(delta, self.std))
            rise = self._read(images, labels, shared)[0] - now
            weight = rise / self.std / (1.0 if self.legacy and number == 0 else self.samples)
            for name, parts in delta.items():
                for part, drawn in parts.items():
                    step[name][part] = step[name][part] + weight * drawn
        self.phases.values = self.phases.moved(step, -lr)
        if not self.legacy:
            self.phases.commit()
        return {"loss": now, "accuracy": accuracy(logits, labels)}


@dataclass
class Spsa(_Blind):
    """phi <- phi - lr G, G = mean over `samples` of delta (L(phi + c delta) - L(phi - c delta)) / 2 c, delta signs.

    (Spall 1992, eq. 2.2.) Two readings a sample and none of where it stands: loss and accuracy are of these.
    """

    std: float = 0.1
    samples: int = 1

    def __call__(self, images: Array, labels: Array, rng: np.random.Generator, lr: float) -> dict[str, Scalar]:
        shared = copy.deepcopy(rng)
        step: dict[str, dict[str, Scalar]] = {name: dict.fromkeys(p, 0.0) for name, p in self.phases.values.items()}
        losses, right = [], []
        for _ in range(self.samples):
            delta = self.phases.draw(rng, normal=False)
            for sign in (1.0, -1.0):
                self.phases.commit(self.phases.moved(delta, sign * self.std))
                loss, logits = self._read(images, labels, shared)
                losses.append(loss)
                right.append(float(accuracy(logits, labels)))
            slope = (losses[-2] - losses[-1]) / (2.0 * self.std * self.samples)
            for name, parts in delta.items():
                for part, drawn in parts.items():
                    step[name][part] = step[name][part] + slope * drawn
        self.phases.values = self.phases.moved(step, -lr)
        self.phases.commit()
        return {"loss": float(np.mean(losses)), "accuracy": float(np.mean(right))}


@dataclass
class MixedTrn(_Blind):
    """One phase of `coordinates` after the other is moved by lr if that lowers the loss, else by -lr if that does.

    Each is skipped with probability `skipped`. (Gu et al., AAAI 2021; spec section h.) `legacy`: the move by -lr is
    kept unseen, whether it lowers the loss or not.
    """

    coordinates: Sequence[Coordinate] = ()
    skipped: float = 0.9
    legacy: bool = False

    def __call__(self, images: Array, labels: Array, rng: np.random.Generator, lr: float) -> dict[str, Scalar]:
        first, logits = self._read(images, labels, rng)
        now, shared = first, copy.deepcopy(rng)
        for (name, part, place), drawn in zip(self.coordinates, rng.random(len(self.coordinates))):
            if drawn < self.skipped:
                continue
            phases, at = self.phases.values[name][part].reshape(-1), slice(place, place + 1)

            def tried(by: float, phases: Array = phases, at: slice = at, which: tuple[str, str] = (name, part)) -> None:
                phases[at] += by
                self.phases.commit(only=which)

            tried(lr)
            loss = self._read(images, labels, shared)[0]
            if not loss < now:
                tried(-2.0 * lr)
                loss = self._read(images, labels, shared)[0]
                if not (self.legacy or loss < now):
                    tried(lr)
                    continue
            now = loss
        return {"loss": first, "accuracy": accuracy(logits, labels)}
