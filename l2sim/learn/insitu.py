"""In situ backpropagation: the gradient of every phase of a mesh, read by its power taps.

With x sent in, f is the field at a phase shifter; with g = dL/dRe y - i dL/dIm y sent into the outputs, a is the field
there and a_in = U^T g what arrives at the inputs. Sending x - i conj(a_in) makes f and the time-reversed a interfere:

    dL/dp = -Im sum_b a f = (sum_b |f - i conj a|^2 - |f|^2 - |a|^2) / 2                               "digital"
          = sum_b (|f - i conj a|^2 - |f + i conj a|^2) / 4                                            "analog"
          = sum_b (I(0) - mean over t of I(t)) / 2,  I(t) = |f - i e^{it} conj a|^2                    "sweep"
          = sum_b sign(I(0) - I(pi)) mean |I - mean I| / 2, t toggled between 0 and pi                 "toggle"

(Hughes et al., Optica 5, 864 (2018), eq. 11; Pai et al., Science 380, 398 (2023); spec/insitu.md, section 2). All are
exact without loss. A uniform amplitude factor t per column can be corrected: at depth d columns from the input forward
powers have t^{2d}, reversed ones t^{2(C-d)}, and a_in has t^C, so that

    digital    (P(f - i conj a) - P(f)) / t^{2d} - P(a) t^{2d}         the others    P / t^{2d}

are exact again: forward and sum powers are divided, backward powers *multiplied* (the natural-looking opposite is worse
than nothing). A tap on the coupler's side of its shifter stands at d = c + 1/2 for phi of column c, c + 1 for theta and
C for the screen, as each section of an MZI loses half of t.

a_in is read with noise, sigma in each quadrature, and sent in again with it. The power of that, 2 sigma^2 B of B
vectors, reaches every tap, and no reading that is subtracted has it: "digital" is off by + sigma^2 B scale_x scale_g,
the same at every phase. The others subtract readings that both have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from l2sim.backend import Array, Scalar, like, namespace
from l2sim.chip.protocol import SCHEMES, Gradient, MeshHardware, Taps, check
from l2sim.errors import ChipError, NotFinite
from l2sim.mesh.mesh import Mesh

__all__ = ["Gradient", "depths", "measure"]

SCALES = ("row", "peak", "none")


def measure(
    hardware: MeshHardware,
    x: Array,
    g: Array,
    scheme: str = "digital",
    loss_per_column: float = 0.0,
    frozen: bool = False,
    scale: str = "row",
) -> Gradient:
    """dL/dtheta, dL/dphi (n,), dL/dscreen (N,) summed over the batch, and U^T g, as the hardware's taps show them.

    Derivatives are by the phases that the light sees; what a heater makes of its command is not known here.

    `x`, `g` (N, B) complex: the light, and the cotangents at the outputs. `scheme`: see the module. `loss_per_column`:
    known uniform loss, dB, that is corrected for. `frozen`: every measurement repeats the same noise, as simphox does;
    only hardware that can `rewind` its noise (a simulation) does that. `scale`: how strong the light is that is sent,
    for which the result is scaled back. "row": x divided by the largest norm of a row of x, and g by that of g, as
    simphox does; of a batch every single vector is then dim. "peak": x as it is and g with the largest amplitude of
    x, which is what modulators can do. "none": both as they are. Without noise that changes nothing but the bias that
    loss gives to digital subtraction.

    Takes the hardware's fused operations where it has them, which give the same distribution. Raises ChipError.
    """
    check(hardware, MeshHardware, "mesh", "backward", "taps")
    if scheme not in SCHEMES:
        raise ChipError(f"scheme {scheme!r} is unknown; use one of {', '.join(SCHEMES)}")
    x, g = namespace(x).asarray(x), namespace(g).asarray(g)
    if x.shape != g.shape or x.ndim != 2 or x.shape[1] == 0:
        raise ChipError(f"light {x.shape} and cotangents {g.shape} must both be (N, B), with at least one vector")
    if frozen:
        if not hasattr(hardware, "rewind"):
            raise ChipError("this hardware cannot repeat its noise; measure with frozen=False")
        hardware.rewind()
    if scale not in SCALES:
        raise ChipError(f"scale {scale!r} is unknown; use one of {', '.join(SCALES)}")
    if hasattr(hardware, "gradient"):
        exact: Gradient | None = hardware.gradient(x, g, scheme)  # without noise, whatever the scale
        if exact is not None:
            return exact
    scale_x, scale_g = row_norm(x, scale == "row"), row_norm(g, scale == "row")
    if scale == "peak":
        scale_g = peak(g, 1.0) / peak(x, peak(g, 1.0))
    x, g = divided(x, scale_x), divided(g, scale_g)
    measured: Gradient | None = None
    if hasattr(hardware, "noisy_gradient") and not loss_per_column:
        measured = hardware.noisy_gradient(x, g, scheme)
    if measured is None:
        measured = _probed(hardware, x, g, scheme, loss_per_column)
    back = scale_x * scale_g
    return Gradient(back * measured.theta, back * measured.phi, back * measured.screen, scale_g * measured.x)


def peak(light: Array, dark: Scalar) -> Scalar:
    """The largest amplitude in `light` (N, B); `dark` where there is none. On a GPU it stays there."""
    largest = np.abs(light).max()
    if namespace(light) is not np:
        return np.where(largest > 0, largest, dark).astype(largest.dtype)
    return float(largest) or dark


def row_norm(x: Array, wanted: bool) -> Scalar:
    """The largest norm of a row of x (N, B); 1 where there is no light, or where it is not `wanted`. On a GPU it stays
    there. Raises ChipError where x is not finite."""
    if namespace(x) is not np:  # what is not finite is the hardware's to tell
        largest = np.sqrt((x.real**2 + x.imag**2).sum(axis=1).max())
        return np.where(largest > 0, largest, 1.0).astype(largest.dtype) if wanted else 1.0
    parts = _parts(x)
    squares = np.einsum("nb,nb->n", parts, parts)
    if not np.isfinite(squares).all() and not np.isfinite(x).all():
        raise NotFinite("light or cotangents hold values that are not finite; nothing was sent")
    return float(np.sqrt(squares.max(initial=0.0))) or 1.0 if wanted else 1.0


def _parts(x: Array) -> Array:
    """x (N, B) of the host as real numbers, a complex one as its real and imaginary parts in turns (N, 2 B)."""
    plain = np.ascontiguousarray(x, np.result_type(x, np.float32))
    return plain.view(plain.real.dtype)


def divided(x: Array, scale: Scalar) -> Array:
    """x / scale for a real `scale`, without the division by a complex number that NumPy makes of it."""
    if namespace(x) is not np:
        there: Array = x / scale
        return there
    parts = _parts(x) / scale
    return parts.view(np.result_type(parts, np.complex64)) if np.iscomplexobj(x) else parts


def depths(mesh: Mesh) -> Taps:
    """Columns between the inputs and the taps at theta (n,), phi (n,) and the screen (N,), in travel order."""
    column = mesh.column.astype(float)
    return Taps(column + 1.0, column + 0.5, np.full(mesh.modes, float(mesh.columns)))


def _probed(hardware: MeshHardware, x: Array, g: Array, scheme: str, loss: float) -> Gradient:
    """The gradient by `taps` and `backward` alone, for light that is scaled already. `loss` in dB a column."""
    count = SCHEMES[scheme][1]
    if scheme == "digital":
        _, ahead = _sums(hardware, x)
        back_in, back = _sums(hardware, g, back=True)
        _, both = _sums(hardware, x - 1j * np.conj(back_in))
        factors = _factors(hardware, loss, both)
        parts = ((s - f) / t - a * t for s, f, a, t in zip(both, ahead, back, factors))
        return _gradient((part / 2 for part in parts), back_in)
    back_in = hardware.backward(g)
    turns = [complex(-1j * np.exp(2j * np.pi * step / (2 if scheme == "toggle" else count))) for step in range(count)]
    if scheme == "toggle":
        shown = [hardware.taps(x + turn * np.conj(back_in))[1] for turn in turns]
        return _gradient(_scaled(hardware, loss, map(_toggled, zip(*shown))), back_in)
    sums = [_sums(hardware, x + turn * np.conj(back_in))[1] for turn in turns]
    if scheme == "analog":
        differences = [(plus - minus) / 4 for plus, minus in zip(*sums)]
    else:
        differences = [(shifter[0] - sum(shifter) / count) / 2 for shifter in zip(*sums)]
    return _gradient(_scaled(hardware, loss, differences), back_in)


def _toggled(readings: tuple[Array, ...]) -> Array:
    """A lock-in behind each tap: mean |I - mean I| over the toggles, signed by the half periods, summed over B."""
    seen = np.stack(readings)
    swing = np.abs(seen - seen.mean(axis=0)).mean(axis=0)
    signed: Array = (np.sign(seen[::2].mean(axis=0) - seen[1::2].mean(axis=0)) * swing).sum(axis=-1) / 2
    return signed


def _sums(hardware: MeshHardware, x: Array, back: bool = False) -> tuple[Array, Taps]:
    """The field at the far end, and tap powers summed over the batch."""
    if hasattr(hardware, "tap_sums"):
        summed: tuple[Array, Taps] = hardware.tap_sums(x, back)
        return summed
    far, taps = hardware.taps(x, back)
    return far, Taps(*(power.sum(axis=-1, dtype=np.float64) for power in taps))


def _factors(hardware: MeshHardware, loss: float, beside: Sequence[Array]) -> Taps:
    """t^{2d} at every tap, for a loss per column in dB; where the arrays `beside` live."""
    return Taps(*(like(a, 10.0 ** (-loss * depth / 10.0)) for a, depth in zip(beside, depths(hardware.mesh))))


def _scaled(hardware: MeshHardware, loss: float, parts: Iterable[Array]) -> list[Array]:
    """Gradients by theta, phi and the screen, made good for a loss per column in dB."""
    parts = list(parts)
    return [part / factor for part, factor in zip(parts, _factors(hardware, loss, parts))]


def _gradient(parts: Iterable[Array], back_in: Array) -> Gradient:
    """Gradients by theta, phi and the screen in the precision of the light that came back."""
    theta, phi, screen = (part.astype(back_in.real.dtype, copy=False) for part in parts)
    return Gradient(theta, phi, screen, back_in)
