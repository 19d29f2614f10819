"""Twins of whole complex meshes: by the powers at their taps, or at their outputs alone."""

from __future__ import annotations

__all__ = ["by_outputs", "by_taps", "fit"]
