"""What only an observer may see of a grid of cores: matrices, phases, sigma and weights as they really are."""

from __future__ import annotations

from types import ModuleType

from l2sim.backend import Array
from l2sim.chip import fabrication
from l2sim.chip.fabrication import Chain, Heaters, Remade
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts.given import Devices
from l2sim.chip.parts.heat import Heat
from l2sim.chip.parts.ports import Ports
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
    _heaters: Remade
    _attenuators: Heaters
    _ports: Ports
    _heat: Heat
    _devices: Devices

    nonidealities: Nonidealities

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

    def oracle_fabrication(self) -> dict[str, Array]:
        """The unit draws of the fabrication, "part.noise_draw": what the noise of this chip is made of."""
        drawn = fabrication.arrays({**self._heaters.whole(), "sigma": self._attenuators, **self._ports.draws()})
        return drawn | self._heat.arrays() | self._devices.arrays()

    def refabricate(self, arrays: dict[str, Array]) -> None:
        """Become the chip whose `oracle_fabrication` gave `arrays`."""
        self._ports.become(fabrication.replaced(self._ports.draws(), arrays))
        heaters = fabrication.replaced({**self._heaters.whole(), "sigma": self._attenuators}, arrays)
        self._attenuators = heaters.pop("sigma")
        self._heaters.update(heaters)
        self._heat.become(arrays)
        self._devices = self._devices.become(arrays)
        self.nonidealities = self.nonidealities
