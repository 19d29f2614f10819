"""The simulated chip of in situ backpropagation: one whole complex mesh, its imperfections hidden.

    U = diag(e^{i screen}) T_{n-1} ... T_1 T_0,   T = D(er) diag(a0 e^{i theta}, a1) D(el) diag(a2 e^{i phi}, a3)

(`kernels.propagate`; Clements et al., Optica 3, 1460 (2016)). What a lab can do is `l2sim.chip.protocol.MeshHardware`;
besides that the chip offers fused operations (`tap_sums`, `gradient`) that give the public path's result faster, and
`rewind`, which makes its noise repeat itself. What only an observer may see is named `oracle_...`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from l2sim import naming
from l2sim.backend import CPU, Array, Device, kernels, real_type
from l2sim.chip import fabrication, readout
from l2sim.chip.drift import Wander
from l2sim.chip.fabrication import arm_parameters, chain_parameters, fabricate, fabricate_optics, splitter_parameters
from l2sim.chip.fused import aggregate
from l2sim.chip.fused.exact import Exact
from l2sim.chip.meter import Count, Meter, Settling
from l2sim.chip.nonidealities import WAVELENGTH_NM, Nonidealities, required
from l2sim.chip.parts import optics
from l2sim.chip.parts.given import Devices, Given
from l2sim.chip.parts.heat import Heat
from l2sim.chip.parts.ports import Ports
from l2sim.chip.protocol import MESH_READOUTS, PHASES, SCHEMES, ChipState, Gradient, Taps, detectors, light_of_mesh
from l2sim.errors import ChipError, NotFinite
from l2sim.given import reals, word
from l2sim.mesh.mesh import Mesh, require
from l2sim.mesh.wiring import places, skipped, wiring


class MeshChip(Exact):
    """One whole mesh of N modes and n MZIs (see the module).

    `name` and `seed` choose the random streams of the fabrication and of the noise; meshes of one network have
    different names. Phases start at zero. `dtype` float32 or float64; fields are complex of the same precision.
    `device` is where it computes, on the first of its GPUs; `xp` is the module of its arrays. `given` is what is known
    of single devices (`l2sim.chip.parts.given`), by name or in a file.
    """

    def __init__(
        self,
        mesh: Mesh,
        nonidealities: Nonidealities,
        seed: int,
        name: str = "mesh",
        meter: Meter | None = None,
        dtype: DTypeLike = "float32",
        readouts: tuple[str, ...] = MESH_READOUTS,
        device: Device = CPU,
        given: Given = None,
    ) -> None:
        self.mesh, self.name, self.readouts = require(mesh), name, detectors(readouts)
        self._device, self.xp, self._kernels = device, device.xp, kernels.cuda if device.numbers else kernels
        self.meter = Meter() if meter is None else meter
        self.dtype = real_type(dtype)
        self._complex = np.result_type(self.dtype, np.complex64)
        self._sizes = dict(zip(PHASES, (mesh.count, mesh.count, mesh.modes)))
        self._heaters = fabricate(seed, name, "mesh", (1, 2 * mesh.count + mesh.modes))
        self._optics = fabricate_optics(seed, name, "mesh", (1, mesh.count))
        self._grown = optics.Splitters(seed, name, ("mesh",), 1)
        self._wiring, self._skipped = wiring(mesh), skipped(mesh)
        size = 2 * mesh.count + mesh.modes
        self._heat = Heat(seed, name, {"mesh": (1, size)})
        self._devices = Devices(given, {"": (1, size)}, {"": (1, mesh.count)}, name)
        self._wander = Wander(seed, name, {"mesh": (1, size)}, places(mesh))
        self.settling = Settling()  # light that passes several meshes waits once: they share one
        self._noise = readout.Noise(self.dtype, device, seed, "readout", name)
        self._ports = Ports(seed, name, (), mesh.modes)
        self._heated = device.put(np.tile(mesh.active, 2))  # passive couplers have no heaters
        self._unsound: Array | np.bool_ | None = None
        self._phases = {part: self.xp.zeros(size, self.dtype) for part, size in self._sizes.items()}
        self.nonidealities = nonidealities

    # -- the parameters ------------------------------------------------------------------------------------------------

    @property
    def nonidealities(self) -> Nonidealities:
        """The imperfections; setting them changes this same chip (its unit draws stay)."""
        return self._nonidealities

    @nonidealities.setter
    def nonidealities(self, value: Nonidealities) -> None:
        self._nonidealities = required(value)
        self._ports.tune(value)
        noisy = value.io_amplitude_error or value.io_phase_error or value.tap_noise or value.tap_floor
        self._noisy = bool(noisy or value.readout_noise or value.reference_phase_std) or not self._ports.plain
        put = self._device.put
        self._devices = self._devices.renewed(value.devices)
        chain = self._devices.chain("", chain_parameters(self._wiring, self._heaters, value, self.dtype), value)
        self._chain = fabrication.moved(chain, put)
        self._still = chain[2]
        curves = self._devices.curves(value)
        self._heat.tune(self._wiring, value, self.dtype, True, put, {"mesh": curves[""]} if curves else {})
        self._wander.tune(value, self.meter.clock)
        self._drifts = value.drift_std > 0.0 or value.step_std > 0.0
        at = optics.places(self.mesh.column, self.mesh.top, self.mesh.bottom, True)
        errors = self._devices.splitters("")
        if errors is None:
            errors = self._grown.errors("mesh", self._optics, at, value)
        self._splitters = put(splitter_parameters(self.mesh, self._optics, value, errors))
        amplitudes = self._devices.arms("", arm_parameters(self._optics, value))
        top, bottom, end = (10.0 ** (-2.0 * value.loss_db * columns / 20.0) for columns in self._skipped)
        amplitudes[:, 2] *= top
        amplitudes[:, 3] *= bottom
        amplitudes[:, ::2, self.mesh.active] *= (untapped := math.sqrt(1.0 - value.tap_share))
        end = end * untapped
        self._amplitudes, self._ends = put(amplitudes), put(end.astype(self.dtype)[:, None])
        self._lossless = bool((amplitudes == 1.0).all() and (end == 1.0).all())
        self._forget()

    # -- what a lab can do ---------------------------------------------------------------------------------------------

    def set_phases(
        self, theta: ArrayLike | None = None, phi: ArrayLike | None = None, screen: ArrayLike | None = None
    ) -> None:
        """Command nominal phases, rad: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        given = zip(PHASES, (theta, phi, screen))
        wanted = {part: self._checked(values, part) for part, values in given if values is not None}
        changed: Count = sum(np.count_nonzero(values != self._phases[part]) for part, values in wanted.items())
        before = self._together() if self._heat.lags else None
        self._phases |= wanted
        if wanted and (self.xp is not np or changed):  # a GPU is not asked: there, something may have changed
            self.meter.count(writes=changed)
            self.settling.wrote()
            if before is not None:
                self._heat.before("mesh", before, self._chain, self.meter)
            self._forget()

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        return {part: values.copy() for part, values in self._phases.items()}

    def wait(self, seconds: float) -> None:
        """Let chip time pass, s, for all chips that share the meter."""
        self.meter.wait(seconds)

    def forward(self, x: ArrayLike, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs: complex for "field", real for "power"."""
        return self._probe(x, False, readout)

    def backward(self, y: ArrayLike, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs. A mesh is reciprocal: this light sees U^T."""
        return self._probe(y, True, readout)

    def taps(self, x: ArrayLike, back: bool = False) -> tuple[Array, Taps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        far, powers = self._through(self.tapped_light(x, back), back)
        return self.read(far, "field", back), self.read_taps(powers)

    # -- the same, fused -----------------------------------------------------------------------------------------------

    def tap_sums(self, x: ArrayLike, back: bool = False) -> tuple[Array, Taps]:
        """`taps` summed over the batch, (n,), (n,), (N,).

        The noise of a sum, sum_b s |f_b| n_b with normal n_b, is s sqrt(sum_b |f_b|^2) n: drawn at once.
        """
        far, powers = self._through_summed(self.tapped_light(x, back), back)
        return self.read(far, "field", back), self.read_taps(powers, np.shape(x)[1])

    def gradient(self, x: Array, g: Array, scheme: str) -> Gradient | None:
        """What `l2sim.learn.insitu.measure` reads where nothing is lost and nothing is noisy: the exact gradient, by
        running the mesh in reverse (`kernels.propagate.adjoint`, `gradients`). None elsewhere; metered as `scheme`."""
        if self._noisy or self._heat.lags or not self._lossless or "tap_power" not in self.readouts:
            return None
        x, g = self._asked(x, g, scheme)
        return self._adjoint(x, g.astype(self._complex, copy=False))

    def noisy_gradient(self, x: Array, g: Array, scheme: str) -> Gradient | None:
        """The same where readings are noisy: of the same distribution as `measure` by `tap_sums`, for a batch larger
        than N (`l2sim.chip.fused.aggregate`). None where something is lost, for a scheme whose readings are not added,
        for noise that repeats itself, which is that of every single reading, and on a GPU."""
        simple = self.xp is np and self._lossless and not (self._noise.repeats or self._heat.lags)
        simple = simple and scheme in aggregate.WEIGHTS
        if not simple or x.shape[1] <= self.mesh.modes or "tap_power" not in self.readouts:
            return None
        x, g = self._asked(x, g, scheme)
        noisy = self._nonidealities.tap_noise or self._nonidealities.tap_floor
        return aggregate.gradient(self, x, g, scheme, self.read_sums if noisy else None)

    def rewind(self) -> None:
        """Go back to the start of the noise: what is drawn next repeats what was drawn first."""
        self._noise.rewind()

    # -- what only an observer may see ---------------------------------------------------------------------------------

    def oracle_matrix(self) -> Array:
        """The true matrix U, (N, N)."""
        return self._matrix().copy()

    def oracle_phases(self) -> dict[str, Array]:
        """The phases that the light sees, by name."""
        return {part: values[0].copy() for part, values in zip(PHASES, self._effective())}

    def oracle_biases(self) -> Array:
        """The fixed phases that add to the driven ones, (2 n + N,): theta, phi, screen, rad."""
        if self._drifts:
            self._age()
        biases: Array = self._chain[2][0].copy()
        return biases

    def oracle_fields(self, x: Array, back: bool = False) -> Array:
        """The field everywhere, (4 C + 2, N, B) (`kernels.inside.trace`), inputs first, also of light sent `back` into
        the outputs; loss of rails that skip a column acts at the next coupler they meet."""
        x = self.checked_light(x)
        x = x * self._ends if back else x
        out = self.xp.empty((1, 4 * self.mesh.columns + 2, 2, *x.shape), self.dtype)
        out[0, 0] = self._planes(x)[0]
        theta, phi, screen = self._effective()
        starts = self._device.put(np.searchsorted(self.mesh.column, np.arange(self.mesh.columns + 1)))
        self._kernels.inside.trace(
            theta, phi, self._splitters, self._amplitudes, self.mesh.top, self.mesh.bottom, starts, screen, back, out
        )
        fields: Array = out[0, :, 0] + 1j * out[0, :, 1]
        if back:
            return fields[::-1]
        fields[-1] *= self._ends
        return fields

    def oracle_fabrication(self) -> dict[str, Array]:
        """The unit draws of the fabrication, "part.noise_draw"."""
        own = fabrication.arrays({"heaters": self._heaters, "optics": self._optics, **self._ports.draws()})
        return own | self._heat.arrays() | self._grown.arrays(self._nonidealities) | self._devices.arrays()

    def refabricate(self, arrays: dict[str, Array]) -> None:
        """Become the chip whose `oracle_fabrication` gave `arrays`."""
        self._ports.become(fabrication.replaced(self._ports.draws(), arrays))
        heaters = fabrication.replaced({"heaters": self._heaters}, arrays)
        self._optics = fabrication.replaced({"optics": self._optics}, arrays)["optics"]
        self._heaters = heaters["heaters"]
        self._heat.become(arrays)
        self._grown.become(arrays)
        self._devices = self._devices.become(arrays)
        self.nonidealities = self._nonidealities

    def wander_as(self, wander: Wander) -> None:
        """Let the biases be what `wander` makes of them from now on, by the clock of the chip's meter."""
        self._wander = wander
        self.nonidealities = self._nonidealities

    def state(self) -> tuple[dict[str, Array], ChipState]:
        """What a checkpoint needs: the commanded phases as PART.KIND, and the position of the noise stream. On a GPU
        this is where values that were not finite are told."""
        if self._unsound is not None and bool(self._unsound):
            raise NotFinite(f"mesh {self.name} was sent values that are not finite; lower the learning rate")
        restless = self.settling.restless
        values: ChipState = {"noise": self._noise.position(), "drift": self._wander.state(), "restless": restless}
        if laser := self._ports.state():
            values["laser"] = laser
        warmth, heat = self._heat.state()
        warmth |= self._devices.arrays()
        return {naming.name(part, "phases"): a for part, a in self.commanded.items()} | warmth, values | heat

    def restore(self, arrays: dict[str, Array], values: ChipState) -> None:
        """Go on from what `state` returned."""
        given = {part: arrays[naming.name(part, "phases")].astype(self.dtype) for part in PHASES}
        self._phases = {part: self._device.put(a) for part, a in given.items()}
        self._noise.go_on(values["noise"])
        if "drift" in values:
            self._wander.restore(values["drift"])
        self.settling.restless = values.get("restless", False)
        self._ports.restore(values.get("laser", {}))
        self._heat.restore(arrays, values.get("heat", {}), self._device.put)
        self._devices = self._devices.become(arrays)
        if self._devices:
            self.nonidealities = self._nonidealities
        self._forget()

    # -- inside: what is built from the commands -----------------------------------------------------------------------

    def _forget(self) -> None:
        self._seen: tuple[Array, ...] | None = None
        self._built: Array | None = None
        self._whole: Array | None = None
        self._stacked: Array = self.xp.empty(0)

    def _age(self) -> None:
        """Take in how far biases have wandered by now. A fused operation does so once, at its beginning."""
        if self._wander.moved(self.meter.clock):
            bias = (self._still + self._wander.biases("mesh")).astype(self.dtype)
            self._chain = fabrication.biased(self._chain, self._device.put(bias))
            self._forget()

    def _effective(self) -> tuple[Array, ...]:
        """theta (1, n), phi (1, n) and screen (1, N) as the light sees them."""
        if self._drifts:
            self._age()
        if self._seen is None:
            commanded = self._together()
            out = np.empty_like(commanded)
            if self._heat.plain:
                self._kernels.chain.apply(commanded, *self._chain, out)
            else:
                out = self._heat.phases("mesh", commanded, self._chain, self.meter.clock)
            if self._nonidealities.detuning_nm:
                out /= 1.0 + self._nonidealities.detuning_nm / WAVELENGTH_NM
            n = self.mesh.count
            out[0, : 2 * n] *= self._heated
            self._seen = out[:, :n].copy(), out[:, n : 2 * n].copy(), out[:, 2 * n :].copy()
        return self._seen

    def _together(self) -> Array:
        """All commanded phases, (1, 2 n + N)."""
        return np.concatenate([self._phases[part] for part in PHASES])[None]

    def warm(self) -> None:
        """Take in what is left of the last heat, for light that is sent now."""
        if self._heat.lags:
            self._forget()
            self._effective()
            self._heat.lit(self.meter)

    def _elements(self) -> Array:
        if self._drifts:
            self._age()
        if self._built is None:
            theta, phi, _ = self._effective()
            self._built = self.xp.empty((1, 12, self.mesh.count), self.dtype)
            self._kernels.couplers.elements(theta, phi, self._splitters, self._amplitudes, self._built)
        return self._built

    def _common(self) -> tuple[Array, ...]:
        return self._elements(), self.mesh.top, self.mesh.bottom, self._effective()[2]

    def _matrix(self) -> Array:
        if self._drifts:
            self._age()
        if self._whole is None:
            out = self.xp.empty((1, 2, self.mesh.modes, self.mesh.modes), self.dtype)
            self._kernels.propagate.matrices(*self._common(), out)
            self._whole = self._arrived(out, False)
            if not self._lossless:
                out = self._planes(self._whole)
            self._stacked = out.reshape(2 * self.mesh.modes, self.mesh.modes)
        return self._whole

    # -- inside: light -------------------------------------------------------------------------------------------------

    def _checked(self, given: ArrayLike, part: str) -> Array:
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused below
            values: Array = self.xp.array(reals(given, part), self.dtype)
        if values.shape != (self._sizes[part],):
            raise ChipError(f"{part} has shape {values.shape}; this mesh takes ({self._sizes[part]},) in travel order")
        if not self._finite(values):
            raise NotFinite(f"{part} holds values that are not finite; the mesh was left as it was")
        return values

    def _finite(self, values: Array) -> bool:
        """False for values that are not finite; a GPU is not asked: there, `state` tells it."""
        if self.xp is np:
            return bool(np.isfinite(values).all())
        odd = ~np.isfinite(values).all()
        self._unsound = odd if self._unsound is None else self._unsound | odd
        return True

    def checked_light(self, x: ArrayLike) -> Array:
        """Light (N, B) where the chip computes, in its precision; light in phase stays real. ChipError for other
        shapes, and where not finite, which a GPU tells later (`state`)."""
        field = self._device.put(light_of_mesh(x, self.mesh.modes))
        field = field.astype(self._complex if field.dtype.kind == "c" else self.dtype, copy=False)
        if self.xp is not np:
            self._finite(field)
        return field

    def _planes(self, x: Array) -> Array:
        out: Array = self.xp.empty((1, 2, *x.shape), self.dtype)
        out[0, 0], out[0, 1] = x.real, x.imag
        return out

    def _fields(self, planes: Array) -> Array:
        return readout.complex_of(planes[0, 0], planes[0, 1])

    def _arrived(self, planes: Array, back: bool) -> Array:
        """The field at the far end; at the outputs behind the waveguides that follow each rail's last coupler."""
        field = self._fields(planes)
        return field if back or self._lossless else field * self._ends

    def passed(self, x: Array, back: bool) -> Array:
        """Light through the mesh: by its matrix where the batch is larger than that."""
        if x.shape[1] > self.mesh.modes:
            if back or np.iscomplexobj(x):
                matrix = self._matrix()
                return (matrix.T if back else matrix) @ x
            self._matrix()
            return self._fields((self._stacked @ x).reshape(1, 2, *x.shape))  # half the work of a complex product
        field = self._planes(x * self._ends if back else x)
        of = self._kernels.propagate
        (of.backward if back else of.forward)(*self._common(), field)
        return self._arrived(field, back)

    def passed_with_powers(self, x: Array, back: bool, summed: bool) -> tuple[Array, Taps]:
        """The field at the far end, and the powers at the phase shifters on the way, `summed` over the batch or not."""
        return (self._through_summed if summed else self._through)(x, back)

    def _through(self, x: Array, back: bool) -> tuple[Array, Taps]:
        """The far end, and the powers at theta, phi and screen on the way."""
        if not back:
            field = self._planes(x)
            by_theta, by_phi = (self.xp.empty((1, self.mesh.count, x.shape[1]), self.dtype) for _ in range(2))
            elements, top, bottom, screen = self._common()
            self._kernels.powers.each(elements, self._amplitudes, top, bottom, screen, field, by_theta, by_phi)
            far = self._arrived(field, back)
            return far, Taps(by_theta[0], by_phi[0], readout.intensity(far))
        field = self._planes(x * self._ends)
        seen = self.xp.empty((1, 2, 2, self.mesh.count, x.shape[1]), self.dtype)
        theta, phi, screen = self._effective()
        self._kernels.inside.tap(
            theta, phi, self._splitters, self._amplitudes, self.mesh.top, self.mesh.bottom, screen, back, field, seen
        )
        powers = (seen[0] ** 2).sum(axis=1)
        return self._arrived(field, back), Taps(powers[1], powers[0], readout.intensity(x))

    def _through_summed(self, x: Array, back: bool) -> tuple[Array, Taps]:
        """The far end, and the powers summed over the batch."""
        field = self._planes(x * self._ends if back else x)
        by_theta, by_phi = (self.xp.empty((1, self.mesh.count)) for _ in range(2))
        elements, top, bottom, screen = self._common()
        self._kernels.powers.powers(
            elements, self._splitters, self._amplitudes, top, bottom, screen, back, field, by_theta, by_phi
        )
        far = self._arrived(field, back)
        return far, Taps(by_theta[0], by_phi[0], readout.intensity(x if back else far).sum(axis=1, dtype=np.float64))

    def _probe(self, x: ArrayLike, back: bool, readout: str) -> Array:
        if word(readout, "a readout") not in self.readouts or readout == "tap_power":
            far = [name for name in self.readouts if name != "tap_power"]
            raise ChipError(f"this mesh has no {readout!r} readout at its ports; it has {', '.join(far)}")
        sent = self.checked_light(x)
        self.count(sent.shape[1], 0)
        return self.read(self.passed(self.modulated(sent, back), back), readout, back)

    def tapped_light(self, x: ArrayLike, back: bool) -> Array:
        """The light that really enters when `x` is sent for a reading of the taps."""
        if "tap_power" not in self.readouts:
            raise ChipError("this mesh has no power taps; in situ gradients need the readout 'tap_power'")
        sent = self.checked_light(x)
        self.count(sent.shape[1], sent.shape[1])
        return self.modulated(sent, back)

    def count(self, vectors: int, tapped: int) -> None:
        """Meter so many vectors through the mesh, `tapped` of them read at every phase shifter."""
        if vectors:
            self.warm()
        taps = tapped * sum(self._sizes.values())
        self.meter.count(core_calls=vectors, tap_readings=taps, vectors=vectors, settled=self.settling.waits())

    def _asked(self, x: Array, g: Array, scheme: str) -> tuple[Array, Array]:
        """Light and cotangents of a gradient, checked, and metered as `scheme`."""
        x, g = self.checked_light(x), self.checked_light(g)
        if x.shape != g.shape:
            raise ChipError(f"light {x.shape} and cotangents {g.shape} differ in shape; give one cotangent per vector")
        plain, tapped = SCHEMES[scheme]
        self.count((plain + tapped) * x.shape[1], tapped * x.shape[1])
        return x, g

    @property
    def sends_exactly(self) -> bool:
        """Whether modulators make the field that is asked for."""
        own = self._nonidealities
        return self._ports.plain and not (own.io_input and (own.io_amplitude_error or own.io_phase_error))

    def modulated(self, x: Array, back: bool) -> Array:
        """The field that enters, or `back` at the outputs, where modulators are asked for `x`."""
        if self.sends_exactly:
            return x
        sent = x if self._ports.plain else self._ports.sent(x, back)
        return self._noise.modulated(sent, self._nonidealities) if self._nonidealities.io_input else sent

    def read(self, y: Array, kind: str, back: bool) -> Array:
        """Readings of the field y (N, B) at the far end, of light sent `back` or not: of its "field" or its "power"."""
        sheet = self._nonidealities
        y = self._noise.modulated(y, sheet)
        if not self._ports.plain:
            seen = self._ports.read(y, kind, self._noise.normal, back)
            return seen.astype(self._complex if kind == "field" else self.dtype, copy=False)
        if kind == "power":
            return readout.power(y, readout.intensity(y), sheet, self._noise.normal)
        return self._noise.field(y, sheet)

    def read_taps(self, powers: Taps, vectors: int = 1) -> Taps:
        """Readings of powers at the shifters, or of sums over so many `vectors`. Passive couplers have no taps."""
        theta, phi, screen = powers
        if not self.mesh.active.all():
            passive = ~self._heated[: self.mesh.count]
            theta[passive] = phi[passive] = 0.0
        own, draw = self._nonidealities, self._noise.normal
        return Taps(*(readout.tapped(power, power, own, draw, vectors) for power in (theta, phi, screen)))

    def read_sums(self, sums: Taps, squares: Taps, vectors: int, weight: float) -> Taps:
        """Weighted sums of powers as taps read them, from the sums and from those with the weights squared."""
        own, draw = self._nonidealities, self._noise.normal
        return Taps(*(readout.tapped(total, power, own, draw, vectors, weight) for total, power in zip(sums, squares)))
