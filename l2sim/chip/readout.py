"""What detectors say of light that reaches them, with its noise: one rule for all chips.

With y the complex amplitude, n standard normal variates, g the electronic gain behind a core (1 elsewhere), r the phase
of the reference, fresh for each vector:

    quadrature  Re(y e^{i r}) + g sigma n       field  y e^{i r} + g sigma (n + i n')
    power       |y|^2 + g s |y| n + g^2 sigma n

`normal(shape)` draws the variates where the light is; they are drawn in the order of the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from l2sim import pages
from l2sim.backend import Array, Device, generator, kernels, namespace
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import RunError
from l2sim.streams import Stream

Normal = Callable[[tuple[int, ...]], Array]
"""Draws standard normal variates of a shape."""
Phasor = Callable[[Array], Array]
"""e^{i angle} of angles."""


def intensity(field: Array) -> Array:
    """|y|^2 of a complex field."""
    power: Array = field.real**2 + field.imag**2
    return power


def phasor(angle: Array) -> Array:
    """e^{i angle} in the precision of `angle`."""
    return complex_of(np.cos(angle), np.sin(angle))


def complex_of(real: Array, imag: Array) -> Array:
    """real + i imag, in their precision."""
    out = np.empty_like(real, np.result_type(real.dtype, np.complex64), shape=real.shape)
    out.real[...], out.imag[...] = real, imag
    return out


def quadrature(
    y: Array, sheet: Nonidealities, normal: Normal, gain: Array | float = 1.0, turned: Phasor = phasor
) -> Array:
    """Readings of amplitudes (..., k, B), real or complex, against a reference."""
    if sheet.reference_phase_std:
        angle = _reference(y, sheet, normal)
        y = (y * turned(angle)).real if np.iscomplexobj(y) else y * np.cos(angle)
    elif np.iscomplexobj(y):
        y = y.real
    return y + gain * (sheet.readout_noise * normal(y.shape)) if sheet.readout_noise else y


def field(y: Array, sheet: Nonidealities, normal: Normal, gain: Array | float = 1.0, turned: Phasor = phasor) -> Array:
    """Readings of both quadratures of amplitudes (..., k, B), complex."""
    if sheet.reference_phase_std:
        y = y * turned(_reference(y, sheet, normal))
    y = y.astype(np.result_type(y.dtype, np.complex64), copy=False)
    if sheet.readout_noise:
        y = y.copy()
        for part in (y.real, y.imag):
            part += gain * (sheet.readout_noise * normal(y.shape))
    return y


def power(y: Array, power: Array, sheet: Nonidealities, normal: Normal, gain: Array | float = 1.0) -> Array:
    """Readings of `power` = |y|^2 of amplitudes y (..., k, B)."""
    if sheet.shot_noise:
        power = power + gain * np.abs(y) * (sheet.shot_noise * normal(y.shape))
    return power + gain * gain * (sheet.readout_noise * normal(y.shape)) if sheet.readout_noise else power


def core(y: Array, kind: str, sheet: Nonidealities, normal: Normal, gain: Array) -> Array:
    """Readings of `kind` behind cores whose ports are those of the module."""
    if kind == "power":
        amplitude = np.abs(y)
        return power(y, amplitude * amplitude, sheet, normal, gain)
    return (field if kind == "field" else quadrature)(y, sheet, normal, gain, _turned)


def _turned(angle: Array) -> Array:
    """e^{i angle} as readings of cores have it."""
    return np.exp(1j * angle)


def modulated(field: Array, sheet: Nonidealities, normal: Normal) -> Array:
    """A field with the amplitude and phase errors of its modulators or detectors (spec/insitu.md, section 2)."""
    if sheet.io_amplitude_error:
        field = field * np.abs(1.0 + sheet.io_amplitude_error * normal(field.shape))
    if sheet.io_phase_error:
        field = field * phasor(np.pi * sheet.io_phase_error * normal(field.shape))
    return field


def tapped(
    total: Array, power: Array, sheet: Nonidealities, normal: Normal, vectors: int, weight: float = 1.0
) -> Array:
    """Readings of weighted sums of powers inside a mesh, with s^2 = `tap_noise`^2 and t^2 = `tap_floor`^2

        sum_j w_j I_j + (s^2 sum_j w_j^2 I_j + t^2 sum_j w_j^2)^(1/2) n,

    from the `total` and the `power` of the first two sums, over so many `vectors`, w^2 being `weight` on average. A tap
    that integrates over a batch reads once for all of its vectors."""
    if not (sheet.tap_noise or sheet.tap_floor):
        return total
    if not sheet.tap_floor:
        return total + sheet.tap_noise * np.sqrt(power) * normal(power.shape)
    floor = sheet.tap_floor**2 * weight * (1 if sheet.tap_integrates else vectors)
    noisy: Array = total + np.sqrt(sheet.tap_noise**2 * power + floor) * normal(power.shape)
    return noisy


class Noise:
    """Standard normal noise of the stream of these names under `seed`, in the precision `dtype`, where `device`
    computes.

    Noise that repeats itself is drawn once, from `generator`: `rewind` goes back to the start, and what is drawn next
    is what was drawn first. Other noise is of the `Stream` of the names; before there were streams, all was of the
    generator, and goes on from a position there.
    """

    def __init__(self, dtype: np.dtype[np.generic], device: Device, seed: int, *names: str) -> None:
        self._rng, self._stream = generator(seed, *names), Stream(seed, *names)
        self._dtype, self._device = dtype, device
        self._start = self._rng.bit_generator.state
        # Every draw since `rewind`, and where the generator then stood.
        self._tape: list[tuple[Array, Mapping[str, object]]] | None = None
        self._played, self._old = 0, False

    @property
    def repeats(self) -> bool:
        """Whether it was ever rewound."""
        return self._tape is not None

    def rewind(self) -> None:
        """Go back to the start: what is drawn next repeats what was drawn first."""
        self._tape, self._played = self._tape or [], 0

    def normal(self, shape: tuple[int, ...]) -> Array:
        """The next numbers, of `shape`."""
        if self._tape is None:
            return self._drawn(shape) if self._old else self._device.put(self._stream.normal(shape, self._dtype))
        at, self._played = self._played, self._played + 1
        if at == len(self._tape) or self._tape[at][0].shape != shape:
            self._rng.bit_generator.state = self._before(at)
            self._tape[at:] = [(self._drawn(shape), self._rng.bit_generator.state)]
        return self._tape[at][0]

    def modulated(self, light: Array, sheet: Nonidealities) -> Array:
        """`modulated` with this noise; of single precision, on the host, in one pass over the light."""
        if not sheet.io_phase_error or not self._at_once(light):
            return modulated(light, sheet, self.normal)
        out = pages.empty(light.shape, np.complex64)
        page = self._stream.turn()
        if sheet.io_amplitude_error:
            self._stream.turn()
        kernels.ports.modulated(
            page, self._stream.key, sheet.io_amplitude_error, np.pi * sheet.io_phase_error, light.reshape(-1),
            out.view(np.float32).reshape(-1, 2),
        )  # fmt: skip
        return out

    def field(self, light: Array, sheet: Nonidealities) -> Array:
        """`field` with this noise; of single precision, on the host, in one pass over the light."""
        if not sheet.readout_noise or sheet.reference_phase_std or not self._at_once(light):
            return field(light, sheet, self.normal)
        out = pages.empty(light.shape, np.complex64)
        page = self._stream.turn()
        self._stream.turn()  # of the other quadrature
        parts = out.view(np.float32).reshape(-1, 2)
        kernels.ports.read(page, self._stream.key, sheet.readout_noise, light.reshape(-1), parts)
        return out

    def _at_once(self, light: Array) -> bool:
        fresh = self._tape is None and not self._old
        return fresh and namespace(light) is np and light.dtype in (np.float32, np.complex64) and light.ndim > 0

    def position(self) -> Mapping[str, object]:
        """Where it stands."""
        if self._tape is not None:
            return self._before(self._played)
        return self._rng.bit_generator.state if self._old else self._stream.state()

    def go_on(self, position: Mapping[str, object]) -> None:
        """Go on from where it stood at `position`, as noise that does not repeat itself until it is rewound. RunError
        for what is no position."""
        self._tape, self._old = None, "bit_generator" in position
        if not self._old:
            self._stream.restore(position)
            return
        try:
            self._rng.bit_generator.state = position
        except (TypeError, ValueError, KeyError) as error:
            raise RunError(f"the checkpoint cannot be read (noise: {error}); use another") from None

    def _drawn(self, shape: tuple[int, ...]) -> Array:
        return self._device.put(self._rng.standard_normal(shape, self._dtype))  # type: ignore[arg-type]

    def _before(self, at: int) -> Mapping[str, object]:
        """Where the generator stood after `at` draws since `rewind`."""
        return self._tape[at - 1][1] if self._tape and at else self._start


def _reference(y: Array, sheet: Nonidealities, normal: Normal) -> Array:
    """Phases of the reference, one for each vector of each core, (..., 1, B)."""
    angle: Array = sheet.reference_phase_std * normal((*y.shape[:-2], 1, y.shape[-1]))
    return angle
