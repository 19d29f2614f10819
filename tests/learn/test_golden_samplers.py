"""Single layers with every sampler of ours against the reference: output, input gradient, sigma gradient.

More blocks than CNN-S has in a column, so that feedback masks leave something out; padding, strides, k = 4, 8, 9.
"""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.learn import counting, sampling
from l2sim.nn.conv import Conv2d
from l2sim.nn.layers import Layer, Linear
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import Matrices
from tests.goldens import WHOLE, golden
from tests.tolerances import TRAJECTORY

DENSE = {"lin20x13k4": (20, 13), "lin18x14k4pad": (18, 14), "lin72x45k9": (72, 45)}
CONVOLUTION = {
    "conv3x7k3s1p1_k4": (3, 7, 3, 1, 1),
    "conv8x10k3s2p1_k9": (8, 10, 3, 2, 1),
    "conv6x9k1s2p0_k4": (6, 9, 1, 2, 0),
    "conv4x6k5s1p2_k8": (4, 6, 5, 1, 2),
}
NORMS = ("none", "exp", "var")
RULES = {"topk": "btopk", "gtopk": "gtopk", "uniform": "uniform"}
COUNTS = (
    "forward_core_calls", "forward_accumulation_steps", "weight_gradient_core_calls",
    "weight_gradient_accumulation_steps", "input_gradient_core_calls", "input_gradient_accumulation_steps",
)  # fmt: skip


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TRAJECTORY, err_msg=what)


CASES = [
    (base, key.removeprefix(f"{base}_").removesuffix("_gS"))
    for base in (*DENSE, *CONVOLUTION)
    for key in golden("samplers")
    if key.startswith(f"{base}_") and key.endswith("_gS")
]


def test_there_are_cases() -> None:
    assert len(CASES) >= 9 and {base[:3] for base, _ in CASES} == {"lin", "con"}
    assert any("fb0.6_topk" in case for _, case in CASES) and any("col" in case for _, case in CASES)


def arrange(case: str, z: dict[str, np.ndarray], weight: PhotonicWeight, layer: Layer) -> None:
    """Give `layer` the masks that the reference drew, and check the choices that are not random."""
    words = case.split("_")
    norm = words[-1] if words[-1] in NORMS else "none"
    masks = {name: z.get(f"{case}_{name}") for name in ("fbmask", "mask", "spatial_mask", "column_mask", "rankmask")}
    if "fb0.6" in case or "fw0.5" in case:
        rule, norm = ("topk", "exp") if "l2ight" in case else words[1:]
        draw = (masks["fbmask"], sampling.factor(norm, masks["fbmask"].mean()))
        setattr(weight, "feedback" if "fb" in case else "cores", lambda sigma, rng: draw)
        ours, factor = sampling.blocks(RULES[rule], float(words["l2ight" in case][2:]), norm, "fw" in case)(
            z["S"], generator(1)
        )
        assert rule == "uniform" or np.array_equal(ours, draw[0]), "our sampler draws the mask of the reference"
        assert rule == "uniform" or factor == pytest.approx(draw[1])
        norm = "none"
    if case.startswith("in0.5"):
        weight.vectors = lambda shape, rng: (masks["mask"].T, sampling.factor(norm, masks["mask"].mean()))
    if isinstance(layer, Conv2d) and masks["column_mask"] is not None:
        kept = masks["column_mask"]
        layer.columns = lambda count, rng: (kept.ravel(), sampling.factor(norm, kept.mean()))
    if isinstance(layer, Conv2d) and masks["spatial_mask"] is not None:
        seen = masks["spatial_mask"]
        layer.spatial = lambda shape, rng: (seen, sampling.factor(norm, seen.mean()))
    if case.startswith("rank2"):
        drawn = masks["rankmask"].astype(bool)
        weight.rank = lambda sigma, gradient, rng: np.where(drawn, gradient, 0.0)
        if "topk" in case:
            ours = sampling.rank(2)(z["S"], np.ones_like(z["S"]), generator(1))
            assert np.array_equal(ours != 0, drawn), "the largest two of every core"
        assert (drawn.sum(axis=-1) == 2).all()
    if case == "sign":
        weight.rank = sampling.rank(0, sign=True)


def cost_of(base: str, z: dict[str, np.ndarray], weight: PhotonicWeight, layer: Layer) -> counting.Step:
    grid, k, batch = weight.hardware.shape, weight.hardware.mesh.modes, len(z["x"])
    if not isinstance(layer, Conv2d):
        return counting.Step(grid, k, batch, masks=weight.drawn)
    masks = weight.drawn | layer.drawn
    return counting.Step(
        grid, k, batch, layer.kernel, layer.stride, z["x"].shape[1:], z["gy"].shape[2:], masks
    )  # fmt: skip


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
    arrange(case, z, weight, layer)

    x, gy = (np.moveaxis(z[name], 0, -1).copy() for name in ("x", "gy"))
    close(np.moveaxis(layer.forward(x, train=True, rng=generator(1)), -1, 0), z[f"{case}_y"], "output")
    close(np.moveaxis(layer.backward(gy), -1, 0), z[f"{case}_gx"], "input gradient")
    close(weight.gradient, z[f"{case}_gS"], "gradient of sigma")
    if f"{case}_profile" in z:
        found = counting.legacy(cost_of(base, z, weight, layer))
        told = golden("samplers").get("profile_keys")
        assert told is None or [key.replace("_accum_step", "") for key in told[1::2]] == [
            "forward", "backward_weight", "backward_input",
        ]  # fmt: skip
        assert [found[name] for name in COUNTS] == z[f"{case}_profile"].tolist(), "the published program's count"


def test_the_published_counts_of_every_shared_case() -> None:
    """`profiler_counts.csv` has the same numbers as the cases above, and is read whole where it is here."""
    path = WHOLE / "profiler_counts.csv"
    if not path.exists() or "profile_keys" not in golden("samplers"):
        pytest.skip("the table of counts is not in the small golden set")
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    z = golden("samplers")
    assert len(rows) >= 100
    for name, *numbers in rows:
        assert z[f"{name}_profile"].tolist() == [float(number) for number in numbers], name
    assert {f"{base}_{case}" for base, case in CASES} == {name for name, *_ in rows}
