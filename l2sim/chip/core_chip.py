"""The simulated chip: a p x q grid of MZI tensor cores whose fabrication is hidden.

Each core maps fields (columns) as y = W x, W = U diag(sigma) V*, U and V* being real MZI meshes (L2ight, NeurIPS 2021).
Everything a lab can do is in `l2sim.chip.protocol.Hardware`; besides that the chip offers fused operations (`descend`,
`product`, `product_back`, `sigma_gradient`) that give the result and the metered cost of the public path faster.
What only an observer may see is named `oracle_...`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from l2sim import naming, pages
from l2sim.backend import CPU, Array, Device, kernels_of, like, namespace, real_type, resident
from l2sim.chip import fabrication, readout
from l2sim.chip.drift import Wander
from l2sim.chip.fabrication import chain_parameters, fabricate
from l2sim.chip.fused import blocks, pieces, spread
from l2sim.chip.fused.descent import Sweep
from l2sim.chip.fused.pieces import Pieces
from l2sim.chip.grid import full_scale
from l2sim.chip.meter import Count, Meter, Settling
from l2sim.chip.nonidealities import Nonidealities, required
from l2sim.chip.parts import attenuators
from l2sim.chip.parts.given import Devices, Given
from l2sim.chip.parts.heat import Heat
from l2sim.chip.parts.observed import Observed
from l2sim.chip.parts.ports import READINGS, Ports
from l2sim.chip.protocol import (
    PARTS,
    READOUTS,
    ChipState,
    Commands,
    detectors,
    grid_shape,
    light_of_cores,
    mask_of_cores,
)  # fmt: skip
from l2sim.errors import ChipError, NotFinite
from l2sim.given import reals, word
from l2sim.mesh.mesh import Mesh, require_core, require_real
from l2sim.streams import Stream


class CoreChip(Observed):
    """A p x q grid of k x k tensor cores (see the module).

    `name` and `seed` choose the random streams of the fabrication and of the readout noise; chips of one network have
    different names. Phases (p, q, C, k - 1) and sigma (p, q, k) start at zero commanded phase and sigma = 1.
    `device` is where it computes; `xp` is the module of its arrays, which is NumPy where they do not fit the device.
    `given` is what is known of single devices (`parts.given`), by name or in a file.
    """

    complex_cores = False

    def __init__(
        self,
        shape: tuple[int, int],
        mesh: Mesh,
        nonidealities: Nonidealities,
        *,
        seed: int,
        name: str = "chip",
        meter: Meter | None = None,
        dtype: DTypeLike = np.float64,
        readouts: tuple[str, ...] = READOUTS,
        device: Device = CPU,
        given: Given = None,
    ) -> None:
        (require_core if self.complex_cores else require_real)(mesh)
        self.shape, self.mesh, self.name = grid_shape(shape), mesh, name
        self.meter = Meter() if meter is None else meter
        self.readouts = detectors(readouts)
        self.dtype = real_type(dtype)
        self._cores = shape[0] * shape[1]
        heaters = (self._cores, mesh.count)
        self._heaters = fabrication.Remade(seed, name, dict.fromkeys(PARTS, heaters))
        self._heat = Heat(seed, name, dict.fromkeys(PARTS, heaters))
        self._devices = Devices.of_cores(given, self._cores, mesh, name, couplers=self.complex_cores)
        self._device, self._home = device, spread.home(device, self._cores, mesh, self.dtype.itemsize, self)
        self.xp = xp = self._home.xp
        self._unsound: Array | np.bool_ | None = None
        self._turned: Count | None = None
        self._attenuators = fabricate(seed, name, "sigma", (self._cores, mesh.modes))
        self._wander = Wander(seed, name, dict.fromkeys(PARTS, heaters), np.stack((mesh.column, mesh.top), axis=1))
        self._settling, self._noise = Settling(), Stream(seed, "readout", name)
        self._ports = Ports(seed, name, self.shape, mesh.modes)
        self._phases = {part: xp.zeros(heaters, self.dtype) for part in PARTS}
        self._signs = {part: xp.ones((self._cores, mesh.modes), self.dtype) for part in PARTS}
        self._sigma = xp.ones((self._cores, mesh.modes), self.dtype)
        self.nonidealities = nonidealities

    # -- the parameters ------------------------------------------------------------------------------------------------

    @property
    def nonidealities(self) -> Nonidealities:
        """The imperfections; setting them changes this same chip (its unit draws stay)."""
        return self._nonidealities

    @nonidealities.setter
    def nonidealities(self, value: Nonidealities) -> None:
        if not (required(value).real or self.complex_cores):
            raise ChipError("such imperfections make cores complex; fabricate a ComplexChip")
        self._nonidealities = value
        self._devices = self._devices.renewed(value.devices)
        made = {part: chain_parameters(self.mesh, self._heaters[part], value, self.dtype) for part in PARTS}
        made = {part: self._devices.chain(part, chain, value) for part, chain in made.items()}
        self._chain = {part: fabrication.moved(chain, self._home.put) for part, chain in made.items()}
        curves = self._devices.curves(value)
        self._heat.tune(self.mesh, value, self.dtype, value.single_arm or value.phi, self._home.put, curves)
        self._column = self._hung(value)
        self._still = {part: chain[2] for part, chain in made.items()}
        self._ports.tune(value)
        self._wander.tune(value, self.meter.clock)
        self._drifts = value.drift_std > 0.0 or value.step_std > 0.0
        self._matrices: dict[str, Array | None] = dict.fromkeys(PARTS)
        self._weight_grid: Array | None = None
        self._rested: tuple[Commands, list[tuple[Array, Array]], Count] | None = None
        self._realise_sigma()

    # -- what a lab can do ---------------------------------------------------------------------------------------------

    def set_phases(self, *, u: ArrayLike | None = None, v: ArrayLike | None = None) -> None:
        """Command nominal phases, rad, (p, q, C, k - 1); places without an MZI are ignored. ChipError for others."""
        for part, phases in (("u", u), ("v", v)):
            if phases is not None:
                wanted = self._checked(phases, (*self.shape, *self.mesh.shape), f"phases of {part}")
                self._command(part, self.mesh.gather(wanted).reshape(self._phases[part].shape))

    def set_signs(self, *, u: ArrayLike | None = None, v: ArrayLike | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k). ChipError for others."""
        for part, signs in (("u", u), ("v", v)):
            if signs is not None:
                ends = self._checked(signs, (*self.shape, self.mesh.modes), f"signs of {part}")
                if not np.all(np.abs(ends) == 1.0):
                    raise ChipError(f"signs of {part} must be +1 or -1")
                ends = ends.reshape(self._cores, -1)
                if self._written(ends, self._signs[part]):
                    self._signs[part] = ends.copy()
                    self._forget(part)

    def set_sigma(self, sigma: ArrayLike) -> None:
        """Command the attenuators and the electronic gain behind each core: any real numbers, (p, q, k)."""
        wanted = self._checked(sigma, (*self.shape, self.mesh.modes), "sigma", self.xp is not np)
        wanted = wanted.reshape(self._sigma.shape)
        if self.xp is not np:  # as below, in one launch
            (self._realised, self._scale, tally), self._weight_grid = self._column.command(wanted, self._sigma), None
            self._unsound, self._turned = tally[1] if self._unsound is None else self._unsound + tally[1], tally[2]
            self.meter.count(writes=tally[0])
            self._settling.wrote()
        elif self._written(wanted, self._sigma):
            self._sigma = wanted.copy()
            self._realise_sigma()

    def wait(self, seconds: float) -> None:
        """Let chip time pass, s, for all chips that share the meter."""
        self.meter.wait(seconds)

    def forward(self, x: ArrayLike, *, cores: ArrayLike | None = None, readout: str = "quadrature") -> Array:
        """Send light `x` (p, q, k, B), or what broadcasts to it, into the inputs of every core and read its outputs,
        (p, q, k, B): signed amplitudes, or powers for `readout="power"`. A core that the mask `cores` (p, q) leaves out
        is not probed and reads zero."""
        return self._probe(self.oracle_weights(), x, cores, readout, False)

    def backward(self, y: ArrayLike, *, cores: ArrayLike | None = None, readout: str = "quadrature") -> Array:
        """Send light into the outputs and read the inputs: the transpose of `forward`, since meshes are reciprocal."""
        return self._probe(self.oracle_weights().swapaxes(-1, -2), y, cores, readout, True)

    # -- the same, fused -----------------------------------------------------------------------------------------------

    def fuses(self, readout: str) -> bool:
        """Whether readings of this kind have noise that the fused operations can draw in aggregate."""
        return readout in self.readouts and self._ports.additive(readout)

    @property
    def unfused(self) -> tuple[str, ...]:
        """Fused operations that these heaters do not have: algorithms take the public path."""
        return self._heat.unfused

    def descend(self, *asked: Any, **by_name: Any) -> tuple[Array, Array]:
        """A `sweep`, done at once."""
        sweep = self.sweep(*asked, **by_name)
        spread.do([sweep])
        return self.swept(sweep)

    def sweep(
        self, part: str, rule: str, gain: Array, target: Array, order: Array, lr: Array, loss: Array,
        carry: Array | None = None, by_column: bool = False, outputs: Array | None = None, **by: str,
    ) -> Sweep:  # fmt: skip
        """Coordinate descent over every heater of U or V (`kernels.descent`), two evaluations a heater, yet to be done
        (`spread.do`, then `swept`).

        `gain` (p, q, k) per input, `target` (p, q, k, k), `order` (n,) of heaters in travel order, or (C,) of columns
        counted from sigma if `by_column`, `lr` and `loss` (p, q); `carry` (p, q) marks losses to take as they are;
        `outputs` (p, q, k) is 0 where nobody reads (`learn.zeroth.Problem`); `by`: the `readout`.
        """
        if self._drifts:
            self._age()
        k, cores, xp, readout = self.mesh.modes, self._cores, self.xp, by.get("readout", "quadrature")
        ratio, fixed, bias, *shared = self._chain[part]
        flip, signs = self.mesh.resolve_signs(self._signs[part])

        def each(values: Array | int, *shape: int) -> Array:  # not copied where they are the same
            return np.broadcast_to(xp.asarray(values), (*self.shape, *shape)).reshape(cores, *shape)

        on = {
            "phases": pages.copy(self._phases[part]), "loss": xp.array(loss, self.dtype).reshape(cores),
            "writes": xp.zeros(cores, np.int64), "ratio": ratio, "fixed": fixed, "bias": bias,
            "carry": xp.zeros(cores, bool) if carry is None else xp.array(carry, bool).reshape(cores),
            "lr": xp.array(np.broadcast_to(lr, self.shape), self.dtype).reshape(cores), "flip": flip, "signs": signs,
            "rest": self._matrix("v" if part == "u" else "u"), "sigma": self._realised, "scale": self._scale,
            "gain": each(gain, k), "target": each(target, k, k), "read": each(1 if outputs is None else outputs, k),
        }  # fmt: skip
        heaters, columns = (self.mesh.by_column(part, order), order) if by_column else (order, None)
        if by_column and not self._device.numbers and not self.complex_cores:
            on["made"] = pages.like(on["phases"], (cores, k, k))
        noise, kind = self._ports.noise(readout), None
        if xp is not np and not self._drifts:  # how far biases drift depends on who went before
            kind = self._nonidealities, readout, part, rule, self.dtype, k, self.mesh.rail.tobytes()
        mesh, vectors = self.mesh, READINGS[readout].vectors
        return Sweep(
            self._device, on, tuple(shared), part, rule, mesh, heaters, columns, noise, self._noise, vectors, kind
        )

    def swept(self, sweep: Sweep, into: Array | None = None) -> tuple[Array, Array]:
        """Meter a `sweep` that was done (before every probe some heater was written), and take in what it reached: the
        commanded phases, in the array `into` if there is one, and the last losses."""
        on, probes, k = sweep.on, 2 * self.mesh.count, self.mesh.modes
        writes = on["writes"].sum() if self._device.numbers else int(on["writes"].sum())
        self._settling.wrote()
        calls, vectors = probes * self._cores, sweep.vectors * k
        self.meter.count(
            evaluations=calls, core_calls=calls * vectors, writes=writes, vectors=probes * vectors, settled=probes
        )
        self._phases[sweep.part] = on["phases"]
        self._forget(sweep.part, on.get("made"))
        return self.mesh.scatter(on["phases"].reshape(*self.shape, -1), into), on["loss"].reshape(self.shape)

    @property
    def in_pieces(self) -> bool:
        """Whether `product`, `sigma_gradient` and `product_back_into` take columns in pieces."""
        return self.xp is np and self.fuses("quadrature") and "product" not in self.unfused

    def product(
        self, x: Array | Pieces, cores: Array | None = None, rows: int | None = None, readout: str = "quadrature"
    ) -> Array:
        """M x of the whole grid, (q k, N) -> (p k, N): `forward` on every core and the sum over block columns.

        Through the cores of the mask (p, q) only; the first `rows` of the result, where nobody reads the others. The
        noise of the sum is drawn at once. Here and below, rows missing at the end of what is sent are dark.
        """
        grid = self._grid() if cores is None else blocks.kept(self._grid(), cores, self.mesh.modes)
        if not isinstance(x, Pieces):
            grid = like(x, grid)
        return self._noisy(pieces.times(grid[:rows, : len(x)], x), x, 1, cores, readout)

    def product_back(self, y: Array, cores: Array | None, readout: str = "quadrature") -> Array:
        """M' y of the whole grid, (p k, N) -> (q k, N), through the cores of the mask (p, q) only."""
        return self._noisy(blocks.turned(like(y, self._grid()), cores, self.mesh.modes)(y), y, 0, cores, readout)

    def product_back_into(self, y: Array, cores: Array | None, into: Pieces) -> None:
        """The same, of which `into` takes up as many rows as it has: first what is read, then the sum of its noise."""
        back, noise = blocks.turned(self._grid(), cores, self.mesh.modes), self._nonidealities.readout_noise
        for at, room in into.adding():
            back(y[:, at], out=room)
        if noise > 0.0:
            std = self._spread(0, cores)[: len(into)] * (full_scale(y) * noise)
            taken, variance = into.taken(std * std)
            self._noise.add(np.sqrt(variance), taken)
        self._sent(y.shape[1], cores)

    def _spread(self, axis: int, cores: Array | None) -> Array:
        """Standard deviation of the sum over the cores of a column or row behind every port, for readout noise of 1."""
        power = self._scale.reshape(self.shape) ** 2 * (1.0 if cores is None else self._home.put(cores))
        std: Array = np.repeat(np.sqrt(power.sum(axis=axis)), self.mesh.modes)
        return std

    def sigma_gradient(
        self, x: Array | Pieces, dy: Array, rest: Commands, vectors: Array | None = None, readout: str = "quadrature"
    ) -> Array:
        """dL/dsigma (p, q, k) as `l2sim.chip.grid.sigma_gradient` measures it, of quadratures or of fields.

        `x` is dark already where `vectors` (q, N) has False; they are metered.
        """
        noise, twice = self._ports.noise(readout), 2 * READINGS[readout].vectors
        passes, turned = self._passes(rest)
        sent = x.shape[1] * self.shape[1] if vectors is None else np.count_nonzero(vectors)
        count = x.shape[1] if vectors is None else int(vectors.sum(axis=1).max())  # columns side by side
        self._settling.wrote()
        writes = 2 * (turned + (np.count_nonzero(self._sigma != 1.0) if self._turned is None else self._turned))
        self.meter.count(core_calls=twice * sent * self.shape[0], writes=writes, vectors=twice * count, settled=2)
        k = self.mesh.modes
        # What noise asks for of x, seen on its way to dy x'.
        sums = namespace(dy).zeros((self.shape[1], k, k), self.dtype) if noise > 0.0 else None
        see = None if sums is None else partial(blocks.add_grams, out=sums)
        outer = blocks.outer(dy, x, (self.shape[0] * k, self.shape[1] * k), see)
        scales = (0.0, 0.0) if sums is None else (noise * full_scale(x), noise * full_scale(dy))
        passes = passes if readout == "field" else passes[:1]
        return blocks.measured(self._noise, passes, self._home.put(outer), sums, dy, vectors, scales)

    def _passes(self, rest: Commands) -> tuple[list[tuple[Array, Array]], Count]:
        """U I_V and (I_U V)' as `blocks.parted` has them, and the writes that it takes to rest both meshes; kept until
        one is commanded.

        Sigma is one in both passes: attenuators are open as far as their offsets let them.
        """
        if self._drifts:
            self._age()
        if self._rested is None or self._rested[0] is not rest:
            u, v, still = self._matrix("u"), self._matrix("v"), {}
            turned: Count = 0
            for part, phases, signs in rest.parts():
                flat, ends = self.mesh.gather(phases).reshape(self._cores, -1), signs.reshape(self._cores, -1)
                turned += np.count_nonzero(flat != self._phases[part]) + np.count_nonzero(ends != self._signs[part])
                still[part] = self._build(part, flat.astype(self.dtype), ends.astype(self.dtype))
            u, still["u"] = self._column.opened(u), self._column.opened(still["u"])
            self._rested = rest, blocks.parted(u @ still["v"], (still["u"] @ v).swapaxes(1, 2)), turned
        return self._rested[1:]

    # -- what only an observer may see ---------------------------------------------------------------------------------

    def wander_as(self, wander: Wander) -> None:
        """Let the biases be what `wander` makes of them from now on, by the clock of the chip's meter."""
        self._wander = wander
        self.nonidealities = self._nonidealities

    def state(self) -> tuple[dict[str, Array], ChipState]:
        """What a checkpoint needs: arrays as PART.KIND, and the position of the readout noise stream."""
        if self._unsound is not None and bool(self._unsound):
            raise NotFinite(f"chip {self.name} was commanded values that are not finite; lower the learning rate")
        kinds = {"phases": self._phases, "signs": self._signs}
        arrays = {naming.name(part, kind): of[part] for kind, of in kinds.items() for part in PARTS}
        arrays[naming.name("sigma", "commanded")] = self._sigma
        values = ChipState(noise=self._noise.state(), drift=self._wander.state(), restless=self._settling.restless)
        if laser := self._ports.state():
            values["laser"] = laser
        warmth, heat = self._heat.state()
        arrays |= warmth | self._devices.arrays()
        return {key: a.copy() for key, a in arrays.items()}, values | heat

    def restore(self, arrays: dict[str, Array], values: ChipState) -> None:
        """Go on from what `state` returned."""
        for part in PARTS:
            self._phases[part] = self._home.put(arrays[naming.name(part, "phases")].astype(self.dtype))
            self._signs[part] = self._home.put(arrays[naming.name(part, "signs")].astype(self.dtype))
        self._sigma = self._home.put(arrays[naming.name("sigma", "commanded")].astype(self.dtype))
        self._noise.restore(values["noise"])
        if "drift" in values:
            self._wander.restore(values["drift"])
        self._settling.restless = values.get("restless", False)
        self._heat.restore(arrays, values.get("heat", {}), self._home.put)
        self._devices = self._devices.become(arrays)
        self._ports.restore(values.get("laser", {}))
        self.nonidealities = self._nonidealities

    # -- inside --------------------------------------------------------------------------------------------------------

    def _checked(self, values: ArrayLike, shape: tuple[int, ...], what: str, unasked: bool = False) -> Array:
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused below
            array = self._home.put(reals(values, what), self.dtype)
        if array.shape != shape:
            raise ChipError(f"{what} have shape {array.shape}; this chip takes {shape}")
        return array if unasked else self._sound(array, what)

    def _sound(self, array: Array, what: str) -> Array:
        """`array`, unless it holds values that are not finite: then a ChipError, on a GPU as late as in `state`."""
        if self.xp is not np:  # nobody waits for the answer; `state` asks
            odd = ~np.isfinite(array).all()
            self._unsound = odd if self._unsound is None else self._unsound | odd
        elif not np.isfinite(array).all():
            raise NotFinite(f"values of {what} are not finite; the chip was left as it was")
        return array

    def _written(self, now: Array, before: Array) -> bool:
        """Meter the values that change; False where none does. A GPU is not asked: there, something may."""
        changed = np.count_nonzero(now != before)
        if self.xp is np and not changed:
            return False
        self.meter.count(writes=changed)
        self._settling.wrote()
        return True

    def _sent(self, vectors: int, cores: Array | None) -> None:
        """Meter so many vectors through every core (of a mask), after whatever was written has settled."""
        probed = self._cores if cores is None else np.count_nonzero(cores)
        if self.xp is np and not probed:  # a GPU is not asked
            return
        self.meter.count(core_calls=probed * vectors, vectors=vectors, settled=self._settling.waits())
        self._heat.lit(self.meter)

    def _age(self) -> None:
        """Take in how far biases have wandered by now. A fused operation does so once, at its beginning."""
        if not self._wander.moved(self.meter.clock):
            return
        for part in PARTS:
            bias = (self._still[part] + self._wander.biases(part)).astype(self.dtype)
            self._chain[part] = fabrication.biased(self._chain[part], self._home.put(bias))
            self._forget(part)

    def _command(self, part: str, phases: Array) -> None:
        if self._written(phases, self._phases[part]):
            self._heat.before(part, self._phases[part], self._chain[part], self.meter)
            self._phases[part] = phases
            self._forget(part)

    def _forget(self, part: str, made: Array | None = None) -> None:
        self._matrices[part], self._weight_grid, self._rested = made, None, None

    def _effective(self, part: str, phases: Array) -> Array:
        if not self._heat.plain:  # what is left of the last heat belongs to what is commanded
            now = self.meter.clock if phases is self._phases[part] else None
            return self._heat.phases(part, phases, self._chain[part], now)
        out = pages.like(phases, phases.shape)
        kernels_of(phases).chain.apply(phases, *self._chain[part], out)
        return out

    def _build(self, part: str, phases: Array, signs: Array) -> Array:
        flip, signs = self.mesh.resolve_signs(signs)
        out: Array = pages.like(phases, (self._cores, self.mesh.modes, self.mesh.modes))
        rails = resident(out, self.mesh.rail)
        kernels_of(out).mesh.matrices(self._effective(part, phases), flip, signs, rails, out)
        return out

    def _matrix(self, part: str) -> Array:
        """The mesh's true matrices (M, k, k), rebuilt only when something changed."""
        if self._drifts:
            self._age()
        built = self._matrices[part]
        if built is None or self._heat.lags:
            built = self._matrices[part] = self._build(part, self._phases[part], self._signs[part])
        return built

    def _hung(self, sheet: Nonidealities) -> attenuators.Column:
        """The attenuators with these imperfections."""
        return attenuators.Column(self._attenuators, sheet, self._home.put, self._devices)

    def _realise_sigma(self) -> None:
        self._realised, self._scale = self._column.realise(self._sigma)
        self._weight_grid = self._turned = None

    def _grid(self) -> Array:
        """The whole matrix M (p k, q k), kept until something changes."""
        if self._drifts:
            self._age()
        if self._weight_grid is None:
            sigma = self._realised.reshape(*self.shape, -1)
            self._weight_grid = blocks.assemble(self._matrix("u"), sigma, self._matrix("v"))
        return self._weight_grid

    def _probe(self, weights: Array, x: ArrayLike, cores: ArrayLike | None, kind: str, back: bool) -> Array:
        """Readings of `kind` of what the cores (of a mask) make of light x: W x of `weights` (p, q, k, k)."""
        if word(kind, "a readout") not in self.readouts:
            raise ChipError(f"this chip has no {kind!r} readout; it has {', '.join(self.readouts)}")
        sent = light_of_cores(x, self.shape, self.mesh.modes, complex_cores=self.complex_cores)
        some = mask_of_cores(cores, self.shape)
        lit = self._ports.sent(self._sound(self._home.put(sent), "light"), back)
        y = self._read(self._passed(weights, lit, kind), kind, back)
        if some is not None:
            y = np.where(self._home.put(some)[:, :, None, None], y, 0.0)
        self._sent(y.shape[3] * READINGS[kind].vectors, some)
        return y

    def _passed(self, weights: Array, x: Array, kind: str) -> Array:
        """The amplitudes W x behind the cores, as far as readings of `kind` need them."""
        y: Array = np.matmul(weights, x)
        return y

    def _read(self, y: Array, kind: str, back: bool) -> Array:
        """Readings of the amplitudes y (p, q, k, B), in the precision of the chip."""
        gain = self._scale.reshape(*self.shape, 1, 1)
        if self._ports.special(kind):
            seen = self._ports.behind(y, gain, kind, self._variates, back)
        else:
            seen = readout.core(y, kind, self._nonidealities, self._variates, gain)
        complex_too = np.result_type(self.dtype, np.complex64) if kind == "field" else self.dtype
        return seen.astype(complex_too, copy=False)

    def _noisy(self, product: Array, sent: Array | Pieces, axis: int, cores: Array | None, readout: str) -> Array:
        """Meter a product of the whole grid with `sent` (rows, N), and add the noise of its readings."""
        self._sent(sent.shape[1] * READINGS[readout].vectors, cores)
        noise = self._ports.noise(readout)
        if noise > 0.0:
            std = like(product, self._spread(axis, cores)[: len(product)]) * (full_scale(sent) * noise)
            self._noise.add(std, product)
        return product

    def _variates(self, shape: tuple[int, ...]) -> Array:
        """Standard normal variates of the readout's stream, where the chip computes."""
        return self._noise.normal(shape, self.dtype, self.xp)
