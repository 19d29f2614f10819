"""The simulated chip of any matrix: two whole meshes and a column of attenuators between them.

    W = U diag(s) V,   -1 <= s <= 1

(Miller, Photonics Research 1, 1 (2013)). What a lab can do is `l2sim.chip.protocol.SvdHardware`. Light can be sent in
and fields read at the outer ports only; taps stand at every phase shifter of both meshes. Those of V's screen stand
just before the attenuators, so that these need none of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from l2sim.backend import Array
from l2sim.chip.fabrication import fabricate
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Meter, Settling
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.parts import attenuators
from l2sim.chip.protocol import MESH_READOUTS, PHASES, SvdTaps, Taps
from l2sim.errors import ChipError
from l2sim.given import real, word
from l2sim.mesh.mesh import Mesh


class SvdChip:
    """Two meshes of one layout and an attenuator on every rail between them. Arguments as for `MeshChip`.

    Phases start at zero and attenuators open, s = 1; how s is realised is in `l2sim.chip.parts.attenuators`.
    """

    def __init__(
        self,
        mesh: Mesh,
        nonidealities: Nonidealities,
        seed: int,
        name: str = "svd",
        meter: Meter | None = None,
        dtype: DTypeLike = "float32",
        readouts: tuple[str, ...] = MESH_READOUTS,
    ) -> None:
        self.mesh, self.readouts = mesh, readouts
        self.meter = Meter() if meter is None else meter
        self._u, self._v = (
            MeshChip(mesh, nonidealities, seed, f"{name}.{part}", self.meter, dtype, readouts) for part in "uv"
        )
        self._settling = self._u.settling = self._v.settling = Settling()  # one wait for all that light passes
        self.dtype = self._u.dtype
        self._attenuators = fabricate(seed, name, "sigma", (1, mesh.modes))
        self._mzis = attenuators.Interferometers(seed, name, (1, mesh.modes))
        self._sigma = np.ones(mesh.modes, self.dtype)
        self._realise()

    @property
    def nonidealities(self) -> Nonidealities:
        """The imperfections; setting them changes this same chip (its unit draws stay)."""
        return self._u.nonidealities

    @nonidealities.setter
    def nonidealities(self, value: Nonidealities) -> None:
        self._u.nonidealities = self._v.nonidealities = value
        self._realise()

    # -- what a lab can do ---------------------------------------------------------------------------------------------

    def set_phases(self, u: dict[str, Array] | None = None, v: dict[str, Array] | None = None) -> None:
        """Command phases of a mesh by name, rad: theta, phi (n,), screen (N,)."""
        for name, phases in (("u", u), ("v", v)):
            if phases is not None and not (isinstance(phases, dict) and phases.keys() <= set(PHASES)):
                raise ChipError(f"phases of {name} are a dict of some of {', '.join(PHASES)}; Settings have _asdict()")
        for chip, phases in ((self._u, u), (self._v, v)):
            if phases is not None:
                chip.set_phases(**phases)

    def set_sigma(self, sigma: ArrayLike) -> None:
        """Command the attenuators, (N,) from -1 to 1. ChipError for others."""
        wanted = np.array(real(sigma, "sigma"), self.dtype)
        if wanted.shape != self._sigma.shape or not (np.abs(wanted) <= 1.0).all():
            raise ChipError(f"sigma of shape {wanted.shape} is not ({self.mesh.modes},) numbers from -1 to 1; scale it")
        changed = np.count_nonzero(wanted != self._sigma)
        if changed:
            self.meter.count(writes=changed)
            self._settling.wrote()
            self._sigma = wanted
            self._realise()

    @property
    def commanded(self) -> dict[str, Array | dict[str, Array]]:
        """Copies of what was last commanded: phases of "u" and "v" by name, and "sigma"."""
        return {"u": self._u.commanded, "v": self._v.commanded, "sigma": self._sigma.copy()}

    def wait(self, seconds: float) -> None:
        """Let chip time pass, s, for all chips that share the meter."""
        self.meter.wait(seconds)

    def forward(self, x: ArrayLike, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs."""
        return self._probe(x, self._v, self._u, False, readout)

    def backward(self, y: ArrayLike, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs: W^T y."""
        return self._probe(y, self._u, self._v, True, readout)

    def taps(self, x: ArrayLike, back: bool = False) -> tuple[Array, SvdTaps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        return self._tapped(x, back, summed=False)

    def tap_sums(self, x: ArrayLike, back: bool = False) -> tuple[Array, SvdTaps]:
        """`taps` summed over the batch, fused (`MeshChip.tap_sums`)."""
        return self._tapped(x, back, summed=True)

    # -- what only an observer may see ---------------------------------------------------------------------------------

    def oracle_matrix(self) -> Array:
        """The true W, (N, N)."""
        weight: Array = self._u.oracle_matrix() @ (self._realised * self._v.oracle_matrix())
        return weight

    def oracle_gradient(self, x: Array, g: Array) -> tuple[Taps, Taps, Array, Array]:
        """(by the phases of U, by those of V, by realised sigma (N,), cotangents at the inputs (N, B)), with loss."""
        inner = self._v.oracle_matrix() @ self._v.checked_light(x)
        by_u = self._u.oracle_gradient(self._realised * inner, g)
        by_v = self._v.oracle_gradient(x, self._realised * by_u.x)
        return Taps(*by_u[:3]), Taps(*by_v[:3]), (by_u.x * inner).real.sum(axis=1), by_v.x

    # -- inside --------------------------------------------------------------------------------------------------------

    def _realise(self) -> None:
        sheet, heaters = self.nonidealities, self._attenuators
        ratio, tilt = 1.0 + heaters.gamma * (sheet.gamma_std / GAMMA), attenuators.offsets(heaters, sheet)
        wanted = self._sigma[None]
        if sheet.attenuators == "mzi" and not sheet.exact_sigma:
            share = self._mzis.tune(heaters, sheet, self.dtype, single=True).share(wanted)[0]
            self._realised = share.astype(np.result_type(self.dtype, np.complex64))[:, None]
            return
        out = wanted if sheet.exact_sigma else attenuators.realised(wanted, ratio, sheet, tilt, exact=True)
        self._realised = out[0].astype(self.dtype)[:, None]

    def _probe(self, x: ArrayLike, near: MeshChip, far: MeshChip, back: bool, readout: str) -> Array:
        if word(readout, "a readout") not in self.readouts or readout == "tap_power":
            ports = [name for name in self.readouts if name != "tap_power"]
            raise ChipError(f"this chip has no {readout!r} readout at its ports; it has {', '.join(ports)}")
        sent = near.checked_light(x)
        near.warm()
        far.warm()
        self.meter.count(core_calls=sent.shape[1], vectors=sent.shape[1], settled=self._settling.waits())
        sent = near.modulated(sent, back)
        return far.read(far.passed(self._realised * near.passed(sent, back), back), readout, back)

    def _tapped(self, x: ArrayLike, back: bool, summed: bool) -> tuple[Array, SvdTaps]:
        near, far = (self._u, self._v) if back else (self._v, self._u)
        far.warm()
        sent = near.tapped_light(x, back)
        far.count(0, sent.shape[1])
        inner, first = near.passed_with_powers(sent, back, summed)
        outer, second = far.passed_with_powers(self._realised * inner, back, summed)
        vectors = sent.shape[1] if summed else 1
        taps = near.read_taps(first, vectors), far.read_taps(second, vectors)
        return far.read(outer, "field", back), SvdTaps(*(taps if back else taps[::-1]))
