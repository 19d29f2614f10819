"""Exact gradients of a whole mesh, by running it in reverse (`kernels.propagate.adjoint`, `gradients`)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array
from l2sim.chip import readout
from l2sim.chip.protocol import Gradient, Taps
from l2sim.mesh.mesh import Mesh


class Exact:
    """What `l2sim.chip.mesh_chip.MeshChip`, which has all that is declared here, computes for itself."""

    mesh: Mesh
    dtype: np.dtype
    xp: ModuleType
    _sizes: dict[str, int]
    _kernels: ModuleType
    _heated: Array
    _splitters: Array
    _ends: Array
    _stacked: Array
    _complex: np.dtype
    _lossless: bool

    def _common(self) -> tuple[Array, ...]:
        raise NotImplementedError

    def _matrix(self) -> Array:
        raise NotImplementedError

    def _planes(self, x: Array) -> Array:
        raise NotImplementedError

    def _fields(self, planes: Array) -> Array:
        raise NotImplementedError

    def checked_light(self, x: ArrayLike) -> Array:
        """Light where the chip computes."""
        raise NotImplementedError

    def passed(self, x: Array, back: bool) -> Array:
        """Light through the mesh."""
        raise NotImplementedError

    def oracle_gradient(self, x: Array, g: Array) -> Gradient:
        """The exact gradient with respect to the phases that the light sees: `x`, `g` (N, B), with loss, no noise."""
        x, g = self.checked_light(x), self.checked_light(g).astype(self._complex, copy=False)
        return self._adjoint(x, g) if self._lossless else self._adjoint_lossy(x, g)

    def _room(self) -> tuple[Array, Array, Array]:
        theta, phi, screen = (self.xp.empty((1, size), self.dtype) for size in self._sizes.values())
        return theta, phi, screen

    def _measured(self, room: tuple[Array, Array, Array], x: Array) -> Gradient:
        theta, phi, screen = (part[0] for part in room)
        heated = self._heated[: self.mesh.count]
        return Gradient(theta * heated, phi * heated, screen, x)

    def _adjoint(self, x: Array, g: Array) -> Gradient:
        """Without loss. A batch larger than N enters as one N x N matrix (`kernels.propagate`)."""
        room = self._room()
        elements, top, bottom, screen = self._common()
        if x.shape[1] > self.mesh.modes:
            matrix = self._matrix()
            if np.iscomplexobj(x):
                product, back = x @ g.T, matrix.T @ g
            else:
                product, back = self._in_phase(x, g)
            product = self._planes(matrix @ product)  # U (X G^T) = Y G^T
            self._kernels.propagate.gradients(elements, self._splitters, top, bottom, screen, product, *room)
            return self._measured(room, back)
        field, cotangent = self._planes(self.passed(x, False)), self._planes(g)
        self._kernels.propagate.adjoint(elements, self._splitters, top, bottom, screen, field, cotangent, *room)
        return self._measured(room, self._fields(cotangent))

    def forms(self, form: Array) -> tuple[Taps, Taps]:
        """Imaginary and real parts of F_p Z F_p^+ at every shifter p, without loss, for `form` Z (N, N) at the inputs:
        sums of powers, the real ones not negative (`kernels.interference`)."""
        matrix = self._matrix()
        form = matrix @ form @ np.conj(matrix.T)
        elements, top, bottom, screen = self._common()
        by_theta, by_phi = (np.empty((1, 2 * self.mesh.count), self.dtype) for _ in range(2))
        planes = self._planes(form)
        self._kernels.interference.forms(elements, self._splitters, top, bottom, screen, planes, by_theta, by_phi)
        heated, ends = self._heated[: self.mesh.count], np.diagonal(form)
        theta, phi = (part.reshape(2, -1) * heated for part in (by_theta, by_phi))
        return Taps(-theta[0], -phi[0], ends.imag), Taps(*(np.maximum(p, 0) for p in (theta[1], phi[1], ends.real)))

    def _in_phase(self, x: Array, g: Array) -> tuple[Array, Array]:
        """X G^T and Re U^T G of real light: each half the work of a complex product."""
        modes, both = self.mesh.modes, self._planes(g).reshape(2 * self.mesh.modes, -1)
        product = (both @ x.T).reshape(2, modes, modes)
        turned = self._stacked.copy()
        turned[modes:] *= -1
        return readout.complex_of(product[0].T, product[1].T), turned.T @ both

    def _adjoint_lossy(self, x: Array, g: Array) -> Gradient:
        room = self._room()
        elements, top, bottom, screen = self._common()
        field, cotangent = self._planes(x), self._planes(g * self._ends)
        mesh = elements, self._splitters, top, bottom, screen
        self._kernels.propagate.adjoint_lossy(*mesh, field, cotangent, *room)
        return self._measured(room, self._fields(cotangent))
