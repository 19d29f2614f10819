"""The same work as others do it, written by us from published equations in PyTorch and JAX; `make bench-peers`.

Each way is first compared with ours: what computes something else is no measure. Only this folder imports PyTorch and
JAX, which nothing needs (`l2sim` and its tests run without).
"""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import torch

from benchmarks.peers.meshes import in_situ
from benchmarks.peers.networks import inference, steps
from benchmarks.peers.search import epoch

__all__ = ["epoch", "in_situ", "inference", "steps", "versions"]

torch.set_num_threads(1)


def versions() -> dict[str, str]:
    """Of the others, by name."""
    return {"torch": torch.__version__, "jax": jax.__version__}
