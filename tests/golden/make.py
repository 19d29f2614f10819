"""Write the small golden set of this folder from the whole one (../shared/golden/l2ight beside the repository).

python tests/golden/make.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
WHOLE = HERE.parents[2] / "shared" / "golden" / "l2ight"
EPOCHS = 20
PER_EPOCH = ("loss", "best_loss", "lr", "total_step", "orders")


def read(name: str) -> dict[str, np.ndarray]:
    with np.load(WHOLE / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def first_epochs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The problem, the first epochs of every run, and the projection at its end."""
    out = {}
    for key, array in arrays.items():
        run, _, what = key.partition("_b1_") if "_b1_" in key else key.partition("_b0_")
        what = what.removeprefix("ideal0_").removeprefix("ideal1_")
        if key.startswith(("ideal_", "noise_")):
            out[key] = array
        elif what in PER_EPOCH:
            out[key] = array[:EPOCHS]
        elif what == "kept_epochs":
            out[key] = array[array <= EPOCHS]
        elif what in ("phase_U_epochs", "phase_V_epochs"):
            kept = arrays[key.replace(what, "kept_epochs")]
            out[key] = array[kept <= EPOCHS]
        elif run.startswith("pm_zcd_a0") and (what.startswith(("preosp_", "commit_", "synced_")) or "end_best" in what):
            out[key] = array
    return out


def choose(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    match name:
        case "layout":
            return arrays
        case "unitary":
            return {key: array for key, array in arrays.items() if any(f"_k{k}_" in key for k in (2, 3, 4, 5))}
        case "quantizer_crosstalk":
            bits = ("_b4_", "_b8_", "_in")
            few = (*(f"ct_k{k}_" for k in (2, 3, 4, 5)), "ct_filter5", "gamma")
            return {
                key: array
                for key, array in arrays.items()
                if key.startswith(few) or (any(f"_k{k}_" in key for k in (3, 4, 5)) and any(b in key for b in bits))
            }
        case "ic_pm_k4":
            return first_epochs(arrays)
        case "zgd":
            return {key: array for key, array in arrays.items() if key.startswith("k4_")}
        case "sl_steps":
            return {
                key: array
                for key, array in arrays.items()
                if key.startswith("cnnS/l2ight/") and not key.endswith(("conv.weight", "fc1.weight"))
            }
        case "samplers":
            few = (
                "x", "gy", "U", "S", "V", "I_U", "I_V", "dense_", "fb0.6_topk_exp", "fb0.6_gtopk_var", "col0.6_exp",
                "fw0.5_topk_exp", "in0.5_exp", "sp0.4col0.6_var", "rank2_topk", "sign",
            )  # fmt: skip
            bases = ("lin18x14k4pad_", "conv3x7k3s1p1_k4_")
            return {
                key: array
                for key, array in arrays.items()
                if key.startswith(tuple(base + one for base in bases for one in few))
            }
        case "zo_baselines":
            runs = ("mlp/x", "mlp/y", "mlp/flops_n1/", "mlp/mixedtrn_ps0.85_gs0.0/")
            return {key: array for key, array in arrays.items() if key.startswith(runs)}
    raise ValueError(name)


if __name__ == "__main__":
    for name in ("layout", "unitary", "quantizer_crosstalk", "ic_pm_k4", "zgd", "sl_steps", "samplers", "zo_baselines"):
        np.savez_compressed(HERE / f"{name}.npz", **choose(name, read(name)))
        print(f"{name}: {(HERE / f'{name}.npz').stat().st_size / 1024:.0f} kB")
