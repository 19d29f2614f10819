"""Random streams by name, precisions and threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from l2sim.backend import float_type, generator, kernels, threads
from l2sim.errors import JobError


def test_a_stream_is_its_seed_and_names() -> None:
    wanted = generator(1, "calibrate", "conv1", 17).random(5)
    generator(2, "something else").random(1000)
    np.random.default_rng(3).random(7)
    assert np.array_equal(generator(1, "calibrate", "conv1", 17).random(5), wanted)
    assert np.array_equal(generator(1, "calibrate", "conv1", "17").random(5), wanted), "a number is a name"


def test_streams_are_what_they_were() -> None:
    """A change of these numbers changes every run that was ever made: the format of a seed."""
    assert generator(0).integers(0, 2**32, 3).tolist() == [3630721866, 1051802693, 4018325046]
    assert generator(42, "readout", "conv1").integers(0, 2**32, 3).tolist() == [2043464124, 1469063530, 1348809793]


def test_streams_of_other_names_are_others() -> None:
    paths = [
        (s, *names) for s in (0, 1, 2**40) for names in ((), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", 1), (1,))
    ]
    firsts = {path: generator(*path).random() for path in paths}
    assert len(set(firsts.values())) == len(paths)
    draws = np.stack([generator(*path).random(4000) for path in paths])
    assert np.abs(np.corrcoef(draws) - np.eye(len(paths))).max() < 0.07
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    neighbours = np.array([generator(1, "step", i).random() for i in range(3000)])
    assert stats.kstest(neighbours, "uniform").pvalue > 1e-3, "first draws of numbered streams"


def test_two_streams_do_not_move_each_other() -> None:
    a, b = generator(1, "a"), generator(1, "b")
    mixed = [(a.random(), b.random()) for _ in range(5)]
    assert np.array_equal([x for x, _ in mixed], generator(1, "a").random(5))
    assert np.array_equal([y for _, y in mixed], generator(1, "b").random(5))
    assert all(x != y for x, y in itertools.chain(mixed))


def test_precision_by_name() -> None:
    assert float_type("float32") == np.float32 and float_type("float64") == np.float64
    with pytest.raises(JobError, match="float16"):
        float_type("float16")


def test_threads_are_put_back() -> None:
    before = kernels.threads.count()
    with threads(1):
        assert kernels.threads.count() == 1
    assert kernels.threads.count() == before
    with pytest.raises(ValueError), threads(1):
        raise ValueError
    assert kernels.threads.count() == before
    for bad in (0, 10_000):
        with pytest.raises(JobError, match="out of range"), threads(bad):
            pass
