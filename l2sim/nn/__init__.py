"""Framework-free layers, models, losses and optimisers; electronic and photonic layers share one interface."""
