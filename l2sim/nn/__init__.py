"""What does a network compute, and its gradients: layers, models, losses and optimisers, on arrays or on chips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.nn import models, optim
    from l2sim.nn.layers import Layer
    from l2sim.nn.losses import OBJECTIVES, accuracy, cross_entropy
    from l2sim.nn.network import Network, build, electronic
    from l2sim.nn.optics import MeshLayer
    from l2sim.nn.optim import OPTIMISERS, Optimiser
    from l2sim.nn.photonic import PhotonicWeight
    from l2sim.nn.specs import ModelSpec
    from l2sim.nn.weights import ElectronicWeight, Weight

__all__ = [
    "OBJECTIVES", "OPTIMISERS", "ElectronicWeight", "Layer", "MeshLayer", "ModelSpec", "Network", "Optimiser",
    "PhotonicWeight", "Weight", "accuracy", "build", "cross_entropy", "electronic", "models", "optim",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "ElectronicWeight": "weights", "Layer": "layers", "MeshLayer": "optics", "ModelSpec": "specs",
    "Network": "network", "OBJECTIVES": "losses", "OPTIMISERS": "optim", "Optimiser": "optim",
    "PhotonicWeight": "photonic", "Weight": "weights", "accuracy": "losses", "build": "network",
    "cross_entropy": "losses", "electronic": "network", "models": "models", "optim": "optim",
})  # fmt: skip
