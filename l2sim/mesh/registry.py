"""The layouts of meshes that others register (`layouts.register`), for those who need only their names: no NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l2sim.plugins import Registry

if TYPE_CHECKING:
    from l2sim.backend import Array

REGISTERED: Registry[Callable[[int], tuple[Array, Array, Array]]] = Registry("layout")
