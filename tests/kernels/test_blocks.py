"""A grid of cores as one matrix: assembled, differentiated and multiplied with blocks left out, against NumPy."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from l2sim.backend import Array, generator, kernels
from l2sim.chip.fused import blocks
from l2sim.errors import ChipError
from tests.assembly import wide_multiply_adds
from tests.tolerances import DTYPES, kernel

reference = kernels.reference
GRIDS = ((1, 1, 1), (3, 2, 5), (5, 37, 100), (2, 20, 48), (4, 9, 400))


def draws(seed: int, dtype: object, *shapes: tuple[int, ...]) -> list[Array]:
    rng = generator(seed, "blocks")
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", (2, 8, 9, 11, 17, 32))
def test_blocks_left_out_are_zeros(dtype: object, k: int) -> None:
    for p, q, batch in GRIDS:
        matrix, y = draws(k, dtype, (p * k, q * k), (p * k, batch))
        for kept in (0.0, 0.4, 1.0):
            cores = generator(k, "mask").random((p, q)) < kept
            whole = reference.masked(matrix, cores, k).T @ y.astype(np.float64)
            scale = np.sqrt(p * k) * 4
            np.testing.assert_allclose(blocks.product_back(matrix, cores, y, k), whole, atol=kernel(dtype, k) * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", (2, 9, 16))
def test_assembly_and_diagonals(dtype: object, k: int) -> None:
    for p, q, _ in GRIDS:
        u, v, sigma, matrix = draws(k, dtype, (p * q, k, k), (p * q, k, k), (p, q, k), (p * k, q * k))
        atol = kernel(dtype, k) * 10 * k
        np.testing.assert_allclose(blocks.assemble(u, sigma, v), reference.assemble(u, sigma, v), atol=atol)
        np.testing.assert_allclose(blocks.diagonals(u, matrix, v), reference.diagonals(u, matrix, v, k), atol=atol)


def test_a_dark_core_stays_dark() -> None:
    """What is left out is not read: not even a NaN in it shows."""
    matrix, y = draws(1, np.float64, (6, 9), (6, 4))
    matrix[:3, 3:6] = np.nan
    cores = np.ones((2, 3), bool)
    cores[0, 1] = False
    assert np.isfinite(blocks.product_back(matrix, cores, y, 3)).all()


def test_rows_that_are_missing_are_dark() -> None:
    matrix, y = draws(2, np.float64, (6, 9), (4, 5))
    cores = np.array([[True, False, True], [True, True, False]])
    full = np.concatenate([y, np.zeros((2, 5))])
    np.testing.assert_allclose(blocks.product_back(matrix, cores, y, 3), blocks.product_back(matrix, cores, full, 3))


def test_light_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ChipError, match="does not fit"):
        blocks.product_back(np.zeros((6, 6)), np.ones((2, 2), bool), np.zeros((7, 1)), 3)


def test_the_hot_loops_are_vectorised() -> None:
    types = numba.types
    two, three = (types.Array(types.float32, d, "C") for d in (2, 3))
    index, count, depth = types.Array(types.int64, 1, "C"), types.int64, types.UniTuple(types.int64, 9)
    of = kernels.blocks
    assert wide_multiply_adds(of.assemble_piece, (count, count, three, three, three, depth, two)) >= 8
    assert wide_multiply_adds(of.project_piece, (count, count, three, two, three, depth, three)) >= 9
    tuples = types.UniTuple(types.int64, of.outputs(9)), types.UniTuple(types.int64, 3)
    assert wide_multiply_adds(of.sparse_piece, (count, count, index, index, two, three, count, *tuples, two)) >= 27
