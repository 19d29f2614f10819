"""What do imperfections and methods do, measured: a study each, with its table and page in docs/results."""

import sys

from l2sim.blas import choose

__all__ = [
    "digits", "drift", "gradients", "harness", "insitu_fashion", "insitu_noise", "l2ight", "loss_bias",
    "mapping_quality", "mesh_errors", "noise_energy", "programming", "robustness", "scaling", "sensitivity", "silicon",
    "sweep", "twin", "twin_digits", "twin_drift",
]  # fmt: skip

if sys.argv[:1] == ["-m"]:  # while Python looks for the program `python -m l2sim.study.NAME`
    choose()  # before anything imports NumPy
