"""Mini-batches: every image once, the same bytes whatever the timing, and augmentation that only moves pixels."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.data import sets
from l2sim.learn import loader
from l2sim.learn.loader import Augment, batches
from l2sim.nn import models, network

IMAGES = np.random.default_rng(1).integers(1, 256, (23, 2, 5, 6), dtype=np.uint8)
LABELS = np.arange(23)
STREAM = partial(generator, 7, "learn", 3)


def collected(**more: Any) -> list[tuple[int, bytes, list[int]]]:
    return [(number, x.tobytes(), y.tolist()) for number, x, y in batches(IMAGES, LABELS, 4, STREAM, **more)]


def test_every_image_comes_once_in_a_seeded_order() -> None:
    made = collected()
    assert [number for number, _, _ in made] == list(range(6))
    order = [label for _, _, some in made for label in some]
    assert sorted(order) == list(range(23)) and order != sorted(order)
    assert all(raw == IMAGES[some].tobytes() for _, raw, some in made)
    assert [some for _, _, some in collected(shuffle=False)] == [list(range(i, i + 4)) for i in range(0, 20, 4)]


def test_skipped_batches_are_left_out_and_change_no_other() -> None:
    whole, some = collected(augment=Augment(1, True)), collected(augment=Augment(1, True), skip=0.5)
    assert 0 < len(some) < len(whole) and all(item in whole for item in some)


def test_the_same_bytes_come_whatever_the_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = collected(augment=Augment(2, True))
    own = Augment.__call__

    def slowly(self: Augment, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        time.sleep(float(np.random.default_rng().random()) * 0.01)
        return own(self, images, rng)

    monkeypatch.setattr(Augment, "__call__", slowly)
    found = []
    for number, x, y in batches(IMAGES, LABELS, 4, STREAM, augment=Augment(2, True)):
        time.sleep(float(np.random.default_rng().random()) * 0.01)
        found.append((number, x.tobytes(), y.tolist()))
    assert found == wanted != collected()


def test_an_error_while_loading_arrives_and_a_reader_may_stop_early() -> None:
    def broken(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise MemoryError("full")

    with pytest.raises(MemoryError, match="full"):
        list(batches(IMAGES, LABELS, 4, STREAM, augment=broken))  # type: ignore[arg-type]
    stream = batches(IMAGES, LABELS, 4, STREAM, augment=Augment(1))
    next(stream)
    stream.close()


def test_a_shift_takes_each_image_out_of_its_black_frame() -> None:
    made = Augment(pad=2)(IMAGES, generator(0))
    at = generator(0).integers(0, 5, (2, 23, 1))[..., 0]
    for image, found, top, left in zip(IMAGES, made, *at):
        framed = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        np.testing.assert_array_equal(found, framed[:, top : top + 5, left : left + 6])
    assert len({tuple(pair) for pair in at.T}) > 5


def test_half_of_the_images_are_mirrored() -> None:
    before = IMAGES.copy()
    made = Augment(flip=True)(IMAGES, generator(0))
    mirrored = [not np.array_equal(a, b) for a, b in zip(made, IMAGES)]
    assert 5 < sum(mirrored) < 18
    for turned, found, image in zip(mirrored, made, IMAGES):
        np.testing.assert_array_equal(found, image[..., ::-1] if turned else image)
    np.testing.assert_array_equal(IMAGES, before)


def test_bytes_are_pixels_between_nought_and_one() -> None:
    net = network.build(models.mlp(3, (2, 5, 6), (4,)), network.electronic(generator(0)))
    np.testing.assert_allclose(net.forward(IMAGES), net.forward(IMAGES / 255.0), rtol=1e-12)


def test_standardised_pictures_have_mean_nought_and_deviation_one() -> None:
    mean, std = sets.moments(IMAGES)
    layers = (models.Standardise(mean, std), models.Flatten(), models.Linear(60, k=8))
    spec = models.ModelSpec("own", (2, 5, 6), 60, layers)
    net = network.build(spec, lambda name, rows, across, k: network.ElectronicWeight(np.eye(rows)))
    seen = net.forward(IMAGES).reshape(2, -1)
    np.testing.assert_allclose(seen.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(seen.std(axis=1), 1, atol=1e-12)
    assert loader is not None and models.count(spec).total.parameters == 3600
    np.testing.assert_allclose(sets.moments(IMAGES / 255.0), (mean, std), rtol=1e-12)
