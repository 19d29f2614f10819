"""The passes over all cores of a chip at once, on the CPU and spread over GPUs."""
