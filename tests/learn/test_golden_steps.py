"""Three training steps of CNN-S against the reference: logits, loss, gradients and state."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.learn import counting, sampling
from l2sim.nn import models, network, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import Matrices
from tests.goldens import golden
from tests.tolerances import TRAJECTORY

LAYERS = {"conv1": "features.conv1.conv", "conv2": "features.conv2.conv", "fc1": "classifier.fc1"}
NORMS = {"bn1": "features.conv1.bn", "bn2": "features.conv2.bn"}


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


@pytest.mark.parametrize("configuration", ("dense", "l2ight", "rad", "swat"))
def test_cnn_s(configuration: str) -> None:
    start = f"cnnS/{configuration}/"
    z = {key.removeprefix(start): array for key, array in golden("sl_steps").items() if key.startswith(start)}
    if not z:
        pytest.skip("not in the small golden set")
    now = 0

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        u, s, v, i_u, i_v = (z[f"init/{LAYERS[name]}.{what}"] for what in ("U", "S", "V", "I_U", "I_V"))
        assert u.shape[-1] == k
        chip = Matrices({"u": u, "v": v}, {"u": i_u, "v": i_v})
        weight = PhotonicWeight(chip, out_features, in_features, chip.commands(0), chip.commands(1), s.copy())
        weight.write()

        def blocks(sigma: np.ndarray, rng: object) -> tuple[np.ndarray, float]:
            mask = z[f"step{now}/fbmask/{LAYERS[name]}"]
            return mask, sampling.factor("exp", mask.mean())

        if f"step0/fbmask/{LAYERS[name]}" in z and configuration in ("l2ight", "swat"):
            setattr(weight, "cores" if configuration == "swat" else "feedback", blocks)
        return weight

    net = network.build(models.cnn_s(), make_weight)
    assert net.weights.keys() == LAYERS.keys()
    names = {f"{ours}.sigma": f"{theirs}.S" for ours, theirs in LAYERS.items()}
    names |= {f"{ours}.{what}": f"{theirs}.{what}" for ours, theirs in NORMS.items() for what in ("weight", "bias")}
    running = {f"{b}.{what}": f"{t}.{what}" for b, t in NORMS.items() for what in ("running_mean", "running_var")}
    assert net.parameters().keys() == names.keys() and net.buffers().keys() == running.keys()
    for ours, theirs in (names | running).items():
        (net.parameters() | net.buffers())[ours][...] = z[f"init/{theirs}"]

    def sampler(kind: str, norm: str, name: str):
        def sample(shape: object, rng: object) -> tuple[np.ndarray, float]:
            mask = z[f"step{now}/{kind}_mask/{LAYERS[name]}"]
            return mask, sampling.factor(norm, mask.mean())

        return sample if f"step0/{kind}_mask/{LAYERS[name]}" in z else None

    for name, conv in net.convs.items():
        conv.columns = sampler("column", "none", name)
        conv.spatial = sampler("spatial", "exp" if configuration == "rad" else "none", name)
    assert (net.convs["conv2"].columns is not None) == (configuration == "l2ight")
    assert (net.convs["conv2"].spatial is not None) == (configuration in ("rad", "swat"))
    assert all(conv.columns is None and conv.spatial is None for name, conv in net.convs.items() if name == "conv1")

    optimiser, spent = optim.start("adamw", net.parameters()), []
    for now in range(3):
        logits = net.forward(z["x"], train=True, rng=np.random.default_rng(0))
        close(logits.T, z[f"step{now}/logits"], f"logits of step {now}")
        loss, gradient = cross_entropy(logits, z["y"])
        close(loss, z[f"step{now}/loss"], f"loss of step {now}")
        net.backward(gradient)
        spent.append(counting.counts(map(counting.legacy, counting.steps(net, len(z["x"])))))
        for ours, theirs in names.items():
            close(net.gradients()[ours], z[f"step{now}/grad/{theirs}"], f"gradient of {ours}, step {now}")
        optim.step(optimiser, net.parameters(), net.gradients(), lr=1e-3, weight_decay=0.01)
        for weight in net.weights.values():
            weight.write()
        for ours, theirs in (names | running).items():
            close((net.parameters() | net.buffers())[ours], z[f"step{now}/after/{theirs}"], f"{ours} after step {now}")
    told = dict(zip(z["profile_keys"].tolist(), z["profile_vals"].tolist())) if "profile_keys" in z else {}
    for part, ours in (("forward", "forward"), ("backward_weight", "weight_gradient"),
                       ("backward_input", "input_gradient")):  # fmt: skip
        for what, count in (("core_call", "core_calls"), ("accum_step", "accumulation_steps")):
            if told:
                total = sum(step[f"{ours}_{count}"] for step in spent)
                assert total == told[f"breakdown_{part}_{what}"], (part, what)
    if told:
        memory = counting.activations(net, len(z["x"]), {"spatial": 0.6 if configuration in ("rad", "swat") else 0.0})
        assert memory.dense == told["act_mem_total"]
        assert memory.kept == pytest.approx(told["act_mem_total_sparse"])
