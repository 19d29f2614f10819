"""The flow of in situ backpropagation: whole meshes that learn by light going both ways."""
