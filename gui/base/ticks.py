"""Where an axis has its numbers. No Qt here."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array


def linear(low: float, high: float, most: int, whole: bool = False) -> list[tuple[float, str]]:
    """Places at multiples of 1, 2 or 5 times a power of ten, at most `most` of them, with their text. `whole` numbers
    are written in full."""
    span = high - low
    if not (np.isfinite(span) and span > 0):
        return []
    size = 10.0 ** np.floor(np.log10(span / max(most, 1)))
    size = next(size * factor for factor in (1, 2, 5, 10) if span <= size * factor * max(most, 1) * (1 + 1e-9))
    size = max(size, 1.0) if whole else size
    places = np.arange(np.ceil(low / size - 1e-9), np.floor(high / size + 1e-9) + 1) * size + 0.0  # no -0
    return [(float(place), f"{place:,.0f}" if whole else _text(float(place), size)) for place in places]


def logarithmic(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """The same for an axis of log10: whole decades, or 1, 2, 5 of each where few are seen, else as `linear`."""
    if not (np.isfinite(high - low) and high > low):
        return []
    first, last = int(np.ceil(low)), int(np.floor(high))
    if last - first >= 2:
        apart = -(-(last - first + 1) // max(most, 1))
        return [(float(n), _power(10.0**n)) for n in range(first, last + 1) if n % apart == 0]
    parts: Array = np.array([f * 10.0**n for n in range(first - 1, last + 2) for f in (1, 2, 5)])
    parts = parts[(parts >= 10.0**low) & (parts <= 10.0**high)]
    if 2 <= len(parts) <= most + 1:
        return [(float(np.log10(part)), _power(float(part))) for part in parts]
    return [(float(np.log10(place)), text) for place, text in linear(10.0**low, 10.0**high, most) if place > 0]


def _text(place: float, size: float) -> str:
    if abs(place) < size / 2:
        return "0"
    if abs(place) >= 1e6 or (size < 1e-4 and abs(place) < 1e-2):
        digits = np.floor(np.log10(abs(place)) + 1e-9) - np.floor(np.log10(size) + 1e-9)
        return _short(f"{place:.{max(0, int(digits))}e}")
    return f"{place:.{max(0, -int(np.floor(np.log10(size) + 1e-9)))}f}"


def _power(value: float) -> str:
    return _short(f"{value:g}")


def _short(text: str) -> str:
    return text.replace("e-0", "e-").replace("e+0", "e")
