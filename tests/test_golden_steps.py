"""Three training steps of CNN-S against the reference: logits, loss, gradients and state."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import Matrices
from goldens import golden
from tolerances import TRAJECTORY

from l2sim.nn import models, network, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.photonic import PhotonicWeight

LAYERS = {"conv1": "features.conv1.conv", "conv2": "features.conv2.conv", "fc1": "classifier.fc1"}
NORMS = {"bn1": "features.conv1.bn", "bn2": "features.conv2.bn"}


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


@pytest.mark.parametrize("configuration", ("dense", "l2ight"))
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

        def feedback(sigma: np.ndarray, rng: object) -> tuple[np.ndarray, float]:
            mask = z[f"step{now}/fbmask/{LAYERS[name]}"]
            return mask, 1 / (mask.mean() + 1e-12)

        if f"step0/fbmask/{LAYERS[name]}" in z:
            weight.feedback = feedback
        return weight

    net = network.build(models.cnn_s(), make_weight)
    assert net.weights.keys() == LAYERS.keys()
    names = {f"{ours}.sigma": f"{theirs}.S" for ours, theirs in LAYERS.items()}
    names |= {f"{ours}.{what}": f"{theirs}.{what}" for ours, theirs in NORMS.items() for what in ("weight", "bias")}
    running = {f"{b}.{what}": f"{t}.{what}" for b, t in NORMS.items() for what in ("running_mean", "running_var")}
    assert net.parameters().keys() == names.keys() and net.buffers().keys() == running.keys()
    for ours, theirs in (names | running).items():
        (net.parameters() | net.buffers())[ours][...] = z[f"init/{theirs}"]

    for name, conv in net.convs.items():
        if f"step0/column_mask/{LAYERS[name]}" in z:
            conv.columns = lambda count, rng, name=name: (z[f"step{now}/column_mask/{LAYERS[name]}"], 1.0)
    if configuration == "l2ight":
        assert net.convs["conv2"].columns is not None and net.weights["conv2"].feedback is not None
        assert not z["step0/column_mask/features.conv2.conv"].all()

    optimiser = optim.start("adamw", net.parameters())
    for now in range(3):
        logits = net.forward(z["x"], train=True, rng=np.random.default_rng(0))
        close(logits.T, z[f"step{now}/logits"], f"logits of step {now}")
        loss, gradient = cross_entropy(logits, z["y"])
        close(loss, z[f"step{now}/loss"], f"loss of step {now}")
        net.backward(gradient)
        for ours, theirs in names.items():
            close(net.gradients()[ours], z[f"step{now}/grad/{theirs}"], f"gradient of {ours}, step {now}")
        optim.step(optimiser, net.parameters(), net.gradients(), lr=1e-3, weight_decay=0.01)
        for weight in net.weights.values():
            weight.write()
        for ours, theirs in (names | running).items():
            close((net.parameters() | net.buffers())[ours], z[f"step{now}/after/{theirs}"], f"{ours} after step {now}")
