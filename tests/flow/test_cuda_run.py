"""A whole run on the device: the same results as on the CPU, and nobody waits for the GPU inside an epoch."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim import backend
from l2sim.backend import Device, generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fused import spread
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.data import sets
from l2sim.errors import ChipError, JobError, RunError
from l2sim.flow import flow
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight.stages import STAGES
from l2sim.job.job import Job
from l2sim.learn import sampling, train
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store.events import Checkpoint, Done, Epoch
from tests.device import GPU, host, put, xp
from tests.tolerances import DTYPES

TINY = models.ModelSpec(
    "cnn-s", (1, 3, 3), 3,
    (models.Conv(2, 2, 1, 0, k=2), models.BatchNorm(), models.ReLUN(6.0), models.MaxPool(2, 2), models.Flatten(),
     models.Linear(3, k=3)),
)  # fmt: skip
DEVICE = backend.device("cuda")


def tiny_job(device: str, **overrides: Any) -> Job:
    values = {
        "data.name": "synthetic", "pretrain.epochs": 1, "calibrate.epochs": 2, "calibrate.polish": 1, "map.epochs": 1,
        "map.polish": 0, "map.compare": False, "learn.epochs": 1, "learn.batch": 4, "pretrain.batch": 4,
        "learn.feedback_sparsity": 0.4, "learn.column_sparsity": 0.4, "learn.data_sparsity": 0.3, "device": device,
    }  # fmt: skip
    return Job.preset("digits", values | overrides)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and data that the simulator can do."""
    rng = generator(1, "tiny")
    images = rng.random((12, 1, 3, 3))
    labels = np.arange(12) % 3
    images[np.arange(12), 0, labels] += 1.0
    monkeypatch.setitem(models.MODELS, "cnn-s", lambda classes=3, input=(1, 3, 3): TINY)
    few = sets.DataSet(images[:9], labels[:9], images[9:], labels[9:], 3)
    monkeypatch.setattr(sets, "load", lambda *args: few)


def counted(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the meter counted. On a GPU nobody looks whether a write changed anything: zeros are counted too, and what
    comes next waits for it."""
    told = {
        stage: {name: number for name, number in counts.items() if name not in ("settled", "clock_seconds")}
        for stage, counts in checkpoint.values["meter"].items()
    }
    return {stage: counts for stage, counts in told.items() if any(counts.values())}


def timeless(scalars: dict[str, float]) -> dict[str, float]:
    """Without what follows from these waits."""
    return {name: value for name, value in scalars.items() if name not in ("chip_s", "energy_j")}


def run(job: Job, **options: Any) -> list[Any]:
    return list(flow.run(job, **options))


def test_a_run_gives_what_the_cpu_gives() -> None:
    ours, theirs = run(tiny_job("cuda")), run(tiny_job("cpu"))
    assert [type(e) for e in ours] == [type(e) for e in theirs]
    for a, b in zip(ours, theirs):
        if isinstance(a, Checkpoint):
            assert all(isinstance(array, np.ndarray) for array in a.arrays.values())
            assert counted(a) == counted(b), a.stage
            for name, wanted in b.arrays.items():
                np.testing.assert_allclose(a.arrays[name], wanted, rtol=0, atol=1e-9, err_msg=f"{a.stage} {name}")
        if isinstance(a, Epoch):
            assert timeless(a.scalars) == pytest.approx(timeless(b.scalars), abs=1e-9)
            assert {name: frame.dtype for name, frame in a.phases.items()} == dict.fromkeys(b.phases, np.float32)
    assert isinstance(ours[-1], Done) and ours[-1].report["device"] == "cuda"


def test_a_run_goes_on_from_a_checkpoint_of_either_device() -> None:
    whole = run(tiny_job("cpu"))
    for stage in ("calibrate", "learn"):
        middle = next(e for e in whole if isinstance(e, Checkpoint) and e.stage == stage and e.epoch == 1)
        again = run(tiny_job("cuda"), checkpoint=middle)
        for name, wanted in whole[-2].arrays.items():
            np.testing.assert_allclose(again[-2].arrays[name], wanted, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.skipif(GPU, reason="only the simulator counts who waits")
def test_nobody_waits_inside_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    session = l2ight.open_session(tiny_job("cuda"), None)
    for stage in ("pretrain", "deploy"):
        list(STAGES[stage](session, 0))
    waits: list[tuple[str, int]] = []

    def watched(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counted(*args: Any, **options: Any) -> Any:
            before = xp.memory["trips"]
            result = real(*args, **options)
            result = list(result) if name == "epoch" else result
            waits.append((name, xp.memory["trips"] - before))
            return iter(result) if name == "epoch" else result

        monkeypatch.setattr(module, name, counted)

    watched(train, "epoch")
    real = zeroth.together

    def searched(steps: Any) -> None:
        steps = list(steps)
        before = xp.memory["trips"]
        real(steps)
        waits.append(("search", xp.memory["trips"] - before))

    monkeypatch.setattr(zeroth, "together", searched)
    for stage in ("calibrate", "map", "learn"):
        list(STAGES[stage](session, 0))
    assert {name for name, _ in waits} == {"epoch", "search"}
    assert [wait for wait in waits if wait[1]] == []


# -- the chip ----------------------------------------------------------------------------------------------------------


def chips(it: Nonidealities, device: Device = DEVICE, **options: Any) -> tuple[CoreChip, CoreChip]:
    made = {"seed": 3, "mesh": Mesh("rectangular", 3), "shape": (2, 2), "nonidealities": it} | options
    return CoreChip(**made), CoreChip(**made, device=device)


def commanded(chip: CoreChip) -> CoreChip:
    rng = generator(4, "commands")
    shape = (*chip.shape, *chip.mesh.shape)
    chip.set_phases(u=rng.uniform(0, 6, shape), v=rng.uniform(0, 6, shape))
    chip.set_signs(u=rng.choice([-1.0, 1.0], (*chip.shape, 3)))
    chip.set_sigma(rng.uniform(-1, 1, (*chip.shape, 3)))
    return chip


@pytest.mark.parametrize("noise", (0.0, 0.02))
def test_probes_and_products(noise: float) -> None:
    it = Nonidealities(phase_bits=6, phase_bias=1.0, crosstalk=0.02, readout_noise=noise)
    cpu, gpu = map(commanded, chips(it))
    rng = generator(5, "light")
    x, y, mask = rng.normal(size=(6, 4)), rng.normal(size=(5, 4)), np.array([[True, False], [True, True]])
    light = rng.normal(size=(2, 2, 3, 2))
    for name, args in (
        ("forward", (light,)), ("backward", (light,)), ("product", (x,)), ("product_back", (y, None)),
        ("product_back", (y, mask)), ("oracle_weights", ()), ("oracle_sigma", ()), ("oracle_phases", ("u",)),
    ):  # fmt: skip
        wanted = getattr(cpu, name)(*args)
        found = getattr(gpu, name)(*(put(a) for a in args))
        # Normal numbers have the 24 bits of single precision, the last of which may differ.
        np.testing.assert_allclose(host(found), wanted, rtol=0, atol=1e-12 + 1e-5 * noise, err_msg=name)
    assert gpu.meter.state() == cpu.meter.state()


@pytest.mark.parametrize("sampled", (False, True))
@pytest.mark.parametrize("dtype", DTYPES)
def test_noisy_gradients_are_drawn_from_the_law_of_the_host(
    sampled: bool, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.kernels.cuda.noisy, "MASKED_BYTES", 300)  # a block row at a time
    it = Nonidealities(phase_bits=6, phase_bias=1.0, readout_noise=0.02)
    cpu, gpu = map(commanded, chips(it, dtype=dtype))
    beside = commanded(chips(it, dtype=dtype)[0])  # its arrays on the host, where they do not fit
    rng, shape = generator(6, "light"), (2, 2, *cpu.mesh.shape)
    mask = generator(7).random((2, 5)) < 0.6 if sampled else None
    x = rng.normal(size=(6, 5)).astype(dtype) * (1 if mask is None else np.repeat(mask, 3, axis=0))
    dy, rest = rng.normal(size=(5, 5)).astype(dtype), rng.uniform(0, 6, shape)
    found = []
    for chip, side in ((cpu, lambda a: a), (gpu, put), (beside, put)):
        still = chip.xp.asarray(rest), chip.xp.ones((2, 2, 3), dtype)
        commands = mapping.Commands(*({part: a for part in "uv"} for a in still))
        before = 0 if GPU else xp.memory["trips"]
        gradients = [chip.sigma_gradient(side(x), side(dy), commands, side(mask)) for _ in range(2)]
        assert GPU or sampled or chip is beside or xp.memory["trips"] == before, "nobody waits"
        found.append(list(map(host, gradients)))
    assert np.abs(found[0][0] - found[0][1]).max() > 0.01
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=0, atol=1e-5)
    assert gpu.meter.state() == cpu.meter.state()


@pytest.mark.parametrize("rule", ("btopk", "gtopk", "uniform"))
def test_feedback_is_sampled_without_waiting(rule: str) -> None:
    found = []
    for chip in chips(PRESETS["ideal"], shape=(3, 2)):
        sigma = chip.xp.asarray(generator(9, "sigma").uniform(0.1, 1, (3, 2, 3)))
        commands = mapping.Commands({}, {})
        weight = PhotonicWeight(chip, 8, 5, commands, commands, sigma)
        weight.write()
        weight.feedback = sampling.feedback(rule, 0.4, "exp")
        dy = chip.xp.asarray(generator(9, "dy").normal(size=(8, 4)))
        before = 0 if GPU else xp.memory["trips"]
        back = weight.transpose(dy, generator(9, "feedback"))
        assert GPU or xp.memory["trips"] == before
        found.append((host(back), chip.meter.state()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=0, atol=1e-12)
    assert found[1][1] == found[0][1]


@pytest.mark.parametrize("readout", ("quadrature", "power"))
@pytest.mark.parametrize("method", ("zcd", "zgd"))
def test_searches_without_fused_descent(readout: str, method: str) -> None:
    """The public path and zeroth-order gradients, with adaptive restarts."""
    it = Nonidealities(phase_bits=6, phase_bias=0.5)
    found = []
    for chip in chips(it, shape=(1, 2), mesh=Mesh("rectangular", 2)):
        search = zeroth.Search(method, adaptive=True, threshold=0.01)
        problem = calibrate.problem(chip, readout)
        state = zeroth.start(problem, search, calibrate.zero_phases(chip))
        zeroth.METHODS[method](problem, search, state, generator(6, "search"))
        found.append({name: host(a) for name, a in state.arrays().items()})
    for name, wanted in found[0].items():
        np.testing.assert_allclose(found[1][name], wanted, rtol=0, atol=1e-9, err_msg=name)


def test_what_is_not_finite_is_told_at_the_end_of_the_epoch() -> None:
    _, gpu = chips(PRESETS["ideal"])
    gpu.set_sigma(np.full((2, 2, 3), np.nan))
    with pytest.raises(ChipError, match="not finite"):
        gpu.state()


# -- memory and several GPUs -------------------------------------------------------------------------------------------


def test_batches_cover_all_cores_once() -> None:
    for count in (1, 2, 7, 100):
        for most in (1, 3, 1000):
            for ways in (1, 2, 3):
                rounds = list(spread.shares(count, most, ways))
                flat = [i for some in rounds for at in some for i in range(at.start, at.stop)]
                assert flat == list(range(count))
                assert all(len(some) <= ways for some in rounds)
                assert all(at.stop - at.start <= most for some in rounds for at in some)
    assert [len(some) for some in spread.shares(8, 100, 2)] == [2], "both GPUs have work"


@dataclass(frozen=True)
class Sized(Device):
    """A GPU of so many bytes."""

    size: float = 139e9

    def room(self, number: int | None = None) -> int:
        return int(self.size)

    free = room


class Owner:
    """Stands for a chip."""


def test_what_fits_beside_a_batch_lives_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "_promised", {})
    bank, mesh, one = 12_345_679, Mesh("rectangular", 9), Owner()
    gpu = Sized("cuda", xp, (0,))
    assert spread.home(gpu, bank, mesh, 4, one) is gpu, "a billion weights, 74 of 139 GB"
    assert spread.home(gpu, bank, mesh, 4, Owner()) is backend.CPU, "two of them do not fit"
    assert spread.home(gpu, bank // 3, mesh, 4, Owner()) is gpu, "what did not fit holds nothing; 25 GB more do"
    del one
    gc.collect()
    assert spread.home(gpu, bank, mesh, 4, Owner()) is gpu, "who is gone holds nothing"
    needed = 1000 * 8 * (spread.STATE * 36 + 8 * 81)
    batch = spread.HEADROOM * 1000 * 8 * (spread.ARRAYS * 36 + 3 * 81)
    for size, where in (((needed + batch) / spread.ROOM - 2, "cpu"), ((needed + batch) / spread.ROOM + 2, "cuda")):
        monkeypatch.setattr(spread, "_promised", {})
        assert spread.home(Sized("cuda", xp, (0,), size), 1000, mesh, 8, Owner()).name == where


@pytest.mark.skipif(GPU, reason="needs a GPU of any size")
@pytest.mark.parametrize("noise", (0.0, 0.01))
def test_a_layer_too_large_for_the_device_streams_through(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Nonidealities(phase_bits=6, phase_bias=1.0, crosstalk=0.02, readout_noise=noise)
    launches = kernel_calls(monkeypatch)
    monkeypatch.setitem(xp.memory, "limit", 4000)  # two cores and what a sweep makes of them
    for device in (DEVICE, Device("cuda", xp, (0, 1)))[noise > 0 :]:
        cpu, gpu = map(commanded, chips(it, device, shape=(2, 3)))
        assert gpu.xp is np, "its arrays stay on the host"
        launches.clear()
        results = []
        for chip in (cpu, gpu):
            problem = calibrate.problem(chip)
            state = zeroth.start(problem, zeroth.Search("zcd"), calibrate.zero_phases(chip))
            zeroth.zcd(problem, zeroth.Search("zcd"), state, generator(7, "s"))
            results.append(state)
        assert len(launches) >= 6, "three batches or more for each mesh"
        for name, wanted in results[0].arrays().items():
            np.testing.assert_allclose(results[1].arrays()[name], wanted, rtol=0, atol=1e-9, err_msg=name)
        x = generator(8, "x").normal(size=(9, 2))
        np.testing.assert_allclose(host(gpu.product(put(x))), cpu.product(x), rtol=0, atol=1e-12)
        assert gpu.meter.state() == cpu.meter.state()


def searched_layers(device: Device, it: Nonidealities, way: zeroth.Search, apart: bool = False) -> tuple:
    """Two epochs and a polish of layers of 3, 3, 2 and 3 modes, of one meter."""
    meter, tasks = Meter(1e-6, 1e-3), []
    for name, (shape, k) in {"a": ((3, 1), 3), "b": ((2, 2), 3), "c": ((1, 2), 2), "d": ((1, 3), 3)}.items():
        chip = CoreChip(shape, Mesh("rectangular", k), it, seed=5, name=name, meter=meter.of(name), device=device)
        problem = calibrate.problem(chip)
        state = zeroth.start(problem, way, calibrate.zero_phases(chip))
        tasks.append((problem, way, state))
    for epoch in range(3):
        ways = zeroth.polish_steps if epoch == 2 else zeroth.STEPS[way.method]
        steps = [ways(*task, generator(epoch, str(number))) for number, task in enumerate(tasks)]
        for some in [[one] for one in steps] if apart else [steps]:
            zeroth.together(some)
    arrays = [{name: host(a) for name, a in state.arrays().items()} for _, _, state in tasks]
    return arrays, [problem.hardware.state()[1] for problem, _, _ in tasks], meter.state()


@pytest.mark.parametrize("noise, order", ((0.0, "published"), (0.0, "layer"), (0.02, "published")))
def test_layers_of_equal_cores_descend_in_one_launch(noise: float, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Nonidealities(phase_bits=6, phase_bias=1.0, crosstalk=0.02, readout_noise=noise)
    way, launches = zeroth.Search("zcd", order=order, shuffle=True), kernel_calls(monkeypatch)
    found = []
    for full, apart in ((spread.FULL, False), (spread.FULL, True), (8, False), (6, False)):
        monkeypatch.setattr(spread, "FULL", full)
        launches.clear()
        found.append(searched_layers(DEVICE, it, way, apart))
        # What is more than half of a full launch goes alone.
        wanted = [3, 4, 2, 3] if apart else {8: [7, 2, 3], 6: [4, 2, 6]}.get(full, [10, 2])
        assert sorted(launches) == sorted(3 * 2 * wanted), full
    for other in found[1:]:
        for ours, wanted in zip(found[0][0], other[0]):
            for name, a in wanted.items():
                assert np.array_equal(ours[name], a), name
        assert other[1] == found[0][1], "the same pages of noise"
        assert totals(other[2]) == totals(found[0][2])
    cpu = searched_layers(backend.CPU, it, way)
    for ours, wanted in zip(found[0][0], cpu[0]):
        for name, a in wanted.items():
            np.testing.assert_allclose(ours[name], a, rtol=0, atol=1e-12 + 1e-5 * noise, err_msg=name)
    assert totals(found[0][2]) == totals(cpu[2])


def totals(meter: Any) -> Any:
    """What a meter has counted; its clock adds up in the order of the chips, and so to rounding."""
    return {stage: {name: round(a, 12) for name, a in counts.items()} for stage, counts in meter.items()}


@pytest.mark.skipif(GPU, reason="one GPU cannot be two")
def test_layers_that_descend_together_are_dealt_out_to_all_gpus() -> None:
    way = zeroth.Search("ztp", shuffle=True)
    one, two = (searched_layers(device, Nonidealities(), way) for device in (DEVICE, Device("cuda", xp, (0, 1))))
    for ours, wanted in zip(two[0], one[0]):
        for name, a in wanted.items():
            assert np.array_equal(ours[name], a), name


def test_where_biases_drift_every_layer_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    it, launches = Nonidealities(phase_bias=1.0, drift_std=0.1), kernel_calls(monkeypatch)
    found = [searched_layers(device, it, zeroth.Search("zcd")) for device in (DEVICE, backend.CPU)]
    assert launches == 3 * [3, 3, 4, 4, 2, 2, 3, 3]
    for ours, wanted in zip(found[0][0], found[1][0]):
        np.testing.assert_allclose(ours["u"], wanted["u"], rtol=0, atol=1e-9)
    assert found[0][2] == found[1][2]


def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many cores each launch of descent has from now on."""
    real, launches = backend.kernels.cuda.descent.descend, []

    def noted(*args: Any) -> None:
        launches.append(len(args[1]))
        real(*args)

    monkeypatch.setattr(backend.kernels.cuda.descent, "descend", noted)
    return launches


def test_a_full_device_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(MemoryError):
        """As CuPy's."""

    def full(*args: Any, **options: Any) -> None:
        raise OutOfMemoryError("Out of memory allocating 2,147,483,648 bytes (allocated so far: 1,048,576 bytes).")

    monkeypatch.setattr("l2sim.learn.train.epoch", full)
    with pytest.raises(RunError) as told:
        run(tiny_job("cuda"))
    assert str(told.value) == (
        "device cuda is out of memory in pretrain: 2.0 GiB more were needed beside 1.0 MiB in use; "
        "lower pretrain.batch = 4 or set precision = float32"
    )
    with pytest.raises(MemoryError):
        run(tiny_job("cpu"))


# -- what can be named -------------------------------------------------------------------------------------------------


def test_devices_by_name() -> None:
    assert backend.device("cpu") is backend.CPU
    assert backend.device("cuda:0").numbers == (0,)
    with pytest.raises(JobError, match="unknown; use cpu, cuda or cuda:N"):
        backend.device("gpu")
    with pytest.raises(JobError, match="shows"):
        backend.device("cuda:99")
    with pytest.raises(JobError, match="device = 'cuda:' is unknown"):
        tiny_job("cuda:")


def test_arrays_say_where_they_live() -> None:
    a, there = np.arange(3.0), put(np.arange(3.0))
    assert backend.namespace(a) is np and backend.namespace(there) is xp and backend.namespace(1.0) is np
    assert backend.kernels_of(a) is backend.kernels and backend.kernels_of(there) is backend.kernels.cuda
    assert backend.like(a, a) is a and backend.namespace(backend.like(there, a)) is xp
    assert backend.number(a.sum()) == 3.0 and backend.namespace(backend.number(there.sum())) is xp
    with pytest.raises(TypeError):
        there + a


def test_constants_are_taken_to_the_gpu_of_what_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    class Gpu:
        def __init__(self, number: int) -> None:
            self.id = number

        def __enter__(self) -> None:
            used.append(self.id)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(backend, "_resident", {})
    monkeypatch.setattr(backend, "namespace", lambda a: np if type(a) is np.ndarray else xp)
    monkeypatch.setattr(backend, "like", lambda a, b: (a.device.id, b))
    constant = np.arange(3)
    for number in (0, 1, 1, 0):
        there = type("Array", (), {"device": Gpu(number)})()
        assert backend.resident(there, constant) == (number, constant)
    assert used == [0, 1], "once each, on the GPU that asks, whichever is in use"


def test_compiled_kernels_have_a_folder_of_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = backend.kernels.cuda.launch
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    first = launch.cache_folder()
    assert Path(first).parent == tmp_path and Path(first).name.startswith("cuda-") and launch.cache_folder() == first
    other = tmp_path / "kernels" / "cuda"
    other.mkdir(parents=True)
    (other.parent / "chain.py").write_text("changed")
    monkeypatch.setattr(launch, "__file__", str(other / "launch.py"))
    assert launch.cache_folder() != first
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(other.parent / "chain.py"))
    assert launch.cache_folder() == "", "nowhere to write: kernels are compiled each time"
