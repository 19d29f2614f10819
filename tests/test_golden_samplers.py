"""Single layers with every sampler of ours against the reference: output, input gradient, sigma gradient.

More blocks than CNN-S has in a column, so that feedback masks leave something out; padding, strides, k = 4, 8, 9.
"""

from __future__ import annotations

import numpy as np
import pytest
from doubles import Matrices
from goldens import golden
from tolerances import TRAJECTORY

from l2sim.backend import generator
from l2sim.learn import sampling
from l2sim.nn.conv import Conv2d
from l2sim.nn.layers import Layer, Linear
from l2sim.nn.photonic import PhotonicWeight

DENSE = {"lin20x13k4": (20, 13), "lin18x14k4pad": (18, 14), "lin72x45k9": (72, 45)}
CONVOLUTION = {
    "conv3x7k3s1p1_k4": (3, 7, 3, 1, 1),
    "conv8x10k3s2p1_k9": (8, 10, 3, 2, 1),
    "conv6x9k1s2p0_k4": (6, 9, 1, 2, 0),
    "conv4x6k5s1p2_k8": (4, 6, 5, 1, 2),
}
NORMS = ("none", "exp", "var")
FEEDBACK = [f"fb0.6_{rule}_{norm}" for rule in ("topk", "gtopk", "uniform") for norm in NORMS]
COLUMNS = [f"col0.6_{norm}" for norm in NORMS]
RULES = {"topk": "btopk", "gtopk": "gtopk"}


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


CASES = [
    (base, case)
    for base in (*DENSE, *CONVOLUTION)
    for case in ("dense", "dense_noI", *FEEDBACK, *COLUMNS, "l2ight_fb0.6_col0.6")
    if f"{base}_{case}_gS" in golden("samplers")
    # The reference turns the columns of a 1 x 1 convolution into another kind of mask.
    and not ("col" in case and base in CONVOLUTION and f"{base}_{case}_column_mask" not in golden("samplers"))
]


def test_there_are_cases() -> None:
    assert len(CASES) >= 9 and {base[:3] for base, _ in CASES} == {"lin", "con"}
    assert any("fb0.6_topk" in case for _, case in CASES) and any("col" in case for _, case in CASES)


@pytest.mark.parametrize("base, case", CASES)
def test_layer(base: str, case: str) -> None:
    z = {k.removeprefix(f"{base}_"): a for k, a in golden("samplers").items() if k.startswith(f"{base}_")}
    identities = [np.broadcast_to(np.eye(z["U"].shape[-1]), z["U"].shape)] * 2
    i_u, i_v = identities if case == "dense_noI" else (z["I_U"], z["I_V"])
    chip = Matrices({"u": z["U"], "v": z["V"]}, {"u": i_u, "v": i_v})
    rows, columns = DENSE[base][::-1] if base in DENSE else (CONVOLUTION[base][1], z["x"].shape[1])
    if base in CONVOLUTION:
        columns *= CONVOLUTION[base][2] ** 2
    weight = PhotonicWeight(chip, rows, columns, chip.commands(0), chip.commands(1), z["S"].copy())
    weight.write()
    layer: Layer = Linear(weight) if base in DENSE else Conv2d(weight, *CONVOLUTION[base][2:])

    if "fb0.6" in case:
        mask, norm = z[f"{case}_fbmask"], "exp" if case.startswith("l2ight") else case.split("_")[2]
        rule = "topk" if case.startswith("l2ight") else case.split("_")[1]
        weight.feedback = lambda sigma, rng: (mask, sampling.factor(norm, mask.mean()))
        if rule in RULES:
            ours, factor = sampling.feedback(RULES[rule], 0.6, norm)(z["S"], generator(1))
            assert np.array_equal(ours, mask), "our sampler draws the mask of the reference"
            assert factor == pytest.approx(sampling.factor(norm, mask.mean()))
    if "col0.6" in case and isinstance(layer, Conv2d):
        kept, scaled = z[f"{case}_column_mask"], "none" if case.startswith("l2ight") else case.split("_")[1]
        layer.columns = lambda count, rng: (kept.ravel(), sampling.factor(scaled, kept.mean()))

    x, gy = (np.moveaxis(z[name], 0, -1).copy() for name in ("x", "gy"))
    close(np.moveaxis(layer.forward(x, train=True, rng=generator(1)), -1, 0), z[f"{case}_y"], "output")
    close(np.moveaxis(layer.backward(gy), -1, 0), z[f"{case}_gx"], "input gradient")
    close(weight.gradient, z[f"{case}_gS"], "gradient of sigma")
