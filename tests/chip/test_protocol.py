"""What a chip must have, told by what it does: wrappers and drivers stand for chips on every Python."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import KINDS, Hardware, MeshHardware, SvdHardware, check, lacks
from l2sim.chip.recorded import MeshRecorder, Recorder
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import ChipError
from l2sim.inspect.bench import CoreBench, MeshBench
from l2sim.learn import insitu
from l2sim.learn.insitu_svd import measure_svd
from l2sim.learn.search import calibrate, mapping, selfconfigure
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin.whole import by_outputs, by_taps
from l2sim.mesh.mesh import Mesh
from l2sim.nn.optics import MeshLayer
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import lit_mesh, random_commands, small_chip

MESH = Mesh("rectangular", 4)


def chip_of(kind: type) -> Any:
    if kind is Hardware:
        return small_chip((1, 1), 4)
    return lit_mesh(MESH) if kind is MeshHardware else SvdChip(MESH, Nonidealities(), 1)


class Driver:
    """Passes every name on to the chip behind it, but for those that it does not know."""

    def __init__(self, chip: Any, *unknown: str, **instead: Any) -> None:
        self._chip, self._unknown, self._instead = chip, unknown, instead

    def __getattr__(self, name: str) -> Any:
        if name in self._unknown:
            raise AttributeError(name)
        return self._instead[name] if name in self._instead else getattr(self._chip, name)


def names(kind: type) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_chip_and_a_driver_around_it_lack_nothing(kind: type) -> None:
    chip = chip_of(kind)
    assert lacks(chip, kind) == [] == lacks(Driver(Driver(chip)), kind)
    check(Driver(chip), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_is_missing_is_named(kind: type) -> None:
    chip = chip_of(kind)
    assert lacks(object(), kind) == names(kind)
    for name in names(kind):
        assert lacks(Driver(chip, name), kind) == [name]
        assert lacks(Driver(chip, **{name: None}), kind) == [name]
    with pytest.raises(ChipError, match=r"^Driver is no \w*Hardware: it lacks meter, wait; see") as told:
        check(Driver(chip, "wait", "meter"), kind)
    assert "\n" not in str(told.value)


def test_methods_are_called_and_attributes_are_not() -> None:
    chip = chip_of(Hardware)
    assert lacks(Driver(chip, forward=3.0)) == ["forward"]
    assert lacks(SimpleNamespace(**{name: getattr(chip, name) for name in names(Hardware)})) == []


def test_a_declared_property_is_not_read() -> None:
    class Busy(Driver):
        @property
        def meter(self) -> Any:
            raise ConnectionError("the laboratory is asleep")

    assert lacks(Busy(chip_of(Hardware))) == []


def test_whatever_a_driver_raises_for_a_name_it_lacks() -> None:
    class Lost(Driver):
        def __getattr__(self, name: str) -> Any:
            if name == "forward":
                raise ConnectionError("the laboratory is asleep")
            if name == "wait":
                raise KeyError(name)
            return super().__getattr__(name)

    class Bare(type(chip_of(Hardware))):  # type: ignore[misc]
        meter = None

    assert lacks(Lost(chip_of(Hardware))) == ["wait", "forward"]
    assert lacks(object.__new__(Bare), Hardware, "meter") == ["meter"]


def test_a_need_that_no_such_chip_has_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="Hardware has no taps"):
        lacks(chip_of(Hardware), Hardware, "taps", "forward")


def test_kinds_are_told_apart() -> None:
    assert "shape" in lacks(chip_of(MeshHardware), Hardware)
    assert "taps" in lacks(chip_of(Hardware), MeshHardware)
    assert "set_sigma" in lacks(chip_of(MeshHardware), SvdHardware)


SHEET = Nonidealities()
EYE = np.eye(4, dtype=complex)


def stream(name: str) -> np.random.Generator:
    return generator(1, name)


def photonic(chip: Any) -> PhotonicWeight:
    commands = random_commands(chip_of(Hardware), stream("commands"))
    return PhotonicWeight(chip, 4, 4, commands, commands, np.ones((1, 1, 4)))


def layer(chip: Any) -> MeshLayer:
    return MeshLayer(chip, insitu.measure, np.zeros(MESH.count), np.zeros(MESH.count), np.zeros(4))


DOORS: dict[str, tuple[type, str, Callable[[Any], object]]] = {
    "calibrate": (Hardware, "wait", calibrate.problem),
    "target": (Hardware, "set_signs", lambda chip: mapping.target(chip, np.eye(4))),
    "twin": (Hardware, "set_sigma", lambda chip: twin.identify(chip, SHEET, stream)),
    "photonic weight": (Hardware, "backward", photonic),
    "core bench": (Hardware, "meter", lambda chip: CoreBench(chip, np.zeros(6), np.zeros(6), np.ones(4))),
    "recorder": (Hardware, "readouts", Recorder),
    "mesh recorder": (MeshHardware, "wait", MeshRecorder),
    "mesh bench": (MeshHardware, "commanded", MeshBench),
    "mesh layer": (MeshHardware, "set_phases", layer),
    "gradients": (MeshHardware, "taps", lambda chip: insitu.measure(chip, EYE, EYE)),
    "twin by taps": (MeshHardware, "taps", lambda chip: by_taps.identify(chip, SHEET, stream("probes"))),
    "twin by outputs": (MeshHardware, "forward", lambda chip: by_outputs.identify(chip, SHEET, stream("probes"))),
    "self-configuration": (MeshHardware, "forward", lambda chip: selfconfigure.progressive(chip, EYE)),
    "alignment": (MeshHardware, "backward", lambda chip: selfconfigure.align(chip, EYE)),
    "gradients of two meshes": (SvdHardware, "set_sigma", lambda chip: measure_svd(chip, EYE, EYE)),
}
PARTS = {"mesh layer", "twin by outputs", "self-configuration", "alignment"}
"""Doors that a mesh without power taps may enter."""


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_a_driver_and_says_what_a_chip_lacks(door: str) -> None:
    kind, need, enter = DOORS[door]
    enter(Driver(chip_of(kind), *(["taps"] if door in PARTS else [])))
    with pytest.raises(ChipError, match=f"Driver is no {kind.__name__}: it lacks {need};"):
        enter(Driver(chip_of(kind), need))
