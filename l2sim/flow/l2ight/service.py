"""The cores of a run of the L2ight flow in service, as the policies of upkeep take them."""

from __future__ import annotations

from l2sim.errors import RunError
from l2sim.flow.l2ight.session import L2ight
from l2sim.learn import upkeep
from l2sim.nn.photonic import PhotonicWeight


class Cores:
    """Those of `session`; only policies that probe them look at them (`upkeep.PROBING`)."""

    def __init__(self, session: L2ight) -> None:
        self._session = session

    @property
    def _probed(self) -> bool:
        return self._session.job.upkeep.policy in upkeep.PROBING

    def attend(self) -> None:
        """Read what the cores are to stay, when service begins."""
        session = self._session
        if session.service or not self._probed:
            return
        with session.meter.stage("upkeep"):
            for name, weight in session.network.weights.items():
                assert isinstance(weight, PhotonicWeight)
                session.service[name] = upkeep.reference(weight)
                weight.write()

    def layers(self) -> dict[str, upkeep.Layer]:
        """The layers with what they are to be. RunError where twins are to be followed and there are none."""
        session, layers = self._session, {}
        if not self._probed:
            return {}
        twins = session.twins if session.job.calibrate.method == "twin" else {}
        for name, weight in session.network.weights.items():
            assert isinstance(weight, PhotonicWeight)
            layers[name] = upkeep.Layer(weight, upkeep.target(weight, session.service[name]), twins.get(name))
        if session.job.upkeep.policy == "track" and not all(layer.known is not None for layer in layers.values()):
            raise RunError("the checkpoint holds no twins to track; calibrate with calibrate.method = 'twin'")
        return layers

    def served(self, layers: dict[str, upkeep.Layer]) -> None:
        """Take what a policy changed into the session."""
        for name, layer in layers.items():
            self._session.mapped[name], self._session.rest[name] = layer.weight.mapped, layer.weight.rest
            if layer.known is not None:
                self._session.twins[name] = layer.known
