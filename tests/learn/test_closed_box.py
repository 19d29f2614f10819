"""Every algorithm of `learn/` needs no more than the Protocol.

Each runs on a fused chip, on the same chip sealed (hidden state raises), on a recorder before it, and on the replay of
that recording: without noise all four must give the same, and cost the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.meter import Meter
from l2sim.chip.protocol import Hardware, command, lacks
from l2sim.chip.recorded import Recorder, Replay
from l2sim.errors import ChipError
from l2sim.flow import oracle
from l2sim.learn import protocols, sampling, train
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import Problem, Search, State
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import PUBLISHED, Sealed, random_commands, small_chip
from tests.tolerances import TRAJECTORY

Result = dict[str, np.ndarray]
Algorithm = Callable[[list[Hardware]], Result]

SPEC = models.ModelSpec(
    "tiny",
    (1, 6, 6),
    3,
    (models.Conv(3, 3, 2, 1, k=3), models.BatchNorm(), models.ReLUN(6), models.Flatten(), models.Linear(3, k=4)),
)
SIZES = {"conv1": ((1, 3), 3), "fc1": ((1, 7), 4)}
"""The grids and core sizes of the layers of `SPEC`: mixed on purpose."""


def search(task: Problem, how: Search, phases: dict[str, np.ndarray], epochs: int, name: str) -> State:
    """A whole search, as a stage does it."""
    state = zeroth.start(task, how, phases)
    done = 0
    while not zeroth.searched(state, epochs, done):
        zeroth.METHODS[how.method](task, how, state, generator(1, name, done))
        done += 1
    zeroth.polish(task, how, state, generator(1, name, done))
    return state


def calibration(**settings: object) -> Algorithm:
    readout = str(settings.pop("readout", "quadrature"))

    def run(chips: list[Hardware]) -> Result:
        out: Result = {}
        for i, chip in enumerate(chips):
            task = calibrate.problem(chip, readout)
            how = Search(**({"shuffle": True, "lr": 0.3} | settings))
            state = search(task, how, calibrate.zero_phases(chip), 4, f"calibrate{i}")
            out |= {f"{i}.{name}": array for name, array in state.arrays().items()}
            rest = calibrate.pseudo_identities(chip, state)
            command(chip, u=rest, v=rest)
            out[f"{i}.response"] = grid.respond(chip, readout)
        return out

    return run


def whole_mapping(**settings: object) -> Algorithm:
    readout = str(settings.pop("readout", "quadrature"))

    def run(chips: list[Hardware]) -> Result:
        out: Result = {}
        for i, chip in enumerate(chips):
            (p, q), k = chip.shape, chip.mesh.modes
            aim = mapping.target(chip, generator(2, i).normal(size=(p * k - 1, q * k)))
            how = Search("zcd", lr=0.3, shuffle=True)
            state = search(calibrate.problem(chip), how, calibrate.zero_phases(chip), 2, f"calibrate{i}")
            rest = calibrate.pseudo_identities(chip, state)
            task = mapping.problem(chip, aim, readout)
            how = Search(**({"error_scale": mapping.error_scale(aim), "threshold": 0.4} | settings))
            state = search(task, how, mapping.start_phases(aim, rest), 3, f"map{i}")
            mapped = type(rest)(state.phases(best=True), aim.commands.signs)
            sigma = mapping.project(chip, aim, mapped, rest)
            out |= {f"{i}.{name}": array for name, array in state.arrays().items()}
            out[f"{i}.projected"] = sigma
            out[f"{i}.kept"] = mapping.keep_better(task, sigma, aim.sigma)
        return out

    return run


def small_network(chips: list[Hardware]) -> network.Network:
    """`SPEC` on both chips at random phases."""
    chip = dict(zip(SIZES, chips))

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        hardware, rng = chip[name], generator(3, name)
        mapped, rest = random_commands(hardware, rng), random_commands(hardware, rng)
        sigma = rng.uniform(0.2, 1.0, (*hardware.shape, k))
        command(hardware, u=mapped, v=mapped)
        weight = PhotonicWeight(hardware, out_features, in_features, mapped, rest, sigma)
        weight.write()
        return weight

    return network.build(SPEC, make_weight)


def twinned(chips: list[Hardware], readout: str = "quadrature") -> Result:
    """Identification, programming, and an epoch of polish from there."""
    out: Result = {}
    for i, chip in enumerate(chips):
        (p, q), k = chip.shape, chip.mesh.modes
        aim = mapping.target(chip, generator(2, i).normal(size=(p * k, q * k)))
        known = twin.identify(chip, PUBLISHED, lambda name, i=i: generator(6, i, name), readout, retries=1)
        told, sigma, _ = program.program(chip.mesh, twin.Drive.of(PUBLISHED), known, aim)
        task = mapping.problem(chip, aim)
        command(chip, u=told, v=told)
        chip.set_sigma(sigma)
        state = zeroth.start(task, Search("ztp"), told.phases)
        zeroth.polish(task, Search("ztp"), state, generator(7, i))
        out |= {f"{i}.{name}": getattr(known, name) for name in ("bias", "ratio", "identified", "evaluations")}
        out |= {f"{i}.sigma": sigma, f"{i}.best": state.best, f"{i}.u": state.best_u}
    return out


def subspace(chips: list[Hardware]) -> Result:
    """Two epochs with feedback, column and data sampling."""
    net = small_network(chips)
    net.weights["conv1"].feedback = sampling.feedback("btopk", 0.4, "exp")
    net.weights["fc1"].feedback = sampling.feedback("uniform", 0.4, "exp")
    net.convs["conv1"].columns = sampling.columns(0.5, "exp")
    data = generator(4)
    images, labels = data.normal(size=(20, 1, 6, 6)), data.integers(0, 3, 20)
    step, losses = train.descent(net, optim.start("adamw", net.parameters()), weight_decay=0.01), []
    for number in range(2):
        steps = train.epoch(
            images, labels, step, batch=4, lr=0.01, skip=0.3,
            stream=lambda name, number=number: generator(5, number, name),
        )  # fmt: skip
        losses += [progress["loss"] for progress in steps]
    assert 3 <= len(losses) < 10, "some mini-batches are left out"
    return net.state() | {"losses": np.array(losses), "test": np.array(list(train.test(net, images, labels).values()))}


def protocol(make: Callable[[network.Network], train.Step], lr: float = 0.05) -> Algorithm:
    """Two steps of another protocol."""

    def run(chips: list[Hardware]) -> Result:
        net, data = small_network(chips), generator(4)
        step, images, labels = make(net), data.normal(size=(4, 1, 6, 6)), data.integers(0, 3, 4)
        losses = [step(images, labels, generator(5, number), lr)["loss"] for number in range(2)]
        out = net.state() | {"losses": np.array(losses)}
        return out | {f"{name}.{part}": w.mapped.phases[part] for name, w in net.weights.items() for part in "uv"}

    return run


def aligned(net: network.Network) -> train.Step:
    objective = protocols.Alignment(net, cross_entropy, lambda name: generator(6, name))
    return train.descent(net, optim.start("adamw", net.parameters()), 0.0, objective)


def rival(net: network.Network) -> train.Step:
    """Everything that RAD, SWAT-U and the samplers of features and rank do."""
    for weight in net.weights.values():
        weight.cores = sampling.blocks("uniform", 0.3, "exp", along=1)
        weight.rank = sampling.rank(2, "uniform")
    net.weights["fc1"].vectors = sampling.features(0.5, "exp")
    net.convs["conv1"].spatial = sampling.spatial(0.5, "exp")
    return train.descent(net, optim.start("adamw", net.parameters()), 0.0)


def coordinates(net: network.Network) -> train.Step:
    phases = protocols.Phases(net)
    return protocols.MixedTrn(phases, cross_entropy, phases.coordinates(0.8, generator(7)), 0.7)


ALGORITHMS: dict[str, Algorithm] = {
    "calibrate zcd": calibration(method="zcd"),
    "calibrate zcd without record": calibration(method="zcd", best_record=False),
    "calibrate zcd adaptive": calibration(method="zcd", adaptive=True, threshold=0.09),
    "calibrate zcd by power": calibration(method="zcd", readout="power"),
    "calibrate ztp": calibration(method="ztp"),
    "calibrate ztp adaptive": calibration(method="ztp", adaptive=True, threshold=0.09),
    "calibrate ztp by power": calibration(method="ztp", readout="power"),
    "calibrate zgd": calibration(method="zgd", lr=1.0),
    "calibrate zgd by power": calibration(method="zgd", lr=1.0, readout="power"),
    "map zcd": whole_mapping(method="zcd"),
    "map zcd adaptive": whole_mapping(method="zcd", adaptive=True, threshold_growth=1.02),
    "map ztp": whole_mapping(method="ztp"),
    "map ztp by power": whole_mapping(method="ztp", readout="power"),
    "map zgd": whole_mapping(method="zgd"),
    "twin": twinned,
    "twin by power": partial(twinned, readout="power"),
    "subspace": subspace,
    "subspace of the rivals": protocol(rival),
    "direct feedback alignment": protocol(aligned),
    "flops": protocol(lambda net: protocols.Flops(protocols.Phases(net), cross_entropy, 0.1, 2)),
    "spsa": protocol(lambda net: protocols.Spsa(protocols.Phases(net), cross_entropy, 0.1, 2)),
    "mixedtrn": protocol(coordinates),
}


def chips(**changes: object) -> list:
    """The chips of both layers on one meter."""
    it, meter = msgspec.structs.replace(PUBLISHED, **changes), Meter()
    return [small_chip(shape, k, it, name=name, meter=meter) for name, (shape, k) in SIZES.items()]


def same(one: Result, two: Result, tolerance: float = 0.0) -> None:
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=tolerance, err_msg=name)


def same_cost(fused: Meter, public: Meter) -> None:
    """The public path costs the same; but fused descent waits before every probe, also where no core had to move."""
    wanted, found = fused.state(), public.state()
    for stage in wanted:
        most, waits = wanted[stage].pop("settled"), found[stage].pop("settled")
        assert 0.9 * most <= waits <= most
    assert wanted == found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_hidden_state_is_not_needed(name: str) -> None:
    fused, sealed = chips(), chips()
    wanted = ALGORITHMS[name](list(fused))
    found = ALGORITHMS[name]([Sealed(chip) for chip in sealed])
    same(found, wanted, TRAJECTORY)
    same_cost(fused[0].meter, sealed[0].meter)
    assert any(array.any() for array in wanted.values())


@pytest.mark.parametrize("noise", (0.0, 0.02))
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_recording_can_be_replayed(name: str, noise: float, tmp_path: Path) -> None:
    recorded = chips(readout_noise=noise)
    recorders = [Recorder(Sealed(chip)) for chip in recorded]
    wanted = ALGORITHMS[name](list(recorders))
    for i, recorder in enumerate(recorders):
        recorder.save(tmp_path / f"{i}.npz")
    meter = Meter()
    replays = [Replay.load(tmp_path / f"{i}.npz", meter=meter) for i in range(2)]
    same(ALGORITHMS[name](list(replays)), wanted)
    assert meter.state() == recorded[0].meter.state()


def test_the_recorder_changes_nothing() -> None:
    plain, recorded = chips(readout_noise=0.02), chips(readout_noise=0.02)
    algorithm = ALGORITHMS["map zcd"]
    same(algorithm([Sealed(chip) for chip in plain]), algorithm([Recorder(chip) for chip in recorded]))


# -- the recording itself ----------------------------------------------------------------------------------------------


def test_noisy_searches_end_alike_by_the_fused_and_by_the_public_path() -> None:
    """Drawn in aggregate or reading by reading: over many cores, the same distribution of where calibration ends."""
    it = msgspec.structs.replace(PUBLISHED, readout_noise=0.01)
    ends = []
    for close in (lambda chip: chip, Sealed):
        chip = small_chip((16, 16), 4, it)
        hardware = close(chip)
        state = search(calibrate.problem(hardware), Search("zcd"), calibrate.zero_phases(hardware), 40, "order")
        chip.set_phases(**state.phases(best=True))
        error = oracle.identity_error(chip)
        ends.append(((error["u"] + error["v"]).ravel(), state.best.ravel()))
    for fused, public in zip(*ends, strict=True):
        assert not np.array_equal(fused, public), "the draws differ"
        assert stats.ks_2samp(fused, public).pvalue > 1e-3


def recording(path: Path, **changes: object) -> list[np.ndarray]:
    """Record a few probes of a noisy chip; returns the answers."""
    recorder = Recorder(small_chip((2, 1), 3, msgspec.structs.replace(PUBLISHED, readout_noise=0.1), **changes))
    answers = list(script(recorder))
    recorder.save(path)
    return answers


MASK = np.array([[True], [False]])


def script(chip: Hardware) -> list[np.ndarray]:
    """A few settings and probes."""
    x, phases = np.ones((2, 1, 3, 4)), np.full((2, 1, 3, 2), 0.3)
    out = [chip.forward(x), chip.forward(x), chip.forward(x, readout="power"), chip.backward(x[:1, :, :, :2])]
    chip.set_phases(u=phases)
    out += [chip.forward(x), chip.forward(x, cores=MASK), chip.backward(x, cores=MASK)]
    chip.set_phases(u=phases, v=-phases)
    chip.set_signs(u=np.broadcast_to([1.0, -1.0, 1.0], (2, 1, 3)))
    chip.set_sigma(np.full((2, 1, 3), 0.1))
    return [*out, chip.forward(x)]


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_answers_return_in_order_bit_by_bit(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "r.npz"
    wanted = recording(path, dtype=dtype)
    chip, replay = small_chip((2, 1), 3, PUBLISHED, dtype=dtype), Replay.load(str(path))
    script(chip)
    found = script(replay)
    assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]
    assert all(a.dtype == dtype for a in found)
    assert not np.array_equal(wanted[0], wanted[1]), "the same query, noisy, in order"
    assert replay.meter.state() == chip.meter.state()
    assert (replay.shape, replay.mesh, replay.readouts) == (chip.shape, chip.mesh, chip.readouts)
    assert lacks(replay) == [] == lacks(Recorder(chip))


def test_queries_that_were_not_recorded(tmp_path: Path) -> None:
    recording(tmp_path / "r.npz")
    x = np.ones((2, 1, 3, 4))
    others: list[Callable[[Replay], object]] = [
        lambda r: r.forward(1.5 * x),
        lambda r: r.forward(x[..., :3]),
        lambda r: r.backward(x),
        lambda r: r.backward(x[:1, :, :, :2], readout="power"),
        lambda r: r.forward(x, cores=MASK),
        lambda r: (r.set_sigma(np.full((2, 1, 3), 0.5)), r.forward(x)),
        lambda r: (r.set_signs(v=-np.ones((2, 1, 3))), r.forward(x)),
        lambda r: (r.set_phases(v=np.full((2, 1, 3, 2), 0.3)), r.forward(x)),
    ]
    for query in others:
        replay = Replay.load(tmp_path / "r.npz")
        with pytest.raises(ChipError, match=r"no such (forward|backward) probe") as caught:
            query(replay)
        assert "\n" not in str(caught.value)
    replay = Replay.load(tmp_path / "r.npz")
    replay.forward(x)
    replay.forward(x, cores=np.ones((2, 1), bool))
    with pytest.raises(ChipError, match="fewer times"):
        replay.forward(x)


def test_equal_queries_are_equal_however_they_are_written(tmp_path: Path) -> None:
    wanted = recording(tmp_path / "r.npz")
    replay = Replay.load(tmp_path / "r.npz")
    replay.set_phases(u=np.where(replay.mesh.mask, -0.0, 9.0) * np.ones((2, 1, 1, 1)))  # 9 where no MZI stands
    assert np.array_equal(replay.forward(np.ones((1, 1, 3, 4), np.float32)), wanted[0])


@pytest.mark.parametrize("act", (
    lambda r: r.set_phases(u=np.zeros((1, 2, 3, 2))),
    lambda r: r.set_signs(v=np.ones((2, 1, 4))),
    lambda r: r.set_sigma(np.ones(3)),
))  # fmt: skip
def test_a_replay_checks_shapes(act: Callable[[Replay], object], tmp_path: Path) -> None:
    recording(tmp_path / "r.npz")
    with pytest.raises(ChipError, match="this chip takes"):
        act(Replay.load(tmp_path / "r.npz"))


def test_an_empty_recording(tmp_path: Path) -> None:
    Recorder(small_chip()).save(tmp_path / "r.npz")
    replay = Replay.load(tmp_path / "r.npz")
    assert replay.mesh == Mesh("rectangular", 3)
    with pytest.raises(ChipError, match="no such"):
        replay.forward(np.ones((1, 2, 3, 1)))


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path, bad = tmp_path / "r.npz", tmp_path / "bad.npz"
    recording(path)
    whole = path.read_bytes()
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    rng = generator(1)

    def check(what: str) -> None:
        with pytest.raises(ChipError) as caught:
            Replay.load(bad)
        assert "\n" not in str(caught.value) and "bad.npz" in str(caught.value), what

    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        bad.write_bytes(whole[:size])
        check(f"cut at {size}")
    bad.write_bytes(b"this is not a recording")
    check("text")
    with bad.open("wb") as file:
        np.save(file, np.arange(3))
    check("a single array")
    np.savez(bad, a=np.arange(3))
    check("other arrays")
    np.savez(bad, **(parts | {"format": np.array("something else 1")}))
    check("another format")
    np.savez(bad, **(parts | {"vectors": parts["vectors"][:-1]}))
    check("parts that do not fit")
    np.savez(bad, **(parts | {"mesh": np.array(["hexagonal", "3", "0"])}))
    check("an unknown mesh")
    np.savez(bad, **(parts | {"answers": np.array([object()])}))
    check("a pickle")
    bad.unlink()
    check("missing")
    found = 0
    for _ in range(200):  # one flipped bit: an error of ours or, in bytes that mean nothing, the same recording
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        bad.write_bytes(damaged)
        try:
            answers = script(Replay.load(bad))
        except ChipError:
            found += 1
        else:
            assert [a.tobytes() for a in answers] == [a.tobytes() for a in script(Replay.load(path))]
    assert found > 100


def test_saving_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.npz"
    recording(path)
    before = path.read_bytes()
    with pytest.raises(ChipError, match="cannot be written") as caught:
        recording(tmp_path / "nowhere" / "r.npz")
    assert "\n" not in str(caught.value)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChipError, match="the disk is full"):
        recording(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
