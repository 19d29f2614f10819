"""Random numbers by their place: the published words, the right distributions, and the same whatever draws them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l2sim import streams
from l2sim.backend import generator, kernels
from l2sim.errors import RunError
from l2sim.streams import Stream, chi_squares, mixture, table, weighted

draws, reference = kernels.draws, kernels.reference
ALIKE = 1e-3
"""Least p-value of samples that shall be of one distribution."""
KNOWN = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)  # fmt: skip
"""Counter, key and words of the authors' known answers (Random123, kat_vectors)."""


def words(first: int, page: int, key: np.ndarray, attempt: int = 0, count: int = draws.TILE) -> np.ndarray:
    out = np.empty((4, count), np.uint32)
    draws.words(np.uint64(first), page, attempt, key, *out)
    return out


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_words_are_the_published_ones(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert tuple(reference.philox(counter, key)) == answer
    place, page = counter[0] | counter[1] << 32, counter[2] | (counter[3] >> 8) << 32
    assert tuple(words(place, page, np.array(key, np.uint32), counter[3] & 255, 1)[:, 0]) == answer


def test_a_tile_of_words_is_that_many_counters() -> None:
    key, first, page = np.array([5, 7], np.uint32), 2**32 - 3, 2**33 + 11
    tile = words(first, page, key, 2)
    for l in (0, 2, 3, 200):
        at = first + l
        assert tile[:, l].tolist() == reference.philox((at & 0xFFFFFFFF, at >> 32, 11, 2 << 8 | 2), key)


def test_normal_numbers_are_those_of_their_words() -> None:
    key = np.array([1, 2], np.uint32)
    out = Stream(3, "x").normal((0,))
    assert out.shape == (0,)
    for dtype in (np.float32, np.float64):
        out = np.empty(draws.NUMBERS + 7, dtype)
        draws.normal(4, key, out)
        w = words(0, 4, key).astype(np.int64)
        z = np.concatenate([*reference.normal(w[0], w[1]), *reference.normal(w[2], w[3])])
        np.testing.assert_allclose(out[: draws.NUMBERS], z, rtol=3e-6, atol=1e-6)
    edge = np.array([0, 1, 2**31, 2**32 - 1], np.int64)
    for a in edge:
        for b in edge:
            two = draws.pair(np.uint32(a), np.uint32(b))
            np.testing.assert_allclose(two, reference.normal(a, b), rtol=3e-6, atol=4e-4 if a > 2**31 else 1e-6)


def test_normal_numbers_are_normal_in_their_tails_too() -> None:
    z = Stream(1, "tails").normal((4_000_000,), np.float32).astype(float)
    assert stats.kstest(z, "norm").pvalue > ALIKE
    for limit in (2.0, 3.0, 4.0, 4.5):
        beyond = int((np.abs(z) > limit).sum())
        assert stats.binomtest(beyond, z.size, 2 * stats.norm.sf(limit)).pvalue > ALIKE, limit
    for lag in (1, 256, 512, 1024):  # the two of a pair lie a quarter of a tile apart
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 4 / np.sqrt(z.size), lag
        assert abs(np.corrcoef(z[:-lag] ** 2, z[lag:] ** 2)[0, 1]) < 4 / np.sqrt(z.size), lag


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 80, 1023, 32_766])
def test_chi_squares_have_their_distribution_and_know_nothing_of_the_normal_numbers(freedom: int) -> None:
    stream, law = Stream(1, "chi", freedom), chi_squares(np.full(500, freedom))
    z, chi = stream.readings(law, stream.turn(), 0, 200, np.float64).reshape(-1, 2).T
    assert stats.kstest(chi, stats.chi2(freedom).cdf).pvalue > ALIKE
    assert stats.kstest(z, "norm").pvalue > ALIKE
    assert max(abs(stats.spearmanr(z, chi)[0]), abs(stats.spearmanr(z * z, chi)[0])) < 4 / np.sqrt(z.size)


def test_no_freedom_is_no_chi_square() -> None:
    stream = Stream(1, "none")
    drawn = stream.readings(chi_squares(np.array([0, -1, 5])), 0, 0, 50, np.float32)
    assert not drawn[:2, :, 1].any() and (drawn[2, :, 1] > 0).all()


@pytest.mark.parametrize(("weights", "freedom"), [
    ((1.0, 1.21, 4.0), 2), (tuple(1 / np.geomspace(0.2, 1.0, 9) ** 2), 8), ((1.0, 900.0), 1), ((3.0,), 4),
])  # fmt: skip
def test_weighted_chi_squares_have_the_distribution_of_their_sum(weights: tuple[float, ...], freedom: int) -> None:
    stream, rng = Stream(1, "weighted"), generator(2, "weighted")
    law = weighted(np.tile([*weights, 0.0], (100, 1)), np.full(100, freedom))
    ours = stream.readings(law, stream.turn(), 0, 400, np.float64)[:, :, -1].ravel() * min(weights)
    plain = sum(w * rng.chisquare(freedom, ours.size) for w in weights)
    assert stats.ks_2samp(ours, plain).pvalue > ALIKE
    assert stats.ks_2samp(ours, 1.1 * plain).pvalue < ALIKE, "the test can tell"
    mean, variance = freedom * sum(weights), 2 * freedom * sum(w * w for w in weights)
    assert ours.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / ours.size))
    assert law.normals == len(weights) + 1


def test_cores_of_different_weights_have_tables_of_their_own() -> None:
    weights = np.array([[1.0, 4.0], [1.0, 1.0], [2.0, 50.0], [1.0, 4.0]])
    stream, law = Stream(1, "kinds"), weighted(weights, np.array([3, 3, 2, 3]))
    assert law.kind[0] == law.kind[3] and len(law.shapes) == 3
    means = stream.readings(law, 0, 0, 40_000, np.float64)[:, :, -1].mean(axis=1)
    np.testing.assert_allclose(means, [15.0, 6.0, 52.0, 15.0], rtol=0.02)


def test_a_table_says_what_it_is_made_from() -> None:
    law = (1.0, 2.0, 25.0), 1.5
    chance = mixture(*law)
    assert len(chance) == 1 << (len(chance).bit_length() - 1) and chance.sum() == pytest.approx(1.0)
    mean = sum(law[1] * (w - 1.0) for w in law[0])
    assert (chance * np.arange(len(chance))).sum() == pytest.approx(mean, rel=1e-9)
    thresholds, aliases = table(*law, len(chance))
    said = thresholds / 2**32 / len(chance)
    np.add.at(said, aliases, (1.0 - thresholds / 2**32) / len(chance))
    np.testing.assert_allclose(said, chance, atol=1e-9)


def test_pages_are_the_same_in_pieces_and_on_any_number_of_threads() -> None:
    law = weighted(np.tile([1.0, 4.0, 9.0, 2.0, 3.0], (700, 1)), np.full(700, 4))
    found = []
    for threads in (1, 2):
        before = kernels.threads.count()
        kernels.threads.use(threads)
        stream = Stream(9, "pages")
        whole = stream.readings(law, 3, 0, 31, np.float32)
        some = [stream.readings(law.of(slice(lo, lo + 100)), 3, lo, 31, np.float32) for lo in range(0, 700, 100)]
        np.testing.assert_array_equal(whole, np.concatenate(some))
        out = np.zeros((37, 5000), np.float32)
        stream.add(np.arange(37.0), out)
        found.append((whole, stream.normal((100_001,)), out))
        kernels.threads.use(before)
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


def test_what_is_added_is_normal_times_the_spread_of_its_row() -> None:
    one, two = Stream(2, "add"), Stream(2, "add")
    out = np.full((3, 1700), 5.0)
    one.add(np.array([0.0, 1.0, 10.0]), out)
    np.testing.assert_allclose(out, 5.0 + np.array([[0.0], [1.0], [10.0]]) * two.normal((3, 1700)), rtol=1e-12)


def test_streams_are_independent_and_a_position_is_enough_to_go_on() -> None:
    one, other = Stream(1, "readout", "a"), Stream(1, "readout", "b")
    first = one.normal((1000,))
    assert abs(np.corrcoef(first, other.normal((1000,)))[0, 1]) < 0.15
    assert (first != one.normal((1000,))).all()
    state, again = one.state(), Stream(1, "readout", "a")
    again.restore(state)
    np.testing.assert_array_equal(one.normal((9,)), again.normal((9,)))
    again.restore({"bit_generator": "PCG64", "state": {}})  # from before there were pages
    np.testing.assert_array_equal(again.normal((1000,)), first)
    for damaged in ("7", -1, 1.5, True, None, streams.PAGES):
        with pytest.raises(RunError, match="noise from page"):
            again.restore({"page": damaged})
