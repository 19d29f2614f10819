"""What only an observer may see of a grid of cores: matrices, phases, sigma and weights as they really are."""

from __future__ import annotations

from types import ModuleType

from l2sim.backend import Array
from l2sim.chip.fabrication import Chain
from l2sim.mesh.mesh import Mesh


class Observed:
    """What is seen of a `l2sim.chip.core_chip.CoreChip`, which has all that is declared here."""

    shape: tuple[int, int]
    mesh: Mesh
    xp: ModuleType
    _drifts: bool
    _phases: dict[str, Array]
    _chain: dict[str, Chain]
    _realised: Array

    def _age(self) -> None:
        raise NotImplementedError

    def _effective(self, part: str, phases: Array) -> Array:
        raise NotImplementedError

    def _matrix(self, part: str) -> Array:
        raise NotImplementedError

    def oracle_matrix(self, part: str) -> Array:
        """The true matrix of U or V, (p, q, k, k)."""
        return self._matrix(part).reshape(*self.shape, self.mesh.modes, self.mesh.modes).copy()

    def oracle_phases(self, part: str) -> Array:
        """The phases that the light sees in U or V, (p, q, C, k - 1), rad."""
        if self._drifts:
            self._age()
        return self.mesh.scatter(self._effective(part, self._phases[part])).reshape(*self.shape, *self.mesh.shape)

    def oracle_biases(self, part: str) -> Array:
        """The phases of U or V with nothing commanded, (cores, n), rad: biases, where broken heaters are stuck, and
        what these leak to their neighbours."""
        if self._drifts:
            self._age()
        return self._effective(part, self.xp.zeros_like(self._phases[part]))

    def oracle_offsets(self, part: str) -> Array:
        """The fixed phases that add to the driven ones in U or V, drift included, (cores, n), rad."""
        if self._drifts:
            self._age()
        return self._chain[part][2].copy()

    def oracle_sigma(self) -> Array:
        """The sigma that the attenuators realise, (p, q, k)."""
        return self._realised.reshape(*self.shape, -1).copy()

    def oracle_weights(self) -> Array:
        """The true weight of every core, (p, q, k, k)."""
        weights: Array = self._matrix("u") @ (self._realised[:, :, None] * self._matrix("v"))
        return weights.reshape(*self.shape, *weights.shape[1:])
