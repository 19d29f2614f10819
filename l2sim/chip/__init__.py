"""The simulated hardware: meshes, decompositions, non-idealities, tensor cores, detectors and the meter."""
