"""The in situ flow on the device: the same results as on the CPU, and nobody waits for the GPU inside an epoch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from l2sim import backend
from l2sim.backend import generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.data import as_light
from l2sim.errors import ChipError
from l2sim.flow import flow
from l2sim.flow.insitu import session as insitu
from l2sim.flow.insitu import stages as insitu_stages
from l2sim.flow.insitu.stages import STAGES
from l2sim.job.job import Job
from l2sim.learn import train
from l2sim.mesh.mesh import Mesh
from l2sim.store.events import Checkpoint, Done, Epoch, stages
from tests.device import GPU, host, put, xp
from tests.doubles import light

DEVICE = backend.device("cuda")
NOISY = {"tap_noise": 0.01, "io_phase_error": 0.01, "io_amplitude_error": 0.01, "readout_noise": 0.01, "phase_bits": 8}
KINDS: dict[str, dict[str, Any]] = {
    "exact": {"insitu.nonlinearity": "electro-optic"},
    "noisy, with loss": {"nonidealities.loss_db": 0.1, "insitu.scheme": "digital"}
    | {f"nonidealities.{name}": value for name, value in NOISY.items()},
    "as published": {
        "nonidealities.tap_noise": 0.02, "insitu.light": "matrix", "insitu.noise": "frozen", "insitu.scheme": "analog",
        "insitu.loss": "batch-softmax", "learn.optimizer": "adam", "learn.legacy_adam": True,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of a plane that the simulator can do."""
    monkeypatch.setattr(as_light, "points", partial(as_light.points, count=15))
    monkeypatch.setattr(insitu_stages, "GRID", 2)


def small(device: str, **more: Any) -> Job:
    values = {"learn.epochs": 2, "learn.batch": 6, "insitu.layers": 2, "precision": "float64", "device": device}
    return Job.preset("insitu-moons", values | more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_gives_what_the_cpu_gives(kind: str) -> None:
    ours, theirs = (list(flow.run(small(device, **KINDS[kind]))) for device in ("cuda", "cpu"))
    assert [type(e) for e in ours] == [type(e) for e in theirs]
    for a, b in zip(ours, theirs):
        if isinstance(a, Checkpoint):
            assert all(isinstance(array, np.ndarray) for array in a.arrays.values())
            assert a.values["noise"] == b.values["noise"]
            for counts, wanted in zip(a.values["meter"].values(), b.values["meter"].values(), strict=True):
                # A phase whose gradient is zero but for rounding moves on one side and rests on the other.
                assert counts.pop("writes") == pytest.approx(wanted.pop("writes"), rel=0.05) and counts == wanted
            assert a.arrays.keys() == b.arrays.keys()
            for name, wanted in b.arrays.items():
                np.testing.assert_allclose(a.arrays[name], wanted, rtol=0, atol=1e-9, err_msg=f"{a.stage} {name}")
        if isinstance(a, Epoch):
            assert a.scalars == pytest.approx(b.scalars, abs=1e-9)
            for name, frame in b.phases.items():
                np.testing.assert_allclose(a.phases[name], frame, atol=1e-6)
    assert isinstance(ours[-1], Done) and ours[-1].report["device"] == "cuda"
    assert ours[-1].figures.keys() == theirs[-1].figures.keys()


def test_a_run_goes_on_from_a_checkpoint_of_the_other_device() -> None:
    whole = list(flow.run(small("cpu", **KINDS["as published"])))
    middle = next(e for e in whole if isinstance(e, Checkpoint) and e.stage == "learn" and e.epoch == 1)
    again = list(flow.run(small("cuda", **KINDS["as published"]), checkpoint=middle))
    for name, wanted in whole[-2].arrays.items():
        np.testing.assert_allclose(again[-2].arrays[name], wanted, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.skipif(GPU, reason="only the simulator counts who waits")
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_inside_an_epoch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, real = [], train.epoch

    def watched(*args: Any, **options: Any) -> Any:
        before = xp.memory["trips"]
        steps = list(real(*args, **options))
        waits.append(xp.memory["trips"] - before)
        return iter(steps)

    monkeypatch.setattr(train, "epoch", watched)
    session = insitu.open_session(small("cuda", **KINDS[kind]), None)
    for name in stages(session.job):
        list(STAGES[name](session, 0))
    assert waits == [0, 0]


# -- the chip ----------------------------------------------------------------------------------------------------------


def chips(it: Nonidealities, mesh: Mesh, dtype: str = "float64") -> tuple[MeshChip, MeshChip]:
    rng, made = generator(1, "phases"), []
    phases = {"theta": mesh.count, "phi": mesh.count, "screen": mesh.modes}
    told = {name: rng.uniform(0, 6, size).astype(dtype) for name, size in phases.items()}
    for device in (backend.CPU, DEVICE):
        made.append(MeshChip(mesh, it, 3, dtype=dtype, device=device))
        made[-1].set_phases(**told)
    return made[0], made[1]


@pytest.mark.parametrize("dtype", ("float64", "float32"))
@pytest.mark.parametrize("mesh", (Mesh("rectangular", 3), Mesh("triangular", 2, node="three_splitter")))
def test_all_that_a_mesh_can_do(mesh: Mesh, dtype: str) -> None:
    it = Nonidealities(splitter_error_std=0.05, loss_db=0.1, shot_noise=0.01, detuning_nm=1.0, crosstalk=0.01, **NOISY)
    for imperfect in (it, quiet(it)):
        cpu, gpu = chips(imperfect, mesh, dtype)
        few, many = (light(cpu, batch, "x").astype(cpu._complex) for batch in (1, 4))
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        for name, *args in (
            ("forward", few), ("forward", many), ("backward", few), ("backward", many), ("forward", many, "power"),
            ("taps", many), ("taps", many, True), ("tap_sums", many), ("tap_sums", many, True), ("oracle_matrix",),
            ("gradient", many, many[::-1], "digital"), ("gradient", few, few, "digital"), ("oracle_fields", few),
            ("oracle_gradient", many, many[::-1]),
        ):  # fmt: skip
            wanted, found = getattr(cpu, name)(*args), getattr(gpu, name)(*map(put, args))
            for a, b in zip(flat(wanted), flat(found), strict=True):
                assert backend.namespace(b) is xp and host(b).dtype == a.dtype
                np.testing.assert_allclose(host(b), a, rtol=0, atol=tolerance, err_msg=name)
        for name, wanted in cpu.oracle_phases().items():
            np.testing.assert_allclose(host(gpu.oracle_phases()[name]), wanted, rtol=0, atol=tolerance * 10)
        assert gpu.meter.state() == cpu.meter.state()
        assert gpu.state()[1] == cpu.state()[1]


def quiet(it: Nonidealities) -> Nonidealities:
    """Without loss and noise: the exact gradients."""
    return Nonidealities(splitter_error_std=it.splitter_error_std)


def flat(result: Any) -> list[Any]:
    """The arrays of a result."""
    if result is None:
        return []
    return [a for part in result for a in flat(part)] if isinstance(result, tuple) else [result]


def test_what_is_not_finite_is_told_at_the_end_of_the_epoch() -> None:
    _, gpu = chips(Nonidealities(), Mesh("rectangular", 2))
    gpu.forward(gpu.xp.asarray(np.full((2, 1), np.nan)))
    with pytest.raises(ChipError, match="not finite; lower the learning rate"):
        gpu.state()
    _, gpu = chips(Nonidealities(), Mesh("rectangular", 2))
    gpu.set_phases(theta=gpu.xp.asarray(np.array([np.inf])))
    with pytest.raises(ChipError, match="not finite"):
        gpu.state()
